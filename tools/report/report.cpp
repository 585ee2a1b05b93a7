// The page put together, and the figures in it.
#include "tools/report/report.h"

#include "tools/compare/units.h"
#include "tools/report/document.h"
#include "tools/report/html.h"
#include "tools/report/style.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <map>
#include <set>
#include <tuple>
#include <utility>

namespace unstride {

namespace {

std::string verdict_text(const std::string &verdict) {
    if (verdict == "faster") return "▲ faster";
    if (verdict == "slower") return "▼ slower";
    if (verdict == "~") return "≈ tie";
    if (verdict == "baseline") return "● baseline";
    return "– " + verdict;
}

using Format = std::string (*)(double);
const std::map<std::string, Format> number_forms = {
    {"time", format_time},           {"seconds", format_seconds}, {"flops", format_flops},
    {"bandwidth", format_bandwidth}, {"share", format_share},     {"spread", format_spread},
    {"ratio", format_ratio},         {"bytes", format_bytes},     {"count", format_count},
    {"error", format_error},         {"number", format_number}};

// Plain text needs none.
std::string form_attribute(std::string_view form) {
    return form == "text" ? "" : fmt::format(" data-form=\"{}\"", form);
}

} // namespace

std::string figure_text(const nlohmann::json &value, const std::string &form) {
    if (form == "verdict" && value.is_string()) return verdict_text(value.get<std::string>());
    if (value.is_boolean()) return value.get<bool>() ? "yes" : "no";
    if (value.is_string()) return value.get<std::string>();
    const auto format = number_forms.find(form);
    if (value.is_number() && format != number_forms.end()) return format->second(value.get<double>());
    return value.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

std::string pointer_part(const std::string &name) {
    std::string result;
    for (const char c : name) {
        if (c == '~')
            result += "~0";
        else if (c == '/')
            result += "~1";
        else
            result += c;
    }
    return result;
}

std::string rows_by_layer(const ReportDocument &document,
                          const std::function<std::string(std::size_t)> &cells) {
    std::string text;
    for (const RowGroup &group : document.groups()) {
        std::string rows;
        std::size_t count = 0;
        for (const std::size_t row : group.rows) {
            const std::string own = cells(row);
            if (own.empty()) continue;
            rows += fmt::format("{}<td>{}</td>{}</tr>\n", count == 0 ? "" : "<tr>",
                                escaped(document.columns()[document.series(row)]), own);
            count++;
        }
        if (count > 0)
            text +=
                fmt::format("<tr><th scope=\"rowgroup\" rowspan=\"{}\">{}</th>{}", count,
                            escaped(document.machine_groups().size() > 1 ? group.title : group.layer), rows);
    }
    return text;
}

ReportDocument::ReportDocument(const Comparison &comparison)
    : comparison_(comparison), json_(to_json(comparison)) {
    std::map<std::tuple<std::string, std::string, int>, std::size_t> known;
    std::map<std::pair<std::string, int>, std::size_t> machines;
    for (std::size_t i = 0; i < rows().size(); i++) {
        const ResultRow &row = rows()[i];
        const auto [place, fresh] =
            known.try_emplace({row.text, row.instruction_set, row.threads}, groups_.size());
        if (fresh) {
            groups_.push_back({fmt::format("{}, {}, {} thread{}", shortened(row.layer, 90),
                                           row.instruction_set, row.threads, row.threads == 1 ? "" : "s"),
                               row.layer,
                               row.text,
                               row.instruction_set,
                               row.threads,
                               {}});
            const auto [machine, first] =
                machines.try_emplace({row.instruction_set, row.threads}, machine_groups_.size());
            if (first) machine_groups_.push_back({row.instruction_set, row.threads, {}});
            machine_groups_[machine->second].groups.push_back(place->second);
        }
        groups_[place->second].rows.push_back(i);
        const std::string &column = comparison.columns[i];
        auto named = std::find(columns_.begin(), columns_.end(), column);
        series_.push_back(static_cast<std::size_t>(named - columns_.begin()));
        if (named == columns_.end()) columns_.push_back(column);
    }
}

bool ReportDocument::has(const std::string &pointer) const {
    return json_.contains(nlohmann::json::json_pointer(pointer));
}

std::string ReportDocument::figure(const std::string &pointer, const char *form) const {
    if (!has(pointer)) return "–";
    return fmt::format("<span data-json=\"{}\"{}>{}</span>", escaped(pointer), form_attribute(form),
                       escaped(figure_text(json_.at(nlohmann::json::json_pointer(pointer)), form)));
}

std::string ReportDocument::row_figure(std::size_t row, const std::string &member, const char *form) const {
    return figure(fmt::format("/rows/{}/{}", row, member), form);
}

std::string ReportDocument::svg_figure(double x, double y, const char *style, const std::string &pointer,
                                       const char *form) const {
    if (!has(pointer)) return "";
    return fmt::format(
        "<text class=\"{}\" x=\"{:.1f}\" y=\"{:.1f}\" data-json=\"{}\" data-form=\"{}\">{}</text>", style, x,
        y, escaped(pointer), form,
        escaped(figure_text(json_.at(nlohmann::json::json_pointer(pointer)), form)));
}

std::string html_report(const Comparison &comparison) {
    struct Part {
        const char *id, *title;
        std::string (*body)(const ReportDocument &);
    };
    static constexpr Part parts[] = {{"provenance", "Provenance", provenance_section},
                                     {"matrix", "Layers and schedules", matrix_section},
                                     {"speedups", "Speed-ups", forest_section},
                                     {"samples", "Samples", samples_section},
                                     {"roofline", "Roofline", roofline_section},
                                     {"search", "Search", search_section},
                                     {"lookup", "Look-up", lookup_section},
                                     {"schedules", "Schedules and loop nests", schedules_section},
                                     {"assembly", "Hottest loops", assembly_section},
                                     {"cost", "Size and cost", cost_section},
                                     {"correctness", "Correctness", correctness_section},
                                     {"failures", "Failures", failures_section},
                                     {"data", "Data and commands", data_section}};
    const ReportDocument document(comparison);
    std::set<std::string> layers;
    for (const RowGroup &group : document.groups())
        layers.insert(group.text);
    std::string contents, sections;
    int number = 0;
    for (const Part &part : parts) {
        number++;
        contents += fmt::format("<li><a href=\"#{}\"><span class=\"no\">{}</span>{}</a></li>", part.id,
                                number, part.title);
        sections += section(number, part.id, part.title, part.body(document));
    }
    return fmt::format(
        "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\n"
        "<meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">\n"
        "<link rel=\"icon\" href=\"data:,\">\n"
        "<title>Comparison of schedules: {} layers</title>\n<style>{}</style></head>\n<body>\n"
        "<header><h1>Comparison of schedules</h1>\n<p class=\"lead\">{} layer{} by {}; the baseline is "
        "{}. Times are of one call; smaller is better. Ratios above 1 are faster than the "
        "baseline.</p>\n{}</header>\n<nav aria-label=\"Sections\"><ol>{}</ol></nav>\n"
        "<main>\n{}</main>\n<footer>Written by unstride {}. This page loads nothing and runs no "
        "scripts.</footer>\n</body></html>\n",
        layers.size(), report_style, layers.size(), layers.size() == 1 ? "" : "s",
        escaped(fmt::format("{}", fmt::join(document.columns(), ", "))), escaped(comparison.baseline),
        summary_cards(document), contents, sections, UNSTRIDE_VERSION);
}

} // namespace unstride
