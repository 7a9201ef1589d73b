#!/usr/bin/env bats
# Chapter 8: one thread, one ring, any number of visitors. Nothing that was read
# is lost or repeated, and no visitor costs another.

load helper
load servers

@test "program: it echoes two visitors, counts, and ends when they have left" {
    echoes_two_visitors "$program"
    assert_line --regexp '^5\. [0-9]+ completions in [0-9]+ turns of the loop$'
}

# bats test_tags=crowd
@test "program: 3,000 connections at once are all answered" {
    answers_3000_at_once "$program"
}

@test "program: one system call a turn, however many are ready" {
    start_traced io_uring_enter "$program" 0 200
    client echo 200 64
    ended 20
    [[ $output =~ 5\.\ ([0-9]+)\ completions\ in\ ([0-9]+)\ turns ]]
    assert_equal "$(calls io_uring_enter)" "${BASH_REMATCH[2]}"
    # fewer turns than completions: what is ready together is taken together
    assert [ "${BASH_REMATCH[2]}" -lt "${BASH_REMATCH[1]}" ]
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

@test "program: an error of accept4() that lasts costs nobody who is there" {
    start_injected accept4:error=EPERM:when=2+ "$program" 0
    come fd "$port"
    await ' 1 here now'
    echo hello >&"$fd"
    assert_equal "$(hear_line "$fd")" hello
    await_call EPERM
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

@test "exercise: what one says, all others hear, and the speaker does not" {
    start "$exercise" 0
    did "Ann, Ben and Cleo came; Ann said something, then Cleo did"
    come ann "$port"
    come ben "$port"
    come cleo "$port"
    await '3 here now'
    echo 'hello from Ann' >&"$ann"
    run hear_line "$ben"
    assert_output 'hello from Ann'
    run hear_line "$cleo"
    assert_output 'hello from Ann'
    echo 'hello from Cleo' >&"$cleo"
    run hear_line "$ben"
    assert_output 'hello from Cleo'
    # had Ann heard herself, that would come first
    run hear_line "$ann"
    assert_output 'hello from Cleo'
    echo "Now nobody speaks. In 300 ms it may use 10 ms of CPU time, and used:"
    local used
    used=$(cpu_while 0.3)
    echo "$used"
    assert [ "$used" -le $((10 * patience)) ]
}

@test "exercise: who leaves is forgotten, the others go on" {
    start "$exercise" 0
    did "three came, one left, then another spoke"
    come ann "$port"
    come ben "$port"
    come cleo "$port"
    await '3 here now'
    leave "$ben"
    await 'has left, 2 here now'
    echo 'two of us' >&"$ann"
    run hear_line "$cleo"
    assert_output 'two of us'
}

@test "exercise: one who never reads does not stop the rest" {
    start "$exercise" 0
    did "ten listeners, a speaker with 8,000 lines of 1,000 bytes, and one who never reads"
    local before grown
    before=$(rss_kb)
    coproc chat { client chat 10 8000 2>&1 3>&-; }
    local result
    IFS= read -r -t 60 -u "${chat[0]}" result || true
    echo "$result"
    assert_equal "$result" '10 visitors heard 8000 lines, and the speaker none'
    echo "Twelve are there; the one who never reads must be let go by now."
    await 'a visitor has left, 11 here now' 5
    eval "exec ${chat[1]}>&-"
    grown=$(($(most_kb) - before))
    echo "The server's memory grew by $grown KB; expected: 2000 at most, 12 outboxes"
    echo "of 64 KB and some."
    assert [ "$grown" -le 2000 ]
}

# piece N: 30,000 bytes, each piece different.
piece() {
    printf '%030000d' "$1"
}

@test "exercise: what send() did not take is sent later, whole and in order" {
    start_traced "sendto,sendmsg,rt_sigaction --seccomp-bpf" "$exercise" 0
    did "Ben did not listen until a send() to him had been short; then he heard all"
    come ann "$port"
    coproc deaf { client deaf 3>&-; }
    come cleo "$port"
    await '3 here now'
    # Cleo hears each piece, and so the next is said when this one has been dealt
    # with. What waits for Ben is two pieces at most when the short send is seen.
    local said
    for ((said = 1; said <= 1000; said++)); do
        piece "$said" >&"$ann"
        timeout $((5 * patience)) head -c 30000 <&"$cleo" >/dev/null || fail "Cleo did not hear piece $said."
        [[ $(<"$trace") != *EAGAIN* ]] || break
    done
    echo "A send() was short after $said pieces of 30,000 bytes."
    echo $((said * 30000)) >&"${deaf[1]}"
    assert_equal "$(cksum <&"${deaf[0]}")" \
        "$(for ((i = 1; i <= said; i++)); do piece "$i"; done | cksum)"
    echo "Each send() must have MSG_NOSIGNAL, unless SIGPIPE is ignored. Without it were:"
    grep 'sendto(' "$trace" | grep -v NOSIGNAL | head -n 3 || true
    [ "$(calls 'SIGPIPE, \{sa_handler=SIG_IGN')" -gt 0 ] ||
        assert_equal "$(grep 'sendto(' "$trace" | grep -vc NOSIGNAL)" 0
}

@test "exercise: a send() that fails costs only that visitor" {
    start_injected sendto:error=ECONNRESET:when=1 "$exercise" 0
    did "the first send() failed with ECONNRESET; two others were there, and one spoke twice"
    come ann "$port"
    come ben "$port"
    come cleo "$port"
    await '3 here now'
    echo 'first' >&"$ann"
    await 'has left, 2 here now'
    echo 'second' >&"$ann"
    # one of the two stays, and hears no end
    local heard ben_heard
    IFS= read -r -d '' -t $((1 * patience)) -u "$ben" ben_heard || true
    IFS= read -r -d '' -t $((1 * patience)) -u "$cleo" heard || true
    heard=$ben_heard$heard
    echo "Ben and Cleo together heard: $heard"
    assert_equal "$heard" $'first\nsecond\n'
}

@test "exercise: visitors who reset harm nobody else" {
    start "$exercise" 0
    did "two were there, 100 came and reset their connection, then one spoke"
    come ann "$port"
    come ben "$port"
    await '2 here now'
    client reset 100
    # what the 100 said may come first
    echo 'still here' >&"$ann"
    local line
    while IFS= read -r -t 3 -u "$ben" line; do
        [[ $line != *'still here' ]] || break
    done 2>/dev/null
    assert_equal "${line: -10}" 'still here'
}
