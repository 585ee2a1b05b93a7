// What the schedules are and what became of them: parameters, hottest loops, sizes.
#include "tools/report/document.h"
#include "tools/report/html.h"
#include "tools/report/report.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>
#include <set>
#include <string>
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
                            escaped(document.row_text(reference, member, "number")),
                            document.member_figure(row, member, "number"));
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
            "<tr{}><td>{}</td><td class=\"wrap\">{}</td><td class=\"wrap\"><code>{}</code></td></tr>\n",
            ReportDocument::base(row), escaped(document.columns()[document.series(row)]),
            row == *reference ? "the reference" : differences(document, *reference, row),
            document.member_figure(row, "contender/schedule", "schedule"));
    }
    return scrolling("<table><thead><tr><th>schedule</th><th>against the reference</th><th>all "
                     "parameters</th></tr></thead>"
                     "<tbody>" +
                     body + "</tbody></table>");
}

std::vector<std::string> lines_of(const std::string &text) {
    std::vector<std::string> lines;
    for (std::size_t at = 0; at < text.size();) {
        const std::size_t end = std::min(text.find('\n', at), text.size() - 1) + 1;
        lines.push_back(text.substr(at, end - at));
        at = end;
    }
    return lines;
}

// What of a row is shown as a listing.
using ListingText = std::string (*)(const ResultRow &);
std::string assembly_of(const ResultRow &row) {
    return row.hot_loop ? row.hot_loop->assembly : std::string();
}
std::string loops_of(const ResultRow &row) {
    return row.contender.loops;
}

// Equal listings of a layer, which stand there once.
struct Listing {
    std::string names, text;
};

std::vector<Listing> listings_of(const ReportDocument &document, const RowGroup &group, ListingText text_of) {
    std::vector<Listing> listings;
    for (const std::size_t row : group.rows) {
        const std::string text = text_of(document.rows()[row]);
        if (text.empty()) continue;
        const std::string &name = document.columns()[document.series(row)];
        const auto known = std::find_if(listings.begin(), listings.end(),
                                        [&](const Listing &listing) { return listing.text == text; });
        if (known == listings.end())
            listings.push_back({name, text});
        else
            known->names += ", " + name;
    }
    return listings;
}

// How many lines of each listing fit the room that there is for all of them.
std::size_t lines_that_fit(const ReportDocument &document) {
    std::vector<std::size_t> bytes; // of all first lines, of all second lines, …
    for (const RowGroup &group : document.groups()) {
        for (const ListingText text_of : {assembly_of, loops_of}) {
            for (const Listing &listing : listings_of(document, group, text_of)) {
                const std::vector<std::string> lines = lines_of(escaped(listing.text));
                bytes.resize(std::max(bytes.size(), lines.size()));
                for (std::size_t i = 0; i < lines.size(); i++)
                    bytes[i] += lines[i].size();
            }
        }
    }
    std::size_t sum = 0, fitting = 0;
    while (fitting < bytes.size() && sum + bytes[fitting] <= listing_bytes)
        sum += bytes[fitting++];
    return fitting;
}

std::string listings(const ReportDocument &document, const RowGroup &group, ListingText text_of,
                     std::size_t most_lines) {
    std::string text;
    for (const Listing &listing : listings_of(document, group, text_of)) {
        const std::vector<std::string> lines = lines_of(listing.text);
        text += "<div><h3>" + escaped(listing.names) + "</h3><pre tabindex=\"0\">";
        for (std::size_t i = 0; i < std::min(lines.size(), most_lines); i++)
            text += escaped(lines[i]);
        text += "</pre>";
        if (lines.size() > most_lines)
            text += fmt::format("<p class=\"soft\">{} of {} lines are left out, as this page has so many "
                                "listings; the results hold them all.</p>",
                                lines.size() - most_lines, lines.size());
        text += "</div>\n";
    }
    return text.empty() ? "" : scrolling("<div class=\"side\">" + text + "</div>");
}

std::string spaced(std::string name) {
    std::replace(name.begin(), name.end(), '_', ' ');
    return name;
}

// What is counted and modelled of any hot loop.
std::vector<FigureColumn> loop_columns(const ReportDocument &document) {
    std::set<std::string> counts, processors;
    for (const ResultRow &row : document.rows()) {
        if (!row.hot_loop) continue;
        for (const auto &[name, count] : row.hot_loop->counts)
            counts.insert(name);
        for (const auto &[processor, cycles] : row.hot_loop->modelled_cycles)
            processors.insert(processor);
    }
    std::vector<FigureColumn> columns = {
        {"multiply adds, share of instructions", "derived/loop/multiply_add_share", "share"},
        {"vector loads for each multiply add", "derived/loop/loads_per_multiply_add", "number"}};
    for (const std::string &name : counts)
        columns.push_back({spaced(name), "hot_loop/counts/" + pointer_part(name), "count"});
    for (const std::string &processor : processors) {
        columns.push_back({"modelled cycles on " + processor,
                           "hot_loop/modelled_cycles/" + pointer_part(processor), "number"});
    }
    columns.push_back({"modelled bottleneck", "hot_loop/bottleneck", "text"});
    return columns;
}

} // namespace

std::string schedules_section(const ReportDocument &document) {
    std::string text;
    const std::size_t most_lines = lines_that_fit(document);
    for (const RowGroup &group : document.groups()) {
        const std::string body =
            schedules_table(document, group) + listings(document, group, loops_of, most_lines);
        if (!body.empty())
            text += details(document.few_groups(), escaped(group.title),
                            "<p><code>" + escaped(group.text) + "</code></p>\n" + body);
    }
    if (text.empty()) return absent("No row tells its schedule.");
    return "<p>Parameters as in a tuning record. The reference is the default schedule, or the first one "
           "where there is no default. Loop nests are there where <code>unstride compare --loops</code> "
           "asked "
           "for them: what the compiler made of the parameters, without the arithmetic; loops that became "
           "vectors or were unrolled are none any more.</p>\n" +
           text;
}

std::string assembly_section(const ReportDocument &document) {
    const std::string table = figure_table(document, loop_columns(document),
                                           [](const ResultRow &row) { return row.hot_loop.has_value(); });
    if (table.empty()) return absent("No row holds its hottest loop.");
    std::string text;
    const std::size_t most_lines = lines_that_fit(document);
    for (const RowGroup &group : document.groups()) {
        const std::string own = listings(document, group, assembly_of, most_lines);
        if (!own.empty()) text += details(document.few_groups(), escaped(group.title), own);
    }
    return "<p>The innermost loop with most multiply-adds, one iteration of it. Cycles are <em>modelled</em> "
           "by LLVM for the processors named, never measured: they know neither caches nor threads.</p>\n" +
           table + text;
}

std::string cost_section(const ReportDocument &document) {
    const std::string table =
        figure_table(document,
                     {{"code", "static/code_bytes", "bytes"},
                      {"spills in the hottest loop", "static/spills", "count"},
                      {"scratch", "scratch_bytes", "bytes"},
                      {"tensors and weights", "compulsory_bytes", "bytes"},
                      {"compiling", "compile_s", "seconds"}},
                     [](const ResultRow &row) {
                         return row.facts.code_bytes || row.compile_seconds || row.scratch_bytes;
                     });
    if (table.empty()) return absent("No row tells its size or what it cost to compile.");
    return "<p>Scratch is the memory that a call asks its caller for; it takes no other. A compile time is "
           "missing where the kernel came from the cache.</p>\n" +
           table;
}

} // namespace unstride
