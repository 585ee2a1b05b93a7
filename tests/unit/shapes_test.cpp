// Shapes through a chain: size formulas, padding rules in numbers, and what the shape check refuses.
#include "compiler/language/parser.h"
#include "compiler/language/shapes.h"

#include <gtest/gtest.h>

#include <initializer_list>

namespace unstride {
namespace {

Layer layer_of(const std::string &chain) {
    const ParseResult result = parse_layer(chain, "x");
    EXPECT_TRUE(result.ok()) << chain << "\n" << (result.ok() ? "" : to_string(result.errors[0]));
    return result.ok() ? result.layers.at(0) : Layer{};
}

// The shape that leaves the chain.
std::string shape_after(const std::string &chain) {
    const Layer layer = layer_of(chain);
    return print(infer_shapes(layer).back(), layer.input.layout);
}

std::vector<std::string> messages_of(const std::string &chain) {
    std::vector<std::string> messages;
    for (const Diagnostic &error : parse_layer(chain, "x").errors) {
        messages.push_back(error.stage + ": " + error.message);
    }
    return messages;
}

using Texts = std::vector<std::string>;

TEST(Sizes, Convolution) {
    EXPECT_EQ(shape_after("input(f32, 1x9x8x4) | conv(6, kernel=3)"), "1x7x6x6");
    EXPECT_EQ(shape_after("input(f32, 1x9x8x4) | conv(6, kernel=3, stride=2, pad=1)"), "1x5x4x6");
    EXPECT_EQ(shape_after("input(f32, 1x9x8x4) | conv(6, kernel=3, dilation=2, pad=2:1x0)"), "1x8x4x6");
    EXPECT_EQ(shape_after("input(f32, 1x9x8x4) | conv(6, kernel=3, stride=2, pad=same)"), "1x5x4x6");
    EXPECT_EQ(shape_after("input(f32, 1x9x8x4) | conv(6, kernel=1, stride=4, pad=same)"), "1x3x2x6");
    EXPECT_EQ(shape_after("input(f32, 1x9x8x4) | conv(6, kernel=3, stride=2, pad=valid)"), "1x4x3x6");
    EXPECT_EQ(shape_after("input(f32, ?x9x?x4) | conv(6, kernel=3, pad=same)"), "?x9x?x6");
}

TEST(Sizes, TransposedConvolution) {
    EXPECT_EQ(shape_after("input(f32, 1x64x32x8) | transposed_conv(4, kernel=4, stride=2, pad=1)"),
              "1x128x64x4");
    EXPECT_EQ(shape_after("input(f32, 1x8x64x32, layout=nchw) | transposed_conv(4, kernel=3, stride=2, "
                          "pad=1, output_pad=1)"),
              "1x4x128x64");
    EXPECT_EQ(shape_after("input(f32, 1x1x1x100) | transposed_conv(512, kernel=4)"), "1x4x4x512");
    EXPECT_EQ(
        shape_after("input(f32, 1x10x4) | transposed_conv(4, kernel=3, stride=2, dilation=3, output_pad=2)"),
        "1x27x4");
    EXPECT_EQ(shape_after("input(f32, 1x28x28x20x8) | transposed_conv(4, kernel=2, stride=2)"),
              "1x56x56x40x4");
    EXPECT_EQ(shape_after("input(f32, 1x142x142x8) | transposed_conv(3, kernel=4, stride=2, pad=3)"),
              "1x280x280x3");
    EXPECT_EQ(shape_after("input(f32, 0x4x?x8) | transposed_conv(3, kernel=3, stride=2)"), "0x9x?x3");
    for (const char *rule : {"same", "same_lower"}) {
        for (const char *kernel : {"1", "2", "3", "5"}) {
            EXPECT_EQ(shape_after(std::string("input(f32, 1x5x?x8) | transposed_conv(3, stride=3, kernel=") +
                                  kernel + ", pad=" + rule + ")"),
                      "1x15x?x3");
        }
    }
    EXPECT_EQ(shape_after("input(f32, 1x5x8) | transposed_conv(3, kernel=5, stride=3, pad=valid)"), "1x17x3");
    EXPECT_EQ(shape_after("input(f32, 1x5x8) | transposed_conv(3, kernel=1, stride=3, pad=valid)"), "1x15x3");
}

TEST(Sizes, ShufflesAndUpsamples) {
    EXPECT_EQ(shape_after("input(f32, 1x4x6x36) | pixel_shuffle(3)"), "1x12x18x4");
    EXPECT_EQ(shape_after("input(f32, 1x4x6) | pixel_shuffle(3)"), "1x12x2");
    EXPECT_EQ(shape_after("input(f32, 1x4x6x2x8) | pixel_shuffle(2)"), "1x8x12x4x1");
    EXPECT_EQ(shape_after("input(f32, 1x4x6x3) | pixel_unshuffle(2)"), "1x2x3x12");
    EXPECT_EQ(shape_after("input(f32, 1x4x6x3) | nearest_upsample(2x3)"), "1x8x18x3");
    for (const char *factor : {"1", "2", "3", "8"}) {
        const std::int64_t size = 5 * std::stoll(factor);
        const std::string expected = "1x" + std::to_string(size) + "x3";
        EXPECT_EQ(shape_after(std::string("input(f32, 1x5x3) | bilinear_upsample(") + factor + ")"),
                  expected);
        EXPECT_EQ(
            shape_after(std::string("input(f32, 1x5x3) | bilinear_upsample(") + factor + ", edge=zero)"),
            expected);
        EXPECT_EQ(shape_after(std::string("input(f32, 1x5x3) | bilinear_upsample(") + factor +
                              ", edge=zero, pad=same)"),
                  expected);
    }
    EXPECT_EQ(shape_after("input(f32, 1x5x5x3) | bilinear_upsample(4, corners=aligned)"), "1x17x17x3");
    EXPECT_EQ(shape_after("input(f32, 1x16x16x21) | bilinear_upsample(2, edge=zero, pad=0)"), "1x34x34x21");
}

TEST(Sizes, CropAndPointwise) {
    EXPECT_EQ(shape_after("input(f32, 1x568x568x21) | crop(from=31, size=500)"), "1x500x500x21");
    EXPECT_EQ(shape_after("input(f32, 1x?x8x21) | crop(from=1x0, size=5x8)"), "1x5x8x21");
    EXPECT_EQ(shape_after("input(f32, 2x?x8x21) | bias | scale | prelu | add | relu | leaky_relu(0.1) | "
                          "clamp(0, 1) | tanh"),
              "2x?x8x21");
}

TEST(Sizes, EveryStageHasItsShape) {
    const std::vector<Shape> shapes =
        infer_shapes(layer_of("input(f32, 1x4x5x8) | conv(12, kernel=1) | bias | pixel_shuffle(2)"));
    const std::vector<Shape> expected = {{1, {4, 5}, 8}, {1, {4, 5}, 12}, {1, {4, 5}, 12}, {1, {8, 10}, 3}};
    EXPECT_EQ(shapes, expected);
}

TEST(SizeRule, FloorsAndKeepsDynamic) {
    EXPECT_EQ((SizeRule{1, -2, 2}).apply(1), -1);
    EXPECT_EQ((SizeRule{1, -1, 2}).apply(5), 2);
    EXPECT_EQ((SizeRule{1, -4, 3}).apply(1), -1);
    EXPECT_EQ((SizeRule{2, 3, 1}).apply(dynamic_size), dynamic_size);
    EXPECT_EQ((SizeRule{0, 7, 1}).apply(dynamic_size), 7);
}

TEST(SizeRule, IsThatOfEachStage) {
    const Shape input{1, {8, dynamic_size}, 16};
    const auto rule = [&](const std::string &stage, std::size_t axis) {
        return size_rules(layer_of("input(f32, 1x8x?x16) | " + stage).stages.at(0).operation, input).at(axis);
    };
    EXPECT_EQ(rule("transposed_conv(1, kernel=4, stride=2, pad=1:0, output_pad=1)", 1), (SizeRule{2, 2, 1}));
    EXPECT_EQ(rule("transposed_conv(1, kernel=3, stride=2, pad=same)", 1), (SizeRule{2, 0, 1}));
    EXPECT_EQ(rule("conv(1, kernel=3, stride=2, pad=1)", 1), (SizeRule{1, 1, 2}));
    EXPECT_EQ(rule("conv(1, kernel=3, stride=2x1, pad=same)", 0), (SizeRule{1, 1, 2}));
    EXPECT_EQ(rule("pixel_unshuffle(2)", 1), (SizeRule{1, 0, 2}));
    EXPECT_EQ(rule("bilinear_upsample(3, corners=aligned)", 1), (SizeRule{3, -2, 1}));
    EXPECT_EQ(rule("crop(from=1, size=4)", 1), (SizeRule{0, 4, 1}));
    EXPECT_EQ(rule("tanh", 1), SizeRule{});
}

// The padding of the first axis of the only stage.
template<typename Convolution>
ResolvedPadding padding_of(const std::string &input, const std::string &stage) {
    const Layer layer = layer_of("input(f32, " + input + ") | " + stage);
    return resolve_padding(std::get<Convolution>(layer.stages.at(0).operation), layer.input.spatial).at(0);
}

TEST(ResolvePadding, Convolution) {
    const auto pad = [](const std::string &arguments) {
        return padding_of<Conv>("1x9x4", "conv(1, " + arguments + ")");
    };
    EXPECT_EQ(pad("kernel=4, pad=same"), (ResolvedPadding{1, 2}));
    EXPECT_EQ(pad("kernel=4, pad=same_lower"), (ResolvedPadding{2, 1}));
    EXPECT_EQ(pad("kernel=3, stride=2, pad=same"), (ResolvedPadding{1, 1}));
    EXPECT_EQ(pad("kernel=4, stride=2, pad=same"), (ResolvedPadding{1, 2}));
    EXPECT_EQ(pad("kernel=1, stride=3, pad=same"), (ResolvedPadding{0, 0}));
    EXPECT_EQ(pad("kernel=4, pad=valid"), (ResolvedPadding{0, 0}));
    EXPECT_EQ(pad("kernel=4, pad=3:1"), (ResolvedPadding{3, 1}));
}

TEST(ResolvePadding, TransposedConvolution) {
    const auto pad = [](const std::string &arguments) {
        return padding_of<TransposedConv>("1x4x4", "transposed_conv(1, " + arguments + ")");
    };
    EXPECT_EQ(pad("kernel=3, stride=2, pad=same"), (ResolvedPadding{0, 1}));
    EXPECT_EQ(pad("kernel=3, stride=2, pad=same_lower"), (ResolvedPadding{1, 0}));
    EXPECT_EQ(pad("kernel=4, stride=2, pad=same"), (ResolvedPadding{1, 1}));
    EXPECT_EQ(pad("kernel=3, dilation=2, stride=2, pad=same"), (ResolvedPadding{1, 2}));
    // kernel below the stride: nothing first, the rest computed at the end, whatever the parity.
    EXPECT_EQ(pad("kernel=1, stride=2, pad=same"), (ResolvedPadding{0, -1}));
    EXPECT_EQ(pad("kernel=1, stride=2, pad=same_lower"), (ResolvedPadding{0, -1}));
    EXPECT_EQ(pad("kernel=1, stride=4, pad=same"), (ResolvedPadding{0, -3}));
    EXPECT_EQ(pad("kernel=1, stride=4, pad=valid"), (ResolvedPadding{0, -3}));
    EXPECT_EQ(pad("kernel=5, stride=4, pad=valid"), (ResolvedPadding{0, 0}));
    EXPECT_EQ(pad("kernel=5, stride=4, pad=1:2"), (ResolvedPadding{1, 2}));
    // output_size decides the total: 3·3 + 4 − 10 = 3.
    EXPECT_EQ(pad("kernel=4, stride=3, pad=same, output_size=10"), (ResolvedPadding{1, 2}));
    EXPECT_EQ(pad("kernel=4, stride=3, pad=same_lower, output_size=10"), (ResolvedPadding{2, 1}));
    EXPECT_EQ(pad("kernel=4, stride=3, pad=valid, output_size=15"), (ResolvedPadding{0, -2}));
}

TEST(ResolveOutputPad, FollowsOutputSize) {
    const auto pad = [](const std::string &arguments) {
        const Layer layer = layer_of("input(f32, 1x10x10x4) | transposed_conv(1, " + arguments + ")");
        return resolve_output_pad(std::get<TransposedConv>(layer.stages.at(0).operation),
                                  layer.input.spatial);
    };
    EXPECT_EQ(pad("kernel=3, stride=2, pad=1"), (PerAxis{0, 0}));
    EXPECT_EQ(pad("kernel=3, stride=2, pad=1, output_pad=1x0"), (PerAxis{1, 0}));
    EXPECT_EQ(pad("kernel=3, stride=2, pad=1, output_size=19x20"), (PerAxis{0, 1}));
    EXPECT_EQ(pad("kernel=3, stride=2, pad=same, output_size=19x20"), (PerAxis{0, 0}));
    EXPECT_EQ(
        shape_after("input(f32, 1x10x10x4) | transposed_conv(1, kernel=3, stride=2, output_size=22x21)"),
        "1x22x21x1");
}

// Where a padding rule or an output_size is resolved, the plain formula must give the inferred size.
TEST(ResolvePadding, AgreesWithTheSizeFormula) {
    for (const char *rule : {"same", "same_lower", "valid"}) {
        for (int kernel = 1; kernel <= 5; kernel++) {
            for (int stride = 1; stride <= 4; stride++) {
                for (int dilation = 1; dilation <= 3; dilation++) {
                    const std::string arguments =
                        "(1, kernel=" + std::to_string(kernel) + ", stride=" + std::to_string(stride) +
                        ", dilation=" + std::to_string(dilation) + ", pad=" + rule + ")";
                    const int reach = dilation * (kernel - 1) + 1;
                    const Layer up = layer_of("input(f32, 1x13x4) | transposed_conv" + arguments);
                    const ResolvedPadding up_pad =
                        resolve_padding(std::get<TransposedConv>(up.stages.at(0).operation), {13}).at(0);
                    EXPECT_EQ(infer_shapes(up).back().spatial[0],
                              stride * 12 + reach - up_pad.begin - up_pad.end)
                        << arguments;

                    const Layer down = layer_of("input(f32, 1x13x4) | conv" + arguments);
                    const ResolvedPadding pad =
                        resolve_padding(std::get<Conv>(down.stages.at(0).operation), {13}).at(0);
                    EXPECT_EQ(infer_shapes(down).back().spatial[0],
                              (13 + pad.begin + pad.end - reach) / stride + 1)
                        << arguments;
                }
            }
        }
    }
}

TEST(CheckShapes, Refuses) {
    const std::string in = "input(f32, 1x8x10x4) | ";
    EXPECT_EQ(messages_of(in + "conv(9, kernel=3, groups=3)"),
              Texts{"conv: groups must divide the 4 input channels, got 3"});
    EXPECT_EQ(messages_of(in + "conv(1, kernel=9x1)"),
              Texts{"conv: output height must be at least 1, got 0"});
    EXPECT_EQ(messages_of(in + "conv(1, kernel=1x12, stride=2)"),
              Texts{"conv: output width must be at least 1, got 0"});
    EXPECT_EQ(messages_of("input(f32, 1x8x?x4) | conv(1, kernel=3, stride=2, pad=same)"),
              Texts{"conv: pad=same with a stride needs a fixed width, got ?"});
    EXPECT_EQ(messages_of(in + "transposed_conv(1, kernel=1, pad=4)"),
              (Texts{"transposed_conv: output height must be at least 1, got 0"}));
    EXPECT_EQ(messages_of(in + "transposed_conv(1, kernel=3, stride=2, pad=1, output_size=16x21)"),
              Texts{"transposed_conv: output_size of the width must be between 19 and 20, got 21"});
    EXPECT_EQ(messages_of(in + "transposed_conv(1, kernel=3, stride=2, pad=same, output_size=16x18)"),
              Texts{"transposed_conv: output_size of the width must be between 19 and 20, got 18"});
    EXPECT_EQ(messages_of("input(f32, 1x?x4) | transposed_conv(1, kernel=3, stride=2, output_size=16)"),
              Texts{"transposed_conv: output_size needs a fixed width, got ?"});
    EXPECT_EQ(messages_of(in + "pixel_shuffle(3)"),
              Texts{"pixel_shuffle: channels must be divisible by factor^2, got 4 channels and factor 3"});
    EXPECT_EQ(messages_of(in + "pixel_unshuffle(4)"),
              Texts{"pixel_unshuffle: width must be divisible by the factor 4, got 10"});
    EXPECT_EQ(messages_of(in + "crop(from=1, size=8)"),
              Texts{"crop: from + size must be at most the height 8, got 9"});
}

TEST(CheckShapes, GoesOnAfterAnErrorWhoseShapeIsKnown) {
    EXPECT_EQ(messages_of("input(f32, 1x8x4) | conv(9, kernel=3, groups=3) | crop(from=5, size=2)"),
              (Texts{"conv: groups must divide the 4 input channels, got 3",
                     "crop: from + size must be at most the width 6, got 7"}));
    EXPECT_EQ(messages_of("input(f32, 1x8x4) | conv(9, kernel=9) | crop(from=5, size=2)"),
              Texts{"conv: output width must be at least 1, got 0"});
}

TEST(CheckShapes, StandsAtTheStagesName) {
    const Diagnostic error =
        parse_layers("a = input(f32, 1x8x4) | bias | conv(1, kernel=9)", "f").errors.at(0);
    EXPECT_EQ(to_string(error), "f:1:32: conv: output width must be at least 1, got 0");
}

TEST(CheckShapes, HoldsAgainstOverflow) {
    const std::string most = "2147483647";
    EXPECT_EQ(messages_of("input(f32, 1x" + most + "x1) | transposed_conv(1, kernel=" + most +
                          ", stride=" + most + ", dilation=" + most + ", output_pad=2147483646)"),
              Texts{"transposed_conv: output width must be at most 2147483647, got more than 2^62"});
    EXPECT_EQ(messages_of("input(f32, 1x" + most + "x1) | nearest_upsample(2)"),
              Texts{"nearest_upsample: output width must be at most 2147483647, got 4294967294"});
    EXPECT_EQ(messages_of("input(f32, ?x?x" + most + "x1) | conv(" + most + ", kernel=1x" + most + ")"),
              Texts{});
    EXPECT_EQ(messages_of("input(f32, 1x8x8x4) | conv(" + most + ", kernel=" + most + ", pad=" + most + ")"),
              (Texts{"conv: weights must hold at most 2^62 elements, got more",
                     "conv: output height must be at most 2147483647, got 2147483656",
                     "conv: output width must be at most 2147483647, got 2147483656"}));
    EXPECT_EQ(messages_of("input(f32, 4x" + most + "x" + most + "x1, layout=nhwc) | relu"),
              Texts{"input: shape must hold at most 2^62 elements, got more"});
    EXPECT_EQ(messages_of("input(f32, 2x1000000x1000000x1) | conv(" + most + ", kernel=1)"),
              Texts{"conv: output must hold at most 2^62 elements, got more"});
    EXPECT_EQ(
        messages_of("input(f32, 1x8x8x8x1) | pixel_shuffle(" + most + ")"),
        Texts{"pixel_shuffle: channels must be divisible by factor^3, got 1 channels and factor 2147483647"});
    EXPECT_EQ(messages_of("input(f32, 1x?x" + most + ") | pixel_unshuffle(2)"),
              Texts{"pixel_unshuffle: output channels must be at most 2147483647, got 4294967294"});
    EXPECT_EQ(messages_of("input(f32, 0x" + most + "x" + most + "x" + most + ") | relu"), Texts{});
}

// Layers that were not parsed: their fields may hold anything.
TEST(CheckShapes, RefusesMalformedLayers) {
    Layer layer;
    layer.input.spatial = {8, 8};
    layer.stages = {{Conv{}, {}}, {Bias{}, {}}};
    std::vector<std::string> messages;
    for (const Diagnostic &error : check_shapes(layer))
        messages.push_back(error.message);
    EXPECT_EQ(messages, (Texts{"output_channels must be at least 1, got 0",
                               "kernel must have 2 numbers, one for each spatial axis, got 0",
                               "stride must have 2 numbers, one for each spatial axis, got 0",
                               "pad must have 2 numbers, one for each spatial axis, got 0",
                               "dilation must have 2 numbers, one for each spatial axis, got 0"}));
    layer.input.spatial = {};
    layer.stages = {};
    EXPECT_EQ(check_shapes(layer).at(0).message, "shape must have one to three spatial sizes, got 0");
}

TEST(Print, ShapeInTheLayoutsOrder) {
    EXPECT_EQ(print(Shape{dynamic_size, {4, dynamic_size}, 3}, Layout::nhwc), "?x4x?x3");
    EXPECT_EQ(print(Shape{dynamic_size, {4, dynamic_size}, 3}, Layout::nchw), "?x3x4x?");
}

TEST(ExplainSizes, ShowsTheArithmetic) {
    const auto lines = [](const std::string &input, const std::string &stage) {
        const Layer layer = layer_of("input(f32, " + input + ") | " + stage);
        return explain_sizes(layer.stages.at(0).operation, infer_shapes(layer).at(0));
    };
    EXPECT_EQ(lines("1x64x?x8", "transposed_conv(1, kernel=4, stride=2, pad=1)"),
              (Texts{"height: 2·(64−1) + 1·(4−1) + 1 − 1 − 1 + 0 = 128",
                     "width: 2·(in−1) + 1·(4−1) + 1 − 1 − 1 + 0 = 2·in"}));
    EXPECT_EQ(lines("1x4x8", "transposed_conv(1, kernel=1, stride=3, pad=same)"),
              Texts{"width: 3·(4−1) + 1·(1−1) + 1 − 0 − (−2) + 0 = 12"});
    EXPECT_EQ(lines("1x10x8", "transposed_conv(1, kernel=3, stride=2, output_size=22)"),
              Texts{"width: 2·(10−1) + 1·(3−1) + 1 − 0 − 0 + 1 = 22"});
    EXPECT_EQ(lines("1x9x?x8", "conv(1, kernel=3, stride=2, pad=1:0)"),
              (Texts{"height: floor((9 + 1 + 0 − 1·(3−1) − 1) / 2) + 1 = 4",
                     "width: floor((in + 1 + 0 − 1·(3−1) − 1) / 2) + 1 = floor(in / 2)"}));
    EXPECT_EQ(lines("1x?x8", "conv(1, kernel=4, stride=2, pad=0)"),
              Texts{"width: floor((in + 0 + 0 − 1·(4−1) − 1) / 2) + 1 = floor((in − 2) / 2)"});
    EXPECT_EQ(lines("1x2x3x4x8", "pixel_shuffle(2)"),
              (Texts{"depth: 2·2 = 4", "height: 2·3 = 6", "width: 2·4 = 8"}));
    EXPECT_EQ(lines("1x4x8", "pixel_unshuffle(2)"), Texts{"width: 4 / 2 = 2"});
    EXPECT_EQ(lines("1x4x8", "nearest_upsample(2)"), Texts{"width: 2·4 = 8"});
    EXPECT_EQ(lines("1x4x8", "bilinear_upsample(2)"), Texts{"width: 2·4 = 8"});
    EXPECT_EQ(lines("1x4x8", "bilinear_upsample(2, corners=aligned)"), Texts{"width: 2·(4−1) + 1 = 7"});
    EXPECT_EQ(lines("1x4x8", "bilinear_upsample(2, edge=zero)"),
              Texts{"width: 2·(4−1) + 1·(4−1) + 1 − 1 − 1 + 0 = 8"});
    EXPECT_EQ(lines("1x9x8", "crop(from=2, size=5)"), Texts{"width: from 2 to 6 of 9 = 5"});
    EXPECT_EQ(lines("1x9x8", "bias"), Texts{});
}

TEST(WeightShape, FollowsTheFrameworks) {
    const auto shape = [](const std::string &stage) {
        return weight_shape(layer_of("input(f32, 1x8x8x8) | " + stage).stages.at(0).operation, 8);
    };
    EXPECT_EQ(shape("conv(6, kernel=3x2, groups=2)"), (std::vector<std::int64_t>{6, 4, 3, 2}));
    EXPECT_EQ(shape("transposed_conv(6, kernel=3x2, groups=2)"), (std::vector<std::int64_t>{8, 3, 3, 2}));
    EXPECT_EQ(shape("relu"), std::vector<std::int64_t>{});
}

} // namespace
} // namespace unstride
