// Seeded fills, and the bookkeeping that shows when f32 arithmetic is exact.
#include "reference/random_data.h"

#include "compiler/language/shapes.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <numeric>

namespace unstride::reference {
namespace {

// The products of a stage with learned weights that one output sums at most: input channels of a group times
// taps.
std::int64_t fan_in(const StageOperation &operation, std::int64_t input_channels) {
    std::int64_t terms = 1;
    const auto count = [&](const auto &conv) {
        terms = input_channels / conv.groups;
        for (const std::int64_t k : conv.kernel)
            terms *= k;
    };
    if (const auto *conv = std::get_if<Conv>(&operation)) count(*conv);
    if (const auto *conv = std::get_if<TransposedConv>(&operation))
        if (conv->weights == WeightInitialiser::learned) count(*conv);
    return terms;
}

template<typename Draw>
std::vector<float> drawn(std::int64_t count, Draw draw) {
    std::vector<float> values(static_cast<std::size_t>(count));
    std::generate(values.begin(), values.end(), draw);
    return values;
}

// What is known of every value at one place of the chain: an integer of at most `largest` in units of
// 2^-unit_bits.
class ExactRange {
public:
    ExactRange(double largest, int unit_bits, double limit)
        : largest_(largest), unit_bits_(unit_bits), limit_(limit), exact_(largest <= limit) {}

    bool exact() const { return exact_; }

    // Values become sums whose absolute values add up to `growth` times as much, in units of 2^-bits times
    // the former.
    void multiply(double growth, int bits) {
        unit_bits_ += bits;
        set(std::ldexp(largest_ * growth, bits));
    }

    // A number of at most `value` in absolute terms, a multiple of the present unit, is added.
    void add(double value) { set(largest_ + std::ldexp(value, unit_bits_)); }

    // A number may take the place of a value.
    void replace_by(double value) {
        const double units = std::ldexp(value, unit_bits_);
        if (units != std::floor(units)) exact_ = false;
        set(std::max(largest_, std::abs(units)));
    }

    void give_up() { exact_ = false; }

private:
    void set(double largest) {
        largest_ = largest;
        if (!(largest <= limit_)) exact_ = false;
    }

    double largest_;
    int unit_bits_;
    double limit_;
    bool exact_;
};

// The filter's weights on one axis are odd multiples of 1 / 2^bits when the factor is a power of two.
void follow_bilinear(const PerAxis &factors, ExactRange &range) {
    for (const std::int64_t f : factors) {
        if (!std::has_single_bit(static_cast<std::uint64_t>(f))) return range.give_up();
        // At most two taps reach an output of the upsampling, of weights that sum to at most 1.
        range.multiply(1, std::countr_zero(static_cast<std::uint64_t>(f)) + 1);
    }
}

void follow(const Activation &activation, ExactRange &range) {
    switch (activation.kind) {
    case ActivationKind::relu:
        return;
    case ActivationKind::leaky_relu: {
        const double slope = activation.a * 64;
        if (slope != std::floor(slope)) return range.give_up();
        return range.multiply(std::max(1.0, std::abs(activation.a)), 6);
    }
    case ActivationKind::clamp:
        range.replace_by(activation.a);
        return range.replace_by(activation.b);
    default:
        return range.give_up();
    }
}

// Whether the chain is exact when all numbers are multiples of 1/64 within [-largest/64, largest/64], scales
// are powers of two within [1/2, 2] and slopes within [1/4, 1/2].
bool is_exact(const Layer &layer, std::int64_t largest, double limit) {
    const std::vector<Shape> shapes = infer_shapes(layer);
    const double range_of_values = static_cast<double>(largest) / 64;
    ExactRange range(static_cast<double>(largest), 6, limit);
    for (std::size_t k = 0; k < layer.stages.size(); ++k) {
        const StageOperation &operation = layer.stages[k].operation;
        const auto *transposed = std::get_if<TransposedConv>(&operation);
        if (transposed != nullptr && transposed->weights == WeightInitialiser::bilinear) {
            // Any kernel is allowed here: the weights are multiples of 1 / (2 ceil(kernel / 2)), at most 1,
            // and the taps of an axis that reach one output are stride / gcd(stride, dilation) apart.
            for (std::size_t axis = 0; axis < transposed->kernel.size(); ++axis) {
                const std::int64_t kernel = transposed->kernel[axis], stride = transposed->stride[axis];
                const std::int64_t apart = stride / std::gcd(stride, transposed->dilation[axis]);
                follow_bilinear({(kernel + 1) / 2}, range);
                range.multiply(static_cast<double>((kernel + apart - 1) / apart), 0);
            }
        } else if (transposed != nullptr || std::holds_alternative<Conv>(operation)) {
            range.multiply(static_cast<double>(fan_in(operation, shapes[k].channels)) * range_of_values, 6);
        } else if (const auto *bilinear = std::get_if<BilinearUpsample>(&operation)) {
            follow_bilinear(bilinear->factor, range);
        } else if (std::holds_alternative<Bias>(operation) || std::holds_alternative<Add>(operation)) {
            range.add(range_of_values);
        } else if (std::holds_alternative<Scale>(operation)) {
            range.multiply(2, 1);
        } else if (std::holds_alternative<Prelu>(operation)) {
            range.multiply(1, 2);
        } else if (const auto *activation = std::get_if<Activation>(&operation)) {
            follow(*activation, range);
        }
    }
    return range.exact();
}

} // namespace

std::uint64_t Random::next() {
    state_ += 0x9e3779b97f4a7c15u;
    std::uint64_t mixed = state_;
    mixed = (mixed ^ (mixed >> 30)) * 0xbf58476d1ce4e5b9u;
    mixed = (mixed ^ (mixed >> 27)) * 0x94d049bb133111ebu;
    return mixed ^ (mixed >> 31);
}

std::int64_t Random::integer(std::int64_t low, std::int64_t high) {
    const std::uint64_t count = static_cast<std::uint64_t>(high) - static_cast<std::uint64_t>(low) + 1;
    // count == 0 stands for all 2^64 values. The remainder's bias is below count / 2^64.
    const std::uint64_t offset = count == 0 ? next() : next() % count;
    return static_cast<std::int64_t>(static_cast<std::uint64_t>(low) + offset);
}

double Random::uniform() {
    return static_cast<double>(next() >> 11) * 0x1p-53;
}

double Random::normal() {
    double sum = -6;
    for (int k = 0; k < 12; ++k)
        sum += uniform();
    return sum;
}

LayerData normal_data(const Layer &layer, std::uint64_t seed) {
    const DataSizes sizes = *data_sizes(layer);
    const std::vector<Shape> shapes = infer_shapes(layer);
    double weight_deviation = 1;
    for (std::size_t k = 0; k < layer.stages.size(); ++k)
        weight_deviation /=
            std::sqrt(static_cast<double>(fan_in(layer.stages[k].operation, shapes[k].channels)));
    // A power of two: scaling by it is exact, so that compilers which fuse it with an addition give the same
    // numbers.
    weight_deviation = std::ldexp(1.0, std::ilogb(weight_deviation));
    Random random(seed);
    const auto normal = [&](double mean, double deviation) {
        return [&random, mean, deviation] { return static_cast<float>(mean + deviation * random.normal()); };
    };
    LayerData data;
    data.input = drawn(sizes.input, normal(0, 1));
    data.weights = drawn(sizes.weights, normal(0, weight_deviation));
    data.bias = drawn(sizes.bias, normal(0, 1));
    data.scale = drawn(sizes.scale, normal(1, 0.25));
    data.prelu = drawn(sizes.prelu, normal(0.25, 0.125));
    data.add = drawn(sizes.add, normal(0, 1));
    return data;
}

std::optional<LayerData> exact_data(const Layer &layer, std::uint64_t seed, int spare_bits) {
    const double limit = std::ldexp(1.0, 24 - spare_bits);
    std::int64_t largest = 64;
    while (largest > 0 && !is_exact(layer, largest, limit))
        largest /= 2;
    if (largest == 0) return std::nullopt;

    const DataSizes sizes = *data_sizes(layer);
    Random random(seed);
    const auto multiple = [&] { return static_cast<float>(random.integer(-largest, largest)) / 64; };
    LayerData data;
    data.input = drawn(sizes.input, multiple);
    data.weights = drawn(sizes.weights, multiple);
    data.bias = drawn(sizes.bias, multiple);
    data.scale =
        drawn(sizes.scale, [&] { return std::ldexp(1.0f, static_cast<int>(random.integer(-1, 1))); });
    data.prelu =
        drawn(sizes.prelu, [&] { return std::ldexp(1.0f, static_cast<int>(random.integer(-2, -1))); });
    data.add = drawn(sizes.add, multiple);
    return data;
}

bool has_rounding_activation(const Layer &layer) {
    return std::any_of(layer.stages.begin(), layer.stages.end(), [](const Stage &stage) {
        const auto *activation = std::get_if<Activation>(&stage.operation);
        return activation != nullptr && activation->kind != ActivationKind::relu &&
               activation->kind != ActivationKind::leaky_relu && activation->kind != ActivationKind::clamp;
    });
}

void fill_with_nan(std::span<float> memory, std::uint64_t seed) {
    Random random(seed);
    for (float &value : memory) {
        const auto payload = static_cast<std::uint32_t>(random.next()) & 0x803fffffu;
        value = std::bit_cast<float>(0x7fc00000u | payload);
    }
}

} // namespace unstride::reference
