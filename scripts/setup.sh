#!/usr/bin/env bash
# Brings a fresh Debian 12 or Ubuntu 24.04 machine to a built compiler at build/bin/unstride: packages by apt,
# pinned tools in .venv, configure, build. Where all that is in place it touches nothing. Run by demo.sh and
# test.sh, or by itself. Arguments name what to build, as ninja knows it; without any it is everything, tests
# and benchmarks included.
set -euo pipefail
cd -P "$(dirname "${BASH_SOURCE[0]}")/.."

if [[ ${1-} == --help ]]; then
    echo "usage: scripts/setup.sh [TARGET]...    installs what is missing and builds everything, or only TARGET (unstride)"
    exit 0
fi

say() { printf 'setup: %s\n' "$*"; }
fail() { printf 'setup: error: %s\n' "$*" >&2; exit 1; }

python=/usr/bin/python3 # not the first one in PATH, which may be a version manager's
[[ -x $python ]] || python=python3

# Prints the Debian package of everything that is missing. Each line is a test of the thing itself, so that
# the same list serves systems without Debian's package manager.
missing_packages() {
    command -v git >/dev/null || echo git
    command -v g++ >/dev/null || echo g++
    command -v pkg-config >/dev/null || echo pkg-config
    command -v qemu-aarch64 >/dev/null || echo qemu-user
    command -v aarch64-linux-gnu-g++ >/dev/null || echo g++-aarch64-linux-gnu
    command -v llvm-config-19 >/dev/null || echo llvm-19-dev
    "$python" -c 'import ensurepip, venv' 2>/dev/null || echo python3-venv
    compgen -G '/etc/OpenCL/vendors/pocl*.icd' >/dev/null || echo pocl-opencl-icd
    compgen -G '/usr/lib*/*/libOpenCL.so.1' >/dev/null || compgen -G '/usr/lib*/libOpenCL.so.1' >/dev/null ||
        echo ocl-icd-libopencl1
    [[ -e /etc/ssl/certs/ca-certificates.crt || -e /etc/pki/tls/certs/ca-bundle.crt ]] || echo ca-certificates
    command -v chromium >/dev/null || ! grep -qx ID=debian /etc/os-release || echo chromium # tests of reports skip without
    local header_of='benchmark/benchmark.h libbenchmark-dev
CLI/CLI.hpp libcli11-dev
fmt/core.h libfmt-dev
gtest/gtest.h libgtest-dev
nlohmann/json.hpp nlohmann-json3-dev
png.h libpng-dev'
    if command -v g++ >/dev/null; then
        while read -r header package; do
            printf '#if !__has_include(<%s>)\n"%s"\n#endif\n' "$header" "$package"
        done <<<"$header_of" | g++ -E -P -x c++ - | tr -d '" '
    else
        awk '{print $2}' <<<"$header_of"
    fi
}

install_packages() {
    local missing
    mapfile -t missing < <(missing_packages)
    ((${#missing[@]} == 0)) && return
    if [[ ! -e /etc/debian_version ]] || ! command -v apt-get >/dev/null; then
        fail "this system has no apt; install what these Debian packages hold: ${missing[*]}"
    fi
    local as_root=(env DEBIAN_FRONTEND=noninteractive)
    if [[ $(id -u) != 0 ]]; then
        command -v sudo >/dev/null || fail "run as root, or install sudo, or install these packages: ${missing[*]}"
        as_root=(sudo "${as_root[@]}")
    fi
    say "installing packages: ${missing[*]}"
    "${as_root[@]}" apt-get update -qq || fail "apt-get update failed"
    "${as_root[@]}" apt-get install -y -q --no-install-recommends "${missing[@]}" ||
        fail "apt-get could not install: ${missing[*]}"
    mapfile -t missing < <(missing_packages)
    ((${#missing[@]} == 0)) || fail "still missing after installing: ${missing[*]}"
}

# .venv/requirements.txt is a copy of what the environment was made from. An environment that was moved does
# not work and is made again.
install_tools() {
    cmp -s requirements.txt .venv/requirements.txt && .venv/bin/cmake --version &>/dev/null && return
    say "installing Halide, CMake and ninja into .venv"
    .venv/bin/cmake --version &>/dev/null || "$python" -m venv --clear .venv || fail "$python cannot make .venv"
    .venv/bin/python -m pip install --disable-pip-version-check --no-input -r requirements.txt ||
        fail "pip could not install requirements.txt"
    cp requirements.txt .venv/requirements.txt
}

# A build folder that was configured somewhere else is configured afresh.
configure() {
    if [[ -e build/build.ninja ]] && grep -qxF "CMAKE_HOME_DIRECTORY:INTERNAL=$PWD" build/CMakeCache.txt; then return; fi
    say "configuring build/"
    local log
    log=$(cmake --fresh --preset default 2>&1) || fail "CMake could not configure:"$'\n'"$log"
}

# One line a step, and none where there is nothing to do.
build() {
    NINJA_STATUS='[%f/%t, %es] ' ninja -C build "$@" 2>&1 | {
        grep --line-buffered -v -e '^ninja: Entering directory' -e '^ninja: no work to do' \
            -e 'Re-checking globbed directories' || true
    } || fail "the build failed"
}

install_packages
install_tools
PATH=$PWD/.venv/bin:$PATH
configure
build "$@"
