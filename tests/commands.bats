#!/usr/bin/env bats
# The learner's commands. What they do for every chapter is tried on a course of
# one tiny chapter, 42, that is made here: a chapter is its folder.

load helper

# Every link of /usr/bin in a folder, so that a tool can be missing there.
setup_file() {
    mkdir "$BATS_FILE_TMPDIR/tools"
    cp -s /usr/sbin/* /usr/bin/* "$BATS_FILE_TMPDIR/tools" 2>/dev/null || true
}

setup() {
    out=$BATS_TEST_TMPDIR/out err=$BATS_TEST_TMPDIR/err pid=
    tools=$BATS_FILE_TMPDIR/tools course=$BATS_TEST_TMPDIR/course
    chapter1=$build/chapters/01-blocking-accept
    # a `make test` around this is not to be heard
    unset MAKEFLAGS MFLAGS MAKELEVEL PORT VISIT
    set +T # see helper.bash
}

bounded() {
    timeout $((30 * patience)) "$@"
}

# lacks TOOL COMMAND ...: runs it where the tool is not found.
lacks() {
    rm -f "$tools/$1"
    run bounded env PATH="$tools" "${@:2}"
    ! command -v "$1" >/dev/null || ln -s "$(command -v "$1")" "$tools/$1"
}

# one_line WORDS: that is what make says, in one line, and nothing is done.
one_line() {
    assert_equal "$status" 2
    assert_equal "${#lines[@]}" 1
    assert_output --regexp "^Makefile:[0-9]+: \*\*\* $1  Stop\.$"
}

# chapter NAME: adds to $course a chapter whose program says 42, and whose
# exercise is to say why.
chapter() {
    local source=$BATS_TEST_TMPDIR/program.c folder=$course/chapters/$1
    mkdir "$folder"
    echo 'visit() { :; }' >"$folder/visit"
    printf '%s\n' '#include "say.h"' '' 'int main(void)' '{' \
        '    say("the answer is 42");' \
        '    say("what is six times seven?");' '}' >"$source"
    cp "$source" "$folder/${1#*-}.c"
    sed '/six/d' "$source" >"$folder/exercise.c"
    (cat "$source" && printf '\n// exercise.c as shipped: \n') \
        >"$course/solutions/$1.c"
    printf '%s\n' '<summary>Hint 1</summary>' 'A product.' '</details>' \
        '<summary>Hint 2</summary>' 'Of six.' '</details>' \
        '<summary>A question?</summary>' >"$folder/README.md"
    # bats would take a line that begins with @test for one of this file's
    sed s/TEST/@test/ >"$course/tests/$1.bats" <<'END'
load helper
TEST "program: it answers" {
    run "$program"
    assert_line 'the answer is 42'
}
TEST "exercise: it knows the question" {
    did 'read what the program printed'
    run "$exercise"
    assert_line 'what is six times seven?'
}
END
}

# new_course: makes $course, with what is built already, and goes there.
new_course() {
    mkdir -p "$course"/{build,chapters,solutions,tests}
    cp -a Makefile common "$course"
    cp -a tests/helper.bash "$course/tests"
    cp -a "$build"/{common,tools,libcommon.a} "$course/build"
    cd "$course" || return
    export BUILD=build
    chapter 42-answer
    exercise=chapters/42-answer/exercise.c solution=solutions/42-answer.c
}

break_it() {
    echo 'no such thing;' >>"$exercise"
}

# with_git: the new course, committed as its authors ship it.
with_git() {
    command -v git >/dev/null || skip 'git is not installed'
    export GIT_CONFIG_GLOBAL=/dev/null GIT_CONFIG_SYSTEM=/dev/null
    export GIT_AUTHOR_NAME=me GIT_AUTHOR_EMAIL=me@here
    export GIT_COMMITTER_NAME=me GIT_COMMITTER_EMAIL=me@here
    new_course
    git init -q .
    common/course ship 42-answer
    shipped=$(cat "$exercise")
    commit
}

commit() {
    git add chapters solutions
    git commit -q -m 'some work'
}

# reset_says STDIN WORDS: what make reset42 says to that.
reset_says() {
    run bounded make reset42 < <(printf '%s' "$1")
    assert_success
    assert_output "$2"
}

# --- the list, and what is not in it ------------------------------------------

@test "make lists every command" {
    run bounded make
    assert_success
    local command
    for command in {chapter,test,exercise,watch,hint,solution,reset,strace}3 \
        doctor progress all test check; do
        assert_line --regexp "^make $command  +[a-z]"
    done
    assert_output --partial VISIT=no
    assert_output --partial PORT=9000
    local chapters=(chapters/[0-9]*)
    assert_line --regexp "^chapters: 1 2 3 .*\b${#chapters[@]}\b"
}

@test "a chapter that does not exist: one line with those that do" {
    local command
    for command in chapter99 exercise0 test42 hint reset03 watchx solution-1; do
        run bounded make "$command"
        one_line "no such command: $command\. The chapters are 1 2 3 [0-9 ]*; \"make\" lists the commands\."
    done
}

# --- what is missing ----------------------------------------------------------

@test "no compiler: one line names the package" {
    run bounded make chapter1 CC=no-such-compiler BUILD="$BATS_TEST_TMPDIR"
    one_line 'the C compiler \(no-such-compiler\) is missing: .*no-such-compiler.*'
    lacks gcc make chapter1 CC=gcc BUILD="$BATS_TEST_TMPDIR"
    one_line 'the C compiler \(gcc\) is missing: .*gcc.*'
}

@test "no liburing, no pkg-config: one line names the package" {
    PKG_CONFIG_PATH='' PKG_CONFIG_LIBDIR=/nonexistent run bounded make chapter1 \
        BUILD="$BATS_TEST_TMPDIR"
    one_line 'liburing is missing: .*liburing.*'
    lacks pkg-config make chapter1 BUILD="$BATS_TEST_TMPDIR"
    one_line 'pkg-config is missing: .*pkg.*conf.*'
}

@test "no bats, no bats-assert: one line names the package" {
    lacks bats make test1
    one_line 'bats is missing: .*bats.*'
    BATS_LIB_PATH=/nonexistent run bounded make exercise1
    one_line 'bats-support is missing: .*bats-support.*'
    mkdir -p "$BATS_TEST_TMPDIR/bats-support"
    : >"$BATS_TEST_TMPDIR/bats-support/load.bash"
    BATS_LIB_PATH=$BATS_TEST_TMPDIR run bounded make test
    one_line 'bats-assert is missing: .*bats-assert.*'
}

@test "no strace: one line names the package, and the rest works without" {
    lacks strace make strace1
    one_line 'strace is missing: .*strace.*'
    lacks strace make chapter1 PORT=0
    assert_success
}

# --- running a chapter --------------------------------------------------------

# ends_by_itself N: make chapterN does so, within 5 seconds.
ends_by_itself() {
    local before after
    before=${EPOCHREALTIME/[.,]/}
    PORT=0 timeout $((20 * patience)) make "chapter$1" \
        >"$BATS_TEST_TMPDIR/chapter$1" 2>&1 </dev/null || {
        echo "make chapter$1 ended with status $?:"
        cat "$BATS_TEST_TMPDIR/chapter$1"
        return 1
    }
    after=${EPOCHREALTIME/[.,]/}
    echo "make chapter$1: $(((after - before) / 1000)) ms"
    [ $((after - before)) -le $((5000000 * patience)) ]
}

@test "a chapter ends, too, when somebody else comes before its visitor" {
    PORT=0 begin timeout $((10 * patience)) make chapter1
    doors 1
    await 'asleep'
    come fd "${ports[0]}" # Ann comes a second later, when it has ended
    ended 10
    assert_success
}

@test "every chapter ends by itself, with status 0, within 5 seconds" {
    local chapter n jobs=() job again=()
    for chapter in chapters/[0-9]*; do
        n=${chapter#*/} n=${n%%-*} n=${n#0}
        # shellcheck source=/dev/null
        run "$build/tools/features" $(needs='' && . "$chapter/visit" && echo "$needs")
        [ "$status" -ne 77 ] || continue
        ends_by_itself "$n" 3>&- &
        jobs+=("$!:$n")
    done
    for job in "${jobs[@]}"; do
        wait "${job%:*}" || again+=("${job#*:}")
    done
    # whoever had not enough of the CPU with all of them side by side
    for n in "${again[@]}"; do
        ends_by_itself "$n" 3>&-
    done
}

@test "VISIT=no waits for you, PORT says where" {
    local wanted=$((20000 + RANDOM % 10000))
    start timeout $((30 * patience)) make chapter1 VISIT=no PORT=$wanted
    assert_equal "$port" $wanted
    await 'asleep'
    run visit "$port"
    assert_output 'hello from chapter 1'
    ended
    assert_success
    refute_output --partial ' comes to port '
}

@test "a port in use: the program's words and its status, and nobody is waited for" {
    start "$chapter1" 0
    run bounded make chapter1 PORT="$port"
    assert_equal "$status" 2
    assert_line --regexp "^blocking_accept: bind 127\.0\.0\.1:$port: EADDRINUSE .*try PORT=0$"
    assert_line --regexp '^make: .*chapter1\] Error 1$'
    PORT=$port run bounded common/run chapters/01-blocking-accept "$chapter1"
    assert_equal "$status" 1
}

@test "Ctrl-C ends the program too, and leaves nothing behind" {
    mkdir "$BATS_TEST_TMPDIR/tmp"
    # in the background a signal of the keyboard would be ignored
    TMPDIR=$BATS_TEST_TMPDIR/tmp PORT=0 start env --default-signal=INT \
        common/run chapters/01-blocking-accept "$chapter1"
    kill -INT "$pid"
    ended
    assert_equal "$status" 130
    run -1 visit "$port"
    run ls "$BATS_TEST_TMPDIR/tmp"
    assert_output ''
}

@test "straceN shows the calls that the chapter is about" {
    need_strace
    PORT=0 run bounded make strace1
    assert_success
    assert_line --regexp '^accept4?\([0-9]+, '
    refute_output --partial 'socket('
}

# --- the exercise, on a course of one chapter -----------------------------------

@test "exerciseN: what was done, expected and came, until it passes" {
    new_course
    chapter 43-next
    run bounded make exercise42
    assert_equal "$status" 2
    assert_line '  NOT YET  it knows the question'
    assert_line '           The test did this: read what the program printed'
    assert_output --partial 'what is six times seven?'
    refute_output --partial 'in test file'
    assert_line 'Exercise 42 does not pass yet: look for NOT YET above.'
    assert_line 'The file to change: chapters/42-answer/exercise.c (make hint42, make watch42)'
    cp "$solution" "$exercise"
    run bounded make exercise42
    assert_success
    assert_line '  passes   it knows the question'
    assert_line 'Exercise 42 passes. solutions/42-answer.c is another way to do it.'
    assert_line 'Next: make chapter43, and read chapters/43-next/README.md'
}

@test "exerciseN that does not compile: the compiler's words, then what to do" {
    new_course
    run bounded make exercise42
    break_it
    run bounded make exercise42
    assert_equal "$status" 2
    assert_line --regexp "^$exercise:7:.*error: "
    assert_line "The compiler did not take $exercise: its first message above says where."
    assert_line 'Mend that line and try again; "make reset42" starts over.'
    refute_output --partial 'NOT YET'
}

@test "an exercise that this machine cannot try neither passes nor fails" {
    new_course
    sed -i '/did/s/^/skip "no moon"; /' tests/42-answer.bats
    run bounded make exercise42
    assert_equal "$status" 2
    assert_line '  skipped  it knows the question: no moon'
    assert_line 'Exercise 42 could not be tried on this machine: see why above.'
    run bounded make progress
    assert_success
    assert_line --regexp '^ 42  answer +not for this machine$'
    assert_line '0 of 1 exercises pass.'
}

@test "watchN runs it again each time the file is saved" {
    new_course
    begin timeout $((80 * patience)) bash -c 'exec make watch42 2>&1'
    await '^watching chapters/42-answer/exercise.c' 25
    run cat "$out"
    assert_line '  NOT YET  it knows the question'
    refute_output --partial jobserver
    break_it
    await '^The compiler did not take' 25
    # as editors do that write another file and rename it
    cp "$solution" new.c
    mv new.c "$exercise"
    await '^Exercise 42 passes' 25
    assert running
    kill "$pid"
    ended
    # nobody who works there is left, once a last sleep has ended
    cd /
    local deadline=$((SECONDS + 5 * patience))
    while readlink /proc/[0-9]*/cwd | grep -qx "$course"; do
        assert [ "$SECONDS" -lt "$deadline" ]
        sleep 0.1
    done
}

@test "hintN: one after the other, then from the start again" {
    new_course
    run bounded make hint42
    assert_output "Hint 1 of 2:
A product."
    run bounded make hint42
    assert_output "Hint 2 of 2:
Of six."
    run bounded make hint42
    assert_output 'That was the last of 2 hints; "make hint42" begins again.
The solution: make solution42'
    run bounded make hint42
    assert_line 'Hint 1 of 2:'
}

@test "solutionN passes, and says where to read it" {
    new_course
    run bounded make solution42
    assert_success
    assert_output '  passes   it knows the question

The solution, explained: solutions/42-answer.c'
}

@test "resetN asks where work would be lost, and takes only a yes for one" {
    with_git
    reset_says '' "$exercise is as it was shipped."
    local question="$exercise has changes that are in no commit. Lose them? [y/N] "
    break_it
    reset_says 'n
' "$question$exercise is left as it is."
    reset_says '' "$question
$exercise is left as it is."
    assert_equal "$(tail -n 1 "$exercise")" 'no such thing;'
    reset_says 'y
' "$question$exercise is as it was shipped again."
    assert_equal "$(cat "$exercise")" "$shipped"
    rm "$exercise"
    reset_says '' "$exercise is as it was shipped again."
}

@test "resetN finds what was shipped after the solved exercise was committed" {
    with_git
    cp "$solution" "$exercise"
    commit
    reset_says '' "$exercise is as it was shipped again."
    assert_equal "$(cat "$exercise")" "$shipped"
}

@test "resetN without git, or without the repository, says so and changes nothing" {
    with_git
    break_it
    lacks git make reset42
    assert_equal "$status" 2
    assert_line --regexp '^git is missing: .*git'
    rm -r .git
    GIT_CEILING_DIRECTORIES=$BATS_TEST_TMPDIR run bounded make reset42
    assert_equal "$status" 2
    assert_line --partial 'clone it again'
    assert_equal "$(tail -n 1 "$exercise")" 'no such thing;'
}

@test "progress: how each exercise stands, and what comes next" {
    new_course
    cp "$solution" "$exercise"
    chapter 43-next
    chapter 44-last
    echo 'no such thing;' >>chapters/44-last/exercise.c
    run bounded make progress
    assert_success
    assert_line --regexp '^ 42  answer +passes$'
    assert_line --regexp '^ 43  next +not yet$'
    assert_line --regexp '^ 44  last +does not compile$'
    assert_line '1 of 3 exercises pass.'
    assert_line 'What comes next: make chapter43, then make exercise43'
    cp "$solution" chapters/43-next/exercise.c
    cp "$solution" chapters/44-last/exercise.c
    run bounded make progress
    assert_line '3 of 3 exercises pass.'
    refute_output --partial 'What comes next'
}

@test "make test passes whatever has been done to exercise.c, committed or not" {
    new_course
    break_it
    # what does not ask git cannot tell a commit
    lacks git make test
    assert_success
    assert_line --regexp '^tests/42-answer.bats +2 passed, 0 failed, 0 skipped$'
    assert_line --regexp '^[0-9]+ passed, 0 failed, 0 skipped$'
}

@test "make test fails when a program's test fails, and says which" {
    new_course
    sed -i s/42/43/ chapters/42-answer/answer.c
    run bounded make test
    assert_equal "$status" 2
    assert_line --regexp '^ +not ok 1 program: it answers$'
    assert_line --regexp '^[0-9]+ passed, 1 failed, 0 skipped$'
}
