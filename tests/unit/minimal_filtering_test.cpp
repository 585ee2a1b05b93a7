// Minimal filtering, verified with exact fractions: the matrices on basis vectors, the shared windows of
// phases against their plain sums, and the products that are saved.
#include "compiler/language/parser.h"
#include "compiler/lowering/minimal_filtering.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <stdexcept>

namespace unstride {
namespace {

using Vector = std::vector<Rational>;

Vector times(const RationalMatrix &matrix, const Vector &vector) {
    Vector result;
    for (const Vector &row : matrix) {
        Rational sum = 0;
        for (std::size_t i = 0; i < row.size(); i++)
            sum = sum + row[i] * vector[i];
        result.push_back(sum);
    }
    return result;
}

Vector unit(std::int64_t size, std::int64_t one) {
    Vector result(static_cast<std::size_t>(size));
    result[static_cast<std::size_t>(one)] = 1;
    return result;
}

FilterMatrices matrices_of(std::int64_t outputs, std::int64_t taps) {
    return filter_matrices(outputs, taps,
                           outputs == 1 || taps == 1 ? Vector{} : filter_points(outputs + taps - 2));
}

PhaseAxis axis_of(std::vector<Phase> phases) {
    PhaseAxis axis;
    axis.phases = std::move(phases);
    return axis;
}

PhaseAxis transposed_axis(std::int64_t kernel, std::int64_t stride, std::int64_t pad,
                          std::int64_t dilation = 1) {
    return axis_of(transposed_conv_phases(kernel, stride, dilation, pad));
}

// ---- Fractions

TEST(Rational, KeepsLowestTerms) {
    EXPECT_EQ(Rational(6, -8), Rational(-3, 4));
    EXPECT_EQ(Rational(0, -5), Rational(0));
    EXPECT_EQ(Rational(1, 6) + Rational(1, 10), Rational(4, 15));
    EXPECT_EQ(Rational(1, 6) - Rational(1, 6), Rational(0));
    EXPECT_EQ(Rational(-2, 3) * Rational(9, 4), Rational(-3, 2));
    EXPECT_EQ(Rational(2, 3) / Rational(-4, 9), Rational(-3, 2));
    EXPECT_EQ(Rational(-3, 7).magnitude(), Rational(3, 7));
    EXPECT_EQ(Rational(-3, 8).to_double(), -0.375);
}

TEST(Rational, RefusesWhatIsNotExact) {
    constexpr std::int64_t most = std::numeric_limits<std::int64_t>::max();
    EXPECT_THROW(Rational(1, 0), std::domain_error);
    EXPECT_THROW(Rational(1) / Rational(0), std::domain_error);
    EXPECT_THROW(Rational(most) + Rational(1), std::overflow_error);
    EXPECT_THROW(Rational(most) * Rational(2), std::overflow_error);
    EXPECT_THROW(Rational(1, most) + Rational(1, most - 1), std::overflow_error);
    EXPECT_EQ(Rational(most) * Rational(2, most), Rational(2));
}

// ---- Matrices

// Both sides are linear in the filter and in the input, so basis vectors show it for all.
TEST(FilterMatrices, AreTheCorrelation) {
    for (std::int64_t m = 1; m <= largest_filter_tile; m++) {
        for (std::int64_t r = 1; r <= largest_filter; r++) {
            SCOPED_TRACE(fmt::format("F({}, {})", m, r));
            const FilterMatrices matrices = matrices_of(m, r);
            const std::int64_t n = m + r - 1;
            ASSERT_EQ(matrices.points(), n);
            for (std::int64_t tap = 0; tap < r; tap++) {
                const Vector weight = times(matrices.weight, unit(r, tap));
                ASSERT_EQ(static_cast<std::int64_t>(weight.size()), n);
                for (std::int64_t at = 0; at < n; at++) {
                    Vector product = times(matrices.input, unit(n, at));
                    for (std::size_t p = 0; p < product.size(); p++)
                        product[p] = product[p] * weight[p];
                    const Vector outputs = times(matrices.output, product);
                    ASSERT_EQ(static_cast<std::int64_t>(outputs.size()), m);
                    for (std::int64_t i = 0; i < m; i++)
                        EXPECT_EQ(outputs[static_cast<std::size_t>(i)], Rational(at == i + tap ? 1 : 0))
                            << "tap " << tap << ", input " << at << ", output " << i;
                }
            }
        }
    }
}

TEST(FilterMatrices, AreExactInFloat) {
    for (std::int64_t m = 1; m <= largest_filter_tile; m++) {
        for (std::int64_t r = 1; r <= largest_filter; r++) {
            const FilterMatrices matrices = matrices_of(m, r);
            for (const RationalMatrix *matrix : {&matrices.input, &matrices.output}) {
                for (const Vector &row : *matrix) {
                    for (const Rational &entry : row) {
                        const std::int64_t denominator = entry.denominator();
                        EXPECT_EQ(denominator & (denominator - 1), 0) << "F(" << m << ", " << r << ")";
                        EXPECT_LT(entry.magnitude().numerator(), 1 << 24) << "F(" << m << ", " << r << ")";
                    }
                }
            }
        }
    }
}

TEST(FilterMatrices, AmplifyByWhatTheirEntriesSumTo) {
    EXPECT_EQ(matrices_of(1, 4).amplification(), 1);
    EXPECT_EQ(matrices_of(3, 1).amplification(), 1);
    EXPECT_DOUBLE_EQ(matrices_of(2, 3).amplification(), 8.0 / 3); // rows of 2 in B^T; 1, 3/2, 3/2, 1 in G
    EXPECT_DOUBLE_EQ(matrices_of(3, 2).amplification(), 3);
    EXPECT_GT(matrices_of(6, 5).amplification(), matrices_of(4, 3).amplification());
}

TEST(FilterMatrices, RoundOnceATermOfTheirLongestRows) {
    EXPECT_EQ(matrices_of(1, 4).roundings(), 0);
    EXPECT_EQ(matrices_of(3, 1).roundings(), 0);
    EXPECT_EQ(matrices_of(3, 2).roundings(), 2 + 3);
}

// By hand for F(2, 2), of points 0, 1 and infinity: rows of the transforms hold two numbers of 1 each, and
// every product is of two sums of variance 2 and 1, or 1 and 2.
TEST(RelativeError, IsThatOfChainsAndTransforms) {
    const auto filtered = filtered_axis(axis_of(conv_phases(2, 1, 1, 0)), 2);
    const auto direct = filtered_axis(axis_of(conv_phases(2, 1, 1, 0)), 1);
    const auto single = filtered_axis(axis_of(conv_phases(1, 1, 1, 0)), 1);
    EXPECT_EQ(relative_error({direct, direct}, 8, 8), 1);
    const double channels = 1000;
    const double chain = channels * (channels + 1) / 2, own = 2 * channels * (2 * channels + 1) / 2;
    EXPECT_NEAR(relative_error({filtered, single}, 1000, 1000),
                std::sqrt((4 * (chain + channels) + (2 + 2) * channels) / own), 1e-3);
    EXPECT_EQ(relative_error({filtered, single}, 8, 4), relative_error({single, filtered}, 8, 4));
}

// Roundings of so many additions in chains of `chain`, by the number of terms in what each rounds.
double roundings_of(double additions, double chain) {
    double rounded = 0, sum = 0;
    for (double begin = 0; begin < additions; begin += chain) {
        for (double terms = 1; terms <= chain; terms++)
            rounded += terms;
        sum += chain;
        if (begin > 0) rounded += sum;
    }
    return rounded;
}

// The sum over all outputs of a tile, one by one.
TEST(RelativeError, IsOfAllOutputsOfBothAxes) {
    const auto x = filtered_axis(transposed_axis(5, 2, 1), 4), y = filtered_axis(transposed_axis(6, 2, 2), 3);
    constexpr int channels = 24;
    for (const int chain : {24, 12, 2}) {
        double filtered = 0, direct = 0;
        for (const OutputVariance &a : x->variances) {
            for (const OutputVariance &b : y->variances) {
                const double steps = channels * a.steps * b.steps, terms = channels * a.taps * b.taps;
                filtered +=
                    (roundings_of(steps, chain * a.steps * b.steps) + steps) * a.products * b.products +
                    steps * (a.transform * b.products + a.products * b.transform) +
                    steps * (a.inverse * b.products + a.output * b.inverse);
                direct += roundings_of(terms, terms);
            }
        }
        EXPECT_NEAR(relative_error({x, y}, channels, chain), std::sqrt(filtered / direct), 1e-12) << chain;
    }
}

TEST(RelativeError, IsLessOfShorterChains) {
    const auto axis = filtered_axis(axis_of(conv_phases(3, 1, 1, 1)), 4);
    EXPECT_NEAR(relative_error({axis, axis}, 128, 128), 1.68, 0.01);
    EXPECT_LT(relative_error({axis, axis}, 128, 16), 1.1);
}

TEST(FilterPoints, AreDifferent) {
    for (std::int64_t count = 1; count < largest_filter + largest_filter_tile - 1; count++) {
        const Vector &points = filter_points(count);
        ASSERT_EQ(static_cast<std::int64_t>(points.size()), count);
        for (std::size_t i = 0; i < points.size(); i++)
            EXPECT_EQ(std::count(points.begin(), points.end(), points[i]), 1) << count;
    }
}

// ---- Shared windows

// Numbers without a pattern that a wrong place could share.
Rational input_at(std::int64_t position) {
    return (position * position * 37 + position * 11 + 1000) % 101 - 50;
}
Rational weight_of(std::size_t phase, std::size_t tap) {
    return static_cast<std::int64_t>((phase * 29 + tap * 53 + 17) % 31) - 15;
}

// Every output of every phase of some tiles equals its plain sum, made of no product that is called zero; and
// the tiles that are said to be needed cover the outputs, while one less does not.
void expect_filtered(const PhaseAxis &axis, std::int64_t outputs) {
    const auto filtered = filtered_axis(axis, outputs);
    ASSERT_NE(filtered, nullptr);
    const FilterMatrices &matrices = filtered->matrices;
    EXPECT_GE(*std::min_element(filtered->shift.begin(), filtered->shift.end()), 0);
    for (std::int64_t tile = 0; tile < 3; tile++) {
        Vector window;
        for (std::int64_t k = 0; k < matrices.points(); k++)
            window.push_back(input_at(outputs * tile + filtered->window_begin + k));
        const Vector transformed = times(matrices.input, window);
        for (std::size_t q = 0; q < axis.phases.size(); q++) {
            const std::vector<Tap> &taps = axis.phases[q].taps;
            Vector weights;
            for (std::size_t j = 0; j < taps.size(); j++)
                weights.push_back(weight_of(q, j));
            Vector products(transformed.size());
            const Vector points = times(filtered->weights[q], weights);
            for (std::size_t p = 0; p < products.size(); p++) {
                if (filtered->multiplies(static_cast<std::int64_t>(q), static_cast<std::int64_t>(p)))
                    products[p] = points[p] * transformed[p];
            }
            const Vector result = times(matrices.output, products);
            for (std::int64_t i = 0; i < outputs; i++) {
                const std::int64_t u = outputs * tile - filtered->shift[q] + i;
                Rational expected = 0;
                for (std::size_t j = 0; j < taps.size(); j++)
                    expected = expected + weights[j] * input_at(u + taps[j].input_offset);
                EXPECT_EQ(result[static_cast<std::size_t>(i)], expected) << "phase " << q << ", output " << u;
            }
        }
    }
    for (std::int64_t extent = 1; extent <= 3 * outputs; extent++) {
        const std::int64_t reach = extent + filtered->largest_shift();
        EXPECT_GE(outputs * filtered->tiles(extent), reach);
        EXPECT_LT(outputs * (filtered->tiles(extent) - 1), reach);
    }
}

TEST(FilteredAxis, PhasesShareAWindow) {
    for (std::int64_t kernel = 2; kernel <= 9; kernel++) {
        for (std::int64_t stride = 1; stride <= 4; stride++) {
            for (std::int64_t pad = 0; pad < kernel; pad++) {
                for (std::int64_t m = 1; m <= 4; m++) {
                    const PhaseAxis axis = transposed_axis(kernel, stride, pad);
                    if (m > 1 && axis.max_taps() > largest_filter) continue;
                    SCOPED_TRACE(
                        fmt::format("kernel {} stride {} pad {}, {} outputs", kernel, stride, pad, m));
                    expect_filtered(axis, m);
                }
            }
        }
    }
    for (std::int64_t kernel = 2; kernel <= 5; kernel++) {
        for (std::int64_t nearest = 1; nearest <= 3; nearest++) {
            SCOPED_TRACE(fmt::format("nearest {} conv {}", nearest, kernel));
            expect_filtered(axis_of(conv_phases(kernel, 1, 1, kernel / 2, nearest)), 3);
            expect_filtered(axis_of(cropped_phases(conv_phases(kernel, 1, 1, 1, nearest), 2, 1)), 2);
        }
    }
}

// The most that begin later in the input: two phases of kernel 4, stride 2, pad 1 are one pixel apart.
TEST(FilteredAxis, StandsWhereItsPhasesDo) {
    const auto filtered = filtered_axis(transposed_axis(4, 2, 1), 3);
    ASSERT_NE(filtered, nullptr);
    EXPECT_EQ(filtered->window_begin, -1);
    EXPECT_EQ(filtered->shift, (std::vector<std::int64_t>{0, 1}));
    EXPECT_EQ(filtered->tiles(64), 22); // 65 outputs and shift
}

struct Count {
    PhaseAxis axis;
    std::int64_t outputs, products, direct;
};

TEST(FilteredAxis, SavesProducts) {
    const std::vector<Count> counts = {
        {transposed_axis(4, 2, 1), 3, 2 * 4, 2 * 6},
        {transposed_axis(4, 2, 1), 5, 2 * 6, 2 * 10},
        {transposed_axis(4, 2, 1), 1, 2 * 2, 2 * 2}, // direct
        {axis_of(conv_phases(3, 1, 1, 1)), 2, 4, 6},
        {axis_of(conv_phases(3, 1, 1, 1, 2)), 3, 2 * 4, 2 * 6}, // nearest: phases of two taps
        {transposed_axis(3, 2, 1), 3, 4 + 3, 6 + 3},            // one phase of one tap
        {transposed_axis(5, 2, 2), 2, 4 + 3, 6 + 4},            // three taps and two
        {transposed_axis(5, 3, 0), 3, 4 + 4 + 3, 6 + 6 + 3},
        {transposed_axis(2, 3, 0), 4, 4 + 4, 4 + 4}, // one phase of none
        {transposed_axis(2, 2, 0), 4, 4 + 4, 4 + 4}, // nothing to save
        {transposed_axis(7, 3, 0), 1, 7, 7},
        {axis_of({{{{0, 1, 0, 0}, {1, 1, 1, 0}, {2, 1, 2, 0}}, 0}, {{{0, 1, 1, 0}}, 0}}), 2, 4 + 2, 6 + 2},
    };
    for (std::size_t i = 0; i < counts.size(); i++) {
        const auto filtered = filtered_axis(counts[i].axis, counts[i].outputs);
        ASSERT_NE(filtered, nullptr) << i;
        EXPECT_EQ(filtered->products(), counts[i].products) << i;
        EXPECT_DOUBLE_EQ(filtered->gain(),
                         static_cast<double>(counts[i].direct) / static_cast<double>(counts[i].products))
            << i;
        expect_filtered(counts[i].axis, counts[i].outputs);
    }
}

TEST(FilteredAxis, RefusesWhatHasNoTiles) {
    EXPECT_EQ(filtered_axis(transposed_axis(4, 2, 1), 0), nullptr);
    EXPECT_EQ(filtered_axis(transposed_axis(4, 2, 1), largest_filter_tile + 1), nullptr);
    EXPECT_NE(filtered_axis(transposed_axis(4, 2, 1), largest_filter_tile), nullptr);
    EXPECT_EQ(filtered_axis(transposed_axis(6, 1, 1), 2), nullptr); // six taps
    EXPECT_NE(filtered_axis(transposed_axis(6, 1, 1), 1), nullptr);
    EXPECT_EQ(filtered_axis(transposed_axis(3, 1, 1, 2), 2), nullptr); // dilated: every other input
    PhaseAxis strided = axis_of(conv_phases(3, 2, 1, 1));
    strided.input_stride = 2;
    EXPECT_EQ(filtered_axis(strided, 2), nullptr);
    EXPECT_EQ(filtered_axis(axis_of({Phase{}}), 2), nullptr); // no taps at all
}

} // namespace
} // namespace unstride
