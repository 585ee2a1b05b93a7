// How schedules were found: the course of each search, and what look-up answered.
#include "tools/compare/derived.h"
#include "tools/compare/units.h"
#include "tools/report/document.h"
#include "tools/report/html.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <string>
#include <vector>

namespace unstride {

namespace {

bool timed(const Trial &trial) {
    return trial.status == TuningStatus::ok && trial.estimate_ns.has_value();
}

// Best so far at the place of each trial on an axis; what failed stands as a tick on it.
std::string search_curve(const SearchLog &search, const std::vector<double> &places, const char *axis,
                         const std::string &caption) {
    double best = 0, worst = 0;
    for (const Trial &trial : search.trials) {
        if (!timed(trial)) continue;
        best = best == 0 ? *trial.estimate_ns : std::min(best, *trial.estimate_ns);
        worst = std::max(worst, *trial.estimate_ns);
    }
    if (best == 0) return "";
    constexpr double left = 76, right = 880, top = 14, bottom = 230;
    Picture picture(910, 282, fmt::format("Course of the search over {}", axis));
    const PlotScale x(places.front(), places.back(), left, right, false);
    const PlotScale y(best * 0.95, std::min(worst, best * 4) * 1.05, bottom, top, true);
    for (const double tick : y.ticks(5)) {
        picture.line(left, y(tick), right, y(tick), "grid");
        picture.text(left - 8, y(tick) + 4, format_time(tick), "smallend");
    }
    for (const double tick : x.ticks(10)) {
        if (tick == std::floor(tick))
            picture.text(x(tick), bottom + 26, fmt::format("{:g}", tick), "smallmid");
    }
    picture.line(left, bottom, right, bottom, "axis");
    std::string dots, course, failures;
    double least = 0;
    for (std::size_t i = 0; i < search.trials.size(); i++) {
        const Trial &trial = search.trials[i];
        const double place = x(places[i]);
        if (!timed(trial)) {
            failures += fmt::format("M{:.0f} {:.0f}v8", place, bottom + 3);
            continue;
        }
        dots += fmt::format("M{:.0f} {:.0f}h0", place, y(*trial.estimate_ns));
        if (least != 0 && *trial.estimate_ns >= least) continue;
        course += least == 0 ? fmt::format("M{:.1f} {:.1f}", place, y(*trial.estimate_ns))
                             : fmt::format("H{:.1f}V{:.1f}", place, y(*trial.estimate_ns));
        least = *trial.estimate_ns;
    }
    picture.path(dots, "dots s0");
    picture.path(course + fmt::format("H{:.1f}", right), "trace s0");
    picture.path(failures, "fail");
    picture.text((left + right) / 2, 272, axis, "smallmid");
    return figure_box(picture.finished(), caption);
}

std::string search_curves(const SearchLog &search) {
    std::vector<double> order(search.trials.size());
    std::iota(order.begin(), order.end(), 1.0);
    std::string text = search_curve(
        search, order, "trials, in the order of the log",
        "How to read: a dot is the time of one trial, at the top edge all that took 4 times the best or "
        "more; the line is the best so far. Ticks below the axis are trials that gave no time.");
    const auto seconds = trial_seconds(search);
    if (seconds && seconds->back() > 0) {
        text += search_curve(
            search, *seconds, "seconds of searching",
            fmt::format("How to read: the same by when each trial was recorded. Pauses of more than {:.0f} "
                        "minutes count as that long.",
                        longest_trial_seconds / 60));
    }
    return text;
}

// The best tenth of the trials, each a line through the values of its parameters.
std::string parallel_coordinates(const SearchLog &search, const nlohmann::json &parameters) {
    std::vector<const Trial *> trials;
    for (const Trial &trial : search.trials) {
        if (timed(trial) && trial.schedule) trials.push_back(&trial);
    }
    std::sort(trials.begin(), trials.end(),
              [](const Trial *a, const Trial *b) { return *a->estimate_ns < *b->estimate_ns; });
    trials.resize(std::min(trials.size(), std::max<std::size_t>(trials.size() / 10, 3)));
    if (trials.size() < 3 || parameters.size() < 2) return "";
    constexpr double left = 60, gap = 104, top = 34, bottom = 190;
    Picture picture(left * 2 + gap * static_cast<double>(parameters.size() - 1), 214,
                    "Parameters of the best trials");
    std::vector<std::string> lines(trials.size());
    double x = left;
    for (const auto &[name, values] : parameters.items()) {
        std::vector<std::string> order;
        for (const auto &[value, time] : values.items())
            order.push_back(value);
        std::sort(order.begin(), order.end(), [](const std::string &a, const std::string &b) {
            return std::pair(a.size(), a) < std::pair(b.size(), b); // numbers by size
        });
        picture.line(x, top, x, bottom, "axis");
        picture.text(x, 18, name, "smallmid");
        const auto place = [&](const std::string &value) {
            const auto found = std::find(order.begin(), order.end(), value) - order.begin();
            return bottom -
                   (bottom - top) * static_cast<double>(found) / static_cast<double>(order.size() - 1);
        };
        for (const std::string &value : order)
            picture.text(x - 5, place(value) + 4, value, "smallend");
        for (std::size_t i = 0; i < trials.size(); i++) {
            const nlohmann::json schedule = to_json(*trials[i]->schedule);
            if (!schedule.contains(name)) continue;
            const nlohmann::json &value = schedule.at(name);
            const std::string text = value.is_string() ? value.get<std::string>() : value.dump();
            lines[i] += fmt::format("{}{:.1f} {:.1f}", lines[i].empty() ? "M" : "L", x, place(text));
        }
        x += gap;
    }
    for (const std::string &line : lines)
        picture.path(line, "strand s0");
    return figure_box(picture.finished(),
                      "How to read: a line is one of the best trials, a tenth of all but at least "
                      "three; where lines meet, they agree in that parameter.");
}

std::string parameter_table(const ReportDocument &document, const std::string &at,
                            const nlohmann::json &parameters) {
    std::string rows;
    for (const auto &[name, values] : parameters.items()) {
        rows += "<tr><td><code>" + escaped(name) + "</code></td><td class=\"wrap\">";
        std::string cells;
        for (const auto &[value, time] : values.items()) {
            cells += fmt::format(
                "{}{}: {}", cells.empty() ? "" : "; ", escaped(value),
                document.figure(at + "/derived/parameters/" + pointer_part(name) + "/" + pointer_part(value),
                                "time"));
        }
        rows += cells + "</td></tr>\n";
    }
    return scrolling(
        "<table><thead><tr><th>parameter</th><th>best time with each value</th></tr></thead><tbody>" + rows +
        "</tbody></table>");
}

std::string search_body(const ReportDocument &document, std::size_t i) {
    const SearchLog &search = document.comparison().results.searches[i];
    const std::string at = fmt::format("/searches/{}", i);
    const nlohmann::json &derived = document.json()["searches"][i]["derived"];
    std::string text = "<p>" + document.figure(at + "/derived/tried", "count") + " trials";
    if (derived.contains("seconds"))
        text += " in " + document.figure(at + "/derived/seconds", "seconds") + " of searching";
    if (derived.contains("space_share"))
        text += "; " + document.figure(at + "/space_tried", "count") + " of the " +
                document.figure(at + "/space", "count") + " schedules in the search space were tried, " +
                document.figure(at + "/derived/space_share", "share");
    if (derived.contains("best_ns")) {
        text += "; the best, trial " + document.figure(at + "/derived/best_trial", "count");
        if (derived.contains("best_s"))
            text += " after " + document.figure(at + "/derived/best_s", "seconds");
        text += ", took " + document.figure(at + "/derived/best_ns", "time");
    }
    text += ".";
    if (derived.contains("failed")) {
        text += " Without a time:";
        const char *separator = " ";
        for (const auto &[status, count] : derived["failed"].items()) {
            text += separator + document.figure(at + "/derived/failed/" + status, "count") + " " +
                    escaped(status);
            separator = ", ";
        }
        text += ".";
    }
    text += "</p>\n" + search_curves(search);
    if (derived.contains("parameters")) {
        text += parallel_coordinates(search, derived["parameters"]);
        text += parameter_table(document, at, derived["parameters"]);
    }
    return text;
}

} // namespace

std::string search_section(const ReportDocument &document) {
    const auto &searches = document.comparison().results.searches;
    std::string text;
    for (std::size_t i = 0; i < searches.size(); i++) {
        if (searches[i].trials.size() < 2) continue;
        std::string name = searches[i].layer;
        for (const RowGroup &group : document.groups()) {
            if (group.text == searches[i].layer) name = group.layer;
        }
        text += details(
            searches.size() <= 3,
            escaped(fmt::format("{}, {}, from {}", name, searches[i].instruction_set, searches[i].log)),
            search_body(document, i));
    }
    return text.empty() ? absent("No log of a search is among the results; `unstride tune` writes one.")
                        : text;
}

std::string lookup_section(const ReportDocument &document) {
    const std::string table = figure_table(document,
                                           {{"grade", "contender/grade", "text"},
                                            {"record", "contender/record", "text"},
                                            {"default ÷ found", "derived/default_over", "ratio"}},
                                           [](const ResultRow &row) { return !row.contender.grade.empty(); });
    if (table.empty()) return absent("No schedule here was looked up.");
    return "<p>How good the database's answer is for each layer, and what it is worth: the time of the "
           "default schedule over the time of the one that was found.</p>\n" +
           table;
}

} // namespace unstride
