# Every global symbol that an archive defines begins with the library's name, whatever the target, and what it
# leaves undefined is found in libc, libpthread, libdl and libm.
source "$UNSTRIDE_SOURCE/tests/consumer/common.sh"
"$unstride" build "$consumer/tiny.layers" --target x86-64 --target aarch64 --target cuda --target opencl -o lib --quiet

foreign() { "$1" -g --defined-only "$2" 2>/dev/null | awk 'NF == 3 && $3 !~ /^tiny_/ {print $3}'; }
for target in x86-64 aarch64 cuda opencl; do
    prefix=
    case $target-$(uname -m) in aarch64-x86_64) prefix=aarch64-linux-gnu- ;; esac
    names=$("${prefix}nm" -g --defined-only "lib/$target/libtiny.a" | awk 'NF == 3' | wc -l)
    ((names >= 15)) || fail "$target: only $names names: nm does not read the archive"
    found=$(foreign "${prefix}nm" "lib/$target/libtiny.a")
    [[ -z $found ]] || fail "$target: names outside the prefix: $found"
    printf '%s: %d names, all tiny_*\n' "$target" "$names"

    "${prefix}gcc" -shared -Wl,-z,defs -Wl,--whole-archive "lib/$target/libtiny.a" -Wl,--no-whole-archive \
        -o all.so -lpthread -ldl -lm || fail "$target: undefined names remain"
done

# The checks see a foreign name, and a missing one.
echo 'int tiny_own; int stranger;' | gcc -c -x c - -o stranger.o
ar rcs libstranger.a stranger.o
[[ $(foreign nm libstranger.a) == stranger ]] || fail "the check misses a foreign name"
echo 'int stranger(void); int tiny_own(void) { return stranger(); }' | gcc -c -fPIC -x c - -o lacking.o
refuse 'undefined reference to `stranger' gcc -shared -Wl,-z,defs lacking.o -o all.so
