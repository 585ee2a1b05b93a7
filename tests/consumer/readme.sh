# Runs every ```sh block of README.md, in order, in a folder that looks like the repository's root and holds
# the files that it shows (blocks headed ```c NAME, ```text NAME, ...). The example must print the numbers
# that the README promises.
source "$UNSTRIDE_SOURCE/tests/consumer/common.sh"
readme=$UNSTRIDE_SOURCE/README.md
for entry in "$UNSTRIDE_SOURCE"/* ; do ln -s "$entry" .; done

# The sh blocks go into one script that stops at the first failure, named blocks into the files of those
# names.
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
' "$readme" || fail "README.md has an open fence"
(($(cat block_count) >= 3)) || fail "README.md holds $(cat block_count) blocks of commands"

# This test is itself started by scripts/test.sh.
grep -q '^scripts/test.sh' commands || fail "README.md does not name scripts/test.sh"
sed -i '/^scripts\/test\.sh/d' commands
bash -euo pipefail -x commands >output 2>&1 || fail "$(cat output)"
cat output

# What README.md promises must be what was printed.
while read -r line; do
    grep -qxF -- "$line" output || fail "README.md promises a line that was not printed: $line"
done <promised.txt
[[ -s promised.txt ]] || fail "README.md promises no output"

# The demo writes its pictures, and they are pictures.
for picture in chelsea coffee; do
    for factor in 2 4; do
        file=$UNSTRIDE_SOURCE/demo-out/pictures/${picture}_${factor}x.png
        [[ $(head -c 8 "$file" | od -An -tx1 | tr -d ' ') == 89504e470d0a1a0a ]] || fail "$file is no PNG"
    done
done
