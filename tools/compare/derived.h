// Figures that follow from one row or one search alone, as the JSON of a comparison carries them.
#pragma once

#include "tools/compare/results.h"

#include <optional>
#include <vector>

namespace unstride {

// To six digits: what follows from measurements has no more that mean something.
double rounded(double value);

// {"multiply_add_share":…, "loads_per_multiply_add":…} of a hot loop, as far as it has the counts.
nlohmann::json loop_figures(const HotLoop &loop);

// {"tried":…, "failed":{STATUS:COUNT}, "best_ns":…, "best_trial":…, "best_s":…, "seconds":…, "space_share":…,
// "parameters":{NAME:{VALUE: the best time of all trials with that value}}}. Parameters that never vary are
// left out; trials count from 1. Seconds are those of trial_seconds().
nlohmann::json search_figures(const SearchLog &search);

// When each trial was recorded, in seconds of searching since the first: what lies between two trials is
// `longest_trial_seconds` at most, as a longer gap is a pause. Nothing if a trial has no date or has one
// before that of the trial before it.
std::optional<std::vector<double>> trial_seconds(const SearchLog &search);

inline constexpr double longest_trial_seconds = 600;

} // namespace unstride
