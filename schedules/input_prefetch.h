// Pixels that later register tiles multiply, fetched into cache while this one computes.
#pragma once

#include "schedules/step_prefetch.h"

#include <Halide.h>

#include <string>

namespace unstride {

// A lowering pass for loops that sum over all channels of a tile of pixels, which lie side by side in memory
// as do those of the next tile. A tile reads some channels of each of its pixels at a step, and the caches'
// own prefetchers follow few such streams well: with this pass every step fetches an equal share of a tile to
// come, the next or, where tiles are small, the first that lies a page ahead, so that its first steps do not
// wait.
//
// The loops are the innermost ones that load from the input; those around them on which the place does not
// depend walk over the same pixels again. A loop of another shape is left as it is.
class InputPrefetch : public StepPrefetch {
public:
    // `numbers`: of a tile, all channels of its pixels.
    InputPrefetch(std::string input, int numbers) : input(std::move(input)), numbers(numbers) {}

protected:
    StepFetch fetch_of(const Halide::Internal::Stmt &step) const override;

private:
    const std::string input; // the tensor
    const int numbers;
};

} // namespace unstride
