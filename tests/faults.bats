#!/usr/bin/env bats
# Faults of the kernel's: each program that makes the call, found by its folder,
# carries on or ends with one clear line and status 1.

load helper

# Its own visitors come, as when `make chapterN` runs it. Which of the calls a
# program makes is looked at first: nothing is injected where it makes none.
setup_file() {
    local chapter
    command -v strace >/dev/null || return 0
    for chapter in chapters/[0-9][0-9]-*/; do
        chapter=$(basename "$chapter")
        with_visitors "$chapter" "$BATS_FILE_TMPDIR/$chapter" \
            -e trace=accept,accept4,io_uring_setup,io_uring_enter,mmap \
            >/dev/null 2>&1 || true
    done
}

# with_visitors CHAPTER TRACE STRACE_OPTION ...
with_visitors() {
    # LeakSanitizer cannot work under ptrace
    ASAN_OPTIONS=detect_leaks=0 PORT=0 timeout $((30 * patience)) \
        common/run "chapters/$1" "$build/chapters/$1" \
        strace -D -f -qq -o "$2" -e signal=none "${@:3}" 3>&-
}

# befall CALLS ERROR [WHEN ...]: the first of these calls fails so in each
# program, or in runs of their own those of the given numbers.
befall() {
    local chapter when status lines why bad=0 tried=0
    need_strace
    for chapter in chapters/[0-9][0-9]-*/; do
        chapter=$(basename "$chapter")
        for when in "${@:3}"; do
            [ "$(grep -cE "\b(${1//,/|})\(" "$BATS_FILE_TMPDIR/$chapter")" -ge "$when" ] ||
                continue
            status=0 why='' tried=$((tried + 1))
            with_visitors "$chapter" "$BATS_TEST_TMPDIR/trace" -e "trace=$1" \
                -e "inject=$1:error=$2:when=$when" >"$out" 2>&1 || status=$?
            lines=$(grep -cE "^$(short_name "$chapter"): " "$out" || true)
            case $status,$lines in
            0,* | 1,1) continue ;; # it carried on, or told why in one line
            124,*) why=' (it did not end)' ;;
            esac
            bad=1
            echo "$chapter: call $when of $1 fails with $2: status $status$why, $lines lines of error:"
            tail -n 4 "$out"
        done
    done
    [ "$tried" -gt 0 ] || skip "no program calls $1"
    return $bad
}

@test "faults: accept without a descriptor left" {
    befall accept,accept4 EMFILE 1 2
}

@test "faults: a visitor who has left before accept" {
    befall accept,accept4 ECONNABORTED 1 2
}

@test "faults: no memory for a ring" {
    befall io_uring_setup ENOMEM 1
}

@test "faults: io_uring_enter interrupted" {
    befall io_uring_enter EINTR 1 2
}

@test "faults: io_uring_enter without a request to spare" {
    befall io_uring_enter EAGAIN 1 2
}

@test "faults: io_uring_enter with an overflown CQ" {
    befall io_uring_enter EBUSY 1 2
}

# The libraries are mapped before main; the first ring is the first shared map.
@test "faults: no memory to map a ring" {
    local first
    need_strace
    first=$(grep -h 'mmap(' "$BATS_FILE_TMPDIR/03-poll-add" | grep -n MAP_SHARED |
        head -n 1 | cut -d: -f1)
    befall mmap ENOMEM "$first"
}
