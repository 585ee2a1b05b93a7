// Figures that follow from one row or one search alone, as the JSON of a comparison carries them.
#pragma once

#include "tools/compare/results.h"

namespace unstride {

// {"multiply_add_share":…, "loads_per_multiply_add":…} of a hot loop, as far as it has the counts.
nlohmann::json loop_figures(const HotLoop &loop);

// {"tried":…, "failed":{STATUS:COUNT}, "best_ns":…, "best_trial":…, "space_share":…,
// "parameters":{NAME:{VALUE: the best time of all trials with that value}}}. Parameters that never vary are
// left out; trials count from 1.
nlohmann::json search_figures(const SearchLog &search);

} // namespace unstride
