# Runs every ```sh block of one page of docs/, in order, in a folder that holds the files which the page shows and
# the build tree. The page is the test's name: consumer.document.PAGE.
source "$UNSTRIDE_SOURCE/tests/consumer/common.sh"
page=$UNSTRIDE_SOURCE/docs/$UNSTRIDE_PAGE.md
export XDG_DATA_HOME=$PWD/data
ln -s "$UNSTRIDE_BUILD" build
ln -s "$UNSTRIDE_SOURCE/scripts" "$UNSTRIDE_SOURCE/bench" .
export UNSTRIDE_BENCH_BUILD=$PWD/build # no script builds or installs anything

extract_blocks "$page"
(($(cat block_count) >= 1)) || fail "$page holds no commands"
run_blocks "$page"
