#!/usr/bin/env bats
# Chapter 9: ask for the accept itself. The CQE's res is the new socket.

load helper
load servers

@test "program: it greets its visitors, knows who they are, and ends" {
    start "$program" 0 3
    local i
    for i in 1 2 3; do
        run visit "$port"
        assert_output 'hello from chapter 9'
    done
    ended
    assert_success
    assert_equal "$(grep -cE '^4\. ACCEPT: res [0-9]+, a visitor from 127\.0\.0\.1:[1-9][0-9]*$' "$out")" 3
    # three visitors, three ports of theirs
    assert_equal "$(grep -o '127\.0\.0\.1:[0-9]*$' "$out" | sort -u | wc -l)" 4
    assert_equal "$stderr" ''
}

@test "program: no accept() any more, and one call a visitor to have them" {
    start_traced accept,accept4,io_uring_enter,poll,ppoll "$program" 0 20
    local i
    for i in {1..20}; do
        visit "$port" >/dev/null
    done
    ended
    assert_success
    assert_equal "$(calls 'accept4?\(')" 0
    assert_equal "$(calls 'io_uring_enter\(')" 20
}

@test "program: chapter 3's way takes three calls for one visitor" {
    start_traced accept,accept4,io_uring_enter "$build/chapters/03-poll-add" 0
    await '^5\. '
    visit "$port"
    ended
    # submit, wait and accept; the accept() that shows EAGAIN is not needed
    assert_equal "$(calls 'EAGAIN')" 1
    assert_equal "$(calls '(io_uring_enter|accept4?)\(')" $((3 + 1))
}

@test "program: the listener blocks, and the thread sleeps all the same" {
    start_traced socket,fcntl "$program" 0 1
    await_state S
    assert_equal "$(calls NONBLOCK)" 0
    assert [ "$(cpu_while 0.3)" -le $((10 * patience)) ]
    visit "$port"
    ended
    assert_success
}

@test "program: who comes in the meantime is not lost" {
    start "$program" 0 100
    kill -STOP "$pid"
    await_state T
    client hold 100 </dev/null
    kill -CONT "$pid"
    ended
    assert_success
    assert_equal "$(grep -c '^4\. ACCEPT' "$out")" 100
}

@test "program: stopped and continued, it goes on waiting" {
    start "$program" 0 2
    await_state S
    stop_and_continue
    run visit "$port"
    assert_output 'hello from chapter 9'
    await_state S
    stop_and_continue
    run visit "$port"
    assert_output 'hello from chapter 9'
    ended
    assert_success
}

@test "program: a wait that a signal breaks is begun again" {
    start_injected io_uring_enter:error=EINTR:when=1 "$program" 0 1
    run visit "$port"
    assert_output 'hello from chapter 9'
    ended
    assert_success
}

@test "program: with no descriptor left it says so, and does not spin" {
    # LeakSanitizer would need one
    export ASAN_OPTIONS=detect_leaks=0
    start "$program" 0
    command -v prlimit >/dev/null || skip 'prlimit is not installed (util-linux)'
    prlimit --pid "$pid" --nofile=3:3
    come fd "$port"
    ended
    assert_equal "$status" 1
    assert_equal "$stderr" 'async_accept: ACCEPT: EMFILE (Too many open files): this process may open no more files; see ulimit -n'
}

@test "program: visitors who reset do it no harm" {
    start "$program" 0
    run client reset 100
    assert_output '100 visitors reset their connection'
    run visit "$port"
    assert_output 'hello from chapter 9'
}

# bats test_tags=command_line
@test "program: wrong command lines get the usage" {
    refuses_wrong_server_command_lines "$program"
}

# bats test_tags=command_line
@test "program: a port in use is named, with what to do" {
    explains_port_in_use "$program"
}

# bats test_tags=command_line
@test "program: a port for root only is named, with what to do" {
    explains_privileged_port "$program"
}

@test "program: no descriptor, no io_uring: one line each" {
    explains_full_table "$program"
    explains_refusal io_uring_setup EPERM "$program" 0
    explains_refusal io_uring_setup ENOSYS "$program" 0
}

# --- the exercise -------------------------------------------------------------

@test "exercise: visitors one after the other are told their own address" {
    start "$exercise" 0
    did "twelve visitors came, each after the one before"
    local i
    for i in {1..12}; do
        run client address 1
        assert_output '1 visitors were told their own address'
    done
}

@test "exercise: four who come at once are told their own address" {
    start "$exercise" 0
    did "four visitors came while the program was stopped; then it went on"
    await_state S
    kill -STOP "$pid"
    await_state T
    client address 4 >"$BATS_TEST_TMPDIR/client" 2>&1 3>&- &
    local clients=$!
    nap 0.3
    kill -CONT "$pid"
    wait "$clients" || true
    run cat "$BATS_TEST_TMPDIR/client"
    assert_output '4 visitors were told their own address'
}

@test "exercise: 200 who come at once are told their own address" {
    start "$exercise" 0
    did "200 visitors came, all at once"
    run client address 200
    assert_output '200 visitors were told their own address'
}

@test "exercise: the slot is the one that the CQE names, in whatever order" {
    # The second io_uring_enter is held back at its door. Who comes meanwhile is
    # taken by the ACCEPT that it submits, ahead of the three that wait.
    start_injected io_uring_enter:delay_enter=400000:when=2 "$exercise" 0
    did "two visitors came, the second while the first one's slot was submitted again"
    run client address 1
    assert_output '1 visitors were told their own address'
    run client address 1
    assert_output '1 visitors were told their own address'
}

# submitted: how many SQEs each io_uring_enter has handed over, on a line.
submitted() {
    sed -n 's/.*io_uring_enter([0-9]*, \([0-9]*\), .*/\1/p' "$trace"
}

@test "exercise: four accepts are in flight, before anybody comes and after" {
    start_traced io_uring_enter "$exercise" 0
    await_state S
    did "strace noted how many requests each io_uring_enter submits"
    local first all
    first=$(submitted | head -n 1)
    [ "$first" = 4 ] || fail "The first io_uring_enter submitted $first; expected: 4."
    did "four visitors came while the program was stopped; then it went on"
    kill -STOP "$pid"
    await_state t
    client address 4 >"$BATS_TEST_TMPDIR/client" 2>&1 3>&- &
    local clients=$!
    nap 0.3
    kill -CONT "$pid"
    wait "$clients" || true
    await_state S
    all=$(submitted | awk '{ sum += $1 } END { print sum }')
    [ "$all" = 8 ] || fail "Four ACCEPTs had completed, and $((all - 4)) were asked for again; expected: 4."
}
