// Tests of the comparator, mostly with wrong answers that it must refuse, and of the seeded data that feeds
// it.
#include "reference/comparator.h"

#include "compiler/language/parser.h"
#include "compiler/language/printer.h"
#include "reference/random_data.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <limits>

namespace unstride::reference {
namespace {

Layer layer(const std::string &text) {
    const ParseResult parsed = parse_layer(text, "test");
    for (const Diagnostic &error : parsed.errors)
        ADD_FAILURE() << to_string(error);
    return parsed.layers.empty() ? Layer{} : parsed.layers.front();
}

bool contains(const std::string &text, const std::string &part) {
    return text.find(part) != std::string::npos;
}

std::vector<float> rounded(const std::vector<double> &values) {
    return {values.begin(), values.end()};
}

constexpr const char *chain = "input(f32, 2x3x4x5) | transposed_conv(6, kernel=4, stride=2, pad=1) | bias";

class Comparator : public testing::Test {
protected:
    const Layer tested = layer(chain);
    const ReferenceResult reference = *evaluate(tested, normal_data(tested, 1));
    std::vector<float> got = rounded(reference.values);

    Comparison compared(const Tolerance &tolerance = {}) {
        return compare(tested, reference, reference.shape, got, tolerance);
    }
};

TEST_F(Comparator, AcceptsTheRoundedReference) {
    for (const bool exact : {false, true}) {
        const Comparison comparison = compared({exact});
        EXPECT_TRUE(comparison.equal) << comparison.report;
        EXPECT_EQ(comparison.elements, 2 * 6 * 8 * 6);
        EXPECT_EQ(comparison.wrong, 0);
        EXPECT_EQ(comparison.report, "");
        EXPECT_FALSE(comparison.first || comparison.worst);
    }
}

TEST_F(Comparator, RefusesOneNaN) {
    got[7] = std::numeric_limits<float>::quiet_NaN();
    for (const bool exact : {false, true}) {
        const Comparison comparison = compared({exact});
        EXPECT_FALSE(comparison.equal);
        EXPECT_EQ(comparison.wrong, 1);
        EXPECT_EQ(comparison.worst->index, 7);
        EXPECT_TRUE(contains(comparison.report, "got nan")) << comparison.report;
    }
}

TEST_F(Comparator, RefusesNaNThatTheReferenceHoldsToo) {
    ReferenceResult broken = reference;
    broken.values[3] = std::numeric_limits<double>::quiet_NaN();
    got[3] = std::numeric_limits<float>::quiet_NaN();
    EXPECT_FALSE(compare(tested, broken, broken.shape, got).equal);
}

TEST_F(Comparator, RefusesInfinitiesAndBoundsWithoutEnd) {
    ReferenceResult broken = reference;
    broken.magnitudes[3] = std::numeric_limits<double>::infinity();
    EXPECT_FALSE(compare(tested, broken, broken.shape, got).equal);
    broken = reference;
    broken.values[3] = 1e300;
    got[3] = std::numeric_limits<float>::infinity();
    EXPECT_FALSE(compare(tested, broken, broken.shape, got).equal);
    EXPECT_FALSE(compare(tested, broken, broken.shape, got, {true}).equal);
}

TEST_F(Comparator, RefusesMemoryNobodyWrote) {
    fill_with_nan(got, 9);
    EXPECT_EQ(compared().wrong, compared().elements);
}

TEST_F(Comparator, RefusesAllZero) {
    std::fill(got.begin(), got.end(), 0.0f);
    EXPECT_FALSE(compared().equal);
    EXPECT_GT(compared().wrong, compared().elements / 2);
}

TEST_F(Comparator, RefusesSwappedElements) {
    std::swap(got[10], got[11]);
    const Comparison comparison = compared();
    EXPECT_EQ(comparison.wrong, 2);
    EXPECT_EQ(comparison.first->index, 10);
}

TEST_F(Comparator, RefusesOneElementJustBeyondItsBound) {
    constexpr std::size_t at = 100;
    const double bound = std::numeric_limits<float>::epsilon() * static_cast<double>(reference.terms) *
                             reference.magnitudes[at] +
                         std::numeric_limits<float>::min();
    // The first float above the bound is wrong, the last below it is right.
    float beyond = static_cast<float>(reference.values[at] + bound);
    while (static_cast<double>(beyond) - reference.values[at] <= bound)
        beyond = std::nextafter(beyond, std::numeric_limits<float>::infinity());
    while (static_cast<double>(std::nextafter(beyond, -100.0f)) - reference.values[at] > bound)
        beyond = std::nextafter(beyond, -100.0f);
    got[at] = beyond;
    EXPECT_EQ(compared().wrong, 1);
    EXPECT_TRUE(compared({false, 2}).equal);
    got[at] = std::nextafter(beyond, -100.0f);
    EXPECT_TRUE(compared().equal);
}

// The bound of element 100 for the magnitude of one that is 2 rows and 1 column away, of the same channel.
TEST_F(Comparator, TakesMagnitudesAsFarAsTheyReach) {
    constexpr std::size_t at = 100, channels = 6, width = 8;
    ReferenceResult uneven = reference;
    uneven.magnitudes[at + (2 * width + 1) * channels] = 1e6;
    const double beyond = 10 * error_bound(uneven, at);
    got[at] = static_cast<float>(reference.values[at] + beyond);
    const auto wrong = [&](const PerAxis &reach) {
        return compare(tested, uneven, uneven.shape, got, {false, 1, reach}).wrong;
    };
    EXPECT_EQ(wrong({}), 1);
    EXPECT_EQ(wrong({1, 1}), 1);
    EXPECT_EQ(wrong({2, 0}), 1);
    EXPECT_EQ(wrong({0, 1}), 1);
    EXPECT_EQ(wrong({2, 1}), 0);
    EXPECT_EQ(wrong({9, 9}), 0);
}

TEST_F(Comparator, MagnitudesStayInTheirChannelAndImage) {
    const Layer planar = layer("input(f32, 2x2x2x3, layout=nchw) | conv(2, kernel=1)");
    ReferenceResult result = *evaluate(planar, normal_data(planar, 1));
    std::fill(result.magnitudes.begin(), result.magnitudes.end(), 1.0);
    result.magnitudes[6 + 2] = 5; // image 0, channel 1, row 0, column 2
    result.magnitudes[18] = std::numeric_limits<double>::quiet_NaN();
    const ReferenceResult around = with_magnitudes_around(result, Layout::nchw, {1, 1});
    EXPECT_EQ(std::vector<double>(around.magnitudes.begin(), around.magnitudes.begin() + 12),
              (std::vector<double>{1, 1, 1, 1, 1, 1, 1, 5, 5, 1, 5, 5}));
    EXPECT_TRUE(std::isnan(around.magnitudes[18]));
}

TEST_F(Comparator, ExactRefusesOneUnitInTheLastPlace) {
    got[42] = std::nextafter(got[42], 100.0f);
    EXPECT_TRUE(compared().equal);
    const Comparison comparison = compared({true});
    EXPECT_EQ(comparison.wrong, 1);
    EXPECT_EQ(comparison.first->index, 42);
}

TEST_F(Comparator, ExactTakesZerosOfBothSigns) {
    const Layer copy = layer("input(f32, 1x2x1) | relu");
    const ReferenceResult zeros = *evaluate(copy, {{0, -1}, {}, {}, {}, {}, {}});
    const std::vector<float> negative{-0.0f, -0.0f};
    EXPECT_TRUE(compare(copy, zeros, zeros.shape, negative, {true}).equal);
}

TEST_F(Comparator, RefusesABorderComputedWithOtherPadding) {
    // The same layer with its output moved by one column: the inner part of a smooth image may look alike,
    // this does not.
    const Layer shifted =
        layer("input(f32, 2x3x4x5) | transposed_conv(6, kernel=4, stride=2, pad=1:1x0:2) | bias");
    const ReferenceResult wrong = *evaluate(shifted, normal_data(shifted, 1));
    ASSERT_EQ(wrong.shape, reference.shape);
    got = rounded(wrong.values);
    EXPECT_FALSE(compared().equal);
}

TEST_F(Comparator, RefusesAWrongLastRowOnly) {
    // What a missing tap does to one border row: the last row of the last image holds the bias-free values.
    const std::size_t row = 8 * 6;
    for (std::size_t k = got.size() - row; k < got.size(); ++k)
        got[k] -= 0.01f;
    const Comparison comparison = compared();
    EXPECT_EQ(comparison.wrong, static_cast<std::int64_t>(row));
    EXPECT_EQ(comparison.first->coordinates, "n=1 y=5 x=0 c=0");
}

TEST_F(Comparator, RefusesAnotherShapeOrCount) {
    Shape other = reference.shape;
    std::swap(other.spatial[0], other.spatial[1]);
    const Comparison shape = compare(tested, reference, other, got);
    EXPECT_FALSE(shape.equal);
    EXPECT_TRUE(contains(shape.report, "expected shape 2x6x8x6, got 2x8x6x6")) << shape.report;
    got.pop_back();
    EXPECT_FALSE(compared().equal);
    got.clear();
    EXPECT_FALSE(compared().equal);
    EXPECT_FALSE(compare(tested, ReferenceResult{reference.shape, {}, {}, 0}, reference.shape, got).equal);
}

TEST_F(Comparator, ChainsThatOnlyMoveValuesHaveNoBound) {
    const Layer shuffle = layer("input(f32, 1x2x2x4) | pixel_shuffle(2)");
    const ReferenceResult moved = *evaluate(shuffle, normal_data(shuffle, 2));
    std::vector<float> result = rounded(moved.values);
    EXPECT_TRUE(compare(shuffle, moved, moved.shape, result).equal);
    result[5] = std::nextafter(result[5], 10.0f);
    EXPECT_FALSE(compare(shuffle, moved, moved.shape, result).equal);
}

TEST_F(Comparator, ReportsWhatIsNeededToReplay) {
    got[0] += 0.001f;
    got[5] += 3;
    const Comparison comparison = compared();
    EXPECT_EQ(comparison.first->index, 0);
    EXPECT_EQ(comparison.worst->index, 5);
    EXPECT_EQ(comparison.worst->coordinates, "n=0 y=0 x=0 c=5");
    EXPECT_EQ(comparison.worst->expected, reference.values[5]);
    EXPECT_EQ(comparison.worst->got, got[5]);
    for (const std::string part :
         {"2 of 576 elements are wrong", "first wrong element 0 ", "worst wrong element 5 ", "expected ",
          "bound ", "layer: test = input(f32, 2x3x4x5) | transposed_conv("})
        EXPECT_TRUE(contains(comparison.report, part)) << part << "\n" << comparison.report;
}

TEST_F(Comparator, NamesCoordinatesInEitherLayout) {
    const Layer volume = layer("input(f32, 2x3x2x4x5, layout=nchw) | relu");
    const ReferenceResult expected = *evaluate(volume, normal_data(volume, 3));
    std::vector<float> result = rounded(expected.values);
    result[(((1 * 3 + 2) * 2 + 1) * 4 + 3) * 5 + 4] = -1;
    EXPECT_EQ(compare(volume, expected, expected.shape, result).first->coordinates, "n=1 z=1 y=3 x=4 c=2");
}

// An f32 evaluation of a conv with one pixel, summing its terms in the order that `step` walks them.
float summed(const LayerData &data, std::size_t step, bool fused) {
    float sum = 0;
    const std::size_t count = data.input.size();
    for (std::size_t k = 0; k < count; ++k) {
        const std::size_t at = k * step % count;
        const float x = data.input[at], w = data.weights[at];
        if (fused) {
            sum = std::fma(x, w, sum);
        } else {
            const volatile float product = x * w;
            sum += product;
        }
    }
    return sum + data.bias[0];
}

TEST(RandomData, ExactDataSumsExactlyInEveryOrder) {
    for (const std::string channels : {"7", "64", "1024", "65536"}) {
        const Layer pixel = layer("input(f32, 1x1x" + channels + ") | conv(1, kernel=1) | bias");
        const std::optional<LayerData> data = exact_data(pixel, 17);
        ASSERT_TRUE(data);
        const ReferenceResult expected = *evaluate(pixel, *data);
        for (const std::size_t step : {1, 3, 5, 11, 4099})
            for (const bool fused : {false, true}) {
                const std::vector<float> got{summed(*data, step, fused)};
                const Comparison comparison = compare(pixel, expected, expected.shape, got, {true});
                EXPECT_TRUE(comparison.equal) << comparison.report;
            }
    }
}

TEST(RandomData, ExactDataVaries) {
    const Layer deep =
        layer("input(f32, 1x2x2048) | transposed_conv(2, kernel=16, stride=8) | bias | prelu | add");
    const std::optional<LayerData> data = exact_data(deep, 1);
    ASSERT_TRUE(data);
    EXPECT_GT(*std::max_element(data->weights.begin(), data->weights.end()), 0);
    EXPECT_LT(*std::min_element(data->weights.begin(), data->weights.end()), 0);
    const ReferenceResult expected = *evaluate(deep, *data);
    for (const double value : expected.values)
        EXPECT_EQ(static_cast<float>(value), value);
}

TEST(RandomData, ExactDataKnowsWhatRounds) {
    for (const std::string stages :
         {"conv(8, kernel=3) | bias | leaky_relu(0.25)", "conv(8, kernel=3) | clamp(0, 6)",
          "scale | bilinear_upsample(4) | add", "bilinear_upsample(2, corners=aligned)",
          "transposed_conv(8, kernel=8, stride=4, weights=bilinear) | bias | prelu",
          "transposed_conv(8, kernel=3, stride=2, dilation=2, weights=bilinear)"}) {
        const Layer exact = layer("input(f32, 1x4x4x8) | " + stages);
        const std::optional<LayerData> data = exact_data(exact, 1);
        ASSERT_TRUE(data) << stages;
        const ReferenceResult expected = *evaluate(exact, *data);
        for (const double value : expected.values)
            EXPECT_EQ(static_cast<float>(value), value) << stages;
    }
    for (const std::string stage :
         {"leaky_relu(0.1)", "clamp(0, 0.3)", "tanh", "sigmoid", "silu", "gelu", "bilinear_upsample(3)",
          "transposed_conv(8, kernel=5, stride=3, weights=bilinear)"})
        EXPECT_FALSE(exact_data(layer("input(f32, 1x4x4x8) | " + stage), 1)) << stage;
    const Layer wide = layer("input(f32, 1x1x65536) | conv(1, kernel=1)");
    EXPECT_TRUE(exact_data(wide, 1));
    EXPECT_FALSE(exact_data(wide, 1, 12));
}

TEST(RandomData, IsTheSameForASeedOnEveryPlatform) {
    Random random(1234567);
    EXPECT_EQ(random.next(), 6457827717110365317u); // splitmix64's published sequence for this seed
    EXPECT_EQ(random.next(), 3203168211198807973u);
    const Layer some = layer(chain);
    EXPECT_EQ(normal_data(some, 5).weights, normal_data(some, 5).weights);
    EXPECT_NE(normal_data(some, 5).weights, normal_data(some, 6).weights);
}

TEST(RandomData, DrawsWithinItsRanges) {
    Random random(3);
    double sum = 0, squares = 0;
    bool low = false, high = false;
    for (int k = 0; k < 10000; ++k) {
        const std::int64_t number = random.integer(-3, 4);
        EXPECT_TRUE(number >= -3 && number <= 4);
        low |= number == -3;
        high |= number == 4;
        const double normal = random.normal();
        sum += normal;
        squares += normal * normal;
    }
    EXPECT_TRUE(low && high);
    EXPECT_NEAR(sum / 10000, 0, 0.05);
    EXPECT_NEAR(squares / 10000, 1, 0.05);
    EXPECT_NO_FATAL_FAILURE(
        random.integer(std::numeric_limits<std::int64_t>::min(), std::numeric_limits<std::int64_t>::max()));
}

TEST(RandomData, FillsEveryElementWithNaN) {
    std::vector<float> memory(1000, 1.0f);
    fill_with_nan(memory, 2);
    for (const float value : memory)
        EXPECT_TRUE(std::isnan(value));
    EXPECT_NE(std::bit_cast<std::uint32_t>(memory[0]), std::bit_cast<std::uint32_t>(memory[1]));
}

} // namespace
} // namespace unstride::reference
