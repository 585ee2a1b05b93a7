# The C++ header from the install tree, found by pkg-config, and the compiler by its variable.
source "$UNSTRIDE_SOURCE/tests/consumer/common.sh"
export PKG_CONFIG_PATH
PKG_CONFIG_PATH=$(dirname "$(find "$CONSUMER_PREFIX" -name unstride.pc)")
native=$(uname -m | tr _ -)
pkg-config --exists 'unstride >= 0.1' || fail "pkg-config does not find unstride"
compiler=$(pkg-config --variable=compiler unstride)
[[ $(realpath "$compiler") == "$(realpath "$CONSUMER_PREFIX")/bin/unstride" ]] || fail "compiler=$compiler"
"$compiler" build "$consumer/tiny.layers" --target "$native" -o lib --quiet

for standard in c++17 c++20; do
    g++ -std=$standard -O1 $strict -I "lib/$native" $(pkg-config --cflags unstride) "$consumer/wrapper.cpp" \
        "lib/$native/libtiny.a" -o program -lpthread -ldl -lm
    expect 'C++ wide: 9216 numbers right' ./program
    expect 'refused: UNSTRIDE_WRONG_SHAPE: wide: ' ./program
    refuse 'C++ wide: number' ./program spoil
done
