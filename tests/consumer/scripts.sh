# The scripts of a user's first minute: they explain themselves, say what a machine lacks, and do nothing
# twice.
source "$UNSTRIDE_SOURCE/tests/consumer/common.sh"
for script in setup test demo bench; do
    bash -n "$UNSTRIDE_SOURCE/scripts/$script.sh"
    expect "usage: scripts/$script.sh" bash "$UNSTRIDE_SOURCE/scripts/$script.sh" --help
done
grep -q 'scripts/test.sh' "$UNSTRIDE_SOURCE/.ci/run" || fail ".ci/run does not run scripts/test.sh"

# A machine that has the basic tools but neither apt nor qemu, g++ and pkg-config: the packages are listed,
# nothing is done.
mkdir bare copy copy/scripts
for tool in awk bash cat cmp dirname env git grep id printf python3 sed tr; do
    ln -s "$(command -v $tool)" bare/
done
cp "$UNSTRIDE_SOURCE/scripts/setup.sh" copy/scripts/
cp "$UNSTRIDE_SOURCE/requirements.txt" copy/
for package in g++ pkg-config qemu-user g++-aarch64-linux-gnu libfmt-dev libpng-dev; do
    refuse " $package" env PATH="$PWD/bare" bash copy/scripts/setup.sh
done
refuse 'has no apt' env PATH="$PWD/bare" bash copy/scripts/setup.sh
[[ ! -e copy/.venv && ! -e copy/build ]] || fail "setup went on without its packages"

# With apt it installs exactly what is missing, as root or through sudo, and fails clearly when that did not
# help.
if [[ -e /etc/debian_version ]]; then
    cp -r bare debian
    printf '#!/bin/bash\necho "$DEBIAN_FRONTEND apt-get $*" >>"%s/apt.log"\n' "$PWD" >debian/apt-get
    printf '#!/bin/bash\nexec "$@"\n' >debian/sudo
    chmod +x debian/apt-get debian/sudo
    refuse 'still missing after installing: g++' env PATH="$PWD/debian" bash copy/scripts/setup.sh
    grep -q '^noninteractive apt-get update' apt.log || fail "no apt-get update: $(cat apt.log)"
    grep -q '^noninteractive apt-get install .* g++ .*libfmt-dev' apt.log || fail "no apt-get install: $(cat apt.log)"
fi

# A second run of the real thing is quick, silent, and touches neither the environment nor the build.
if [[ $UNSTRIDE_BUILD == "$UNSTRIDE_SOURCE/build" ]]; then
    touch before
    start=$SECONDS
    output=$(bash "$UNSTRIDE_SOURCE/scripts/setup.sh" 2>&1) || fail "$output"
    [[ -z $output ]] || fail "a second run of setup.sh printed: $output"
    ((SECONDS - start <= 10)) || fail "a second run of setup.sh took $((SECONDS - start)) s"
    touched=$(find "$UNSTRIDE_SOURCE/.venv" "$UNSTRIDE_BUILD"/{bin,libexec,build.ninja,CMakeCache.txt} \
        -newer before -type f -not -name '*.pyc')
    [[ -z $touched ]] || fail "a second run of setup.sh touched: $touched"
fi
