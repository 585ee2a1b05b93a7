// The page put together, and the figures in it.
#include "tools/report/report.h"

#include "tools/compare/units.h"
#include "tools/report/document.h"
#include "tools/report/html.h"
#include "tools/report/style.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <iterator>
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
    if (verdict == to_string(Standing::other_machine)) return "? " + verdict;
    return "– " + verdict;
}

std::string plain(const nlohmann::json &value) {
    return value.is_string() ? value.get<std::string>()
                             : value.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

// The family before its parameters.
std::string schedule_text(const nlohmann::json &schedule) {
    std::string text = schedule.contains("family") ? plain(schedule["family"]) : std::string();
    for (const auto &[name, value] : schedule.items()) {
        if (name != "family") text += fmt::format(" {}={}", name, plain(value));
    }
    return text;
}

using Format = std::string (*)(double);
const std::map<std::string, Format> number_forms = {
    {"time", format_time},           {"seconds", format_seconds}, {"flops", format_flops},
    {"bandwidth", format_bandwidth}, {"share", format_share},     {"spread", format_spread},
    {"ratio", format_ratio},         {"bytes", format_bytes},     {"count", format_count},
    {"error", format_error},         {"number", format_number}};

// Most figures of a large page are these.
const std::map<std::string_view, const char *> usual_forms = {
    {"est_ns", "time"},   {"flops", "flops"},     {"peak_share", "share"}, {"spread", "spread"},
    {"speedup", "ratio"}, {"verdict", "verdict"}, {"schedule", "schedule"}};

std::string form_attribute(std::string_view pointer, std::string_view form) {
    return form == usual_form(pointer) ? "" : fmt::format(" data-form=\"{}\"", form);
}

} // namespace

std::string usual_form(std::string_view pointer) {
    const auto form = usual_forms.find(pointer.substr(pointer.rfind('/') + 1));
    return form == usual_forms.end() ? "text" : form->second;
}

std::string figure_text(const nlohmann::json &value, const std::string &form) {
    if (form == "verdict" && value.is_string()) return verdict_text(value.get<std::string>());
    if (form == "schedule" && value.is_object()) return schedule_text(value);
    if (value.is_boolean()) return value.get<bool>() ? "yes" : "no";
    const auto format = number_forms.find(form);
    if (value.is_number() && format != number_forms.end()) return format->second(value.get<double>());
    return plain(value);
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

std::string figure_table(const ReportDocument &document, const std::vector<FigureColumn> &columns,
                         const std::function<bool(const ResultRow &)> &chosen) {
    std::string body;
    for (const RowGroup &group : document.groups()) {
        std::vector<std::size_t> rows;
        std::copy_if(group.rows.begin(), group.rows.end(), std::back_inserter(rows),
                     [&](std::size_t row) { return chosen(document.rows()[row]); });
        for (const std::size_t row : rows) {
            body += fmt::format("<tr{}>", ReportDocument::base(row));
            if (row == rows.front()) {
                const bool several = document.machine_groups().size() > 1;
                body += fmt::format("<th rowspan=\"{}\">{}</th>", rows.size(),
                                    escaped(several ? group.title : group.layer));
            }
            body += "<th>" + escaped(document.columns()[document.series(row)]) + "</th>";
            for (const FigureColumn &column : columns)
                body += "<td>" + escaped(document.row_text(row, column.member, column.form)) + "</td>";
            body += "</tr>\n";
        }
    }
    if (body.empty()) return "";
    std::string head = "<th>layer</th><th>schedule</th>";
    for (const FigureColumn &column : columns)
        head += fmt::format("<th data-json=\"{}\"{}>{}</th>", escaped(column.member),
                            form_attribute(column.member, column.form), escaped(column.title));
    return scrolling("<table class=\"figures\"><thead><tr>" + head + "</tr></thead>\n<tbody>" + body +
                     "</tbody></table>");
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
    return fmt::format("<span data-json=\"{}\"{}>{}</span>", escaped(pointer), form_attribute(pointer, form),
                       escaped(figure_text(json_.at(nlohmann::json::json_pointer(pointer)), form)));
}

std::string ReportDocument::base(std::size_t row) {
    return fmt::format(" data-at=\"/rows/{}/\"", row);
}

std::string ReportDocument::row_text(std::size_t row, const std::string &member, const char *form) const {
    const std::string pointer = fmt::format("/rows/{}/{}", row, member);
    return has(pointer) ? figure_text(json_.at(nlohmann::json::json_pointer(pointer)), form) : "–";
}

std::string ReportDocument::member_figure(std::size_t row, const std::string &member,
                                          const char *form) const {
    if (!has(fmt::format("/rows/{}/{}", row, member))) return "–";
    return fmt::format("<span data-json=\"{}\"{}>{}</span>", escaped(member), form_attribute(member, form),
                       escaped(row_text(row, member, form)));
}

std::string ReportDocument::row_figure(std::size_t row, const std::string &member, const char *form) const {
    return figure(fmt::format("/rows/{}/{}", row, member), form);
}

std::string ReportDocument::svg_figure(double x, double y, const char *style, const std::string &pointer,
                                       const char *form) const {
    if (!has(pointer)) return "";
    return fmt::format("<text class=\"{}\" x=\"{}\" y=\"{}\" data-json=\"{}\"{}>{}</text>", style, pixels(x),
                       pixels(y), escaped(pointer), form_attribute(pointer, form),
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
