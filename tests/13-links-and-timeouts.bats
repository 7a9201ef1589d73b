#!/usr/bin/env bats
# Chapter 13: operations that wait for each other and for the clock. Who is
# silent is let go within their time, who is not is not, and no byte is lost.

load helper
load servers

# Where nobody is to be let go, whatever else the machine has to do.
patient() {
    exec "$program" "$1" "${2:-0}" 60000
}

# nap_ms N: a pause of so many milliseconds; longer on a slow machine.
nap_ms() {
    local ms=$(($1 * patience)) seconds
    printf -v seconds '%d.%03d' $((ms / 1000)) $((ms % 1000))
    nap "$seconds"
}

@test "program: it echoes two visitors, and ends when they have left" {
    echoes_two_visitors "$program"
}

@test "program: who is silent is let go when their time is over, not before" {
    start "$program" 0 0 $((700 * patience))
    come fd "$port"
    await ' 1 here now'
    local came
    came=${EPOCHREALTIME/[.,]/}
    echo hello >&"$fd"
    assert_equal "$(hear_line "$fd")" hello
    assert_equal "$(hear_line "$fd")" 'you are silent: goodbye'
    local stayed=$(((${EPOCHREALTIME/[.,]/} - came) / 1000))
    echo "silent from the beginning on, let go after $stayed ms"
    assert [ "$stayed" -ge $((690 * patience)) ]
    await 'has left, 6 bytes echoed'
    still_serves
}

@test "program: who speaks now and then stays, twice that long" {
    start "$program" 0 0 $((1500 * patience))
    come fd "$port"
    local i
    for i in {1..10}; do
        nap_ms 300
        echo "$i" >&"$fd"
        assert_equal "$(hear_line "$fd")" "$i"
    done
    so_far
    refute_output --partial 'has left'
}

# Their time runs out while the program is stopped, so that all 500 farewells are
# asked for in one turn. A queue of 256 is no multiple of their three SQEs.
@test "program: 500 silent visitors hear why; no chain is cut by a full queue" {
    start "$program" 0 500 $((1500 * patience))
    coproc holders { client hold 500 3>&-; }
    await ' 500 here now'
    kill -STOP "$pid"
    await_state T
    nap_ms 1700
    kill -CONT "$pid"
    ended 20
    eval "exec ${holders[1]}>&-"
    assert_success
    assert_equal "$(grep -c EINVAL "$out")" 0
    assert_equal "$(grep -c 'LINK_TIMEOUT res -62 (ETIME' "$out")" 500
    assert_equal "$(grep -c 'RECV res -125 (ECANCELED' "$out")" 500
    assert_equal "$(grep -c 'SEND res 24$' "$out")" 500
    assert_equal "$(grep -c 'LINK_TIMEOUT res -125 (ECANCELED' "$out")" 500
    assert_equal "$(grep -c 'CLOSE res 0$' "$out")" 500
    assert_equal "$(grep -c 'has left, 0 bytes echoed' "$out")" 500
}

@test "program: who sends and never reads is let go too" {
    start "$program" 0 0 700
    coproc silent { client unread 30000000 3>&-; }
    await 'SEND res -125 \(ECANCELED'
    await 'has left'
    # no farewell into the middle of what waits to be read
    assert_equal "$(grep -c 'CLOSE res' "$out")" 0
    eval "exec ${silent[1]}>&-"
    still_serves
}

@test "program: a farewell that fails breaks its chain; the descriptor is closed" {
    start "$program" 0 1 $((500 * patience))
    come fd "$port"
    echo 'not read' >&"$fd"
    await ' 1 here now'
    nap 0.1
    # The time runs out while the program is stopped. Then the visitor leaves
    # with an echo unread, which resets the connection.
    kill -STOP "$pid"
    await_state T
    nap_ms 1000
    leave "$fd"
    kill -CONT "$pid"
    ended
    assert_success
    [[ $output != *'LINK_TIMEOUT res -2 (ENOENT'* ]] ||
        skip 'this kernel (Linux 6.1 for one) told the RECV of the reset first'
    assert_line --partial 'RECV res -125 (ECANCELED'
    assert_line --regexp 'SEND res -(32|104) '
    assert_line --partial 'CLOSE res -125 (ECANCELED'
    assert_line --partial 'has left, 9 bytes echoed'
}

# Linux 5.10 does not say how much a SEND has sent when its clock runs out.
@test "program: a SEND that does not fit breaks its chain only with MSG_WAITALL" {
    assert_equal "$("$build/tests/chain" | sed '/LINK_TIMEOUT/d; s/ (.*//
        s/SEND -125/SEND a part/')" \
        'it fits: SEND all
   NOP 0
it does not fit: SEND a part
   NOP 0
it fits, MSG_WAITALL, with a clock: SEND all
   NOP 0
it does not fit, MSG_WAITALL, with a clock: SEND a part
   NOP -125
cut in two: NOP 0'
}

@test "program: a clock that is submitted after its operation is refused" {
    run "$build/tests/chain"
    assert_line --index -1 '   LINK_TIMEOUT -22 (EINVAL: Invalid argument)'
}

# bats test_tags=crowd
@test "program: 3,000 connections at once are all answered" {
    answers_3000_at_once patient
}

@test "program: a client that sends megabytes before it reads loses no byte" {
    loses_no_byte_to_a_late_reader patient
}

# bats test_tags=crowd
@test "program: its memory stays under the bound that it states" {
    keeps_to_its_memory_bound patient
}

@test "program: one byte at a time, and a message larger than any buffer" {
    takes_single_bytes_and_big_messages patient
}

@test "program: who hangs up their side still gets the rest" {
    answers_who_hangs_up_their_side patient
}

@test "program: 500 visitors who reset in the middle harm nobody else" {
    survives_resets patient
}

@test "program: stopped and continued with visitors under way, nothing is lost" {
    survives_stop_and_continue patient
}

@test "program: with no descriptor left it waits, asleep, and goes on later" {
    waits_when_out_of_descriptors patient
}

@test "program: idle connections cost no CPU" {
    sleeps_while_nobody_speaks patient
}

@test "program: SIGTERM ends it at once" {
    ends_on_sigterm patient
}

# bats test_tags=command_line
@test "program: wrong command lines get the usage" {
    refuses_wrong_server_command_lines "$program"
    local bad
    for bad in x -1 0 '' 1.5; do
        ends "$program" 0 1 "$bad"
        assert_equal "$bad: $status" "$bad: 2"
        output=$stderr assert_output --partial 'not a number of milliseconds'
    done
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

# drip DESCRIPTOR: a byte every 0.2 seconds, and never the end of the line.
drip() {
    local fd=$1
    while printf x >&"$fd"; do nap 0.2; done 2>/dev/null 3>&-
}

@test "exercise: a byte now and then does not hold a place for ever" {
    start "$exercise" 0 0 $((700 * patience))
    did "a visitor sent a byte every 0.2 seconds, and never the end of the line"
    come fd "$port"
    await ' 1 here now'
    local came
    came=${EPOCHREALTIME/[.,]/}
    drip "$fd" &
    local dripper=$!
    await 'has left' 5
    wait "$dripper" || true
    local stayed=$(((${EPOCHREALTIME/[.,]/} - came) / 1000))
    echo "They were let go after about $stayed ms; expected: $((700 * patience)), and not before."
    assert [ "$stayed" -ge $((690 * patience)) ]
}

@test "exercise: four such visitors do not keep the others out" {
    start "$exercise" 0 0 $((700 * patience))
    did "four visitors dripped; a fifth came and said a line"
    local fd
    for _ in 1 2 3 4; do
        come fd "$port"
        drip "$fd" &
        leave "$fd"
    done
    await ' 4 here now'
    come fd "$port"
    echo 'is there a place?' >&"$fd"
    local line=
    IFS= read -r -t $((4 * patience)) -u "$fd" line || true
    echo "Within 4 seconds the fifth was to hear their line, and heard '$line'."
    [ "$line" = 'is there a place?' ]
}

@test "exercise: the time is the visitor's own, whatever the others do" {
    start "$exercise" 0 0 $((700 * patience))
    did "one visitor dripped, with 0.7 seconds for a line; another said a line every 0.2 seconds"
    come dripper "$port"
    await ' 1 here now'
    come busy "$port"
    local i
    for i in {1..12}; do
        ! grep -q 'has left' "$out" || break
        printf x >&"$dripper"
        echo "line $i" >&"$busy"
        assert_equal "$(hear_line "$busy")" "line $i"
        nap_ms 200
    done
    echo "The one who dripped must be let go, and the other one stay."
    so_far
    assert_line --partial 'has left, 1 here now'
}

@test "exercise: who is silent is let go" {
    start "$exercise" 0 0 600
    did "a visitor came and said nothing"
    come fd "$port"
    await 'has left' 5
}

@test "exercise: a line in pieces, within its time, comes back" {
    start "$exercise" 0 0 $((3000 * patience))
    did "a visitor sent a line in four pieces, 0.2 seconds apart"
    come fd "$port"
    local piece
    for piece in 'one ' 'line ' 'in ' pieces$'\n'; do
        printf %s "$piece" >&"$fd"
        nap 0.2
    done
    assert_equal "$(hear_line "$fd")" 'one line in pieces'
}

@test "exercise: each line has a time of its own" {
    start "$exercise" 0 0 $((1500 * patience))
    did "a visitor with 1.5 seconds for a line said five lines, 0.35 seconds apart"
    come fd "$port"
    local i
    for i in {1..5}; do
        nap_ms 350
        echo "line $i" >&"$fd"
        assert_equal "$(hear_line "$fd")" "line $i"
    done
}

@test "exercise: two lines in one message come back, and half a line can follow" {
    start "$exercise" 0 0 $((1500 * patience))
    did "a visitor with 1.5 seconds for a line sent 'a', end of line, 'b', end of line, 'c' after 0.9 seconds, and the last end of line after 0.8 more"
    come fd "$port"
    nap_ms 900
    printf 'a\nb\nc' >&"$fd"
    assert_equal "$(hear_line "$fd")" a
    assert_equal "$(hear_line "$fd")" b
    # the first line's time runs out, and 'c' has its own
    nap_ms 800
    echo >&"$fd"
    assert_equal "$(hear_line "$fd")" c
}
