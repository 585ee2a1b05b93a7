// The one stage of a chain whose weights are given, and what the code about weights asks of it.
#pragma once

#include "compiler/language/layer.h"
#include "compiler/language/shapes.h"

#include <cstddef>
#include <cstdint>
#include <variant>
#include <vector>

namespace unstride {

struct LearnedConvolution {
    std::size_t stage = 0; // index into the layer's stages
    Shape input;           // of the stage
    std::int64_t output_channels = 1;
    std::int64_t groups = 1;
    bool transposed = false; // (CI, CO/groups, …), else (CO, CI/groups, …)
    PerAxis kernel, stride, dilation;
    std::vector<std::int64_t> weight_shape;

    // The plain number of terms that one output sums: CI/groups * kernel, for a transposed convolution of a
    // large image on average over the phases.
    double fan_in() const;
};

// The convolution of a layer that has learned weights, or why there is not exactly one. Precondition: the
// layer passed check_shapes.
std::variant<LearnedConvolution, Diagnostic> learned_convolution(const Layer &layer);

} // namespace unstride
