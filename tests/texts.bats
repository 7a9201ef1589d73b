#!/usr/bin/env bats
# The texts say what the code says and what the programs print; every chapter
# is whole. `make check` runs these.

bats_require_minimum_version 1.5.0
bats_load_library bats-support

build=${BUILD:-build}

# blocks LANGUAGE FILE: writes its ```LANGUAGE blocks to files of their own in
# the test's folder, and prints their names.
blocks() {
    awk -v language="$1" -v to="$BATS_TEST_TMPDIR/block" '
        /^```/ && inside { inside = 0; close(name); next }
        $0 == "```" language { inside = 1; name = to "." NR; print name; next }
        inside { print > name }' "$2"
}

# What differs from run to run, or from machine to machine: figures, ports,
# addresses, and the spaces that fill up for them.
normal() {
    sed -E 's/0x[0-9a-f]+/N/g; s/[0-9]+([.,][0-9]+)*/N/g; s/ +/ /g; s/ $//'
}

# same_code BLOCK FILE ...: whether the block stands word for word in a file.
same_code() {
    local block file
    block=$(cat "$1")
    for file in "${@:2}"; do
        [[ $(cat "$file") == *"$block"* ]] && return
    done
    return 1
}

@test "every c block in a text stands word for word in the code" {
    local text block wrong=0 all=0
    for text in TUTORIAL.md README.md chapters/*/README.md; do
        local here=()
        [ "${text%/*}" = "$text" ] || here=("${text%/*}"/*.c)
        for block in $(blocks c "$text"); do
            all=$((all + 1))
            same_code "$block" "${here[@]}" common/*.[ch] && continue
            wrong=$((wrong + 1))
            echo "$text, line ${block##*.}: not in the code:"
            cat "$block"
        done
    done
    echo "$wrong of $all blocks"
    [ "$all" -gt 0 ] && [ "$wrong" -eq 0 ]
}

@test "every '\$ make chapterN' and '\$ make straceN' block is what is printed" {
    local text block command printed wrong=0 all=0
    # they mostly wait for their visitors, so some of them do it side by side
    sed -nE '/^```console$/{n;s/^\$ (make (chapter|strace)[0-9]+)$/\1/p;}' \
        TUTORIAL.md README.md chapters/*/README.md | sort -u |
        xargs -P $((2 * $(nproc))) -I{} bash -c \
            'PORT=0 timeout 60 {} >"$1/{}" 2>&1 </dev/null' bash "$BATS_TEST_TMPDIR"
    for text in TUTORIAL.md README.md chapters/*/README.md; do
        for block in $(blocks console "$text"); do
            command=$(sed -n '1s/^\$ //p' "$block")
            [[ $command =~ ^make\ (chapter|strace)[0-9]+$ ]] || continue
            all=$((all + 1))
            printed=$BATS_TEST_TMPDIR/$command
            # a busy machine may mix lines once, and not three times
            for _ in 1 2 3; do
                diff <(tail -n +2 "$block" | normal) <(normal <"$printed") \
                    >"$BATS_TEST_TMPDIR/diff" && continue 2
                PORT=0 timeout 60 $command >"$printed" 2>&1 </dev/null
            done
            wrong=$((wrong + 1))
            echo "$text, line ${block##*.}: $command prints something else (>):"
            cat "$BATS_TEST_TMPDIR/diff"
        done
    done
    echo "$wrong of $all blocks"
    [ "$all" -gt 0 ] && [ "$wrong" -eq 0 ]
}

@test "every text block is a piece of what the chapter prints" {
    local text block n piece wrong=0
    for text in chapters/*/README.md; do
        n=$(basename "${text%/README.md}") n=${n%%-*} n=${n#0}
        for block in $(blocks text "$text"); do
            piece=$(normal <"$block")
            [[ $(blocks console "$text" | xargs cat | normal) == *"$piece"* ]] &&
                continue
            wrong=$((wrong + 1))
            echo "$text, line ${block##*.}: not in the console block above it:"
            cat "$block"
        done
    done
    [ "$wrong" -eq 0 ]
}

@test "every chapter has all its parts and sections, and a row in TUTORIAL.md" {
    local chapter name part section wrong=0
    lacks() {
        echo "$name lacks $1"
        wrong=$((wrong + 1))
    }
    for chapter in chapters/[0-9][0-9]-*/; do
        name=$(basename "$chapter")
        part=${name#*-}
        for part in "$chapter${part//-/_}.c" "${chapter}README.md" \
            "${chapter}exercise.c" "${chapter}visit" "solutions/$name.c" \
            "tests/$name.bats"; do
            [ -s "$part" ] || lacks "$part"
        done
        for section in 'Run it' 'What happened' 'Prove it' 'How it goes wrong' \
            Exercise 'Check yourself' 'Read on'; do
            grep -qx "## $section" "${chapter}README.md" || lacks "'$section'"
        done
        grep -q 'TODO(exercise)' "${chapter}exercise.c" || lacks 'a TODO(exercise)'
        grep -q "(chapters/$name/README.md)" TUTORIAL.md || lacks 'its row'
        [ "$(grep -c '<summary>Hint' "${chapter}README.md")" -ge 2 ] ||
            lacks 'two hints'
        # three questions besides the hints
        [ "$(grep -c '<summary>' "${chapter}README.md")" -eq \
            $(($(grep -c '<summary>Hint' "${chapter}README.md") + 3)) ] ||
            lacks 'three questions'
    done
    [ "$wrong" -eq 0 ]
}

# A program's errors are what its own tests expect, word for word.
@test "every error line in TUTORIAL.md is one that a test expects" {
    local line words wrong=0 all=0
    # shellcheck disable=SC2016 # a fence, and no command
    while read -r line; do
        all=$((all + 1))
        # the port, where a test has another, and the program's name
        words=$line
        [[ $line != *EADDRINUSE* ]] || words=${line#*:8080: }
        grep -qF "$words" tests/*.bats tests/helper.bash && continue
        echo "no test expects this: $words"
        wrong=$((wrong + 1))
    done < <(awk '/^```/ { code = !code; next } code' TUTORIAL.md |
        grep -E '^[a-z_]+: .*: ')
    echo "$wrong of $all lines"
    [ "$all" -gt 0 ] && [ "$wrong" -eq 0 ]
}

@test "every link in a text leads to a file that is there" {
    local text link wrong=0
    for text in TUTORIAL.md README.md chapters/*/README.md; do
        for link in $(grep -oE '\]\([^)#]+' "$text" | sed 's/^](//'); do
            [[ $link == http* ]] && continue
            [ -e "$(dirname "$text")/$link" ] && continue
            echo "$text: $link leads nowhere"
            wrong=$((wrong + 1))
        done
    done
    [ "$wrong" -eq 0 ]
}

@test "no text says just, simply, obviously or of course" {
    run -1 grep -niwE 'just|simply|obviously|of course' TUTORIAL.md README.md \
        chapters/*/README.md
}

# as_shipped CHAPTER_FOLDER: prints what is wrong with its exercise.c.
as_shipped() {
    local name shipped
    name=$(basename "$1")
    shipped=$BATS_TEST_TMPDIR/$name
    { common/course shipped "$name" >"$shipped.c"; } 2>&1 || return 0
    grep -q 'TODO(exercise)' "$shipped.c" || echo "$name: has no TODO(exercise)"
    # shellcheck disable=SC2046 # several words
    "${CC:-gcc}" -std=gnu11 -D_GNU_SOURCE -iquote common -Wall -Wextra -Wpedantic \
        -Wshadow -Werror -o "$shipped" "$shipped.c" "$build/libcommon.a" \
        -Wl,--as-needed $(pkg-config --cflags --libs liburing) 2>&1 || return 0
    FAST=yes EXERCISE=$shipped bats --filter '^exercise' "tests/$name.bats" \
        >"$shipped.log" && echo "$name: passes"
    # and it fails because of an exercise's test, not of a crash
    grep -q '^not ok .*exercise' "$shipped.log" ||
        echo "$name: no test of it fails: $(cat "$shipped.log")"
}

@test "every exercise, as it was shipped, is known and fails its tests" {
    export -f as_shipped
    export build BATS_TEST_TMPDIR
    run --keep-empty-lines xargs -0 -P "$(nproc)" -I{} bash -c 'as_shipped {}' \
        < <(printf '%s\0' chapters/[0-9][0-9]-*)
    echo "$output"
    [ "$status" -eq 0 ] && [ "$output" = '' ]
}
