// What the weights of a layer have in common with a cheaper layer, and that layer.
#pragma once

#include "compiler/weights/learned_convolution.h"
#include "compiler/weights/tensor.h"

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <variant>
#include <vector>

namespace unstride {

// Planes of a kernel on one axis that are zero in every kernel of the tensor. Of a tensor that is zero
// throughout, the last plane counts as not zero.
struct ZeroPlanes {
    std::int64_t leading = 0, trailing = 0;
    bool operator==(const ZeroPlanes &) const = default;
};

// One vector an axis, slowest first; a kernel is their outer product.
using AxisFactors = std::vector<std::vector<double>>;

// The factors of a kernel of rank one, or nothing. An element may differ from its product by 4 units of
// roundoff (2^-24, relative) an axis, which is what vectors in f32 or double leave when multiplied and
// rounded, and by the two smallest numbers of f32.
std::optional<AxisFactors> separate(std::span<const float> kernel, const PerAxis &sizes);

// What was found. +0 and -0 are both zero.
struct WeightStructure {
    std::vector<ZeroPlanes> zero_planes; // for each axis
    // As many output as input channels, fewer groups than channels, and every kernel between different
    // channels is zero.
    bool diagonal = false;
    // Of a transposed convolution with as many output as input channels: every channel reads itself alone,
    // and each weight is the triangle filter within one f32 step.
    bool bilinear = false;
    // Which kernels of the rewritten tensor have rank one, by the index of the first two sizes; all that are
    // zero do. Empty where fewer than two axes have a kernel above 1, for then all do.
    std::vector<bool> separable;
    bool all_separable() const;
};

struct WeightRewrite {
    WeightStructure found;
    Layer layer;                   // the original where nothing could be rewritten
    std::optional<Tensor> weights; // of that layer; nothing where the layer makes its own (weights=bilinear)
    bool changed = false;
    // Of one output element, averaged over the phases of a large image; both zero for a layer that cannot be
    // compiled, which is left as it is.
    double multiplications_before = 0, multiplications_after = 0;
    // Of one call; known where all sizes of the layer are.
    std::optional<double> call_multiplications_before, call_multiplications_after;
};

// Finds structure in the weights of the layer's convolution and rewrites the layer so that it does not
// multiply by what is known to be zero, and computes bilinear weights by itself:
// - zero planes at the ends of the kernel are cut off, as far as padding of at least 0 and an output_pad that
//   the language allows can keep the output the same;
// - a diagonal layer becomes one of as many groups as channels;
// - a bilinear one becomes weights=bilinear.
//
// For finite inputs both layers give the same output: bit for bit but for the order of sums and the sign of
// zero, and with bilinear weights within one f32 step of each weight. A rewrite that check_shapes or lower
// refuses (a grouped convolution after pixel_unshuffle), or that multiplies more often, is not made.
//
// The diagnostic says what is wrong: no convolution with learned weights, or a tensor of another shape.
// Precondition: the layer passed check_shapes.
std::variant<WeightRewrite, Diagnostic> rewrite_by_weights(const Layer &layer, const Tensor &weights);

// What was found and changed, a line each, for people.
std::vector<std::string> explain(const WeightRewrite &rewrite);

} // namespace unstride
