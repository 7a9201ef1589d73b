#!/usr/bin/env bats
# Chapter 15: descriptors that live in the ring's table and not in the process.

load helper
load servers

# How many descriptors the process has.
descriptors() {
    ls "/proc/$pid/fd" | wc -l
}

# taken_slots: which slots of the ring's table are taken, and at last how many. The
# kernel leaves the table out while somebody is in the ring.
taken_slots() {
    local fd naps=0 deadline=$((SECONDS + 5 * patience))
    for fd in "/proc/$pid/fd/"*; do
        [ "$(readlink "$fd")" != 'anon_inode:[io_uring]' ] || break
    done
    # "UserFiles:", and then a slot in a line: "    2: socket:[1234]"
    until awk '/^[A-Z]/ { table = $1 == "UserFiles:"; found += table }
               table && /^ / && !/<none>/ { taken++; print }
               END { if (found) print taken + 0; else exit 1 }' \
        "/proc/$pid/fdinfo/${fd##*/}"; do
        [ "$SECONDS" -lt "$deadline" ] || return
        nap
    done
}

# await_slots N: until so many are taken.
await_slots() {
    local slots deadline=$((SECONDS + 5 * patience))
    until slots=$(taken_slots) && [ "${slots##*$'\n'}" = "$1" ]; do
        [ "$SECONDS" -lt "$deadline" ] ||
            fail "${slots##*$'\n'} slots of the table are taken; expected: $1.
$(it_said)" || return
        nap 0.05
    done
}

@test "program: it echoes two visitors, and ends when both have left" {
    echoes_two_visitors "$program"
}

@test "program: 1,000 visitors, and not one descriptor more than at the start" {
    start "$program" 0
    await '^   the backlog'
    local at_start
    at_start=$(descriptors)
    # its standard ones and the ring; bats and make may have left it others
    ls -l "/proc/$pid/fd"
    run readlink "/proc/$pid/fd/"*
    refute_line --partial socket:
    coproc holders { client hold 1000 3>&-; }
    await ' 1000 here now'
    assert_equal "$(descriptors)" "$at_start"
    # they are in the table, with the listener
    await_slots 1001
    eval "exec ${holders[1]}>&-"
    await_slots 1
    run client echo 1000 64
    assert_output '1000 visitors, 64 bytes each: every byte came back'
    assert_equal "$(descriptors)" "$at_start"
}

@test "program: a file is read that was never a descriptor of the process" {
    start_traced openat,read,pread64,close,io_uring_enter "$program" 0
    await '^   the backlog'
    so_far
    assert_line "   the backlog holds up to $(cat /proc/sys/net/core/somaxconn) visitors"
    # (liburing and need_feature() open and close what they need)
    assert_equal "$(calls somaxconn)" 0
    run grep -E 'READ_FIXED|OPENAT|CLOSE' "$out"
    assert_line --partial 'slot 0: OPENAT, user_data'
    assert_line --partial 'slot 1: READ_FIXED, fixed file 1, user_data'
    assert_line --partial 'slot 2: CLOSE, fixed file 1, user_data'
}

@test "program: io_uring_enter is its only call, and names no descriptor" {
    start_traced all "$program" 0
    await '^   the backlog'
    await_state S
    local before
    before=$(wc -l <"$trace")
    client echo 50 1000
    await 'has left'
    run tail -n +$((before + 1)) "$trace"
    refute_line --regexp '^[0-9]+ +(accept|recv|send|close|read|poll)'
    assert_line --partial 'IORING_ENTER_REGISTERED_RING'
    # write is how it tells of its visitors
    run grep -vE ' (write\(1,|io_uring_enter\(0, .*REGISTERED_RING|<\.\.\. io_uring_enter)' <<<"$output"
    assert_output ''
}

# bats test_tags=crowd
@test "program: 3,000 connections at once are all answered" {
    answers_3000_at_once "$program"
}

# bats test_tags=crowd
@test "program: 10,000 connections at once are all answered" {
    answers_10000_at_once "$program"
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

@test "program: 500 visitors who reset leave no slot behind" {
    survives_resets "$program"
    await_slots 2
}

@test "program: stopped and continued with visitors under way, nothing is lost" {
    survives_stop_and_continue "$program"
}

@test "program: with no slot left it waits, asleep, and goes on later" {
    waits_when_out_of_descriptors "$program"
}

@test "program: with a table for eleven, nobody of 300 is hung up on" {
    command -v prlimit >/dev/null || skip 'prlimit is not installed (util-linux)'
    start prlimit --nofile=12:12 "$program" 0 311
    coproc holders { client hold 11 3>&-; }
    await '^   no slot left: the others wait in the backlog'
    client echo 300 10000 >"$BATS_TEST_TMPDIR/echo" 3>&- &
    local visitors=$!
    await_state S
    eval "exec ${holders[1]}>&-"
    wait "$visitors"
    assert_equal "$(cat "$BATS_TEST_TMPDIR/echo")" \
        '300 visitors, 10000 bytes each: every byte came back'
    ended 20
    assert_success
    assert_line --partial '1. at most 11 connections, '
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
    explains_refusal io_uring_enter EBUSY "$program" 0
}

# --- the exercise -------------------------------------------------------------

# Asks, and prints the answer.
ask() {
    local fd
    come fd "$port" || return
    echo "$1" >&"$fd"
    hear "$fd" || return
    leave "$fd"
}

# why COMMAND ...: where it fails, says what two mistakes look like from outside.
why() {
    "$@" && return
    ! grep -qE 'slot [0-9]+, (0|[0-9]{4,}) here now' "$out" ||
        echo "'open' went below 0: somebody was counted down twice."
    ! grep -q EBADF "$err" ||
        echo "EBADF: was slot 1 closed as *descriptor* 1, which is standard output?"
    return 1
}

@test "exercise: who asks gets an answer" {
    start "$exercise" 0
    did "30 visitors came one after the other, each asked a question"
    local i
    for i in {1..30}; do
        run ask 'how long is this?'
        why assert_output 'that was 18 bytes long; goodbye'
    done
}

# Whoever hangs up on a slot that has somebody else by then is found here.
@test "exercise: sixteen at a time, and each gets the answer" {
    start "$exercise" 0
    did "sixteen visitors came at once and asked; who had the answer came and asked again, 100 times"
    run client ask 16 100
    why assert_line '1600 questions, 0 without an answer'
}

@test "exercise: 300 who reset their connection cost it nothing" {
    start "$exercise" 0
    did "300 visitors asked and reset their connection; then one asked and listened"
    client reset 300
    why await_state S
    run ask 'still there?'
    why assert_output 'that was 13 bytes long; goodbye'
}

@test "exercise: when all have left, only the listener is in the table" {
    start "$exercise" 0
    did "20 visitors asked and reset their connection, 20 asked and listened"
    client reset 20
    local i
    for i in {1..20}; do
        run ask 'and now?'
        why assert_success
    done
    echo 'What the kernel then had in the table (/proc/PID/fdinfo/RING):'
    taken_slots
    why await_slots 1
}

@test "exercise: it makes do with its 64 slots, and one ring" {
    start "$exercise" 0
    did "100 came and said nothing: 64 are in, the others wait; then all left"
    coproc holders { client hold 100 3>&-; }
    await ' 64 here now'
    why await_state S
    why await_slots 65
    eval "exec ${holders[1]}>&-"
    why await_slots 1
    run ask 'anybody?'
    why assert_output 'that was 9 bytes long; goodbye'
}
