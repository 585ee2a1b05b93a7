# What every consumer test begins with: a fresh working folder and the few checks they share. The environment
# brings UNSTRIDE_SOURCE, UNSTRIDE_BUILD, CONSUMER_PREFIX, CONSUMER_WORK, CMAKE, CTEST and NINJA (see
# CMakeLists.txt).
set -euo pipefail
consumer=$UNSTRIDE_SOURCE/tests/consumer
unstride=$UNSTRIDE_BUILD/bin/unstride
strict="-Wall -Wextra -Wpedantic -Werror"
export UNSTRIDE_CACHE_DIR=$CONSUMER_WORK/../cache
unset UNSTRIDE_INSTRUCTION_SET
rm -rf "$CONSUMER_WORK"
mkdir -p "$CONSUMER_WORK"
cd "$CONSUMER_WORK"

fail() { printf 'FAILED: %s\n' "$*" >&2; exit 1; }

# expect TEXT COMMAND...: the command succeeds and prints a line that holds TEXT.
expect() {
    local text=$1 output
    shift
    output=$("$@" 2>&1) || fail "$* answered $?: $output"
    printf '%s\n' "$output"
    grep -qF -- "$text" <<<"$output" || fail "$* did not print: $text"
}

# refuse TEXT COMMAND...: the command fails and prints a line that holds TEXT.
refuse() {
    local text=$1 output
    shift
    if output=$("$@" 2>&1); then fail "$* succeeded: $output"; fi
    grep -qF -- "$text" <<<"$output" || fail "$* did not print: $text, but: $output"
    printf 'refused as it must be: %s\n' "$text"
}

# A consumer program must find all numbers right, and notice a wrong weight. The counts are those of
# tiny.layers.
check_program() {
    expect 'C up: 360 numbers right' "$@"
    expect 'C wide: 9216 numbers right' "$@"
    refuse 'C up: number' "$@" spoil
}

configure() { "$CMAKE" -G Ninja -DCMAKE_MAKE_PROGRAM="$NINJA" -DCMAKE_BUILD_TYPE=Release "$@"; }

# extract_blocks DOCUMENT: its ```sh blocks go into one script, `commands`, that stops at the first failure;
# named blocks (```c NAME) into the files of those names; the count of ```sh blocks into `block_count`.
extract_blocks() {
    awk '
        /^```/ {
            if (inside) { inside = 0; next }
            inside = 1
            to = $1 == "```sh" ? "commands" : $2
            if (to == "commands") blocks++
            else if (to != "") system("mkdir -p \"$(dirname " to ")\" && rm -f " to)
            next
        }
        inside && to != "" { print > to }
        END { print blocks + 0 > "block_count"; exit inside }
    ' "$1" || fail "$1 has an open fence"
}

# run_blocks DOCUMENT: runs `commands`; every line of promised.txt, if there is one, must be among what they
# print.
run_blocks() {
    bash -euo pipefail -x commands >output 2>&1 || fail "$(cat output)"
    cat output
    [[ -e promised.txt ]] || return 0
    while read -r line; do
        grep -qxF -- "$line" output || fail "$1 promises a line that was not printed: $line"
    done <promised.txt
}
