// Results set against a baseline: which rows belong together, how many times as fast each is, and whether
// that is real. Pure.
//
// Rows belong together that agree in the layer's canonical text, the instruction set and the threads. With
// one source the baseline is a contender; with several it is a source, and a row is compared with the row of
// the same contender there (where both sources have one contender only, with that). Rows that were timed in
// interleaved rounds of one source are compared round by round, all others by Welch's test on the logarithms
// of their rounds' minima. Rows of different machines have a ratio but no verdict, unless that is asked for.
#pragma once

#include "tools/compare/results.h"
#include "tools/measure/statistics.h"

#include <cstddef>
#include <optional>
#include <string>
#include <vector>

namespace unstride {

struct ComparisonOptions {
    std::string baseline; // a contender or a source; empty: "default" or the first
    double threshold = practical_threshold;
    std::vector<std::string> layers, instruction_sets; // only these, by name or canonical text; empty: all
    bool across_machines = false;                      // verdicts on rows of different machines, too
};

// What is said of a row; the sign stands before the word.
enum class Standing { baseline, faster, slower, tie, other_machine, unknown };
const char *to_string(Standing standing); // "baseline", "faster", "slower", "~", "other machine", "n/a"

struct RowComparison {
    std::optional<double> flops;         // operations a second
    std::optional<double> peak_share;    // of the measured peak of its instruction set and threads
    std::optional<double> spread;        // half of the interval, relative to the estimate
    std::optional<std::size_t> outliers; // samples of at least 1.5 times the estimate
    std::optional<std::size_t> baseline; // the row that it is compared with
    std::optional<Ratio> speedup;        // the baseline's time over its own: above 1 is faster
    bool has_interval = false;           // of the speed-up
    bool paired = false;                 // round by round
    std::optional<double> threshold;     // that was applied
    std::optional<double> default_over;  // time of the default schedule of the same source over its own
    Standing standing = Standing::unknown;
    std::string reason; // of n/a, of ~ and of another machine
};

// One contender of one source against the baseline, over all layers.
struct ColumnSummary {
    std::string column;
    std::optional<Ratio> speedup;                            // geometric mean over `pairs`
    std::size_t pairs = 0;                                   // that have an estimate on both sides
    std::size_t dropped = 0;                                 // layers that only one side has an estimate of
    std::size_t faster = 0, slower = 0, tie = 0, failed = 0; // failed: where the baseline did not
    std::size_t other_machine = 0; // not judged, as the baseline's row is of another machine
};

struct Comparison {
    Results results;
    std::vector<RowComparison> rows;      // of each row of `results`
    std::vector<std::string> columns;     // of each row: what its contender is called in tables
    std::vector<ColumnSummary> summaries; // in the order of first rows, the baseline left out
    std::string baseline;
    double threshold = practical_threshold;
    bool across_machines = false;
    std::vector<std::string> warnings; // of what makes the comparison doubtful

    // Some row is slower than its baseline, or failed where that did not.
    bool regression() const;

    // Some row could not be judged, as its baseline is of another machine.
    bool other_machines() const;
};

// 99 % of comparisons of equals find no difference, taken over all layers of a column.
inline constexpr double comparison_alpha = 0.01;

// Whether two machines are known to be of one kind: the same processor, device and caches. Threads do not
// matter, as rows that are compared agree in theirs. A machine that nobody named is like no other.
bool same_machine(const Machine &a, const Machine &b);

// How many times as long b takes as a, when they did not run side by side.
Ratio unpaired_ratio(const Rounds &a, const Rounds &b);

// "there is no baseline 'x'; the contenders are a, b", where `all` names what there is; empty if the baseline
// is among it.
std::string missing_baseline(const std::string &baseline, const char *all,
                             const std::vector<std::string> &known);

// Errors: a baseline that is not there, with those that are; nothing left to compare.
Result<Comparison> compare(Results results, const ComparisonOptions &options);

// The result file with what was derived from it: "derived" in every row, and "comparison".
nlohmann::json to_json(const Comparison &comparison);

} // namespace unstride
