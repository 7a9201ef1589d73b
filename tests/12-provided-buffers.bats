#!/usr/bin/env bats
# Chapter 12: the kernel picks the buffer, from a pool that all connections share.

load helper
load servers

# buffers N COMMAND ...: start it with so many buffers in its pool.
buffers() {
    export BUFFERS=$1
    start "${@:2}"
    unset BUFFERS
}

# never_readers N: so many visitors send for ever and read nothing. They are
# $senders, at the descriptors $deaf. Returns when the server takes no more.
never_readers() {
    local fd switches before=
    senders=() deaf=()
    for ((i = 0; i < $1; i++)); do
        come fd "$port"
        deaf+=("$fd")
        (exec head -c 100000000 /dev/zero >&"$fd") 2>/dev/null 3>&- &
        senders+=($!)
    done
    until switches=$(grep ctxt "/proc/$pid/status" | tr -cd '0-9\n') &&
        [ "$switches" = "$before" ]; do
        before=$switches
        nap 0.5
    done
}

@test "program: it echoes two visitors, counts, and ends when they have left" {
    echoes_two_visitors "$program"
    assert_line --regexp '^5\. 0 of [0-9]+ buffers are away; 0 RECVs found none$'
}

@test "program: a pool of 8 serves 200 busy visitors without loss" {
    buffers 8 "$program" 0 200
    run client echo 200 100000
    assert_output '200 visitors, 100000 bytes each: every byte came back'
    ended 20
    assert_success
    # there were not enough, and each came back
    assert_line --regexp '^5\. 0 of 8 buffers are away; [1-9][0-9]* RECVs found none$'
}

@test "program: with any size of pool every byte comes back" {
    local n
    for n in 4 5 64 1000; do
        buffers "$n" "$program" 0 40
        run client echo 40 50000
        assert_output '40 visitors, 50000 bytes each: every byte came back'
        ended 20
        assert_line --regexp "^5\. 0 of $n buffers are away"
    done
}

@test "program: 1,000 idle visitors add no buffer memory" {
    # chapter 10's visitors have a buffer each; here they have a place in a table
    local before ten=0 here=0 server
    for server in "$build/chapters/10-async-echo" "$program"; do
        start "$server" 0
        await '^1\. at most'
        before=$(rss_kb)
        coproc holders { client hold 1000 3>&-; }
        await ' 1000 here now'
        await_state S
        ten=$here here=$(($(rss_kb) - before))
        eval "exec ${holders[1]}>&-"
        wait "$holders_PID" || true
        kill "$pid"
        wait "$pid" || true
    done
    echo "1,000 idle visitors: chapter 10 grew by $ten KB, this program by $here KB"
    assert [ "$here" -le 200 ]
    assert [ "$ten" -ge 3000 ]
}

@test "program: it says how much one visitor can hold" {
    start "$program" 0
    run grep -o 'nobody holds more than [0-9]*' "$out"
    assert_output 'nobody holds more than 513'
    kill "$pid"
    buffers 8 "$program" 0
    run grep -o '[0-9]* buffers are on offer, so nobody holds more than [0-9]*' "$out"
    assert_output '4 buffers are on offer, so nobody holds more than 5'
}

@test "program: one who never reads does not stop 200 others, with a pool of 8" {
    buffers 8 "$program" 0
    never_readers 1
    run client echo 200 20000
    assert_output '200 visitors, 20000 bytes each: every byte came back'
    run client drip 100
    assert_output '100 bytes, one at a time: every byte came back'
    kill "${senders[@]}"
}

@test "program: seven who never read leave one buffer of 8 for the others" {
    buffers 8 "$program" 0
    never_readers 7
    run client echo 20 10000
    assert_output '20 visitors, 10000 bytes each: every byte came back'
    kill "${senders[@]}"
}

@test "program: when all buffers are held it sleeps, and goes on as one is back" {
    buffers 4 "$program" 0
    never_readers 8
    come fd "$port"
    echo 'is there a buffer?' >&"$fd"
    await_state S
    local used
    used=$(cpu_while 0.5)
    echo "without a buffer it used $used ms of CPU time in 500 ms"
    assert [ "$used" -le $((20 * patience)) ]
    # those who held them leave
    kill "${senders[@]}"
    wait "${senders[@]}" || true
    local i
    for i in "${deaf[@]}"; do leave "$i"; done
    assert_equal "$(hear_line "$fd")" 'is there a buffer?'
    still_serves
}

@test "program: 500 resets and a late reader, and every buffer is back" {
    buffers 16 "$program" 0 521
    client late 20 1000000 >/dev/null 3>&- &
    local late=$!
    run client reset 500
    assert_output '500 visitors reset their connection'
    wait "$late"
    run client echo 1 1000
    assert_output '1 visitors, 1000 bytes each: every byte came back'
    ended 20
    assert_success
    assert_line --partial '5. 0 of 16 buffers are away'
}

@test "program: no recv, no send, no accept, no close but through the ring" {
    start_traced accept,accept4,recvfrom,sendto,read,write,close,io_uring_enter \
        "$program" 0 3
    run client echo 3 100000
    assert_output '3 visitors, 100000 bytes each: every byte came back'
    ended
    assert_success
    # from the first turn of its own ring to the last: besides the turns it
    # writes its lines
    run awk '/listening on/ { own = 1 }
             own && /io_uring_enter/ { turn = 1; printf "%s", held; held = "" }
             turn && !/io_uring_enter|write\(1,/ { held = held $0 "\n" }' "$trace"
    assert_output ''
}

@test "program: who says one thing after the other costs one RECV" {
    start_traced io_uring_enter "$program" 0 1
    run client drip 100
    ended
    # ACCEPT, RECV, CANCEL of the ACCEPT, 100 SENDs, CLOSE
    run awk -F '[(, ]+' '/io_uring_enter/ { sum[$3] += $4; last = $3 }
                         END { print sum[last] }' "$trace"
    assert_output "$((100 + 4))"
}

@test "program: a number of buffers that is none is refused" {
    local bad
    for bad in 3 16385 x -8 ''; do
        BUFFERS=$bad ends "$program" 0
        assert_equal "$bad: $status" "$bad: 2"
        assert_equal "$stderr" "BUFFERS=$bad: not a number from 4 to 16384"
    done
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

# all_back: when everybody has left, so must have come back every buffer. Of who
# has come the server has said so before it answers: all must have left again.
all_back() {
    local deadline=$((SECONDS + 5 * patience + 1)) naps=0 came left away
    while :; do
        read -r came left away < <(awk '/ a visitor on / { came++ }
            / has left, / { left++; away = $NF }
            END { print came + 0, left + 0, away }' "$out")
        [ "$left" -eq 0 ] || [ "$came" -ne "$left" ] || break
        running && [ "$SECONDS" -lt "$deadline" ] || fail "$came visitors came and went; it said that $left have left.
$(it_said)" || return
        nap
    done
    # an unsigned number that has gone below 0
    [ "$away" -lt 2147483648 ] || fail "When the last visitor had left, $((4294967296 - away)) more buffers had come back than were taken." || return
    [ "$away" -eq 0 ] || fail "When the last visitor had left, buffers away: $away; expected: 0."
}

@test "exercise: a quick test finds nothing wrong" {
    start "$exercise" 0
    did "a visitor said 200 single bytes, then 100 visitors 20,000 bytes each, and left"
    run client drip 200
    assert_output '200 bytes, one at a time: every byte came back'
    run client echo 100 20000
    assert_output '100 visitors, 20000 bytes each: every byte came back'
    all_back
}

@test "exercise: it answers after 100 visitors who reset in the middle" {
    start "$exercise" 0
    did "100 visitors sent something and reset their connection; another came"
    client reset 100
    come fd "$port"
    echo 'anybody there?' >&"$fd"
    assert_equal "$(hear_line "$fd")" 'anybody there?'
    did "and left"
    leave "$fd"
    all_back
}

@test "exercise: with resets all the time, the others get every byte" {
    start "$exercise" 0
    did "4 visitors sent 5 MB each, read late and took little at a time, while 300 others reset their connection"
    client narrow 4 5000000 >"$BATS_TEST_TMPDIR/client" 2>&1 3>&- &
    local late=$! deadline=$((SECONDS + 10 * patience)) naps=0
    client reset 300
    # a server that has fallen silent is not waited for
    while kill -0 "$late" 2>/dev/null; do
        [ "$SECONDS" -lt "$deadline" ] || {
            kill "$late"
            fail "After $((10 * patience)) seconds the 4 had not heard everything.
$(it_said)"
        }
        nap
    done
    run tail -n 1 "$BATS_TEST_TMPDIR/client"
    assert_output '4 visitors, 5000000 bytes each: every byte came back'
    all_back
}
