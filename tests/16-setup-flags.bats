#!/usr/bin/env bats
# Chapter 16: what a ring is set up with decides who does the work, and when.

load helper
load servers

# Strict mode cannot be entered where another filter is in force already.
need_strict_mode() {
    grep -q '^Seccomp:[[:space:]]*0$' /proc/self/status ||
        skip 'a seccomp filter is in force here (a container?): no strict mode'
}

# The program with these flags, as the tests in servers.bash start it: they give
# PORT and sometimes VISITORS.
with() {
    cat >"$BATS_TEST_TMPDIR/server" <<END
#!/bin/sh
exec $program "\${1:-8080}" "\${2:-0}" $1
END
    chmod +x "$BATS_TEST_TMPDIR/server"
    server=$BATS_TEST_TMPDIR/server
}

# ms_of_load FLAGS: sets $ms to the CPU time in ms that the server needs for 250
# echoes to each of 127 visitors; they and the server each have a CPU of their
# own, where there are two. Adds to $waited the ms for which it was ready to run
# and others had that CPU. proc(5), /proc/pid/schedstat
ms_of_load() {
    local cpus=() here=()
    mapfile -t cpus < <(taskset -pc $$ 2>/dev/null | sed 's/.*: //' | tr , '\n' |
        awk -F- '{ for (i = $1; i <= $NF; i++) print i }')
    if [ "${#cpus[@]}" -ge 2 ]; then
        here=(taskset -c "${cpus[1]}")
        start taskset -c "${cpus[0]}" "$program" 0 128 "$1"
    else
        start "$program" 0 128 "$1"
    fi
    coproc holder { client hold 1 3>&-; } # so that it does not end before
    await ' 1 here now'
    local ran delayed ran_before delayed_before
    read -r ran_before delayed_before _ <"/proc/$pid/schedstat"
    "${here[@]}" "$build/tests/client" "$port" talk 127 250 >/dev/null
    read -r ran delayed _ <"/proc/$pid/schedstat"
    ms=$(((ran - ran_before) / 1000000))
    waited=$((waited + (delayed - delayed_before) / 1000000))
    kill "$pid"
    wait "$pid" 2>/dev/null || true
    eval "exec ${holder[1]}>&-"
}

@test "program: whatever the flags, it echoes two visitors and ends" {
    local flags
    for flags in none coop defer sqpoll; do
        start "$program" 0 2 "$flags"
        await "^2\. $flags: "
        run client echo 2 1000
        assert_output '2 visitors, 1000 bytes each: every byte came back'
        ended
        assert_success
        assert_equal "$stderr" ''
    done
}

@test "program: each set of flags is what the kernel is asked for" {
    # NO_SQARRAY, 0x10000, is newer liburings' own affair. CQSIZE is 0x8; and COOP_TASKRUN 0x100, SINGLE_ISSUER 0x1000,
    # DEFER_TASKRUN 0x2000, SQPOLL 0x2
    local row
    for row in 'none 0x8' 'coop 0x108' 'defer 0x3008' 'sqpoll 0xa'; do
        start_traced 'io_uring_setup -X raw' "$program" 0 1 "${row% *}"
        client echo 1 10
        ended
        assert_success
        # the rings before are need_feature()'s
        run tail -n 1 "$trace"
        assert_output --regexp 'flags=0x[0-9a-f]+, '
        [[ $output =~ flags=(0x[0-9a-f]+) ]]
        assert_equal "${row% *} $((BASH_REMATCH[1] & ~0x10000))" "${row% *} $((${row#* }))"
    done
}

# bats test_tags=crowd
@test "program: defer: 3,000 connections at once are all answered" {
    with defer
    answers_3000_at_once "$server"
}

# bats test_tags=crowd
@test "program: strict: 3,000 connections at once are all answered" {
    need_strict_mode
    with strict
    answers_3000_at_once "$server"
}

# bats test_tags=crowd
@test "program: sqpoll: 3,000 connections at once are all answered" {
    with sqpoll
    answers_3000_at_once "$server"
}

# bats test_tags=crowd
@test "program: defer: 10,000 connections at once are all answered" {
    with defer
    answers_10000_at_once "$server"
}

@test "program: a client that sends megabytes before it reads loses no byte" {
    with defer
    loses_no_byte_to_a_late_reader "$server"
}

@test "program: strict: a client that sends megabytes before it reads loses no byte" {
    need_strict_mode
    with strict
    loses_no_byte_to_a_late_reader "$server"
}

# bats test_tags=crowd
@test "program: its memory stays under the bound that it states" {
    with defer
    keeps_to_its_memory_bound "$server"
}

@test "program: 1,000 idle connections add no buffers" {
    start "$program" 0 0 defer
    local before
    before=$(rss_kb)
    coproc holders { client hold 1000 3>&-; }
    await ' 1000 here now'
    echo "with 1000 idle connections its memory grew by $(($(rss_kb) - before)) KB"
    assert [ $(($(rss_kb) - before)) -lt 500 ]
    eval "exec ${holders[1]}>&-"
}

@test "program: one byte at a time, and a message larger than any buffer" {
    with defer
    takes_single_bytes_and_big_messages "$server"
}

@test "program: who hangs up their side still gets the rest" {
    with coop
    answers_who_hangs_up_their_side "$server"
}

@test "program: 500 visitors who reset in the middle harm nobody else" {
    with defer
    survives_resets "$server"
}

@test "program: strict: 500 visitors who reset in the middle harm nobody else" {
    need_strict_mode
    with strict
    survives_resets "$server"
}

@test "program: stopped and continued with visitors under way, nothing is lost" {
    with defer
    survives_stop_and_continue "$server"
}

@test "program: strict: stopped and continued, nothing is lost" {
    need_strict_mode
    with strict
    survives_stop_and_continue "$server"
}

# bats test_tags=crowd
@test "program: 300 visitors who do not read cost nobody else anything" {
    # more of them than there are buffers at the start
    start "$program" 0 0 defer
    client late 300 400000 >"$BATS_TEST_TMPDIR/client" 3>&- &
    local clients=$!
    await ' 300 here now'
    nap 0.3
    still_serves
    wait "$clients"
    run cat "$BATS_TEST_TMPDIR/client"
    assert_line '300 visitors, 400000 bytes each: every byte came back'
}

@test "program: with no slot left it waits, asleep, and goes on later" {
    with defer
    waits_when_out_of_descriptors "$server"
}

@test "program: idle connections cost no CPU" {
    with defer
    sleeps_while_nobody_speaks "$server"
}

@test "program: sqpoll: after a while of silence its kernel thread sleeps, too" {
    start "$program" 0 0 sqpoll
    coproc holders { client hold 10 3>&-; }
    await ' 10 here now'
    nap 0.5
    local used
    used=$(cpu_while 0.5)
    echo "it used $used ms of CPU time in 500 ms"
    assert [ "$used" -le $((20 * patience)) ]
    still_serves
    eval "exec ${holders[1]}>&-"
}

@test "program: SIGTERM ends it at once, in strict mode too" {
    with defer
    ends_on_sigterm "$server"
    kill "$pid"
    ended
    need_strict_mode
    with strict
    ends_on_sigterm "$server"
}

# --- the claims ------------------------------------------------------------------

@test "program: strict: not one call while 10,000 echoes pass" {
    need_strict_mode
    start_traced 'all -s 99' "$program" 0 10 strict
    await '^3\. '
    run client talk 10 1000
    assert_output '10 visitors, 1000 messages each: every byte came back'
    ended 20
    assert_success
    # the thread that serves: from strict mode to its end
    local thread
    sed -i -E 's/^([0-9]+) +/\1 /' "$trace"
    thread=$(sed -n 's/^\([0-9]*\) .*SECCOMP_MODE_STRICT.*/\1/p' "$trace")
    run sed -n "/SECCOMP_MODE_STRICT/,/^$thread +++ exited/p" "$trace"
    local all=$output
    echo "thread $thread, and the beginning of what was noted:"
    head -n 30 <<<"$all"
    # it says where it is, who comes and who leaves: 1 + 10 + 10, nothing else
    run grep "^$thread " <<<"$all"
    assert_equal "$(grep -c "^$thread write(1," <<<"$output")" 21
    run grep -vE "^$thread (write\(1,|prctl|<... (prctl|write) resumed|exit\(0\)|\+\+\+)" <<<"$output"
    assert_output ''
    # and the echoes, between the tenth who came and the first who left: no call
    # at all, of this thread or any other of the process (the rest of a line that
    # strace had to break is no call)
    run sed -n '/ 10 here now/,/has left/{/ resumed>/!p}' <<<"$all"
    assert_equal "${#lines[@]}" 2
}

# The chapter's program, changed by sed, as $changed.
change_program() {
    # a thread that the kernel has killed is none for LeakSanitizer
    export ASAN_OPTIONS=detect_leaks=0
    local source=$BATS_TEST_TMPDIR/changed.c
    changed=$BATS_TEST_TMPDIR/changed
    sed "$1" chapters/16-setup-flags/setup_flags.c >"$source"
    ! cmp -s "$source" chapters/16-setup-flags/setup_flags.c ||
        fail 'sed has changed nothing'
    # shellcheck disable=SC2046,SC2086 # several options
    "${CC:-gcc}" -std=gnu11 -D_GNU_SOURCE -iquote common ${CFLAGS:-} -o "$changed" "$source" \
        "$build/libcommon.a" $(pkg-config --libs liburing)
}

@test "program: strict: at a system call the thread dies, and the program says so" {
    need_strict_mode
    change_program 's/^    say("   the visitor in slot %u has left.*/    getppid();\n&/'
    start "$changed" 0 1 strict
    client echo 1 0 || true
    ended
    assert_equal "$status" 1
    assert_equal "$stderr" 'changed: the thread that served has made a system call, and is dead'
}

@test "program: strict: before the kernel thread is awake it is too early" {
    need_strict_mode
    # the first SQE is not submitted before strict mode
    change_program '/^static void let_a_thread/,/^}/ {
        /ask_for_visitor/d; /ring_submit/d; /sq_ready/d; /^        ;/d }'
    start "$changed" 0 1 strict
    await '^3\. '
    nap 1
    ! running || skip 'here the kernel thread was awake at once'
    ended
    assert_equal "$status" 1
    assert_equal "$stderr" 'changed: the thread that served has made a system call, and is dead'
}

@test "program: strict: it survives a silence longer than the kernel thread waits" {
    need_strict_mode
    change_program 's/SILENCE_MS = [^}]*}/SILENCE_MS = 500 }/'
    start "$changed" 0 2 strict
    await '^3\. '
    nap 0.7
    come fd "$port"
    echo one >&"$fd"
    assert_equal "$(hear_line "$fd")" one
    nap 0.7
    echo two >&"$fd"
    assert_equal "$(hear_line "$fd")" two
    leave "$fd"
    nap 0.7
    still_serves
    ended
    assert_success
}

# bats test_tags=alone
@test "program: without flags an echo costs more than with coop or defer" {
    need_real_cpu
    command -v taskset >/dev/null || skip 'taskset is not installed (util-linux)'
    ! sanitized "$program" || skip 'a sanitizer costs more than what is compared'
    [ -r /proc/self/schedstat ] || skip 'this kernel has no /proc/PID/schedstat'
    local ms none coop defer waited try quiet=0
    # Who waits for their CPU finds many notes there at once, whatever the flags:
    # a round in which others had it says nothing.
    for try in {1..5}; do
        waited=0
        ms_of_load none
        none=$ms
        ms_of_load coop
        coop=$ms
        ms_of_load defer
        defer=$ms
        echo "round $try: none $none ms, coop $coop ms, defer $defer ms for 31,750" \
            "echoes each; $waited ms of waiting for a CPU"
        [ $((waited * 10)) -lt $((none + coop + defer)) ] || continue
        quiet=$((quiet + 1))
        [ $((none * 100)) -lt $((coop * 108)) ] ||
            [ $((none * 100)) -lt $((defer * 108)) ] || return 0
        [ "$quiet" -lt 3 ] || break
    done
    [ "$quiet" -gt 0 ] || skip 'others had the CPUs in each of 5 rounds'
    echo 'expected: none at least 1.08 times the others'
    return 1
}

# bats test_tags=command_line
@test "program: wrong command lines get the usage" {
    with ''
    local bad
    for bad in x -1 65536 '' 8080x; do
        ends "$program" "$bad"
        assert_equal "$bad: $status" "$bad: 2"
        output=$stderr assert_output --partial 'not a port from 0 to 65535'
    done
    for bad in x -1 '' 1.5; do
        ends "$program" 0 "$bad"
        assert_equal "$bad: $status" "$bad: 2"
        output=$stderr assert_output --partial 'not a number of visitors'
    done
    for bad in x '' NONE none,coop 0; do
        ends "$program" 0 1 "$bad"
        assert_equal "$bad: $status" "$bad: 2"
        output=$stderr assert_output --partial "not one of these: $bad"
        output=$stderr assert_output --partial '[PORT [VISITORS [none|coop|defer|sqpoll|strict]]]'
    done
    ends "$program" 0 1 none 2
    assert_equal "$status" 2
    output=$stderr assert_output --partial 'too many arguments'
}

# bats test_tags=command_line
@test "program: a port in use is named, with what to do" {
    explains_port_in_use "$program"
}

# bats test_tags=command_line
@test "program: a port for root only is named, with what to do" {
    explains_privileged_port "$program"
}

@test "program: no descriptor, no io_uring, no strict mode: one line each" {
    explains_full_table "$program"
    explains_refusal io_uring_setup EPERM "$program" 0
    explains_refusal io_uring_setup ENOSYS "$program" 0
    explains_refusal io_uring_enter EBUSY "$program" 0
    explains_refusal prctl EINVAL "$program" 0 1 strict
    output=$stderr assert_output --partial 'another seccomp filter is in force, as in containers'
}

# --- the exercise -------------------------------------------------------------

done_line='done: the primes below 4000000 sum to 544501644261'

@test "exercise: who comes after the work is greeted" {
    start "$exercise" 0 1
    did "nobody came until the work was done; then one did"
    await '^done' 60
    run visit "$port"
    assert_output 'hello from chapter 16'
    ended
    assert_success
    assert_line "$done_line"
}

@test "exercise: who comes during the work is greeted before it is done" {
    start "$exercise" 0 3
    await '^working'
    did "while the program was working two visitors came, one after the other"
    local fd
    for _ in 1 2; do
        come fd "$port"
        run hear "$fd"
        assert_output 'hello from chapter 16'
    done
    so_far
    echo "When both had been greeted, the program had printed:"
    echo "$output"
    echo "Expected: not yet the line '$done_line'"
    refute_line "$done_line"
    await '^done' 60
    visit "$port"
    ended
    assert_success
}

@test "exercise: as long as nobody comes, a look is no system call" {
    start_traced io_uring_enter,poll,ppoll,accept,accept4 "$exercise" 0 1
    await '^done' 60
    did "nobody came during the work; strace noted the calls that ask"
    local so_many
    so_many=$(calls '\(')
    echo "Calls up to the end of the work: $so_many, expected: 3 at most"
    echo "(the sum has 200 slices, with a look after each). The first of them:"
    head -n 5 "$trace"
    assert [ "$so_many" -le 3 ]
    visit "$port"
    ended
}

@test "exercise: the ring still defers its work" {
    start_traced 'io_uring_setup -X raw' "$exercise" 0 1
    did "strace noted the flags that the ring is set up with"
    await '^working'
    local flags
    flags=$(sed -n 's/.*flags=\(0x[0-9a-f]*\), sq_.*/\1/p' "$trace" | tail -n 1)
    echo "They are $flags; expected: among them IORING_SETUP_DEFER_TASKRUN, 0x2000."
    assert [ $((flags & 0x2000)) -ne 0 ]
}
