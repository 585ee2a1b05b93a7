// Seeded data for tests: the same numbers on every platform, with no help of std's distributions or of libm.
#pragma once

#include "compiler/language/layer.h"
#include "reference/reference.h"

#include <cstdint>
#include <optional>
#include <span>

namespace unstride::reference {

// splitmix64: a counter through a mixing function, so every seed gives a full-period sequence of its own.
class Random {
public:
    explicit Random(std::uint64_t seed) : state_(seed) {}

    std::uint64_t next();

    // Uniform over low, …, high; both are possible. Precondition: low <= high.
    std::int64_t integer(std::int64_t low, std::int64_t high);

    // Uniform over [0, 1), a multiple of 2^-53.
    double uniform();

    // Mean 0, variance 1, within [-6, 6]: twelve uniform numbers summed, which is close to normal and, unlike
    // a formula with a logarithm, the same on every platform.
    double normal();

private:
    std::uint64_t state_;
};

// Normal data for a whole layer: input, bias and add of variance 1, weights of a deviation near 1 /
// sqrt(CI/groups * taps), so that outputs neither vanish nor saturate; scale around 1, prelu slopes around
// 1/4. Precondition: data_sizes(layer) has a value.
LayerData normal_data(const Layer &layer, std::uint64_t seed);

// Data for which every f32 evaluation of the layer is exact, whatever the order of its sums and with or
// without fused multiply-adds; then every schedule must agree with the reference bit for bit.
//
// Why: all numbers are multiples of 1/64, so each product is a multiple of 2^-12, and so on down the chain:
// after a stage every value and every partial sum of it is an integer in units of some 2^-u. An f32 holds all
// integers up to 2^24, so as long as the sum of the absolute values stays within that, no operation rounds.
// The numbers' range is the largest power of two (at most 64/64) for which the whole chain keeps within it.
//
// `spare_bits` lowers the limit to 2^(24 - spare_bits) for forms whose intermediate values are larger than
// the layer's own. Nothing when no range does, or when a stage rounds by itself: tanh, sigmoid, silu, gelu, a
// slope or a clamp that is no multiple of a small power of two, a bilinear factor that is no power of two.
// Precondition: data_sizes(layer) has a value.
std::optional<LayerData> exact_data(const Layer &layer, std::uint64_t seed, int spare_bits = 0);

// True if a stage of the layer is tanh, sigmoid, silu or gelu, whose values no data makes exact.
bool has_rounding_activation(const Layer &layer);

// Fills with NaN of varying payload: memory that a kernel must write, or must not read.
void fill_with_nan(std::span<float> memory, std::uint64_t seed);

} // namespace unstride::reference
