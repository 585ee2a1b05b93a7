// What one call of a layer has to do at least.
#pragma once

#include "compiler/language/layer.h"

#include <cstdint>
#include <vector>

namespace unstride {

struct LayerWork {
    std::vector<std::int64_t> input_shape; // in the layout's order
    double multiplications = 0;
    double compulsory_bytes = 0; // tensors and weights, each once
};

// All zero for a layer that has dynamic sizes or is none that one kernel computes.
LayerWork work_of(const Layer &layer);

} // namespace unstride
