// The lowering against brute force: every tap that the plain definition of a layer has, and no other.
#include "compiler/language/parser.h"
#include "compiler/lowering/costs.h"
#include "compiler/lowering/phase_convolution.h"

#include <gtest/gtest.h>

#include <set>
#include <tuple>

namespace unstride {
namespace {

PhaseConvolution lowered(const std::string &chain) {
    const ParseResult parsed = parse_layer(chain, "layer");
    EXPECT_TRUE(parsed.ok()) << chain << ": " << (parsed.ok() ? "" : to_string(parsed.errors[0]));
    auto result = lower(parsed.layers.at(0));
    EXPECT_TRUE(std::holds_alternative<PhaseConvolution>(result)) << chain;
    return std::get<PhaseConvolution>(result);
}

std::string refusal(const std::string &chain) {
    const ParseResult parsed = parse_layer(chain, "layer");
    EXPECT_TRUE(parsed.ok()) << chain << ": " << (parsed.ok() ? "" : to_string(parsed.errors[0]));
    const auto result = lower(parsed.layers.at(0));
    if (!std::holds_alternative<Diagnostic>(result)) return "";
    return to_string(std::get<Diagnostic>(result));
}

using Product = std::tuple<std::int64_t, std::int64_t, std::int64_t>; // output, kernel index, input

// All products of an axis as its phases have them, over all inputs of a line of that size.
std::multiset<Product> products(const std::vector<Phase> &phases, std::int64_t input, std::int64_t output) {
    const auto count = static_cast<std::int64_t>(phases.size());
    std::multiset<Product> result;
    for (std::int64_t o = 0; o < output; o++) {
        for (const Tap &tap : phases[o % count].taps) {
            const std::int64_t i = o / count + tap.input_offset;
            if (0 <= i && i < input) result.emplace(o, tap.kernel_index, i);
        }
    }
    return result;
}

TEST(Lowering, TransposedConvolutionHasExactlyTheProductsOfTheScatter) {
    for (std::int64_t kernel = 1; kernel <= 9; kernel++) {
        for (std::int64_t stride = 1; stride <= 5; stride++) {
            for (std::int64_t dilation = 1; dilation <= 4; dilation++) {
                for (std::int64_t pad = 0; pad <= kernel + 1; pad++) {
                    const std::int64_t input = 7, output = stride * input + 5;
                    std::multiset<Product> scattered;
                    for (std::int64_t i = 0; i < input; i++) {
                        for (std::int64_t t = 0; t < kernel; t++) {
                            const std::int64_t o = stride * i + dilation * t - pad;
                            if (0 <= o && o < output) scattered.emplace(o, t, i);
                        }
                    }
                    ASSERT_EQ(products(transposed_conv_phases(kernel, stride, dilation, pad), input, output),
                              scattered)
                        << "kernel " << kernel << " stride " << stride << " dilation " << dilation << " pad "
                        << pad;
                }
            }
        }
    }
}

TEST(Lowering, ConvolutionHasExactlyTheProductsOfTheDefinition) {
    for (std::int64_t kernel = 1; kernel <= 5; kernel++) {
        for (std::int64_t dilation = 1; dilation <= 3; dilation++) {
            for (std::int64_t pad = 0; pad <= 3; pad++) {
                const std::int64_t input = 11, output = input + 2 * pad - dilation * (kernel - 1);
                std::multiset<Product> defined;
                for (std::int64_t o = 0; o < output; o++) {
                    for (std::int64_t t = 0; t < kernel; t++) {
                        const std::int64_t i = o + dilation * t - pad;
                        if (0 <= i && i < input) defined.emplace(o, t, i);
                    }
                }
                ASSERT_EQ(products(conv_phases(kernel, dilation, pad), input, output), defined);
            }
        }
    }
}

TEST(Lowering, ProgressionsRepeatTheTaps) {
    for (std::int64_t kernel = 1; kernel <= 9; kernel++) {
        for (std::int64_t stride = 1; stride <= 6; stride++) {
            for (std::int64_t dilation = 1; dilation <= 6; dilation++) {
                PhaseAxis axis;
                axis.phases = transposed_conv_phases(kernel, stride, dilation, 2);
                const TapProgression taps = axis.progression();
                for (std::size_t q = 0; q < axis.phases.size(); q++) {
                    ASSERT_EQ(taps.count[q], static_cast<std::int64_t>(axis.phases[q].taps.size()));
                    for (std::int64_t j = 0; j < taps.count[q]; j++) {
                        const Tap expected = axis.phases[q].taps[j];
                        ASSERT_EQ(taps.first_kernel_index[q] + j * taps.kernel_step, expected.kernel_index);
                        ASSERT_EQ(taps.first_input_offset[q] + j * taps.offset_step, expected.input_offset);
                    }
                }
            }
        }
    }
}

TEST(Lowering, KernelThreeStrideTwoCostsNineTaps) {
    const PhaseConvolution layer =
        lowered("input(f32, 1x64x64x256) | transposed_conv(128, kernel=3, stride=2, pad=1, output_pad=1)");
    EXPECT_EQ(layer.axes[0].total_taps() * layer.axes[1].total_taps(), 9);
    EXPECT_DOUBLE_EQ(multiplications_per_output(layer), 256 * 9 / 4.0);
    const Costs cost = costs(layer, 1, {64, 64});
    EXPECT_DOUBLE_EQ(cost.multiplications, 9.0 * 64 * 64 * 256 * 128);
    EXPECT_DOUBLE_EQ(cost.zero_insertion, 9.0 * 128 * 128 * 256 * 128);
    EXPECT_DOUBLE_EQ(cost.matrix_product, 9.0 * 64 * 64 * 256 * 128);
    EXPECT_DOUBLE_EQ(cost.column_buffer_bytes, 9.0 * 64 * 64 * 128 * 4);
}

TEST(Lowering, HolesAreEmptyPhases) {
    const std::vector<Phase> phases = transposed_conv_phases(1, 3, 1, 0);
    EXPECT_EQ(phases[0].taps.size(), 1u);
    EXPECT_TRUE(phases[1].taps.empty());
    EXPECT_TRUE(phases[2].taps.empty());
    // stride and dilation share the factor 2: every tap lands in the even phases
    const std::vector<Phase> shared = transposed_conv_phases(3, 2, 2, 0);
    EXPECT_EQ(shared[0].taps.size(), 3u);
    EXPECT_TRUE(shared[1].taps.empty());
}

TEST(Lowering, ChainKeepsOrderAndSides) {
    const PhaseConvolution layer =
        lowered("input(f32, 2x?x9x8) | leaky_relu(0.1) | conv(4, kernel=3x1, pad=1:0x0) | relu | bias "
                "| add | clamp(0, 6)");
    ASSERT_EQ(layer.prologue.size(), 1u);
    EXPECT_EQ(layer.prologue[0].kind, ActivationKind::leaky_relu);
    ASSERT_EQ(layer.epilogue.size(), 4u);
    EXPECT_TRUE(std::holds_alternative<Bias>(layer.epilogue[1]));
    EXPECT_TRUE(layer.has_add());
    EXPECT_EQ(layer.batch, 2);
    EXPECT_EQ(layer.axes[0].input_size, dynamic_size);
    EXPECT_EQ(layer.axes[0].size.apply(10), 9);
    EXPECT_EQ(layer.axes[1].output_size, 9);
}

TEST(Lowering, PaddingRulesBecomeNumbers) {
    // SAME with a kernel smaller than the stride: rows beyond the last tap appear at the end
    const PhaseConvolution layer =
        lowered("input(f32, 1x5x5x4) | transposed_conv(4, kernel=2, stride=3, pad=same)");
    EXPECT_EQ(layer.axes[0].output_size, 15);
    EXPECT_EQ(layer.axes[0].phases[0].taps.size(), 1u);
    EXPECT_TRUE(layer.axes[0].phases[2].taps.empty());
    const PhaseConvolution sized =
        lowered("input(f32, 1x5x5x4) | transposed_conv(4, kernel=3, stride=2, pad=1, output_size=10)");
    EXPECT_EQ(sized.axes[1].output_size, 10);
}

TEST(Lowering, RefusesWhatItCannotCompile) {
    const auto expect = [](const std::string &chain, const std::string &part) {
        EXPECT_NE(refusal(chain).find(part), std::string::npos) << chain << ": " << refusal(chain);
    };
    expect("input(f16, 1x4x4x4) | conv(4, kernel=1)", "input: only f32");
    expect("input(f32, 1x4x4x4, layout=nchw) | conv(4, kernel=1)", "input: only layout=nhwc");
    expect("input(f32, 1x4x4) | conv(4, kernel=1)",
           "input: only two spatial sizes can be compiled yet, got 1");
    expect("input(f32, 1x4x4x4) | conv(4, kernel=1, stride=2)",
           "conv: only stride 1 can be compiled yet, got 2");
    expect("input(f32, 1x4x4x4) | conv(4, kernel=1, groups=2)", "conv: groups must be 1");
    expect("input(f32, 1x4x4x4) | conv(8, kernel=1, groups=4)", "conv: groups must be 1");
    expect("input(f32, 1x4x4x4) | conv(4, kernel=1) | tanh", "tanh: this activation cannot be compiled yet");
    expect("input(f32, 1x4x4x4) | conv(4, kernel=1) | scale", "scale: this stage cannot be compiled yet");
    expect("input(f32, 1x4x4x4) | conv(4, kernel=1) | pixel_shuffle(2)",
           "pixel_shuffle: this stage cannot be compiled yet");
    expect("input(f32, 1x4x4x4) | nearest_upsample(2) | conv(4, kernel=1)", "nearest_upsample: this stage");
    expect("input(f32, 1x4x4x4) | bias | conv(4, kernel=1)",
           "bias: cannot be compiled before the convolution");
    expect("input(f32, 1x4x4x4) | conv(4, kernel=1) | conv(4, kernel=1)", "begin a second layer here");
    expect("input(f32, 1x4x4x4) | conv(4, kernel=1) | bias | bias", "bias: stands twice");
    expect("input(f32, 1x4x4x4) | relu", "input: a chain without a convolution");
}

} // namespace
} // namespace unstride
