# bench-svg.awk - the results of `make bench` as a picture
#
#     awk -f bench-svg.awk HEADING MEDIANS >bench.svg
#
# HEADING is what stands above the table in the terminal, MEDIANS what
# common/bench writes: a line for each server and number of connections. A row
# is a server, a column a measure: its value, and a bar whose thin line goes from
# the lowest round to the highest. The epoll server's value is drawn through
# the whole column. A bar that would be more than three times as long as the
# column's median (and half as long again as the epoll server's) is cut: a gap.
BEGIN {
    FS = "\t"
    label = 178    # x of the first column
    wide = 104     # a column,
    figure = 44    # in it the value,
    bar = 50       # and the longest bar
    top = 62       # y of the first row
    high = 22      # a row
}

FNR == NR {
    sub(/; ±:.*/, "; a thin line goes from the lowest round to the highest")
    sub(/memory:/, "MB:")
    heading[++lines] = $0
    next
}

!(($2 + 0) in seen) { seen[$2 + 0]; ns[++many] = $2 + 0 }

!($1 in row) { row[$1] = ++rows; name[rows] = $1 }

{
    r = row[$1]
    n = $2 + 0
    put("rate", n, r, $3, $4, $5)
    put("cpu", n, r, $6, $7, $8)
    if ($9 != "-")
        put("calls", n, r, $9, $9, $9)
    put("memory", n, r, $10 / 1024, $10 / 1024, $10 / 1024)
}

function put(what, n, r, value, low, high) {
    values[what, n, r] = value
    lows[what, n, r] = low
    highs[what, n, r] = high
}

function escape(text) {
    gsub(/&/, "\\&amp;", text)
    gsub(/</, "\\&lt;", text)
    return text
}

function text(x, y, class, words) {
    printf "<text x=\"%.1f\" y=\"%.1f\" class=\"%s\">%s</text>\n", x, y, class, \
        escape(words)
}

# 1234567 -> 1,234,567
function commas(x,    words) {
    words = sprintf("%.0f", x)
    while (match(words, /^[0-9]+[0-9][0-9][0-9]/))
        words = substr(words, 1, RLENGTH - 3) "," substr(words, RLENGTH - 2)
    return words
}

# Three figures that count, and no more than two behind the point.
function short(x) {
    if (x >= 1000)
        return commas(x)
    return sprintf(x >= 100 ? "%.0f" : x >= 10 ? "%.1f" : "%.2f", x)
}

function median_of(what, n,    r, i, k, sorted, value) {
    k = 0
    for (r = 1; r <= rows; r++) {
        if (!((what, n, r) in values))
            continue
        value = values[what, n, r]
        for (i = k++; i > 0 && sorted[i] > value; i--)
            sorted[i + 1] = sorted[i]
        sorted[i + 1] = value
    }
    return sorted[int((k + 1) / 2)]
}

# One column; x is its left edge.
function column(x, what, n, title,    r, y, most, limit, reference, scale, long, cut) {
    text(x + figure, 30, "title", title)
    text(x + figure, 46, "muted", "at " commas(n))
    most = 0
    for (r = 1; r <= rows; r++)
        if (highs[what, n, r] > most)
            most = highs[what, n, r]
    limit = 3 * median_of(what, n)
    reference = ("epoll" in row) ? values[what, n, row["epoll"]] : 0
    if (limit < 1.5 * reference)
        limit = 1.5 * reference
    if (limit > 0 && most > limit)
        most = limit
    scale = most > 0 ? bar / most : 0
    for (r = 1; r <= rows; r++) {
        if (!((what, n, r) in values))
            continue
        y = top + (r - 1) * high
        text(x + figure - 5, y + 15, "value", short(values[what, n, r]))
        cut = values[what, n, r] > most
        long = cut ? bar : values[what, n, r] * scale
        printf "<rect x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"10\" " \
            "class=\"%s\"/>\n", x + figure, y + 6, long, \
            name[r] == "epoll" ? "reference" : "bar"
        if (cut)
            printf "<path d=\"M%.1f %.1f l-4 14 h3 l4 -14z\" class=\"ground\"/>\n", \
                x + figure + bar - 8, y + 4
        else if (highs[what, n, r] > lows[what, n, r])
            printf "<path d=\"M%.1f %.1f H%.1f\" class=\"spread\"/>\n", \
                x + figure + lows[what, n, r] * scale, y + 11, \
                x + figure + (highs[what, n, r] > most ? bar : \
                              highs[what, n, r] * scale)
    }
    if (reference > 0)
        printf "<path d=\"M%.1f %.1f V%.1f\" class=\"line\"/>\n", \
            x + figure + reference * scale, top, \
            top + rows * high
}

END {
    # 128 connections where there are, and the most
    main = ns[many]
    for (i = 1; i <= many; i++)
        if (ns[i] == 128)
            main = 128
    columns = many + 3
    width = label + columns * wide + 12
    height = top + rows * high + 24 + 16 * lines
    printf "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %d %d\" " \
        "width=\"%d\" height=\"%d\" role=\"img\">\n", width, height, width, height
    print "<title>make bench: the servers of the chapters beside a plain epoll server</title>"
    print "<style>"
    print "text { font: 12px 'DejaVu Sans', Verdana, sans-serif; fill: #1f2328 }"
    print ".title { font-weight: bold; font-size: 11px }"
    print ".muted { fill: #59636e }"
    print ".value { text-anchor: end; font-size: 11px }"
    print ".small { font-size: 11px; fill: #59636e }"
    print ".ground { fill: #ffffff }"
    print ".bar { fill: #4a86e0 }"
    print ".reference { fill: #8c959f }"
    print ".line { stroke: #8c959f; stroke-dasharray: 2 3; fill: none }"
    print ".spread { stroke: #1f2328; stroke-width: 1.5; fill: none }"
    print "@media (prefers-color-scheme: dark) {"
    print "  text { fill: #f0f6fc }"
    print "  .muted, .small { fill: #9da7b3 }"
    print "  .ground { fill: #0d1117 }"
    print "  .bar { fill: #3d7fe0 }"
    print "  .reference { fill: #7d8590 }"
    print "  .line { stroke: #7d8590 }"
    print "  .spread { stroke: #f0f6fc }"
    print "}"
    print "</style>"
    printf "<rect width=\"%d\" height=\"%d\" rx=\"6\" class=\"ground\"/>\n", \
        width, height
    text(12, 30, "title", "server")
    text(12, 46, "muted", "connections:")
    for (r = 1; r <= rows; r++)
        text(12, top + (r - 1) * high + 15, "", name[r])
    x = label
    column(x, "rate", main, "echoes/s")
    for (i = 1; i <= many; i++)
        column(x += wide, "cpu", ns[i], "CPU µs/echo")
    column(x += wide, "calls", main, "calls/echo")
    column(x += wide, "memory", ns[many], "MB")
    for (i = 1; i <= lines; i++)
        text(12, top + rows * high + 14 + 16 * i, "small", heading[i])
    print "</svg>"
}
