// The lowering against the definitions of the stages, its form in cases worked out by hand, and its refusals.
#include "compiler/language/parser.h"
#include "compiler/lowering/costs.h"
#include "compiler/lowering/filters.h"
#include "compiler/lowering/phase_convolution.h"

#include <gtest/gtest.h>

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <random>

namespace unstride {
namespace {

Layer parsed(const std::string &chain) {
    const ParseResult result = parse_layer(chain, "layer");
    EXPECT_TRUE(result.ok()) << chain << ": " << (result.ok() ? "" : to_string(result.errors[0]));
    return result.layers.at(0);
}

PhaseConvolution lowered(const std::string &chain) {
    auto result = lower(parsed(chain));
    if (const auto *refusal = std::get_if<Diagnostic>(&result)) ADD_FAILURE() << to_string(*refusal);
    return std::get<PhaseConvolution>(result);
}

using Taps = std::vector<Tap>;

// ---- The phase form of a 1-D chain against its definition, both in plain loops
// --------------------------------

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
        const Taps &taps = axis.phases[q].taps;
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

// ---- Phases by hand: {first kernel element, count, input offset, pixel of the unshuffle block}
// ----------------

TEST(Phases, TransposedConvolutionTakesEveryStrideThElementBackwards) {
    const auto phases = transposed_conv_phases(4, 2, 1, 1);
    ASSERT_EQ(phases.size(), 2u);
    EXPECT_EQ(phases[0].taps, (Taps{{3, 1, -1, 0}, {1, 1, 0, 0}}));
    EXPECT_EQ(phases[1].taps, (Taps{{2, 1, 0, 0}, {0, 1, 1, 0}}));
    const auto unequal = transposed_conv_phases(5, 3, 1, 0);
    EXPECT_EQ(unequal[0].taps.size(), 2u);
    EXPECT_EQ(unequal[1].taps.size(), 2u);
    EXPECT_EQ(unequal[2].taps, (Taps{{2, 1, 0, 0}}));
}

TEST(Phases, HolesAreEmpty) {
    const auto phases = transposed_conv_phases(1, 3, 1, 0);
    EXPECT_EQ(phases[0].taps.size(), 1u);
    EXPECT_TRUE(phases[1].taps.empty());
    EXPECT_TRUE(phases[2].taps.empty());
    // stride and dilation share the factor 2: every tap lands in the even phases
    const auto shared = transposed_conv_phases(3, 2, 2, 0);
    EXPECT_EQ(shared[0].taps, (Taps{{2, 1, -2, 0}, {1, 1, -1, 0}, {0, 1, 0, 0}}));
    EXPECT_TRUE(shared[1].taps.empty());
    // a factor in common that is neither of them: taps 4 / gcd(6, 4) = 2 inputs apart, in every other phase
    const auto six = transposed_conv_phases(4, 6, 4, 0);
    EXPECT_EQ(six[0].taps, (Taps{{3, 1, -2, 0}, {0, 1, 0, 0}}));
    EXPECT_EQ(six[4].taps, (Taps{{1, 1, 0, 0}}));
    EXPECT_TRUE(six[1].taps.empty() && six[3].taps.empty() && six[5].taps.empty());
}

TEST(Phases, ConvolutionIsOnePhase) {
    EXPECT_EQ(conv_phases(3, 2, 3, 2),
              (std::vector<Phase>{{{{0, 1, -2, 0}, {1, 1, 1, 0}, {2, 1, 4, 0}}, 0}}));
}

TEST(Phases, NearestThenConvolutionSumsElementsOfOnePixel) {
    const auto two = conv_phases(3, 1, 1, 1, 2);
    ASSERT_EQ(two.size(), 2u);
    EXPECT_EQ(two[0].taps, (Taps{{0, 1, -1, 0}, {1, 2, 0, 0}}));
    EXPECT_EQ(two[1].taps, (Taps{{0, 2, 0, 0}, {2, 1, 1, 0}}));
    // stride 2 over an image 3 times the input: 3 phases, which move on by 2 inputs
    const auto three = conv_phases(5, 2, 1, 2, 3);
    ASSERT_EQ(three.size(), 3u);
    EXPECT_EQ(three[0].taps, (Taps{{0, 2, -1, 0}, {2, 3, 0, 0}}));
    EXPECT_EQ(three[1].taps, (Taps{{0, 3, 0, 0}, {3, 2, 1, 0}}));
    EXPECT_EQ(three[2].taps, (Taps{{0, 1, 0, 0}, {1, 3, 1, 0}, {4, 1, 2, 0}}));
    const PhaseAxis axis =
        lowered("input(f32, 1x5x1) | nearest_upsample(3) | conv(1, kernel=5, stride=2, pad=2)").x();
    EXPECT_EQ(axis.input_stride, 2);
    EXPECT_EQ(axis.phases, three);
    // a stride that the factor divides: a strided convolution of the input
    const PhaseAxis strided =
        lowered("input(f32, 1x5x1) | nearest_upsample(2) | conv(1, kernel=4, stride=4)").x();
    EXPECT_EQ(strided.input_stride, 2);
    EXPECT_EQ(strided.phases, (std::vector<Phase>{{{{0, 2, 0, 0}, {2, 2, 1, 0}}, 0}}));
}

TEST(Phases, UnshuffledConvolutionReadsWholeBlocks) {
    EXPECT_EQ(unshuffled_conv_phases(2, 1, 1, 2),
              (std::vector<Phase>{{{{0, 1, -2, 0}, {0, 1, -1, 1}, {1, 1, 0, 0}, {1, 1, 1, 1}}, 0}}));
    // dilated: two input pixels between the blocks that are read become taps of weight zero
    EXPECT_EQ(unshuffled_conv_phases(2, 2, 0, 2)[0].taps,
              (Taps{{0, 1, 0, 0}, {0, 1, 1, 1}, {0, 0, 2, 0}, {0, 0, 3, 0}, {1, 1, 4, 0}, {1, 1, 5, 1}}));
    const PhaseAxis axis =
        lowered("input(f32, 1x12x1) | pixel_unshuffle(3) | conv(1, kernel=2, stride=2)").x();
    EXPECT_EQ(axis.input_stride, 6);
    EXPECT_EQ(axis.unshuffle, 3);
}

TEST(Phases, ShuffleSplitsEveryPhase) {
    const auto phases = shuffled_phases(transposed_conv_phases(4, 2, 1, 1), 2);
    ASSERT_EQ(phases.size(), 4u);
    const auto before = transposed_conv_phases(4, 2, 1, 1);
    for (std::size_t q = 0; q < 4; q++) {
        EXPECT_EQ(phases[q].taps, before[q / 2].taps);
        EXPECT_EQ(phases[q].shuffle_index, static_cast<std::int64_t>(q % 2));
    }
}

TEST(Phases, CropRotates) {
    const auto before = transposed_conv_phases(3, 3, 1, 0); // one tap a phase at offset 0
    const auto cut = cropped_phases(before, 4, 1);
    EXPECT_EQ(cut[0].taps, (Taps{{1, 1, 1, 0}}));
    EXPECT_EQ(cut[1].taps, (Taps{{2, 1, 1, 0}}));
    EXPECT_EQ(cut[2].taps, (Taps{{0, 1, 2, 0}}));
    const auto strided = cropped_phases(conv_phases(1, 3, 1, 0), 2, 3);
    EXPECT_EQ(strided[0].taps, (Taps{{0, 1, 6, 0}}));
    const PhaseAxis shuffled =
        lowered("input(f32, 1x5x4) | conv(4, kernel=1) | pixel_shuffle(2) | crop(from=3, size=4)").x();
    EXPECT_EQ(shuffled.phases, (std::vector<Phase>{{{{0, 1, 1, 0}}, 1}, {{{0, 1, 2, 0}}, 0}}));
}

TEST(Phases, SpacingKeepsPhasesApartAndFillsTheirGaps) {
    std::vector<Phase> phases = {
        {{{0, 1, 0, 0}, {1, 1, 4, 0}}, 0}, {{{2, 1, 1, 0}, {3, 1, 3, 0}}, 0}, {{}, 0}};
    space_evenly(&phases);
    EXPECT_EQ(phases[0].taps, (Taps{{0, 1, 0, 0}, {0, 0, 2, 0}, {1, 1, 4, 0}}));
    EXPECT_EQ(phases[1].taps, (Taps{{2, 1, 1, 0}, {3, 1, 3, 0}}));
    EXPECT_TRUE(phases[2].taps.empty());
    std::vector<Phase> single = {{{{0, 1, 7, 0}}, 0}};
    space_evenly(&single);
    EXPECT_EQ(single[0].taps, (Taps{{0, 1, 7, 0}}));
}

TEST(PhaseAxis, CountsTaps) {
    PhaseAxis axis;
    axis.phases = transposed_conv_phases(5, 3, 1, 0);
    EXPECT_EQ(axis.max_taps(), 2);
    EXPECT_EQ(axis.total_taps(), 5);
    EXPECT_EQ(axis.taps_over(7), 3 * 2 + 2 * 2 + 2 * 1);
    EXPECT_EQ(axis.taps_over(0), 0);
    EXPECT_EQ(axis.taps_over(1), 2);
    EXPECT_FALSE(axis.same_taps());
    axis.phases = transposed_conv_phases(4, 2, 1, 1);
    EXPECT_EQ(axis.halo(), 2);
    EXPECT_FALSE(axis.same_taps());
    axis.phases = shuffled_phases(conv_phases(3, 1, 1, 1), 3);
    EXPECT_TRUE(axis.same_taps());
    EXPECT_EQ(axis.halo(), 2);
    axis.phases = transposed_conv_phases(1, 3, 1, 2); // only the first-but-one of three has a tap
    EXPECT_EQ(axis.halo(), 0);
    EXPECT_EQ(axis.progression().first_input_offset, (std::vector<std::int64_t>{1, 1, 1}));
}

// ---- Sizes
// ----------------------------------------------------------------------------------------------------

TEST(Sizes, StepsFollowTheStages) {
    const PhaseAxis axis =
        lowered("input(f32, ?x?x2) | pixel_unshuffle(3) | conv(4, kernel=3, stride=2, pad=1) "
                "| bias | pixel_shuffle(2) | crop(from=1, size=4)")
            .x();
    EXPECT_EQ(axis.sizes, (std::vector<SizeStep>{
                              {{1, 0, 3}, 1, 3}, {{1, 1, 2}, 1, 1}, {{2, 0, 1}, 1, 1}, {{0, 4, 1}, 5, 1}}));
    EXPECT_EQ(axis.input_size, dynamic_size);
    EXPECT_EQ(axis.output_size, 4);
    EXPECT_EQ(axis.output_for(12), 4);
}

TEST(Sizes, AreOfEachAxis) {
    const PhaseConvolution layer =
        lowered("input(f32, 2x?x9x8) | transposed_conv(4, kernel=3x4, stride=2x1, pad=1:0x0) | relu");
    EXPECT_EQ(layer.y().output_for(10), 20);
    EXPECT_EQ(layer.y().output_size, dynamic_size);
    EXPECT_EQ(layer.x().output_size, 12);
    EXPECT_EQ(layer.x().sizes.size(), 1u);
    EXPECT_TRUE(lowered("input(f32, 1x?x?x4) | conv(4, kernel=3, pad=1)").x().sizes.empty());
    EXPECT_EQ(lowered("input(f32, 1x?x?x4) | conv(4, kernel=3, pad=1)").x().output_for(7), 7);
}

TEST(Sizes, PaddingRulesBecomeNumbers) {
    // SAME with a kernel smaller than the stride: rows beyond the last tap appear at the end
    const PhaseConvolution layer =
        lowered("input(f32, 1x5x5x4) | transposed_conv(4, kernel=2, stride=3, pad=same)");
    EXPECT_EQ(layer.y().output_size, 15);
    EXPECT_EQ(layer.y().phases[0].taps.size(), 1u);
    EXPECT_TRUE(layer.y().phases[2].taps.empty());
    const PhaseConvolution sized =
        lowered("input(f32, 1x5x5x4) | transposed_conv(4, kernel=3, stride=2, pad=1, output_size=10)");
    EXPECT_EQ(sized.x().output_size, 10);
    // an odd total of padding: the larger part last, or first
    EXPECT_EQ(lowered("input(f32, 1x6x4) | conv(4, kernel=4, pad=same)").x().phases[0].taps[0].input_offset,
              -1);
    EXPECT_EQ(
        lowered("input(f32, 1x6x4) | conv(4, kernel=4, pad=same_lower)").x().phases[0].taps[0].input_offset,
        -2);
}

// ---- The layer around the axes
// --------------------------------------------------------------------------------

TEST(Lowering, OneSpatialAxisIsTheLastOfTwo) {
    const PhaseConvolution layer = lowered("input(f32, 1x6x4) | bilinear_upsample(2)");
    ASSERT_EQ(layer.axes.size(), 2u);
    EXPECT_EQ(layer.spatial_axes, 1);
    EXPECT_EQ(layer.y().input_size, 1);
    EXPECT_EQ(layer.y().output_size, 1);
    EXPECT_EQ(layer.y().output_for(1), 1);
    EXPECT_EQ(layer.y().phases, (std::vector<Phase>{{{{0, 1, 0, 0}}, 0}}));
    EXPECT_EQ(layer.y().filter, (std::vector<double>{1}));
    EXPECT_EQ(layer.x().output_size, 12);
    EXPECT_TRUE(lowered("input(f32, 1x6x4) | conv(4, kernel=3)").y().filter.empty());
}

TEST(Lowering, ThreeSpatialAxesKeepTheirOrder) {
    const PhaseConvolution layer =
        lowered("input(f32, 1x8x5x6x7, layout=nchw) | transposed_conv(4, "
                "kernel=2x3x4, stride=1x2x3, pad=0x1x0) | crop(from=0x1x2, size=6x9x10)");
    ASSERT_EQ(layer.axes.size(), 3u);
    EXPECT_EQ(layer.layout, Layout::nchw);
    EXPECT_EQ(layer.axes[0].kernel, 2);
    EXPECT_EQ(layer.axes[0].phase_count(), 1);
    EXPECT_EQ(layer.y().kernel, 3);
    EXPECT_EQ(layer.y().output_size, 9);
    EXPECT_EQ(layer.x().phase_count(), 3);
    EXPECT_EQ(layer.x().output_size, 10);
    EXPECT_EQ(layer.weight_shape, (std::vector<std::int64_t>{8, 4, 2, 3, 4}));
    EXPECT_TRUE(layer.input_channels_first);
}

TEST(Lowering, WeightSources) {
    const auto source = [](const std::string &chain) { return lowered(chain).weights; };
    EXPECT_EQ(source("input(f32, 1x4x4x4) | conv(4, kernel=1)"), WeightSource::learned);
    EXPECT_EQ(source("input(f32, 1x4x4x4) | transposed_conv(4, kernel=2, weights=bilinear)"),
              WeightSource::filter);
    EXPECT_EQ(source("input(f32, 1x4x4x4) | bilinear_upsample(2)"), WeightSource::filter);
    for (const char *moves : {"pixel_shuffle(2)", "pixel_unshuffle(2)", "nearest_upsample(2)", "relu",
                              "crop(from=1, size=2)", "bias | add"})
        EXPECT_EQ(source(std::string("input(f32, 1x4x4x4) | ") + moves), WeightSource::none);
    EXPECT_TRUE(lowered("input(f32, 1x4x4x4) | bilinear_upsample(2)").weight_shape.empty());
    EXPECT_EQ(lowered("input(f32, 1x4x4x4) | bilinear_upsample(2)").edge, EdgeRule::replicate);
    EXPECT_EQ(lowered("input(f32, 1x4x4x4) | bilinear_upsample(2, edge=zero)").edge, EdgeRule::zero);
    EXPECT_EQ(lowered("input(f32, 1x4x4x4) | transposed_conv(4, kernel=4, weights=bilinear)").edge,
              EdgeRule::zero);
}

TEST(Lowering, DepthwiseLayersAreOneKernel) {
    const auto check = [](const std::string &chain, bool depthwise, std::int64_t kernel_groups,
                          std::int64_t channels_per_output, std::int64_t kernel_output_channels) {
        const PhaseConvolution layer = lowered(chain);
        EXPECT_EQ(layer.depthwise(), depthwise) << chain;
        EXPECT_EQ(layer.kernel_groups(), kernel_groups) << chain;
        EXPECT_EQ(layer.channels_per_output(), channels_per_output) << chain;
        EXPECT_EQ(layer.kernel_output_channels(), kernel_output_channels) << chain;
    };
    check("input(f32, 1x4x4x12) | conv(12, kernel=3, groups=12)", true, 1, 1, 12);
    check("input(f32, 1x4x4x12) | conv(24, kernel=3, groups=12)", false, 12, 1, 2);
    check("input(f32, 1x4x4x12) | conv(12, kernel=3, groups=3)", false, 3, 4, 4);
    check("input(f32, 1x4x4x12) | conv(12, kernel=3, groups=12) | pixel_shuffle(2)", true, 1, 1, 3);
    check("input(f32, 1x4x4x12) | transposed_conv(12, kernel=4, weights=bilinear)", true, 1, 1, 12);
    check("input(f32, 1x4x4x12) | pixel_unshuffle(2)", true, 1, 1, 48);
    check("input(f32, 1x4x4x1) | conv(1, kernel=3)", false, 1, 1, 1);
    EXPECT_EQ(lowered("input(f32, 1x4x4x12) | conv(12, kernel=3, groups=3)").kernel_input_channels(), 4);
    EXPECT_EQ(lowered("input(f32, 1x4x4x12) | conv(12, kernel=3, groups=12)").kernel_input_channels(), 12);
}

TEST(Lowering, BlocksAreProductsOfTheFactors) {
    const PhaseConvolution shuffled = lowered("input(f32, 1x4x4x4x16) | pixel_shuffle(2, order=dcr)");
    EXPECT_EQ(shuffled.shuffle_block(), 8);
    EXPECT_EQ(shuffled.unshuffle_block(), 1);
    EXPECT_EQ(shuffled.shuffle_order, ShuffleOrder::dcr);
    EXPECT_EQ(shuffled.unshuffle_order, ShuffleOrder::crd);
    const PhaseConvolution unshuffled = lowered("input(f32, 1x6x3) | pixel_unshuffle(3, order=dcr)");
    EXPECT_EQ(unshuffled.unshuffle_block(), 3);
    EXPECT_EQ(unshuffled.unshuffle_order, ShuffleOrder::dcr);
}

std::vector<std::string> names(const std::vector<EpilogueStage> &stages) {
    std::vector<std::string> result;
    for (const EpilogueStage &stage : stages)
        result.push_back(std::string(stage_name(stage.operation)) + (stage.before_shuffle ? " before" : ""));
    return result;
}

using Names = std::vector<std::string>;

TEST(Lowering, ActivationsBeforeTheConvolutionActOnTheInput) {
    const PhaseConvolution layer =
        lowered("input(f32, 2x?x9x8) | leaky_relu(0.1) | nearest_upsample(2) | tanh | conv(4, kernel=3x1, "
                "pad=1:0x0) | relu | bias | add | clamp(0, 6)");
    ASSERT_EQ(layer.prologue.size(), 2u);
    EXPECT_EQ(layer.prologue[0].kind, ActivationKind::leaky_relu);
    EXPECT_EQ(layer.prologue[1].kind, ActivationKind::tanh);
    EXPECT_EQ(names(layer.epilogue), (Names{"relu", "bias", "add", "clamp"}));
    EXPECT_TRUE(layer.folded.empty());
    EXPECT_TRUE(layer.has_add());
    EXPECT_EQ(layer.batch, 2);
    const PhaseConvolution moved = lowered("input(f32, 1x4x4x4) | relu | pixel_shuffle(2) | tanh");
    EXPECT_TRUE(moved.prologue.empty());
    EXPECT_EQ(names(moved.epilogue), (Names{"relu before", "tanh"}));
}

TEST(Lowering, BiasAndScaleRightAfterLearnedWeightsAreFolded) {
    const PhaseConvolution layer =
        lowered("input(f32, 1x4x4x4) | conv(8, kernel=1) | bias | scale | prelu | relu");
    EXPECT_EQ(names(layer.folded), (Names{"bias", "scale"}));
    EXPECT_EQ(names(layer.epilogue), (Names{"prelu", "relu"}));
    EXPECT_EQ(names(layer.channel_parameters()), (Names{"bias", "prelu"}));
    EXPECT_EQ(layer.parameter_count<Bias>(), 8);
    EXPECT_EQ(layer.parameter_count<Scale>(), 8);
    EXPECT_EQ(layer.parameter_count<Prelu>(), 8);
    const PhaseConvolution scaled = lowered("input(f32, 1x4x4x4) | conv(8, kernel=1) | scale | add | bias");
    EXPECT_EQ(names(scaled.folded), (Names{"scale"}));
    EXPECT_EQ(names(scaled.channel_parameters()), (Names{"bias"}));
    EXPECT_EQ(scaled.parameter_count<Prelu>(), 0);
    const PhaseConvolution filter =
        lowered("input(f32, 1x4x4x4) | bilinear_upsample(2) | scale | relu | bias");
    EXPECT_TRUE(filter.folded.empty());
    EXPECT_EQ(names(filter.channel_parameters()), (Names{"scale", "bias"}));
}

TEST(Lowering, ParametersBeforeAShuffleCountItsInput) {
    const PhaseConvolution layer = lowered(
        "input(f32, 1x4x4x4) | conv(12, kernel=1) | scale | relu | prelu | pixel_shuffle(2) | bias | add");
    EXPECT_EQ(names(layer.folded), (Names{"scale before"}));
    EXPECT_EQ(names(layer.channel_parameters()), (Names{"prelu before", "bias"}));
    EXPECT_TRUE(layer.parameters_before_shuffle());
    EXPECT_EQ(layer.output_channels, 3);
    EXPECT_EQ(layer.parameter_count<Scale>(), 12);
    EXPECT_EQ(layer.parameter_count<Prelu>(), 12);
    EXPECT_EQ(layer.parameter_count<Bias>(), 3);
    // a bias after the shuffle and a scale before it make one bias that differs by pixel
    const PhaseConvolution mixed =
        lowered("input(f32, 1x4x4x4) | conv(12, kernel=1) | scale | pixel_shuffle(2) | bias");
    EXPECT_EQ(names(mixed.folded), (Names{"scale before", "bias"}));
    EXPECT_FALSE(lowered("input(f32, 1x4x4x4) | conv(12, kernel=1) | pixel_shuffle(2) | bias")
                     .parameters_before_shuffle());
    EXPECT_TRUE(lowered("input(f32, 1x4x4x4) | conv(12, kernel=1) | bias | pixel_shuffle(2)")
                    .parameters_before_shuffle());
}

// ---- Costs
// ----------------------------------------------------------------------------------------------------

TEST(Costs, KernelThreeStrideTwoCostsNineTaps) {
    const PhaseConvolution layer =
        lowered("input(f32, 1x64x64x256) | transposed_conv(128, kernel=3, stride=2, pad=1, output_pad=1)");
    EXPECT_EQ(layer.y().total_taps() * layer.x().total_taps(), 9);
    EXPECT_DOUBLE_EQ(multiplications_per_output(layer), 256 * 9 / 4.0);
    const Costs cost = costs(layer, 1, {64, 64});
    EXPECT_DOUBLE_EQ(cost.multiplications, 9.0 * 64 * 64 * 256 * 128);
    EXPECT_DOUBLE_EQ(cost.zero_insertion, 9.0 * 128 * 128 * 256 * 128);
    EXPECT_DOUBLE_EQ(cost.matrix_product, 9.0 * 64 * 64 * 256 * 128);
    EXPECT_DOUBLE_EQ(cost.column_buffer_bytes, 9.0 * 64 * 64 * 128 * 4);
    EXPECT_DOUBLE_EQ(cost.tensor_bytes, 4.0 * (64 * 64 * 256 + 128 * 128 * 128 + 9 * 256 * 128));
}

TEST(Costs, NearestThenConvolutionSavesTwoAndAQuarter) {
    const PhaseConvolution layer =
        lowered("input(f32, 1x16x16x8) | nearest_upsample(2) | conv(4, kernel=3, pad=1)");
    EXPECT_DOUBLE_EQ(multiplications_per_output(layer), 8 * 9 / 2.25);
    const Costs cost = costs(layer, 3, {16, 16});
    EXPECT_DOUBLE_EQ(cost.multiplications, 3.0 * 32 * 32 * 4 * 8 * 4);
    EXPECT_DOUBLE_EQ(cost.zero_insertion / cost.multiplications, 2.25);
}

TEST(Costs, DepthwiseLayersReadOneChannel) {
    EXPECT_DOUBLE_EQ(multiplications_per_output(lowered(
                         "input(f32, 1x8x8x32) | transposed_conv(32, kernel=4, stride=2, pad=1, groups=32)")),
                     4);
    EXPECT_DOUBLE_EQ(
        multiplications_per_output(lowered("input(f32, 1x8x8x32) | conv(64, kernel=3, groups=4)")), 8 * 9);
    EXPECT_DOUBLE_EQ(
        multiplications_per_output(lowered("input(f32, 1x8x8x21) | transposed_conv(21, kernel=4, stride=2, "
                                           "weights=bilinear)")),
        4);
}

TEST(Costs, UnshuffledConvolutionMultipliesEveryInputOfItsBlocks) {
    EXPECT_DOUBLE_EQ(
        multiplications_per_output(lowered("input(f32, 1x8x8x3) | pixel_unshuffle(2) | conv(16, kernel=3)")),
        3 * 4 * 9);
}

TEST(Costs, OfOtherWaysAreThoseOfTheConvolutionBetweenRearrangements) {
    const Costs unshuffled =
        costs(lowered("input(f32, 1x8x8x3) | pixel_unshuffle(2) | conv(16, kernel=3, pad=1)"), 1, {8, 8});
    EXPECT_DOUBLE_EQ(unshuffled.multiplications, 16.0 * 12 * 9 * 16);
    EXPECT_DOUBLE_EQ(unshuffled.zero_insertion, 16.0 * 12 * 9 * 16);
    EXPECT_DOUBLE_EQ(unshuffled.matrix_product, 16.0 * 12 * 9 * 16);
    EXPECT_DOUBLE_EQ(unshuffled.column_buffer_bytes, 16.0 * 12 * 9 * 4);
    EXPECT_DOUBLE_EQ(unshuffled.tensor_bytes, 4.0 * (64 * 3 + 16 * 16 + 12 * 9 * 16));
    const Costs shuffled =
        costs(lowered("input(f32, 1x8x8x3) | conv(16, kernel=3, pad=1) | pixel_shuffle(2)"), 1, {8, 8});
    EXPECT_DOUBLE_EQ(shuffled.multiplications, 64.0 * 3 * 9 * 16);
    EXPECT_DOUBLE_EQ(shuffled.zero_insertion, 64.0 * 3 * 9 * 16);
    EXPECT_DOUBLE_EQ(shuffled.matrix_product, 64.0 * 3 * 9 * 16);
    EXPECT_DOUBLE_EQ(shuffled.column_buffer_bytes, 64.0 * 3 * 9 * 4);
    EXPECT_DOUBLE_EQ(shuffled.tensor_bytes, 4.0 * (64 * 3 + 64 * 16 + 3 * 9 * 16));
}

TEST(Costs, OfATransposedConvolutionBeforeAShuffleCountAllItsChannels) {
    const Costs cost =
        costs(lowered("input(f32, 1x8x8x3) | transposed_conv(16, kernel=2, stride=2) | pixel_shuffle(2)"), 1,
              {8, 8});
    EXPECT_DOUBLE_EQ(cost.multiplications, 64.0 * 3 * 4 * 16);
    EXPECT_DOUBLE_EQ(cost.matrix_product, 64.0 * 3 * 4 * 16);
    EXPECT_DOUBLE_EQ(cost.column_buffer_bytes, 64.0 * 4 * 16 * 4);
}

TEST(Costs, MovesMultiplyNothing) {
    for (const char *chain :
         {"pixel_shuffle(2)", "nearest_upsample(2)", "pixel_unshuffle(2) | bias", "relu"}) {
        const PhaseConvolution layer = lowered(std::string("input(f32, 1x8x8x4) | ") + chain);
        EXPECT_EQ(multiplications_per_output(layer), 0) << chain;
        EXPECT_EQ(costs(layer, 2, {8, 8}).multiplications, 0) << chain;
    }
    const PhaseConvolution layer = lowered("input(f32, 1x8x8x4) | pixel_shuffle(2) | add");
    EXPECT_GE(costs(layer, 2, {8, 8}).tensor_bytes, 4.0 * 2 * 3 * 256);
}

// ---- Refusals
// -------------------------------------------------------------------------------------------------

// Expects the refusal to stand at the last stage of that name.
void expect_refusal(const std::string &stages, const std::string &stage, const std::string &message) {
    const std::string chain = "input(f32, 1x8x8x8) | " + stages;
    const auto result = lower(parsed(chain));
    ASSERT_TRUE(std::holds_alternative<Diagnostic>(result)) << chain;
    const Diagnostic &refusal = std::get<Diagnostic>(result);
    EXPECT_EQ(refusal.stage, stage) << chain;
    EXPECT_EQ(refusal.message, message) << chain;
    EXPECT_EQ(refusal.position.line, 1) << chain;
    EXPECT_EQ(refusal.position.column, static_cast<int>(chain.rfind(stage)) + 1) << chain;
}

constexpr const char *second = "; begin a second layer here";

TEST(Refusals, OtherTypes) {
    for (const char *type : {"f16", "bf16", "i8"}) {
        const auto result = lower(parsed(std::string("input(") + type + ", 1x4x4x4) | conv(4, kernel=1)"));
        ASSERT_TRUE(std::holds_alternative<Diagnostic>(result)) << type;
        EXPECT_EQ(to_string(std::get<Diagnostic>(result)), "layer:1:1: input: only f32 can be compiled yet");
    }
}

TEST(Refusals, WhatDecidesTheReadInputsComesFirst) {
    const std::pair<const char *, const char *> late[] = {{"conv", "conv(8, kernel=1)"},
                                                          {"transposed_conv", "transposed_conv(8, kernel=1)"},
                                                          {"bilinear_upsample", "bilinear_upsample(2)"},
                                                          {"pixel_unshuffle", "pixel_unshuffle(2)"},
                                                          {"nearest_upsample", "nearest_upsample(2)"}};
    const std::pair<const char *, const char *> earlier[] = {
        {"a convolution or bilinear_upsample", "conv(8, kernel=1)"},
        {"a convolution or bilinear_upsample", "transposed_conv(8, kernel=2, stride=2) | relu"},
        {"a convolution or bilinear_upsample", "bilinear_upsample(2)"},
        {"a per-channel stage or add", "bias"},
        {"a per-channel stage or add", "relu | add"},
        {"pixel_shuffle", "pixel_shuffle(2)"},
        {"crop", "crop(from=1, size=4)"}};
    for (const auto &[stage, text] : late) {
        for (const auto &[what, first] : earlier)
            expect_refusal(std::string(first) + " | " + text, stage,
                           fmt::format("cannot follow {} in one kernel{}", what, second));
    }
}

TEST(Refusals, OneRearrangementBeforeAConvolution) {
    for (const char *first : {"pixel_unshuffle(2)", "nearest_upsample(2)"}) {
        const std::string name = std::string(first).substr(0, std::string(first).find('('));
        for (const char *then : {"transposed_conv(8, kernel=1)", "bilinear_upsample(2)"})
            expect_refusal(std::string(first) + " | relu | " + then,
                           std::string(then).substr(0, std::string(then).find('(')),
                           fmt::format("cannot follow {} in one kernel{}", name, second));
        for (const char *then : {"pixel_unshuffle(2)", "nearest_upsample(2)"})
            expect_refusal(std::string(first) + " | " + then,
                           std::string(then).substr(0, std::string(then).find('(')),
                           fmt::format("cannot follow another rearrangement in one kernel{}", second));
        expect_refusal(std::string(first) + " | pixel_shuffle(2)", "pixel_shuffle",
                       fmt::format("cannot follow {} in one kernel{}", name, second));
    }
    expect_refusal("pixel_unshuffle(2) | conv(8, kernel=1, groups=2)", "conv",
                   fmt::format("groups must be 1 after pixel_unshuffle in one kernel{}", second));
    expect_refusal("pixel_unshuffle(2) | crop(from=1, size=2)", "crop",
                   fmt::format("cannot follow pixel_unshuffle in one kernel{}", second));
}

TEST(Refusals, BilinearWeightsKeepTheChannels) {
    expect_refusal("transposed_conv(16, kernel=4, stride=2, weights=bilinear)", "transposed_conv",
                   "weights=bilinear needs as many output as input channels to be compiled, got 16 and 8");
}

TEST(Refusals, ShufflesAndCrops) {
    expect_refusal("conv(16, kernel=1) | pixel_shuffle(2) | pixel_shuffle(2)", "pixel_shuffle",
                   fmt::format("stands twice in one chain{}", second));
    expect_refusal("conv(8, kernel=1) | add | pixel_shuffle(2)", "pixel_shuffle",
                   fmt::format("cannot follow add in one kernel{}", second));
    expect_refusal("conv(8, kernel=1, groups=2) | bias | pixel_shuffle(2)", "pixel_shuffle",
                   fmt::format("cannot follow a grouped convolution in one kernel{}", second));
    expect_refusal("conv(16, kernel=1, groups=8) | pixel_shuffle(2)", "pixel_shuffle",
                   fmt::format("cannot follow a grouped convolution in one kernel{}", second));
    expect_refusal("add | crop(from=1, size=2)", "crop",
                   fmt::format("cannot follow add in one kernel{}", second));
}

TEST(Refusals, PerChannelStagesStandOnce) {
    for (const char *stage : {"bias", "scale", "prelu", "add"})
        expect_refusal(std::string("conv(8, kernel=1) | ") + stage + " | relu | " + stage, stage,
                       fmt::format("stands twice in one chain{}", second));
}

} // namespace
} // namespace unstride
