// The sections that answer which schedule is fastest and whether that is real: provenance, matrix, speed-ups.
#include "tools/compare/units.h"
#include "tools/report/document.h"
#include "tools/report/html.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <optional>

namespace unstride {

namespace {

std::string term(const char *name, const std::string &value) {
    return fmt::format("<dt>{}</dt><dd>{}</dd>", name, value);
}

std::string row_header(const RowGroup &group) {
    if (group.layer == group.text)
        return fmt::format("<th scope=\"row\"><code>{}</code></th>", escaped(group.text));
    return fmt::format("<th scope=\"row\" title=\"{}\">{}</th>", escaped(group.text), escaped(group.layer));
}

std::string source_terms(const ReportDocument &document, std::size_t i) {
    const ResultSource &source = document.comparison().results.sources[i];
    const std::string at = fmt::format("/sources/{}/", i);
    const auto figure = [&](const char *member, const char *form) {
        return document.figure(at + member, form);
    };
    std::string text = "<dl>";
    text += term("processor", source.machine.model.empty() ? "<span class=\"none\">not named</span>"
                                                           : figure("machine/model", "text") + " (" +
                                                                 figure("machine/vendor", "text") + ")");
    if (!source.machine.gpu.empty()) text += term("device", figure("machine/gpu", "text"));
    text += term("caches of a core", "L1 " + figure("machine/l1d_bytes", "bytes") + ", L2 " +
                                         figure("machine/l2_bytes", "bytes"));
    text += term("threads", figure("machine/threads", "count"));
    text += term("clock", "governor " + figure("governor", "text") + ", turbo " + figure("turbo", "text"));
    text += term("virtual machine", figure("virtualised", "text"));
    text += term("load at the begin", figure("load", "number"));
    text += term("noise floor",
                 figure("noise_floor", "share") + " <span class=\"soft\">a schedule against itself</span>");
    const Protocol &protocol = source.protocol;
    text += term("protocol", protocol.rounds == 0
                                 ? "<span class=\"none\">as each record was measured</span>"
                                 : figure("protocol/rounds", "count") + " rounds of " +
                                       figure("protocol/samples_per_round", "count") +
                                       " samples of at least " + figure("protocol/sample_s", "seconds") +
                                       (protocol.interleaved ? ", interleaved" : ", one after the other") +
                                       (protocol.cold ? ", cold caches" : ", warm caches"));
    text += term("versions", "unstride " + figure("tool/unstride", "text") + ", Halide " +
                                 figure("tool/halide", "text") + ", search space " +
                                 figure("tool/space", "count"));
    text += term("generators", "<code>" + figure("tool/generators", "text") + "</code>");
    if (!source.commit.empty()) text += term("commit", figure("commit", "text"));
    text += term("date", figure("when", "text"));
    text += term("command", "<code>" + figure("command", "text") + "</code>");
    return text + "</dl>\n";
}

// Measured limits of one source.
std::string limits_table(const ReportDocument &document, std::size_t i) {
    const ResultSource &source = document.comparison().results.sources[i];
    std::string rows;
    const auto add = [&](const std::string &what, int threads, const std::string &value) {
        rows += fmt::format("<tr><td>{}</td><td class=\"n\">{}</td><td class=\"n\">{}</td></tr>", what,
                            threads, value);
    };
    for (std::size_t k = 0; k < source.peaks.size(); k++) {
        add("multiply-adds, " + escaped(source.peaks[k].instruction_set), source.peaks[k].threads,
            document.figure(fmt::format("/sources/{}/peaks/{}/flops", i, k), "flops"));
    }
    for (std::size_t k = 0; k < source.bandwidths.size(); k++) {
        add("copying in " + escaped(source.bandwidths[k].level), source.bandwidths[k].threads,
            document.figure(fmt::format("/sources/{}/bandwidths/{}/bytes_per_s", i, k), "bandwidth"));
    }
    if (rows.empty()) return absent("The limits of the machine were not measured.");
    return scrolling(
        "<table><thead><tr><th>measured limit</th><th class=\"n\">threads</th><th class=\"n\">rate</th>"
        "</tr></thead><tbody>" +
        rows + "</tbody></table>");
}

// Estimate, rate, ratio and verdict of one row.
std::string matrix_cell(const ReportDocument &document, std::size_t row, bool best) {
    const ResultRow &result = document.rows()[row];
    const RowComparison &figures = document.comparison().rows[row];
    const auto figure = [&](const char *member, const char *form) {
        return document.member_figure(row, member, form);
    };
    std::string text = fmt::format("<td{}{}>", ReportDocument::base(row), best ? " class=\"best\"" : "");
    if (result.estimate_ns) {
        text += "<strong>" + figure("est_ns", "time") + "</strong>";
        if (figures.spread) text += " <small>" + figure("derived/spread", "spread") + "</small>";
        if (figures.flops) {
            text += "<br><small>" + figure("derived/flops", "flops");
            if (figures.peak_share) text += ", " + figure("derived/peak_share", "share");
            text += "</small>";
        }
        text += "<br>";
    } else {
        text += fmt::format("<span class=\"failed\">✗ {}</span><br>", figure("status", "text"));
    }
    if (figures.speedup) text += figure("derived/speedup", "ratio") + " ";
    const char *style = figures.standing == Standing::faster   ? "verdict faster"
                        : figures.standing == Standing::slower ? "verdict slower"
                                                               : "verdict soft";
    const std::string reason =
        figures.reason.empty() ? "" : fmt::format(" title=\"{}\"", escaped(figures.reason));
    text +=
        fmt::format("<span class=\"{}\"{}>{}</span>", style, reason, figure("derived/verdict", "verdict"));
    return text + "</td>";
}

std::optional<std::size_t> fastest(const ReportDocument &document, const RowGroup &group) {
    std::optional<std::size_t> best;
    for (const std::size_t row : group.rows) {
        const ResultRow &result = document.rows()[row];
        if (result.status != TuningStatus::ok) continue;
        if (!best || *result.estimate_ns < *document.rows()[*best].estimate_ns) best = row;
    }
    return best;
}

std::string matrix_row(const ReportDocument &document, const RowGroup &group) {
    std::vector<std::string> cells(document.columns().size(), "<td class=\"none\">–</td>");
    const auto best = fastest(document, group);
    for (const std::size_t row : group.rows)
        cells[document.series(row)] = matrix_cell(document, row, best == row && group.rows.size() > 1);
    std::string text = "<tr>" + row_header(group);
    for (const std::string &cell : cells)
        text += cell;
    return text + "</tr>\n";
}

std::string column_header(const ReportDocument &document, std::size_t column) {
    for (std::size_t row = 0; row < document.rows().size(); row++) {
        if (document.series(row) != column) continue;
        const Contender &contender = document.rows()[row].contender;
        std::string text = "<th scope=\"col\">" + escaped(document.columns()[column]);
        if (!contender.version.empty())
            text += "<br><small>" + escaped(contender.version + " " + contender.implementation) + "</small>";
        return text + "</th>";
    }
    return "<th></th>";
}

std::optional<std::size_t> summary_of(const ReportDocument &document, const std::string &column) {
    const auto &summaries = document.comparison().summaries;
    for (std::size_t i = 0; i < summaries.size(); i++) {
        if (summaries[i].column == column) return i;
    }
    return std::nullopt;
}

struct ForestRow {
    std::size_t row;
    std::string label;
};

std::string forest_plot(const ReportDocument &document, std::size_t summary) {
    const Comparison &comparison = document.comparison();
    const ColumnSummary &column = comparison.summaries[summary];
    std::vector<ForestRow> rows;
    double low = 0.8, high = 1.25, threshold = comparison.threshold;
    for (const RowGroup &group : document.groups()) {
        for (const std::size_t row : group.rows) {
            const RowComparison &figures = comparison.rows[row];
            if (comparison.columns[row] != column.column || !figures.speedup) continue;
            std::string label = shortened(group.layer, 30);
            if (document.machine_groups().size() > 1)
                label += fmt::format(" {} {}T", group.instruction_set, group.threads);
            rows.push_back({row, label});
            low = std::min(low, figures.speedup->value * 0.95);
            high = std::max(high, figures.speedup->value * 1.05);
            threshold = std::max(threshold, figures.threshold.value_or(0));
        }
    }
    if (rows.empty()) return "";
    std::stable_sort(rows.begin(), rows.end(), [&](const ForestRow &a, const ForestRow &b) {
        return comparison.rows[a.row].speedup->value > comparison.rows[b.row].speedup->value;
    });
    constexpr double left = 250, right = 760, step = 19, top = 14;
    const double bottom = top + step * (static_cast<double>(rows.size()) + 1) + 6;
    Picture picture(960, bottom + 44, "Speed-ups of " + column.column + " over " + comparison.baseline);
    const PlotScale x(low, high, left, right, true);
    picture.rectangle(x(1 - threshold), top, x(1 + threshold) - x(1 - threshold), bottom - top, "zone");
    for (const double tick : x.ticks(8)) {
        picture.line(x(tick), top, x(tick), bottom, "grid");
        picture.text(x(tick), bottom + 16, fmt::format("{:g}×", std::round(tick * 1000) / 1000), "smallmid");
    }
    picture.line(x(1), top, x(1), bottom, "one");
    picture.text((left + right) / 2, bottom + 36,
                 "times as fast as " + comparison.baseline + " (logarithmic)", "smallmid");
    const std::size_t series = static_cast<std::size_t>(
        std::find(document.columns().begin(), document.columns().end(), column.column) -
        document.columns().begin());
    const std::string series_class = fmt::format("whisker s{}", series % series_count);
    double y = top + step / 2;
    for (const ForestRow &row : rows) {
        const RowComparison &figures = comparison.rows[row.row];
        picture.text(left - 10, y + 4, row.label, "end");
        if (figures.has_interval)
            picture.path(fmt::format("M{:.1f} {:.1f}H{:.1f}", x(figures.speedup->interval.low), y,
                                     x(figures.speedup->interval.high)),
                         series_class);
        picture.marker(x(figures.speedup->value), y, series, document.rows()[row.row].layer);
        const std::string at = fmt::format("/rows/{}/derived/", row.row);
        picture.raw(document.svg_figure(right + 70, y + 4, "end", at + "speedup", "ratio"));
        picture.raw(document.svg_figure(right + 84, y + 4, "soft", at + "verdict", "verdict"));
        y += step;
    }
    if (column.speedup) {
        const double middle = x(column.speedup->value);
        const double from = column.pairs > 1 ? x(column.speedup->interval.low) : middle - 5;
        const double to = column.pairs > 1 ? x(column.speedup->interval.high) : middle + 5;
        y += 4;
        picture.line(20, y - step / 2, 940, y - step / 2, "grid");
        picture.text(left - 10, y + 4, "geometric mean", "end strong");
        picture.path(fmt::format("M{:.1f} {:.1f}L{:.1f} {:.1f}L{:.1f} {:.1f}L{:.1f} {:.1f}z", from, y, middle,
                                 y - 6, to, y, middle, y + 6),
                     fmt::format("mark s{}", series % series_count));
        picture.raw(document.svg_figure(right + 70, y + 4, "end strong",
                                        fmt::format("/comparison/summaries/{}/speedup", summary), "ratio"));
    }
    return figure_box(
        picture.finished(),
        "How to read: right of the line at 1× is faster than the baseline. A bar is the 99 % interval of "
        "the ratio; one that reaches the line may be chance, and inside the shaded band a difference is "
        "too small to count. The diamond is the geometric mean with its interval over layers.");
}

} // namespace

std::string summary_cards(const ReportDocument &document) {
    const Comparison &comparison = document.comparison();
    std::string cards;
    for (std::size_t i = 0; i < comparison.summaries.size(); i++) {
        const ColumnSummary &summary = comparison.summaries[i];
        const std::string at = fmt::format("/comparison/summaries/{}/", i);
        const auto count = [&](const char *member) { return document.figure(at + member, "count"); };
        cards += fmt::format(
            "<li><div class=\"name\">{} over {}</div><div class=\"big\">{} <small>geometric mean "
            "of {}</small></div><div class=\"more\"><span class=\"faster\">▲ {} faster</span>, "
            "≈ {} tie, <span class=\"slower\">▼ {} slower</span>",
            escaped(summary.column), escaped(comparison.baseline), document.figure(at + "speedup", "ratio"),
            count("pairs"), count("faster"), count("tie"), count("slower"));
        if (summary.failed > 0)
            cards += fmt::format(", <span class=\"failed\">✗ {} failed</span>", count("failed"));
        if (summary.other_machine > 0)
            cards += fmt::format(", ? {} not judged: other machine", count("other_machine"));
        if (summary.dropped > 0) cards += fmt::format("; {} without a pair", count("dropped"));
        cards += "</div></li>\n";
    }
    std::string text = cards.empty() ? "" : "<ul class=\"cards\">" + cards + "</ul>\n";
    for (const std::string &warning : comparison.warnings)
        text += fmt::format("<p class=\"warning\"><strong>Doubtful:</strong> {}.</p>\n", escaped(warning));
    return text;
}

std::string provenance_section(const ReportDocument &document) {
    std::string text;
    const auto &sources = document.comparison().results.sources;
    for (std::size_t i = 0; i < sources.size(); i++) {
        if (sources.size() > 1) text += "<h3>" + escaped(sources[i].name) + "</h3>\n";
        text += source_terms(document, i) + limits_table(document, i);
    }
    return text;
}

std::string matrix_section(const ReportDocument &document) {
    std::string text =
        "<p>Time of one call with half its 99 % interval; operations a second (a multiply-add is two) and "
        "their share "
        "of the measured peak; speed relative to the baseline with its verdict. The fastest of a layer is "
        "underlined.</p>\n";
    for (const MachineGroup &machine : document.machine_groups()) {
        text += fmt::format("<h3>{}, {} thread{}</h3>\n", escaped(machine.instruction_set), machine.threads,
                            machine.threads == 1 ? "" : "s");
        std::string table = "<table class=\"matrix\"><thead><tr><th scope=\"col\">layer</th>";
        for (std::size_t column = 0; column < document.columns().size(); column++)
            table += column_header(document, column);
        table += "</tr></thead>\n<tbody>";
        for (const std::size_t group : machine.groups)
            table += matrix_row(document, document.groups()[group]);
        table += "</tbody>";
        if (document.machine_groups().size() == 1) {
            table += "<tfoot><tr><th scope=\"row\">geometric mean over the baseline</th>";
            for (const std::string &column : document.columns()) {
                const auto summary = summary_of(document, column);
                table += "<td>" +
                         (summary ? document.figure(fmt::format("/comparison/summaries/{}/speedup", *summary),
                                                    "ratio")
                                  : std::string("<span class=\"none\">–</span>")) +
                         "</td>";
            }
            table += "</tr></tfoot>";
        }
        text += scrolling(table + "</table>");
    }
    return text;
}

std::string forest_section(const ReportDocument &document) {
    std::string text;
    for (std::size_t i = 0; i < document.comparison().summaries.size(); i++) {
        const std::string plot = forest_plot(document, i);
        if (plot.empty()) continue;
        text += fmt::format("<h3>{}</h3>\n{}", escaped(document.comparison().summaries[i].column), plot);
    }
    return text.empty() ? absent("No row has a baseline with an estimate to be compared with.") : text;
}

} // namespace unstride
