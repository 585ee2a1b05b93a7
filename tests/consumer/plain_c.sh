# Without any build system: one compiler call, in several C dialects, as a program and inside a shared
# library, on every instruction set of the archive that this machine has.
source "$UNSTRIDE_SOURCE/tests/consumer/common.sh"
native=$(uname -m | tr _ -)
"$unstride" build "$consumer/tiny.layers" --target "$native" -o lib --quiet

cc -std=c11 -O2 $strict -I "lib/$native" "$consumer/main.c" "lib/$native/libtiny.a" -o program -lpthread -ldl -lm
check_program ./program
for dialect in c99 gnu17; do
    cc -std=$dialect $strict -Werror=missing-prototypes -I "lib/$native" -fsyntax-only -x c "lib/$native/tiny.h"
done
g++ -std=c++98 -Wall -Wextra -Werror -Wno-long-long -I "lib/$native" -fsyntax-only -x c++ "lib/$native/tiny.h"

sets=$(./program | sed -n 's/.* on //p')
if [[ $native == x86-64 ]]; then
    for pair in avx512vl:avx512 avx2:avx2 sse4_1:sse41; do
        grep -qw "${pair%:*}" /proc/cpuinfo && sets+=" ${pair#*:}"
    done
fi
for set in $sets; do
    export UNSTRIDE_INSTRUCTION_SET=$set
    expect "tiny for $native on $set" ./program
    check_program ./program
done
unset UNSTRIDE_INSTRUCTION_SET

# In a shared library, loaded by a program that knows nothing of it; only the library's names are to be seen.
cc -shared -fPIC -Dmain=tiny_main -std=c11 -I "lib/$native" "$consumer/main.c" "lib/$native/libtiny.a" \
    -o libplugin.so -lpthread -ldl -lm
cat >loader.c <<'C'
#include <dlfcn.h>
#include <stdio.h>
int main(int argc, char **argv) {
    void *plugin = dlopen("./libplugin.so", RTLD_NOW | RTLD_LOCAL);
    int (*tiny_main)(int, char **);
    if (plugin == NULL) return printf("%s\n", dlerror()), 1;
    *(void **)&tiny_main = dlsym(plugin, "tiny_main");
    return tiny_main(argc, argv);
}
C
cc -std=c11 loader.c -o loader -ldl
check_program ./loader
foreign=$(nm -D --defined-only libplugin.so | awk '$3 !~ /^(tiny_|_init$|_fini$)/ {print $3}')
[[ -z $foreign ]] || fail "libplugin.so shows $foreign"
