// What a layer is measured on: random data and its double-precision result as files, made once.
#pragma once

#include "compiler/language/layer.h"
#include "compiler/result.h"

#include <cstdint>
#include <filesystem>
#include <vector>

namespace unstride {

// A folder of the cache with raw numbers in this machine's byte order: input, weights, bias, scale, prelu and
// add (f32, what the layer has of these), expected (f64) and bound (f32, how far from what is expected a
// float may be; NaN where none is right). The layer has fixed sizes. Made where it is not there yet, or not
// whole; it appears by one rename.
Result<std::filesystem::path> make_problem_data(const Layer &layer, std::uint64_t seed,
                                                const std::filesystem::path &cache);

// Bytes of the tensors of a call: input, second tensor, weights and output, each once.
std::int64_t tensor_bytes(const Layer &layer);

// The concrete sizes a layer is measured at: its own, or for dynamic sizes small ones, odd ones, and last the
// one that is timed, which the reference evaluates in some seconds.
std::vector<Layer> measured_sizes(const Layer &layer);

} // namespace unstride
