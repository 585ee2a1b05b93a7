# Installs, moves the tree elsewhere, and checks that it stands on its own: the generators load the
# libHalide.so beside them.
source "$UNSTRIDE_SOURCE/tests/consumer/common.sh"
rm -rf "$CONSUMER_PREFIX"
"$CMAKE" --install "$UNSTRIDE_BUILD" --prefix "$CONSUMER_WORK/before" >install.log || fail "$(cat install.log)"
mv before "$CONSUMER_PREFIX"

expect 'unstride 0.' "$CONSUMER_PREFIX/bin/unstride" --version
expect "libHalide.so => $CONSUMER_PREFIX/libexec/unstride/libHalide.so" \
    ldd "$CONSUMER_PREFIX/libexec/unstride/unstride-generators"
for file in "$CONSUMER_PREFIX"/lib*/cmake/Unstride/*.cmake "$CONSUMER_PREFIX"/lib*/pkgconfig/unstride.pc; do
    if grep -qF "$CONSUMER_WORK" "$file" || grep -qF "$UNSTRIDE_SOURCE" "$file"; then fail "$file names a folder of the build"; fi
done

# An installation with a part missing says which.
cp -r "$CONSUMER_PREFIX/bin" broken
mkdir moved && mv broken moved/bin
refuse 'unstride-generators is missing' moved/bin/unstride build "$consumer/tiny.layers" --target x86-64 -o out
