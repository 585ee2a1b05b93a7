// Cells are made once; the two forms only differ in how they are set.
#include "tools/compare/tables.h"

#include "tools/compare/units.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <vector>

namespace unstride {

namespace {

struct Column {
    const char *title;
    bool right;
};
constexpr std::array<Column, 9> table_columns = {{{"layer", false},
                                                  {"schedule", false},
                                                  {"estimate", true},
                                                  {"GFLOP/s", true},
                                                  {"of peak", true},
                                                  {"x vs baseline", true},
                                                  {"verdict", false},
                                                  {"code", true},
                                                  {"max error", true}}};
using Cells = std::array<std::string, table_columns.size()>;

constexpr std::size_t widest_layer = 40;

std::string speedup_text(const RowComparison &figures) {
    if (!figures.speedup) return "";
    const Ratio &ratio = *figures.speedup;
    if (!figures.has_interval || !std::isfinite(ratio.interval.high)) return format_ratio(ratio.value);
    return fmt::format("{} {}", format_ratio(ratio.value),
                       format_spread((ratio.interval.high - ratio.interval.low) / 2 / ratio.value));
}

Cells cells_of(const Comparison &comparison, std::size_t i) {
    const ResultRow &row = comparison.results.rows[i];
    const RowComparison &figures = comparison.rows[i];
    Cells cells;
    cells[0] = fmt::format("{} {} {}T", shortened(row.layer, widest_layer), row.instruction_set, row.threads);
    cells[1] = comparison.columns[i];
    if (row.estimate_ns) {
        cells[2] = format_time(*row.estimate_ns);
        if (figures.spread) cells[2] += " " + format_spread(*figures.spread);
    } else {
        cells[2] = to_string(row.status);
    }
    if (figures.flops) cells[3] = format_number(std::round(*figures.flops / 1e8) / 10);
    if (figures.peak_share) cells[4] = format_share(*figures.peak_share);
    cells[5] = speedup_text(figures);
    cells[6] = to_string(figures.standing);
    if (row.facts.code_bytes) cells[7] = format_bytes(static_cast<double>(*row.facts.code_bytes));
    if (row.correctness) cells[8] = format_error(row.correctness->max_relative);
    return cells;
}

std::vector<Cells> all_cells(const Comparison &comparison) {
    std::vector<Cells> rows;
    for (std::size_t i = 0; i < comparison.rows.size(); i++)
        rows.push_back(cells_of(comparison, i));
    return rows;
}

std::string padded(const std::string &text, std::size_t width, bool right) {
    const std::string space(width - std::min(width, text_width(text)), ' ');
    return right ? space + text : text + space;
}

std::vector<std::string> closing_lines(const Comparison &comparison) {
    std::vector<std::string> lines;
    for (const ColumnSummary &summary : comparison.summaries) {
        std::string line = summary.column + ": ";
        if (summary.speedup)
            line += fmt::format("geometric mean {} over {} pair{}", format_ratio(summary.speedup->value),
                                summary.pairs, summary.pairs == 1 ? "" : "s");
        else
            line += "no pair";
        line += fmt::format(", {} dropped; {} faster, {} slower, {} ~", summary.dropped, summary.faster,
                            summary.slower, summary.tie);
        if (summary.failed > 0) line += fmt::format(", {} failed", summary.failed);
        if (summary.other_machine > 0)
            line += fmt::format(", {} not judged: other machine", summary.other_machine);
        lines.push_back(line);
    }
    lines.push_back(fmt::format("baseline: {}; different means: the 99 % interval excludes 1, by {} or more, "
                                "and Holm's correction agrees",
                                comparison.baseline, format_share(comparison.threshold)));
    for (std::size_t i = 0; i < comparison.rows.size(); i++) {
        const ResultRow &row = comparison.results.rows[i];
        if (row.status == TuningStatus::ok || row.status == TuningStatus::modelled) continue;
        lines.push_back(fmt::format("{} {} {}: {}{}{}", row.layer, row.instruction_set, comparison.columns[i],
                                    to_string(row.status), row.detail.empty() ? "" : ": ", row.detail));
    }
    for (const std::string &warning : comparison.warnings)
        lines.push_back("warning: " + warning);
    return lines;
}

// What would end a cell of Markdown or begin a construct of it.
std::string markdown_cell(const std::string &text) {
    std::string result;
    for (const char c : text) {
        if (c == '|' || c == '\\' || c == '`' || c == '*' || c == '_' || c == '<' || c == '[') result += '\\';
        result += c == '\n' ? ' ' : c;
    }
    return result;
}

} // namespace

std::string text_table(const Comparison &comparison) {
    const std::vector<Cells> rows = all_cells(comparison);
    std::array<std::size_t, table_columns.size()> widths{};
    for (std::size_t c = 0; c < table_columns.size(); c++) {
        widths[c] = text_width(table_columns[c].title);
        for (const Cells &cells : rows)
            widths[c] = std::max(widths[c], text_width(cells[c]));
    }
    std::string text;
    const auto add = [&](const auto &cell) {
        std::string line;
        for (std::size_t c = 0; c < table_columns.size(); c++)
            line += (c == 0 ? "" : "  ") + padded(cell(c), widths[c], table_columns[c].right);
        line.erase(line.find_last_not_of(' ') + 1);
        text += line + "\n";
    };
    add([](std::size_t c) { return std::string(table_columns[c].title); });
    for (const Cells &cells : rows)
        add([&](std::size_t c) { return cells[c]; });
    text += "\n";
    for (const std::string &line : closing_lines(comparison))
        text += line + "\n";
    return text;
}

std::string markdown_table(const Comparison &comparison) {
    std::string text = "|", rule = "|";
    for (const Column &column : table_columns) {
        text += fmt::format(" {} |", column.title);
        rule += column.right ? "---:|" : "---|";
    }
    text += "\n" + rule + "\n";
    for (const Cells &cells : all_cells(comparison)) {
        text += "|";
        for (const std::string &cell : cells)
            text += fmt::format(" {} |", markdown_cell(cell));
        text += "\n";
    }
    text += "\n";
    for (const std::string &line : closing_lines(comparison))
        text += "- " + markdown_cell(line) + "\n";
    return text;
}

} // namespace unstride
