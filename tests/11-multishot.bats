#!/usr/bin/env bats
# Chapter 11: one ACCEPT brings visitor after visitor, until a completion without
# MORE.

load helper
load servers

# How many SQEs the traced program has handed over to the ring that it used last;
# the one before was to find out what the kernel can do.
submitted() {
    sed -n 's/.*io_uring_enter(\([0-9]*\), \([0-9]*\), .*/\1 \2/p' "$trace" |
        awk '{ sum[$1] += $2; last = $1 } END { print sum[last] }'
}

# backlog N: so many visitors come while the program is stopped, and stay until
# $holders is told to end; then the program goes on.
backlog() {
    await_state S
    kill -STOP "$pid"
    await_state T
    coproc holders { client hold "$1" 3>&-; }
    read -r -t $((10 * patience)) -u "${holders[0]}" _
    kill -CONT "$pid"
}

@test "program: it echoes two visitors, counts, and ends when they have left" {
    echoes_two_visitors "$program"
    assert_line '5. ACCEPTs submitted: 1, visitors: 2'
}

@test "program: one submitted ACCEPT serves 100 visitors" {
    start_traced io_uring_enter,accept,accept4 "$program" 0 100
    client hold 100 </dev/null
    ended
    assert_success
    assert_line '5. ACCEPTs submitted: 1, visitors: 100'
    assert_equal "$(calls 'accept4?\(')" 0
    # and strace agrees: one RECV and one CLOSE for each, one ACCEPT, one CANCEL
    assert_equal "$(submitted)" $((100 + 100 + 1 + 1))
}

@test "program: it knows where each visitor comes from" {
    start "$program" 0 20
    run client hold 20 </dev/null
    ended
    assert_equal "$(grep -cE '^   \.\.\. from 127\.0\.0\.1:[1-9][0-9]*$' "$out")" 20
    assert_equal "$(grep -E '^   \.\.\. from' "$out" | sort -u | wc -l)" 20
}

@test "program: who was accepted beyond VISITORS is served all the same" {
    start "$program" 0 3
    backlog 20
    await ', the last$'
    local here
    here=$(grep -c ' a visitor on descriptor' "$out")
    echo "three were wanted, $here were accepted before the ACCEPT had ended"
    assert [ "$here" -ge 3 ]
    assert_equal "$(grep -c 'ACCEPT: res [0-9]' "$out")" "$here"
    eval "exec ${holders[1]}>&-"
    ended
    assert_success
    assert_equal "$(grep -c ' has left, ' "$out")" "$here"
}

# crowd COMMAND ...: starts it with a table of 12 descriptors, and twelve visitors
# come: more than it has room for. Sets $fds and, how many are in, $in.
crowd() {
    start with_few_descriptors "$@" 0
    local fd before=-1
    fds=() in=0
    for _ in {1..12}; do
        come fd "$port"
        fds+=("$fd")
    done
    until [ "$in" -gt 0 ] && [ "$in" -eq "$before" ]; do
        before=$in
        nap 0.3
        in=$(grep -c ' a visitor on descriptor' "$out")
    done
    echo "$in of 12 visitors found a descriptor"
}

# One leaves, and one of those who wait is heard; twice.
takes_who_waits() {
    local i
    for i in 0 1; do
        leave "${fds[i]}"
        echo "visitor $((in + i))" >&"${fds[in + i]}"
        assert_equal "$(hear_line "${fds[in + i]}")" "visitor $((in + i))"
    done
}

@test "program: with no descriptor left it asks again once for each who leaves" {
    crowd "$program"
    takes_who_waits
    so_far
    assert_equal "$(grep -c 'no descriptor left' "$out")" 3
    assert_equal "$(grep -c 'EMFILE.*, the last$' "$out")" 3
}

# bats test_tags=crowd
@test "program: 3,000 connections at once are all answered" {
    answers_3000_at_once "$program"
}

@test "program: 4,000 who came while it was stopped are all there" {
    [ "$(ulimit -Hn)" = unlimited ] || [ "$(ulimit -Hn)" -ge 4100 ] ||
        skip "only $(ulimit -Hn) descriptors are to be had here"
    [ "$(cat /proc/sys/net/core/somaxconn)" -ge 4096 ] ||
        skip 'the backlog is shorter here'
    start "$program" 0 4000
    backlog 4000
    await ' 4000 here now' 20
    eval "exec ${holders[1]}>&-"
    ended 20
    assert_success
    assert_line '5. ACCEPTs submitted: 1, visitors: 4000'
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

# asked_at_most N: how often the exercise has submitted an ACCEPT.
asked_at_most() {
    local asked
    asked=$(grep -c '^   ACCEPT number ' "$out")
    [ "$asked" -le "$1" ] || fail "It submitted $asked ACCEPTs; expected: $1 at most."
}

@test "exercise: 50 visitors, one after the other, through one ACCEPT" {
    start "$exercise" 0
    did "50 visitors came and left"
    local i
    for i in {1..50}; do
        come fd "$port"
        echo "visitor $i" >&"$fd"
        assert_equal "$(hear_line "$fd")" "visitor $i"
        leave "$fd"
    done
    asked_at_most 1
}

@test "exercise: with no descriptor left it sleeps, and goes on later" {
    start with_few_descriptors "$exercise" 0
    did "it may have 12 descriptors; 30 visitors came, and stayed"
    coproc holders { client hold 30 3>&-; }
    await ' here now' 3
    nap 0.2
    local used
    used=$(cpu_while 0.5)
    [ "$used" -le $((20 * patience)) ] || fail "It used $used ms of CPU time in 500 ms; expected: none, it has nothing to do."
    asked_at_most 2
    did "then the 30 left, and another came"
    eval "exec ${holders[1]}>&-"
    come fd "$port"
    echo 'is there a descriptor?' >&"$fd"
    assert_equal "$(hear_line "$fd")" 'is there a descriptor?'
}

@test "exercise: one leaves, one who waits is taken" {
    did "it may have 12 descriptors; twelve visitors came, then one left, and another"
    crowd "$exercise"
    takes_who_waits
    asked_at_most 3
}

# The listener and the ring have the last two, wherever bats has some open.
with_five_descriptors() {
    local fd
    for fd in /proc/self/fd/*; do
        fd=${fd##*/}
        [ "$fd" -le 2 ] || exec {fd}>&-
    done
    ulimit -n 5
    exec "$@"
}

@test "exercise: with no descriptor and nobody here, it says so and ends" {
    # LeakSanitizer would need one
    export ASAN_OPTIONS=detect_leaks=0
    did "it may have 5 descriptors, and they are taken; nobody is here who could leave, so it was to end"
    begin with_five_descriptors "$exercise" 0
    ended 1
    assert_equal "$status" 1
    assert_equal "$stderr" 'multishot: ACCEPT: EMFILE (Too many open files): this process may open no more files; see ulimit -n'
}

@test "exercise: its CQ is as small as it was" {
    start_traced io_uring_setup "$exercise" 0
    did "strace noted the io_uring_setup"
    await_call 'cq_entries=([0-9]+).* = '
    [ "${BASH_REMATCH[1]}" = 16 ] ||
        fail "Its CQ has ${BASH_REMATCH[1]} places; expected: 16. A larger one runs full as well, only later."
}

@test "exercise: it hears those who come after a crowd" {
    start "$exercise" 0
    did "100 visitors came while it was stopped; then it went on"
    backlog 100
    await '100 here now' 3 >"$BATS_TEST_TMPDIR/await" 2>&1 ||
        fail "It serves $(grep -c ' a visitor on descriptor' "$out") of the 100; expected: all.
$(it_said)"
    did "they left, and another came"
    eval "exec ${holders[1]}>&-"
    come fd "$port"
    echo 'can you hear me?' >&"$fd"
    assert_equal "$(hear_line "$fd")" 'can you hear me?'
}
