# shellcheck shell=bash
# matrix.bash - what `make kernels` and `make liburings` share: packages of
# several Debian releases beside each other, and the table of their results

# --- Debian's packages ------------------------------------------------------------

# apt is given a folder of its own for all that it keeps, so that the system's
# lists and sources stay as they are. Sets up $apt for these releases. apt
# checks the signatures.
# packages_of FOLDER RELEASE ...
packages_of() {
    local folder mirror release keys=/usr/share/keyrings/debian-archive-keyring.gpg
    [ -e "$keys" ] || {
        echo "$keys is missing: install debian-archive-keyring" >&2
        return 1
    }
    mkdir -p "$1" && folder=$(cd "$1" && pwd) || return
    mkdir -p "$folder"/{etc/apt/{sources.list,preferences}.d,var/lib/dpkg} \
        "$folder"/var/{lib/apt/lists,cache/apt/archives}/partial || return
    : >"$folder/var/lib/dpkg/status"
    # shellcheck disable=SC2016 # apt fills these in
    # the mirror that this machine is set up with, where that is Debian's
    mirror=$(apt-get indextargets --format '$(ORIGIN) $(COMPONENT) $(SITE)' \
        'Created-By: Packages' | sed -n 's/^Debian main //p' | grep -v security |
        head -n 1)
    for release in "${@:2}"; do
        echo "deb [signed-by=$keys] ${mirror:-http://deb.debian.org/debian}" \
            "$release main"
    done >"$folder/etc/apt/sources.list"
    apt=(-o "Dir=$folder" -o "Dir::State::status=$folder/var/lib/dpkg/status"
        -o Acquire::Languages=none -qq)
    apt-get "${apt[@]}" update
}

# fetch FOLDER PACKAGE/RELEASE ...: its .deb files into the folder.
fetch() {
    mkdir -p "$1" && (cd "$1" && apt-get "${apt[@]}" download "${@:2}")
}

# field PACKAGE/RELEASE NAME: a field of what apt knows about it.
field() {
    apt-cache "${apt[@]}" show "$1" 2>/dev/null | sed -n "s/^$2: //p" | head -n 1
}

# --- results ------------------------------------------------------------------------

# result LOG: how a test file ended, by what bats has written.
result() {
    local plan passed skipped failed
    # two plans, where some tests run alone
    plan=$(awk -F '[.][.]' '/^1[.][.]/ { all += $2 } END { print all }' "$1" 2>/dev/null)
    failed=$(grep -c '^not ok ' "$1" 2>/dev/null)
    skipped=$(grep -cE '^ok .* # skip' "$1" 2>/dev/null)
    passed=$(($(grep -c '^ok ' "$1" 2>/dev/null) - skipped))
    if [ -z "$plan" ] || [ "$((passed + skipped + failed))" -lt "$plan" ]; then
        echo 'NOT RUN'
    elif [ "$failed" -gt 0 ]; then
        echo "$failed FAILED"
    elif [ "$passed" -eq 0 ] && [ "$skipped" -gt 0 ]; then
        echo skipped
    elif [ "$skipped" -gt 0 ]; then
        echo "passed, $skipped skipped"
    else
        echo passed
    fi
}

# table FOLDER COLUMN ...: a row for each test file, from FOLDER/COLUMN/*.log, and
# below it why something failed or was skipped. False when anything failed.
table() {
    local folder=$1 file column cell good=0 columns=("${@:2}")
    {
        printf '| |'
        printf ' %s |' "${columns[@]}"
        printf '\n|---|'
        printf '%.0s---|' "${columns[@]}"
        echo
        for file in "$folder/${columns[0]}"/*.log; do
            file=$(basename "$file" .log)
            printf '| %s |' "$file"
            for column in "${columns[@]}"; do
                printf ' %s |' "$(result "$folder/$column/$file.log")"
            done
            echo
        done
    } | tee "$folder/table"
    ! grep -qE 'FAILED|NOT RUN' "$folder/table" || good=1
    for column in "${columns[@]}"; do
        for file in "$folder/$column"/*.log; do
            cell=$(result "$file")
            [ "$cell" != passed ] || continue
            printf '\n%s, %s: %s\n' "$column" "$(basename "$file" .log)" "$cell"
            # each reason once; of a failure what explains it
            sed -n 's/^ok [0-9]* .* # skip *\(.*\)/    \1/p' "$file" | sort | uniq -c |
                sed 's/^ *\([0-9]*\) */    \1 times: /; s/    1 times/    once/'
            awk '/^not ok /{show=1} /^(ok |1\.\.)/{show=0} show{print "    " $0}' "$file"
        done
    done
    return $good
}
