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
#
# To start a process costs milliseconds, and there are hundreds of tests: what is
# done again and again here is done by the shell itself.

bats_require_minimum_version 1.5.0

# As `bats_load_library` does, without two processes for each file it reads.
load_library() {
    local IFS=: folder file
    for folder in $BATS_LIB_PATH; do
        [ -e "$folder/$1/load.bash" ] || continue
        for file in "$folder/$1"/src/*.bash; do
            # shellcheck source=/dev/null
            . "$file"
        done
        return
    done
    echo "$1 is not in $BATS_LIB_PATH" >&2
    return 1
}
load_library bats-support
load_library bats-assert

patience=${PATIENCE:-1}
build=${BUILD:-build}
[[ $build == /* ]] || build=$PWD/$build
name=${BATS_TEST_FILENAME##*/} name=${name%.bats}
program=$build/chapters/$name
exercise=${EXERCISE:-$build/solutions/$name}
[[ $exercise == /* ]] || exercise=$PWD/$exercise

setup_file() {
    # What this kernel lacks of what the chapter needs, if anything: the sentence
    # that its program would end with. Where it refuses any ring, the tests fail.
    lacking=''
    local needs='' how=0
    # shellcheck source=/dev/null
    [ ! -e "chapters/$name/visit" ] || . "chapters/$name/visit"
    if [ -n "$needs" ]; then
        # shellcheck disable=SC2086 # names with spaces between
        lacking=$("$build/tools/features" $needs 2>&1) || how=$?
        [ "$how" -eq 77 ] || lacking=''
    fi
    export lacking
    ticks_a_second=$(getconf CLK_TCK)
    export ticks_a_second
}

setup() {
    out=$BATS_TEST_TMPDIR/out err=$BATS_TEST_TMPDIR/err pid=
    # bats notes each command, to tell which one failed, and takes longer for it
    # than the command does: the tests' own commands are enough
    set +T
    # `make progress` wants to know only whether all pass.
    if [ -n "${FAST:-}" ] && [ -e "$BATS_FILE_TMPDIR/failed" ]; then
        skip 'one has failed already'
    fi
    [ -z "${lacking:-}" ] || skip "${lacking#features: }"
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
    begin "$@"
    await '^listening on 127\.0\.0\.1:([0-9]+)'
    # shellcheck disable=SC2034
    port=${BASH_REMATCH[1]}
}

# begin COMMAND ...: runs it in the background. Sets $pid.
begin() {
    : >"$out" # what another printed is not to be taken for its words
    # bats waits for whoever holds its descriptor 3
    "$@" >"$out" 2>"$err" 3>&- &
    pid=$!
}

# doors N: waits until the started program listens at N ports, and sets $ports.
doors() {
    local deadline=$((SECONDS + 6 * patience)) naps=0 line
    while :; do
        ports=()
        while read -r line; do
            [[ $line != 'listening on 127.0.0.1:'* ]] || ports+=("${line##*:}")
        done <"$out"
        [ "${#ports[@]}" -lt "$1" ] || return 0
        running && [ "$SECONDS" -lt "$deadline" ] || fail "It was to listen at $1 ports, and listens at ${#ports[@]}.
$(it_said)" || return
        nap
    done
}

# it_said: what the program has printed, for the messages of failing tests.
it_said() {
    echo 'The program printed, up to then:'
    tail -n 10 "$out"
    tail -n 5 "$err"
}

# await REGEX [SECONDS]: until the program has printed a matching line. Sets
# $BASH_REMATCH.
await() {
    local deadline=$((SECONDS + ${2:-10} * patience + 1)) naps=0 said i=0 alive=yes
    while :; do
        running || alive=no
        mapfile -t said <"$out"
        for (( ; i < ${#said[@]}; i++)); do
            [[ ! ${said[i]} =~ $1 ]] || return 0
        done
        # the last line may have been half a line
        i=$((i > 0 ? i - 1 : 0))
        if [ "$alive" = no ] || [ "$SECONDS" -ge "$deadline" ]; then
            fail "$([ "$alive" = yes ] && echo 'The program runs, but' || echo 'The program ended, and') it did not print a line like: $1
$(it_said)" || return
        fi
        nap
    done
}

# nap [SECONDS]: a pause. In a loop that has its own $naps, 0 at first, the seconds
# may be left out: 10 ms, then 20, and so on up to 50, for whoever looks often keeps
# others from the CPU. Reads what nobody writes: no process, as `sleep` is.
nap() {
    [ -p "$BATS_FILE_TMPDIR/nobody" ] || mkfifo "$BATS_FILE_TMPDIR/nobody"
    [ -n "${1:-}" ] || naps=$((naps < 5 ? naps + 1 : 5))
    read -r -t "${1:-0.0$naps}" <>"$BATS_FILE_TMPDIR/nobody" || true
}

running() {
    local letter ticks
    look && [ "$letter" != Z ]
}

# ended [SECONDS]: the program must end within that time (5 seconds when left
# out). Sets $status, $output, $lines and $stderr, as `run` does.
ended() {
    local deadline=$((SECONDS + ${1:-5} * patience + 1)) naps=0
    while running; do
        [ "$SECONDS" -lt "$deadline" ] || fail "The program has not ended within ${1:-5} seconds; it is in state $(state).
$(it_said)" || return
        nap
    done
    status=0
    wait "$pid" || status=$?
    so_far
}

# so_far: sets $output, $lines and $stderr to what the program has printed.
so_far() {
    output='' stderr=''
    slurp output "$out"
    slurp stderr "$err"
    mapfile -t lines <"$out"
}

# slurp VARIABLE FILE: as VARIABLE=$(<FILE), without the process that this takes.
slurp() {
    local text
    IFS= read -r -d '' text <"$2" || true
    while [[ $text == *$'\n' ]]; do text=${text%$'\n'}; done
    printf -v "$1" %s "$text"
}

# ends COMMAND ...: runs it, to its end within 10 seconds, beside a program that
# may be started. Sets what ended sets.
ends() {
    local pid out=$out.beside err=$err.beside
    begin "$@"
    ended 10 || {
        kill -KILL "$pid"
        return 1
    }
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
    local heard how=0
    IFS= read -r -d '' -t $((3 * patience)) -u "$1" heard 2>"$BATS_TEST_TMPDIR/hear" || how=$?
    [ "$how" -le 128 ] || fail "A visitor came and listened for 3 seconds; the program did not hang up. It is in state $(state).
$(it_said)" || return
    [ ! -s "$BATS_TEST_TMPDIR/hear" ] || fail "A visitor's connection was reset: the program ended, or gave them up.
$(it_said)" || return
    printf %s "$heard"
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

# look: sets $letter to the program's state, R runs, S sleeps, T is stopped, and
# $ticks to its CPU time, user and system. proc(5), /proc/pid/stat
look() {
    local stat fields
    { read -r stat <"/proc/$pid/stat"; } 2>/dev/null || return
    read -r -a fields <<<"${stat##*) }"
    letter=${fields[0]} ticks=$((fields[11] + fields[12]))
}

state() {
    local letter='' ticks
    look || true
    echo "$letter"
}

# await_state LETTER: until the program is in that state.
await_state() {
    local deadline=$((SECONDS + 5 * patience + 1)) naps=0 letter='' ticks
    until look && [ "$letter" = "$1" ]; do
        running && [ "$SECONDS" -lt "$deadline" ] ||
            fail "The program was to be in state $1, and is in '$letter'.
$(it_said)" || return
        nap
    done
}

# CPU time used so far, user and system, in milliseconds.
cpu_ms() {
    local letter ticks
    look
    echo $((ticks * 1000 / ticks_a_second))
}

# cpu_while SECONDS: CPU milliseconds that it uses in so much time.
cpu_while() {
    local letter ticks before
    look
    before=$ticks
    nap "$1"
    look
    echo $(((ticks - before) * 1000 / ticks_a_second))
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

# await_call REGEX: until strace has noted a matching call. Sets $BASH_REMATCH.
await_call() {
    local out=$trace
    await "$1"
}

# Where two ways are timed: an emulated machine has other prices, and one that is
# busy with other tests any price. They are asked for six times the patience.
need_real_cpu() {
    [ "$patience" -lt 6 ] || skip 'the times of an emulated or a busy machine say nothing'
}

need_strace() {
    command -v strace >/dev/null || skip 'strace is not installed'
    # LeakSanitizer cannot work under ptrace
    export ASAN_OPTIONS=detect_leaks=0
    [ -e "$BATS_FILE_TMPDIR/traces" ] || strace -qq -o /dev/null true 2>/dev/null ||
        skip 'this machine does not let strace trace (ptrace is refused)'
    : >"$BATS_FILE_TMPDIR/traces"
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
        ends "$1" "$bad"
        assert_equal "$bad: $status" "$bad: 2"
        assert_equal "$output" ''
        output=$stderr assert_output --partial 'not a port from 0 to 65535'
        output=$stderr assert_output --partial 'usage: '
    done
    ends "$1" 0 1 2
    assert_equal "$status" 2
    output=$stderr assert_output --partial 'too many arguments'
    output=$stderr assert_output --partial 'usage: '
}

# A port in use: the port, the cause and the remedy, exit 1.
explains_port_in_use() {
    start "$1" 0
    ends "$1" "$port"
    assert_equal "$status" 1
    assert_equal "$stderr" "$(short_name "$1"): bind 127.0.0.1:$port: EADDRINUSE (Address already in use): another chapter may still be running; try PORT=0"
}

# A port for root only: the same.
explains_privileged_port() {
    local unprivileged=()
    [ "$(</proc/sys/net/ipv4/ip_unprivileged_port_start)" -gt 80 ] ||
        skip 'here anybody may listen at port 80'
    if [ "$EUID" -eq 0 ]; then
        command -v setpriv >/dev/null || skip 'root, and no setpriv to be less'
        unprivileged=(setpriv --inh-caps=-net_bind_service
            --bounding-set=-net_bind_service)
    fi
    ends "${unprivileged[@]}" "$1" 80
    assert_equal "$status" 1
    assert_equal "$stderr" "$(short_name "$1"): bind 127.0.0.1:80: EACCES (Permission denied): ports below 1024 are for root; try PORT=8080 or PORT=0"
}

# refused CALL ERROR COMMAND ...: runs it where the kernel refuses that call.
refused() {
    ends "$build/tests/refuse" "$@"
}

# explains_refusal CALL ERROR COMMAND ...: one line with the error, exit 1.
explains_refusal() {
    refused "$@"
    assert_equal "$status" 1
    output=$stderr assert_output --regexp "^$(short_name "$3"): .*: $2 \(.+\)"
    output=$stderr refute_output --partial $'\n'
}

# No descriptor left, at each call that makes one.
explains_full_table() {
    explains_refusal socket EMFILE "$1" 0
    output=$stderr assert_output --partial 'ulimit -n'
}

# build/chapters/03-poll-add calls itself poll_add in its errors.
short_name() {
    local base=${1##*/}
    base=${base#[0-9][0-9]-}
    echo "${base//-/_}"
}

# --- telling the learner ---------------------------------------------------------------

# did WHAT: shown when the test fails, before what was expected and what came.
did() {
    echo "The test did this: $*"
}
