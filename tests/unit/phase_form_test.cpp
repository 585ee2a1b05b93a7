// The phase form of a 1-D chain against the definitions of its stages, both in plain loops.
#include "compiler/language/parser.h"
#include "compiler/lowering/filters.h"
#include "compiler/lowering/phase_convolution.h"
#include "tests/unit/lowered_layer.h"

#include <gtest/gtest.h>

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <random>

namespace unstride {
namespace {

using Line = std::vector<std::vector<double>>; // [channel][position]

Line zeros(std::int64_t channels, std::int64_t size) {
    return Line(static_cast<std::size_t>(channels), std::vector<double>(static_cast<std::size_t>(size)));
}

std::int64_t length(const Line &line) {
    return static_cast<std::int64_t>(line[0].size());
}

// Kernel weights as the frameworks store them, by their three indices.
struct Weights {
    std::int64_t inner = 0, kernel = 0;
    std::vector<double> values;
    double at(std::int64_t outer_index, std::int64_t inner_index, std::int64_t t) const {
        return values[static_cast<std::size_t>((outer_index * inner + inner_index) * kernel + t)];
    }
};

std::int64_t shuffled_channel(ShuffleOrder order, std::int64_t c, std::int64_t channels, std::int64_t i,
                              std::int64_t factor) {
    return order == ShuffleOrder::crd ? c * factor + i : i * channels + c;
}

struct Definition {
    const Weights &weights;
    Line line;

    void operator()(const Conv &conv) {
        const std::int64_t ci_of_group = static_cast<std::int64_t>(line.size()) / conv.groups;
        const std::int64_t co_of_group = conv.output_channels / conv.groups;
        const std::int64_t size = length(line), pad = conv.pad.begin[0];
        const std::int64_t out_size =
            (size + pad + conv.pad.end[0] - conv.dilation[0] * (conv.kernel[0] - 1) - 1) / conv.stride[0] + 1;
        Line out = zeros(conv.output_channels, out_size);
        for (std::int64_t co = 0; co < conv.output_channels; co++)
            for (std::int64_t o = 0; o < out_size; o++)
                for (std::int64_t ci = 0; ci < ci_of_group; ci++)
                    for (std::int64_t t = 0; t < conv.kernel[0]; t++) {
                        const std::int64_t i = conv.stride[0] * o + conv.dilation[0] * t - pad;
                        if (0 <= i && i < size)
                            out[co][o] +=
                                weights.at(co, ci, t) * line[co / co_of_group * ci_of_group + ci][i];
                    }
        line = out;
    }

    void operator()(const TransposedConv &conv) {
        const auto input_channels = static_cast<std::int64_t>(line.size());
        const std::int64_t ci_of_group = input_channels / conv.groups;
        const std::int64_t co_of_group = conv.output_channels / conv.groups;
        const std::int64_t size = length(line), pad = conv.pad.begin[0];
        const std::int64_t out_size = conv.stride[0] * (size - 1) + conv.dilation[0] * (conv.kernel[0] - 1) +
                                      1 - pad - conv.pad.end[0] + conv.output_pad[0];
        Line out = zeros(conv.output_channels, out_size);
        for (std::int64_t ci = 0; ci < input_channels; ci++)
            for (std::int64_t i = 0; i < size; i++)
                for (std::int64_t co = 0; co < co_of_group; co++)
                    for (std::int64_t t = 0; t < conv.kernel[0]; t++) {
                        const std::int64_t o = conv.stride[0] * i + conv.dilation[0] * t - pad;
                        if (0 <= o && o < out_size)
                            out[ci / ci_of_group * co_of_group + co][o] +=
                                weights.at(ci, co, t) * line[ci][i];
                    }
        line = out;
    }

    void operator()(const PixelShuffle &shuffle) {
        const std::int64_t factor = shuffle.factor, channels = line.size() / factor;
        Line out = zeros(channels, length(line) * factor);
        for (std::int64_t c = 0; c < channels; c++)
            for (std::int64_t o = 0; o < length(out); o++)
                out[c][o] =
                    line[shuffled_channel(shuffle.order, c, channels, o % factor, factor)][o / factor];
        line = out;
    }

    void operator()(const PixelUnshuffle &unshuffle) {
        const std::int64_t factor = unshuffle.factor, channels = line.size();
        Line out = zeros(channels * factor, length(line) / factor);
        for (std::int64_t c = 0; c < channels; c++)
            for (std::int64_t i = 0; i < length(line); i++)
                out[shuffled_channel(unshuffle.order, c, channels, i % factor, factor)][i / factor] =
                    line[c][i];
        line = out;
    }

    void operator()(const NearestUpsample &upsample) {
        Line out = zeros(line.size(), length(line) * upsample.factor[0]);
        for (std::size_t c = 0; c < line.size(); c++)
            for (std::int64_t o = 0; o < length(out); o++)
                out[c][o] = line[c][o / upsample.factor[0]];
        line = out;
    }

    void operator()(const Crop &crop) {
        for (std::vector<double> &channel : line)
            channel = {channel.begin() + crop.from[0], channel.begin() + crop.from[0] + crop.size[0]};
    }

    template<typename Other>
    void operator()(const Other &) {
        FAIL() << "no such stage in these chains";
    }
};

// One output of the phase form.
double phase_sum(const PhaseConvolution &layer, const Weights &weights, const Line &in, std::int64_t c,
                 std::int64_t o) {
    const PhaseAxis &axis = layer.x();
    const std::int64_t u = o / axis.phase_count();
    const Phase &phase = axis.phases[o % axis.phase_count()];
    const std::int64_t produced = layer.output_channels * axis.shuffle; // channels before the shuffle
    const std::int64_t co =
        shuffled_channel(layer.shuffle_order, c, layer.output_channels, phase.shuffle_index, axis.shuffle);
    const std::int64_t group = co / (produced / layer.groups);
    double sum = 0;
    for (const Tap &tap : phase.taps) {
        const std::int64_t i = axis.input_stride * u + tap.input_offset;
        if (i < 0 || i >= length(in)) continue;
        if (layer.weights == WeightSource::none) {
            for (std::int64_t ci = 0; ci < layer.input_channels; ci++)
                if (shuffled_channel(layer.unshuffle_order, ci, layer.input_channels, tap.unshuffle_index,
                                     axis.unshuffle) == co)
                    sum += in[ci][i];
            continue;
        }
        const std::int64_t ci_of_group = layer.input_channels / layer.groups;
        for (std::int64_t k = 0; k < ci_of_group; k++) {
            const std::int64_t ci = group * ci_of_group + k;
            for (std::int64_t t = tap.kernel_begin; t < tap.kernel_begin + tap.kernel_count; t++) {
                const double weight = layer.input_channels_first
                                          ? weights.at(ci, co % (produced / layer.groups), t)
                                          : weights.at(co,
                                                       shuffled_channel(layer.unshuffle_order, k, ci_of_group,
                                                                        tap.unshuffle_index, axis.unshuffle),
                                                       t);
                sum += weight * in[ci][i];
            }
        }
    }
    return sum;
}

class Draw {
public:
    explicit Draw(unsigned seed) : engine(seed) {}
    std::int64_t number(std::int64_t low, std::int64_t high) {
        return low + static_cast<std::int64_t>(engine() % static_cast<unsigned long>(high - low + 1));
    }
    bool chance(int percent) { return number(1, 100) <= percent; }
    const char *order() { return chance(50) ? "" : ", order=dcr"; }

private:
    std::mt19937 engine;
};

// A chain of stages that move or multiply, in an order that composes. Some have no output and do not parse.
std::string random_chain(Draw &draw) {
    const std::int64_t groups = draw.chance(25) ? 2 : 1;
    const std::int64_t channels = groups * draw.number(1, 2), shuffle = draw.number(2, 3);
    const bool shuffles = groups == 1 && draw.chance(40);
    const std::int64_t outputs = groups * draw.number(1, 2) * (shuffles ? shuffle : 1);
    const auto conv = [&] {
        return fmt::format(" | conv({}, kernel={}, stride={}, dilation={}, pad={}:{}, groups={})", outputs,
                           draw.number(1, 6), draw.number(1, 4), draw.number(1, 3), draw.number(0, 4),
                           draw.number(0, 4), groups);
    };
    std::string before, after;
    std::int64_t multiple = 1;
    const std::int64_t form = draw.number(0, 5);
    switch (form) {
    case 0: {
        const std::int64_t stride = draw.number(1, 5), dilation = draw.number(1, 4);
        before = fmt::format(
            " | transposed_conv({}, kernel={}, stride={}, dilation={}, pad={}:{}, output_pad={}, groups={})",
            outputs, draw.number(1, 7), stride, dilation, draw.number(0, 5), draw.number(0, 5),
            draw.number(0, std::max(stride, dilation) - 1), groups);
        break;
    }
    case 1:
        before = conv();
        break;
    case 2:
        before = fmt::format(" | nearest_upsample({})", draw.number(2, 4)) + conv();
        break;
    case 3:
        if (groups > 1) return "";
        multiple = draw.number(2, 3);
        before = fmt::format(" | pixel_unshuffle({}{})", multiple, draw.order()) + conv();
        break;
    case 4:
        before = fmt::format(" | nearest_upsample({})", draw.number(2, 4));
        break;
    default:
        multiple = draw.number(2, 3);
        before = fmt::format(" | pixel_unshuffle({}{})", multiple, draw.order());
        break;
    }
    if (form < 4 && draw.chance(30))
        after += fmt::format(" | crop(from={}, size={})", draw.number(0, 5), draw.number(1, 6));
    if (form < 4 && shuffles) {
        after += fmt::format(" | pixel_shuffle({}{})", shuffle, draw.order());
        if (draw.chance(40))
            after += fmt::format(" | crop(from={}, size={})", draw.number(0, 5), draw.number(1, 6));
    }
    return fmt::format("input(f32, 1x{}x{})", multiple * draw.number(1, 8), channels) + before + after;
}

// What the header promises of every axis.
void check_form(const PhaseAxis &axis) {
    const TapProgression progression = axis.progression();
    std::int64_t least = std::numeric_limits<std::int64_t>::max();
    std::int64_t most = std::numeric_limits<std::int64_t>::min();
    constexpr std::int64_t outputs = 3;
    for (std::size_t q = 0; q < axis.phases.size(); q++) {
        const std::vector<Tap> &taps = axis.phases[q].taps;
        ASSERT_EQ(progression.count[q], static_cast<std::int64_t>(taps.size()));
        for (std::size_t j = 0; j < taps.size(); j++) {
            ASSERT_EQ(taps[j].input_offset, progression.first_input_offset[q] +
                                                static_cast<std::int64_t>(j) * progression.offset_step);
            least = std::min(least, taps[j].input_offset);
            most = std::max(most, taps[j].input_offset + axis.input_stride * (outputs - 1));
        }
    }
    ASSERT_GE(progression.offset_step, 1);
    if (axis.total_taps() == 0) return;
    ASSERT_LE(most - least + 1, axis.input_stride * outputs + axis.halo());
}

TEST(PhaseForm, EqualsTheDefinitionOfRandomChains) {
    int tested = 0;
    for (unsigned seed = 1; seed <= 4000; seed++) {
        Draw draw(seed);
        const std::string chain = random_chain(draw);
        const ParseResult result = parse_layer(chain, "layer");
        if (!result.ok()) continue; // its window or kernel lies outside
        tested++;
        SCOPED_TRACE(fmt::format("seed {}: {}", seed, chain));
        const Layer &layer = result.layers.at(0);
        const auto form = lower(layer);
        ASSERT_TRUE(std::holds_alternative<PhaseConvolution>(form)) << to_string(std::get<Diagnostic>(form));
        const PhaseConvolution &conv = std::get<PhaseConvolution>(form);
        Weights weights;
        if (!conv.weight_shape.empty()) {
            weights.inner = conv.weight_shape[1];
            weights.kernel = conv.weight_shape[2];
            for (std::int64_t i = 0; i < conv.weight_shape[0] * weights.inner * weights.kernel; i++)
                weights.values.push_back(static_cast<double>(draw.number(-9, 9)));
        }
        Line in = zeros(layer.input.channels, layer.input.spatial[0]);
        for (std::vector<double> &channel : in)
            for (double &value : channel)
                value = static_cast<double>(draw.number(-9, 9));
        Definition definition{weights, in};
        for (const Stage &stage : layer.stages)
            std::visit(definition, stage.operation);
        const Line &expected = definition.line;
        ASSERT_EQ(conv.output_channels, static_cast<std::int64_t>(expected.size()));
        ASSERT_EQ(conv.x().output_size, length(expected));
        ASSERT_EQ(conv.x().output_for(conv.x().input_size), length(expected));
        check_form(conv.x());
        for (std::int64_t c = 0; c < conv.output_channels; c++)
            for (std::int64_t o = 0; o < length(expected); o++)
                ASSERT_EQ(phase_sum(conv, weights, in, c, o), expected[c][o])
                    << "channel " << c << ", output " << o;
    }
    EXPECT_GT(tested, 2000);
}

// A line through a bilinear layer: the taps' filter weights times the input, its border pixels repeated or
// zero.
std::vector<double> filtered(const PhaseConvolution &layer, const std::vector<double> &in) {
    const PhaseAxis &axis = layer.x();
    const auto size = static_cast<std::int64_t>(in.size());
    std::vector<double> out;
    for (std::int64_t o = 0; o < axis.output_for(size); o++) {
        double sum = 0;
        for (const Tap &tap : axis.phases[o % axis.phase_count()].taps) {
            const std::int64_t i = o / axis.phase_count() + tap.input_offset;
            if (layer.edge == EdgeRule::zero && (i < 0 || i >= size)) continue;
            sum += axis.filter_weight(tap) * in[std::clamp<std::int64_t>(i, 0, size - 1)];
        }
        out.push_back(sum);
    }
    return out;
}

// The value between two pixels of a line whose ends go on.
double interpolated(const std::vector<double> &in, double position) {
    const auto last = static_cast<std::int64_t>(in.size()) - 1;
    const auto left = static_cast<std::int64_t>(std::floor(position));
    const double share = position - static_cast<double>(left);
    return (1 - share) * in[std::clamp<std::int64_t>(left, 0, last)] +
           share * in[std::clamp<std::int64_t>(left + 1, 0, last)];
}

TEST(PhaseForm, BilinearInterpolatesBetweenPixelCentres) {
    const std::vector<double> in = {3, -1, 4, 1, -5};
    for (int factor = 1; factor <= 7; factor++) {
        const auto layer = lowered(fmt::format("input(f32, 1x5x1) | bilinear_upsample({})", factor));
        const std::vector<double> out = filtered(layer, in);
        ASSERT_EQ(out.size(), in.size() * factor);
        for (std::size_t o = 0; o < out.size(); o++)
            EXPECT_NEAR(out[o], interpolated(in, (static_cast<double>(o) + 0.5) / factor - 0.5), 1e-12);
        const auto aligned =
            lowered(fmt::format("input(f32, 1x5x1) | bilinear_upsample({}, corners=aligned)", factor));
        const std::vector<double> corners = filtered(aligned, in);
        ASSERT_EQ(corners.size(), (in.size() - 1) * factor + 1);
        for (std::size_t o = 0; o < corners.size(); o++)
            EXPECT_NEAR(corners[o], interpolated(in, static_cast<double>(o) / factor), 1e-12);
    }
}

TEST(PhaseForm, BilinearFadesAtZeroEdges) {
    const std::vector<double> in(5, 1);
    for (int factor = 2; factor <= 6; factor++) {
        const std::vector<double> out = filtered(
            lowered(fmt::format("input(f32, 1x5x1) | bilinear_upsample({}, edge=zero)", factor)), in);
        for (int i = 0; i < factor / 2; i++)
            EXPECT_NEAR(out[i], (factor + 1.0 + 2 * i) / (2 * factor), 1e-12);
        EXPECT_NEAR(out[factor / 2], 1, 1e-12);
    }
}

TEST(Filters, BilinearIsTheTriangleOfTheFrameworks) {
    EXPECT_EQ(bilinear_filter(1), (std::vector<double>{1}));
    EXPECT_EQ(bilinear_filter(4), (std::vector<double>{0.25, 0.75, 0.75, 0.25}));
    const std::vector<double> three = bilinear_filter(3);
    EXPECT_DOUBLE_EQ(three[0], 0.5);
    EXPECT_DOUBLE_EQ(three[1], 1);
    EXPECT_DOUBLE_EQ(three[2], 0.5);
    PhaseAxis axis;
    axis.filter = {1, 10, 100, 1000};
    EXPECT_EQ(axis.filter_weight({1, 2, 0, 0}), 110);
    EXPECT_EQ(axis.filter_weight({0, 0, 5, 0}), 0); // a gap
}

} // namespace
} // namespace unstride
