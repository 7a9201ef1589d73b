#!/usr/bin/env bats
# Chapter 5: many SQEs, one io_uring_enter.

load helper

# everybody: a visitor at each of the program's doors, one after the other.
everybody() {
    local i
    for i in "${!ports[@]}"; do
        run visit "${ports[i]}"
        assert_output "hello from door $i"
    done
}

@test "program: eight doors, a full queue, no ninth SQE, one submit of 8" {
    start "$program" 0
    doors 8
    await 'asleep'
    everybody
    ended
    assert_success
    assert_line '       | + | + | + | + | + | + | + | + |'
    assert_equal "$(grep -c '^       + slot [0-7]: POLL_ADD' "$out")" 8
    assert_line '2. the ninth io_uring_get_sqe() returned NULL'
    assert_line '3. io_uring_submit() = 8'
    assert_equal "$stderr" ''
}

@test "program: one io_uring_enter arms all eight" {
    start_traced io_uring_enter,write "$program" 0
    doors 8
    await 'asleep'
    run sed -n '1,/4\. asleep/p' "$trace"
    assert_equal "$(grep -c io_uring_enter <<<"$output")" 1
    assert_output --regexp 'io_uring_enter\([0-9]+, 8, 0, 0, NULL, 8\) += 8'
}

@test "program: the price list counts its calls as strace does" {
    start_traced io_uring_enter "$program" 0
    doors 8
    await 'asleep'
    everybody
    ended 30
    assert_success
    # each batch size has three rounds, and the numbers are printed for one
    local batch
    for batch in 1 2 4 8 16 32 64; do
        assert_line --regexp "^ +$batch +$((4096 / batch)) +[0-9]+\$"
        assert_equal "$batch: $(calls "io_uring_enter\([0-9]+, $batch, $batch, IORING_ENTER_GETEVENTS")" \
            "$batch: $((3 * 4096 / batch))"
    done
}

@test "program: 64 a call cost a small part of one by one" {
    need_real_cpu
    start "$program" 0
    doors 8
    await 'asleep'
    everybody
    ended 30
    [[ $output =~ costs\ ([0-9]+)\.[0-9]\ times ]]
    echo "one by one costs ${BASH_REMATCH[1]} times as much, expected: 4 at least"
    assert [ "${BASH_REMATCH[1]}" -ge 4 ]
}

@test "program: visitors at all doors at once are all greeted" {
    start "$program" 0
    doors 8
    await 'asleep'
    await_state S
    kill -STOP "$pid"
    await_state T
    local i fds=()
    for i in "${!ports[@]}"; do
        come fd "${ports[i]}"
        fds[i]=$fd
    done
    kill -CONT "$pid"
    for i in "${!ports[@]}"; do
        run hear "${fds[i]}"
        assert_output "hello from door $i"
    done
    ended
    assert_success
}

@test "program: when nobody is there after all, that door is asked again" {
    start_injected accept,accept4:error=EAGAIN:when=2 "$program" 0
    doors 8
    await 'asleep'
    everybody
    ended 30
    assert_success
}

# bats test_tags=command_line
@test "program: wrong command lines get the usage" {
    refuses_wrong_command_lines "$program"
    ends "$program" 65529
    assert_equal "$status" 2
    output=$stderr assert_output --partial 'too high for all the doors: 65529'
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

# --- the exercise -------------------------------------------------------------

@test "exercise: twenty doors are armed, and a visitor is greeted at each" {
    start "$exercise" 0
    doors 20
    did "twenty visitors came, one after the other, each to another door"
    await 'asleep'
    everybody
    ended
    assert_success
    assert_line 'all 20 visitors greeted'
}

@test "exercise: all twenty at once are greeted, though the CQ holds eight" {
    start "$exercise" 0
    doors 20
    did "twenty visitors came while the program was stopped; then it went on"
    await 'asleep'
    await_state S
    kill -STOP "$pid"
    await_state T
    local i fds=()
    for i in "${!ports[@]}"; do
        come fd "${ports[i]}"
        fds[i]=$fd
    done
    kill -CONT "$pid"
    for i in "${!ports[@]}"; do
        run hear "${fds[i]}"
        assert_output "hello from door $i"
    done
    ended
    assert_success
}

@test "exercise: a ring of four, and at most five calls that submit" {
    start_traced io_uring_setup,io_uring_enter "$exercise" 0
    doors 20
    did "strace noted the calls of io_uring_enter that submitted something"
    await 'asleep'
    everybody
    ended
    local submits
    submits=$(calls 'io_uring_enter\([0-9]+, [1-9]')
    echo "Calls that submitted: $submits, expected: 5 at most, for 20 doors."
    assert_equal "$(calls 'io_uring_setup\(4, ')" 1
    assert [ "$submits" -ge 1 ]
    assert [ "$submits" -le 5 ]
}

@test "exercise: while all doors are armed it is asleep" {
    start "$exercise" 0
    doors 20
    did "nobody came"
    await 'asleep'
    await_state S
    assert [ "$(cpu_while 0.3)" -le $((10 * patience)) ]
    assert_equal "$(state)" S
}

@test "exercise: when nobody is there after all, that door is asked again" {
    start_injected accept,accept4:error=EAGAIN:when=2 "$exercise" 0
    doors 20
    did "the second accept() found nobody, though the poll had said POLLIN"
    await 'asleep'
    everybody
    ended
    assert_success
}
