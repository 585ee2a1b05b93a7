// Times are in milliseconds where they reach one, else in microseconds; ratios are those of paired rounds.
#include "tools/tune/tune_report.h"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <cstdio>
#include <map>
#include <unistd.h>

namespace unstride {

namespace {

constexpr std::chrono::seconds plain_interval{10};

std::string figure(double cost, bool modelled) {
    if (modelled) return fmt::format("{:.3g} cycles", cost);
    if (cost < 1e6) return fmt::format("{:.1f} us", cost * 1e-3);
    return fmt::format("{:.3f} ms", cost * 1e-6);
}

std::string figure(const std::optional<double> &cost, bool modelled) {
    return cost ? figure(*cost, modelled) : "-";
}

// "0.812 (0.80 to 0.82)"
std::string ratio_text(const TuneResult &result) {
    if (!result.ratio) return "-";
    if (result.modelled) return fmt::format("{:.3f} modelled", result.ratio->value);
    return fmt::format("{:.3f} ({:.3f} to {:.3f})", result.ratio->value, result.ratio->interval.low,
                       result.ratio->interval.high);
}

std::size_t failures_of(const TuneResult &result) {
    std::size_t count = 0;
    for (const auto &[status, tally] : result.failures)
        count += tally.count;
    return count;
}

std::string carry_detail(const CarryResult &result) {
    return result.end == CarryEnd::changed ? "the code changed: tune again" : result.detail;
}

std::string first_line(const std::string &text) {
    return text.substr(0, text.find('\n'));
}

} // namespace

TuneProgressLine::TuneProgressLine(bool quiet)
    : quiet_(quiet), terminal_(isatty(STDERR_FILENO) != 0), last_(std::chrono::steady_clock::now()) {}

void TuneProgressLine::clear() {
    if (open_) std::fputs("\r\033[K", stderr);
    open_ = false;
}

void TuneProgressLine::show(const TuneProgress &progress) {
    if (quiet_) return;
    const auto now = std::chrono::steady_clock::now();
    const std::string layer = progress.layer + " " + progress.instruction_set;
    const bool new_layer = layer != layer_;
    if (!terminal_ && !new_layer && now - last_ < plain_interval) return;
    layer_ = layer;
    last_ = now;
    // Modelled costs are told apart from times by the table; here either is only a figure that falls.
    const std::string best =
        progress.best ? fmt::format(", best {}", figure(*progress.best, false)) : std::string();
    const std::string base =
        progress.baseline ? fmt::format(" (default {})", figure(*progress.baseline, false)) : std::string();
    const auto left = progress.left.count();
    const std::string text =
        fmt::format("{}: {} of {} tried, {} failed{}{}, {}, {}:{:02} left", layer, progress.tried,
                    progress.candidates, progress.failed, best, base, progress.step, left / 60, left % 60);
    std::fputs(terminal_ ? fmt::format("\r\033[K{}", text).c_str() : (text + "\n").c_str(), stderr);
    std::fflush(stderr);
    open_ = terminal_;
}

std::string tune_table(const std::vector<TuneResult> &results) {
    std::string text = fmt::format("{:<20} {:<7} {:>13} {:>13}  {:<24} {:<11} {}\n", "layer", "set",
                                   "default", "chosen", "chosen / default", "verdict", "tried, failed");
    for (const TuneResult &result : results) {
        const bool none = !result.chosen;
        text += fmt::format("{:<20} {:<7} {:>13} {:>13}  {:<24} {:<11} {}, {}\n", result.layer,
                            result.instruction_set, figure(result.default_cost, result.modelled),
                            none ? "-" : figure(result.chosen_cost, result.modelled), ratio_text(result),
                            to_string(result.end), result.tried, failures_of(result));
    }
    for (const TuneResult &result : results) {
        for (const auto &[status, tally] : result.failures) {
            text += fmt::format("{} {}: {} {}; the first: {}\n", result.layer, result.instruction_set,
                                tally.count, to_string(status), first_line(tally.first));
        }
    }
    return text;
}

std::string verify_table(const std::vector<VerifyResult> &results) {
    std::string text;
    for (const VerifyResult &result : results) {
        const std::string ratio =
            result.ratio
                ? fmt::format("  {:.3f} of the default's time ({:.3f} to {:.3f})", result.ratio->value,
                              result.ratio->interval.low, result.ratio->interval.high)
                : std::string();
        text += fmt::format("{:<20} {:<7} {}{}  {}\n", result.layer, result.instruction_set,
                            to_string(result.end), ratio, result.place);
        if (!result.detail.empty()) text += fmt::format("  {}\n", result.detail);
    }
    return text;
}

std::string carry_table(const std::vector<CarryResult> &results) {
    std::map<std::string, std::map<CarryEnd, std::size_t>> counts;
    for (const CarryResult &result : results)
        counts[result.instruction_set][result.end]++;
    std::string text =
        fmt::format("{:<8} {:>8} {:>8} {:>8} {:>8}\n", "set", "carried", "changed", "unknown", "failed");
    for (auto &[instruction_set, count] : counts) {
        text += fmt::format("{:<8} {:>8} {:>8} {:>8} {:>8}\n", instruction_set, count[CarryEnd::carried],
                            count[CarryEnd::changed], count[CarryEnd::unknown],
                            count[CarryEnd::unbuilt] + count[CarryEnd::unwritten]);
    }
    for (const CarryResult &result : results) {
        if (result.end == CarryEnd::carried) continue;
        text += fmt::format("{}: {} {}: {}\n  {}\n", result.place, result.instruction_set,
                            result.baseline ? "default" : "chosen", carry_detail(result), result.layer);
    }
    return text;
}

nlohmann::ordered_json to_json(const CarryResult &result) {
    nlohmann::ordered_json json = {{"layer", result.layer},
                                   {"instruction_set", result.instruction_set},
                                   {"machine", to_json(result.machine)},
                                   {"place", result.place},
                                   {"record", result.baseline ? "default" : "chosen"},
                                   {"verdict", to_string(result.end)}};
    if (result.end != CarryEnd::carried) json["detail"] = carry_detail(result);
    return json;
}

nlohmann::ordered_json to_json(const TuneResult &result) {
    nlohmann::ordered_json json = {{"layer", result.layer},
                                   {"instruction_set", result.instruction_set},
                                   {"verdict", to_string(result.end)},
                                   {"detail", result.detail}};
    const char *suffix = result.modelled ? "_cycles" : "_ns";
    if (result.default_cost) json[std::string("default") + suffix] = *result.default_cost;
    if (result.chosen_cost) json[std::string("chosen") + suffix] = *result.chosen_cost;
    if (result.chosen) json["schedule"] = to_json(*result.chosen);
    if (result.ratio) {
        json["ratio"] = result.ratio->value;
        if (!result.modelled) json["interval"] = {result.ratio->interval.low, result.ratio->interval.high};
    }
    json["tried"] = result.tried;
    json["resumed"] = result.resumed;
    json["failures"] = nlohmann::ordered_json::object();
    for (const auto &[status, tally] : result.failures)
        json["failures"][to_string(status)] = {{"count", tally.count}, {"first", tally.first}};
    json["seconds"] = result.seconds;
    return json;
}

nlohmann::ordered_json to_json(const VerifyResult &result) {
    nlohmann::ordered_json json = {{"layer", result.layer},
                                   {"instruction_set", result.instruction_set},
                                   {"verdict", to_string(result.end)},
                                   {"detail", result.detail},
                                   {"place", result.place}};
    if (result.ratio) {
        json["ratio"] = result.ratio->value;
        json["interval"] = {result.ratio->interval.low, result.ratio->interval.high};
    }
    return json;
}

} // namespace unstride
