// Shapes through a chain, and the one place where padding rules become numbers.
#pragma once

#include "compiler/language/layer.h"

#include <string>
#include <string_view>
#include <vector>

namespace unstride {

struct Shape {
    std::int64_t batch = 1;
    PerAxis spatial;
    std::int64_t channels = 1;
    bool operator==(const Shape &) const = default;
};

// How one stage maps sizes on one axis: out = scale * in + shift, exact for every input size the stage
// accepts (for strided conv and pixel_unshuffle: out = floor((in + shift) / divisor), with scale 1). `scale
// == 0` means that the output is `shift` whatever the input (crop, output_size).
struct SizeRule {
    std::int64_t scale = 1;
    std::int64_t shift = 0;
    std::int64_t divisor = 1;
    std::int64_t apply(std::int64_t in) const; // dynamic_size in gives dynamic_size out, unless scale == 0
    bool operator==(const SizeRule &) const = default;
};

// A convolution's padding on one axis in numbers. `end` may be negative: then -end rows beyond the plain
// output are computed at the end (ONNX output_shape, TensorFlow SAME with a kernel smaller than the stride);
// it holds output_pad's effect for no stage, which stays apart.
struct ResolvedPadding {
    std::int64_t begin = 0;
    std::int64_t end = 0;
    bool operator==(const ResolvedPadding &) const = default;
};

// Per axis. `same` on a strided conv depends on the input size and needs it fixed; transposed_conv with
// output_size too. Preconditions: the layer passed check_shapes.
std::vector<ResolvedPadding> resolve_padding(const Conv &conv, const PerAxis &input_sizes);
std::vector<ResolvedPadding> resolve_padding(const TransposedConv &conv, const PerAxis &input_sizes);

// The depthwise transposed convolution with bilinear weights that a bilinear_upsample computes inside the
// image: kernel 2f - f%2 and padding ceil((f - 1) / 2) unless stated; with aligned corners kernel 2f - 1 and
// padding f - 1. How it treats the border (edge) stands apart.
TransposedConv as_transposed_conv(const BilinearUpsample &upsample, std::int64_t channels);

// Effective output_pad per axis: the stated one, or what output_size asks for (PyTorch's rule: the size picks
// an output_pad below max(stride, dilation)).
PerAxis resolve_output_pad(const TransposedConv &conv, const PerAxis &input_sizes);

// The rule of each axis for a stage given the shape of what enters it.
std::vector<SizeRule> size_rules(const StageOperation &operation, const Shape &input);

// The shape after each stage; element 0 is the input's own shape, so there are stages.size() + 1.
// Precondition: check_shapes(layer) returned nothing.
std::vector<Shape> infer_shapes(const Layer &layer);

// Everything about a layer that can be wrong although it parsed: sizes, divisibility, ranges, groups,
// overflow of 2^31-1 on any size or 2^62 on any element count. Each message states the rule and the value.
std::vector<Diagnostic> check_shapes(const Layer &layer);

// "depth", "height" or "width", of the last `axes` of these.
std::string_view axis_name(std::size_t axis, std::size_t axes);

// "1x128x128x64", in the layout's order, with `?` for dynamic sizes.
std::string print(const Shape &shape, Layout layout);

// The arithmetic of each axis of a stage in words: "height: 2·(64−1) + 1·(4−1) + 1 − 1 − 1 + 0 = 128". One
// line an axis; empty for stages that keep the size.
std::vector<std::string> explain_sizes(const StageOperation &operation, const Shape &input);

// The shape of the weights as frameworks store them: conv (CO, CI/groups, spatial…), transposed_conv (CI,
// CO/groups, spatial…). Empty for other stages.
std::vector<std::int64_t> weight_shape(const StageOperation &operation, std::int64_t input_channels);

} // namespace unstride
