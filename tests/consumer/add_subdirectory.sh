# A CMake project with Unstride's sources in its tree: the compiler is built as part of it, then used.
source "$UNSTRIDE_SOURCE/tests/consumer/common.sh"
cp -r "$consumer/subdirectory" project
cp "$consumer"/{main.c,problem.h,tiny.layers} project/

# Unoptimised: this is about the build, not the compiler's speed. A project may have all its sources compiled a
# target at a time, Unstride's with them.
"$CMAKE" -G Ninja -DCMAKE_MAKE_PROGRAM="$NINJA" -S project -B build -DUNSTRIDE_SOURCE="$UNSTRIDE_SOURCE" \
    -DCMAKE_CXX_FLAGS=-O0 -DCMAKE_UNITY_BUILD=ON -DCMAKE_UNITY_BUILD_BATCH_SIZE=0 \
    -DHalide_DIR="$HALIDE_DIR" -DHalideHelpers_DIR="$HALIDE_HELPERS_DIR" >log || fail "$(cat log)"
"$CMAKE" --build build --parallel 2 >log 2>&1 || fail "$(cat log)"
check_program build/consumer
expect '100% tests passed' "$CTEST" --test-dir build
expect 'no work to do' "$CMAKE" --build build
expect 'Total Tests: 1' "$CTEST" --test-dir build -N
