// A branch to itself or to what stands before it closes a loop.
#include "tools/analysis/loops.h"

#include <algorithm>

namespace unstride {

std::vector<LoopRange> innermost_loops(const std::vector<std::optional<std::size_t>> &targets) {
    std::vector<LoopRange> all;
    for (std::size_t i = 0; i < targets.size(); i++) {
        if (targets[i] && *targets[i] <= i) all.push_back({*targets[i], i});
    }
    const auto inside = [](const LoopRange &inner, const LoopRange &outer) {
        return !(inner == outer) && inner.first >= outer.first && inner.last <= outer.last;
    };
    std::vector<LoopRange> innermost;
    for (const LoopRange &loop : all) {
        if (std::none_of(all.begin(), all.end(), [&](const LoopRange &other) { return inside(other, loop); }))
            innermost.push_back(loop);
    }
    for (LoopRange &loop : innermost) {
        loop.depth = 1 + static_cast<int>(std::count_if(all.begin(), all.end(), [&](const LoopRange &other) {
                         return inside({loop.first, loop.last}, other);
                     }));
    }
    return innermost;
}

} // namespace unstride
