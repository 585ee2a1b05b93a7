// What samples of running times say: estimates with intervals, paired comparisons and their verdicts. Pure.
//
// Samples come in rounds, in each of which all schedules that are compared ran once or more in random order.
// Other programs only ever add time, so a round counts by its fastest sample; rounds slow down and speed up
// together, so two schedules are compared round by round, by the logarithm of their quotient.
#pragma once

#include <cstddef>
#include <limits>
#include <vector>

namespace unstride {

// Nanoseconds of one call: a list of samples for each round. All are positive, no round is empty.
using Rounds = std::vector<std::vector<double>>;

// With 99 % confidence.
struct Interval {
    double low = 0, high = 0;
    bool contains(double value) const { return low <= value && value <= high; }
    bool operator==(const Interval &) const = default;
};

// In nanoseconds of one call.
struct Estimate {
    double value = 0;       // median over the rounds of each round's fastest sample
    Interval interval;      // of that median; the value alone for a single round
    double median = 0;      // of all samples
    double p90 = 0;         // of all samples
    std::size_t rounds = 0; // that it is made of
};

// Precondition: at least one round.
Estimate estimate(const Rounds &rounds);

// How many times as long b takes as a: below 1 where b is faster.
struct Ratio {
    double value = 1; // geometric mean over the rounds of the quotient of their minima
    Interval interval{0, std::numeric_limits<double>::infinity()};
    double p_value = 1;     // of "both take equally long", two-sided
    std::size_t rounds = 0; // that both have
};

// b over a, round by round, by a paired t-test on the logarithms. Rounds that only one side has are left out.
// With fewer than two rounds in common the interval is everything and the p-value 1.
Ratio paired_ratio(const Rounds &a, const Rounds &b);

// The same from the logarithms of quotients, one for each pair.
Ratio ratio_of_logarithms(const std::vector<double> &logarithms);

// The geometric mean of the ratios' values over layers, with its interval over layers; of a single layer, its
// own ratio. Of no layers: 1, and everything is possible.
Ratio geometric_mean(const std::vector<Ratio> &layers);

// What to say of b, which takes `ratio` times as long as a.
enum class Verdict { faster, slower, tie };
const char *to_string(Verdict verdict);

// Differences below this fraction are of no use to anybody.
inline constexpr double practical_threshold = 0.02;

// faster or slower if the interval excludes 1 and the ratio differs from 1 by at least the threshold.
Verdict verdict(const Ratio &ratio, double threshold = practical_threshold);

// Holm's correction: which of the hypotheses may be rejected so that the chance of one wrong rejection among
// all is at most alpha. In the order of the p-values given.
std::vector<bool> holm(const std::vector<double> &p_values, double alpha);

// How far apart a schedule looks from itself: the largest fraction by which an end of the interval of b/a
// differs from 1, where a and b are the same schedule timed as two. Twice this is a threshold that fits the
// machine.
double noise_floor(const Rounds &a, const Rounds &b);

// P(|T| >= t) for Student's t with `degrees` degrees of freedom, degrees >= 1.
double t_two_sided(double t, double degrees);

// The t that |T| exceeds with probability 1 - confidence. Precondition: 0 < confidence < 1.
double t_critical(double confidence, double degrees);

} // namespace unstride
