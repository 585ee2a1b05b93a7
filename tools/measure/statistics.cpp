// Order statistics for what one schedule takes, Student's t for what two differ by.
#include "tools/measure/statistics.h"

#include "tools/median.h"

#include <algorithm>
#include <cmath>
#include <numeric>

namespace unstride {

namespace {

constexpr double confidence = 0.99;

double minimum(const std::vector<double> &samples) {
    return *std::min_element(samples.begin(), samples.end());
}

// The continued fraction of the incomplete beta function by Lentz's method; converges fast for x < (a + 1) /
// (a + b + 2).
double beta_fraction(double x, double a, double b) {
    constexpr double tiny = 1e-300;
    const auto away_from_zero = [](double value) { return std::abs(value) < tiny ? tiny : value; };
    double numerator = 1, denominator = 1 / away_from_zero(1 - (a + b) * x / (a + 1)), result = denominator;
    for (int m = 1; m < 500; m++) {
        const double even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m));
        const double odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1));
        double factor = 1;
        for (const double term : {even, odd}) {
            denominator = 1 / away_from_zero(1 + term * denominator);
            numerator = away_from_zero(1 + term / numerator);
            factor = denominator * numerator;
            result *= factor;
        }
        if (std::abs(factor - 1) < 1e-15) break;
    }
    return result;
}

// I_x(a, b), the regularised incomplete beta function.
double incomplete_beta(double x, double a, double b) {
    if (x <= 0) return 0;
    if (x >= 1) return 1;
    const double scale =
        std::exp(std::lgamma(a + b) - std::lgamma(a) - std::lgamma(b) + a * std::log(x) + b * std::log1p(-x));
    if (x < (a + 1) / (a + b + 2)) return scale * beta_fraction(x, a, b) / a;
    return 1 - scale * beta_fraction(1 - x, b, a) / b;
}

struct Mean {
    double value = 0, standard_error = 0;
};

Mean mean_of(const std::vector<double> &values) {
    const auto count = static_cast<double>(values.size());
    const double mean = std::accumulate(values.begin(), values.end(), 0.0) / count;
    double squares = 0;
    for (const double value : values)
        squares += (value - mean) * (value - mean);
    return {mean, std::sqrt(squares / (count - 1) / count)};
}

// P(Binomial(count, 1/2) = successes)
double fair_binomial(std::size_t count, std::size_t successes) {
    const auto n = static_cast<double>(count), k = static_cast<double>(successes);
    return std::exp(std::lgamma(n + 1) - std::lgamma(k + 1) - std::lgamma(n - k + 1) - n * std::log(2));
}

// How many of the smallest and of the largest of `count` values the interval of their median may leave out:
// the median is beyond either end with probability P(Binomial(count, 1/2) <= that number).
std::size_t left_out_at_each_end(std::size_t count) {
    std::size_t left_out = 0;
    double beyond = fair_binomial(count, 0) + fair_binomial(count, 1);
    while (2 * beyond <= 1 - confidence) {
        left_out++;
        beyond += fair_binomial(count, left_out + 1);
    }
    return left_out;
}

// Of the median of what the values are drawn from. Eight values are the fewest whose range holds it with 99 %
// whatever their distribution; for fewer their logarithms are taken as normal.
Interval median_interval(std::vector<double> values) {
    std::sort(values.begin(), values.end());
    if (values.size() >= 8) {
        const std::size_t left_out = left_out_at_each_end(values.size());
        return {values[left_out], values[values.size() - 1 - left_out]};
    }
    const double middle = median(values);
    if (values.size() < 2) return {middle, middle};
    std::vector<double> logarithms;
    for (const double value : values)
        logarithms.push_back(std::log(value));
    const Mean mean = mean_of(logarithms);
    const double half = t_critical(confidence, static_cast<double>(values.size() - 1)) * mean.standard_error;
    return {std::min(std::exp(mean.value - half), middle), std::max(std::exp(mean.value + half), middle)};
}

} // namespace

double t_two_sided(double t, double degrees) {
    return incomplete_beta(degrees / (degrees + t * t), degrees / 2, 0.5);
}

double t_critical(double confidence, double degrees) {
    double low = 0, high = 1;
    while (t_two_sided(high, degrees) > 1 - confidence)
        high *= 2;
    while (high - low > 1e-12 * high) {
        const double middle = (low + high) / 2;
        (t_two_sided(middle, degrees) > 1 - confidence ? low : high) = middle;
    }
    return high;
}

Estimate estimate(const Rounds &rounds) {
    std::vector<double> minima, all;
    for (const std::vector<double> &samples : rounds) {
        minima.push_back(minimum(samples));
        all.insert(all.end(), samples.begin(), samples.end());
    }
    std::sort(all.begin(), all.end());
    Estimate result;
    result.rounds = rounds.size();
    result.value = median(minima);
    result.interval = median_interval(minima);
    result.median = median(all);
    result.p90 = all[std::min(all.size() - 1, all.size() * 9 / 10)];
    return result;
}

Ratio ratio_of_logarithms(const std::vector<double> &logarithms) {
    Ratio ratio;
    ratio.rounds = logarithms.size();
    if (logarithms.size() < 2) {
        if (!logarithms.empty()) ratio.value = std::exp(logarithms[0]);
        return ratio;
    }
    const Mean mean = mean_of(logarithms);
    const auto degrees = static_cast<double>(logarithms.size() - 1);
    const double half = t_critical(confidence, degrees) * mean.standard_error;
    ratio.value = std::exp(mean.value);
    ratio.interval = {std::exp(mean.value - half), std::exp(mean.value + half)};
    if (mean.standard_error > 0) {
        ratio.p_value = t_two_sided(mean.value / mean.standard_error, degrees);
    } else {
        ratio.p_value = mean.value == 0 ? 1 : 0;
    }
    return ratio;
}

Ratio paired_ratio(const Rounds &a, const Rounds &b) {
    std::vector<double> logarithms;
    for (std::size_t round = 0; round < std::min(a.size(), b.size()); round++) {
        logarithms.push_back(std::log(minimum(b[round]) / minimum(a[round])));
    }
    return ratio_of_logarithms(logarithms);
}

Ratio geometric_mean(const std::vector<Ratio> &layers) {
    if (layers.size() == 1) return layers[0];
    std::vector<double> logarithms;
    for (const Ratio &layer : layers)
        logarithms.push_back(std::log(layer.value));
    return ratio_of_logarithms(logarithms);
}

const char *to_string(Verdict verdict) {
    return verdict == Verdict::faster ? "faster" : verdict == Verdict::slower ? "slower" : "tie";
}

Verdict verdict(const Ratio &ratio, double threshold) {
    if (ratio.interval.contains(1) || std::abs(ratio.value - 1) < threshold) return Verdict::tie;
    return ratio.value < 1 ? Verdict::faster : Verdict::slower;
}

std::vector<bool> holm(const std::vector<double> &p_values, double alpha) {
    std::vector<std::size_t> order(p_values.size());
    std::iota(order.begin(), order.end(), std::size_t{0});
    std::sort(order.begin(), order.end(),
              [&](std::size_t a, std::size_t b) { return p_values[a] < p_values[b]; });
    std::vector<bool> rejected(p_values.size(), false);
    for (std::size_t i = 0; i < order.size(); i++) {
        if (!(p_values[order[i]] <= alpha / static_cast<double>(order.size() - i))) break;
        rejected[order[i]] = true;
    }
    return rejected;
}

double noise_floor(const Rounds &a, const Rounds &b) {
    const Interval interval = paired_ratio(a, b).interval;
    return std::max(interval.high - 1, 1 - interval.low);
}

} // namespace unstride
