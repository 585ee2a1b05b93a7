// Weights that the next part of a task multiplies by, fetched into cache while this one computes.
#pragma once

#include "schedules/record.h"
#include "schedules/step_prefetch.h"

#include <Halide.h>

#include <string>

namespace unstride {

// A lowering pass. All register tiles of a task walk over one panel of the packed weights, one tile after the
// other, before they walk over the next. Where weights are too many for the L2 cache, the first of them waits
// for its panel at the rate of a farther cache: of 8 MB, on a core that reads 20 GB/s from its L3 cache, at
// less than half of the other fourteen tiles' rate. With this pass every step of every tile fetches an equal
// share of the next panel, so that the farther cache is asked all the time for a little instead of at once
// for all. Fetched by the first four tiles alone, panels came no sooner.
//
// The loops over a panel are the innermost ones that the places of the weights depend on; those around them
// on which they do not are the tiles. A loop of another shape is left as it is.
class WeightPrefetch : public StepPrefetch {
public:
    WeightPrefetch(std::string weights, const WeightPanel &panel)
        : weights(std::move(weights)), panel(panel) {}

protected:
    StepFetch fetch_of(const Halide::Internal::Stmt &step) const override;

private:
    const std::string weights; // the tensor
    const WeightPanel panel;
};

} // namespace unstride
