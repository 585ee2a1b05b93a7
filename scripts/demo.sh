#!/usr/bin/env bash
# Sets everything up, then takes two lines of layer text to libraries for three targets, links one into a
# program, enlarges two photographs by 2 and 4, and checks the results. Pictures, programs and libraries are
# left in demo-out/. Stops at the first failure.
set -euo pipefail
cd -P "$(dirname "${BASH_SOURCE[0]}")/.."

if [[ ${1-} == --help ]]; then
    echo "usage: scripts/demo.sh    sets up, builds the example's libraries, runs and checks it; results in demo-out/"
    exit 0
fi
bash scripts/setup.sh unstride

out=demo-out
step() { printf '\n== %s\n' "$*"; }
trap 'printf "demo: failed at line %s\n" "$LINENO" >&2' ERR
rm -rf "$out"
mkdir -p "$out"/{bin,data,pictures,opencl}

step "Layers"
grep -v '^#' examples/enlarge.layers

step "Libraries for three targets"
build/bin/unstride build examples/enlarge.layers --target x86-64 --target aarch64 --target cuda -o "$out"
for target in x86-64 aarch64 cuda; do
    printf '%-9s archive %7d bytes, header %5d bytes\n' "$target" \
        "$(stat -c %s "$out/$target/libenlarge.a")" "$(stat -c %s "$out/$target/enlarge.h")"
done

step "Programs"
cc -std=c11 -O2 -Wall -Wextra -DEXAMPLE_PNG -I "$out/x86-64" examples/enlarge.c examples/picture.c \
    "$out/x86-64/libenlarge.a" -o "$out/bin/enlarge" $(pkg-config --cflags --libs libpng) -lpthread -ldl -lm
aarch64-linux-gnu-gcc -std=c11 -O2 -Wall -Wextra -I "$out/aarch64" examples/enlarge.c examples/picture.c \
    "$out/aarch64/libenlarge.a" -o "$out/bin/enlarge-aarch64" -lpthread -ldl -lm
cc -std=c11 -O2 -Wall -Wextra -DEXAMPLE_PNG -c examples/picture.c -o "$out/bin/picture.o"
g++ -std=c++17 -O2 -Wall -Wextra examples/check_pictures.cpp "$out/bin/picture.o" \
    -o "$out/bin/check_pictures" $(pkg-config --cflags --libs libpng)
for program in enlarge enlarge-aarch64; do
    printf '%-15s %7d bytes\n' "$program" "$(stat -c %s "$out/bin/$program")"
done

check=$out/bin/check_pictures
for picture in chelsea coffee; do
    original=examples/images/$picture.png
    "$check" convert "$original" "$out/data/$picture.npy"
    for factor in 2 4; do
        step "$picture.png enlarged ${factor}x"
        large=$out/pictures/${picture}_${factor}x
        data=$out/data/${picture}_${factor}x
        printf 'x86-64:  '
        "$out/bin/enlarge" "$original" $factor "$large.png" "$data.npy"
        "$check" resize "$out/data/$picture.npy" "$data.npy" $factor

        printf 'aarch64: '
        qemu-aarch64 -L /usr/aarch64-linux-gnu "$out/bin/enlarge-aarch64" "$out/data/$picture.npy" $factor \
            "${data}_aarch64.npy"
        "$check" compare "$data.npy" "${data}_aarch64.npy"

        printf 'OpenCL:  '
        cp "$out/data/$picture.npy" "$out/opencl/up$factor.input.npy"
        build/bin/unstride run examples/enlarge.layers --layer up$factor --target opencl --data "$out/opencl" \
            --out "$out/opencl" --quiet
        "$check" compare "$data.npy" "$out/opencl/up$factor.output.npy"

        "$check" shrink "$original" "${data}_small.npy" $factor
        "$out/bin/enlarge" "${data}_small.npy" $factor "${data}_again.npy" >/dev/null
        "$check" psnr "$original" "${data}_again.npy" $factor
    done
done

rm -r "$out/data" "$out/opencl"
step "Written"
ls -1 "$out"/pictures/*.png
