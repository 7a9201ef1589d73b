#!/usr/bin/env bats
# The epoll server that `make bench` compares the others with keeps to what they
# keep to.

load helper
load servers

program=$build/tools/epoll_server

@test "epoll server: it echoes two visitors, counts, and ends when they have left" {
    echoes_two_visitors "$program"
}

@test "epoll server: 3,000 connections at once are all answered" {
    answers_3000_at_once "$program"
}

@test "epoll server: an echo is a recv, a send and a share of an epoll_wait" {
    start_traced epoll_wait,epoll_ctl,recvfrom,sendto "$program" 0 1
    client drip 500
    ended
    # besides: the connection is writable at first, and its end is read
    assert_equal "$(calls sendto)" 500
    assert [ "$(calls recvfrom)" -le 502 ]
    assert [ "$(calls epoll_wait)" -le 503 ]
    assert [ "$(calls epoll_ctl)" -le 4 ]
}

@test "epoll server: a client that sends megabytes before it reads loses no byte" {
    loses_no_byte_to_a_late_reader "$program"
}

@test "epoll server: its memory stays under the bound that it states" {
    keeps_to_its_memory_bound "$program"
}

@test "epoll server: one byte at a time, and a message larger than any buffer" {
    takes_single_bytes_and_big_messages "$program"
}

@test "epoll server: who hangs up their side still gets the rest" {
    answers_who_hangs_up_their_side "$program"
}

# Whatever the first has to say, the second is answered within the time that
# hear_line has.
@test "epoll server: one who never pauses does not stop the rest" {
    start "$program" 0
    client echo 1 200000000 >"$BATS_TEST_TMPDIR/client" 3>&- &
    local speaker=$! i
    await '1 here now'
    come fd "$port"
    for i in 1 2 3; do
        echo "hello $i" >&"$fd"
        assert_equal "$(hear_line "$fd")" "hello $i"
    done
    wait "$speaker"
    run cat "$BATS_TEST_TMPDIR/client"
    assert_output '1 visitors, 200000000 bytes each: every byte came back'
}

@test "epoll server: 500 visitors who reset in the middle harm nobody else" {
    survives_resets "$program"
}

@test "epoll server: stopped and continued with visitors under way, nothing is lost" {
    survives_stop_and_continue "$program"
}

@test "epoll server: with no descriptor left it waits, asleep, and goes on later" {
    waits_when_out_of_descriptors "$program"
}

@test "epoll server: idle connections cost no CPU" {
    sleeps_while_nobody_speaks "$program"
}

@test "epoll server: SIGTERM ends it at once" {
    ends_on_sigterm "$program"
}

@test "epoll server: wrong command lines get the usage" {
    refuses_wrong_server_command_lines "$program"
}

@test "epoll server: a port in use is named, with what to do" {
    explains_port_in_use "$program"
}

@test "epoll server: no descriptor: one line each" {
    explains_full_table "$program"
    explains_refusal epoll_create1 EMFILE "$program" 0
    explains_refusal epoll_ctl ENOMEM "$program" 0
}
