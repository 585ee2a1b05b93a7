# A CMake project that finds the installed package, builds a library for several targets and links two of the
# names.
source "$UNSTRIDE_SOURCE/tests/consumer/common.sh"
cp -r "$consumer/project" project
cp "$consumer"/{main.c,problem.h,tiny.layers} project/
mkdir project/records
native=$(uname -m | tr _ -)

configure -S project -B build -DCMAKE_PREFIX_PATH="$CONSUMER_PREFIX" -DTARGETS="$native;cuda" \
    -DCMAKE_C_FLAGS="$strict" >log || fail "$(cat log)"
"$CMAKE" --build build >log 2>&1 || fail "$(cat log)"
check_program build/consumer
expect "tiny for $native on" build/consumer
check_program build/consumer_by_name
expect '100% tests passed' "$CTEST" --test-dir build

# Nothing to do is nothing done; a change of the layers, or of the tuning records, is a change of the program.
expect 'no work to do' "$CMAKE" --build build
touch project/records/avx2.jsonl
expect 'Compiling the layers of library tiny' "$CMAKE" --build build
touch project/records/avx2.jsonl
expect 'Compiling the layers of library tiny' "$CMAKE" --build build
expect 'no work to do' "$CMAKE" --build build
sed -i 's/transposed_conv(6/transposed_conv(5/' project/tiny.layers
"$CMAKE" --build build >log 2>&1 || fail "$(cat log)"
expect 'C up: 300 numbers right' build/consumer

# Mistakes are told at configure time, and a layer that cannot be read stops the build.
refuse "no target of 'cuda;opencl' is for" configure -S project -B other \
    -DCMAKE_PREFIX_PATH="$CONSUMER_PREFIX" -DTARGETS='cuda;opencl'
sed -i 's/kernel=4/kernel=0/' project/tiny.layers
refuse 'kernel must be at least 1, got 0' "$CMAKE" --build build
