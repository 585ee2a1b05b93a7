# Two libraries and a program with a Halide runtime of its own, linked together: none may see another's
# functions.
source "$UNSTRIDE_SOURCE/tests/consumer/common.sh"
native=$(uname -m | tr _ -)
halide_target=x86-64-linux
[[ $native == x86-64 ]] || halide_target=arm-64-linux
for name in first second; do
    "$unstride" build "$consumer/tiny.layers" --name $name --layer up --target "$native" -o lib --quiet
done
printf '[{"runtime": "%s/runtime.o", "target": "%s"}]' "$PWD" "$halide_target" >job.json
"$UNSTRIDE_BUILD/libexec/unstride/unstride-generators" job.json
nm runtime.o | grep -c ' halide_do_par_for$' >/dev/null || fail "runtime.o is no Halide runtime"

for order in "first second" "second first"; do
    libraries=$(for name in $order; do echo "lib/$native/lib$name.a"; done)
    gcc -std=c11 $strict -I "lib/$native" "$consumer/other_halide.c" runtime.o $libraries -o program -lpthread -ldl -lm
    expect 'first up: 360 numbers right' ./program
    expect 'second up: 360 numbers right' ./program
    expect 'other Halide: 200 tasks right' ./program
    expect 'foreign layer: UNSTRIDE_WRONG_LAYER' ./program
    expect 'threads: 3 and 5' ./program
    refuse 'second up: number' ./program spoil
done
