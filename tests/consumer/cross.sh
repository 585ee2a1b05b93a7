# The same projects compiled for aarch64 with the toolchain file, run under qemu; the compiler is the build
# machine's.
source "$UNSTRIDE_SOURCE/tests/consumer/common.sh"
toolchain=$UNSTRIDE_SOURCE/cmake/toolchains/aarch64-linux-gnu.cmake
for project in project subdirectory; do
    cp -r "$consumer/$project" $project
    cp "$consumer"/{main.c,problem.h,tiny.layers} $project/
done
mkdir project/records

cross() { configure --toolchain "$toolchain" -DCMAKE_C_FLAGS="$strict" "$@"; }
cross -S project -B build -DCMAKE_PREFIX_PATH="$CONSUMER_PREFIX" -DTARGETS='aarch64;x86-64' >log ||
    fail "$(cat log)"
cross -S subdirectory -B build-sub -DUNSTRIDE_SOURCE="$UNSTRIDE_SOURCE" -DUnstride_ROOT="$CONSUMER_PREFIX" >log ||
    fail "$(cat log)"
for build in build build-sub; do
    "$CMAKE" --build $build >log 2>&1 || fail "$(cat log)"
    expect AArch64 readelf -h $build/consumer
    check_program qemu-aarch64 -L /usr/aarch64-linux-gnu $build/consumer
    expect 'tiny for aarch64 on neon' qemu-aarch64 -L /usr/aarch64-linux-gnu $build/consumer
    expect '100% tests passed' "$CTEST" --test-dir $build
done

refuse 'the unstride command was not found' env -u Unstride_ROOT PATH=/usr/bin:/bin "$CMAKE" -G Ninja \
    -DCMAKE_MAKE_PROGRAM="$NINJA" --toolchain "$toolchain" -S subdirectory -B none -DUNSTRIDE_SOURCE="$UNSTRIDE_SOURCE"
