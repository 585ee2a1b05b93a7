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
# for this system leaves only itself out. Answers whether all is there.
pip_install() {
    local file=$1
    local pip=("$environment/bin/python" -m pip install --quiet --disable-pip-version-check --no-input)
    shift
    say "installing $file into $environment"
    "${pip[@]}" "$@" -r "$file" && return
    local requirement complete=true
    while read -r requirement; do
        "${pip[@]}" "$@" "$requirement" </dev/null && continue
        say "cannot install $requirement; what needs it is left out"
        complete=false
    done < <(grep -v '^#' "$file")
    $complete
}

# A copy of what the environment was made from lies in it; without one, the next run tries again.
install_frameworks() {
    local list=bench/rivals/requirements.txt openmp=bench/rivals/requirements-openmp.txt
    cat "$list" "$openmp" | cmp -s - "$environment/requirements.txt" &&
        "$environment/bin/python" -c '' 2>/dev/null && return
    "$python" -m venv --clear "$environment" || fail "$python cannot make $environment"
    local complete=true
    pip_install "$list" || complete=false
    pip_install "$openmp" --no-deps --ignore-installed --prefix "$PWD/$environment/onednn_openmp" || complete=false
    if $complete; then cat "$list" "$openmp" >"$environment/requirements.txt"; fi
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
