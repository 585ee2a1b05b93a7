# Runs every ```sh block of docs/weights.md, in order, with the files that it shows; then its CMake project.
source "$UNSTRIDE_SOURCE/tests/consumer/common.sh"
document=$UNSTRIDE_SOURCE/docs/weights.md
ln -s "$UNSTRIDE_BUILD" build

extract_blocks "$document"
(($(cat block_count) >= 3)) || fail "$document holds $(cat block_count) blocks of commands"
run_blocks "$document"
grep -q 'score2: .*weights=bilinear), first output 0\.5625$' output || fail "the program printed another output"
up=$(grep '^up: .*, first output' output) || fail "the program did not run both layers"

configure -S use -B use/build -DCMAKE_PREFIX_PATH="$CONSUMER_PREFIX" >log || fail "$(cat log)"
"$CMAKE" --build use/build >log 2>&1 || fail "$(cat log)"
expect "$up" use/build/use
expect 'no work to do' "$CMAKE" --build use/build

# A change of the weights is a change of the program; weights that do not fit stop the build.
build/bin/unstride init fcn.layers --layer up --seed 8 -o weights/up.weights.npy
"$CMAKE" --build use/build >log 2>&1 || fail "$(cat log)"
expect 'up: ' use/build/use
[[ $(use/build/use) != *"$up"* ]] || fail "the program still holds the weights of before"
build/bin/unstride init fcn.layers --layer score2 -o weights/up.weights.npy
refuse 'shape must be 16x8x4x4, got 21x21x4x4' "$CMAKE" --build use/build

# Mistakes are told at configure time.
sed -i 's/WEIGHTS .*)/EXACT)/' use/CMakeLists.txt
refuse 'EXACT and TENSORFLOW_FILTERS need WEIGHTS' configure -S use -B other -DCMAKE_PREFIX_PATH="$CONSUMER_PREFIX"
sed -i 's/EXACT)/WEIGHTS nowhere)/' use/CMakeLists.txt
refuse 'there is no file or folder' configure -S use -B other -DCMAKE_PREFIX_PATH="$CONSUMER_PREFIX"
