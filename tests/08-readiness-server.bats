#!/usr/bin/env bats
# Chapter 8: one thread, one ring, any number of visitors. Nothing that was read
# is lost or repeated, and no visitor costs another.

load helper

# client HOW ...: visitors who check every byte; see tests/client.c.
client() {
    timeout 60 "$build/tests/client" "$port" "$@"
}

# The server's memory, in KB, and the bound that it states.
rss_kb() {
    sed -n 's/^VmRSS:[[:space:]]*\([0-9]*\) kB/\1/p' "/proc/$pid/status"
}

bound_kb() {
    sed -n 's/^1\. at most .*: \([0-9]*\) KB$/\1/p' "$out"
}

# still_serves: a visitor who comes now gets an answer.
still_serves() {
    run client echo 1 1000
    assert_output '1 visitors, 1000 bytes each: every byte came back'
}

@test "program: it echoes two visitors, counts, and ends when they have left" {
    start "$program" 0 2
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
    assert_line --regexp '^5\. [0-9]+ completions in [0-9]+ turns of the loop$'
    assert_equal "$stderr" ''
}

@test "program: 1,000 connections at once are all answered" {
    start "$program" 0 1000
    run client echo 1000 64
    assert_output '1000 visitors, 64 bytes each: every byte came back'
    ended 10
    assert_success
}

@test "program: one system call a turn, however many are ready" {
    start_traced io_uring_enter "$program" 0 200
    client echo 200 64
    ended 20
    [[ $output =~ 5\.\ ([0-9]+)\ completions\ in\ ([0-9]+)\ turns ]]
    assert_equal "$(calls io_uring_enter)" "${BASH_REMATCH[2]}"
    # fewer turns than completions: what is ready together is taken together
    assert [ "${BASH_REMATCH[2]}" -lt "${BASH_REMATCH[1]}" ]
}

@test "program: a client that sends megabytes before it reads loses no byte" {
    start "$program" 0
    local before
    before=$(rss_kb)
    run client late 1 30000000
    assert_success
    assert_line --index 1 '1 visitors, 30000000 bytes each: every byte came back'
    [[ ${lines[0]} =~ ^([0-9]+)\ bytes ]]
    # it did stop taking, and long before the end
    assert [ "${BASH_REMATCH[1]}" -lt 30000000 ]
    # one connection, one buffer
    assert [ $(($(rss_kb) - before)) -lt 1000 ]
    still_serves
}

@test "program: its memory stays under the bound that it states" {
    start "$program" 0
    local empty most=0 now
    empty=$(rss_kb)
    client late 20 5000000 >"$BATS_TEST_TMPDIR/client" 3>&- &
    local clients=$!
    while kill -0 "$clients" 2>/dev/null; do
        now=$(rss_kb)
        [ "$now" -le "$most" ] || most=$now
        sleep 0.02
    done
    wait "$clients"
    run cat "$BATS_TEST_TMPDIR/client"
    assert_line '20 visitors, 5000000 bytes each: every byte came back'
    # the bound is for the connections; what the program is itself comes on top
    run client echo 3000 64
    assert_output '3000 visitors, 64 bytes each: every byte came back'
    now=$(sed -n 's/^VmHWM:[[:space:]]*\([0-9]*\) kB/\1/p' "/proc/$pid/status")
    echo "empty $empty KB, most $now KB, stated bound $(bound_kb) KB"
    assert [ "$(bound_kb)" -gt 0 ]
    assert [ $((now - empty)) -le "$(bound_kb)" ]
    assert [ $((most - empty)) -le 1000 ]
}

@test "program: one byte at a time, and a message larger than any buffer" {
    start "$program" 0
    run client drip 500
    assert_output '500 bytes, one at a time: every byte came back'
    run client echo 3 10000000
    assert_output '3 visitors, 10000000 bytes each: every byte came back'
}

@test "program: who hangs up their side still gets the rest" {
    start "$program" 0
    # echo hangs up its side at the end of what it sends; late does so while
    # megabytes are under way
    run client late 3 4000000
    assert_line --index 1 '3 visitors, 4000000 bytes each: every byte came back'
    run client echo 1 0
    assert_output '1 visitors, 0 bytes each: every byte came back'
}

@test "program: 500 visitors who reset in the middle harm nobody else" {
    start "$program" 0
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

@test "program: stopped and continued with visitors under way, nothing is lost" {
    start "$program" 0
    client late 5 5000000 >"$BATS_TEST_TMPDIR/client" 3>&- &
    local clients=$!
    for _ in 1 2 3; do
        sleep 0.1
        stop_and_continue
    done
    wait "$clients"
    run cat "$BATS_TEST_TMPDIR/client"
    assert_line '5 visitors, 5000000 bytes each: every byte came back'
}

@test "program: with no descriptor left it waits, asleep, and goes on later" {
    start "$program" 0
    command -v prlimit >/dev/null || skip 'no prlimit here'
    prlimit --pid "$pid" --nofile=10:10
    coproc holders { client hold 20 3>&-; }
    await 'no descriptor left'
    # those who are in are served, and it does not spin
    await_state S
    assert [ "$(cpu_while 0.5)" -le 20 ]
    # they leave, and the others are taken out of the backlog
    eval "exec ${holders[1]}>&-"
    await 'has left'
    still_serves
}

@test "program: idle connections cost no CPU" {
    start "$program" 0
    coproc holders { client hold 500 3>&-; }
    await ' 500 here now'
    await_state S
    assert [ "$(cpu_while 0.5)" -le 10 ]
    eval "exec ${holders[1]}>&-"
}

@test "program: wrong command lines get the usage" {
    local bad
    for bad in x -1 65536 '' 8080x; do
        run --separate-stderr timeout 10 "$program" "$bad"
        assert_equal "$bad: $status" "$bad: 2"
        output=$stderr assert_output --partial 'not a port from 0 to 65535'
    done
    for bad in x -1 0 '' 1.5; do
        run --separate-stderr timeout 10 "$program" 0 "$bad"
        assert_equal "$bad: $status" "$bad: 2"
        output=$stderr assert_output --partial 'not a number of visitors'
        output=$stderr assert_output --partial 'usage: '
    done
    run --separate-stderr timeout 10 "$program" 0 1 2
    assert_equal "$status" 2
    output=$stderr assert_output --partial 'too many arguments'
}

@test "program: a port in use is named, with what to do" {
    explains_port_in_use "$program"
}

@test "program: a port for root only is named, with what to do" {
    explains_privileged_port "$program"
}

@test "program: no descriptor, no io_uring: one line each" {
    explains_full_table "$program"
    explains_refusal io_uring_setup EPERM "$program" 0
    explains_refusal io_uring_setup ENOSYS "$program" 0
    explains_refusal io_uring_enter EBUSY "$program" 0
}

# --- the exercise -------------------------------------------------------------

@test "exercise: what one says, all others hear, and the speaker does not" {
    start "$exercise" 0
    did "Ann, Ben and Cleo came; Ann said something, then Cleo did"
    come ann "$port"
    come ben "$port"
    come cleo "$port"
    await '3 here now'
    echo 'hello from Ann' >&"$ann"
    run hear_line "$ben"
    assert_output 'hello from Ann'
    run hear_line "$cleo"
    assert_output 'hello from Ann'
    echo 'hello from Cleo' >&"$cleo"
    run hear_line "$ben"
    assert_output 'hello from Cleo'
    # had Ann heard herself, that would come first
    run hear_line "$ann"
    assert_output 'hello from Cleo'
}

@test "exercise: who leaves is forgotten, the others go on" {
    start "$exercise" 0
    did "three came, one left, then another spoke"
    come ann "$port"
    come ben "$port"
    come cleo "$port"
    await '3 here now'
    leave "$ben"
    await 'has left, 2 here now'
    echo 'two of us' >&"$ann"
    run hear_line "$cleo"
    assert_output 'two of us'
}

@test "exercise: one who never reads does not stop the rest" {
    start "$exercise" 0
    did "ten listeners, a speaker with 20,000 lines of 1,000 bytes, and one who never reads"
    local before grown
    before=$(rss_kb)
    run client chat 10 20000
    assert_output '10 visitors heard 20000 lines, and the speaker none'
    grown=$(($(sed -n 's/^VmHWM:[[:space:]]*\([0-9]*\) kB/\1/p' "/proc/$pid/status") - before))
    echo "The server's memory grew by $grown KB; expected: 2000 at most, 12 outboxes"
    echo "of 64 KB and some."
    assert [ "$grown" -le 2000 ]
}

@test "exercise: a visitor who is slow, and not silent, loses nothing" {
    start "$exercise" 0
    did "Ann spoke 200,000 bytes; Ben listened only after that"
    come ann "$port"
    come ben "$port"
    await '2 here now'
    # 250 lines of 800 bytes: more than one outbox, less than outbox and socket
    local line
    line=$(printf '%0799d' 7)
    for _ in {1..250}; do echo "$line"; done >&"$ann"
    local i
    for i in {1..250}; do
        [ "$(hear_line "$ben")" = "$line" ] || fail "line $i came in pieces, or not at all"
    done
}

@test "exercise: visitors who reset harm nobody else" {
    start "$exercise" 0
    did "two were there, 100 came and reset their connection, then one spoke"
    come ann "$port"
    come ben "$port"
    await '2 here now'
    client reset 100
    # what the 100 said may come first
    echo 'still here' >&"$ann"
    local line
    while IFS= read -r -t 3 -u "$ben" line; do
        [[ $line != *'still here' ]] || break
    done 2>/dev/null
    assert_equal "${line: -10}" 'still here'
}
