// The layer language: what parses, how it prints, and the exact text of every kind of error.
#include "compiler/language/parser.h"
#include "compiler/language/printer.h"

#include <gtest/gtest.h>

namespace unstride {
namespace {

std::vector<std::string> errors_of(const std::string &text) {
    std::vector<std::string> errors;
    for (const Diagnostic &error : parse_layers(text, "f").errors)
        errors.push_back(to_string(error));
    return errors;
}

using Texts = std::vector<std::string>;

// The only stage of a layer on a 1x8x8x16 input.
StageOperation stage_of(const std::string &text) {
    const ParseResult result = parse_layer("input(f32, 1x8x8x16) | " + text, "x");
    EXPECT_TRUE(result.ok()) << text << ": " << (result.ok() ? "" : to_string(result.errors[0]));
    return result.ok() ? result.layers.at(0).stages.at(0).operation : StageOperation{};
}

TEST(Parse, ReadsInput) {
    const ParseResult result = parse_layers("a = input(bf16, ?x3x5x?x7, layout=nhwc, numeric=fast) | relu\n"
                                            "b = input(i8, 2x7x5x?, layout=nchw, numeric=exact) | relu\n",
                                            "f");
    ASSERT_TRUE(result.ok());
    const Input a{ElementType::bf16, Layout::nhwc,         NumericPolicy::fast,
                  dynamic_size,      {3, 5, dynamic_size}, 7};
    const Input b{ElementType::i8, Layout::nchw, NumericPolicy::exact, 2, {5, dynamic_size}, 7};
    EXPECT_EQ(result.layers.at(0).input, a);
    EXPECT_EQ(result.layers.at(1).input, b);
    EXPECT_EQ(result.layers.at(1).name, "b");
    EXPECT_EQ(result.layers.at(1).position.line, 2);
    EXPECT_EQ(result.layers.at(1).stages.at(0).position.column, 54);
}

TEST(Parse, ReadsConvolutions) {
    const Conv plain{3, {5, 5}, {1, 1}, {1, 1}, {PaddingRule::stated, {0, 0}, {0, 0}}, 1};
    EXPECT_EQ(stage_of("conv(3, kernel=5)"), StageOperation(plain));

    const Conv full{32, {3, 2}, {2, 1}, {1, 2}, {PaddingRule::stated, {1, 2}, {0, 2}}, 16};
    EXPECT_EQ(stage_of("conv(32, groups=16, dilation=1x2, pad=1:0x2:2, stride=2x1, kernel=3x2)"),
              StageOperation(full));

    TransposedConv transposed;
    transposed.output_channels = 21;
    transposed.kernel = {4, 4};
    transposed.stride = {2, 2};
    transposed.dilation = {1, 1};
    transposed.pad = {PaddingRule::stated, {1, 1}, {1, 1}};
    transposed.output_pad = {1, 0};
    transposed.weights = WeightInitialiser::bilinear;
    EXPECT_EQ(stage_of("transposed_conv(21, kernel=4, stride=2, pad=1, output_pad=1x0, weights=bilinear)"),
              StageOperation(transposed));

    transposed.output_pad = {0, 0};
    transposed.output_size = {17, 16};
    EXPECT_EQ(stage_of("transposed_conv(21, kernel=4, stride=2, pad=1, output_size=17x16, weights=bilinear)"),
              StageOperation(transposed));
}

TEST(Parse, ReadsPaddingRules) {
    const auto rule = [](const std::string &word) {
        return std::get<Conv>(stage_of("conv(3, kernel=3, pad=" + word + ")")).pad;
    };
    EXPECT_EQ(rule("same"), (Padding{PaddingRule::same, {}, {}}));
    EXPECT_EQ(rule("same_lower"), (Padding{PaddingRule::same_lower, {}, {}}));
    EXPECT_EQ(rule("valid"), (Padding{PaddingRule::valid, {}, {}}));
    EXPECT_EQ(rule("1:0"), (Padding{PaddingRule::stated, {1, 1}, {0, 0}}));
    EXPECT_EQ(rule("1x2"), (Padding{PaddingRule::stated, {1, 2}, {1, 2}}));
}

TEST(Parse, ReadsEveryOtherStage) {
    EXPECT_EQ(stage_of("pixel_shuffle(2)"), StageOperation(PixelShuffle{2, ShuffleOrder::crd}));
    EXPECT_EQ(stage_of("pixel_shuffle(4, order=dcr)"), StageOperation(PixelShuffle{4, ShuffleOrder::dcr}));
    EXPECT_EQ(stage_of("pixel_unshuffle(2, order=crd)"),
              StageOperation(PixelUnshuffle{2, ShuffleOrder::crd}));
    EXPECT_EQ(stage_of("nearest_upsample(2x3)"), StageOperation(NearestUpsample{{2, 3}}));
    EXPECT_EQ(
        stage_of("bilinear_upsample(2)"),
        StageOperation(BilinearUpsample{{2, 2}, EdgeRule::replicate, CornerRule::half_pixel, false, {}}));
    EXPECT_EQ(stage_of("bilinear_upsample(2, corners=aligned)"),
              StageOperation(BilinearUpsample{{2, 2}, EdgeRule::replicate, CornerRule::aligned, false, {}}));
    EXPECT_EQ(
        stage_of("bilinear_upsample(2, edge=zero, pad=0)"),
        StageOperation(BilinearUpsample{
            {2, 2}, EdgeRule::zero, CornerRule::half_pixel, true, {PaddingRule::stated, {0, 0}, {0, 0}}}));
    EXPECT_EQ(stage_of("bias"), StageOperation(Bias{}));
    EXPECT_EQ(stage_of("scale"), StageOperation(Scale{}));
    EXPECT_EQ(stage_of("prelu"), StageOperation(Prelu{}));
    EXPECT_EQ(stage_of("add"), StageOperation(Add{}));
    EXPECT_EQ(stage_of("relu()"), StageOperation(Activation{ActivationKind::relu, 0, 0}));
    EXPECT_EQ(stage_of("leaky_relu(1e-2)"), StageOperation(Activation{ActivationKind::leaky_relu, 0.01, 0}));
    EXPECT_EQ(stage_of("clamp(-1.5E1, 6)"), StageOperation(Activation{ActivationKind::clamp, -15, 6}));
    EXPECT_EQ(stage_of("tanh"), StageOperation(Activation{ActivationKind::tanh, 0, 0}));
    EXPECT_EQ(stage_of("sigmoid"), StageOperation(Activation{ActivationKind::sigmoid, 0, 0}));
    EXPECT_EQ(stage_of("silu"), StageOperation(Activation{ActivationKind::silu, 0, 0}));
    EXPECT_EQ(stage_of("gelu"), StageOperation(Activation{ActivationKind::gelu, 0, 0}));
    EXPECT_EQ(stage_of("crop(from=1x2, size=5)"), StageOperation(Crop{{1, 2}, {5, 5}}));
}

TEST(Parse, AcceptsAnySpacingCommentsAndLineEnds) {
    const ParseResult result =
        parse_layers("\xEF\xBB\xBF# one \xE2\x80\x94 comment\r\n"
                     "\r\n"
                     "\ta=input( f32 ,1x8x8x3 )|conv( 4 , kernel = 3 )|bias # more | stages\r\n"
                     "  b = input(f32, 1x8x8x3) | relu",
                     "f");
    ASSERT_TRUE(result.ok()) << to_string(result.errors[0]);
    ASSERT_EQ(result.layers.size(), 2u);
    EXPECT_EQ(print(result.layers[0]), "a = input(f32, 1x8x8x3) | conv(4, kernel=3) | bias");
    EXPECT_EQ(result.layers[0].position.line, 3);
    EXPECT_EQ(result.layers[0].position.column, 2);
}

TEST(Parse, ReadsOneChain) {
    const ParseResult good = parse_layer("input(f32, 1x8x8x3)\n  | relu # done\n", "only");
    ASSERT_TRUE(good.ok());
    EXPECT_EQ(print(good.layers.at(0)), "only = input(f32, 1x8x8x3) | relu");
    EXPECT_EQ(good.layers[0].stages[0].position.line, 2);

    EXPECT_EQ(to_string(parse_layer("", "x").errors.at(0)),
              "layer:1:1: layer: expected input(TYPE, SHAPE), got the end of the line");
    EXPECT_EQ(to_string(parse_layer("a = input(f32, 1x8x8x3) | relu", "x", "record 7").errors.at(0)),
              "record 7:1:1: layer: expected input(TYPE, SHAPE), got 'a'");
    const ParseResult bad_name = parse_layer("input(f32, 1x8x8x3) | relu", "a-b");
    EXPECT_TRUE(bad_name.layers.empty());
    EXPECT_EQ(to_string(bad_name.errors.at(0)), "layer:1:1: layer: name must be letters, digits and "
                                                "underscores and not start with a digit, got 'a-b'");
}

TEST(Parse, SurvivesLongLines) {
    std::string chain = "input(f32, 1x8x8x3)";
    for (int i = 0; i < 20000; i++)
        chain += " | relu";
    EXPECT_EQ(parse_layer(chain, "x").layers.at(0).stages.size(), 20000u);

    const std::string word(1000000, 'k');
    EXPECT_EQ(errors_of("a = input(f32, 1x8x8x3) | " + word),
              Texts{"f:1:27: layer: unknown stage '" + word.substr(0, 40) + "…'"});
    std::string sizes = "1";
    for (int i = 0; i < 100000; i++)
        sizes += "x1";
    EXPECT_EQ(errors_of("a = input(f32, 1x8x8x3) | conv(1, kernel=" + sizes + ")"),
              Texts{"f:1:42: conv: kernel must be one number or 2, one for each spatial axis, got " +
                    sizes.substr(0, 40) + "…"});
}

// Each text is canonical: parsing and printing it changes nothing.
class Canonical : public testing::TestWithParam<const char *> {};

TEST_P(Canonical, RoundTrips) {
    const ParseResult result = parse_layers(GetParam(), "f");
    ASSERT_TRUE(result.ok()) << to_string(result.errors[0]);
    EXPECT_EQ(print(result.layers.at(0)), GetParam());
    EXPECT_EQ(parse_layer(print_chain(result.layers[0]), result.layers[0].name).layers.at(0),
              result.layers[0]);
}

INSTANTIATE_TEST_SUITE_P(
    Layers, Canonical,
    testing::Values(
        "up64 = input(f32, 1x64x64x256) | transposed_conv(64, kernel=4, stride=2, pad=1) | bias | relu",
        "score2 = input(f32, 1x16x16x21) | bilinear_upsample(2, edge=zero, pad=0) | add",
        "espcn = input(f32, 1x360x640x32) | conv(9, kernel=3, pad=1) | bias | pixel_shuffle(3)",
        "vae_up = input(f32, 1x64x64x512) | nearest_upsample(2) | conv(512, kernel=3, pad=1) | bias | silu",
        "anysize = input(f32, ?x?x?x56) | transposed_conv(1, kernel=9, stride=2, pad=4, output_pad=1) | bias",
        "voice = input(f32, 1x688x256) | leaky_relu(0.1) | transposed_conv(128, kernel=16, stride=8, pad=4) "
        "| bias",
        "volume = input(f32, 1x28x28x20x256) | transposed_conv(128, kernel=2, stride=2) | leaky_relu(0.01)",
        "chw = input(f16, 1x256x64x64, layout=nchw, numeric=exact) | transposed_conv(128, kernel=3, "
        "stride=2, pad=1)",
        "dla = input(f32, 1x32x32x64) | transposed_conv(64, kernel=8, stride=4, pad=2, groups=64, "
        "weights=bilinear)",
        "fcn8s = input(f32, 1x70x70x21) | transposed_conv(21, kernel=16, stride=8, weights=bilinear) | "
        "crop(from=31, size=500)",
        "demucs = input(f32, 1x8x336x384) | transposed_conv(192, kernel=8x1, stride=4x1) | bias | gelu",
        "all = input(i8, 0x?x9x8) | conv(4, kernel=3x2, stride=2x1, pad=1:0x2, dilation=1x2, groups=4)",
        "tc = input(f32, 1x9x8x4) | transposed_conv(4, kernel=3, stride=2, pad=same, output_size=17x16)",
        "lower = input(f32, 1x9x8x4) | transposed_conv(4, kernel=3, stride=2, pad=same_lower)",
        "valid = input(f32, 1x9x8x4) | conv(4, kernel=3, pad=valid)",
        "shuffle = input(f32, 1x8x8x4) | pixel_unshuffle(2, order=dcr) | pixel_shuffle(2)",
        "linear = input(f32, 1x8x8x4) | bilinear_upsample(2x3, corners=aligned) | scale | prelu | tanh | "
        "sigmoid",
        "real = input(f32, 1x8x8x4) | clamp(-1e-30, 3.4028234663852886e+38) | "
        "leaky_relu(0.30000000000000004)"));

TEST(Print, LeavesOutDefaults) {
    const ParseResult result = parse_layers(
        "a = input(f32, 1x8x8x4, numeric=safe, layout=nhwc) | conv(4, groups=1, dilation=1x1, pad=0:0x0, "
        "stride=1, "
        "kernel=3x3) | transposed_conv(4, weights=learned, output_pad=0, kernel=2, pad=1:1) | "
        "pixel_shuffle(2, "
        "order=crd) | bilinear_upsample(2, edge=replicate, corners=half_pixel) | clamp(0.0, 6.50) | relu()",
        "f");
    ASSERT_TRUE(result.ok()) << to_string(result.errors[0]);
    EXPECT_EQ(print(result.layers.at(0)),
              "a = input(f32, 1x8x8x4) | conv(4, kernel=3) | transposed_conv(4, kernel=2, "
              "pad=1) | pixel_shuffle(2) | bilinear_upsample(2) | clamp(0, 6.5) | relu");
    EXPECT_EQ(print(result.layers[0].stages[1].operation), "transposed_conv(4, kernel=2, pad=1)");
}

// A text with its errors, in the order of the file.
struct Wrong {
    std::string text;
    Texts errors;
};

void PrintTo(const Wrong &wrong, std::ostream *out) {
    *out << wrong.text;
}

class WrongText : public testing::TestWithParam<Wrong> {};

TEST_P(WrongText, IsReported) {
    EXPECT_EQ(errors_of(GetParam().text), GetParam().errors);
    EXPECT_TRUE(parse_layers(GetParam().text, "f").layers.empty());
}

const std::string in = "a = input(f32, 1x8x8x4) | "; // the stage begins in column 27

INSTANTIATE_TEST_SUITE_P(
    Lines, WrongText,
    testing::Values(
        Wrong{"", {"f:1:1: layer: a file must hold at least one layer, got none"}},
        Wrong{"# nothing\n\r\n", {"f:1:1: layer: a file must hold at least one layer, got none"}},
        Wrong{"3b = input(f32, 1x8x8x4) | relu",
              {"f:1:1: layer: name must be letters, digits and underscores and not start with a digit, got "
               "'3b'"}},
        Wrong{"= input(f32, 1x8x8x4) | relu", {"f:1:1: layer: expected the layer's name, got '='"}},
        Wrong{"| relu", {"f:1:1: layer: expected the layer's name, got '|'"}},
        Wrong{"a input(f32, 1x0x8x4) | relu",
              {"f:1:3: layer: expected '=' after the layer's name, got 'input'",
               "f:1:14: input: spatial size must be at least 1, got 0"}},
        Wrong{"a", {"f:1:2: layer: expected '=' after the layer's name, got the end of the line"}},
        Wrong{"a = conv(3)",
              {"f:1:5: layer: expected input(TYPE, SHAPE), got 'conv'",
               "f:1:5: conv: argument kernel must be given, got none"}},
        Wrong{"a = input(f32, 1x8x8x4)",
              {"f:1:24: layer: expected '|' and a stage, got the end of the line"}},
        Wrong{in, {"f:1:26: layer: expected a stage, got the end of the line"}},
        Wrong{in + "| relu", {"f:1:27: layer: expected a stage, got '|'"}},
        Wrong{in + "relu tanh | conv",
              {"f:1:32: layer: expected '|' or the end of the line, got 'tanh'",
               "f:1:39: conv: argument output_channels must be given, got none",
               "f:1:39: conv: argument kernel must be given, got none"}},
        Wrong{in + "relu | input(f32, 1x8x8x4)", {"f:1:34: layer: input must stand first, got it again"}},
        Wrong{in + "relu \xFF\xFE | x",
              {"f:1:32: layer: only visible ASCII may stand outside a comment, got byte 0xff"}},
        Wrong{std::string("a\0b = input", 11),
              {"f:1:2: layer: only visible ASCII may stand outside a comment, got byte 0x00"}},
        Wrong{"\n" + in + "a\n\nb = input(f32, 1x8x8x4) | b\n",
              {"f:2:27: layer: unknown stage 'a'", "f:4:27: layer: unknown stage 'b'"}}));

INSTANTIATE_TEST_SUITE_P(
    Input, WrongText,
    testing::Values(
        Wrong{"a = input(f64, 1x8x8x4) | relu",
              {"f:1:11: input: type must be f32, f16, bf16 or i8, got 'f64'"}},
        Wrong{"a = input(f32) | relu", {"f:1:5: input: argument shape must be given, got none"}},
        Wrong{"a = input(f32, 8x4) | relu",
              {"f:1:16: input: shape must be batch, one to three spatial sizes and channels, got '8x4'"}},
        Wrong{"a = input(f32, 1x-1x8x4) | relu",
              {"f:1:16: input: shape must be whole numbers or ? joined by x, got '1x-1x8x4'"}},
        Wrong{"a = input(f32, 1x8x8x) | relu",
              {"f:1:16: input: shape must be whole numbers or ? joined by x, got '1x8x8x'"}},
        Wrong{"a = input(f32, 1x8x8x?) | relu", {"f:1:16: input: channels must be fixed, got ?"}},
        Wrong{"a = input(f32, 1x?x8x4, layout=nchw) | relu",
              {"f:1:16: input: channels must be fixed, got ?"}},
        Wrong{"a = input(f32, 1x8x8x0) | relu", {"f:1:16: input: channels must be at least 1, got 0"}},
        Wrong{"a = input(f32, 2147483648x8x4) | relu",
              {"f:1:16: input: batch must be at most 2147483647, got 2147483648"}},
        Wrong{"a = input(f32, 99999999999999999999x8x4) | relu",
              {"f:1:16: input: shape must be at most 2147483647, got 99999999999999999999"}},
        Wrong{"a = input(f32, 1x2147483647x2147483647x2) | relu",
              {"f:1:16: input: shape must hold at most 2^62 elements, got more"}},
        Wrong{"a = input(f32, 1x8x8x4, layout=hwc, numeric=slow) | relu",
              {"f:1:32: input: layout must be nhwc or nchw, got 'hwc'",
               "f:1:45: input: numeric must be exact, safe or fast, got 'slow'"}}));

INSTANTIATE_TEST_SUITE_P(
    Arguments, WrongText,
    testing::Values(
        Wrong{in + "transposd_conv(3)",
              {"f:1:27: layer: unknown stage 'transposd_conv'; did you mean transposed_conv?"}},
        Wrong{in + "rleu", {"f:1:27: layer: unknown stage 'rleu'; did you mean relu?"}},
        Wrong{in + "deconv(3)", {"f:1:27: layer: unknown stage 'deconv'"}},
        Wrong{in + "conv(3, kernel=3, kernal=4, x=1)",
              {"f:1:45: conv: unknown argument 'kernal'; did you mean kernel?",
               "f:1:55: conv: unknown argument 'x'"}},
        Wrong{in + "conv(3, kernel=3, kernel=4)",
              {"f:1:45: conv: argument kernel must be given once, got it again"}},
        Wrong{in + "conv(kernel=3)", {"f:1:27: conv: argument output_channels must be given, got none"}},
        Wrong{in + "conv(kernel=3, 4)", {"f:1:42: conv: values without a name must come first, got '4'"}},
        Wrong{in + "conv(3, 4, kernel=3)", {"f:1:35: conv: too many values without a name, got '4'"}},
        Wrong{in + "relu(3)", {"f:1:32: relu: no arguments are taken, got '3'"}},
        Wrong{in + "conv(3, kernel=)", {"f:1:42: conv: expected a value of 'kernel', got ')'"}},
        Wrong{in + "conv(3, )", {"f:1:35: conv: expected an argument, got ')'"}},
        Wrong{in + "conv(3 kernel=3)", {"f:1:34: conv: expected ',' or ')', got 'kernel'"}},
        Wrong{in + "conv(3, kernel=3 | rel",
              {"f:1:44: conv: expected ',' or ')', got '|'",
               "f:1:46: layer: unknown stage 'rel'; did you mean relu?"}},
        Wrong{in + "conv(x, kernel=3.5)",
              {"f:1:32: conv: output_channels must be a whole number, got 'x'",
               "f:1:42: conv: kernel must be a whole number, or one for each axis such as 4x1, got '3.5'"}},
        Wrong{in + "conv(3, kernel=1x2x3)",
              {"f:1:42: conv: kernel must be one number or 2, one for each spatial axis, got 1x2x3"}},
        Wrong{"a = input(f32, 1x8x4) | conv(3, kernel=1x2)",
              {"f:1:40: conv: kernel must be one number, since the input has one spatial axis, got 1x2"}},
        Wrong{in + "conv(0, kernel=3x0, stride=-1, pad=0:-1, dilation=0, groups=0)",
              {"f:1:32: conv: output_channels must be at least 1, got 0",
               "f:1:42: conv: kernel must be at least 1, got 0",
               "f:1:54: conv: stride must be at least 1, got -1",
               "f:1:62: conv: pad must be at least 0, got -1",
               "f:1:77: conv: dilation must be at least 1, got 0",
               "f:1:87: conv: groups must be at least 1, got 0"}},
        Wrong{in + "conv(2147483648, kernel=99999999999999999999, pad=-99999999999999999999)",
              {"f:1:32: conv: output_channels must be at most 2147483647, got 2147483648",
               "f:1:51: conv: kernel must be at most 2147483647, got 99999999999999999999",
               "f:1:77: conv: pad must be at least 0, got -99999999999999999999"}},
        Wrong{in + "conv(3, kernel=3, pad=1:2:3)",
              {"f:1:49: conv: pad must be numbers such as 1, 1x2 or 1:0, or same, same_lower or valid, got "
               "'1:2:3'"}},
        Wrong{in + "conv(3, kernel=3, groups=2)",
              {"f:1:52: conv: groups must divide the 3 output channels, got 2"}},
        Wrong{in + "transposed_conv(3, kernel=3, stride=2, output_pad=2)",
              {"f:1:77: transposed_conv: output_pad must be less than max(stride, dilation) = 2, got 2"}},
        Wrong{in + "transposed_conv(3, kernel=3, stride=2, pad=same, output_pad=1)",
              {"f:1:87: transposed_conv: output_pad needs pad in numbers, got pad=same"}},
        Wrong{in + "transposed_conv(3, kernel=3, stride=2, output_pad=1, output_size=17)",
              {"f:1:77: transposed_conv: output_pad and output_size exclude each other, got both"}},
        Wrong{in + "transposed_conv(3, kernel=3, weights=linear)",
              {"f:1:64: transposed_conv: weights must be learned or bilinear, got 'linear'"}},
        Wrong{in + "pixel_shuffle(2x2)", {"f:1:41: pixel_shuffle: factor must be a whole number, got '2x2'"}},
        Wrong{in + "pixel_shuffle(2, order=rcd)",
              {"f:1:50: pixel_shuffle: order must be crd or dcr, got 'rcd'"}},
        Wrong{in + "nearest_upsample(0)", {"f:1:44: nearest_upsample: factor must be at least 1, got 0"}},
        Wrong{in + "bilinear_upsample(2, pad=1)",
              {"f:1:52: bilinear_upsample: pad needs edge=zero, got edge=replicate"}},
        Wrong{in + "bilinear_upsample(2, edge=zero, corners=aligned)",
              {"f:1:67: bilinear_upsample: corners must be half_pixel with edge=zero, got corners=aligned"}},
        Wrong{in + "leaky_relu", {"f:1:27: leaky_relu: argument slope must be given, got none"}},
        Wrong{in + "leaky_relu(a)", {"f:1:38: leaky_relu: slope must be a number, got 'a'"}},
        Wrong{in + "leaky_relu(nan)", {"f:1:38: leaky_relu: slope must be finite, got nan"}},
        Wrong{in + "leaky_relu(-1e39)",
              {"f:1:38: leaky_relu: slope must be a number that f32 holds, got -1e+39"}},
        Wrong{in + "leaky_relu(1e999)",
              {"f:1:38: leaky_relu: slope must be a number that a double can hold, got '1e999'"}},
        Wrong{in + "clamp(0)", {"f:1:27: clamp: argument hi must be given, got none"}},
        Wrong{in + "clamp(0, 1e0, 2)", {"f:1:41: clamp: too many values without a name, got '2'"}},
        Wrong{in + "clamp(6, 0.5)", {"f:1:36: clamp: hi must be at least lo = 6, got 0.5"}},
        Wrong{in + "crop(from=-1, size=0)",
              {"f:1:37: crop: from must be at least 0, got -1",
               "f:1:46: crop: size must be at least 1, got 0"}}));

TEST(Parse, RefusesANameTwice) {
    const std::string text = in + "relu\nb = input(f32, 1x8x8x4) | relu\n  " + in + "tanh\n";
    const ParseResult result = parse_layers(text, "f");
    EXPECT_EQ(errors_of(text), Texts{"f:3:3: layer: name must be unique, got 'a', which line 1 has"});
    EXPECT_EQ(result.layers.size(), 2u);
}

TEST(Parse, KeepsTheGoodLayersOfAFile) {
    const ParseResult result = parse_layers(in + "relu\nb = input(f32)\nc = input(f32, 1x8x4) | relu\n", "f");
    ASSERT_EQ(result.layers.size(), 2u);
    EXPECT_EQ(result.layers[1].name, "c");
    EXPECT_FALSE(result.ok());
}

TEST(Diagnostic, StatesPlaceStageAndRule) {
    const std::string text =
        "a = input(f32, 1x8x8x4) | relu\n\nf = input(f32, 1x8x4) | transposed_conv(1, kernel=0)\n";
    EXPECT_EQ(to_string(parse_layers(text, "layers/fcn.layers").errors.at(0)),
              "layers/fcn.layers:3:51: transposed_conv: kernel must be at least 1, got 0");
}

} // namespace
} // namespace unstride
