// What else decides how fast this machine is: its clock's policy, other programs, and its memory.
#pragma once

#include "tools/compare/results.h"

#include <vector>

namespace unstride {

// Fills in governor, turbo, virtualised and load, as far as Linux tells them.
void describe_state(ResultSource *source);

// Bytes read and written a second by copying, in data that fits the first cache, the second cache, and
// neither. Each thread copies data of its own. Takes about a quarter of a second.
std::vector<MeasuredBandwidth> measure_bandwidths(const Machine &machine, int threads);

} // namespace unstride
