#!/usr/bin/env bats
# Chapter 4: completions come in the order in which things happen; user_data
# says which is which.

load helper

# visits_in_order DOOR ...: each visitor comes when the one before was greeted.
visits_in_order() {
    start "$program" 0
    doors 3
    await 'asleep'
    local door
    for door in "$@"; do
        run visit "${ports[door]}"
        assert_output "hello from door $door"
    done
    ended
    assert_success
    assert_line "5. order submitted: 0 1 2, order completed: $*"
    assert_line '   CQEs left: 0'
}

@test "program: any order of visits gives that order of completions" {
    local order
    for order in '0 1 2' '0 2 1' '1 0 2' '1 2 0' '2 0 1' '2 1 0'; do
        # shellcheck disable=SC2086
        visits_in_order $order
    done
}

@test "program: exactly one CQE for each SQE, with its user_data" {
    visits_in_order 2 0 1
    assert_equal "$(grep -c '^   a CQE: ' "$out")" 3
    local i
    for i in 0 1 2; do
        local pointer
        pointer=$(sed -n "s/^2\. a poll of door $i, user_data //p" "$out")
        assert_line "   a CQE: user_data $pointer, door $i, res 1 (POLLIN)"
        assert_line --regexp "^       \+ slot $i: POLL_ADD, fd [0-9]+, user_data $pointer\$"
    done
}

@test "program: three polls go in with one call" {
    start_traced io_uring_enter "$program" 0
    await 'asleep'
    run grep -m 1 io_uring_enter "$trace"
    assert_output --regexp 'io_uring_enter\([0-9]+, 3, 0, 0, NULL, 8\) += 3$'
}

@test "program: visitors at all doors at once are all greeted" {
    start "$program" 0
    doors 3
    await 'asleep'
    await_state S
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
    ended
    assert_success
    assert_line '   CQEs left: 0'
}

@test "program: when nobody is there after all, that door is asked again" {
    start_injected accept,accept4:error=EAGAIN:when=1 "$program" 0
    doors 3
    await 'asleep'
    local door
    for door in 1 0 2; do
        run visit "${ports[door]}"
        assert_output "hello from door $door"
    done
    ended
    assert_success
    # four polls, four CQEs: door 1 was asked twice
    assert_equal "$(grep -c '^   a CQE: ' "$out")" 4
    assert_line '5. order submitted: 0 1 2, order completed: 1 0 2'
}

@test "program: stopped and continued, it goes on waiting" {
    start "$program" 0
    doors 3
    await 'asleep'
    await_state S
    stop_and_continue
    await_state S
    for door in 2 1 0; do
        run visit "${ports[door]}"
        assert_output "hello from door $door"
    done
    ended
    assert_success
}

# bats test_tags=command_line
@test "program: wrong command lines get the usage" {
    refuses_wrong_command_lines "$program"
    # the third door would be at 65536
    ends "$program" 65534
    assert_equal "$status" 2
    output=$stderr assert_output --partial 'too high for all the doors: 65534'
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

# both_come DOOR DOOR: they come while the exercise is stopped, right after it
# began to listen, so that its 1000 ms cannot pass before.
both_come() {
    start "$exercise" 0
    doors 3
    if ! kill -STOP "$pid" 2>/dev/null && [ "$patience" -gt 1 ] &&
        grep -q '^nobody came for 1000 ms' "$out"; then
        skip 'this machine is too slow for 1000 ms'
    fi
    come one "${ports[$1]}"
    come two "${ports[$2]}"
    kill -CONT "$pid"
    run hear "$one"
    assert_output "hello from door $1"
    run hear "$two"
    assert_output "hello from door $2"
}

@test "exercise: two visitors, then nobody: the timeout ends it" {
    did "two visitors came, to door 2 and door 0; then nobody did"
    both_come 2 0
    ended
    assert_success
    assert_line 'nobody came for 1000 ms'
}

@test "exercise: user_data is a kind and an index" {
    did "visitors came to door 1 and door 2, then nobody; each CQE is printed"
    both_come 1 2
    ended
    run grep -m 20 '^a CQE: ' "$out"
    assert_line 'a CQE: user_data 0x100000001, res 1'
    assert_line 'a CQE: user_data 0x100000002, res 1'
    assert_line 'a CQE: user_data 0x200000000, res -62 (ETIME: Timer expired)'
}

@test "exercise: it does not end while visitors keep coming" {
    [ "$patience" -eq 1 ] || skip 'this machine is too slow for 1000 ms'
    start "$exercise" 0
    doors 3
    did "five visitors came to door 0, one every 300 ms: longer than 1000 ms in all"
    local i
    for i in 1 2 3 4 5; do
        run visit "${ports[0]}"
        echo "visitor $i"
        assert_output 'hello from door 0'
        nap 0.3
    done
    ended 5
    assert_success
    assert_line 'nobody came for 1000 ms'
}

@test "exercise: with no visitor at all it waits 1000 ms, asleep, and ends" {
    local began=${EPOCHREALTIME/[.,]/}
    start_traced io_uring_enter "$exercise" 0
    did "nobody came; strace noted the calls on the ring"
    ended
    local ms=$(((${EPOCHREALTIME/[.,]/} - began) / 1000))
    assert_success
    assert_line 'nobody came for 1000 ms'
    echo "It ended after $ms ms, expected: 1000 or more."
    assert [ "$ms" -ge 1000 ]
    echo "Calls on the ring: $(calls io_uring_enter), expected: 4 at most, the rest asleep."
    assert [ "$(calls io_uring_enter)" -le 4 ]
}

@test "exercise: stopped and continued, it goes on" {
    start "$exercise" 0
    did "it was stopped and continued, as Ctrl-Z and fg do"
    kill -STOP "$pid"
    nap 0.1
    kill -CONT "$pid"
    ended
    assert_success
    assert_line 'nobody came for 1000 ms'
}
