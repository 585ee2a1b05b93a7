// Minimal filtering (Winograd's, by Toom and Cook's way): m outputs of a filter of r taps from m + r - 1
// products instead of m * r.
//
//     y = A^T [(G g) * (B^T d)]      y_i = sum over j < r of g_j d_(i+j), i < m
//
// G evaluates the filter, as a polynomial, at n = m + r - 1 points; A^T and B^T are the transposes of
// evaluating and interpolating. All entries are exact: what of them is rounded, and when, the generators
// decide.
#pragma once

#include "compiler/lowering/phase_convolution.h"

#include <array>
#include <cstdint>
#include <memory>
#include <vector>

namespace unstride {

// A fraction in lowest terms with a positive denominator. Arithmetic is exact: a result that 64 bits do not
// hold throws std::overflow_error, division by zero std::domain_error.
class Rational {
public:
    Rational(std::int64_t numerator = 0, std::int64_t denominator = 1);

    std::int64_t numerator() const { return numerator_; }
    std::int64_t denominator() const { return denominator_; }
    double to_double() const; // correctly rounded where numerator and denominator are below 2^53
    Rational magnitude() const { return numerator_ < 0 ? -*this : *this; }

    Rational operator-() const;
    Rational operator+(const Rational &other) const;
    Rational operator-(const Rational &other) const { return *this + -other; }
    Rational operator*(const Rational &other) const;
    Rational operator/(const Rational &other) const;
    bool operator==(const Rational &) const = default;

private:
    std::int64_t numerator_, denominator_;
};

using RationalMatrix = std::vector<std::vector<Rational>>; // by rows

// The largest filter that is transformed, and the most outputs that one transform makes.
inline constexpr std::int64_t largest_filter = 5, largest_filter_tile = 6;

// The matrices of F(m, r). Denominators of the interpolation stand in `weight`, so that `input` and `output`
// hold dyadic numbers, which are exact in f32, where the points are dyadic.
struct FilterMatrices {
    std::int64_t outputs = 1; // m
    std::int64_t taps = 1;    // r
    RationalMatrix input;     // B^T, n x n
    RationalMatrix weight;    // G, n x r
    RationalMatrix output;    // A^T, m x n

    std::int64_t points() const { return outputs + taps - 1; }
    // One factor of the worst-case error in units of the direct form's: the largest of the sums of
    // |A^T| [(|G| 1) * (|B^T| 1)], over r.
    double amplification() const;
    // The most roundings of both transforms on the way from an input to an output; none where nothing is
    // transformed.
    std::int64_t roundings() const;
};

// F(m, r) from n - 1 different finite points and infinity. With one output or one tap nothing can be saved:
// then the products are those of the plain sum, and the points are not used. Precondition: that many points.
FilterMatrices filter_matrices(std::int64_t outputs, std::int64_t taps, const std::vector<Rational> &points);

// Finite points for n = count + 1 products, 1 <= count <= 9: 0, pairs of a and -a and for even counts one
// more from 1/4, 3/8, … 4, with the least measured error in images of normal numbers. In units of the direct
// sum's it is 2 for n = 5 and 6 (1.2 to 2.9, more for fewer taps), 5 to 8 for n = 7 and 8, and 16 to 24 for n
// = 9 and 10.
const std::vector<Rational> &filter_points(std::int64_t count);

// Variances of one output of one phase on one axis, where inputs and weights have variance 1.
struct OutputVariance {
    double steps = 1;     // of the product's chain that are this axis's: the taps of a direct one
    double taps = 1;      // of the layer's own sum
    double products = 1;  // sum over points of A^2 var(G w) var(B d)
    double transform = 0; // the same times the roundings of B d
    double inverse = 0;   // sum of the partial sums of A
    double output = 1;    // the last of them: what the axis yields
};

// An axis of a phase convolution in tiles of m outputs of every phase. All phases read their taps from one
// window of n = m + r - 1 inputs a tile, where r is the most taps of a phase:
//
//     tile t has the inputs m * t + window_begin + k, k < n,
//     and yields of phase q the outputs u = m * t - shift[q] + i, i < m.
//
// Phases whose taps begin later in the input yield outputs that lie before (shift > 0). A phase of fewer taps
// than r has zeros beside its own; products with a zero are not made.
struct FilteredAxis {
    FilterMatrices matrices;
    std::int64_t window_begin = 0;
    std::vector<std::int64_t> shift; // of each phase, none negative
    // Transformed weight of phase q at point p: the sum over its taps j of weights[q][p][j] * w_j.
    std::vector<RationalMatrix> weights;
    std::vector<OutputVariance> variances; // of each output of each phase that has taps

    bool direct() const { return matrices.outputs == 1; }
    std::int64_t largest_shift() const;
    // True if the product of phase q at point p is not with zero whatever the layer's weights are.
    bool multiplies(std::int64_t q, std::int64_t p) const;
    // Of one tile, all phases, one channel.
    std::int64_t products() const;
    // Products of the direct form for each of these; 1 for outputs = 1. An axis gains if it is above 1.
    double gain() const;
    // Tiles that cover `outputs` of every phase.
    std::int64_t tiles(std::int64_t outputs) const;
};

using FilteredAxes = std::array<std::shared_ptr<const FilteredAxis>, 2>; // of an image, x first

// Null where the axis cannot be tiled like that: inputs that are read by steps, more than largest_filter taps
// or largest_filter_tile outputs (any number of taps for outputs = 1), or no phase with a tap. Axes of one
// kind are made once and kept: a search asks for the same few thousands of times.
std::shared_ptr<const FilteredAxis> filtered_axis(const PhaseAxis &axis, std::int64_t outputs);

// Root mean square error of a sum over so many channels in units of the direct form's, all outputs of a tile
// together, the axes x first; 1 for two direct axes. Derived, not measured, for independent inputs and
// weights of mean 0: every rounding adds a variance in proportion to that of what is rounded. A chain of L
// additions so makes L (L + 1) / 2 of one product's, whatever the form; the transforms add some multiple of
// L, so that few channels favour the direct form. The sum may be of several chains, each over `chain`
// channels, which are summed one after the other: shorter chains round smaller numbers. The direct form's is
// one. Precondition: `chain` divides `channels`.
double relative_error(const FilteredAxes &axes, std::int64_t channels, std::int64_t chain);

} // namespace unstride
