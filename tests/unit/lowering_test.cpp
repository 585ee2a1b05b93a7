// The lowered form in cases worked out by hand, its sizes and costs, and what is refused.
#include "compiler/language/parser.h"
#include "compiler/lowering/costs.h"
#include "compiler/lowering/filters.h"
#include "compiler/lowering/phase_convolution.h"
#include "tests/unit/lowered_layer.h"

#include <gtest/gtest.h>

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <random>

namespace unstride {
namespace {

using Taps = std::vector<Tap>;

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

TEST(Phases, OnePixelMeetsEachKernelElementOnce) {
    const auto kernel_elements = [](const std::string &chain) {
        std::vector<std::int64_t> elements;
        const PhaseConvolution layer = lowered(chain);
        for (const Phase &phase : layer.x().phases) {
            EXPECT_LE(phase.taps.size(), 1u) << chain;
            for (const Tap &tap : phase.taps) {
                EXPECT_EQ(tap.input_offset, 0) << chain;
                elements.push_back(tap.kernel_begin);
            }
        }
        return elements;
    };
    using Elements = std::vector<std::int64_t>;
    EXPECT_EQ(kernel_elements("input(f32, 1x1x8) | transposed_conv(4, kernel=4)"), (Elements{0, 1, 2, 3}));
    EXPECT_EQ(kernel_elements("input(f32, 1x1x8) | transposed_conv(4, kernel=4, stride=2, pad=1)"),
              (Elements{1, 2}));
    EXPECT_EQ(kernel_elements("input(f32, 1x1x8) | conv(4, kernel=3, pad=1)"), (Elements{1}));
    // Of an unknown size nothing is dropped.
    EXPECT_EQ(lowered("input(f32, 1x?x8) | conv(4, kernel=3, pad=1)").x().max_taps(), 3);
}

TEST(Phases, TapsThatOnlyReadZerosAreDropped) {
    const PhaseAxis axis = lowered("input(f32, 1x2x1) | conv(1, kernel=7, pad=3)").x();
    ASSERT_EQ(axis.max_taps(), 3);
    EXPECT_EQ(axis.phases[0].taps.front().input_offset, -1);
    EXPECT_EQ(axis.phases[0].taps.back().input_offset, 1);
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
    std::vector<Phase> far = {{{{0, 1, 0, 0}, {1, 1, 1, 0}}, 0},
                              {{{2, 1, 0, 0}, {3, 1, 1'000'000'007, 0}}, 0}};
    space_evenly(&far);
    EXPECT_TRUE(far.empty());
}

TEST(PhaseAxis, CountsTapsInside) {
    const auto share = [](const std::string &text) {
        return lowered("input(f32, 1x8x8) | " + text).x().share_inside();
    };
    EXPECT_DOUBLE_EQ(share("transposed_conv(4, kernel=4, stride=2, pad=1)"), 30.0 / 32);
    EXPECT_DOUBLE_EQ(share("conv(4, kernel=3, pad=1)"), 22.0 / 24);
    EXPECT_DOUBLE_EQ(share("conv(4, kernel=3, stride=2, pad=1)"), 11.0 / 12);
    EXPECT_DOUBLE_EQ(share("transposed_conv(4, kernel=2, stride=2)"), 1);
    EXPECT_DOUBLE_EQ(share("transposed_conv(4, kernel=4, stride=2)"), 32.0 / 36);
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
    axis.phases = {{}, {{{0, 1, 3, 0}}, 0}, {}, {{{1, 1, 2, 0}}, 0}, {}};
    EXPECT_EQ(axis.progression().first_input_offset, (std::vector<std::int64_t>{2, 3, 2, 2, 2}));
    axis.phases = {{}, {}};
    EXPECT_EQ(axis.progression().first_input_offset, (std::vector<std::int64_t>{0, 0}));
}

TEST(PhaseAxis, KnowsWholePhasesBySize) {
    const auto whole = [](const std::string &size, const std::string &stages) {
        return lowered("input(f32, 1x" + size + "x8) | " + stages).x().whole_phases();
    };
    EXPECT_TRUE(whole("9", "transposed_conv(8, kernel=4, stride=2, pad=1)"));
    EXPECT_FALSE(whole("9", "transposed_conv(8, kernel=3, stride=2, pad=1)"));
    EXPECT_TRUE(whole("9", "transposed_conv(8, kernel=3, stride=2, pad=1, output_pad=1)"));
    EXPECT_TRUE(whole("?", "transposed_conv(8, kernel=3, stride=2, pad=1, output_pad=1)"));
    EXPECT_FALSE(whole("?", "transposed_conv(8, kernel=3, stride=2, pad=1)"));
    EXPECT_TRUE(whole("?", "conv(8, kernel=3, stride=2)"));
    EXPECT_FALSE(whole("?", "nearest_upsample(3) | conv(8, kernel=2, stride=2)")); // halves may be odd
    EXPECT_TRUE(whole("?", "conv(18, kernel=2) | pixel_shuffle(3)"));
    EXPECT_TRUE(whole("?", "transposed_conv(8, kernel=2, stride=2) | crop(from=1, size=6)"));
    EXPECT_FALSE(whole("?", "transposed_conv(8, kernel=2, stride=2) | crop(from=1, size=7)"));
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

TEST(Refusals, MorePhasesOrTapsThanAKernelHolds) {
    const std::string message =
        "takes more than 4096 phases or 65536 taps on an axis, which is too much for one kernel";
    for (const char *stages :
         {"transposed_conv(1, kernel=1, stride=100000000)", "transposed_conv(1, kernel=65537, pad=32768)",
          "nearest_upsample(100000000)", "nearest_upsample(4097)", "conv(1, kernel=200000000, pad=100000000)",
          "bilinear_upsample(1000000000)", "nearest_upsample(4096) | conv(1, kernel=17)",
          "nearest_upsample(2) | conv(1, kernel=2, dilation=200000001, pad=100000000)"}) {
        const std::string chain = "input(f32, 1x?x?x1) | " + std::string(stages);
        const auto result = lower(parsed(chain));
        ASSERT_TRUE(std::holds_alternative<Diagnostic>(result)) << chain;
        EXPECT_EQ(std::get<Diagnostic>(result).message, message) << chain;
    }
    EXPECT_TRUE(std::holds_alternative<PhaseConvolution>(
        lower(parsed("input(f32, 1x?x?x1) | nearest_upsample(4096) | conv(1, kernel=16)"))));
}

TEST(Refusals, TensorsBeyondReach) {
    const auto refusal = [](const std::string &chain) {
        const auto result = lower(parsed(chain));
        const auto *diagnostic = std::get_if<Diagnostic>(&result);
        return diagnostic == nullptr ? "" : diagnostic->stage + ": " + diagnostic->message;
    };
    EXPECT_EQ(refusal("input(f32, 1x65536x32768x1) | relu"),
              "layer: the input must hold at most 2^31 - 1 elements to be compiled");
    EXPECT_EQ(refusal("input(f32, ?x32768x?x65536) | relu"),
              "layer: the input must hold at most 2^31 - 1 elements to be compiled");
    EXPECT_EQ(refusal("input(f32, 1x32768x16384x1) | nearest_upsample(2)"),
              "layer: the output must hold at most 2^31 - 1 elements to be compiled");
    EXPECT_EQ(refusal("input(f32, 1x32768x65535x1) | relu"), "");
}

TEST(Refusals, PerChannelStagesStandOnce) {
    for (const char *stage : {"bias", "scale", "prelu", "add"})
        expect_refusal(std::string("conv(8, kernel=1) | ") + stage + " | relu | " + stage, stage,
                       fmt::format("stands twice in one chain{}", second));
}

} // namespace
} // namespace unstride
