// Exact matrices of minimal filtering, and the windows that the phases of an axis share.
#include "compiler/lowering/minimal_filtering.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <mutex>
#include <numeric>
#include <stdexcept>

namespace unstride {

namespace {

std::int64_t checked_product(std::int64_t a, std::int64_t b) {
    std::int64_t result;
    if (__builtin_mul_overflow(a, b, &result)) throw std::overflow_error("a fraction exceeds 64 bits");
    return result;
}

std::int64_t checked_sum(std::int64_t a, std::int64_t b) {
    std::int64_t result;
    if (__builtin_add_overflow(a, b, &result)) throw std::overflow_error("a fraction exceeds 64 bits");
    return result;
}

RationalMatrix identity(std::int64_t size) {
    RationalMatrix result(static_cast<std::size_t>(size),
                          std::vector<Rational>(static_cast<std::size_t>(size)));
    for (std::size_t i = 0; i < result.size(); i++)
        result[i][i] = 1;
    return result;
}

RationalMatrix ones(std::int64_t rows, std::int64_t columns) {
    return RationalMatrix(static_cast<std::size_t>(rows),
                          std::vector<Rational>(static_cast<std::size_t>(columns), 1));
}

// 1, x, x^2, …; at infinity, which is one past the finite points, the coefficient of the highest power.
std::vector<Rational> powers(const std::vector<Rational> &points, std::size_t point, std::int64_t count) {
    std::vector<Rational> result(static_cast<std::size_t>(count));
    if (point == points.size()) {
        result.back() = 1;
        return result;
    }
    Rational power = 1;
    for (Rational &entry : result) {
        entry = power;
        power = power * points[point];
    }
    return result;
}

// The coefficients of the product of x - a over all points a but one, lowest first, filled up with zeros.
std::vector<Rational> root_product(const std::vector<Rational> &points, std::size_t without,
                                   std::size_t count) {
    std::vector<Rational> product(count);
    product[0] = 1;
    for (std::size_t point = 0; point < points.size(); point++) {
        if (point == without) continue;
        for (std::size_t i = count; i-- > 0;)
            product[i] = (i > 0 ? product[i - 1] : Rational(0)) - points[point] * product[i];
    }
    return product;
}

} // namespace

Rational::Rational(std::int64_t numerator, std::int64_t denominator)
    : numerator_(numerator), denominator_(denominator) {
    if (denominator == 0) throw std::domain_error("a fraction's denominator is zero");
    if (denominator < 0) {
        numerator_ = checked_product(numerator_, -1);
        denominator_ = checked_product(denominator_, -1);
    }
    const std::int64_t divisor = std::gcd(numerator_, denominator_);
    numerator_ /= divisor;
    denominator_ /= divisor;
}

double Rational::to_double() const {
    return static_cast<double>(numerator_) / static_cast<double>(denominator_);
}

Rational Rational::operator-() const {
    return {checked_product(numerator_, -1), denominator_};
}

Rational Rational::operator+(const Rational &other) const {
    const std::int64_t divisor = std::gcd(denominator_, other.denominator_);
    const std::int64_t left = checked_product(numerator_, other.denominator_ / divisor);
    const std::int64_t right = checked_product(other.numerator_, denominator_ / divisor);
    return {checked_sum(left, right), checked_product(denominator_, other.denominator_ / divisor)};
}

Rational Rational::operator*(const Rational &other) const {
    const Rational crossed(numerator_, other.denominator_), other_crossed(other.numerator_, denominator_);
    return {checked_product(crossed.numerator_, other_crossed.numerator_),
            checked_product(crossed.denominator_, other_crossed.denominator_)};
}

Rational Rational::operator/(const Rational &other) const {
    return *this * Rational(other.denominator_, other.numerator_);
}

double FilterMatrices::amplification() const {
    const auto size_of = [](const std::vector<Rational> &row) {
        double sum = 0;
        for (const Rational &entry : row)
            sum += std::abs(entry.to_double());
        return sum;
    };
    double most = 0;
    for (const std::vector<Rational> &row : output) {
        double sum = 0;
        for (std::size_t p = 0; p < row.size(); p++)
            sum += std::abs(row[p].to_double()) * size_of(weight[p]) * size_of(input[p]);
        most = std::max(most, sum);
    }
    return most / static_cast<double>(taps);
}

std::int64_t FilterMatrices::roundings() const {
    // A term of a row of several is multiplied once and added with each of the others.
    const auto longest = [](const RationalMatrix &matrix) {
        std::int64_t most = 0;
        for (const std::vector<Rational> &row : matrix) {
            const auto terms =
                static_cast<std::int64_t>(row.size()) - std::count(row.begin(), row.end(), Rational(0));
            if (terms > 1) most = std::max(most, terms);
        }
        return most;
    };
    return outputs == 1 || taps == 1 ? 0 : longest(input) + longest(output);
}

// The product s = u g of polynomials of m and r coefficients has n = m + r - 1, so its values at n points,
// which are the products of the factors' values, determine it: s = V^-1 [(V_r g) * (V_m u)], where the rows
// of V are the powers of the points. As a linear map of u this is a matrix whose transpose takes d to the
// correlation y:
//
//     y = V_m^T [(V_r g) * (V^-T d)].
//
// Column p of V^-1 holds the coefficients of the polynomial that is 1 at point p and 0 at the others: the
// product of x - a over the other finite points a, divided by its value at p; at infinity the product over
// all. Those divisors go from B^T to G.
FilterMatrices filter_matrices(std::int64_t outputs, std::int64_t taps, const std::vector<Rational> &points) {
    FilterMatrices result;
    result.outputs = outputs;
    result.taps = taps;
    const std::int64_t n = result.points();
    if (outputs == 1 || taps == 1) {
        result.input = identity(n);
        result.weight = outputs == 1 ? identity(taps) : ones(n, 1);
        result.output = outputs == 1 ? ones(1, n) : identity(outputs);
        return result;
    }
    result.output.resize(static_cast<std::size_t>(outputs));
    for (std::size_t p = 0; p < static_cast<std::size_t>(n); p++) {
        Rational divisor = 1;
        for (std::size_t other = 0; p < points.size() && other < points.size(); other++)
            if (other != p) divisor = divisor * (points[p] - points[other]);
        result.input.push_back(root_product(points, p, static_cast<std::size_t>(n)));
        std::vector<Rational> weight = powers(points, p, taps);
        for (Rational &entry : weight)
            entry = entry / divisor;
        result.weight.push_back(std::move(weight));
        const std::vector<Rational> column = powers(points, p, outputs);
        for (std::size_t i = 0; i < column.size(); i++)
            result.output[i].push_back(column[i]);
    }
    return result;
}

const std::vector<Rational> &filter_points(std::int64_t count) {
    static const std::vector<std::vector<Rational>> points = {
        {0},
        {0, 1},
        {0, 1, -1},
        {0, {3, 4}, {-3, 4}, {7, 4}},
        {0, {5, 8}, {-5, 8}, {3, 2}, {-3, 2}},
        {0, 1, -1, 2, -2, {3, 8}},
        {0, {1, 2}, {-1, 2}, 1, -1, 2, -2},
        {0, {3, 8}, {-3, 8}, {7, 8}, {-7, 8}, {5, 4}, {-5, 4}, 3},
        {0, {3, 8}, {-3, 8}, {3, 4}, {-3, 4}, {5, 4}, {-5, 4}, {5, 2}, {-5, 2}},
    };
    return points.at(static_cast<std::size_t>(count - 1));
}

namespace {

// Rows that hold anything but zeros: products that are made.
std::int64_t products_of(const RationalMatrix &weight) {
    return std::count_if(weight.begin(), weight.end(), [](const std::vector<Rational> &row) {
        return std::any_of(row.begin(), row.end(),
                           [](const Rational &entry) { return entry != Rational(0); });
    });
}

} // namespace

std::int64_t FilteredAxis::largest_shift() const {
    return *std::max_element(shift.begin(), shift.end());
}

bool FilteredAxis::multiplies(std::int64_t q, std::int64_t p) const {
    const std::vector<Rational> &row = weights[static_cast<std::size_t>(q)][static_cast<std::size_t>(p)];
    return std::any_of(row.begin(), row.end(), [](const Rational &entry) { return entry != Rational(0); });
}

std::int64_t FilteredAxis::products() const {
    std::int64_t count = 0;
    for (const RationalMatrix &weight : weights)
        count += products_of(weight);
    return count;
}

double FilteredAxis::gain() const {
    std::int64_t own = 0;
    for (const RationalMatrix &weight : weights)
        own += static_cast<std::int64_t>(weight[0].size()) * matrices.outputs;
    return static_cast<double>(own) / static_cast<double>(products());
}

std::int64_t FilteredAxis::tiles(std::int64_t outputs) const {
    return (outputs + largest_shift() + matrices.outputs - 1) / matrices.outputs;
}

namespace {

// The columns of G for `count` taps that stand at `lead` among the r of the window.
RationalMatrix columns_of(const RationalMatrix &weight, std::int64_t lead, std::int64_t count) {
    RationalMatrix result;
    for (const std::vector<Rational> &row : weight)
        result.emplace_back(row.begin() + lead, row.begin() + lead + count);
    return result;
}

// Matrices of the points that are used, made once: schedules are searched for in many tiles.
const FilterMatrices &known_matrices(std::int64_t outputs, std::int64_t taps) {
    static const std::vector<FilterMatrices> known = [] {
        std::vector<FilterMatrices> made;
        for (std::int64_t r = 2; r <= largest_filter; r++) {
            for (std::int64_t m = 2; m <= largest_filter_tile; m++)
                made.push_back(filter_matrices(m, r, filter_points(m + r - 2)));
        }
        return made;
    }();
    return known[static_cast<std::size_t>((taps - 2) * (largest_filter_tile - 1) + outputs - 2)];
}

// The places among the window's taps that cost `count` taps the fewest products.
std::vector<std::int64_t> cheapest_leads(const FilterMatrices &matrices, std::int64_t count) {
    std::vector<std::int64_t> leads;
    std::int64_t least = matrices.points() + 1;
    for (std::int64_t lead = 0; lead + count <= matrices.taps; lead++) {
        const std::int64_t products = products_of(columns_of(matrices.weight, lead, count));
        if (products > least) continue;
        if (products < least) leads.clear();
        least = products;
        leads.push_back(lead);
    }
    return leads;
}

double square(const Rational &value) {
    return value.to_double() * value.to_double();
}

// What a row's partial sums add, over the variance of the whole.
double row_roundings(const std::vector<Rational> &row) {
    double sum = 0, rounded = 0;
    for (const Rational &entry : row) {
        if (entry == Rational(0)) continue;
        const bool first = sum == 0;
        sum += square(entry);
        if (!first || entry.magnitude() != Rational(1)) rounded += sum;
    }
    return rounded / sum;
}

OutputVariance output_variance(const FilteredAxis &axis, std::size_t q, std::size_t i) {
    OutputVariance result;
    const RationalMatrix &weights = axis.weights[q];
    const std::size_t taps = weights[0].size(), points = weights.size();
    result.taps = static_cast<double>(taps);
    if (axis.direct()) {
        result.steps = result.taps;
        return result;
    }
    result.products = result.output = 0;
    std::vector<double> pairs(taps * points); // by weight and input: how often a partial sum holds them
    for (std::size_t p = 0; p < points; p++) {
        const Rational &factor = axis.matrices.output[i][p];
        const std::vector<Rational> &row = axis.matrices.input[p];
        if (factor == Rational(0) ||
            !axis.multiplies(static_cast<std::int64_t>(q), static_cast<std::int64_t>(p)))
            continue;
        double weight = 0, input = 0;
        for (std::size_t k = 0; k < points; k++)
            input += square(row[k]);
        for (std::size_t j = 0; j < taps; j++) {
            weight += square(weights[p][j]);
            const double scale = factor.to_double() * weights[p][j].to_double();
            for (std::size_t k = 0; k < points; k++)
                pairs[j * points + k] += scale * row[k].to_double();
        }
        const double product = square(factor) * weight * input;
        result.products += product;
        result.transform += product * row_roundings(row);
        const bool first = result.output == 0;
        result.output = std::inner_product(pairs.begin(), pairs.end(), pairs.begin(), 0.0);
        if (!first) result.inverse += result.output;
    }
    return result;
}

std::vector<OutputVariance> output_variances(const FilteredAxis &axis) {
    std::vector<OutputVariance> result;
    for (std::size_t q = 0; q < axis.weights.size(); q++) {
        if (axis.weights[q][0].empty()) continue;
        for (std::size_t i = 0; i < static_cast<std::size_t>(axis.matrices.outputs); i++)
            result.push_back(output_variance(axis, q, i));
    }
    return result;
}

// What a filtered axis follows from: outputs of a tile, taps, and of each phase its taps and first input
// offset.
using AxisKind = std::vector<std::int64_t>;

AxisKind kind_of(std::int64_t outputs, std::int64_t taps, const TapProgression &progression) {
    AxisKind kind = {outputs, taps};
    kind.insert(kind.end(), progression.count.begin(), progression.count.end());
    kind.insert(kind.end(), progression.first_input_offset.begin(), progression.first_input_offset.end());
    return kind;
}

// A phase whose taps begin at input offset f and stand at `lead` in the window has shift f - lead -
// window_begin. Of the cheapest leads those are taken that keep the shifts small, since tiles of outputs
// before the first are wasted.
FilteredAxis make_filtered_axis(std::int64_t outputs, std::int64_t taps, const TapProgression &progression) {
    FilteredAxis result;
    const bool plain = outputs == 1 || taps == 1;
    result.matrices = plain ? filter_matrices(outputs, taps, {}) : known_matrices(outputs, taps);
    // By phase: input offsets at which its window may begin.
    std::vector<std::vector<std::int64_t>> begins;
    std::vector<std::int64_t> candidates;
    for (std::size_t q = 0; q < progression.count.size(); q++) {
        std::vector<std::int64_t> &begin = begins.emplace_back();
        if (progression.count[q] == 0) continue;
        for (const std::int64_t lead : cheapest_leads(result.matrices, progression.count[q]))
            begin.push_back(progression.first_input_offset[q] - lead);
        candidates.insert(candidates.end(), begin.begin(), begin.end());
    }
    std::int64_t least_shift = -1;
    for (const std::int64_t window_begin : candidates) {
        std::vector<std::int64_t> shift;
        for (const std::vector<std::int64_t> &begin : begins) {
            std::int64_t smallest = begin.empty() ? 0 : -1;
            for (const std::int64_t at : begin)
                if (at >= window_begin && (smallest < 0 || at - window_begin < smallest))
                    smallest = at - window_begin;
            shift.push_back(smallest);
        }
        const auto [low, high] = std::minmax_element(shift.begin(), shift.end());
        if (*low < 0 || (least_shift >= 0 && *high >= least_shift)) continue;
        least_shift = *high;
        result.window_begin = window_begin;
        result.shift = shift;
    }
    for (std::size_t q = 0; q < progression.count.size(); q++) {
        const std::int64_t count = progression.count[q];
        const std::int64_t lead =
            count == 0 ? 0 : progression.first_input_offset[q] - result.window_begin - result.shift[q];
        result.weights.push_back(columns_of(result.matrices.weight, lead, count));
    }
    result.variances = output_variances(result);
    return result;
}

} // namespace

std::shared_ptr<const FilteredAxis> filtered_axis(const PhaseAxis &axis, std::int64_t outputs) {
    const std::int64_t taps = axis.max_taps();
    const TapProgression progression = axis.progression();
    if (outputs < 1 || taps < 1 || axis.input_stride != 1 || (taps > 1 && progression.offset_step != 1))
        return nullptr;
    if (outputs > 1 && (taps > largest_filter || outputs > largest_filter_tile)) return nullptr;

    static std::mutex mutex;
    static std::map<AxisKind, std::shared_ptr<const FilteredAxis>> known;
    const std::lock_guard lock(mutex);
    std::shared_ptr<const FilteredAxis> &result = known[kind_of(outputs, taps, progression)];
    if (!result)
        result = std::make_shared<const FilteredAxis>(make_filtered_axis(outputs, taps, progression));
    return result;
}

namespace {

// Sums over the outputs of an axis.
struct VarianceSums {
    double taps = 0, taps_squared = 0;
    double products = 0, products_squared = 0;     // times the steps, times their square
    double transform = 0, inverse = 0, output = 0; // times the steps
};

VarianceSums sums_of(const std::vector<OutputVariance> &variances) {
    VarianceSums sums;
    for (const OutputVariance &one : variances) {
        sums.taps += one.taps;
        sums.taps_squared += one.taps * one.taps;
        sums.products += one.steps * one.products;
        sums.products_squared += one.steps * one.steps * one.products;
        sums.transform += one.steps * one.transform;
        sums.inverse += one.steps * one.inverse;
        sums.output += one.steps * one.output;
    }
    return sums;
}

} // namespace

// x is transformed back before y. Weights are rounded once more than those of the direct form, which are not.
// For the output at i on x and at j on y, with L = channels * steps_i * steps_j and the other factors alike,
// the error is
//
//     (S + L) products_i products_j + L (transform_i products_j + products_i transform_j)
//                                   + L (inverse_i products_j + output_i inverse_j)
//
// and each term of its sum over all i and j is a sum over i times one over j. S = L (L + 1) / 2 of a single
// chain; of n chains it is L / 2 (L / n + 1) in them, and L / 2 (n + 1) - L / n of their sums, the first of
// which is exact.
double relative_error(const FilteredAxes &axes, std::int64_t channels, std::int64_t chain) {
    if (axes[0]->direct() && axes[1]->direct()) return 1;
    const VarianceSums x = sums_of(axes[0]->variances), y = sums_of(axes[1]->variances);
    const double count = static_cast<double>(channels), chains = count / static_cast<double>(chain);
    double filtered = count / chains / 2 * x.products_squared * y.products_squared;
    filtered += (2 + chains / 2 - 1 / chains) * x.products * y.products;
    filtered += x.transform * y.products + x.products * y.transform;
    filtered += x.inverse * y.products + x.output * y.inverse;
    const double direct = (count * x.taps_squared * y.taps_squared + x.taps * y.taps) / 2;
    return std::sqrt(filtered / direct);
}

} // namespace unstride
