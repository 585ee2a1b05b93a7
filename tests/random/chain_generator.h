// Random layers: whole chains drawn from the grammar of the layer language, small enough to be built and
// checked by the hundred.
#pragma once

#include "compiler/language/layer.h"
#include "reference/random_data.h"

#include <cstdint>
#include <string>
#include <vector>

namespace unstride::chains {

// Most chains have the order of stages that one kernel computes (activation, rearrangement, convolution,
// epilogue, shuffle, crop) and valid shapes; the rest is anything that the grammar allows, shapes that do not
// fit and types that are not compiled included. largest_tensor() is at most 4096 where the shapes are valid.
Layer draw_layer(reference::Random &random, const std::string &name);

// Elements of the largest tensor of the chain, between stages too, sizes known at run time counted as 8.
// Precondition: check_shapes(layer) returned nothing.
std::int64_t largest_tensor(const Layer &layer);

// Layers that are simpler than this one by one step each, the largest steps first: without a stage, without a
// spatial axis, with a number lowered or an argument at its default. Their shapes may be invalid.
std::vector<Layer> simplifications(const Layer &layer);

} // namespace unstride::chains
