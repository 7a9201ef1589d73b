#!/usr/bin/env bats
# Chapter 1: accept() puts the whole thread to sleep until someone comes.

load helper

@test "program: it greets its visitor, says who came, and ends" {
    start "$program" 0
    run visit "$port"
    assert_output 'hello from chapter 1'
    ended
    assert_success
    assert_line --index 0 "listening on 127.0.0.1:$port"
    assert_line --regexp '^   it returned descriptor [0-9]+: a visitor from 127\.0\.0\.1:[0-9]+$'
    assert_line --regexp '^   the thread waited [0-9.]+ ms and used [0-9.]+ ms of CPU time$'
    assert_equal "$stderr" ''
}

@test "program: while it waits it is asleep and uses no CPU" {
    start "$program" 0
    await_state S
    assert [ "$(cpu_while 0.5)" -le $((10 * patience)) ]
    assert_equal "$(state)" S
    visit "$port"
    ended
    assert_success
}

@test "program: the wait that it prints is the wait there was, nearly all asleep" {
    start "$program" 0
    await_state S
    nap 0.3
    visit "$port"
    ended
    [[ $output =~ waited\ ([0-9]+)\.[0-9]\ ms\ and\ used\ ([0-9]+)\. ]]
    assert [ "${BASH_REMATCH[1]}" -ge 300 ]
    assert [ "${BASH_REMATCH[2]}" -lt $((BASH_REMATCH[1] / 10)) ]
}

@test "program: stopped and continued, it still waits for its visitor" {
    start "$program" 0
    await_state S
    stop_and_continue
    await_state S
    run visit "$port"
    assert_output 'hello from chapter 1'
    ended
    assert_success
}

@test "program: a visitor who has left already does it no harm" {
    start "$program" 0
    kill -STOP "$pid"
    await_state T
    come fd "$port"
    echo unread >&"$fd"
    leave "$fd"
    kill -CONT "$pid"
    ended
    assert_success
    assert_equal "$stderr" ''
}

@test "program: the port it had can be taken again at once" {
    start "$program" 0
    visit "$port"
    ended
    start "$program" "$port"
    run visit "$port"
    assert_output 'hello from chapter 1'
}

# bats test_tags=command_line
@test "program: wrong command lines get the usage" {
    refuses_wrong_command_lines "$program"
}

# bats test_tags=command_line
@test "program: a port in use is named, with what to do" {
    explains_port_in_use "$program"
}

# bats test_tags=command_line
@test "program: a port for root only is named, with what to do" {
    explains_privileged_port "$program"
}

@test "program: with no descriptor left it says so" {
    explains_full_table "$program"
    explains_refusal accept EMFILE "$program" 0
}

# --- the exercise -------------------------------------------------------------

@test "exercise: three visitors, one after the other, each with a number" {
    start "$exercise" 0
    did "three visitors came, each after the one before had been greeted"
    run visit "$port"
    assert_output 'hello, visitor 1'
    run visit "$port"
    assert_output 'hello, visitor 2'
    visit "$port" >"$BATS_TEST_TMPDIR/third"
    assert_equal "$(cat "$BATS_TEST_TMPDIR/third" && echo .)" $'hello, visitor 3\n.'
    ended
    assert_success
}

@test "exercise: who comes early waits in the backlog, and is served in order" {
    start "$exercise" 0
    did "all three visitors came before the program could serve the first"
    kill -STOP "$pid"
    await_state T
    come first "$port"
    come second "$port"
    come third "$port"
    kill -CONT "$pid"
    run hear "$first"
    assert_output 'hello, visitor 1'
    run hear "$second"
    assert_output 'hello, visitor 2'
    run hear "$third"
    assert_output 'hello, visitor 3'
    ended
    assert_success
}

@test "exercise: it pauses 200 ms between two visitors" {
    start "$exercise" 0
    did "three visitors came at once; between them there are two pauses"
    local began=${EPOCHREALTIME/[.,]/}
    come first "$port"
    come second "$port"
    come third "$port"
    run hear "$third"
    assert_output 'hello, visitor 3'
    local ms=$(((${EPOCHREALTIME/[.,]/} - began) / 1000))
    echo "The third was greeted after $ms ms; two pauses of 200 ms take 400 at least."
    assert [ "$ms" -ge 400 ]
    ended
    assert_success
}

@test "exercise: the pauses are spent asleep, and there are two" {
    start_traced accept,accept4,nanosleep,clock_nanosleep,poll,ppoll,select,pselect6 \
        "$exercise" 0
    did "three visitors came at once; strace noted accept and the calls that sleep"
    come first "$port"
    come second "$port"
    come third "$port"
    run hear "$third"
    assert_output 'hello, visitor 3'
    ended
    local order
    order=$(sed -E 's/^[0-9]+ +//; s/^accept4?\(.*/accept/; s/^[a-z_0-9]+\(.*/sleep/' \
        "$trace" | grep -E '^(accept|sleep)$' | tr '\n' ' ')
    echo "In which order were there accept() and a sleep?"
    assert_equal "$order" 'accept sleep accept sleep accept '
}

@test "exercise: while it waits for the third it is asleep" {
    start "$exercise" 0
    did "two visitors came, the third let it wait"
    visit "$port"
    visit "$port"
    await_state S
    assert [ "$(cpu_while 0.3)" -le $((10 * patience)) ]
    visit "$port"
    ended
    assert_success
}

@test "exercise: with no descriptor left it says so, and does not spin" {
    did "accept() failed with EMFILE each time"
    explains_refusal accept EMFILE "$exercise" 0
}
