// What a tuning run decides from what it measured or modelled. Pure: figures in, decisions out.
#pragma once

#include "schedules/tuning_record.h"
#include "tools/measure/statistics.h"

#include <cstddef>
#include <vector>

namespace unstride {

// The one of the finalists, timed side by side, that takes least time relative to the incumbent; the
// incumbent itself where none takes less. Finalists without rounds are passed over. Precondition: the
// incumbent has rounds.
std::size_t leader(const std::vector<Rounds> &finalists, std::size_t incumbent);

// Whether the default is to be used instead of what was chosen, timed side by side: where it is faster, which
// it may have become since, and where it packs fewer bytes of weights and what was chosen is not faster by
// the threshold. Precondition: both have rounds.
bool default_serves(const Rounds &chosen, const Rounds &by_default, bool packs_less, double threshold);

// The default, timed alone.
struct BaselineTiming {
    Rounds rounds;
    std::vector<double> peak_gflops; // of each round; what one can do with multiply-adds in registers at that
                                     // time. Empty or 0: not known
};

// How much longer the default takes after a run than before, as the machine's speed then and now leaves it:
// 1.25 for a quarter more, below 1 for less. Rounds count relative to their peak where it is known.
double drift(const BaselineTiming &before, const BaselineTiming &after);

// Whether a run with such a drift can be trusted: both ways by no more than the threshold, 0.1 for a tenth.
bool is_steady(double drift, double threshold);

// Of schedules that were only modelled: how many times the cycles of the best one on a processor each takes,
// on the processor where it loses most; 1 is best on all, infinity where a processor's model is missing.
std::vector<double> worst_losses(const std::vector<StaticFacts> &schedules);

// The same schedules, best first: by their worst losses, to the hundredth; by loads a multiply-add where
// these are equal, then by the size of the code.
std::vector<std::size_t> ranked_by_model(const std::vector<StaticFacts> &schedules);

} // namespace unstride
