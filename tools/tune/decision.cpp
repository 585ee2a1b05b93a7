// Medians and quotients; what decides beyond them is in statistics.h.
#include "tools/tune/decision.h"

#include "tools/median.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <numeric>
#include <string>
#include <tuple>

namespace unstride {

namespace {

// The median over the rounds of the least sample, times the peak of its round where there is one.
double relative_time(const BaselineTiming &timing, bool by_peak) {
    std::vector<double> times;
    for (std::size_t i = 0; i < timing.rounds.size(); i++) {
        const double least = *std::min_element(timing.rounds[i].begin(), timing.rounds[i].end());
        times.push_back(by_peak ? least * timing.peak_gflops[i] : least);
    }
    return median(std::move(times));
}

bool has_peaks(const BaselineTiming &timing) {
    return timing.peak_gflops.size() == timing.rounds.size() &&
           std::all_of(timing.peak_gflops.begin(), timing.peak_gflops.end(),
                       [](double peak) { return peak > 0; });
}

double loads_a_multiply_add(const StaticFacts &facts) {
    if (!facts.vector_loads_stores || !facts.multiply_adds || *facts.multiply_adds == 0)
        return std::numeric_limits<double>::infinity();
    return static_cast<double>(*facts.vector_loads_stores) / static_cast<double>(*facts.multiply_adds);
}

// Least cycles on each processor.
std::map<std::string, double> least_cycles(const std::vector<StaticFacts> &schedules) {
    std::map<std::string, double> least;
    for (const StaticFacts &facts : schedules) {
        for (const auto &[processor, cycles] : facts.modelled_cycles) {
            const auto [known, fresh] = least.try_emplace(processor, cycles);
            if (!fresh) known->second = std::min(known->second, cycles);
        }
    }
    return least;
}

} // namespace

std::size_t leader(const std::vector<Rounds> &finalists, std::size_t incumbent) {
    std::size_t best = incumbent;
    double least = 1;
    for (std::size_t i = 0; i < finalists.size(); i++) {
        if (i == incumbent || finalists[i].empty()) continue;
        const double value = paired_ratio(finalists[incumbent], finalists[i]).value;
        if (value >= least) continue;
        least = value;
        best = i;
    }
    return best;
}

bool default_serves(const Rounds &chosen, const Rounds &by_default, bool packs_less, double threshold) {
    const Verdict found = verdict(paired_ratio(chosen, by_default), threshold);
    return found == Verdict::faster || (packs_less && found == Verdict::tie);
}

double drift(const BaselineTiming &before, const BaselineTiming &after) {
    const bool by_peak = has_peaks(before) && has_peaks(after);
    return relative_time(after, by_peak) / relative_time(before, by_peak);
}

bool is_steady(double drift, double threshold) {
    return drift <= 1 + threshold && drift >= 1 / (1 + threshold);
}

std::vector<double> worst_losses(const std::vector<StaticFacts> &schedules) {
    const std::map<std::string, double> least = least_cycles(schedules);
    std::vector<double> losses;
    for (const StaticFacts &facts : schedules) {
        double worst = least.empty() ? std::numeric_limits<double>::infinity() : 1;
        for (const auto &[processor, cycles] : least) {
            const auto own = facts.modelled_cycles.find(processor);
            worst = own == facts.modelled_cycles.end() ? std::numeric_limits<double>::infinity()
                                                       : std::max(worst, own->second / cycles);
        }
        losses.push_back(worst);
    }
    return losses;
}

std::vector<std::size_t> ranked_by_model(const std::vector<StaticFacts> &schedules) {
    const std::vector<double> losses = worst_losses(schedules);
    std::vector<std::size_t> order(schedules.size());
    std::iota(order.begin(), order.end(), std::size_t{0});
    const auto key = [&](std::size_t i) {
        return std::make_tuple(std::round(losses[i] * 100), loads_a_multiply_add(schedules[i]),
                               schedules[i].code_bytes.value_or(std::numeric_limits<std::int64_t>::max()));
    };
    std::stable_sort(order.begin(), order.end(),
                     [&](std::size_t a, std::size_t b) { return key(a) < key(b); });
    return order;
}

} // namespace unstride
