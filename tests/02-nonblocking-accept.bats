#!/usr/bin/env bats
# Chapter 2: non-blocking accept() never sleeps; asking again and again costs a
# system call and a busy CPU each time.

load helper

@test "program: it greets its visitor, says what the tries cost, and ends" {
    start "$program" 0
    run visit "$port"
    assert_output 'hello from chapter 2'
    ended
    assert_success
    assert_line --index 0 "listening on 127.0.0.1:$port"
    assert_line --regexp '^   [0-9]+ tries found nobody, the next one a visitor$'
    assert_line --regexp '^   [0-9]+ ns a try$'
    assert_equal "$stderr" ''
}

@test "program: the listener does not block, its visitor's socket does" {
    start "$program" 0
    visit "$port"
    ended
    assert_line --regexp '^1\. the listener, descriptor [0-9]+, does not block$'
    assert_line --regexp '^3\. the visitor, descriptor [0-9]+, blocks$'
}

@test "program: while it waits it is on a CPU all the time" {
    start "$program" 0
    await '^2\. '
    nap 0.5
    visit "$port"
    ended
    [[ $output =~ waited\ ([0-9]+)\.[0-9]\ ms\ and\ used\ ([0-9]+)\. ]]
    # more than chapter 1 may use by far, even where the CPU is shared
    assert [ "${BASH_REMATCH[1]}" -ge 450 ]
    assert [ "${BASH_REMATCH[2]}" -ge $((BASH_REMATCH[1] / 10)) ]
}

@test "program: strace counts the tries that it printed, plus one" {
    start_traced accept,accept4 "$program" 0
    visit "$port"
    ended
    [[ $output =~ ([0-9]+)\ tries ]]
    local tries=${BASH_REMATCH[1]}
    assert [ "$tries" -gt 0 ]
    assert_equal "$(calls '^[0-9]+ +accept4?\(')" $((tries + 1))
    assert_equal "$(calls EAGAIN)" "$tries"
}

@test "program: a visitor who left while in the backlog counts as nobody" {
    start_injected accept,accept4:error=ECONNABORTED:when=3 "$program" 0
    run visit "$port"
    assert_output 'hello from chapter 2'
    ended
    assert_success
    assert_equal "$(calls ECONNABORTED)" 1
    assert_line --partial "   $(calls 'EAGAIN|ECONNABORTED') tries found nobody"
}

@test "program: stopped and continued, it goes on asking" {
    start "$program" 0
    stop_and_continue
    run visit "$port"
    assert_output 'hello from chapter 2'
    ended
    assert_success
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

@test "program: with no descriptor left it says so, and does not spin" {
    explains_full_table "$program"
    explains_refusal accept EMFILE "$program" 0
}

# --- the exercise -------------------------------------------------------------

@test "exercise: it greets its visitor and ends" {
    start "$exercise" 0
    did "a visitor came"
    run visit "$port"
    assert_output 'hello from exercise 2'
    ended
    assert_success
}

@test "exercise: while it waits it is asleep and uses almost no CPU" {
    start "$exercise" 0
    did "nobody came for half a second"
    local used
    used=$(cpu_while 0.5)
    echo "It used $used ms of CPU time in 500 ms, and was in state $(state);"
    echo "expected: at most 10 ms, and state S, asleep."
    assert [ "$used" -le $((10 * patience)) ]
    await_state S
    visit "$port"
    ended
    assert_success
}

@test "exercise: the wait is one poll() and one or two accept()" {
    start_traced accept,accept4,poll,ppoll "$exercise" 0
    did "a visitor came after 300 ms; strace noted accept and poll"
    nap 0.3
    visit "$port"
    ended
    local polls accepts
    polls=$(calls 'poll\(') accepts=$(calls 'accept4?\(')
    echo "It called poll $polls times and accept $accepts times;"
    echo "expected: poll once, accept once or twice."
    assert_equal "$polls" 1
    assert [ "$accepts" -ge 1 ]
    assert [ "$accepts" -le 2 ]
    echo "The poll had a time limit; expected: none (-1). It was:"
    grep 'poll(' "$trace"
    assert_equal "$(calls '[^p]poll\(.*, 1, -1\)|ppoll\(.*, 1, NULL,')" 1
}

@test "exercise: the listener stays non-blocking" {
    start_traced socket,fcntl,ioctl "$exercise" 0
    did "strace noted how the listener was made"
    visit "$port"
    ended
    echo "Nothing here says SOCK_NONBLOCK, O_NONBLOCK or FIONBIO:"
    cat "$trace"
    assert [ "$(calls 'SOCK_NONBLOCK|O_NONBLOCK|FIONBIO')" -ge 1 ]
}

@test "exercise: readiness is no promise: when accept() finds nobody, it polls again" {
    start_traced 'accept,accept4,poll,ppoll -e inject=accept,accept4:error=EAGAIN:when=1..4' \
        "$exercise" 0
    did "the first four calls of accept() found nobody, though a visitor was there"
    run visit "$port"
    assert_output 'hello from exercise 2'
    ended
    assert_success
    local polls
    polls=$(calls 'poll\(')
    echo "It called poll $polls times; expected: 4 at least, one after each EAGAIN."
    assert [ "$polls" -ge 4 ]
}

@test "exercise: a poll() that a signal ends early is no failure" {
    start_injected poll,ppoll:error=EINTR:when=1 "$exercise" 0
    did "the first poll() failed with EINTR; then a visitor came"
    nap 0.1
    run visit "$port"
    assert_output 'hello from exercise 2'
    ended
    assert_success
}

@test "exercise: with no descriptor left it says so, and does not spin" {
    did "accept() failed with EMFILE each time"
    explains_refusal accept EMFILE "$exercise" 0
}
