#!/usr/bin/env bats
# Chapter 3: ask the kernel, through a ring, to say when the listener is ready.

load helper

@test "program: a CQE with the SQE's user_data says that accept() finds somebody" {
    start "$program" 0
    await '^5\. .*asleep'
    run visit "$port"
    assert_output 'hello from chapter 3'
    ended
    assert_success
    assert_line --index 0 "listening on 127.0.0.1:$port"
    assert_line '4. accept() = -11 (EAGAIN: Resource temporarily unavailable)'
    assert_line '6. a CQE: user_data 0xdeadbeef, res 1 (POLLIN)'
    assert_line --regexp '^8\. accept\(\) = [0-9]+$'
    assert_equal "$stderr" ''
}

# picture MOMENT: that picture of the rings, without its first and last line.
picture() {
    sed -n "/^  --- the rings $1\$/,/^  ---\$/p" "$out" | sed '1d;$d'
}

@test "program: the ring drawn before submit, after it, with the CQE and without" {
    start "$program" 0
    await '^5\. .*asleep'
    local listener
    listener=$(sed -n 's/^2\. .* descriptor \([0-9]*\) .*/\1/p' "$out")
    visit "$port"
    ended
    run picture 'before submit'
    assert_output "  SQ  you -> kernel   head 0, tail 0, 2 slots
       | + |   |
        H T
       + slot 0: POLL_ADD, fd $listener, user_data 0xdeadbeef
  CQ  kernel -> you   head 0, tail 0, 4 slots
       |   |   |   |   |
        H T"
    run picture 'after submit'
    assert_output '  SQ  you -> kernel   head 1, tail 1, 2 slots
       |   |   |
            H T
  CQ  kernel -> you   head 0, tail 0, 4 slots
       |   |   |   |   |
        H T'
    run picture 'when the visitor has come'
    assert_output '  SQ  you -> kernel   head 1, tail 1, 2 slots
       |   |   |
            H T
  CQ  kernel -> you   head 0, tail 1, 4 slots
       | # |   |   |   |
        H     T
       # slot 0: user_data 0xdeadbeef, res 1'
    run picture 'after cqe_seen'
    assert_output '  SQ  you -> kernel   head 1, tail 1, 2 slots
       |   |   |
            H T
  CQ  kernel -> you   head 1, tail 1, 4 slots
       |   |   |   |   |
            H T'
}

@test "program: a ring of 2, and no call that submits before submit" {
    start_traced write,io_uring_setup,io_uring_enter "$program" 0
    await '^5\. .*asleep'
    visit "$port"
    ended
    assert_equal "$(calls 'io_uring_setup\(2, ')" 1
    # up to the picture before submit there is no io_uring_enter, and the first
    # one after it hands over one SQE and waits for nothing
    run sed -n '1,/before submit/p' "$trace"
    refute_output --partial io_uring_enter
    run grep -m 1 io_uring_enter "$trace"
    assert_output --regexp 'io_uring_enter\([0-9]+, 1, 0, 0, NULL, 8\) += 1$'
}

@test "program: while it waits for the CQE it is asleep and uses no CPU" {
    start "$program" 0
    await '^5\. .*asleep'
    await_state S
    assert [ "$(cpu_while 0.5)" -le $((10 * patience)) ]
    assert_equal "$(state)" S
    visit "$port"
    ended
    assert_success
}

@test "program: stopped and continued, it goes on waiting" {
    start "$program" 0
    await '^5\. .*asleep'
    for _ in 1 2 3; do
        await_state S
        stop_and_continue
    done
    run visit "$port"
    assert_output 'hello from chapter 3'
    ended
    assert_success
    assert_line '6. a CQE: user_data 0xdeadbeef, res 1 (POLLIN)'
}

@test "program: a wait that a signal breaks, with no CQE, is begun again" {
    # the first io_uring_enter submits, the second waits
    start_injected io_uring_enter:error=EINTR:when=2 "$program" 0
    await '^5\. .*asleep'
    run visit "$port"
    assert_output 'hello from chapter 3'
    ended
    assert_success
    assert_equal "$(calls EINTR)" 1
}

@test "program: a visitor who has left already does it no harm" {
    start "$program" 0
    await '^5\. .*asleep'
    await_state S
    kill -STOP "$pid"
    await_state T
    come fd "$port"
    leave "$fd"
    kill -CONT "$pid"
    ended
    assert_success
}

@test "program: io_uring refused: the cause and the remedy" {
    refused io_uring_setup EPERM "$program" 0
    assert_equal "$status" 1
    if [ "$(cat /proc/sys/kernel/io_uring_disabled 2>/dev/null || echo 0)" -eq 0 ]; then
        assert_equal "$stderr" 'poll_add: io_uring_queue_init: EPERM (Operation not permitted): a seccomp filter forbids io_uring, as containers do; docker run --security-opt seccomp=unconfined'
    fi
    refused io_uring_setup ENOSYS "$program" 0
    assert_equal "$status" 1
    assert_equal "$stderr" 'poll_add: io_uring_queue_init: ENOSYS (Function not implemented): this kernel has no io_uring (the course needs Linux 5.6), or a container hides it; see make doctor'
}

@test "program: io_uring switched off by sysctl: the cause and the remedy" {
    local switch=/proc/sys/kernel/io_uring_disabled
    [ -e $switch ] || skip "this kernel has no $switch (Linux before 6.6)"
    unshare -rm true 2>/dev/null || skip 'no namespace to pretend in'
    # pretend: a 2 over the switch, and the refusal that goes with it
    echo 2 >"$BATS_TEST_TMPDIR/switch"
    ends unshare -rm bash -c \
        'mount --bind "$1" "$2" && shift 2 && exec "$@"' bash \
        "$BATS_TEST_TMPDIR/switch" $switch \
        "$build/tests/refuse" io_uring_setup EPERM "$program" 0
    assert_equal "$status" 1
    assert_equal "$stderr" 'poll_add: io_uring_queue_init: EPERM (Operation not permitted): io_uring is switched off on this machine; as root: sysctl kernel.io_uring_disabled=0'
}

@test "program: no memory and no descriptor for a ring: one line each" {
    explains_refusal io_uring_setup ENOMEM "$program" 0
    explains_refusal io_uring_setup EMFILE "$program" 0
    explains_full_table "$program"
    explains_refusal accept EMFILE "$program" 0
}

@test "program: a submit that fails is noticed" {
    refused io_uring_enter EBUSY "$program" 0
    assert_equal "$status" 1
    assert_equal "$stderr" 'poll_add: io_uring_submit took -16 of 1: EBUSY (Device or resource busy)'
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

# --- the exercise -------------------------------------------------------------

@test "exercise: three visitors are greeted, each with a number" {
    start "$exercise" 0
    did "three visitors came, each after the one before had been greeted"
    run visit "$port"
    assert_output 'hello, visitor 1'
    run visit "$port"
    assert_output 'hello, visitor 2'
    run visit "$port"
    assert_output 'hello, visitor 3'
    ended
    assert_success
}

@test "exercise: each has a poll of its own, user_data 1, 2 and 3" {
    start "$exercise" 0
    did "three visitors came; each CQE is to be printed as it was for the first"
    visit "$port"
    visit "$port"
    visit "$port"
    ended
    echo "The same CQE over and over? Then it was never given back: io_uring_cqe_seen()."
    run grep -m 10 '^a CQE: ' "$out"
    assert_output 'a CQE: user_data 0x1, res 1 (POLLIN)
a CQE: user_data 0x2, res 1 (POLLIN)
a CQE: user_data 0x3, res 1 (POLLIN)'
}

@test "exercise: three who come at once are greeted too, in order" {
    start "$exercise" 0
    did "three visitors came while the program was stopped, then it went on"
    await_state S
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

@test "exercise: one ring is enough, and the program sleeps between visitors" {
    start_traced io_uring_setup "$exercise" 0
    did "two visitors came, the third let it wait; then strace's notes were read"
    visit "$port"
    visit "$port"
    assert [ "$(cpu_while 0.3)" -le $((10 * patience)) ]
    visit "$port"
    ended
    assert_success
    echo "Rings set up: $(calls 'io_uring_setup\('), expected: 1"
    assert_equal "$(calls 'io_uring_setup\(')" 1
}

@test "exercise: readiness is no promise: when accept() finds nobody, it polls again" {
    start_injected accept,accept4:error=EAGAIN:when=1 "$exercise" 0
    did "the first accept() found nobody, though the poll had said POLLIN"
    run visit "$port"
    assert_output 'hello, visitor 1'
    run visit "$port"
    assert_output 'hello, visitor 2'
    run visit "$port"
    assert_output 'hello, visitor 3'
    ended
    assert_success
    echo "Visitor 1 needs two polls then, both with user_data 1:"
    run grep -m 10 '^a CQE: ' "$out"
    assert_output 'a CQE: user_data 0x1, res 1 (POLLIN)
a CQE: user_data 0x1, res 1 (POLLIN)
a CQE: user_data 0x2, res 1 (POLLIN)
a CQE: user_data 0x3, res 1 (POLLIN)'
}

@test "exercise: an error that will not go away ends it" {
    start_injected accept,accept4:error=EMFILE "$exercise" 0
    did "accept() failed with EMFILE, each time"
    # it may have ended before the visitor is through
    come fd "$port" || true
    ended
    assert_equal "$status" 1
    output=$stderr assert_output --partial EMFILE
}
