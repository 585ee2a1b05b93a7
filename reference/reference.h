// The reference: a whole layer chain evaluated in double precision by nested loops that follow the
// definitions.
#pragma once

#include "compiler/language/layer.h"
#include "compiler/language/shapes.h"
#include "compiler/result.h"

#include <cstdint>
#include <vector>

namespace unstride::reference {

// What a layer computes from. Input and `add` are in the layer's own layout; weights in the frameworks' order
// (see weight_shape); bias, scale and prelu hold one number a channel at the place of their stage. What the
// chain does not use is empty; `transposed_conv(…, weights=bilinear)` makes its own weights.
struct LayerData {
    std::vector<float> input, weights, bias, scale, prelu, add;
};

// How many numbers each part holds.
struct DataSizes {
    std::int64_t input = 0, weights = 0, bias = 0, scale = 0, prelu = 0, add = 0;
    bool operator==(const DataSizes &) const = default;
};

struct ReferenceResult {
    Shape shape;
    std::vector<double> values; // in the layer's own layout

    // For each value, the same sum over absolute values: sum |x||w| + |bias| + |add|, times what later stages
    // can enlarge an error by. Rounding errors of an f32 evaluation in any order are below epsilon * terms *
    // magnitude.
    std::vector<double> magnitudes;

    // The largest number of roundings on the way to one value: the products it sums, one for each bias,
    // scale, prelu, … Zero when the chain only moves values.
    std::int64_t terms = 0;
};

// The layer with its dynamic sizes replaced; sizes that were fixed stay as they are.
Layer with_sizes(const Layer &layer, std::int64_t batch, const PerAxis &spatial);

// The sizes of the layer's data, or why the layer cannot be evaluated: an invalid shape, a dynamic size, two
// stages that would share one part of LayerData.
Result<DataSizes> data_sizes(const Layer &layer);

// Evaluates the chain stage by stage. Fails, with the reason, on what data_sizes refuses and on data of
// another size.
Result<ReferenceResult> evaluate(const Layer &layer, const LayerData &data);

// The numbers of the bilinear filter of `kernel` taps on one axis: 1 - |i / f - (kernel - 1) / (2 f)|, f =
// ceil(kernel / 2).
std::vector<double> bilinear_filter(std::int64_t kernel);

} // namespace unstride::reference
