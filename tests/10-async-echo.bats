#!/usr/bin/env bats
# Chapter 10: recv, send and close are operations too; a connection is a small
# state machine driven by completions.

load helper
load servers

@test "program: it echoes two visitors, counts, and ends when they have left" {
    echoes_two_visitors "$program"
}

@test "program: between its turns there is no accept, recv, send or close" {
    start_traced accept,accept4,recvfrom,sendto,read,write,close,io_uring_enter \
        "$program" 0 3
    run client echo 3 100000
    assert_output '3 visitors, 100000 bytes each: every byte came back'
    ended
    assert_success
    # from the first turn to the last: besides the turns it writes its lines
    run awk '/io_uring_enter/ { turn = 1; printf "%s", held; held = "" }
             turn && !/io_uring_enter|write\(1,/ { held = held $0 "\n" }' "$trace"
    assert_output ''
}

# bats test_tags=crowd
@test "program: 3,000 connections at once are all answered" {
    answers_3000_at_once "$program"
}

@test "program: a client that sends megabytes before it reads loses no byte" {
    loses_no_byte_to_a_late_reader "$program"
}

# bats test_tags=crowd
@test "program: its memory stays under the bound that it states" {
    keeps_to_its_memory_bound "$program"
}

@test "program: one byte at a time, and a message larger than any buffer" {
    takes_single_bytes_and_big_messages "$program"
}

@test "program: who hangs up their side still gets the rest" {
    answers_who_hangs_up_their_side "$program"
}

@test "program: 500 visitors who reset in the middle harm nobody else" {
    survives_resets "$program"
}

# bats test_tags=crowd
@test "program: six hundred who flood it do not keep a newcomer out" {
    serves_a_newcomer_in_a_flood "$program"
}

@test "program: stopped and continued with visitors under way, nothing is lost" {
    survives_stop_and_continue "$program"
}

@test "program: with no descriptor left it waits, asleep, and goes on later" {
    waits_when_out_of_descriptors "$program"
}

@test "program: idle connections cost no CPU" {
    sleeps_while_nobody_speaks "$program"
}

@test "program: SIGTERM ends it at once" {
    ends_on_sigterm "$program"
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

@test "exercise: a quick test finds nothing wrong" {
    start "$exercise" 0
    did "a visitor said 200 single bytes, each when the last had come back"
    run client drip 200
    assert_output '200 bytes, one at a time: every byte came back'
}

@test "exercise: a client that reads late gets every byte" {
    start "$exercise" 0
    did "a visitor sent as much as the server took, and read only then"
    run client late 1 20000000
    echo "$output"
    assert_line --index 1 '1 visitors, 20000000 bytes each: every byte came back'
}

@test "exercise: 50 at once, a megabyte each, every byte" {
    start "$exercise" 0
    did "50 visitors sent a megabyte each, reading as they sent"
    run client echo 50 1000000
    assert_output '50 visitors, 1000000 bytes each: every byte came back'
}

@test "exercise: who hangs up their side while much is under way gets the rest" {
    start "$exercise" 0
    did "three visitors sent 4 MB each, hung up their side, and read"
    run client late 3 4000000
    assert_line --index 1 '3 visitors, 4000000 bytes each: every byte came back'
}

# all_places: who has left has no place any more.
all_places() {
    ! grep -q 'no place' "$out" ||
        fail 'It said "no place for another visitor"; expected: 64 places, for 50 at a time.'
}

# fifty_go: they come, are answered, and leave without having read it, which
# resets their connection. Their RECV is in flight, and fails.
fifty_go() {
    local fd fds=()
    for _ in {1..50}; do
        come fd "$port"
        echo 'hello, who is there?' >&"$fd"
        fds+=("$fd")
    done
    await_state S
    for fd in "${fds[@]}"; do
        leave "$fd"
    done
    await_state S
}

@test "exercise: visitors who reset harm nobody else" {
    start "$exercise" 0
    did "50 visitors reset their connection, in the middle of a message; twice"
    client reset 50
    await_state S
    client reset 50
    await_state S
    all_places
    did "50 visitors reset their connection after the answer, unread; twice"
    fifty_go
    fifty_go
    all_places
    did "one came who did not"
    run client echo 1 1000
    assert_output '1 visitors, 1000 bytes each: every byte came back'
}
