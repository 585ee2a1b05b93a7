// Weights known in advance: initialisers, structure that makes a layer cheaper, batch normalisation.
#include "compiler/weights/batch_norm.h"
#include "compiler/weights/initialisers.h"
#include "compiler/weights/structure.h"

#include "compiler/language/parser.h"
#include "compiler/language/printer.h"
#include "reference/comparator.h"
#include "reference/random_data.h"
#include "reference/reference.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>

namespace unstride {
namespace {

using reference::LayerData;
using reference::Random;
using reference::ReferenceResult;

Layer layer_of(const std::string &text) {
    const ParseResult parsed = parse_layer(text, "layer");
    EXPECT_TRUE(parsed.ok()) << text << ": " << (parsed.ok() ? "" : to_string(parsed.errors[0]));
    return parsed.layers.empty() ? Layer{} : parsed.layers[0];
}

LearnedConvolution convolution_of(const Layer &layer) {
    return std::get<LearnedConvolution>(learned_convolution(layer));
}

Tensor filled(std::vector<std::int64_t> shape, float value = 0) {
    std::size_t count = 1;
    for (const std::int64_t size : shape)
        count *= static_cast<std::size_t>(size);
    return {std::move(shape), std::vector<float>(count, value)};
}

Tensor random_weights(const Layer &layer, std::uint64_t seed) {
    return normal_weights(convolution_of(layer).weight_shape, 1, seed);
}

WeightRewrite rewrite(const Layer &layer, const Tensor &weights) {
    auto result = rewrite_by_weights(layer, weights);
    EXPECT_TRUE(std::holds_alternative<WeightRewrite>(result));
    return std::get<WeightRewrite>(std::move(result));
}

ReferenceResult evaluated(const Layer &layer, LayerData data, const std::optional<Tensor> &weights) {
    data.weights = weights ? weights->values : std::vector<float>{};
    const auto result = reference::evaluate(layer, data);
    EXPECT_TRUE(result.ok()) << (result.ok() ? "" : result.error());
    return result.ok() ? *result : ReferenceResult{};
}

// Both layers on the same data. The rewritten one is held to the bound of its own, shorter sums; bilinear
// weights differ by a rounding or two each.
void expect_same_output(const Layer &layer, const Tensor &weights, const WeightRewrite &rewritten,
                        std::uint64_t seed) {
    const Layer before = reference::with_sizes(layer, 2, {5, 4, 3});
    const Layer after = reference::with_sizes(rewritten.layer, 2, {5, 4, 3});
    const LayerData data = reference::normal_data(before, seed);
    const ReferenceResult expected = evaluated(after, data, rewritten.weights),
                          got = evaluated(before, data, weights);
    const std::vector<float> values(got.values.begin(), got.values.end());
    const reference::Comparison comparison =
        reference::compare(after, expected, got.shape, values, {.exact = false, .factor = 3});
    EXPECT_TRUE(comparison.equal) << print(layer) << "\n" << comparison.report;
}

// --- Initialisers

TEST(Bilinear, DenseTensorHasTheFilterOnItsDiagonal) {
    const Tensor tensor = bilinear_kernel(3, 1, {4, 4});
    ASSERT_EQ(tensor.shape, (std::vector<std::int64_t>{3, 3, 4, 4}));
    const float filter[] = {0.25f, 0.75f, 0.75f, 0.25f};
    for (std::size_t a = 0; a < 3; a++)
        for (std::size_t b = 0; b < 3; b++)
            for (std::size_t y = 0; y < 4; y++)
                for (std::size_t x = 0; x < 4; x++)
                    EXPECT_EQ(tensor.values[((a * 3 + b) * 4 + y) * 4 + x],
                              a == b ? filter[y] * filter[x] : 0);
}

TEST(Bilinear, DepthwiseAndGroupedTensors) {
    EXPECT_EQ(bilinear_kernel(2, 2, {3}), (Tensor{{2, 1, 3}, {0.5f, 1, 0.5f, 0.5f, 1, 0.5f}}));
    EXPECT_EQ(bilinear_kernel(4, 2, {1}), (Tensor{{4, 2, 1}, {1, 0, 0, 1, 1, 0, 0, 1}}));
}

TEST(Bilinear, ComputesWhatTheLanguageDefines) {
    for (const char *groups : {"1", "2", "6"}) {
        const std::string common = "input(f32, 1x4x5x6) | transposed_conv(6, kernel=5x4, stride=3x2, groups=";
        const Layer learned = layer_of(common + groups + ")"),
                    bilinear = layer_of(common + groups + ", weights=bilinear)");
        const LayerData data = reference::normal_data(learned, 1);
        const ReferenceResult expected = evaluated(bilinear, data, std::nullopt),
                              got = evaluated(learned, data, bilinear_kernel(6, std::stoi(groups), {5, 4}));
        for (std::size_t i = 0; i < expected.values.size(); i++)
            ASSERT_NEAR(got.values[i], expected.values[i], 1e-6);
    }
}

std::vector<std::string> warnings_of(const std::string &arguments, const std::string &more = "") {
    const Layer layer = layer_of("input(f32, 1x8x2) | transposed_conv(2, " + arguments + ")" + more);
    return bilinear_recipe_warnings(layer, 0);
}

TEST(Bilinear, RecipesGiveNoWarning) {
    EXPECT_TRUE(warnings_of("kernel=4, stride=2, pad=1").empty());
    EXPECT_TRUE(warnings_of("kernel=5, stride=3, pad=1").empty());
    EXPECT_TRUE(warnings_of("kernel=64, stride=32, pad=16").empty());
    EXPECT_TRUE(warnings_of("kernel=64, stride=32", " | crop(from=16, size=9)").empty());
    EXPECT_TRUE(warnings_of("kernel=63, stride=32, pad=31").empty());
    EXPECT_TRUE(warnings_of("kernel=4, stride=2, pad=same").empty());
}

TEST(Bilinear, DeparturesFromTheRecipeAreNamed) {
    const auto shifted = warnings_of("kernel=63, stride=32, pad=16");
    ASSERT_EQ(shifted.size(), 1u);
    EXPECT_EQ(shifted[0],
              "width: kernel 63 with stride 32 is no bilinear upsampling by 32 but a shifted one; write "
              "kernel=64, pad=16 (or kernel=63, pad=31 for aligned corners)");
    const auto padding = warnings_of("kernel=4, stride=2");
    ASSERT_EQ(padding.size(), 1u);
    EXPECT_EQ(padding[0],
              "width: padding 0 shifts the bilinear upsampling by 1 output elements; write pad=1");
    EXPECT_EQ(warnings_of("kernel=4, stride=2, pad=1, dilation=2").size(), 1u);
    EXPECT_EQ(warnings_of("kernel=3, stride=3, pad=1").size(), 1u);
}

TEST(Normal, HasTheDeviationAndTheSeedDecides) {
    const Tensor tensor = normal_weights({100, 100}, 0.5, 7);
    double sum = 0, squares = 0;
    for (const float value : tensor.values) {
        sum += value;
        squares += double{value} * value;
    }
    EXPECT_NEAR(sum / 10000, 0, 0.02);
    EXPECT_NEAR(squares / 10000, 0.25, 0.02);
    EXPECT_EQ(tensor, normal_weights({100, 100}, 0.5, 7));
    EXPECT_NE(tensor, normal_weights({100, 100}, 0.5, 8));
    // The numbers of a seed are part of the contract; these come from the definition of mt19937_64.
    EXPECT_EQ(normal_weights({3}, 1, 0).values,
              (std::vector<float>{0x1.1547d6p-2f, -0x1.09591ap-2f, -0x1.9e7a18p-3f}));
}

TEST(Normal, HeDeviationKeepsTheVarianceOfTheOutput) {
    for (const char *text : {"input(f32, 1x40x40x8) | conv(16, kernel=3, pad=1)",
                             "input(f32, 1x40x40x8) | transposed_conv(16, kernel=4, stride=2, pad=1)",
                             "input(f32, 1x40x40x8) | transposed_conv(16, kernel=2, stride=2, groups=4)"}) {
        const Layer layer = layer_of(text);
        const LearnedConvolution convolution = convolution_of(layer);
        const Tensor weights = normal_weights(convolution.weight_shape, he_deviation(convolution), 3);
        const ReferenceResult output = evaluated(layer, reference::normal_data(layer, 4), weights);
        double squares = 0;
        for (const double value : output.values)
            squares += value * value;
        EXPECT_NEAR(squares / static_cast<double>(output.values.size()), 2, 0.5) << text;
    }
}

TEST(Icnr, ConvolutionAndShuffleBeginAsNearestUpsampling) {
    struct Case {
        const char *shuffled, *nearest;
        std::int64_t block;
        ShuffleOrder order;
        std::size_t output_axis;
    };
    for (const Case &c :
         {Case{"input(f32, 2x5x4x3) | conv(8, kernel=3, pad=1) | pixel_shuffle(2)",
               "input(f32, 2x5x4x3) | conv(2, kernel=3, pad=1) | nearest_upsample(2)", 4, ShuffleOrder::crd,
               0},
          Case{"input(f32, 2x5x4x3) | conv(18, kernel=3, pad=1) | pixel_shuffle(3, order=dcr)",
               "input(f32, 2x5x4x3) | conv(2, kernel=3, pad=1) | nearest_upsample(3)", 9, ShuffleOrder::dcr,
               0},
          Case{"input(f32, 1x5x3) | conv(4, kernel=3) | pixel_shuffle(2)",
               "input(f32, 1x5x3) | conv(2, kernel=3) | nearest_upsample(2)", 2, ShuffleOrder::crd, 0},
          Case{"input(f32, 1x3x3x3x2) | conv(24, kernel=2) | pixel_shuffle(2, order=dcr)",
               "input(f32, 1x3x3x3x2) | conv(3, kernel=2) | nearest_upsample(2)", 8, ShuffleOrder::dcr, 0},
          Case{"input(f32, 1x3x3x2) | transposed_conv(12, kernel=4, stride=2) | pixel_shuffle(2)",
               "input(f32, 1x3x3x2) | transposed_conv(3, kernel=4, stride=2) | nearest_upsample(2)", 4,
               ShuffleOrder::crd, 1}}) {
        const Layer shuffled = layer_of(c.shuffled), nearest = layer_of(c.nearest);
        const Tensor sub_kernels = random_weights(nearest, 5);
        const Tensor weights = icnr(sub_kernels, c.output_axis, c.block, c.order);
        EXPECT_EQ(weights.shape, convolution_of(shuffled).weight_shape);
        const LayerData data = reference::normal_data(shuffled, 6);
        EXPECT_EQ(evaluated(shuffled, data, weights).values, evaluated(nearest, data, sub_kernels).values)
            << c.shuffled;
    }
}

// --- Structure

TEST(Structure, RandomWeightsHaveNone) {
    const Layer layer =
        layer_of("input(f32, ?x?x?x3) | transposed_conv(3, kernel=4, stride=2, pad=1) | bias");
    const Tensor weights = random_weights(layer, 1);
    const WeightRewrite result = rewrite(layer, weights);
    EXPECT_FALSE(result.changed);
    EXPECT_EQ(result.layer, layer);
    EXPECT_EQ(result.weights, weights);
    EXPECT_FALSE(result.found.diagonal || result.found.bilinear || result.found.all_separable());
    EXPECT_EQ(std::count(result.found.separable.begin(), result.found.separable.end(), true), 0);
    EXPECT_TRUE(explain(result).empty());
    EXPECT_FALSE(result.call_multiplications_before.has_value());
}

TEST(Structure, FcnLayerComputesItsOwnWeights) {
    const Layer layer = layer_of(
        "input(f32, 1x16x16x21) | transposed_conv(21, kernel=64, stride=32) | crop(from=19, size=500)");
    const WeightRewrite result = rewrite(layer, bilinear_kernel(21, 1, {64, 64}));
    EXPECT_EQ(print_chain(result.layer), "input(f32, 1x16x16x21) | transposed_conv(21, kernel=64, stride=32, "
                                         "groups=21, weights=bilinear) | crop(from=19, size=500)");
    EXPECT_FALSE(result.weights.has_value());
    EXPECT_TRUE(result.changed && result.found.diagonal && result.found.bilinear);
    EXPECT_TRUE(result.found.all_separable());
    EXPECT_EQ(result.multiplications_before, 4 * 21);
    EXPECT_EQ(result.multiplications_after, 4);
    ASSERT_TRUE(result.call_multiplications_before && result.call_multiplications_after);
    EXPECT_EQ(*result.call_multiplications_before, 21 * *result.call_multiplications_after);
    EXPECT_EQ(explain(result).size(), 5u);
}

TEST(Structure, BilinearIsRecognisedWithinOneStepOnly) {
    const Layer layer =
        layer_of("input(f32, 1x4x4x3) | transposed_conv(3, kernel=5, stride=3, pad=1, groups=3)");
    Tensor weights = bilinear_kernel(3, 3, {5, 5});
    float &changed = weights.values[25 + 7];
    const float exact = changed;
    changed = std::nextafter(exact, 2.0f);
    EXPECT_TRUE(rewrite(layer, weights).found.bilinear);
    changed = std::nextafter(std::nextafter(exact, 2.0f), 2.0f);
    EXPECT_FALSE(rewrite(layer, weights).found.bilinear);
    EXPECT_FALSE(rewrite(layer, weights).changed);
    changed = std::nextafter(exact, 0.0f);
    EXPECT_TRUE(rewrite(layer, weights).found.bilinear);
    changed = std::numeric_limits<float>::quiet_NaN();
    EXPECT_FALSE(rewrite(layer, weights).found.bilinear);
}

TEST(Structure, OneWeightOffTheDiagonalKeepsTheLayerDense) {
    const Layer layer = layer_of("input(f32, 1x4x4x3) | conv(3, kernel=3, pad=1)");
    Tensor weights = filled({3, 3, 3, 3});
    for (std::size_t c = 0; c < 3; c++)
        std::fill_n(weights.values.begin() + static_cast<std::ptrdiff_t>(c * 4 * 9), 9, 1.5f);
    EXPECT_EQ(print_chain(rewrite(layer, weights).layer),
              "input(f32, 1x4x4x3) | conv(3, kernel=3, pad=1, groups=3)");
    weights.values[9] = -0.0f;
    EXPECT_TRUE(rewrite(layer, weights).found.diagonal);
    weights.values[9] = std::numeric_limits<float>::denorm_min();
    EXPECT_FALSE(rewrite(layer, weights).found.diagonal);
    EXPECT_FALSE(rewrite(layer, weights).changed);
    weights.values[9] = std::numeric_limits<float>::quiet_NaN();
    EXPECT_FALSE(rewrite(layer, weights).found.diagonal);
}

TEST(Structure, LayersThatWouldNotCompileStay) {
    const Layer unshuffled = layer_of("input(f32, 1x4x4x1) | pixel_unshuffle(2) | conv(4, kernel=1)");
    const Tensor identity{{4, 4, 1, 1}, {1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1}};
    const WeightRewrite result = rewrite(unshuffled, identity);
    EXPECT_TRUE(result.found.diagonal);
    EXPECT_FALSE(result.changed);
    EXPECT_EQ(result.weights, identity);
    // conv has no weights=bilinear.
    const Layer conv = layer_of("input(f32, 1x4x4x2) | conv(2, kernel=3, groups=2)");
    EXPECT_FALSE(rewrite(conv, bilinear_kernel(2, 2, {3, 3})).changed);
}

TEST(Structure, ZeroPlanesAreCutAsFarAsPaddingAllows) {
    struct Case {
        const char *before, *after;
        std::vector<int> zero_taps;
    };
    for (const Case &c :
         {Case{"conv(1, kernel=5, pad=2)", "conv(1, kernel=3, pad=1)", {0, 4}},
          Case{"conv(1, kernel=5, pad=1)", "conv(1, kernel=4, pad=0:1)", {0, 1}},
          Case{"conv(1, kernel=5, pad=2, stride=2)", "conv(1, kernel=4, stride=2, pad=1:2)", {0}},
          Case{"conv(1, kernel=4, pad=2, dilation=2)", "conv(1, kernel=3, pad=0:2, dilation=2)", {0, 1}},
          Case{"conv(1, kernel=3, pad=same)", "conv(1, kernel=2, pad=0:1)", {0}},
          Case{"conv(1, kernel=3)", "conv(1, kernel=3)", {0, 2}},
          Case{"transposed_conv(1, kernel=4, stride=2, pad=1)",
               "transposed_conv(1, kernel=2, stride=2)",
               {0, 3}},
          Case{"transposed_conv(1, kernel=4, stride=2)",
               "transposed_conv(1, kernel=3, stride=2, output_pad=1)",
               {0, 2, 3}},
          Case{"transposed_conv(1, kernel=3, stride=3, pad=1, output_pad=2)",
               "transposed_conv(1, kernel=2, stride=3, pad=1:0, output_pad=2)",
               {2}},
          Case{"transposed_conv(1, kernel=3, stride=3, pad=1:3, dilation=2)",
               "transposed_conv(1, kernel=2, stride=3, pad=1, dilation=2)",
               {2}},
          Case{"transposed_conv(1, kernel=3, stride=3, pad=2:1, dilation=2)",
               "transposed_conv(1, kernel=1, stride=3, output_pad=1, dilation=2)",
               {0, 2}},
          Case{"transposed_conv(1, kernel=3, stride=2, pad=1, output_size=8)",
               "transposed_conv(1, kernel=2, stride=2, output_pad=0)",
               {0}},
          Case{"transposed_conv(1, kernel=3, stride=2, pad=same)",
               "transposed_conv(1, kernel=2, stride=2)",
               {2}}}) {
        const Layer layer = layer_of(std::string("input(f32, 1x4x1) | ") + c.before);
        Tensor weights = random_weights(layer, 2);
        for (const int tap : c.zero_taps)
            weights.values[static_cast<std::size_t>(tap)] = 0;
        const WeightRewrite result = rewrite(layer, weights);
        EXPECT_EQ(print_chain(result.layer),
                  print_chain(layer_of(std::string("input(f32, 1x4x1) | ") + c.after)));
        EXPECT_EQ(result.changed, std::string(c.before) != c.after);
        EXPECT_EQ(result.weights->shape, convolution_of(result.layer).weight_shape);
        expect_same_output(layer, weights, result, 3);
    }
}

TEST(Structure, WeightsThatAreAllZeroKeepOneTap) {
    const Layer layer = layer_of("input(f32, 1x4x4x2) | conv(2, kernel=3, pad=2) | bias");
    const WeightRewrite result = rewrite(layer, filled({2, 2, 3, 3}));
    EXPECT_EQ(print_chain(result.layer), "input(f32, 1x4x4x2) | conv(2, kernel=1, pad=0:2, groups=2) | bias");
    EXPECT_EQ(result.weights, filled({2, 1, 1, 1}));
    expect_same_output(layer, filled({2, 2, 3, 3}), result, 3);
}

TEST(Structure, SeparableKernelsAreToldFromOthers) {
    Random random(9);
    for (const PerAxis &sizes : {PerAxis{3, 4}, PerAxis{3, 3, 3}, PerAxis{1, 5}, PerAxis{7, 7}}) {
        for (int repeat = 0; repeat < 200; repeat++) {
            std::vector<double> product = {1};
            for (const std::int64_t size : sizes) {
                std::vector<double> longer;
                std::vector<double> factors;
                for (std::int64_t t = 0; t < size; t++)
                    factors.push_back(repeat % 3 == 0 && t == 1 ? 0 : random.normal());
                for (const double p : product)
                    for (const double f : factors)
                        longer.push_back(static_cast<float>(p * f)); // rounded at every step
                product = longer;
            }
            std::vector<float> kernel(product.begin(), product.end());
            const auto factors = separate(kernel, sizes);
            ASSERT_TRUE(factors.has_value());
            ASSERT_EQ(factors->size(), sizes.size());
            if (sizes[0] == 1) continue;
            float &changed = kernel[static_cast<std::size_t>(random.integer(0, 8))];
            if (changed == 0) continue;
            changed *= 1 + 0x1p-18f;
            EXPECT_FALSE(separate(kernel, sizes).has_value());
        }
    }
    EXPECT_TRUE(separate(std::vector<float>(9, 0.0f), {3, 3}).has_value());
    EXPECT_FALSE(separate(std::vector<float>{1, 0, 0, 1}, {2, 2}).has_value());
    EXPECT_FALSE(separate(std::vector<float>(4, std::numeric_limits<float>::infinity()), {2, 2}).has_value());
}

TEST(Structure, WhatIsWrongIsSaid) {
    const auto error_of = [](const Layer &layer, const Tensor &weights) {
        const auto result = rewrite_by_weights(layer, weights);
        const auto *problem = std::get_if<Diagnostic>(&result);
        return problem == nullptr ? "no error" : to_string(*problem);
    };
    const Layer conv = layer_of("input(f32, 1x4x4x2) | conv(2, kernel=3)");
    EXPECT_EQ(error_of(conv, filled({2, 2, 3})),
              "layer:1:23: conv: weights must have the shape 2x2x3x3, got 2x2x3");
    EXPECT_EQ(error_of(conv, Tensor{{2, 2, 3, 3}, {1}}),
              "layer:1:23: conv: weights of the shape 2x2x3x3 hold 36 numbers, got 1");
    EXPECT_NE(
        error_of(layer_of("input(f32, 1x4x4x2) | relu"), filled({})).find("no convolution with learned"),
        std::string::npos);
    EXPECT_NE(error_of(layer_of("input(f32, 1x4x4x2) | conv(2, kernel=1) | conv(2, kernel=1)"), filled({}))
                  .find("stands second with learned weights"),
              std::string::npos);
}

// Layers and weights drawn at random, with structure more often than not.
class RandomCase {
public:
    explicit RandomCase(std::uint64_t seed) : random(seed) {
        const std::int64_t axes = random.integer(1, 3);
        layer.name = "random";
        layer.input.batch = coin() ? dynamic_size : 2;
        layer.input.layout = coin() ? Layout::nhwc : Layout::nchw;
        for (std::int64_t axis = 0; axis < axes; axis++)
            layer.input.spatial.push_back(coin() ? dynamic_size : random.integer(1, 6));
        const std::int64_t groups = random.integer(1, 2);
        layer.input.channels = groups * random.integer(1, 3);
        const std::int64_t output_channels =
            random.integer(0, 3) > 0 ? layer.input.channels : groups * random.integer(1, 3);
        if (coin()) layer.stages.push_back({Activation{ActivationKind::leaky_relu, 0.1, 0}, {}});
        if (coin()) {
            layer.stages.push_back({convolution<TransposedConv>(output_channels, groups, axes), {}});
        } else {
            if (coin()) layer.stages.push_back({NearestUpsample{numbers(axes, 1, 2)}, {}});
            layer.stages.push_back({convolution<Conv>(output_channels, groups, axes), {}});
        }
        if (coin()) layer.stages.push_back({Bias{}, {}});
        if (coin()) layer.stages.push_back({Activation{}, {}});
    }

    bool valid() const {
        return check_shapes(reference::with_sizes(layer, 2, {5, 4, 3})).empty() &&
               check_shapes(layer).empty();
    }

    Tensor weights() {
        const LearnedConvolution convolution = convolution_of(layer);
        const bool square = convolution.output_channels == convolution.input.channels;
        if (square && random.integer(0, 3) == 0)
            return bilinear_kernel(convolution.output_channels, convolution.groups, convolution.kernel);
        Tensor tensor = normal_weights(convolution.weight_shape, 1, random.next());
        const bool diagonal = square && coin();
        const std::int64_t second = tensor.shape[1];
        std::vector<std::int64_t> zero; // per axis: 0 none, 1 first plane, 2 last, 3 both
        for (std::size_t axis = 0; axis < convolution.kernel.size(); axis++)
            zero.push_back(random.integer(0, 3));
        std::int64_t taps = 1;
        for (const std::int64_t size : convolution.kernel)
            taps *= size;
        for (std::size_t i = 0; i < tensor.values.size(); i++) {
            const std::int64_t kernel = static_cast<std::int64_t>(i) / taps;
            bool keep = !diagonal || kernel / second % second == kernel % second;
            std::int64_t rest = static_cast<std::int64_t>(i) % taps;
            for (std::size_t axis = convolution.kernel.size(); axis-- > 0;) {
                const std::int64_t size = convolution.kernel[axis], t = rest % size;
                rest /= size;
                if (((zero[axis] & 1) != 0 && t == 0) || ((zero[axis] & 2) != 0 && t == size - 1))
                    keep = false;
            }
            if (!keep) tensor.values[i] = 0;
        }
        return tensor;
    }

    Layer layer;

private:
    Random random;

    bool coin() { return random.integer(0, 1) == 1; }

    PerAxis numbers(std::int64_t axes, std::int64_t low, std::int64_t high) {
        PerAxis values;
        for (std::int64_t axis = 0; axis < axes; axis++)
            values.push_back(random.integer(low, high));
        return values;
    }

    template<typename Convolution>
    Convolution convolution(std::int64_t output_channels, std::int64_t groups, std::int64_t axes) {
        Convolution conv;
        conv.output_channels = output_channels;
        conv.groups = groups;
        conv.kernel = numbers(axes, 1, 5);
        conv.stride = numbers(axes, 1, 3);
        conv.dilation = numbers(axes, 1, 2);
        constexpr PaddingRule rules[] = {PaddingRule::stated, PaddingRule::stated,     PaddingRule::stated,
                                         PaddingRule::same,   PaddingRule::same_lower, PaddingRule::valid};
        conv.pad.rule = rules[random.integer(0, 5)];
        if (conv.pad.rule == PaddingRule::stated) {
            conv.pad.begin = numbers(axes, 0, 3);
            conv.pad.end = numbers(axes, 0, 3);
        }
        if constexpr (std::is_same_v<Convolution, TransposedConv>) {
            conv.output_pad.assign(static_cast<std::size_t>(axes), 0);
            if (coin() && conv.pad.rule == PaddingRule::stated)
                conv.output_pad = numbers(axes, 0, 2);
            else if (coin())
                conv.output_size = numbers(axes, 1, 18);
        }
        return conv;
    }
};

TEST(Structure, RewrittenLayersComputeTheSame) {
    std::map<std::string, int> seen;
    for (std::uint64_t seed = 0; seed < 20000; seed++) {
        RandomCase random(seed);
        if (!random.valid()) continue;
        const Tensor weights = random.weights();
        const WeightRewrite result = rewrite(random.layer, weights);
        seen["valid"]++;
        if (!result.changed) continue;
        ASSERT_TRUE(check_shapes(result.layer).empty()) << print(result.layer);
        EXPECT_LE(result.multiplications_after, result.multiplications_before);
        if (result.weights) {
            EXPECT_EQ(result.weights->shape, convolution_of(result.layer).weight_shape);
        }
        EXPECT_EQ(infer_shapes(random.layer).back(), infer_shapes(result.layer).back());
        expect_same_output(random.layer, weights, result, seed);
        if (HasFailure()) return;
        const auto kernel_before = convolution_of(random.layer).kernel;
        const bool bilinear = !result.weights.has_value();
        const bool transposed = convolution_of(random.layer).transposed;
        seen[bilinear ? "bilinear" : "learned"]++;
        if (!bilinear && convolution_of(result.layer).kernel != kernel_before)
            seen[transposed ? "cut transposed_conv" : "cut conv"]++;
        if (!bilinear && convolution_of(result.layer).groups != convolution_of(random.layer).groups)
            seen[transposed ? "split transposed_conv" : "split conv"]++;
        const auto *conv =
            std::get_if<TransposedConv>(&random.layer.stages[convolution_of(random.layer).stage].operation);
        if (conv != nullptr && !conv->output_size.empty()) seen["output_size"]++;
    }
    for (const char *what : {"bilinear", "cut transposed_conv", "cut conv", "split transposed_conv",
                             "split conv", "output_size"})
        EXPECT_GT(seen[what], 30) << what;
    for (const auto &[what, count] : seen)
        RecordProperty(what, count);
}

// --- Batch normalisation

TEST(BatchNorm, EqualsItsFormula) {
    BatchNorm norm{{1.5f, -2, 0.25f}, {0.5f, 0, -3}, {0.1f, 100, -7}, {4, 0.01f, 0}, 1e-3};
    for (const std::vector<float> &bias : {std::vector<float>{}, {0.5f, -1, 2}}) {
        const auto folded = fold_batch_norm(norm, bias);
        ASSERT_TRUE(std::holds_alternative<ScaleAndBias>(folded));
        const auto &[scale, shift] = std::get<ScaleAndBias>(folded);
        for (std::size_t c = 0; c < 3; c++)
            for (const double x : {-3.0, 0.0, 0.125, 99.0}) {
                const double before = x + (bias.empty() ? 0 : bias[c]);
                const double expected =
                    (before - norm.mean[c]) / std::sqrt(norm.variance[c] + norm.eps) * norm.gamma[c] +
                    norm.beta[c];
                const double magnitude = std::abs(scale[c]) * (std::abs(x) + std::abs(norm.mean[c]) + 2) + 3;
                EXPECT_NEAR(x * scale[c] + shift[c], expected, magnitude * 0x1p-22);
            }
    }
}

TEST(BatchNorm, RoundingTheScaleMovesNothingAtTheMean) {
    const auto folded = fold_batch_norm({{1}, {0}, {1024}, {3}, 0});
    const auto &[scale, bias] = std::get<ScaleAndBias>(folded);
    EXPECT_EQ(double{scale[0]} * 1024 + bias[0], 0);
}

TEST(BatchNorm, WrongNumbersAreRefused) {
    const auto error_of = [](const BatchNorm &norm, const std::vector<float> &bias = {}) {
        const auto folded = fold_batch_norm(norm, bias);
        const auto *problem = std::get_if<std::string>(&folded);
        return problem == nullptr ? "no error" : *problem;
    };
    EXPECT_EQ(error_of({{1, 2}, {1, 2}, {1, 2}, {1}}),
              "batch normalisation: the variance must hold as many numbers as gamma, 2, got 1");
    EXPECT_EQ(error_of({{1}, {1}, {1}, {1}}, {1, 2}),
              "batch normalisation: the convolution's bias must hold as many numbers as gamma, 1, got 2");
    EXPECT_EQ(error_of({{1}, {1}, {1}, {0}, 0}),
              "batch normalisation: variance + eps must be above 0, got 0 + 0 in channel 0");
    EXPECT_EQ(error_of({{1}, {1}, {1}, {1}, -1}),
              "batch normalisation: eps must be a number of at least 0, got -1");
    EXPECT_NE(error_of({{1}, {1}, {1}, {std::nanf("")}}), "no error");
    EXPECT_NE(error_of({{3e38f}, {1}, {1}, {1e-6f}, 0}), "no error");
}

} // namespace
} // namespace unstride
