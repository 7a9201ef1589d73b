# shellcheck shell=bash disable=SC2154
# visitors.bash - the visitors that common/run lets come
#
# What they do is printed in round brackets, so that it is never taken for a
# line of the program, and through the program's pipe, so that it stands in its
# place. (1<>: nobody may read it any more, and > would wait for a reader.) $dir
# and $said are common/run's.

# await REGEX: waits until the program has printed a line that matches, at most
# ten seconds, and no longer than the program runs.
await() {
    local deadline=$((SECONDS + 10)) text before=''
    while [ "$SECONDS" -lt "$deadline" ]; do
        text=$(<"$said")
        [ "$text" = "$before" ] || ! grep -qE -- "$1" "$said" || return 0
        before=$text
        kill -0 "$running" 2>/dev/null || return 1
        # nobody writes to it: a pause without a process
        read -r -t 0.02 <>"$dir/nobody"
    done
    return 1
}

# visitor NAME PORT: comes, and listens until the program hangs up. What was
# heard is told when the program has ended.
visitor() {
    local name=$1 port=$2
    echo "   ($name comes to port $port)" 1<>"$dir/pipe"
    {
        exec 5<>"/dev/tcp/127.0.0.1/$port" || return
    } 2>/dev/null
    hears "$name"
    exec 5>&-
}

# hears NAME: remembers each line that comes until the program hangs up.
hears() {
    local line
    while IFS= read -r -t 5 -u 5 line; do
        echo "   ($1 heard: $line)" >>"$dir/heard.$1"
    done 2>/dev/null
}

# arrives NAME PORT: comes, and stays.
declare -A here
arrives() {
    local fd
    echo "   ($1 comes to port $2)" 1<>"$dir/pipe"
    { exec {fd}<>"/dev/tcp/127.0.0.1/$2" || return; } 2>/dev/null
    here[$1]=$fd
}

# says NAME WORDS: says a line, and waits for one that comes back. The short
# pauses let the program fall asleep again, so that strace's lines keep an order.
says() {
    local line
    sleep 0.2
    echo "   ($1 says:   $2)" 1<>"$dir/pipe"
    printf '%s\n' "$2" >&"${here[$1]}"
    IFS= read -r -t 5 -u "${here[$1]}" line || return
    sleep 0.1
    echo "   ($1 hears:  $line)" 1<>"$dir/pipe"
}

# leaves NAME: hangs up.
leaves() {
    local fd=${here[$1]}
    sleep 0.2
    echo "   ($1 leaves)" 1<>"$dir/pipe"
    exec {fd}>&-
}

# listens NAME: hears what the program says by itself, until it hangs up.
listens() {
    local line
    while IFS= read -r -t 5 -u "${here[$1]}" line; do
        echo "   ($1 hears:  $line)" 1<>"$dir/pipe"
    done
    leaves "$1"
}

# terminates: sends the program SIGTERM, as `kill` does. Under strace the program
# is strace's child.
terminates() {
    local child
    echo '   (SIGTERM comes)' 1<>"$dir/pipe"
    child=$(cat "/proc/$running/task/$running/children" 2>/dev/null)
    # shellcheck disable=SC2086 # spaces around it
    kill -TERM ${child:-$running}
}
