// Weights to begin training with: bilinear, ICNR, normal.
#pragma once

#include "compiler/weights/learned_convolution.h"
#include "compiler/weights/tensor.h"

#include <cstdint>
#include <string>
#include <vector>

namespace unstride {

// The weights (C, C/groups, kernel…) by which every channel is interpolated by itself: the triangle filter
// from a channel to itself, zero between different channels. With groups == channels it is the depthwise
// tensor (C, 1, kernel…). Precondition: groups divides channels.
Tensor bilinear_kernel(std::int64_t channels, std::int64_t groups, const PerAxis &kernel);

// What keeps a transposed convolution with bilinear weights from being the interpolation by its stride f,
// one sentence for each axis and number. The recipes are kernel 2f - f%2 with padding ceil((f - 1) / 2) at
// the beginning, which samples half-pixel centres, and kernel 2f - 1 with padding f - 1, which aligns the
// corners. A crop after the convolution moves the window as padding does and counts as such. Empty if `stage`
// is no transposed convolution. Precondition: the layer passed check_shapes.
std::vector<std::string> bilinear_recipe_warnings(const Layer &layer, std::size_t stage);

// Normal numbers of mean 0 and the given deviation, rounded to f32; the same for a seed on every platform.
Tensor normal_weights(const std::vector<std::int64_t> &shape, double deviation, std::uint64_t seed);

// He and others' deviation for rectified layers: sqrt(2 / fan-in).
double he_deviation(const LearnedConvolution &convolution);

// ICNR: makes a convolution before a pixel_shuffle begin as nearest upsampling of what `sub_kernels`
// computes. Each of the C sub-kernels stands `block` times (factor to the power of the number of spatial
// axes), where the shuffle's order expects the pixels of its channel: output channels c * block + j in crd, j
// * C + c in dcr. The output channels are the tensor's size `output_axis`: 0 for conv, 1 for transposed_conv.
Tensor icnr(const Tensor &sub_kernels, std::size_t output_axis, std::int64_t block, ShuffleOrder order);

} // namespace unstride
