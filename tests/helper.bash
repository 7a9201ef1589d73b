# shellcheck shell=bash disable=SC2034
# helper.bash - start a program, visit it, wait for it, read what it said
#
# A test file tests/NN-name.bats begins with `load helper` and then knows
#
#     $program    build/chapters/NN-name
#     $exercise   the learner's, when `make exerciseN` asks; else the solution
#
# Tests whose names begin with "program" are about the first, those that begin
# with "exercise" about the second. Every wait here has an upper bound; PATIENCE=6
# makes all of them six times as long, for a slow machine.

bats_require_minimum_version 1.5.0
bats_load_library bats-support
bats_load_library bats-assert

patience=${PATIENCE:-1}
build=${BUILD:-build}
[[ $build == /* ]] || build=$PWD/$build
name=$(basename "$BATS_TEST_FILENAME" .bats)
program=$build/chapters/$name
exercise=${EXERCISE:-$build/solutions/$name}
[[ $exercise == /* ]] || exercise=$PWD/$exercise

setup() {
    out=$BATS_TEST_TMPDIR/out err=$BATS_TEST_TMPDIR/err pid=
    # `make progress` wants to know only whether all pass.
    if [ -n "${FAST:-}" ] && [ -e "$BATS_FILE_TMPDIR/failed" ]; then
        skip 'one has failed already'
    fi
    needs_features
}

# Skips where this kernel lacks what the chapter needs, with the sentence that
# its program would end with. Where it refuses any ring, the test is to fail.
needs_features() {
    local needs visit=chapters/$name/visit
    [ -e "$visit" ] || return 0
    # shellcheck source=/dev/null
    needs=$(needs='' && . "$visit" && echo "$needs")
    [ -n "$needs" ] || return 0
    # shellcheck disable=SC2086 # names with spaces between
    run "$build/tools/features" $needs
    [ "$status" -ne 77 ] || skip "${output#features: }"
}

teardown() {
    local how=0
    [ -n "$pid" ] && ! running && { wait "$pid" || how=$?; }
    [ -n "$pid" ] && kill -KILL "$pid" 2>/dev/null && wait "$pid" 2>/dev/null
    [ -z "${BATS_TEST_COMPLETED:-}" ] || return 0
    touch "$BATS_FILE_TMPDIR/failed"
    # shown with the failure
    [ "$how" -lt 128 ] || echo "The program crashed: signal $(kill -l "$how")."
}

# --- the program --------------------------------------------------------------

# start COMMAND ...: runs it in the background until it listens. Sets $pid and
# $port.
start() {
    # bats waits for whoever holds its descriptor 3
    "$@" >"$out" 2>"$err" 3>&- &
    pid=$!
    await '^listening on '
    port=$(sed -n 's/^listening on 127\.0\.0\.1://p;q' "$out")
}

# doors N: waits until the started program listens at N ports, and sets $ports.
doors() {
    local deadline=$((SECONDS + 6))
    until mapfile -t ports < <(sed -n 's/^listening on 127\.0\.0\.1://p' "$out") &&
        [ "${#ports[@]}" -ge "$1" ]; do
        running && [ "$SECONDS" -lt "$deadline" ] || fail "It was to listen at $1 ports, and listens at ${#ports[@]}.
$(it_said)"
        sleep 0.02
    done
}

# it_said: what the program has printed, for the messages of failing tests.
it_said() {
    echo 'The program printed, up to then:'
    tail -n 10 "$out"
    tail -n 5 "$err"
}

# await REGEX [SECONDS]: until the program has printed a matching line.
await() {
    local deadline=$((SECONDS + ${2:-10} * patience + 1))
    until grep -qE -- "$1" "$out"; do
        if ! running || [ "$SECONDS" -ge "$deadline" ]; then
            grep -qE -- "$1" "$out" && return
            fail "$(running && echo 'The program runs, but' || echo 'The program ended, and') it did not print a line like: $1
$(it_said)"
        fi
        sleep 0.02
    done
}

running() {
    kill -0 "$pid" 2>/dev/null && [ "$(state)" != Z ]
}

# ended [SECONDS]: the program must end within that time (5 seconds when left
# out). Sets $status, $output, $lines and $stderr, as `run` does.
ended() {
    local deadline=$((SECONDS + ${1:-5} * patience + 1))
    while running; do
        [ "$SECONDS" -lt "$deadline" ] || fail "The program has not ended within ${1:-5} seconds; it is in state $(state).
$(it_said)"
        sleep 0.02
    done
    status=0
    wait "$pid" || status=$?
    so_far
}

# so_far: sets $output, $lines and $stderr to what the program has printed.
so_far() {
    output=$(cat "$out") stderr=$(cat "$err")
    mapfile -t lines <"$out"
}

# --- its visitors ---------------------------------------------------------------

# visit PORT: comes, and prints what is heard until the program hangs up.
visit() {
    local fd
    come fd "$1" || return
    hear "$fd" || return
    leave "$fd"
}

# come VARIABLE PORT: comes and stays; the variable gets the descriptor.
come() {
    local new
    { exec {new}<>"/dev/tcp/127.0.0.1/$2"; } 2>/dev/null ||
        fail "A visitor came to port $2, and nobody listened there (any more).
$(it_said)" || return
    printf -v "$1" %s "$new"
}

# hear DESCRIPTOR: prints what comes until the program hangs up.
hear() {
    local how=0
    timeout $((3 * patience)) cat <&"$1" 2>/dev/null || how=$?
    case $how in
    0) ;;
    124) fail "A visitor came and listened for 3 seconds; the program did not hang up. It is in state $(state).
$(it_said)" ;;
    *) fail "A visitor's connection was reset: the program ended, or gave them up.
$(it_said)" ;;
    esac
}

# hear_line DESCRIPTOR: prints the next line.
hear_line() {
    local line
    IFS= read -r -t $((3 * patience)) -u "$1" line || fail "A visitor listened for 3 seconds and heard no line.
$(it_said)"
    printf '%s\n' "$line"
}

leave() {
    local fd=$1
    exec {fd}>&-
}

# --- what the kernel says of it -----------------------------------------------

# Field 3 of /proc/PID/stat: R runs, S sleeps, T is stopped. proc(5)
state() {
    sed 's/.*) //; s/ .*//' "/proc/$pid/stat" 2>/dev/null
}

# await_state LETTER: until the program is in that state.
await_state() {
    local deadline=$((SECONDS + 5 * patience + 1))
    until [ "$(state)" = "$1" ]; do
        running && [ "$SECONDS" -lt "$deadline" ] ||
            fail "The program was to be in state $1, and is in '$(state)'.
$(it_said)"
        sleep 0.02
    done
}

# CPU time used so far, user and system, in milliseconds.
cpu_ms() {
    local fields
    read -r -a fields < <(sed 's/.*) //' "/proc/$pid/stat")
    echo $(((fields[11] + fields[12]) * 1000 / $(getconf CLK_TCK)))
}

# cpu_while SECONDS: CPU milliseconds that it uses in so much time.
cpu_while() {
    local before
    before=$(cpu_ms)
    sleep "$1"
    echo $(($(cpu_ms) - before))
}

# Stops the program as Ctrl-Z does, and lets it go on as fg does.
stop_and_continue() {
    kill -STOP "$pid"
    await_state T
    kill -CONT "$pid"
}

# --- system calls -----------------------------------------------------------------

# start_traced CALLS COMMAND ...: start, with strace noting these calls in
# $trace. The program is $pid, strace its detached tracer.
start_traced() {
    need_strace
    trace=$BATS_TEST_TMPDIR/trace
    # shellcheck disable=SC2086 # start_injected gives further options
    start strace -D -f -qq -o "$trace" -e signal=none -e trace=$1 "${@:2}"
}

# start_injected CALLS:FAULT COMMAND ...: the same, with a fault that strace puts
# into these calls: accept:error=ECONNABORTED:when=3. strace(1)
start_injected() {
    start_traced "${1%%:*} -e inject=$1" "${@:2}"
}

need_strace() {
    command -v strace >/dev/null || skip 'strace is not installed'
    # LeakSanitizer cannot work under ptrace
    export ASAN_OPTIONS=detect_leaks=0
    strace -qq -o /dev/null true 2>/dev/null ||
        skip 'this machine does not let strace trace (ptrace is refused)'
}

# calls REGEX: how many matching calls strace has noted.
calls() {
    grep -cE -- "$1" "$trace" || true
}

# --- what every program keeps to ----------------------------------------------------

# Wrong command lines: usage on standard error, exit 2, nothing else done.
refuses_wrong_command_lines() {
    local bad
    for bad in x -1 65536 '' 8080x 0x10 ' 80' +80 99999999999999999999; do
        run --separate-stderr timeout $((10 * patience)) "$1" "$bad"
        assert_equal "$bad: $status" "$bad: 2"
        assert_equal "$output" ''
        output=$stderr assert_output --partial 'not a port from 0 to 65535'
        output=$stderr assert_output --partial 'usage: '
    done
    run --separate-stderr timeout $((10 * patience)) "$1" 0 1 2
    assert_equal "$status" 2
    output=$stderr assert_output --partial 'too many arguments'
    output=$stderr assert_output --partial 'usage: '
}

# A port in use: the port, the cause and the remedy, exit 1.
explains_port_in_use() {
    start "$1" 0
    run --separate-stderr timeout $((10 * patience)) "$1" "$port"
    assert_equal "$status" 1
    assert_equal "$stderr" "$(short_name "$1"): bind 127.0.0.1:$port: EADDRINUSE (Address already in use): another chapter may still be running; try PORT=0"
}

# A port for root only: the same.
explains_privileged_port() {
    local first unprivileged=()
    first=$(cat /proc/sys/net/ipv4/ip_unprivileged_port_start)
    [ "$first" -gt 80 ] || skip 'here anybody may listen at port 80'
    if [ "$(id -u)" -eq 0 ]; then
        command -v setpriv >/dev/null || skip 'root, and no setpriv to be less'
        unprivileged=(setpriv --inh-caps=-net_bind_service
            --bounding-set=-net_bind_service)
    fi
    run --separate-stderr timeout $((10 * patience)) "${unprivileged[@]}" "$1" 80
    assert_equal "$status" 1
    assert_equal "$stderr" "$(short_name "$1"): bind 127.0.0.1:80: EACCES (Permission denied): ports below 1024 are for root; try PORT=8080 or PORT=0"
}

# refused CALL ERROR COMMAND ...: runs it where the kernel refuses that call.
refused() {
    run --separate-stderr timeout $((10 * patience)) "$build/tests/refuse" "$@"
}

# explains_refusal CALL ERROR COMMAND ...: one line with the error, exit 1.
explains_refusal() {
    refused "$@"
    assert_equal "$status" 1
    output=$stderr assert_output --regexp "^$(short_name "$3"): .*: $2 \(.+\)"
    assert_equal "$(wc -l <<<"$stderr")" 1
}

# No descriptor left, at each call that makes one.
explains_full_table() {
    explains_refusal socket EMFILE "$1" 0
    output=$stderr assert_output --partial 'ulimit -n'
}

# build/chapters/03-poll-add calls itself poll_add in its errors.
short_name() {
    local base
    base=$(basename "$1")
    base=${base#[0-9][0-9]-}
    echo "${base//-/_}"
}

# --- telling the learner ---------------------------------------------------------------

# did WHAT: shown when the test fails, before what was expected and what came.
did() {
    echo "The test did this: $*"
}
