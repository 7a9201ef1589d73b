#!/usr/bin/env bats
# make doctor: the right cause and the right remedy; and the features' sentence

load helper

doctor() {
    run timeout 60 "$@" make -s doctor
}

# as_if FILE TEXT ... -- COMMAND ...: runs it where these files of /proc say so.
as_if() {
    unshare -rm true 2>/dev/null || skip 'no namespace to pretend in'
    local mounts=() file
    while [ "$1" != -- ]; do
        [ -e "$1" ] || skip "this kernel has no $1"
        file=$BATS_TEST_TMPDIR/file${#mounts[@]}
        printf '%s\n' "$2" >"$file"
        mounts+=("mount --bind $file $1;")
        shift 2
    done
    shift
    run timeout 60 unshare -rm bash -c "${mounts[*]} exec \"\$@\"" bash "$@"
}

# without TOOL ...: sets $path to a PATH on which these are not found.
without() {
    path=$BATS_TEST_TMPDIR/bin
    mkdir "$path"
    cp -s /usr/sbin/* /usr/bin/* "$path" 2>/dev/null || true
    rm "${@/#/$path/}"
}

@test "doctor: a machine that has all: every chapter in a row, and status 0" {
    run "$build/tools/features"
    [[ $output != *' no '* ]] || skip 'this kernel lacks a feature'
    doctor env
    assert_success
    assert_line 'ok    io_uring works: a ring was set up'
    assert_line "ok    Linux $(uname -r) on $(uname -m)"
    assert_line --regexp '^   1  blocking-accept +runs +needs no io_uring$'
    assert_line --regexp '^   3  poll-add +runs +needs POLL_ADD$'
    refute_line --regexp '^NO'
    assert_line --regexp '^This machine can run the whole course: all [0-9]+ chapters\.'
}

@test "doctor: a kernel that lacks features: the chapters that do not run" {
    doctor "$build/tests/refuse" io_uring_register EINVAL
    assert_success
    assert_line --regexp '^   1  blocking-accept +runs '
    assert_line --regexp '^   3  poll-add +lacks +needs POLL_ADD \(it came with Linux 5\.1\)$'
    assert_line --regexp '^You can follow the course, but for chapters 3 .*newer kernel'
}

@test "doctor: io_uring refused by a filter: EPERM, and the container's option" {
    [ "$(cat /proc/sys/kernel/io_uring_disabled 2>/dev/null || echo 0)" -eq 0 ] ||
        skip 'here the switch refuses io_uring'
    doctor "$build/tests/refuse" io_uring_setup EPERM
    assert_failure
    assert_line 'NO    io_uring is refused with EPERM: a seccomp filter forbids it (Seccomp: 2 in /proc/self/status)'
    assert_line --regexp '^      what to do: .*(seccomp=unconfined|Unconfined)'
    assert_line --regexp '^   1  blocking-accept +runs '
    assert_line --regexp '^   3  poll-add +does not run '
    assert_line --partial 'Not yet: mend what says NO above'
}

@test "doctor: io_uring hidden by a filter: ENOSYS, and the container's option" {
    doctor "$build/tests/refuse" io_uring_setup ENOSYS
    assert_failure
    assert_line --regexp '^NO    .*\(ENOSYS\).*Seccomp: 2'
    assert_line '      what to do: podman run --security-opt seccomp=unconfined ...'
}

@test "doctor: io_uring switched off for everybody: the sysctl" {
    as_if /proc/sys/kernel/io_uring_disabled 2 -- \
        "$build/tests/refuse" io_uring_setup EPERM make -s doctor
    assert_failure
    assert_line 'NO    io_uring is switched off for everybody (kernel.io_uring_disabled is 2)'
    assert_line --regexp '^      what to do: as root.*: sysctl kernel\.io_uring_disabled=0$'
}

@test "doctor: io_uring switched off but for root: the sysctl, or the group" {
    as_if /proc/sys/kernel/io_uring_disabled 1 /proc/sys/kernel/io_uring_group -1 \
        -- "$build/tests/refuse" io_uring_setup EPERM make -s doctor
    assert_failure
    assert_line 'NO    io_uring is for root only here (kernel.io_uring_disabled is 1)'
    assert_line --regexp '^      what to do: as root.*: sysctl kernel\.io_uring_disabled=0, or'
    as_if /proc/sys/kernel/io_uring_disabled 1 /proc/sys/kernel/io_uring_group 4711 \
        -- "$build/tests/refuse" io_uring_setup EPERM make -s doctor
    assert_failure
    assert_line 'NO    io_uring is for root and group 4711 here (kernel.io_uring_disabled is 1)'
    assert_line --partial 'usermod -aG'
}

@test "doctor: no memory, and no locked memory before Linux 5.12" {
    doctor "$build/tests/refuse" io_uring_setup ENOMEM
    assert_failure
    assert_line --regexp '^NO    .*\(ENOMEM\)'
    as_if /proc/sys/kernel/osrelease 5.10.0-32-amd64 -- \
        "$build/tests/refuse" io_uring_setup ENOMEM make -s doctor
    assert_line --regexp '^NO    no locked memory .*ulimit -l is '
    assert_line --partial 'memlock'
}

@test "doctor: no descriptor for a ring: its limit" {
    doctor "$build/tests/refuse" io_uring_setup EMFILE
    assert_failure
    assert_line --regexp '^NO    no descriptor for a ring \(EMFILE\): ulimit -n is [0-9]+'
    assert_line '      what to do: ulimit -n 1024'
}

@test "doctor: WSL, gVisor and an old kernel call themselves so" {
    as_if /proc/sys/kernel/osrelease 5.15.167.4-microsoft-standard-WSL2 -- \
        make -s doctor
    assert_line 'note  this is inside WSL (the kernel calls itself Microsoft)'
    as_if /proc/sys/kernel/osrelease 4.19.0-gvisor -- \
        "$build/tests/refuse" io_uring_setup ENOSYS make -s doctor
    assert_failure
    assert_line --partial 'this is inside gVisor'
    assert_line 'NO    gVisor offers no io_uring (ENOSYS)'
    as_if /proc/sys/kernel/osrelease 5.4.0-200-generic -- make -s doctor
    assert_failure
    assert_line --regexp '^NO    Linux 5\.4\.0-200-generic on .*: the course needs 5\.6$'
}

@test "doctor: no liburing: the line that installs it, and io_uring is tried still" {
    doctor env PKG_CONFIG_PATH=/nonexistent PKG_CONFIG_LIBDIR=/nonexistent
    assert_failure
    assert_line 'NO    liburing is missing'
    assert_line --regexp '^      what to do: .*(install|-S) .*liburing'
    command -v perl >/dev/null || skip 'no perl to ask without liburing'
    assert_line 'ok    io_uring works: a ring was set up'
    doctor env PKG_CONFIG_PATH=/nonexistent PKG_CONFIG_LIBDIR=/nonexistent \
        "$build/tests/refuse" io_uring_setup EPERM
    assert_failure
    assert_line 'NO    liburing is missing'
    assert_line --regexp '^NO    io_uring is .*(EPERM|is [12]\))'
}

@test "doctor: an old liburing is told from a new one" {
    printf '%s\n' 'Name: liburing' 'Description: old' 'Version: 2.1' \
        >"$BATS_TEST_TMPDIR/liburing.pc"
    doctor env PKG_CONFIG_PATH="$BATS_TEST_TMPDIR"
    assert_failure
    assert_line 'NO    liburing 2.1 is too old: the course needs 2.3'
}

@test "doctor: no compiler, no bats: the lines that install them" {
    without "${CC:-gcc}" bats
    doctor env PATH="$path"
    assert_failure
    assert_line "NO    the C compiler (${CC:-gcc}) is missing"
    assert_line 'NO    bats is missing'
    assert_line --regexp "^      what to do: .*${CC:-gcc}"
    doctor env BATS_LIB_PATH=/nonexistent
    assert_failure
    assert_line 'NO    bats-support is missing'
}

@test "doctor: without strace the course can be followed" {
    without strace perl
    doctor env PATH="$path"
    assert_line --regexp '^note  strace is missing: .*strace$'
    refute_line --regexp '^NO    strace'
}

@test "features: what a kernel lacks is one sentence and status 77" {
    run --separate-stderr "$build/tests/refuse" io_uring_register EINVAL \
        "$build/tools/features" nodrop multishot-recv
    assert_equal "$status" 77
    assert_equal "$output" ''
    assert_equal "$stderr" "features: this kernel lacks multishot recv: it came with Linux 6.0, this is Linux $(uname -r | grep -oE '^[0-9.]+')"
}

@test "features: names it does not know, and a kernel without io_uring" {
    run "$build/tools/features" no-such
    assert_equal "$status" 2
    assert_output 'features: no such feature: no-such'
    run "$build/tests/refuse" io_uring_setup ENOSYS "$build/tools/features" poll-add
    assert_equal "$status" 1
    assert_output --regexp '^features: io_uring_queue_init: ENOSYS '
}

@test "features: every name in a chapter's needs is one" {
    local chapter needs feature
    for chapter in chapters/*/; do
        # shellcheck source=/dev/null
        needs=$(needs='' && . "${chapter}visit" && echo "$needs")
        for feature in $needs; do
            run "$build/tools/features" "$feature"
            assert_regex "$chapter $feature $status" ' (0|77)$'
        done
    done
}
