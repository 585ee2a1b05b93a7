// Sums and shares.
#include "tools/compare/derived.h"

#include <nlohmann/json.hpp>

#include <algorithm>
#include <map>

namespace unstride {

nlohmann::json loop_figures(const HotLoop &loop) {
    nlohmann::json figures = nlohmann::json::object();
    const auto count = [&](const char *name) {
        const auto found = loop.counts.find(name);
        return found == loop.counts.end() ? 0.0 : static_cast<double>(found->second);
    };
    const double multiply_adds = count("multiply_adds");
    if (count("instructions") > 0) figures["multiply_add_share"] = multiply_adds / count("instructions");
    if (multiply_adds > 0)
        figures["loads_per_multiply_add"] = (count("vector_loads") + count("broadcasts")) / multiply_adds;
    return figures;
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
    if (search.space && *search.space > 0)
        figures["space_share"] =
            static_cast<double>(search.trials.size()) / static_cast<double>(*search.space);
    return figures;
}

} // namespace unstride
