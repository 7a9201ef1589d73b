# shellcheck shell=bash disable=SC2034,SC2154
# servers.bash - what every echo server of the course keeps to, as tests
#
# A test file loads it after helper and calls one function a test, with the
# server's command. What the server does is seen from outside: by clients who
# check every byte (tests/client.c), by /proc and by strace.

# client HOW ...: visitors at the started server; see tests/client.c.
client() {
    local how=0
    "$build/tests/client" "$port" "$@" || how=$?
    [ "$how" -ne 142 ] ||
        echo "The visitors gave up after $((60 * patience)) seconds: $*. $(it_said)"
    return "$how"
}

# The server's memory now, the most it ever had, and the bound that it states,
# in KB.
rss_kb() {
    memory VmRSS
}

most_kb() {
    memory VmHWM
}

memory() {
    [[ $(<"/proc/$pid/status") =~ $1:[[:space:]]*([0-9]+)\ kB ]]
    echo "${BASH_REMATCH[1]}"
}

bound_kb() {
    sed -n 's/^1\. at most .*: \([0-9]*\) KB$/\1/p' "$out"
}

# AddressSanitizer's memory is no measure of the server's.
sanitized() {
    grep -q __asan_init "$1"
}

# A visitor who comes now gets an answer.
still_serves() {
    run client echo 1 1000
    assert_output '1 visitors, 1000 bytes each: every byte came back'
}

# Two visitors at once, counted; the server ends when both have left.
echoes_two_visitors() {
    start "$@" 0 2
    come one "$port"
    come two "$port"
    echo 'first' >&"$one"
    echo 'second' >&"$two"
    assert_equal "$(hear_line "$two")" second
    assert_equal "$(hear_line "$one")" first
    leave "$one"
    await 'has left, 6 bytes echoed'
    leave "$two"
    ended
    assert_success
    assert_equal "$stderr" ''
}

answers_3000_at_once() {
    answers_at_once 3000 "$@"
}

# The server and its visitors take so many descriptors each, and this test sees
# to its own limit.
answers_10000_at_once() {
    answers_at_once 10000 "$@"
}

# answers_at_once N SERVER ...
answers_at_once() {
    local most
    most=$(ulimit -Hn)
    [ "$most" = unlimited ] || [ "$most" -ge $(($1 + 100)) ] ||
        ulimit -Hn $(($1 + 100)) 2>/dev/null ||
        skip "$1 connections take $(($1 + 100)) descriptors; here $most are to be had, and the limit cannot be raised"
    start "${@:2}" 0 "$1"
    run client echo "$1" 64
    assert_output "$1 visitors, 64 bytes each: every byte came back"
    ended 20
    assert_success
}

# It stops taking at some time, and long before the end; then every byte comes.
loses_no_byte_to_a_late_reader() {
    start "$@" 0
    local before
    await '^1\. at most'
    before=$(most_kb)
    run client late 1 30000000
    assert_success
    assert_line --index 1 '1 visitors, 30000000 bytes each: every byte came back'
    [[ ${lines[0]} =~ ^([0-9]+)\ bytes ]]
    assert [ "${BASH_REMATCH[1]}" -lt 30000000 ]
    echo "for one connection its memory grew by $(($(most_kb) - before)) KB"
    # (not exact, proc(5); and huge pages come in pieces of 2 MB)
    sanitized "$1" || assert [ $(($(most_kb) - before)) -lt 6500 ]
    still_serves
}

# The bound that it states is for its connections; what the program is before
# the first of them comes on top.
keeps_to_its_memory_bound() {
    ! sanitized "$1" || skip 'AddressSanitizer takes memory of its own'
    start "$@" 0
    local empty
    await '^1\. at most'
    empty=$(rss_kb)
    run client late 20 5000000
    assert_line '20 visitors, 5000000 bytes each: every byte came back'
    run client echo 3000 64
    assert_output '3000 visitors, 64 bytes each: every byte came back'
    echo "empty $empty KB, most $(most_kb) KB, stated bound $(bound_kb) KB"
    assert [ "$(bound_kb)" -gt 0 ]
    assert [ $(($(most_kb) - empty)) -le "$(bound_kb)" ]
}

takes_single_bytes_and_big_messages() {
    start "$@" 0
    run client drip 500
    assert_output '500 bytes, one at a time: every byte came back'
    run client echo 3 10000000
    assert_output '3 visitors, 10000000 bytes each: every byte came back'
}

# Clients hang up their side at the end of what they send; with late, while
# megabytes are under way.
answers_who_hangs_up_their_side() {
    start "$@" 0
    run client late 3 4000000
    assert_line --index 1 '3 visitors, 4000000 bytes each: every byte came back'
    run client echo 1 0
    assert_output '1 visitors, 0 bytes each: every byte came back'
}

# Six hundred who send and send do not keep another from being served.
serves_a_newcomer_in_a_flood() {
    # an emulated machine needs as long for less, and may have sent the first of
    # them home before it lets the last one in
    local size=700000 many=600
    [ "$patience" -lt 6 ] || size=150000 many='[3-6][0-9][0-9]'
    start "$@" 0
    client echo 600 "$size" >"$BATS_TEST_TMPDIR/flood" 2>&1 3>&- &
    local flood=$!
    await " $many here now"
    run client echo 1 1000
    assert_output '1 visitors, 1000 bytes each: every byte came back'
    # the flood went on meanwhile, and it gets its bytes too
    kill -0 "$flood" || fail "the flood ended before the newcomer was served"
    wait "$flood"
    assert_equal "$(cat "$BATS_TEST_TMPDIR/flood")" \
        "600 visitors, $size bytes each: every byte came back"
}

survives_resets() {
    start "$@" 0
    come fd "$port"
    echo before >&"$fd"
    assert_equal "$(hear_line "$fd")" before
    run client reset 500
    assert_output '500 visitors reset their connection'
    echo after >&"$fd"
    assert_equal "$(hear_line "$fd")" after
    still_serves
    assert_equal "$(cat "$err")" ''
}

survives_stop_and_continue() {
    start "$@" 0
    client late 5 5000000 >"$BATS_TEST_TMPDIR/client" 3>&- &
    local clients=$!
    for _ in 1 2 3; do
        nap 0.1
        stop_and_continue
    done
    wait "$clients"
    run cat "$BATS_TEST_TMPDIR/client"
    assert_line '5 visitors, 5000000 bytes each: every byte came back'
}

# Becomes the server; what "$@" names may be a function that does.
with_few_descriptors() {
    ulimit -n "${DESCRIPTORS:-12}"
    if [ "$(type -t "$1")" = function ]; then
        "$@"
    else
        exec "$@"
    fi
}

# With a table of N descriptors (12 when left out, by DESCRIPTORS=N), or as many
# slots in the ring: those who are in are served, the others wait in the backlog,
# and it does not spin.
waits_when_out_of_descriptors() {
    # from the start: an ACCEPT keeps to the limit of when it was submitted
    start with_few_descriptors "$@" 0
    coproc holders { client hold 30 3>&-; }
    await 'no (descriptor|slot) left'
    await_state S
    local used
    used=$(cpu_while 0.5)
    echo "out of descriptors it used $used ms of CPU time in 500 ms"
    assert [ "$used" -le $((20 * patience)) ]
    # they leave, and the others are taken out of the backlog
    eval "exec ${holders[1]}>&-"
    await 'has left'
    still_serves
}

sleeps_while_nobody_speaks() {
    start "$@" 0
    coproc holders { client hold 500 3>&-; }
    await ' 500 here now'
    await_state S
    assert [ "$(cpu_while 0.5)" -le $((10 * patience)) ]
    assert running
    eval "exec ${holders[1]}>&-"
}

# SIGTERM ends it at once, and the port can be taken again.
ends_on_sigterm() {
    start "$@" 0
    come fd "$port"
    echo hello >&"$fd"
    assert_equal "$(hear_line "$fd")" hello
    kill -TERM "$pid"
    ended
    assert_equal "$status" 143
    # the kernel takes a dead process's ring apart a little later, and with it
    # the listener that an ACCEPT still held
    local deadline=$((SECONDS + 5 * patience)) naps=0 listens
    printf -v listens ':%04X 00000000:0000 0A' "$port"
    while grep -q "$listens" /proc/net/tcp; do
        assert [ "$SECONDS" -lt "$deadline" ]
        nap
    done
    start "$@" "$port"
    still_serves
}

refuses_wrong_server_command_lines() {
    local bad
    for bad in x -1 65536 '' 8080x; do
        ends "$@" "$bad"
        assert_equal "$bad: $status" "$bad: 2"
        output=$stderr assert_output --partial 'not a port from 0 to 65535'
    done
    for bad in x -1 0 '' 1.5; do
        ends "$@" 0 "$bad"
        assert_equal "$bad: $status" "$bad: 2"
        output=$stderr assert_output --partial 'not a number of visitors'
        output=$stderr assert_output --partial 'usage: '
    done
    # one more than any server takes
    ends "$@" 0 1 1 1
    assert_equal "$status" 2
    output=$stderr assert_output --partial 'too many arguments'
}
