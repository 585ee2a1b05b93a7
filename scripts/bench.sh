#!/usr/bin/env bash
# Measures Unstride against other frameworks on this machine: builds what is missing, installs the frameworks at
# pinned versions into .venv-bench, then checks and times every layer. Options go to bench/compare_rivals.py.
# UNSTRIDE_BENCH_BUILD names another build folder, which is used as it is.
set -euo pipefail
here=$PWD
cd -P "$(dirname "${BASH_SOURCE[0]}")/.."
root=$PWD

environment=.venv-bench
python=/usr/bin/python3 # not the first one in PATH, which may be a version manager's
[[ -x $python ]] || python=python3

for argument in "$@"; do
    if [[ $argument == --help || $argument == -h ]]; then
        echo "usage: scripts/bench.sh [--layers FILE] [--rivals LIST] [--threads 1,2] [--quick] [--out DIR] [--check]"
        echo "installs the frameworks of bench/rivals/requirements.txt into $environment (not for --rivals of unstride and"
        echo "naive alone), builds (not where UNSTRIDE_BENCH_BUILD names a build folder), then runs:"
        echo
        exec "$python" bench/compare_rivals.py --help
    fi
done

say() { printf 'bench: %s\n' "$*" >&2; }
fail() { printf 'bench: error: %s\n' "$*" >&2; exit 1; }

# pip_install FILE [OPTION]...: all at once, or where that fails one by one, so that a framework without a wheel
# for this system leaves only itself out. Adds what cannot be installed to `missing`.
missing=()
pip_install() {
    local file=$1
    local pip=("$environment/bin/python" -m pip install --quiet --disable-pip-version-check --no-input)
    shift
    say "installing $file into $environment"
    "${pip[@]}" "$@" -r "$file" && return
    local requirement
    while read -r requirement; do
        "${pip[@]}" "$@" "$requirement" </dev/null || missing+=("$requirement")
    done < <(grep -v '^#' "$file")
}

# What the environment was made from lies in it, and what of that could not be installed: only other requirements
# are tried again. What else was installed there stays.
install_frameworks() {
    local list=bench/rivals/requirements.txt openmp=bench/rivals/requirements-openmp.txt
    local made_from=$environment/requirements.txt absent=$environment/missing.txt
    "$environment/bin/python" -c '' 2>/dev/null ||
        "$python" -m venv --clear "$environment" || fail "$python cannot make $environment"
    if ! cat "$list" "$openmp" | cmp -s - "$made_from"; then
        "$environment/bin/python" -m ensurepip >/dev/null 2>&1 || true # of an environment that was cut short
        rm -rf "$environment/onednn_openmp"
        pip_install "$list"
        pip_install "$openmp" --no-deps --ignore-installed --prefix "$PWD/$environment/onednn_openmp"
        : >"$absent"
        if ((${#missing[@]} > 0)); then printf '%s\n' "${missing[@]}" >"$absent"; fi
        # Where nothing at all came the network is missing.
        if ((${#missing[@]} < $(cat "$list" "$openmp" | grep -cv '^#'))); then
            cat "$list" "$openmp" >"$made_from"
        fi
    fi
    if [[ -s $absent ]]; then
        say "could not be installed, and what needs it is left out: $(paste -sd ' ' "$absent")"
        say "to try again remove $environment/requirements.txt"
    fi
}

# Whether --rivals names only what needs no framework.
needs_no_framework() {
    local previous='' argument list=''
    for argument in "$@"; do
        if [[ $previous == --rivals ]]; then list=$argument; fi
        if [[ $argument == --rivals=* ]]; then list=${argument#*=}; fi
        previous=$argument
    done
    [[ $list =~ ^(unstride|naive)(,(unstride|naive))*$ ]]
}

if needs_no_framework "$@"; then
    interpreter=$python
else
    interpreter=$root/$environment/bin/python
fi
if [[ -z ${UNSTRIDE_BENCH_BUILD:-} ]]; then
    bash scripts/setup.sh unstride >&2
    if [[ $interpreter != "$python" ]]; then
        install_frameworks
        # Looks again for what the environment holds.
        PATH=$PWD/.venv/bin:$PATH cmake -S . -B build >/dev/null || fail "CMake could not configure build/"
    fi
    bash scripts/setup.sh unstride_bench_rivals >&2
elif [[ $interpreter != "$python" ]]; then
    install_frameworks
fi
cd "$here"
exec "$interpreter" "$root/bench/compare_rivals.py" --programs "${UNSTRIDE_BENCH_BUILD:-$root/build}/bin" "$@"
