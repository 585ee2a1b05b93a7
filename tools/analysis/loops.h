// Innermost loops of a function, cut out by their branches back.
#pragma once

#include <cstddef>
#include <optional>
#include <vector>

namespace unstride {

// Instructions first … last of a function, as places in it; the last one branches to the first.
struct LoopRange {
    std::size_t first = 0, last = 0;
    int depth = 1; // branches back around it, its own included: as many as loops, or more
    bool operator==(const LoopRange &) const = default;
};

// Loops without another one inside, in the order of the code. `targets` has an entry for each instruction of
// one function: the place that it branches to, if it branches within the function.
std::vector<LoopRange> innermost_loops(const std::vector<std::optional<std::size_t>> &targets);

} // namespace unstride
