#!/usr/bin/env bash
# Sets everything up and runs all tests; the last line is the test runner's summary. Options go to ctest:
# scripts/test.sh -R consumer runs the tests of that name.
set -euo pipefail
cd -P "$(dirname "${BASH_SOURCE[0]}")/.."

if [[ ${1-} == --help ]]; then
    echo "usage: scripts/test.sh [CTEST OPTION]...    for example -R consumer, -LE slow"
    exit 0
fi
bash scripts/setup.sh
exec .venv/bin/ctest --preset default "$@"
