#!/usr/bin/env bats
# Chapter 14: what was asked for can be called off, and a good server ends by
# finishing: no byte that it has taken is lost, and every SQE has its CQE.

load helper
load servers

# all_home: after the end, as many CQEs as SQEs, none lost, every byte given
# back that was taken. Sets $sqes and $taken.
all_home() {
    [[ $output =~ 5\.\ ([0-9]+)\ SQEs,\ ([0-9]+)\ CQEs,\ 0\ lost ]] ||
        fail "no line like '5. 22 SQEs, 22 CQEs, 0 lost'
$(it_said)"
    sqes=${BASH_REMATCH[1]}
    assert_equal "${BASH_REMATCH[2]} CQEs" "$sqes CQEs"
    [[ $output =~ ([0-9]+)\ bytes\ taken,\ ([0-9]+)\ given\ back ]]
    taken=${BASH_REMATCH[1]}
    assert_equal "${BASH_REMATCH[2]} bytes given back" "$taken bytes given back"
}

@test "program: it echoes two visitors, and ends when they have left" {
    echoes_two_visitors "$program"
    all_home
    assert_equal "$taken" 13
}

@test "program: SIGTERM under load: what it has taken comes back, every byte" {
    start "$program" 0 0 60000
    client until 40 >"$BATS_TEST_TMPDIR/client" 2>&1 3>&- &
    local clients=$!
    await ' 40 here now'
    nap 0.5
    kill -TERM "$pid"
    wait "$clients" || true
    ended 20
    assert_success
    all_home
    assert [ "$taken" -gt 1000000 ]
    run cat "$BATS_TEST_TMPDIR/client"
    assert_line --index 1 "40 visitors until the end: $taken bytes came back"
}

@test "program: SIGINT is the same, and a megabyte that waits comes too" {
    start "$program" 0 0 60000
    coproc late { client later 30000000 3>&-; }
    local line
    IFS= read -r -t 20 -u "${late[0]}" line
    kill -INT "$pid"
    await '^3\. SIGINT: nobody is let in, 1 here'
    nap 0.3
    assert running
    eval "exec ${late[1]}>&-"
    IFS= read -r -t 20 -u "${late[0]}" line
    ended 20
    assert_success
    all_home
    assert_equal "$line" "until the end: $taken bytes came back"
}

@test "program: every SQE that it counts was submitted, and no other" {
    start_traced io_uring_enter "$program" 0 0 5000
    client echo 50 3000
    kill -TERM "$pid"
    ended
    assert_success
    all_home
    # one more: need_feature() asks on a ring of its own
    assert_equal "$(sed -n 's/.* = \([0-9]*\)$/\1/p' "$trace" |
        awk '{ n += $1 } END { print n }')" $((sqes + 1))
}

@test "program: who stays is let go when the time is over, and not before" {
    start "$program" 0 0 800
    come fd "$port"
    echo hello >&"$fd"
    assert_equal "$(hear_line "$fd")" hello
    kill -TERM "$pid"
    await '^3\. '
    local at=${EPOCHREALTIME/[.,]/}
    # the end, though not hung up: the server still waits for theirs
    run hear "$fd"
    assert_output ''
    await '^4\. no more time, 1 still here'
    ended
    local waited=$(((${EPOCHREALTIME/[.,]/} - at) / 1000))
    echo "it waited $waited ms"
    assert [ "$waited" -ge 700 ]
    assert_success
    all_home
}

@test "program: a second signal hurries" {
    start "$program" 0 0 600000
    coproc holders { client hold 100 3>&-; }
    await ' 100 here now'
    kill -TERM "$pid"
    await '^3\. SIGTERM'
    nap 0.3
    assert running
    kill -INT "$pid"
    ended
    assert_success
    assert_line '4. SIGINT again: what is in flight is cancelled'
    all_home
    assert_equal "$(grep -c 'has left, 0 bytes echoed' "$out")" 100
    eval "exec ${holders[1]}>&-"
}

@test "program: nobody is let in after the signal" {
    start "$program" 0 0 5000
    come fd "$port"
    await ' 1 here now'
    kill -TERM "$pid"
    await '^3\. '
    nap 0.3
    run come other "$port"
    assert_failure
    leave "$fd"
    ended
    assert_success
}

# The server is stopped meanwhile, so that the ACCEPT has brought somebody before
# the signal's READ has been seen.
@test "program: who comes in the moment of the signal hears the end at once, too" {
    local early=0 fd
    for early in 1 0; do
        start "$program" 0 0 600000
        [ "$early" = 0 ] || come fd "$port"
        [ "$early" = 0 ] || await ' 1 here now'
        kill -STOP "$pid"
        await_state T
        kill -TERM "$pid"
        come newcomer "$port"
        kill -CONT "$pid"
        await " $((early + 1)) here now"
        run hear "$newcomer"
        assert_success
        assert_output ''
        leave "$newcomer"
        [ "$early" = 0 ] || leave "$fd"
        ended
        assert_success
        all_home
    done
}

@test "program: a signal with nobody here ends it at once" {
    start "$program" 0 0 600000
    kill -TERM "$pid"
    ended
    assert_success
    all_home
    start "$program" "$port"
    still_serves
}

@test "program: a signal while it is out of descriptors ends it, too" {
    command -v prlimit >/dev/null || skip 'prlimit is not installed (util-linux)'
    start "$program" 0 0 600
    prlimit --pid "$pid" --nofile=12:12
    coproc holders { client hold 30 3>&-; }
    await 'no descriptor left'
    kill -TERM "$pid"
    ended
    assert_success
    all_home
    eval "exec ${holders[1]}>&-"
}

@test "program: the CQ of 4 overflows, is seen to, and nothing is lost" {
    start "$program" 0 0 60000
    run client echo 500 10000
    assert_output '500 visitors, 10000 bytes each: every byte came back'
    kill -TERM "$pid"
    ended
    all_home
    assert_equal "$taken" 5000000
    # the picture was drawn once, with a CQ that is full
    assert_equal "$(grep -c 'the rings when the CQ is full' "$out")" 1
    [[ $output =~ ([0-9]+)\ taken\ while\ more\ waited ]]
    assert [ "${BASH_REMATCH[1]}" -gt 100 ]
}

@test "program: 4,096 through a CQ of 64: all come, in order, and it costs" {
    run "$build/tests/overflow"
    assert_success
    echo "$output"
    [[ $output =~ costs\ ([0-9]+)\.([0-9]+)\ times ]]
    # at least a third more
    assert [ $((BASH_REMATCH[1] * 100 + 10#${BASH_REMATCH[2]})) -ge 133 ]
}

# bats test_tags=crowd
@test "program: 3,000 connections at once are all answered" {
    answers_3000_at_once "$program"
    all_home
}

@test "program: a client that sends megabytes before it reads loses no byte" {
    loses_no_byte_to_a_late_reader "$program"
}

# bats test_tags=crowd
@test "program: its memory stays under the bound that it states" {
    keeps_to_its_memory_bound "$program"
}

# Whoever takes completions for as long as there are some has to let people in
# meanwhile. Several clients, so that somebody always has sent something.
@test "program: visitors who never pause do not keep newcomers out" {
    start "$program" 0
    local busy=() i
    for i in {1..8}; do
        client echo 8 50000000 >/dev/null 2>&1 3>&- &
        busy+=($!)
    done
    await ' 64 here now'
    for i in 1 2 3; do
        run timeout $((3 * patience)) "$build/tests/client" "$port" echo 1 1000
        echo "newcomer $i"
        assert_output '1 visitors, 1000 bytes each: every byte came back'
    done
    for i in "${busy[@]}"; do
        kill "$i" || fail 'a busy one had ended before'
    done
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

@test "program: it leaves nothing behind, as valgrind sees it" {
    command -v valgrind >/dev/null || skip 'valgrind is not installed'
    [ "$patience" -lt 6 ] || skip 'valgrind takes too long on an emulated or a busy machine'
    [[ $(valgrind -q "$program" x 2>&1) != *debuginfo* ]] ||
        skip 'this valgrind cannot read the debug information of this compiler'
    ! sanitized "$program" || skip 'valgrind and a sanitizer do not go together'
    start valgrind -q --track-fds=yes --error-exitcode=9 --leak-check=full \
        "$program" 0 0 400
    come fd "$port"
    echo hello >&"$fd"
    assert_equal "$(hear_line "$fd")" hello
    kill -TERM "$pid"
    ended 20
    assert_success
    all_home
    # what it inherited is not its own
    [[ $stderr != *'Open AF_INET'* && $stderr != *anon_inode* ]]
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

# start_exercise: with standard input that typed() writes to.
start_exercise() {
    local fifo=$BATS_TEST_TMPDIR/commands
    mkfifo "$fifo"
    exec {commands}<>"$fifo"
    # shellcheck disable=SC2016 # for the other shell
    start bash -c 'exec "$0" 0 <"$1"' "$exercise" "$fifo"
}

typed() {
    echo "$*" >&"$commands"
}

@test "exercise: a visitor who has said nothing is called off, and hears the end" {
    start_exercise
    did "two visitors came; then the command 'cancel 1'"
    come one "$port"
    await 'visitor 1 has come'
    come two "$port"
    await 'visitor 2 has come'
    typed cancel 1
    await 'visitor 1: called off'
    await 'visitor 1 has left'
    run hear "$one"
    assert_output ''
    echo hello >&"$two"
    await 'visitor 2 waits for news'
    refute grep -q 'visitor 2 has left' "$out"
}

@test "exercise: one whose wait has a thread of its own: EALREADY, then the end" {
    start_exercise
    did "a visitor spoke, and waited for news; then the command 'cancel 1'"
    come one "$port"
    echo hello >&"$one"
    await 'visitor 1 waits for news'
    # until that thread is there, and waits
    local deadline=$((SECONDS + 5 * patience)) naps=0
    until grep -qs '^iou-wrk' "/proc/$pid/task/"*/comm || [ "$SECONDS" -ge "$deadline" ]; do
        nap
    done
    nap "$((patience / 3)).3"
    typed cancel 1
    await 'visitor 1: being done, it ends by itself'
    so_far
    assert_line '   visitor 1: being done, it ends by itself (EALREADY)'
    await 'visitor 1 has left'
    run hear "$one"
    assert_output ''
    nap 0.2
    echo "'visitor 1 has left' must be printed once."
    assert_equal "$(grep -c 'visitor 1 has left' "$out")" 1
}

@test "exercise: a wait that has ended meanwhile: ENOENT, and the visitor stays" {
    start_exercise
    did "the program was stopped; 'cancel 1' was typed, then visitor 1 spoke; it went on"
    come one "$port"
    await 'visitor 1 has come'
    await_state S
    kill -STOP "$pid"
    await_state T
    typed cancel 1
    nap 0.2
    echo hello >&"$one"
    nap 0.2
    kill -CONT "$pid"
    await 'visitor 1: (too late, it is done|being done)'
    so_far
    # seen on 6.1
    [[ $output != *'visitor 1: being done, it ends by itself (EALREADY)'* ||
        ! $(uname -r) =~ ^6\.[0-9]\. ]] ||
        skip 'this kernel had the CANCEL before the wait had ended'
    assert_line '   visitor 1: too late, it is done (ENOENT)'
    await 'visitor 1 waits for news'
    typed news it rains
    assert_equal "$(hear_line "$one")" 'it rains'
    refute grep -q 'visitor 1 has left' "$out"
}

@test "exercise: after a cancel the others go on, and new ones come" {
    start_exercise
    did "five came, three were cancelled, two more came and heard news"
    local i fds=()
    for i in {1..5}; do
        come fd "$port"
        fds[i]=$fd
        await "visitor $i has come"
    done
    for i in 2 4 5; do
        typed cancel "$i"
        await "visitor $i has left"
    done
    for i in 6 7; do
        come fd "$port"
        fds[i]=$fd
        await "visitor $i has come"
    done
    for i in 1 3 6 7; do
        echo hello >&"${fds[i]}"
        await "visitor $i waits for news"
        typed "news for $i"
        assert_equal "$(hear_line "${fds[i]}")" "for $i"
    done
    echo "'has left' must be printed once for each of the three who were cancelled."
    assert_equal "$(grep -c 'has left' "$out")" 3
}
