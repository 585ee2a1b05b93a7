// What makes the figures trustworthy: correctness, failures, the data themselves.
#include "tools/report/document.h"
#include "tools/report/html.h"
#include "tools/report/report.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <optional>
#include <string>
#include <string_view>

namespace unstride {

namespace {

constexpr std::string_view data_begin = "<script type=\"application/json\" id=\"results\">",
                           data_end = "</script>";

// JSON that may stand in a script element: nothing in it can end that.
std::string script_safe(const std::string &json) {
    std::string result;
    result.reserve(json.size());
    for (const char c : json) {
        if (c == '<')
            result += "\\u003c";
        else
            result += c;
    }
    return result;
}

// The figures without the listings, which the page shows once.
nlohmann::json embedded_json(const ReportDocument &document) {
    nlohmann::json json = document.json();
    for (nlohmann::json &row : json["rows"]) {
        if (row.contains("hot_loop")) row["hot_loop"].erase("assembly");
        row["contender"].erase("loops");
    }
    return json;
}

std::string csv_field(const std::string &text) {
    std::string result = "\"";
    for (const char c : text)
        result += c == '"' ? "\"\"" : std::string(1, c);
    return result + "\"";
}

// One line a row: its samples in nanoseconds, joined by "+" within a round and by ";" between rounds.
std::string samples_csv(const ReportDocument &document) {
    std::string text = "row,layer,instruction_set,threads,contender,samples_ns\n";
    for (std::size_t i = 0; i < document.rows().size(); i++) {
        const ResultRow &row = document.rows()[i];
        text += fmt::format("{},{},{},{},{},", i, csv_field(row.layer), row.instruction_set, row.threads,
                            csv_field(document.columns()[document.series(i)]));
        for (std::size_t round = 0; round < row.samples_ns.size(); round++)
            text += fmt::format("{}{:.7g}", round == 0 ? "" : ";", fmt::join(row.samples_ns[round], "+"));
        text += "\n";
    }
    return text;
}

bool failed(const ResultRow &row) {
    return row.status != TuningStatus::ok && row.status != TuningStatus::modelled;
}

std::string failure_row(const std::string &layer, const std::string &contender, const std::string &status,
                        const std::string &detail, const std::string &command) {
    return fmt::format(
        "<tr><th scope=\"row\">{}</th><td>{}</td><td class=\"failed\">✗ {}</td><td class=\"wrap\">{}</td>"
        "<td class=\"wrap\">{}</td></tr>\n",
        escaped(layer), escaped(contender), status, detail, command);
}

} // namespace

std::string correctness_section(const ReportDocument &document) {
    const std::string table = figure_table(document,
                                           {{"relative error", "correct/max_relative", "error"},
                                            {"ULP", "correct/max_ulp", "number"},
                                            {"sizes checked", "correct/shapes", "count"},
                                            {"reference", "correct/reference", "text"},
                                            {"equal to the default in every bit", "bit_exact", "text"}},
                                           [](const ResultRow &row) { return row.correctness.has_value(); });
    if (table.empty()) return absent("No row tells how it was checked.");
    return "<p>The largest error over all outputs, checked before anything was timed.</p>\n" + table;
}

std::string failures_section(const ReportDocument &document) {
    std::string rows;
    for (const RowGroup &group : document.groups()) {
        for (const std::size_t row : group.rows) {
            if (!failed(document.rows()[row])) continue;
            rows += failure_row(group.title, document.columns()[document.series(row)],
                                document.row_figure(row, "status", "text"),
                                document.row_figure(row, "detail", "text"),
                                "<code>" + document.row_figure(row, "reproduce", "text") + "</code>");
        }
    }
    const auto &searches = document.comparison().results.searches;
    for (std::size_t i = 0; i < searches.size(); i++) {
        for (std::size_t k = 0; k < searches[i].trials.size(); k++) {
            const Trial &trial = searches[i].trials[k];
            if (trial.status == TuningStatus::ok || trial.status == TuningStatus::modelled ||
                trial.status == TuningStatus::duplicate)
                continue;
            const std::string at = fmt::format("/searches/{}/trials/{}/", i, k);
            rows += failure_row(searches[i].layer + ", " + searches[i].instruction_set,
                                fmt::format("trial {}", k + 1), document.figure(at + "status", "text"),
                                document.figure(at + "detail", "text"),
                                "<code>" + document.figure(at + "schedule", "schedule") + "</code>");
        }
    }
    if (rows.empty()) return absent("Nothing failed: every row has a time.");
    return scrolling(
        "<table><thead><tr><th>layer</th><th>schedule</th><th>status</th><th>reason</th><th>to see it "
        "again</th></tr></thead><tbody>" +
        rows + "</tbody></table>");
}

std::string data_section(const ReportDocument &document) {
    const std::string json =
        embedded_json(document).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
    std::string text = "<p>This page holds its figures as JSON; <code>unstride compare</code> reads the page "
                       "like a result file. The "
                       "assembly and loop nests shown above are not repeated there.</p>\n"
                       "<p><a download=\"samples.csv\" href='data:text/csv;charset=utf-8," +
                       percent_encoded(samples_csv(document)) + "'>Download all samples as CSV</a></p>\n";
    std::string commands;
    for (std::size_t row = 0; row < document.rows().size(); row++) {
        if (document.rows()[row].reproduce.empty()) continue;
        commands += document.rows()[row].reproduce + "\n";
    }
    if (!commands.empty())
        text += details(false, "Commands that measure single rows again",
                        "<pre tabindex=\"0\">" + escaped(commands) + "</pre>\n");
    return text + std::string(data_begin) + script_safe(json) + std::string(data_end) + "\n";
}

std::optional<std::string_view> json_of_report(std::string_view page) {
    const std::size_t begin = page.rfind(data_begin);
    if (begin == std::string_view::npos) return std::nullopt;
    const std::size_t end = page.find(data_end, begin);
    if (end == std::string_view::npos) return std::nullopt;
    return page.substr(begin + data_begin.size(), end - begin - data_begin.size());
}

} // namespace unstride
