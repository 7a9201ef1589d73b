#!/usr/bin/env bats
# Chapter 6: the completion queue is memory that both sides see; looking at it
# is not a system call.

load helper

# Strict mode cannot be entered where another filter is in force already.
need_strict_mode() {
    grep -q '^Seccomp:[[:space:]]*0$' /proc/self/status ||
        skip 'a seccomp filter is in force here (a container?): no strict mode'
}

@test "program: in strict mode its child dies of accept(), it gets a CQE" {
    need_strict_mode
    start "$program" 0
    await '^4\. '
    come fd "$port" || true # it may have ended by then
    ended
    assert_success
    assert_line '   killed by signal 9'
    assert_line --regexp '^5\. alive, and at peek [0-9]+ a CQE: user_data 0xdeadbeef, res 1 \(POLLIN\)$'
    assert_equal "$stderr" ''
}

@test "program: it peeks by the million before its visitor comes" {
    need_strict_mode
    start "$program" 0
    await '^4\. '
    nap 0.5
    come fd "$port" || true # it may have ended by then
    ended
    [[ $output =~ peek\ ([0-9]+)\  ]]
    # in half a second; at a microsecond each it would be half a million
    assert [ "${BASH_REMATCH[1]}" -ge 1000000 ]
}

@test "program: after the seccomp call there is nothing but write and exit" {
    need_strict_mode
    start_traced all "$program" 0
    await '^4\. ' 20
    # strict mode of the parent, not of the child: the last call of prctl
    local deadline=$((SECONDS + 10))
    until [ "$(calls 'SECCOMP_MODE_STRICT')" -eq 2 ]; do
        [ "$SECONDS" -lt "$deadline" ] || fail 'it never entered strict mode'
        nap 0.05
    done
    nap 0.3
    come fd "$port" || true # it may have ended by then
    ended
    assert_success
    run awk '/SECCOMP_MODE_STRICT/ { after = "" ; next }
             { after = after "\n" $2 } END { print substr(after, 2) }' "$trace"
    # the two calls there are, and strace's own word (+++) on the end
    assert_line --regexp '^write\(1,'
    assert_line --regexp '^exit\(0\)'
    run grep -vE '^(write\(1,|exit\(0\)|\+\+\+)' <<<"$output"
    assert_output ''
}

@test "program: accept() costs at least 50 times a peek" {
    need_real_cpu
    start "$program" 0
    await '^4\. |^3\. ' 20
    so_far
    [[ $output =~ accept\(\)\ costs\ ([0-9]+)\ times ]]
    echo "accept() costs ${BASH_REMATCH[1]} times as much, expected: 50 at least"
    assert [ "${BASH_REMATCH[1]}" -ge 50 ]
}

@test "program: who comes while it measures is greeted, and harms nothing" {
    need_strict_mode
    start "$program" 0
    kill -STOP "$pid"
    await_state T
    come early "$port"
    kill -CONT "$pid"
    # The early one's CQE may be there already; if not, this one's comes.
    await '^4\. ' 20
    (come late "$port" && hear "$late") >/dev/null || true
    ended
    assert_success
    assert_line --regexp '^5\. alive, and at peek [0-9]+ a CQE: user_data 0xdeadbeef, res '
}

@test "program: stopped and continued in strict mode, it goes on peeking" {
    need_strict_mode
    start "$program" 0
    await '^4\. '
    stop_and_continue
    come fd "$port" || true # it may have ended by then
    ended
    assert_success
    assert_line --partial '5. alive'
}

@test "program: without strict mode it says why" {
    refused prctl EINVAL "$program" 0
    assert_equal "$status" 1
    assert_equal "$stderr" 'peeking: prctl PR_SET_SECCOMP: EINVAL (Invalid argument): another seccomp filter is in force, as in containers
peeking: the child was not killed, but ended with 1'
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

@test "program: no descriptor, no io_uring: one line each" {
    explains_full_table "$program"
    explains_refusal io_uring_setup EPERM "$program" 0
    explains_refusal io_uring_setup ENOSYS "$program" 0
    explains_refusal io_uring_enter EBUSY "$program" 0
    explains_refusal accept EMFILE "$program" 0
}

# --- the exercise -------------------------------------------------------------

done_line='done: the primes below 2000000 sum to 142913828922'

# Three visitors are three completions: each is taken once and given back.
taken_once() {
    echo "Each completion is to be taken once, and given back: three in all. It said:"
    grep -m 8 '^took ' "$out" || true
    assert_equal "$(sed -n 's/^took \([0-9]*\) completions.*/\1/p' "$out" |
        awk '{ n += $1 } END { print n + 0 }')" "${1:-3}"
}

@test "exercise: who comes during the work is greeted before it is done" {
    start "$exercise" 0
    # stopped as soon as it listens, it has most of its work before it
    doors 3
    kill -STOP "$pid"
    did "a visitor came while the program was working"
    come fd "${ports[1]}"
    kill -CONT "$pid"
    run hear "$fd"
    assert_output 'hello from door 1'
    await '^done' 60
    visit "${ports[0]}"
    visit "${ports[2]}"
    ended
    assert_success
    taken_once
    echo "It printed what stands below; expected: the first greeting before '$done_line'"
    echo "$output"
    run grep -m 1 -E 'greeted|^done' "$out"
    assert_output --partial greeted
    run cat "$out"
    assert_line "$done_line"
}

@test "exercise: three who come at once are taken in one go" {
    start "$exercise" 0
    doors 3
    await '^working'
    did "the program was stopped during its work, three visitors came, it went on"
    kill -STOP "$pid"
    await_state T
    come first "${ports[0]}"
    come second "${ports[1]}"
    come third "${ports[2]}"
    kill -CONT "$pid"
    run hear "$first"
    assert_output 'hello from door 0'
    run hear "$second"
    assert_output 'hello from door 1'
    run hear "$third"
    assert_output 'hello from door 2'
    ended 60
    assert_success
    assert_line 'took 3 completions in one go'
    assert_line "$done_line"
    taken_once
}

@test "exercise: the looks at the door are no system calls" {
    start_traced io_uring_enter,poll,ppoll,accept,accept4,select,pselect6 "$exercise" 0
    doors 3
    await '^working'
    did "nobody came during the work; strace noted the calls that ask or wait"
    await '^done' 60
    local calls_while_working
    calls_while_working=$(calls '\(')
    echo "Calls up to the end of the work: $calls_while_working, expected: 3 at most"
    echo "(one submits the polls; the sum has 200 slices, with a look after each):"
    cat "$trace"
    assert [ "$calls_while_working" -le 3 ]
    visit "${ports[0]}"
    visit "${ports[1]}"
    visit "${ports[2]}"
    ended
    assert_success
}

@test "exercise: once the work is done it sleeps" {
    start "$exercise" 0
    doors 3
    did "nobody came until the work was done"
    await '^done' 60
    await_state S
    local used
    used=$(cpu_while 0.3)
    echo "It used $used ms of CPU time in 300 ms, expected: 10 at most."
    assert [ "$used" -le $((10 * patience)) ]
    visit "${ports[2]}"
    visit "${ports[0]}"
    visit "${ports[1]}"
    ended
    assert_success
}

@test "exercise: when nobody is there after all, that door is asked again" {
    start_injected accept,accept4:error=EAGAIN:when=3 "$exercise" 0
    doors 3
    did "the third accept() found nobody, though the poll had said POLLIN"
    local i
    for i in 0 1 2; do
        run visit "${ports[i]}"
        assert_output "hello from door $i"
    done
    ended 60
    assert_success
    # that door's poll had to be asked for twice
    taken_once 4
}
