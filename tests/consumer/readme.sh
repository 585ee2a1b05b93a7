# Runs every ```sh block of README.md, in order, in a folder that looks like the repository's root and holds
# the files that it shows (blocks headed ```c NAME, ```text NAME, ...). The example must print the numbers
# that the README promises.
source "$UNSTRIDE_SOURCE/tests/consumer/common.sh"
readme=$UNSTRIDE_SOURCE/README.md
for entry in "$UNSTRIDE_SOURCE"/* ; do ln -s "$entry" .; done

extract_blocks "$readme"
(($(cat block_count) >= 3)) || fail "README.md holds $(cat block_count) blocks of commands"

# This test is itself started by scripts/test.sh.
grep -q '^scripts/test.sh' commands || fail "README.md does not name scripts/test.sh"
sed -i '/^scripts\/test\.sh/d' commands
[[ -s promised.txt ]] || fail "README.md promises no output"
run_blocks "$readme"

# The demo writes its pictures, and they are pictures.
for picture in chelsea coffee; do
    for factor in 2 4; do
        file=$UNSTRIDE_SOURCE/demo-out/pictures/${picture}_${factor}x.png
        [[ $(head -c 8 "$file" | od -An -tx1 | tr -d ' ') == 89504e470d0a1a0a ]] || fail "$file is no PNG"
    done
done
