#!/usr/bin/env bats
# Chapter 7: there is no magic: two arrays and four counters in shared memory.

load helper

@test "program: it greets its visitor without liburing" {
    start "$program" 0
    await '^4\. '
    run visit "$port"
    assert_output 'hello from chapter 7'
    ended
    assert_success
    assert_equal "$stderr" ''
    run grep -c liburing <(ldd "$program")
    assert_output 0
    # nor is it linked in: the library's functions are not there
    run grep -c io_uring_queue_init "$program"
    assert_output 0
}

@test "program: its CQE is the same as chapter 3's" {
    start "$program" 0
    await '^4\. '
    visit "$port"
    ended
    local by_hand
    by_hand=$(sed -n 's/^5\. a CQE: //p' "$out")
    start "$build/chapters/03-poll-add" 0
    await '^5\. '
    visit "$port"
    ended
    assert_equal "$by_hand" 'user_data 0xdeadbeef, res 1 (POLLIN)'
    assert_equal "$by_hand" "$(sed -n 's/^6\. a CQE: //p' "$out")"
}

@test "program: a ring of 2 in one call, mapped twice" {
    start_traced io_uring_setup,io_uring_enter,mmap "$program" 0
    await '^4\. '
    visit "$port"
    ended 20 # strace slows each of the 1,000 NOPs
    assert_equal "$(calls 'io_uring_setup\(2, ')" 1
    assert_equal "$(calls 'mmap\(.*MAP_SHARED\|MAP_POPULATE, [0-9]+')" 2
    # one call submits the poll, one waits for it, one for each NOP
    assert_equal "$(calls 'io_uring_enter\([0-9]+, 1, 0, 0,')" 1
    assert_equal "$(calls 'io_uring_enter\([0-9]+, 0, 1, IORING_ENTER_GETEVENTS')" 1
    assert_equal "$(calls 'io_uring_enter\([0-9]+, 1, 1, IORING_ENTER_GETEVENTS')" 1000
}

@test "program: a thousand completions pass through four slots" {
    start "$program" 0
    await '^4\. '
    visit "$port"
    ended
    assert_line '6. 1000 NOPs, each completed in its turn'
    run sed -n '/the rings after all of them/,/---$/p' "$out"
    assert_line '  SQ  you -> kernel   head 1001, tail 1001, 2 slots'
    assert_line '  CQ  kernel -> you   head 1001, tail 1001, 4 slots'
}

@test "program: a call that does nothing costs at least 50 looks" {
    need_real_cpu
    start "$program" 0
    await '^4\. '
    visit "$port"
    ended
    [[ $output =~ \ ns,\ ([0-9]+)\ times ]]
    echo "it costs ${BASH_REMATCH[1]} looks, expected: 50 at least"
    assert [ "${BASH_REMATCH[1]}" -ge 50 ]
}

@test "program: while it waits it is asleep, and survives stop and continue" {
    start "$program" 0
    await '^4\. '
    await_state S
    assert [ "$(cpu_while 0.3)" -le $((10 * patience)) ]
    stop_and_continue
    await_state S
    run visit "$port"
    assert_output 'hello from chapter 7'
    ended
    assert_success
}

@test "program: a wait that a signal breaks is begun again" {
    # every other call: the submit, the wait, and some of the NOPs
    start_injected io_uring_enter:error=EINTR:when=1+2 "$program" 0
    await '^4\. '
    run visit "$port"
    assert_output 'hello from chapter 7'
    ended 20
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

@test "program: no descriptor, no io_uring: one line each" {
    explains_full_table "$program"
    explains_refusal io_uring_setup EPERM "$program" 0
    explains_refusal io_uring_setup ENOSYS "$program" 0
    explains_refusal io_uring_enter EBUSY "$program" 0
}

@test "program: io_uring refused where there is no switch, as before Linux 6.6" {
    unshare -rm true 2>/dev/null || skip 'no namespace to pretend in'
    ends unshare -rm bash -c 'mount -t tmpfs none /proc/sys/kernel && exec "$@"' \
        bash "$build/tests/refuse" io_uring_setup EPERM "$program" 0
    assert_equal "$status" 1
    assert_equal "$stderr" 'rings_by_hand: io_uring_setup: EPERM (Operation not permitted): a seccomp filter forbids io_uring, as containers do; docker run --security-opt seccomp=unconfined'
}

# --- the exercise -------------------------------------------------------------

# do_exercise: runs it, and shows the end of what it printed.
do_exercise() {
    ends "$exercise"
    echo "It ended with status $status. The end of what it printed:"
    tail -n 3 <<<"$output"
    echo "$stderr"
}

@test "exercise: a thousand completions come in order through four slots" {
    did "ran it: a thousand NOPs, one to four at a time, through a CQ of four"
    do_exercise
    assert_equal "$(grep -c '^CQE ' <<<"$output")" 1003
    assert_equal "$(grep '^CQE ' <<<"$output" | head -n 1000)" \
        "$(seq -f 'CQE %.0f' 0 999)"
    assert_line '1000 completions, in order'
}

@test "exercise: the counters may pass the end of 32 bits" {
    did "ran it: at the end it gets a queue with head 4294967295 and tail 2"
    do_exercise
    assert_equal "$status" 0
    assert_line 'and past the end of 32 bits'
    assert_equal "$stderr" ''
}
