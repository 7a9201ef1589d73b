#!/usr/bin/env bats
# make bench: its load notices what a server does wrong, its table is whole, and
# the servers of Part II keep what the course says of their cost.

load helper

# bad HOW AFTER: the load against a server that goes wrong there; see
# tests/bad_server.c. Sets $status, $output and $stderr.
bad() {
    [ -z "$pid" ] || { kill -KILL "$pid" && pid=; }
    start "$build/tests/bad_server" "$@"
    run --separate-stderr timeout $((30 * patience)) \
        "$build/tools/load" "$port" 4 0.3
}

# refuses_echo SENTENCE: the load must have ended with that.
refuses_echo() {
    assert_equal "$status" 1
    assert_equal "$output" ''
    output=$stderr assert_output --regexp "^load: connection [0-3]: $1\$"
}

# bench VARIABLE=VALUE ...: a run with its results in $results.
bench() {
    results=$BATS_TEST_TMPDIR/results
    run --separate-stderr env "$@" RESULTS="$results" \
        timeout $((180 * patience)) common/bench
}

# --- the load -------------------------------------------------------------------

@test "load: echoes are counted and timed, in one line for machines" {
    start "$build/tools/epoll_server" 0
    run "$build/tools/load" "$port" 16 0.3 cpu "$pid"
    assert_success
    assert_output --regexp '^connections 16 echoes [1-9][0-9]* seconds 0\.[0-9]+ cpu_us [1-9][0-9]* calls - from [0-9.]+ to [0-9.]+$'
}

@test "load: every call of the server is counted, where the kernel lets us" {
    start "$build/tools/epoll_server" 0
    run "$build/tools/load" "$port" 1 0.3 calls "$pid"
    [ "$status" -ne 77 ] || skip "$output"
    assert_success
    # recv, send and epoll_wait for each, and perhaps one call at either end
    read -r -a words <<<"$output"
    assert [ $((words[9] - 3 * words[3])) -ge -2 ]
    assert [ $((words[9] - 3 * words[3])) -le 2 ]
}

@test "load: the CPU time is the kernel's for that process" {
    start "$build/tools/epoll_server" 0
    local before after
    before=$(cpu_ms)
    run "$build/tools/load" "$port" 16 1 cpu "$pid"
    after=$(cpu_ms)
    assert_success
    read -r -a words <<<"$output"
    echo "/proc says $((after - before)) ms with warm-up and end, the load $((words[7] / 1000)) ms without"
    assert [ $((words[7] / 1000)) -le $((after - before + 20)) ]
    assert [ $((words[7] / 500)) -ge $((after - before - 20)) ]
}

@test "load: a wrong byte is named" {
    bad wrong 3000
    refuses_echo 'byte 56 of message [0-9]+ is wrong'
}

@test "load: a byte that is missing in the middle is a wrong one" {
    bad missing 3000
    refuses_echo 'byte (56|57|58|59|60|61|62|63) of message [0-9]+ is wrong'
}

@test "load: a byte that is missing at the end is waited for, and named" {
    bad missing 3007
    refuses_echo '63 of 64 bytes of message [0-9]+ came back, the rest is missing after 5 seconds'
}

@test "load: a byte that comes twice is named" {
    bad double 3000
    refuses_echo 'byte [0-9]+ of message [0-9]+ is wrong'
    bad double 63
    refuses_echo 'more came back than was sent, after message [0-9]+'
}

@test "load: a server that hangs up is named" {
    bad hangup 3000
    refuses_echo '(the server hung up after 57 of 64 bytes of message [0-9]+|send of message .*)'
}

@test "load: a server that falls silent is named" {
    bad silent 3000
    refuses_echo '56 of 64 bytes of message [0-9]+ came back, the rest is missing after 5 seconds'
}

@test "load: a server that never hangs up is named" {
    bad stays 0
    refuses_echo 'the server has not hung up 5 seconds after we did'
}

@test "load: nobody there, and wrong command lines" {
    run "$build/tools/load" 1 4 0.3
    assert_failure 1
    assert_output --regexp '^load: connect to port 1: ECONNREFUSED '
    local bad
    for bad in '' '1 2' '0 1 1' '80 0 1' '80 1 0' '80 1 x' '80 1 1 cpu' \
        '80 1 1 what 2'; do
        # shellcheck disable=SC2086 # words of a command line
        run "$build/tools/load" $bad
        assert_equal "$bad: $status" "$bad: 2"
        assert_output --partial 'usage: load PORT CONNECTIONS SECONDS'
    done
}

# --- the table ------------------------------------------------------------------

@test "bench: a short run of one chapter: a whole table, status 0" {
    bench CHAPTERS=10 CONNECTIONS='1 16' ROUNDS=1 LENGTH=0.1
    assert_success
    # the machine, the way, and a row for each server and number of connections
    assert_line --regexp "CPUs, Linux $(uname -r | grep -oE '^[0-9.]+[0-9]'), liburing "
    assert_line --partial 'medians of 1 round of 0.1 seconds'
    local n
    for n in '1 connection ' '16 connections'; do
        assert_line --regexp "^$n +echoes +CPU us +calls +memory"
    done
    local figure='[0-9][0-9,]*(\.[0-9]+)?' row
    row=" +$figure +±[0-9]+% +$figure +±[0-9]+% +($figure|-) +$figure\$"
    assert_equal "$(grep -cE "^epoll$row" <<<"$output")" 2
    assert_equal "$(grep -cE "^10 async-echo$row" <<<"$output")" 2
    assert_equal "$(grep -cE "$row" <<<"$output")" 4
}

@test "bench: the picture has every server, and is one" {
    bench CHAPTERS=10 CONNECTIONS=16 ROUNDS=1 LENGTH=0.1 \
        SVG="$BATS_TEST_TMPDIR/bench.svg"
    assert_success
    assert_line "drawn: $BATS_TEST_TMPDIR/bench.svg"
    run cat "$BATS_TEST_TMPDIR/bench.svg"
    assert_line --partial '>epoll</text>'
    assert_line --partial '>10 async-echo</text>'
    assert_line --partial 'prefers-color-scheme: dark'
    command -v xmllint >/dev/null || skip 'no xmllint to read it'
    xmllint --noout "$BATS_TEST_TMPDIR/bench.svg"
}

@test "bench: every server that takes part is listed when another is asked for" {
    bench CHAPTERS=99
    assert_equal "$status" 2
    output=$stderr assert_output --regexp '^bench: no such server: 99\. There are .*8 10'
    bench CONNECTIONS=many
    assert_equal "$status" 2
}

@test "bench: a server that loses a byte is named, one that cannot run left out" {
    # a course of its own, with two chapters
    local course=$BATS_TEST_TMPDIR/course chapter
    mkdir -p "$course/build/chapters"
    cp -r common "$course"
    ln -s "$build/tools" "$course/build/tools"
    for chapter in 10-bad 11-new; do
        mkdir -p "$course/chapters/$chapter"
        echo "bench=('')" >"$course/chapters/$chapter/visit"
    done
    printf '#!/bin/sh\nexec %s/tests/bad_server wrong 3000\n' "$build" \
        >"$course/build/chapters/10-bad"
    printf '#!/bin/sh\necho "new: this kernel lacks it" >&2\nexit 77\n' \
        >"$course/build/chapters/11-new"
    chmod +x "$course"/build/chapters/*
    cd "$course"
    BUILD=build bench CONNECTIONS=16 ROUNDS=1 LENGTH=0.1
    assert_equal "$status" 1
    assert_line --regexp '^FAULT: 10 bad, 16 connections: load: .* byte 56 of message [0-9]+ is wrong'
    assert_line 'left out: 11 new: new: this kernel lacks it'
    assert_line --regexp '^epoll '
    # a server that is left out is no fault
    BUILD=build bench CHAPTERS=11 CONNECTIONS=16 ROUNDS=1 LENGTH=0.1
    assert_success
}

# --- what the chapters say ----------------------------------------------------------

# Two ways timed against each other in one run, by the CPU time of an echo. A
# machine with other things to do may spoil a run: the best of three counts.

# compares CHAPTER ...: skips where a comparison would mean nothing.
compares() {
    local chapter needs lacks
    [ "$(nproc)" -ge 2 ] || skip 'server and load would share the only CPU'
    [ "$patience" -eq 1 ] || skip 'times are not to be compared on this machine'
    for chapter in "$@"; do
        chapter=$(compgen -G "chapters/$chapter-*") ||
            skip 'that chapter is not there yet'
        name=$(basename "$chapter")
        ! grep -q __asan_init "$build/chapters/$name" ||
            skip 'a sanitizer costs more than what is compared'
        # shellcheck source=/dev/null
        needs=$(needs='' && . "$chapter/visit" && echo "$needs")
        # shellcheck disable=SC2086 # names with spaces between
        lacks=$("$build/tools/features" $needs 2>&1) || skip "$lacks"
    done
}

# cost NAME CONNECTIONS: median CPU microseconds an echo, in the last run.
cost() {
    awk -F '\t' -v name="$1" -v n="$2" '
        ($1 == name || $1 ~ "^" name " ") && $2 == n { print $6 }
        ' "$results/medians"
}

# at_most BOUND A B: whether A is at most BOUND times B.
at_most() {
    awk -v bound="$1" -v a="$2" -v b="$3" 'BEGIN {
        printf "%.2f against %.2f microseconds an echo: %.2f times\n", a, b, a / b
        exit !(a > 0 && b > 0 && a <= bound * b) }'
}

# 0.90 was expected. Measured were 0.99 on an idle machine, and 0.79 to 0.97 on a
# busy one; chapter 16's text says why. What is asserted is what held always.
@test "bench: chapter 16 with DEFER_TASKRUN costs no more than epoll" {
    compares 16
    local try
    for try in 1 2 3; do
        bench CHAPTERS=16:defer CONNECTIONS=128 ROUNDS=7
        assert_success
        at_most 1.00 "$(cost '16 defer' 128)" "$(cost epoll 128)" && return
    done
    fail 'In none of three runs it was: see the pairs above.'
}

# 1.5 was expected. Measured were 1.26 to 2.24 on one machine on different days;
# chapter 16's text says so. What is asserted is what held always.
@test "bench: chapter 16 without flags costs at least 1.15 times DEFER_TASKRUN" {
    compares 16
    local try
    for try in 1 2 3; do
        bench CHAPTERS='16:none 16:defer' CONNECTIONS=128 ROUNDS=5
        assert_success
        # 1 / 1.15
        at_most 0.87 "$(cost '16 defer' 128)" "$(cost '16 none' 128)" && return
    done
    fail 'In none of three runs it was: see the pairs above.'
}

@test "bench: an echo at 1,000 connections costs at most 1.25 of one at 16" {
    compares 12 15 16
    local try server
    for try in 1 2 3; do
        bench CHAPTERS='12 15 16:defer' CONNECTIONS='16 1000' ROUNDS=5
        assert_success
        for server in 12 15 '16 defer'; do
            echo "chapter $server:"
            at_most 1.25 "$(cost "$server" 1000)" "$(cost "$server" 16)" ||
                continue 2
        done
        return
    done
    fail 'In none of three runs it was: see the pairs above.'
}
