// The report of a large made-up comparison: its size, its figures, and what a browser says of it.
#include "tests/unit/example_results.h"
#include "tools/compare/comparison.h"
#include "tools/files.h"
#include "tools/library/process.h"
#include "tools/report/html.h"
#include "tools/report/report.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <limits>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace unstride {
namespace {

namespace fs = std::filesystem;

constexpr const char *hostile = "</script><script>alert(1)</script> & \"quoted\" 'text' <b>";

std::string assembly(int seed) {
    std::string text;
    for (int i = 0; i < 36; i++)
        text += "vfmadd231ps\tzmm" + std::to_string(i % 32) + ", zmm30, dword ptr [rax + " +
                std::to_string(4 * (i + seed)) + "]{1to16}\n";
    return text;
}

HotLoop example_loop(int seed) {
    return {assembly(seed),
            {{"instructions", 36},
             {"multiply_adds", 24},
             {"vector_loads", 4},
             {"broadcasts", 6},
             {"stack_loads", 0},
             {"stack_stores", 0},
             {"vector_registers", 30},
             {"bytes", 260}},
            {{"skylake-avx512", 12.5}, {"znver4", 24.25}},
            "skylake-avx512: waits for execution units in 81 % of the cycles"};
}

SearchLog example_search(const std::string &text) {
    SearchLog search{text, "avx512", "avx512.jsonl", 240, 56, {}};
    for (int i = 0; i < 60; i++) {
        Trial trial;
        trial.schedule = ScheduleRecord{CpuDirect{16, 1 + i % 4, 1 + i % 7, 1, 0, 1 + i % 2, 2, 1, false}};
        trial.date = fmt::format("2026-03-01T12:{:02}:{:02}Z", i / 4, i % 4 * 15);
        if (i % 9 == 4) {
            trial.status = i % 2 == 0 ? TuningStatus::compile_timeout : TuningStatus::wrong_answer;
            trial.detail = "took longer than 120 s";
        } else {
            trial.estimate_ns = 1.6e6 - 1.2e4 * i + 3e5 * std::sin(i);
        }
        search.trials.push_back(trial);
    }
    return search;
}

// `layers` layers by three schedules and a framework; every seventh layer has a failure.
Results large_results(int layers, const std::vector<int> &chosen = {0, 1, 2, 3}) {
    Results results;
    results.sources = {example_source()};
    const char *const contenders[] = {"tuned", "default", "record avx512.jsonl:7", "rival"};
    for (int layer = 0; layer < layers; layer++) {
        const std::string name = layer == 0 ? hostile : "network_stage" + std::to_string(layer) + "_up";
        for (const int c : chosen) {
            const double speed = c == 0 ? 0.8 + 0.002 * layer : c == 2 ? 0.99 : c == 3 ? 1.7 : 1;
            ResultRow row = example_row(name, contenders[c], 1e5 * (1 + layer % 30) * speed,
                                        static_cast<std::uint32_t>(4 * layer + c));
            row.text = "input(f32, 1x64x64x" + std::to_string(layer + 1) +
                       ") | transposed_conv(64, kernel=4, stride=2, pad=1) | bias | relu";
            row.multiplications = 5e6 * (1 + layer % 30);
            row.compulsory_bytes = 1e5 * (1 + layer % 13);
            row.compile_seconds = 2.4;
            row.reproduce = "unstride compare a.layers --layer " + row.layer;
            if (c == 0) row.contender.grade = layer % 3 == 0 ? "near shape" : "exact";
            if (c == 0) row.contender.record = "avx512.jsonl:" + std::to_string(layer + 1);
            if (c == 3) {
                row.contender.schedule.reset();
                row.contender.version = "1.17.0";
                row.contender.implementation = hostile;
            } else {
                std::get<CpuDirect>(row.contender.schedule->parameters).tile_x = 4 + c;
                row.hot_loop = example_loop(36 * (4 * layer + c)); // no two are equal
            }
            if (layer % 7 == 3 && c == 2) {
                row.status = TuningStatus::wrong_answer;
                row.detail = hostile;
                row.samples_ns.clear();
                row.estimate_ns.reset();
                row.interval_ns.reset();
                row.correctness.reset();
            }
            if (layer % 11 == 5) row.samples_ns[3][1] *= layer % 7 == 3 && c == 2 ? 1 : 4;
            results.rows.push_back(row);
        }
    }
    results.rows[0].contender.loops =
        "produce output:\n  parallel y\n    for x\n      vectorized c in [0, 15]";
    results.rows[0].search = 0;
    results.searches = {example_search(results.rows[0].text)};
    return results;
}

std::string report_of(int layers, const std::vector<int> &contenders = {0, 1, 2, 3}) {
    auto comparison = compare(large_results(layers, contenders), {});
    EXPECT_TRUE(comparison.ok());
    return html_report(*comparison);
}

// What HTML's escapes stand for.
std::string unescaped(std::string text) {
    const std::pair<const char *, const char *> escapes[] = {
        {"&lt;", "<"}, {"&gt;", ">"}, {"&quot;", "\""}, {"&#39;", "'"}, {"&amp;", "&"}};
    for (const auto &[from, to] : escapes) {
        for (std::size_t at = 0; (at = text.find(from, at)) != std::string::npos; at++)
            text.replace(at, std::string_view(from).size(), to);
    }
    return text;
}

std::string between(const std::string &text, const std::string &begin, const std::string &end) {
    const std::size_t from = text.find(begin);
    if (from == std::string::npos) return "";
    const std::size_t to = text.find(end, from + begin.size());
    return text.substr(from + begin.size(), to - from - begin.size());
}

nlohmann::json embedded(const std::string &page) {
    return nlohmann::json::parse(
        between(page, "<script type=\"application/json\" id=\"results\">", "</script>"));
}

TEST(Report, TwoHundredLayersStaySmall) {
    const std::string page = report_of(200);
    EXPECT_LT(page.size(), 5U * 1000 * 1000);
    EXPECT_EQ(embedded(page)["rows"].size(), 800U);
}

// However long the loops are.
TEST(Report, ListingsShareTheirRoom) {
    Results results = large_results(200);
    for (ResultRow &row : results.rows) {
        if (row.hot_loop) row.hot_loop->assembly += row.hot_loop->assembly + row.hot_loop->assembly;
    }
    const auto comparison = compare(results, {});
    ASSERT_TRUE(comparison.ok());
    const std::string page = html_report(*comparison);
    EXPECT_LT(page.size(), 5U * 1000 * 1000);
    EXPECT_NE(page.find("of 108 lines are left out"), std::string::npos);
    EXPECT_EQ(report_of(12).find("lines are left out"), std::string::npos);
}

TEST(Report, EqualListingsStandThereOnce) {
    Results results = large_results(1, {0, 1});
    results.rows[1].hot_loop = results.rows[0].hot_loop;
    const auto comparison = compare(results, {});
    ASSERT_TRUE(comparison.ok());
    const std::string page = html_report(*comparison);
    EXPECT_NE(page.find("<h3>tuned, default</h3>"), std::string::npos);
    EXPECT_EQ(page.find("vfmadd231ps\tzmm0,", page.find("vfmadd231ps\tzmm0,") + 40),
              page.rfind("vfmadd231ps\tzmm0,")); // of 36 lines, two go to that register
}

TEST(Report, SearchesAreShownOverTrialsAndOverTime) {
    const std::string page = report_of(1);
    EXPECT_NE(page.find("seconds of searching</text>"), std::string::npos);
    EXPECT_NE(page.find("schedules in the search space were tried"), std::string::npos);
    Results results = large_results(1);
    results.searches[0].trials[7].date.clear();
    results.searches[0].space.reset();
    const auto comparison = compare(results, {});
    ASSERT_TRUE(comparison.ok());
    const std::string without = html_report(*comparison);
    EXPECT_NE(without.find("trials, in the order of the log</text>"), std::string::npos);
    EXPECT_EQ(without.find("seconds of searching</text>"), std::string::npos);
    EXPECT_EQ(without.find("schedules in the search space were tried"), std::string::npos);
}

TEST(Report, OtherMachinesHaveNoVerdict) {
    Results results = large_results(2, {0});
    Results more = large_results(2, {0});
    more.sources[0].machine.model = "Another";
    more.sources[0].name = "there";
    merge(&results, std::move(more));
    const auto comparison = compare(results, {});
    ASSERT_TRUE(comparison.ok());
    const std::string page = html_report(*comparison);
    EXPECT_NE(page.find("? other machine"), std::string::npos);
    EXPECT_NE(page.find("not judged: other machine"), std::string::npos);
    EXPECT_NE(page.find("there are no verdicts"), std::string::npos);
    EXPECT_EQ(page.find("▲ faster</span></td>"), std::string::npos);
}

// What the page says that an element shows.
struct Figure {
    std::string pointer, form, shown;
};

// All figures of a page, by the rules of report.h.
std::vector<Figure> figures_of(const std::string &page) {
    std::vector<Figure> figures, header;
    std::string at;
    bool in_figures = false;
    std::size_t column = 0;
    const std::size_t end = page.rfind("<script");
    for (std::size_t i = page.find('<'); i < end; i = page.find('<', i + 1)) {
        const std::string element = page.substr(i, page.find('<', i + 1) - i);
        const std::string tag = element.substr(1, element.find_first_of(" >") - 1);
        const std::string shown = unescaped(element.substr(element.find('>') + 1));
        const std::string pointer = unescaped(between(element, "data-json=\"", "\""));
        const std::string stated = between(element, "data-form=\"", "\"");
        const std::string form = stated.empty() ? usual_form(pointer) : stated;
        if (const std::string base = between(element, "data-at=\"", "\""); !base.empty()) at = base;
        if (tag == "table") {
            in_figures = element.find("class=\"figures\"") != std::string::npos;
            header.clear();
        }
        if (tag == "tr") column = 0;
        if (in_figures && tag == "th" && !pointer.empty())
            header.push_back({pointer, form, ""});
        else if (in_figures && tag == "td" && column < header.size())
            figures.push_back({at + header[column].pointer, header[column].form, shown});
        else if (!pointer.empty())
            figures.push_back({pointer[0] == '/' ? pointer : at + pointer, form, shown});
        if (tag == "td") column++;
    }
    return figures;
}

TEST(Report, EveryFigureIsThatOfTheJson) {
    const std::string page = report_of(12);
    const nlohmann::json json = embedded(page);
    std::size_t present = 0, tabled = 0;
    for (const Figure &figure : figures_of(page)) {
        const nlohmann::json::json_pointer place(figure.pointer);
        tabled += figure.pointer.find("/correct/max_ulp") != std::string::npos;
        if (figure.shown == "–") {
            EXPECT_FALSE(json.contains(place)) << figure.pointer;
            continue;
        }
        ASSERT_TRUE(json.contains(place)) << figure.pointer;
        EXPECT_EQ(figure.shown, figure_text(json[place], figure.form)) << figure.pointer;
        present++;
    }
    EXPECT_GT(present, 1000U);
    EXPECT_EQ(tabled, 48U - 2); // all rows but those of wrong answers
}

TEST(Report, ThePageCarriesItsResults) {
    const std::string page = report_of(3);
    const auto json = json_of_report(page);
    ASSERT_TRUE(json.has_value());
    const auto read = results_from_text(*json, "report.html");
    ASSERT_TRUE(read.ok()) << read.error();
    Results expected = large_results(3);
    for (ResultRow &row : expected.rows) { // shown once
        if (row.hot_loop) row.hot_loop->assembly.clear();
        row.contender.loops.clear();
    }
    EXPECT_EQ(*read, expected);
    EXPECT_FALSE(json_of_report("<html></html>").has_value());
    EXPECT_FALSE(json_of_report(page.substr(0, page.rfind("</script>"))).has_value());
}

TEST(Report, TheDownloadHoldsEverySample) {
    const std::string link = between(report_of(3), "href='data:text/csv;charset=utf-8,", "'");
    std::string text;
    for (std::size_t i = 0; i < link.size(); i++) {
        if (link[i] == '%') {
            text += static_cast<char>(std::stoi(link.substr(i + 1, 2), nullptr, 16));
            i += 2;
        } else {
            text += link[i];
        }
    }
    EXPECT_EQ(std::count(text.begin(), text.end(), '\n'), 1 + 12);
    const Results results = large_results(3);
    const std::string first = fmt::format("{:.7g}", fmt::join(results.rows[11].samples_ns[0], "+"));
    EXPECT_NE(text.find(first + ";"), std::string::npos) << text;
}

TEST(Report, NothingInTheResultsIsMarkup) {
    const std::string page = report_of(12);
    EXPECT_EQ(page.find("<script>"), std::string::npos);
    EXPECT_EQ(page.find("alert(1)</script>"), std::string::npos);
    EXPECT_EQ(page.find("<b>"), std::string::npos);
    EXPECT_NE(page.find("&lt;/script&gt;"), std::string::npos);
}

TEST(Report, NothingIsLoaded) {
    const std::string page = report_of(3);
    for (const char *part : {"http:", "https:", "src=", "@import", "url("})
        EXPECT_EQ(page.find(part), std::string::npos) << part;
}

TEST(PlotScale, TicksAreRoundAndBetweenTheEnds) {
    EXPECT_EQ(PlotScale(0, 10, 0, 100, false).ticks(5), (std::vector<double>{0, 2, 4, 6, 8, 10}));
    EXPECT_EQ(PlotScale(1, 100, 0, 100, true).ticks(6), (std::vector<double>{1, 2, 5, 10, 20, 50, 100}));
    EXPECT_EQ(PlotScale(0.5, 2e4, 0, 100, true).ticks(4), (std::vector<double>{1, 10, 100, 1000, 1e4}));
}

// Ends that no measurement has: nothing, everything, and too close for a step between them.
TEST(PlotScale, AnyEndsHaveFewTicks) {
    const double infinity = std::numeric_limits<double>::infinity();
    const std::pair<double, double> ends[] = {
        {0, 1},         {1, infinity},     {-infinity, infinity}, {0, 0},
        {1e300, 1e300}, {1e-320, 1e-310},  {1e20, 1e20},          {1e20, 1e20 + 1e5},
        {-1, 1},        {std::nan(""), 1}, {0, std::nan("")}};
    for (const auto &[low, high] : ends) {
        for (const bool logarithmic : {false, true})
            EXPECT_LE(PlotScale(low, high, 0, 100, logarithmic).ticks(6).size(), 400U) << low << " " << high;
    }
}

TEST(Report, AllSectionsAreThereWhateverIsAbsent) {
    Results results;
    results.sources = {example_source()};
    ResultRow row = example_row("up", "default", 1e6);
    row.samples_ns.clear();
    row.contender.schedule.reset();
    row.correctness.reset();
    row.facts = {};
    row.multiplications.reset();
    results.rows = {row};
    const auto comparison = compare(results, {});
    ASSERT_TRUE(comparison.ok());
    for (const std::string &page : {html_report(*comparison), report_of(2)}) {
        std::size_t sections = 0;
        for (std::size_t at = page.find("<section "); at != std::string::npos;
             at = page.find("<section ", at + 1))
            sections++;
        EXPECT_EQ(sections, 13U);
    }
    const std::string page = html_report(*comparison);
    for (const char *reason :
         {"hold no raw samples", "No row has a baseline", "No log of a search",
          "No schedule here was looked up", "No row tells its schedule", "No row holds its hottest loop",
          "No row tells its size", "No row tells how it was checked", "Nothing failed",
          "No row has a time, multiplications"}) {
        EXPECT_NE(page.find(reason), std::string::npos) << reason;
    }
}

class Browser : public testing::Test {
protected:
    void SetUp() override {
        if (!program_exists("chromium")) GTEST_SKIP() << "there is no chromium";
        auto made = make_temporary_folder("unstride-report");
        ASSERT_TRUE(made.ok()) << made.error();
        folder_.emplace(std::move(*made));
        ASSERT_TRUE(write_file_atomically(path("report.html"), report_of(40)).ok());
    }

    fs::path path(const std::string &name) const { return folder_->path() / name; }

    ProcessResult chromium(std::vector<std::string> arguments) const {
        std::vector<std::string> command = {"chromium",
                                            "--headless",
                                            "--no-sandbox",
                                            "--disable-gpu",
                                            "--disable-dev-shm-usage",
                                            "--allow-file-access-from-files",
                                            "--enable-logging=stderr",
                                            "--user-data-dir=" + path("profile").string()};
        command.insert(command.end(), arguments.begin(), arguments.end());
        return run_process(command, {std::chrono::seconds(120), 0});
    }

    std::optional<TemporaryFolder> folder_;
};

// A frame as wide as the window tells how wide the page in it is.
TEST_F(Browser, NoPageIsWiderThanItsWindow) {
    for (const int width : {400, 700, 1280}) {
        const std::string frame =
            "<!DOCTYPE html><body style='margin:0'><iframe id=f src=report.html "
            "style='border:0;height:900px;width:" +
            std::to_string(width) +
            "px'></iframe><script>document.getElementById('f').onload = e => {"
            "const d = e.target.contentDocument; d.querySelectorAll('details').forEach(x => x.open = true);"
            "const r = d.documentElement; document.body.dataset.widths = r.scrollWidth + ' of ' + "
            "r.clientWidth;"
            "document.body.dataset.sections = d.querySelectorAll('section').length;};</script>";
        ASSERT_TRUE(write_file_atomically(path("frame.html"), frame).ok());
        const ProcessResult result = chromium({"--virtual-time-budget=20000", "--window-size=1300,1000",
                                               "--dump-dom", "file://" + path("frame.html").string()});
        ASSERT_TRUE(result.ok()) << result.errors;
        EXPECT_EQ(between(result.output, "data-sections=\"", "\""), "13") << result.errors;
        const std::string widths = between(result.output, "data-widths=\"", "\"");
        int scroll = 0, client = 0;
        ASSERT_EQ(std::sscanf(widths.c_str(), "%d of %d", &scroll, &client), 2) << widths;
        EXPECT_LE(scroll, client) << "at " << width;
        EXPECT_GT(client, width - 30);
    }
}

TEST_F(Browser, TheConsoleStaysEmpty) {
    const ProcessResult result =
        chromium({"--window-size=1280,1000", "--dump-dom", "file://" + path("report.html").string()});
    ASSERT_TRUE(result.ok()) << result.errors;
    EXPECT_EQ(result.errors.find("CONSOLE"), std::string::npos) << result.errors;
    EXPECT_NE(result.output.find("id=\"data\""), std::string::npos);
    // what is wrong with a page does turn up there
    ASSERT_TRUE(write_file_atomically(path("bad.html"), "<script>missing()</script>").ok());
    const ProcessResult bad = chromium({"--dump-dom", "file://" + path("bad.html").string()});
    EXPECT_NE(bad.errors.find("CONSOLE"), std::string::npos) << bad.errors;
}

} // namespace
} // namespace unstride
