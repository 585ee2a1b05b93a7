// Sums and shares.
#include "tools/compare/derived.h"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <map>

namespace unstride {

double rounded(double value) {
    return std::strtod(fmt::format("{:.6g}", value).c_str(), nullptr);
}

nlohmann::json loop_figures(const HotLoop &loop) {
    nlohmann::json figures = nlohmann::json::object();
    const auto count = [&](const char *name) {
        const auto found = loop.counts.find(name);
        return found == loop.counts.end() ? 0.0 : static_cast<double>(found->second);
    };
    const double multiply_adds = count("multiply_adds");
    if (count("instructions") > 0)
        figures["multiply_add_share"] = rounded(multiply_adds / count("instructions"));
    if (multiply_adds > 0)
        figures["loads_per_multiply_add"] =
            rounded((count("vector_loads") + count("broadcasts")) / multiply_adds);
    return figures;
}

namespace {

// Of "2026-03-01T12:00:00Z".
std::optional<std::chrono::sys_seconds> instant(const std::string &date) {
    int year = 0, month = 0, day = 0, hour = 0, minute = 0, second = 0, end = 0;
    const int read = std::sscanf(date.c_str(), "%4d-%2d-%2dT%2d:%2d:%2dZ%n", &year, &month, &day, &hour,
                                 &minute, &second, &end);
    if (read != 6 || static_cast<std::size_t>(end) != date.size()) return std::nullopt;
    const std::chrono::year_month_day calendar{std::chrono::year(year),
                                               std::chrono::month(static_cast<unsigned>(month)),
                                               std::chrono::day(static_cast<unsigned>(day))};
    if (!calendar.ok()) return std::nullopt;
    return std::chrono::sys_days(calendar) + std::chrono::hours(hour) + std::chrono::minutes(minute) +
           std::chrono::seconds(second);
}

} // namespace

std::optional<std::vector<double>> trial_seconds(const SearchLog &search) {
    std::vector<double> seconds;
    std::optional<std::chrono::sys_seconds> before;
    for (const Trial &trial : search.trials) {
        const auto now = instant(trial.date);
        if (!now || (before && *now < *before)) return std::nullopt;
        const double gap = before ? static_cast<double>((*now - *before).count()) : 0;
        seconds.push_back((seconds.empty() ? 0 : seconds.back()) + std::min(gap, longest_trial_seconds));
        before = now;
    }
    return seconds;
}

nlohmann::json search_figures(const SearchLog &search) {
    std::map<std::string, std::size_t> failed;
    std::map<std::string, std::map<std::string, double>> parameters;
    nlohmann::json figures = {{"tried", search.trials.size()}};
    double best = 0;
    for (std::size_t i = 0; i < search.trials.size(); i++) {
        const Trial &trial = search.trials[i];
        if (trial.status != TuningStatus::ok || !trial.estimate_ns) {
            failed[to_string(trial.status)]++;
            continue;
        }
        if (best == 0 || *trial.estimate_ns < best) {
            best = *trial.estimate_ns;
            figures["best_trial"] = i + 1;
        }
        if (!trial.schedule) continue;
        const nlohmann::json schedule = to_json(*trial.schedule);
        for (const auto &[name, value] : schedule.items()) {
            const std::string text = value.is_string() ? value.get<std::string>() : value.dump();
            const auto [known, fresh] = parameters[name].try_emplace(text, *trial.estimate_ns);
            if (!fresh) known->second = std::min(known->second, *trial.estimate_ns);
        }
    }
    std::erase_if(parameters, [](const auto &parameter) { return parameter.second.size() < 2; });
    if (best > 0) figures["best_ns"] = best;
    if (!failed.empty()) figures["failed"] = failed;
    if (!parameters.empty()) figures["parameters"] = parameters;
    if (search.space && search.space_tried && *search.space > 0)
        figures["space_share"] =
            static_cast<double>(*search.space_tried) / static_cast<double>(*search.space);
    if (const auto seconds = trial_seconds(search); seconds && !seconds->empty()) {
        figures["seconds"] = seconds->back();
        if (best > 0) figures["best_s"] = (*seconds)[figures["best_trial"].get<std::size_t>() - 1];
    }
    return figures;
}

} // namespace unstride
