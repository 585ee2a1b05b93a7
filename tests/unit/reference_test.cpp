// Tests of the reference against hand-computed examples, directly written definitions and identities between
// layers.
#include "reference/reference.h"

#include "compiler/language/parser.h"
#include "reference/random_data.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <numeric>

namespace unstride::reference {
namespace {

Layer layer(const std::string &text) {
    const ParseResult parsed = parse_layer(text, "test");
    for (const Diagnostic &error : parsed.errors)
        ADD_FAILURE() << to_string(error);
    return parsed.layers.empty() ? Layer{} : parsed.layers.front();
}

ReferenceResult evaluated(const std::string &text, const LayerData &data) {
    Result<ReferenceResult> result = evaluate(layer(text), data);
    EXPECT_TRUE(result.ok()) << (result.ok() ? "" : result.error());
    return result.ok() ? *result : ReferenceResult{};
}

std::vector<double> values(const std::string &text, const LayerData &data) {
    return evaluated(text, data).values;
}

std::vector<float> integers(std::int64_t count, std::uint64_t seed, std::int64_t largest = 4) {
    Random random(seed);
    std::vector<float> numbers(static_cast<std::size_t>(count));
    for (float &number : numbers)
        number = static_cast<float>(random.integer(-largest, largest));
    return numbers;
}

std::vector<float> counting(std::int64_t count) {
    std::vector<float> numbers(static_cast<std::size_t>(count));
    std::iota(numbers.begin(), numbers.end(), 0.0f);
    return numbers;
}

std::vector<float> as_floats(const std::vector<double> &numbers) {
    return {numbers.begin(), numbers.end()};
}

double dot(const std::vector<double> &a, const std::vector<float> &b) {
    return std::inner_product(a.begin(), a.end(), b.begin(), 0.0);
}

void expect_near(const std::vector<double> &got, const std::vector<double> &expected, double tolerance) {
    ASSERT_EQ(got.size(), expected.size());
    for (std::size_t k = 0; k < got.size(); ++k)
        EXPECT_NEAR(got[k], expected[k], tolerance) << "element " << k;
}

TEST(Reference, ConvMatchesHandComputedSums) {
    // [1 2 3 4] with [1 10 100], padded by one: output 0 sees (0, 1, 2) and is 0·1 + 1·10 + 2·100.
    EXPECT_EQ(
        values("input(f32, 1x4x1) | conv(1, kernel=3, pad=1)", {{1, 2, 3, 4}, {1, 10, 100}, {}, {}, {}, {}}),
        (std::vector<double>{210, 321, 432, 43}));
    EXPECT_EQ(values("input(f32, 1x4x1) | conv(1, kernel=3, stride=2, pad=1:0)",
                     {{1, 2, 3, 4}, {1, 10, 100}, {}, {}, {}, {}}),
              (std::vector<double>{210, 432}));
    EXPECT_EQ(values("input(f32, 1x5x1) | conv(1, kernel=3, dilation=2)",
                     {{1, 2, 3, 4, 5}, {1, 10, 100}, {}, {}, {}, {}}),
              (std::vector<double>{531}));
    // TensorFlow SAME with stride 2 on four elements: out 2, total padding 1, all of it at the end.
    EXPECT_EQ(values("input(f32, 1x4x1) | conv(1, kernel=3, stride=2, pad=same)",
                     {{1, 2, 3, 4}, {1, 10, 100}, {}, {}, {}, {}}),
              (std::vector<double>{321, 43}));
    EXPECT_EQ(values("input(f32, 1x4x1) | conv(1, kernel=3, stride=2, pad=same_lower)",
                     {{1, 2, 3, 4}, {1, 10, 100}, {}, {}, {}, {}}),
              (std::vector<double>{210, 432}));
}

TEST(Reference, ConvReadsWeightsAsFrameworksStoreThem) {
    // (CO=2, CI/groups=2, 1): out0 = 1·a + 2·b, out1 = 3·a + 4·b.
    EXPECT_EQ(values("input(f32, 1x1x2) | conv(2, kernel=1)", {{10, 100}, {1, 2, 3, 4}, {}, {}, {}, {}}),
              (std::vector<double>{210, 430}));
    // groups=2 over four channels: (CO=2, 2, 1).
    EXPECT_EQ(values("input(f32, 1x1x4) | conv(2, kernel=1, groups=2)",
                     {{1, 10, 100, 1000}, {1, 2, 3, 4}, {}, {}, {}, {}}),
              (std::vector<double>{21, 4300}));
}

TEST(Reference, TransposedConvReadsWeightsAsFrameworksStoreThem) {
    // (CI=2, CO=2, 1): out0 = 1·a + 3·b, out1 = 2·a + 4·b.
    EXPECT_EQ(
        values("input(f32, 1x1x2) | transposed_conv(2, kernel=1)", {{10, 100}, {1, 2, 3, 4}, {}, {}, {}, {}}),
        (std::vector<double>{310, 420}));
    // groups=2, (CI=2, CO/groups=2, 1): each input channel makes two outputs of its own.
    EXPECT_EQ(values("input(f32, 1x1x2) | transposed_conv(4, kernel=1, groups=2)",
                     {{10, 100}, {1, 2, 3, 4}, {}, {}, {}, {}}),
              (std::vector<double>{10, 20, 300, 400}));
}

TEST(Reference, TransposedConvMatchesTensorFlowSame) {
    const LayerData data{{1, 2, 3, 4}, std::vector<float>(9, 1.0f), {}, {}, {}, {}};
    EXPECT_EQ(values("input(f32, 1x2x2x1) | transposed_conv(1, kernel=3, stride=2, pad=same)", data),
              (std::vector<double>{1, 1, 3, 2, 1, 1, 3, 2, 4, 4, 10, 6, 3, 3, 7, 4}));
}

TEST(Reference, TransposedConvHandlesPaddingOutputPadAndDilation) {
    const LayerData data{{1, 2}, {1, 10, 100}, {}, {}, {}, {}};
    EXPECT_EQ(values("input(f32, 1x2x1) | transposed_conv(1, kernel=3, stride=2)", data),
              (std::vector<double>{1, 10, 102, 20, 200}));
    EXPECT_EQ(values("input(f32, 1x2x1) | transposed_conv(1, kernel=3, stride=2, pad=1)", data),
              (std::vector<double>{10, 102, 20}));
    EXPECT_EQ(values("input(f32, 1x2x1) | transposed_conv(1, kernel=3, stride=2, pad=1, output_pad=1)", data),
              (std::vector<double>{10, 102, 20, 200}));
    EXPECT_EQ(
        values("input(f32, 1x2x1) | transposed_conv(1, kernel=3, stride=2, pad=1, output_size=4)", data),
        (std::vector<double>{10, 102, 20, 200}));
    EXPECT_EQ(values("input(f32, 1x2x1) | transposed_conv(1, kernel=3, stride=2, pad=0:2)", data),
              (std::vector<double>{1, 10, 102}));
    EXPECT_EQ(values("input(f32, 1x2x1) | transposed_conv(1, kernel=3, stride=2, dilation=2)", data),
              (std::vector<double>{1, 0, 12, 0, 120, 0, 200}));
    // A kernel smaller than the stride leaves holes that hold only the bias.
    EXPECT_EQ(values("input(f32, 1x2x1) | transposed_conv(1, kernel=1, stride=3, output_pad=1) | bias",
                     {{1, 2}, {10}, {0.5f}, {}, {}, {}}),
              (std::vector<double>{10.5, 0.5, 0.5, 20.5, 0.5}));
}

TEST(Reference, TransposedConvOfOneHotIsTheKernelPlaced) {
    const std::vector<float> kernel = integers(2 * 3 * 4 * 3, 5);
    std::vector<float> one_hot(4 * 5 * 2, 0.0f);
    one_hot[(1 * 5 + 2) * 2 + 1] = 1; // y 1, x 2, channel 1
    const ReferenceResult result =
        evaluated("input(f32, 1x4x5x2) | transposed_conv(3, kernel=4x3, stride=3x2, pad=1x0)",
                  {one_hot, kernel, {}, {}, {}, {}});
    EXPECT_EQ(result.shape, (Shape{1, {11, 11}, 3}));
    double placed = 0;
    for (int co = 0; co < 3; ++co)
        for (int ky = 0; ky < 4; ++ky)
            for (int kx = 0; kx < 3; ++kx) {
                const int y = 3 * 1 + ky - 1, x = 2 * 2 + kx;
                const double weight = kernel[static_cast<std::size_t>(((3 + co) * 4 + ky) * 3 + kx)];
                EXPECT_EQ(result.values[static_cast<std::size_t>((y * 11 + x) * 3 + co)], weight);
                placed += std::abs(weight);
            }
    double total = 0;
    for (const double value : result.values)
        total += std::abs(value);
    EXPECT_EQ(total, placed);
}

// <conv(a), b> = <a, transposed_conv(b)>: the same weights serve both, (CO, CI/groups, …) read as (CI,
// CO/groups, …).
void expect_adjoint(const std::string &small, const std::string &large, const std::string &arguments, int few,
                    int many) {
    const std::string conv = "input(f32, " + large + "x" + std::to_string(few) + ") | conv(" +
                             std::to_string(many) + ", " + arguments + ")";
    const std::string transposed = "input(f32, " + small + "x" + std::to_string(many) +
                                   ") | transposed_conv(" + std::to_string(few) + ", " + arguments + ")";
    const DataSizes sizes = *data_sizes(layer(conv));
    const std::vector<float> weights = integers(sizes.weights, 1), a = integers(sizes.input, 2);
    const std::vector<float> b = integers(data_sizes(layer(transposed))->input, 3);
    const std::vector<double> conv_a = values(conv, {a, weights, {}, {}, {}, {}});
    const std::vector<double> transposed_b = values(transposed, {b, weights, {}, {}, {}, {}});
    ASSERT_EQ(conv_a.size(), b.size()) << conv;
    ASSERT_EQ(transposed_b.size(), a.size()) << transposed;
    EXPECT_EQ(dot(conv_a, b), dot(transposed_b, a)) << conv;
}

TEST(Reference, TransposedConvIsTheAdjointOfConv) {
    expect_adjoint("2x5", "2x10", "kernel=4, stride=2, pad=1", 3, 5);
    expect_adjoint("1x4x5", "1x11x11", "kernel=4x3, stride=3x2, pad=1x0", 2, 4);
    expect_adjoint("1x5x4", "1x9x10", "kernel=3x4, dilation=2x1, stride=1x3, pad=0:0x1:2", 4, 6);
    expect_adjoint("1x3x3x3", "1x6x6x6", "kernel=2, stride=2", 2, 3);
    expect_adjoint("1x4x4", "1x7x7", "kernel=3, stride=2, pad=1, groups=2", 4, 6);
    expect_adjoint("1x4x4", "1x7x7", "kernel=3, stride=2, pad=1, groups=4", 4, 4);
}

TEST(Reference, IsLinearInInputAndWeights) {
    const std::string text =
        "input(f32, 2x4x3x2, layout=nchw) | transposed_conv(3, kernel=3, stride=2, pad=1, output_pad=1)";
    const DataSizes sizes = *data_sizes(layer(text));
    const std::vector<float> x = integers(sizes.input, 1), y = integers(sizes.input, 2);
    const std::vector<float> v = integers(sizes.weights, 3), w = integers(sizes.weights, 4);
    const auto sum = [](std::vector<float> a, const std::vector<float> &b) {
        std::transform(a.begin(), a.end(), b.begin(), a.begin(), [](float p, float q) { return p + 2 * q; });
        return a;
    };
    const auto run = [&](const std::vector<float> &input, const std::vector<float> &weights) {
        return as_floats(values(text, {input, weights, {}, {}, {}, {}}));
    };
    EXPECT_EQ(run(sum(x, y), w), sum(run(x, w), run(y, w)));
    EXPECT_EQ(run(x, sum(v, w)), sum(run(x, v), run(x, w)));
}

TEST(Reference, KernelEqualToStrideIsConvAndPixelShuffle) {
    // transposed_conv weight [ci][co][i][j] is the 1x1 conv's weight [co·4 + i·2 + j][ci].
    const std::vector<float> weights = integers(3 * 2 * 4, 7);
    std::vector<float> permuted(weights.size());
    for (std::size_t ci = 0; ci < 3; ++ci)
        for (std::size_t output = 0; output < 8; ++output)
            permuted[output * 3 + ci] = weights[ci * 8 + output];
    const std::vector<float> input = integers(2 * 3 * 4 * 3, 8);
    EXPECT_EQ(values("input(f32, 2x3x4x3) | transposed_conv(2, kernel=2, stride=2)",
                     {input, weights, {}, {}, {}, {}}),
              values("input(f32, 2x3x4x3) | conv(8, kernel=1) | pixel_shuffle(2)",
                     {input, permuted, {}, {}, {}, {}}));
}

TEST(Reference, PixelShuffleFollowsTheFormulas) {
    const int height = 2, width = 3, channels = 2, r = 2;
    const LayerData data{counting(height * width * channels * r * r), {}, {}, {}, {}, {}};
    const auto in = [&](int c, int h, int w) { return (h * width + w) * channels * r * r + c; };
    const std::vector<double> crd = values("input(f32, 1x2x3x8) | pixel_shuffle(2)", data);
    const std::vector<double> dcr = values("input(f32, 1x2x3x8) | pixel_shuffle(2, order=dcr)", data);
    for (int c = 0; c < channels; ++c)
        for (int h = 0; h < height; ++h)
            for (int w = 0; w < width; ++w)
                for (int i = 0; i < r; ++i)
                    for (int j = 0; j < r; ++j) {
                        const auto out =
                            static_cast<std::size_t>(((h * r + i) * width * r + w * r + j) * channels + c);
                        EXPECT_EQ(crd[out], in(c * r * r + i * r + j, h, w));
                        EXPECT_EQ(dcr[out], in((i * r + j) * channels + c, h, w));
                    }
}

TEST(Reference, PixelUnshuffleUndoesPixelShuffle) {
    for (const std::string shape : {"2x5x27", "1x2x3x27", "1x2x1x2x27"})
        for (const std::string order : {"crd", "dcr"}) {
            const std::string text = "input(f32, " + shape + ") | pixel_shuffle(3, order=" + order +
                                     ") | pixel_unshuffle(3, order=" + order + ")";
            const LayerData data{counting(data_sizes(layer(text))->input), {}, {}, {}, {}, {}};
            EXPECT_EQ(as_floats(values(text, data)), data.input) << text;
        }
}

TEST(Reference, NearestUpsampleRepeatsPixels) {
    EXPECT_EQ(values("input(f32, 1x1x2x1) | nearest_upsample(2x3)", {{1, 2}, {}, {}, {}, {}, {}}),
              (std::vector<double>{1, 1, 1, 2, 2, 2, 1, 1, 1, 2, 2, 2}));
}

TEST(Reference, IcnrWeightsMakeConvAndShuffleStartAsNearest) {
    // Each sub-kernel is repeated r² times in the shuffle's own order.
    const std::vector<float> kernel = integers(2 * 3 * 9, 4), input = integers(4 * 5 * 3, 5);
    for (const std::string order : {"crd", "dcr"}) {
        std::vector<float> repeated;
        for (std::size_t output = 0; output < 8; ++output) {
            const std::size_t sub = order == "crd" ? output / 4 : output % 2;
            repeated.insert(repeated.end(), kernel.begin() + static_cast<std::ptrdiff_t>(sub * 27),
                            kernel.begin() + static_cast<std::ptrdiff_t>(sub * 27 + 27));
        }
        EXPECT_EQ(
            values("input(f32, 1x4x5x3) | conv(8, kernel=3, pad=1) | pixel_shuffle(2, order=" + order + ")",
                   {input, repeated, {}, {}, {}, {}}),
            values("input(f32, 1x4x5x3) | conv(2, kernel=3, pad=1) | nearest_upsample(2)",
                   {input, kernel, {}, {}, {}, {}}));
    }
}

// Linear interpolation of one row at a real coordinate, the border value beyond the borders.
double interpolated(const std::vector<float> &row, double at) {
    const double last = static_cast<double>(row.size() - 1);
    at = std::clamp(at, 0.0, last);
    const auto left = static_cast<std::size_t>(std::floor(at)), right = std::min(left + 1, row.size() - 1);
    const double part = at - std::floor(at);
    return row[left] * (1 - part) + row[right] * part;
}

TEST(Reference, BilinearReplicateIsHalfPixelResizing) {
    for (const int factor : {1, 2, 3, 4, 5, 8})
        for (const std::size_t size : {1, 2, 7}) {
            const std::vector<float> row = integers(static_cast<std::int64_t>(size), 11, 100);
            std::vector<double> expected;
            for (std::size_t o = 0; o < size * static_cast<std::size_t>(factor); ++o)
                expected.push_back(interpolated(row, (static_cast<double>(o) + 0.5) / factor - 0.5));
            expect_near(values("input(f32, 1x" + std::to_string(size) + "x1) | bilinear_upsample(" +
                                   std::to_string(factor) + ")",
                               {row, {}, {}, {}, {}, {}}),
                        expected, 1e-12);
        }
}

TEST(Reference, BilinearAlignedIsAlignCornersResizing) {
    for (const int factor : {2, 3, 4})
        for (const std::size_t size : {1, 2, 6}) {
            const std::vector<float> row = integers(static_cast<std::int64_t>(size), 12, 100);
            std::vector<double> expected;
            for (std::size_t o = 0; o < (size - 1) * static_cast<std::size_t>(factor) + 1; ++o)
                expected.push_back(interpolated(row, static_cast<double>(o) / factor));
            expect_near(values("input(f32, 1x" + std::to_string(size) + "x1) | bilinear_upsample(" +
                                   std::to_string(factor) + ", corners=aligned)",
                               {row, {}, {}, {}, {}, {}}),
                        expected, 1e-12);
        }
}

TEST(Reference, BilinearIsSeparable) {
    // Two axes at once give the outer product of what each axis gives: feed an outer product.
    const std::vector<float> rows = integers(4, 13), columns = integers(5, 14);
    std::vector<float> image;
    for (const float y : rows)
        for (const float x : columns)
            image.push_back(y * x);
    for (const std::string edge : {"replicate", "zero"}) {
        const auto one_axis = [&](const std::vector<float> &line, int factor) {
            return values("input(f32, 1x" + std::to_string(line.size()) + "x1) | bilinear_upsample(" +
                              std::to_string(factor) + ", edge=" + edge + ")",
                          {line, {}, {}, {}, {}, {}});
        };
        std::vector<double> expected;
        for (const double y : one_axis(rows, 2))
            for (const double x : one_axis(columns, 3))
                expected.push_back(y * x);
        expect_near(values("input(f32, 1x4x5x1) | bilinear_upsample(2x3, edge=" + edge + ")",
                           {image, {}, {}, {}, {}, {}}),
                    expected, 1e-12);
    }
}

TEST(Reference, BilinearWithZeroEdgeIsTheInitialisedTransposedConv) {
    const std::vector<float> input = integers(3 * 4 * 2, 15);
    const LayerData data{input, {}, {}, {}, {}, {}};
    const std::vector<double> upsampled =
        values("input(f32, 1x3x4x2) | bilinear_upsample(4, edge=zero)", data);
    EXPECT_EQ(upsampled,
              values("input(f32, 1x3x4x2) | transposed_conv(2, kernel=8, stride=4, pad=2, weights=bilinear)",
                     data));
    EXPECT_EQ(
        upsampled,
        values(
            "input(f32, 1x3x4x2) | transposed_conv(2, kernel=8, stride=4, pad=2, groups=2, weights=bilinear)",
            data));
    EXPECT_EQ(values("input(f32, 1x3x4x2) | bilinear_upsample(4, edge=zero, pad=0)", data),
              values("input(f32, 1x3x4x2) | transposed_conv(2, kernel=8, stride=4, weights=bilinear)", data));

    // On a constant it fades in the outer floor(f/2) elements: the gain in element i is (f + 1 + 2i) / (2f).
    for (const int f : {2, 3, 4, 6}) {
        const std::vector<double> constant =
            values("input(f32, 1x5x1) | bilinear_upsample(" + std::to_string(f) + ", edge=zero)",
                   {{1, 1, 1, 1, 1}, {}, {}, {}, {}, {}});
        for (int i = 0; i < 5 * f; ++i) {
            const int from_border = std::min(i, 5 * f - 1 - i);
            EXPECT_NEAR(constant[static_cast<std::size_t>(i)],
                        from_border < f / 2 ? (f + 1 + 2 * from_border) / (2.0 * f) : 1.0, 1e-12);
        }
    }
}

TEST(Reference, BilinearFilterHasTheKnownNumbers) {
    EXPECT_EQ(bilinear_filter(1), (std::vector<double>{1}));
    EXPECT_EQ(bilinear_filter(3), (std::vector<double>{0.5, 1, 0.5}));
    EXPECT_EQ(bilinear_filter(4), (std::vector<double>{0.25, 0.75, 0.75, 0.25}));
}

TEST(Reference, ElementwiseStagesActWhereTheyStand) {
    EXPECT_EQ(values("input(f32, 1x2x2) | bias | scale | prelu | add",
                     {{1, -5, 2, 3}, {}, {1, 2}, {2, 3}, {0.5f, 0.25f}, {100, 200, 300, 400}}),
              (std::vector<double>{104, 200 - 9 * 0.25, 306, 415}));
    EXPECT_EQ(values("input(f32, 1x3x1) | relu | conv(1, kernel=1)", {{-1, 0, 2}, {-3}, {}, {}, {}, {}}),
              (std::vector<double>{0, 0, -6}));
    EXPECT_EQ(values("input(f32, 1x3x1) | conv(1, kernel=1) | relu", {{-1, 0, 2}, {-3}, {}, {}, {}, {}}),
              (std::vector<double>{3, 0, 0}));
    EXPECT_EQ(values("input(f32, 1x3x1) | leaky_relu(0.125)", {{-8, 0, 2}, {}, {}, {}, {}, {}}),
              (std::vector<double>{-1, 0, 2}));
    EXPECT_EQ(values("input(f32, 1x3x1) | clamp(0, 6)", {{-8, 3, 7}, {}, {}, {}, {}, {}}),
              (std::vector<double>{0, 3, 6}));
    const LayerData one{{1}, {}, {}, {}, {}, {}};
    expect_near(values("input(f32, 1x1x1) | tanh", one), {0.76159415595576489}, 1e-15);
    expect_near(values("input(f32, 1x1x1) | sigmoid", one), {0.73105857863000488}, 1e-15);
    expect_near(values("input(f32, 1x1x1) | silu", one), {0.73105857863000488}, 1e-15);
    expect_near(values("input(f32, 1x1x1) | gelu", one), {0.84134474606854293}, 1e-15);
}

TEST(Reference, CropKeepsTheWindow) {
    const LayerData data{counting(20), {}, {}, {}, {}, {}};
    EXPECT_EQ(values("input(f32, 1x4x5x1) | crop(from=1x2, size=2x3)", data),
              (std::vector<double>{7, 8, 9, 12, 13, 14}));
}

TEST(Reference, LayoutsHoldTheSameNumbers) {
    const std::string chain = " | transposed_conv(4, kernel=3, stride=2, pad=1) | bias | add | "
                              "leaky_relu(0.25) | crop(from=1, size=4)";
    const Layer channels_last = layer("input(f32, 2x3x4x2)" + chain);
    const Layer channels_first = layer("input(f32, 2x2x3x4, layout=nchw)" + chain);
    LayerData data = *exact_data(channels_last, 3), moved = data;
    const auto to_channels_first = [](const auto &from, auto &to, std::size_t batch, std::size_t pixels,
                                      std::size_t channels) {
        for (std::size_t n = 0; n < batch; ++n)
            for (std::size_t p = 0; p < pixels; ++p)
                for (std::size_t c = 0; c < channels; ++c)
                    to[(n * channels + c) * pixels + p] = from[(n * pixels + p) * channels + c];
    };
    to_channels_first(data.input, moved.input, 2, 12, 2);
    to_channels_first(data.add, moved.add, 2, 5 * 7, 4);
    const Result<ReferenceResult> last = evaluate(channels_last, data),
                                  first = evaluate(channels_first, moved);
    ASSERT_TRUE(last.ok() && first.ok());
    EXPECT_EQ(first->shape, (Shape{2, {4, 4}, 4}));
    std::vector<double> expected(last->values.size());
    to_channels_first(last->values, expected, 2, 16, 4);
    EXPECT_EQ(first->values, expected);
}

TEST(Reference, CountsTermsAndMagnitudes) {
    const ReferenceResult result =
        evaluated("input(f32, 1x2x2) | transposed_conv(1, kernel=3, stride=2) | bias",
                  {{1, -2, 3, 4}, {1, -1, 1, 2, 2, 2}, {-10}, {}, {}, {}});
    // Two taps reach an even output, from two channels each; the bias is one more.
    EXPECT_EQ(result.terms, 5);
    EXPECT_EQ(result.values, (std::vector<double>{-13, -15, -2, -5, 1}));
    EXPECT_EQ(result.magnitudes, (std::vector<double>{15, 15, 26, 21, 21}));
    EXPECT_EQ(evaluated("input(f32, 1x2x4) | pixel_shuffle(2) | crop(from=0, size=3) | relu",
                        {counting(8), {}, {}, {}, {}, {}})
                  .terms,
              0);
}

TEST(Reference, WithSizesReplacesOnlyDynamicSizes) {
    const Layer fixed = with_sizes(layer("input(f32, ?x?x7x2) | nearest_upsample(2)"), 3, {5, 6});
    EXPECT_EQ(fixed.input.batch, 3);
    EXPECT_EQ(fixed.input.spatial, (PerAxis{5, 7}));
    EXPECT_EQ(data_sizes(fixed)->input, 3 * 5 * 7 * 2);
}

TEST(Reference, RefusesWhatItCannotEvaluate) {
    const auto error_of = [](const Layer &refused, const LayerData &data) {
        const Result<ReferenceResult> result = evaluate(refused, data);
        return result.ok() ? std::string("no error") : result.error();
    };
    EXPECT_EQ(error_of(layer("input(f32, ?x4x1) | relu"), {}), "test: the reference needs every size fixed");
    EXPECT_EQ(error_of(layer("input(f32, 1x4x1) | relu"), {{1, 2, 3}, {}, {}, {}, {}, {}}),
              "test: input: expected 4 numbers, got 3");
    EXPECT_EQ(error_of(layer("input(f32, 1x4x1) | relu"), {{1, 2, 3, 4}, {1}, {}, {}, {}, {}}),
              "test: weights: expected 0 numbers, got 1");

    Layer two_convs = layer("input(f32, 1x4x1) | conv(1, kernel=1)");
    two_convs.stages.push_back(two_convs.stages.front());
    EXPECT_EQ(error_of(two_convs, {}),
              "test: conv: the reference evaluates one such stage with data of its own, got a second");
    Layer invalid = layer("input(f32, 1x4x1) | conv(1, kernel=1)");
    invalid.input.channels = 0;
    EXPECT_NE(error_of(invalid, {}), "no error");
}

TEST(Reference, NaNInTheInputReachesItsOutputsOnly) {
    LayerData data{std::vector<float>(4, 1.0f), {1, 1}, {}, {}, {}, {}};
    data.input[1] = std::nanf("");
    const std::vector<double> result =
        values("input(f32, 1x4x1) | transposed_conv(1, kernel=2, stride=2) | relu", data);
    for (std::size_t k = 0; k < 8; ++k)
        EXPECT_EQ(std::isnan(result[k]), k == 2 || k == 3) << k;
}

} // namespace
} // namespace unstride::reference
