// What the schedules are and what became of them: parameters, hottest loops, sizes.
#include "tools/compare/units.h"
#include "tools/report/document.h"
#include "tools/report/html.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

namespace unstride {

namespace {

// The row whose schedule the others of a layer are set against.
std::optional<std::size_t> reference_row(const ReportDocument &document, const RowGroup &group) {
    std::optional<std::size_t> first;
    for (const std::size_t row : group.rows) {
        const Contender &contender = document.rows()[row].contender;
        if (!contender.schedule) continue;
        if (contender.name == "default") return row;
        if (!first) first = row;
    }
    return first;
}

// What differs from the reference: "tile_x 6 → 5".
std::string differences(const ReportDocument &document, std::size_t reference, std::size_t row) {
    const auto schedule_of = [&](std::size_t i) -> const nlohmann::json & {
        return document.json()["rows"][i]["contender"]["schedule"];
    };
    const nlohmann::json &usual = schedule_of(reference), &own = schedule_of(row);
    std::set<std::string> names;
    for (const nlohmann::json *schedule : {&usual, &own}) {
        for (const auto &[name, value] : schedule->items())
            names.insert(name);
    }
    std::string text;
    for (const std::string &name : names) {
        if (usual.contains(name) && own.contains(name) && usual[name] == own[name]) continue;
        const std::string member = "contender/schedule/" + pointer_part(name);
        text += fmt::format("{}<code>{}</code> {} → <mark>{}</mark>", text.empty() ? "" : ", ", escaped(name),
                            document.row_figure(reference, member, "number"),
                            document.row_figure(row, member, "number"));
    }
    return text.empty() ? "equal" : text;
}

std::string schedules_table(const ReportDocument &document, const RowGroup &group) {
    const auto reference = reference_row(document, group);
    if (!reference) return "";
    std::string body;
    for (const std::size_t row : group.rows) {
        if (!document.rows()[row].contender.schedule) continue;
        body += fmt::format(
            "<tr><td>{}</td><td class=\"wrap\">{}</td><td class=\"wrap\"><code>{}</code></td></tr>\n",
            escaped(document.columns()[document.series(row)]),
            row == *reference ? "the reference" : differences(document, *reference, row),
            document.row_figure(row, "contender/schedule", "text"));
    }
    return scrolling("<table><thead><tr><th>schedule</th><th>against the reference</th><th>all "
                     "parameters</th></tr></thead>"
                     "<tbody>" +
                     body + "</tbody></table>");
}

std::string loop_nests(const ReportDocument &document, const RowGroup &group) {
    std::string text;
    for (const std::size_t row : group.rows) {
        const Contender &contender = document.rows()[row].contender;
        if (contender.loops.empty()) continue;
        text += fmt::format("<div><h3>{}</h3><pre tabindex=\"0\">{}</pre></div>\n",
                            escaped(document.columns()[document.series(row)]), escaped(contender.loops));
    }
    return text.empty()
               ? ""
               : "<div class=\"scroll\" tabindex=\"0\"><div class=\"side\">" + text + "</div></div>\n";
}

std::string spaced(std::string name) {
    std::replace(name.begin(), name.end(), '_', ' ');
    return name;
}

// Counts and modelled cycles of the loops of a layer, a column each.
std::string loop_table(const ReportDocument &document, const std::vector<std::size_t> &rows) {
    std::map<std::string, std::pair<std::string, const char *>> lines; // name shown: member, form
    std::string head = "<tr><th>one iteration</th>", body;
    for (const std::size_t row : rows) {
        const HotLoop &loop = *document.rows()[row].hot_loop;
        head += "<th class=\"n\">" + escaped(document.columns()[document.series(row)]) + "</th>";
        for (const auto &[name, count] : loop.counts)
            lines[spaced(name)] = {"hot_loop/counts/" + pointer_part(name), "count"};
        for (const auto &[processor, cycles] : loop.modelled_cycles) {
            lines["modelled cycles on " + processor] = {"hot_loop/modelled_cycles/" + pointer_part(processor),
                                                        "number"};
        }
    }
    lines["multiply adds, share of instructions"] = {"derived/loop/multiply_add_share", "share"};
    lines["vector loads for each multiply add"] = {"derived/loop/loads_per_multiply_add", "number"};
    for (const auto &[name, figure] : lines) {
        body += "<tr><td>" + escaped(name) + "</td>";
        for (const std::size_t row : rows)
            body += "<td class=\"n\">" + document.row_figure(row, figure.first, figure.second) + "</td>";
        body += "</tr>";
    }
    return scrolling("<table><thead>" + head + "</tr></thead><tbody>" + body + "</tbody></table>");
}

std::string listing(const ReportDocument &document, std::size_t row) {
    const HotLoop &loop = *document.rows()[row].hot_loop;
    std::string text = "<div><h3>" + escaped(document.columns()[document.series(row)]) + "</h3>";
    if (!loop.bottleneck.empty())
        text += "<p class=\"soft\">Modelled: " + document.row_figure(row, "hot_loop/bottleneck", "text") +
                ".</p>";
    if (!loop.assembly.empty()) text += "<pre tabindex=\"0\">" + escaped(loop.assembly) + "</pre>";
    return text + "</div>\n";
}

} // namespace

std::string schedules_section(const ReportDocument &document) {
    std::string text;
    for (const RowGroup &group : document.groups()) {
        const std::string body = schedules_table(document, group) + loop_nests(document, group);
        if (!body.empty())
            text += details(document.few_groups(), escaped(group.title),
                            "<p><code>" + escaped(group.text) + "</code></p>\n" + body);
    }
    if (text.empty()) return absent("No row tells its schedule.");
    return "<p>Parameters as in a tuning record. The reference is the default schedule, or the first one "
           "where there is "
           "no default.</p>\n" +
           text;
}

std::string assembly_section(const ReportDocument &document) {
    std::string text;
    for (const RowGroup &group : document.groups()) {
        std::vector<std::size_t> rows;
        std::string listings;
        for (const std::size_t row : group.rows) {
            if (!document.rows()[row].hot_loop) continue;
            rows.push_back(row);
            listings += listing(document, row);
        }
        if (rows.empty()) continue;
        text += details(document.few_groups(), escaped(group.title),
                        loop_table(document, rows) + scrolling("<div class=\"side\">" + listings + "</div>"));
    }
    if (text.empty()) return absent("No row holds its hottest loop.");
    return "<p>The innermost loop with most multiply-adds, one iteration of it. Cycles are <em>modelled</em> "
           "by LLVM for "
           "the processors named, never measured: they know neither caches nor threads.</p>\n" +
           text;
}

std::string cost_section(const ReportDocument &document) {
    const std::string rows = rows_by_layer(document, [&](std::size_t row) -> std::string {
        const ResultRow &result = document.rows()[row];
        if (!result.facts.code_bytes && !result.compile_seconds && !result.peak_bytes &&
            !result.scratch_bytes)
            return "";
        const auto cell = [&](const char *member, const char *form) {
            return "<td class=\"n\">" + document.row_figure(row, member, form) + "</td>";
        };
        return cell("static/code_bytes", "bytes") + cell("static/spills", "count") +
               cell("scratch_bytes", "bytes") + cell("peak_bytes", "bytes") +
               cell("compulsory_bytes", "bytes") + cell("compile_s", "seconds");
    });
    if (rows.empty()) return absent("No row tells its size or what it cost to compile.");
    return "<p>A compile time is missing where the kernel came from the cache.</p>\n" +
           scrolling("<table><thead><tr><th>layer</th><th>schedule</th><th class=\"n\">code</th><th "
                     "class=\"n\">spills in "
                     "the hottest loop</th><th class=\"n\">scratch</th><th class=\"n\">peak heap</th><th "
                     "class=\"n\">"
                     "tensors and weights</th><th class=\"n\">compiling</th></tr></thead><tbody>" +
                     rows + "</tbody></table>");
}

} // namespace unstride
