// Comparisons: what is set against what, the verdicts, the means, and when a comparison is a regression.
#include "schedules/database.h"
#include "tests/unit/example_results.h"
#include "tools/compare/comparison.h"
#include "tools/compare/database_results.h"
#include "tools/compare/derived.h"
#include "tools/compare/loop_nest.h"
#include "tools/compare/tables.h"
#include "tools/compare/units.h"

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <cmath>
#include <string>

namespace unstride {
namespace {

// A row of a layer of its own.
ResultRow row_of(int layer, const std::string &contender, double nanoseconds, std::uint32_t seed = 1) {
    ResultRow row = example_row("layer" + std::to_string(layer), contender, nanoseconds, seed);
    row.text += " # " + std::to_string(layer);
    return row;
}

Results one_source(std::vector<ResultRow> rows) {
    Results results;
    results.sources = {example_source()};
    results.rows = std::move(rows);
    return results;
}

Results two_sources(std::vector<ResultRow> first, std::vector<ResultRow> second) {
    Results results = one_source(std::move(first));
    results.sources[0].name = "old";
    Results more = one_source(std::move(second));
    more.sources[0].name = "new";
    merge(&results, std::move(more));
    return results;
}

ResultRow failed(ResultRow row, TuningStatus status) {
    row.status = status;
    row.samples_ns.clear();
    row.estimate_ns.reset();
    row.interval_ns.reset();
    return row;
}

Comparison compared(Results results, const ComparisonOptions &options = {}) {
    Result<Comparison> comparison = compare(std::move(results), options);
    EXPECT_TRUE(comparison.ok()) << (comparison ? "" : comparison.error());
    return std::move(*comparison);
}

TEST(Compare, DefaultIsTheBaselineOfOneSource) {
    const Comparison comparison =
        compared(one_source({row_of(1, "tuned", 8e5, 1), row_of(1, "default", 1e6, 2)}));
    EXPECT_EQ(comparison.baseline, "default");
    EXPECT_EQ(comparison.rows[1].standing, Standing::baseline);
    EXPECT_EQ(comparison.rows[0].standing, Standing::faster);
    EXPECT_TRUE(comparison.rows[0].paired);
    EXPECT_NEAR(comparison.rows[0].speedup->value, 1.25, 0.01);
    EXPECT_LE(comparison.rows[0].speedup->interval.low, 1.25);
    EXPECT_FALSE(comparison.regression());
}

TEST(Compare, AnotherBaselineTurnsTheVerdict) {
    ComparisonOptions options;
    options.baseline = "tuned";
    const Comparison comparison =
        compared(one_source({row_of(1, "tuned", 8e5, 1), row_of(1, "default", 1e6, 2)}), options);
    EXPECT_EQ(comparison.rows[1].standing, Standing::slower);
    EXPECT_NEAR(comparison.rows[1].speedup->value, 0.8, 0.01);
    EXPECT_TRUE(comparison.regression());
    options.baseline = "nobody";
    const auto refused = compare(one_source({row_of(1, "tuned", 8e5)}), options);
    ASSERT_FALSE(refused.ok());
    EXPECT_NE(refused.error().find("the contenders are tuned"), std::string::npos) << refused.error();
}

TEST(Compare, EqualsAndSmallDifferencesAreTies) {
    EXPECT_EQ(
        compared(one_source({row_of(1, "default", 1e6, 1), row_of(1, "tuned", 1e6, 2)})).rows[1].standing,
        Standing::tie);
    Results small = one_source({row_of(1, "default", 1e6, 1), row_of(1, "tuned", 0.985e6, 2)});
    EXPECT_EQ(compared(small).rows[1].standing, Standing::tie);
    ComparisonOptions strict;
    strict.threshold = 0.005;
    small.sources[0].noise_floor = 0.001;
    EXPECT_EQ(compared(small, strict).rows[1].standing, Standing::faster);
    small.sources[0].noise_floor = 0.02; // a machine that noisy tells less
    EXPECT_EQ(compared(small, strict).rows[1].standing, Standing::tie);
    EXPECT_NEAR(*compared(small, strict).rows[1].threshold, 0.04, 1e-12);
}

// A difference that is likely by chance among many layers counts only where it is tested alone.
TEST(Compare, ManyLayersAreCorrectedFor) {
    const auto doubtful = [](int layer) {
        ResultRow row = row_of(layer, "tuned", 1e6);
        const double factors[] = {0.90, 0.99, 0.93, 0.98, 0.94, 0.99, 0.91, 0.98};
        ResultRow base = row_of(layer, "default", 1e6);
        for (std::size_t i = 0; i < 8; i++) {
            row.samples_ns[i] = {1e6 * factors[i]};
            base.samples_ns[i] = {1e6};
        }
        return std::pair(base, row);
    };
    const auto [base, row] = doubtful(0);
    EXPECT_EQ(compared(one_source({base, row})).rows[1].standing, Standing::faster);
    std::vector<ResultRow> rows = {base, row};
    for (int layer = 1; layer < 40; layer++) {
        rows.push_back(row_of(layer, "default", 1e6, 2 * static_cast<std::uint32_t>(layer)));
        rows.push_back(row_of(layer, "tuned", 1e6, 2 * static_cast<std::uint32_t>(layer) + 1));
    }
    const Comparison comparison = compared(one_source(rows));
    EXPECT_EQ(comparison.rows[1].standing, Standing::tie);
    EXPECT_NE(comparison.rows[1].reason.find("40 layers"), std::string::npos) << comparison.rows[1].reason;
}

TEST(Compare, SourcesAreMatchedByTextSetAndThreads) {
    ResultRow other_threads = row_of(2, "tuned", 1e6), other_set = row_of(3, "tuned", 1e6);
    std::vector<ResultRow> old = {row_of(1, "tuned", 1e6, 1), other_threads, other_set};
    other_threads.threads = 1;
    other_set.instruction_set = "avx2";
    ResultRow renamed = row_of(1, "tuned", 1.2e6, 2);
    renamed.layer = "another name";
    const Comparison comparison = compared(two_sources(old, {renamed, other_threads, other_set}));
    EXPECT_EQ(comparison.baseline, "old");
    EXPECT_EQ(comparison.rows[3].standing, Standing::slower);
    EXPECT_EQ(comparison.rows[3].baseline, 0U);
    EXPECT_FALSE(comparison.rows[3].paired);
    EXPECT_EQ(comparison.rows[4].standing, Standing::unknown);
    EXPECT_EQ(comparison.rows[5].reason, "the baseline lacks it");
    ASSERT_EQ(comparison.summaries.size(), 1U);
    EXPECT_EQ(comparison.summaries[0].column, "new");
    EXPECT_EQ(comparison.summaries[0].pairs, 1U);
    EXPECT_EQ(comparison.summaries[0].dropped, 4U); // two layers that only one side has, both ways
    EXPECT_TRUE(comparison.regression());
}

TEST(Compare, SourcesOfSeveralContendersAreMatchedByContender) {
    const Comparison comparison =
        compared(two_sources({row_of(1, "default", 1e6, 1), row_of(1, "tuned", 8e5, 2)},
                             {row_of(1, "default", 1e6, 3), row_of(1, "tuned", 9e5, 4)}));
    EXPECT_EQ(comparison.columns[2], "new: default");
    EXPECT_EQ(comparison.rows[2].standing, Standing::tie);
    EXPECT_EQ(comparison.rows[3].standing, Standing::slower);
    EXPECT_EQ(comparison.rows[3].baseline, 1U);
}

TEST(Compare, SourcesOfOneContenderEachNeedNotAgreeInItsName) {
    const Comparison comparison =
        compared(two_sources({row_of(1, "default", 1e6, 1)}, {row_of(1, "record a.jsonl:3", 5e5, 2)}));
    EXPECT_EQ(comparison.rows[1].standing, Standing::faster);
    EXPECT_EQ(comparison.columns[1], "new");
}

TEST(Compare, MeansAreGeometricOverPairsOnly) {
    const Comparison comparison = compared(one_source(
        {row_of(1, "default", 1e6, 1), row_of(1, "tuned", 5e5, 2), row_of(2, "default", 1e6, 3),
         row_of(2, "tuned", 2e6, 4), row_of(3, "default", 1e6, 5), row_of(4, "tuned", 1e5, 6),
         row_of(5, "default", 1e6, 7), failed(row_of(5, "tuned", 1e5), TuningStatus::wrong_answer)}));
    ASSERT_EQ(comparison.summaries.size(), 1U);
    const ColumnSummary &summary = comparison.summaries[0];
    EXPECT_NEAR(summary.speedup->value, 1, 0.01);
    EXPECT_EQ(summary.pairs, 2U);
    EXPECT_EQ(summary.dropped, 3U);
    EXPECT_EQ(summary.faster, 1U);
    EXPECT_EQ(summary.slower, 1U);
    EXPECT_EQ(summary.failed, 1U);
}

TEST(Compare, FailingWhereTheBaselineDoesNotIsARegression) {
    const ResultRow base = row_of(1, "default", 1e6), other = row_of(1, "tuned", 1e6);
    EXPECT_TRUE(compared(one_source({base, failed(other, TuningStatus::run_crash)})).regression());
    const Comparison reversed = compared(one_source({failed(base, TuningStatus::run_crash), other}));
    EXPECT_FALSE(reversed.regression());
    EXPECT_EQ(reversed.rows[1].reason, "the baseline: run_crash");
    ResultRow modelled = failed(other, TuningStatus::modelled);
    modelled.facts.modelled_cycles = {{"neoverse-n1", 10}};
    EXPECT_FALSE(compared(one_source({base, modelled})).regression());
}

TEST(Compare, WithoutSamplesThereIsARatioButNoVerdict) {
    ResultRow base = row_of(1, "default", 1e6), other = row_of(1, "tuned", 5e5);
    base.samples_ns.clear();
    const Comparison comparison = compared(one_source({base, other}));
    EXPECT_NEAR(comparison.rows[1].speedup->value, 2, 0.05);
    EXPECT_FALSE(comparison.rows[1].has_interval);
    EXPECT_EQ(comparison.rows[1].standing, Standing::unknown);
}

TEST(Compare, RatesAndShares) {
    const Comparison comparison = compared(one_source({row_of(1, "default", 1e6)}));
    const double flops = 2 * 6.7e7 / (*comparison.results.rows[0].estimate_ns * 1e-9);
    EXPECT_DOUBLE_EQ(*comparison.rows[0].flops, flops);
    EXPECT_DOUBLE_EQ(*comparison.rows[0].peak_share, flops / 200e9);
}

TEST(Compare, OutliersAreCounted) {
    ResultRow row = row_of(1, "default", 1e6);
    row.samples_ns[2][3] = 1.6e6;
    row.samples_ns[4][0] = 9e6;
    EXPECT_EQ(compared(one_source({row})).rows[0].outliers, 2U);
}

TEST(Compare, OtherMachinesAndUnsteadyOnesAreWarnedOf) {
    Results results = two_sources({row_of(1, "tuned", 1e6, 1)}, {row_of(1, "tuned", 1e6, 2)});
    EXPECT_TRUE(compared(results).warnings.empty());
    results.sources[1].machine.model = "another";
    results.sources[0].unsteady = "the clock fell";
    EXPECT_EQ(compared(results).warnings.size(), 2U);
}

TEST(Compare, RowsOfDifferentMachinesAreNotJudged) {
    Results results =
        two_sources({row_of(1, "tuned", 1e6, 1), row_of(2, "tuned", 1e6, 2), row_of(3, "tuned", 1e6, 3)},
                    {row_of(1, "tuned", 2e6, 4), row_of(2, "tuned", 5e5, 5),
                     failed(row_of(3, "tuned", 1e6, 6), TuningStatus::run_crash)});
    EXPECT_FALSE(compared(results).other_machines());
    results.sources[1].machine.model = "another";
    const Comparison comparison = compared(results);
    for (const std::size_t row : {3U, 4U, 5U})
        EXPECT_EQ(comparison.rows[row].standing, Standing::other_machine) << row;
    EXPECT_NEAR(comparison.rows[3].speedup->value, 0.5, 0.01);
    EXPECT_FALSE(comparison.rows[3].has_interval);
    EXPECT_FALSE(comparison.rows[5].speedup.has_value());
    EXPECT_TRUE(comparison.other_machines());
    EXPECT_FALSE(comparison.regression());
    EXPECT_EQ(comparison.summaries[0].other_machine, 3U);
    EXPECT_EQ(comparison.summaries[0].slower + comparison.summaries[0].faster, 0U);
    EXPECT_NE(text_table(comparison).find("other machine"), std::string::npos);
    EXPECT_NE(text_table(comparison).find("3 not judged"), std::string::npos);
    EXPECT_EQ(to_json(comparison)["rows"][3]["derived"]["verdict"], "other machine");
    EXPECT_EQ(to_json(comparison)["comparison"]["summaries"][0]["other_machine"], 3);

    ComparisonOptions options;
    options.across_machines = true;
    const Comparison judged = compared(results, options);
    EXPECT_EQ(judged.rows[3].standing, Standing::slower);
    EXPECT_EQ(judged.rows[4].standing, Standing::faster);
    EXPECT_EQ(judged.summaries[0].failed, 1U);
    EXPECT_TRUE(judged.regression());
    EXPECT_FALSE(judged.other_machines());
    EXPECT_EQ(judged.warnings.size(), 1U);
}

TEST(Compare, MachinesAreOfOneKindByWhatTheyAre) {
    const Machine machine = example_machine();
    Machine other = machine;
    other.threads = 1; // rows that are compared agree in theirs
    EXPECT_TRUE(same_machine(machine, other));
    for (const auto change :
         {+[](Machine *m) { m->model = "another"; }, +[](Machine *m) { m->gpu = "a card"; },
          +[](Machine *m) { m->l2_bytes *= 2; }}) {
        other = machine;
        change(&other);
        EXPECT_FALSE(same_machine(machine, other));
    }
    EXPECT_FALSE(same_machine(Machine(), Machine())); // that nobody named
}

TEST(Compare, RowsAreChosenByLayerAndSet) {
    ComparisonOptions options;
    options.layers = {"layer2"};
    const Comparison comparison =
        compared(one_source({row_of(1, "default", 1e6), row_of(2, "default", 1e6)}), options);
    ASSERT_EQ(comparison.rows.size(), 1U);
    options.layers = {"layer9"};
    EXPECT_FALSE(compare(one_source({row_of(1, "default", 1e6)}), options).ok());
}

TEST(Compare, UnpairedRatiosFollowWelch) {
    const Rounds a = {{100}, {102}, {98}, {101}}, b = {{110}, {112}, {109}, {111}};
    const Ratio ratio = unpaired_ratio(a, b);
    EXPECT_NEAR(ratio.value, std::pow(110.0 * 112 * 109 * 111 / (100.0 * 102 * 98 * 101), 0.25), 1e-9);
    EXPECT_FALSE(ratio.interval.contains(1));
    EXPECT_LT(ratio.p_value, 0.01);
    EXPECT_TRUE(unpaired_ratio(a, a).interval.contains(1));
    EXPECT_EQ(unpaired_ratio(a, {{1}}).p_value, 1);
    EXPECT_EQ(unpaired_ratio({{1}, {1}}, {{2}, {2}}).p_value, 0);
}

TEST(Compare, TheJsonHoldsTheResultsAndWhatFollows) {
    const Comparison comparison =
        compared(one_source({row_of(1, "tuned", 8e5, 1), row_of(1, "default", 1e6, 2)}));
    const nlohmann::json json = to_json(comparison);
    const Result<Results> read = results_from_text(json.dump(), "a.json");
    ASSERT_TRUE(read.ok()) << read.error();
    EXPECT_EQ(*read, comparison.results);
    EXPECT_EQ(json["rows"][0]["derived"]["verdict"], "faster");
    EXPECT_EQ(json["rows"][0]["derived"]["baseline"], 1);
    EXPECT_EQ(json["comparison"]["summaries"][0]["pairs"], 1);
    EXPECT_NEAR(json["rows"][0]["derived"]["default_over"].get<double>(), 1.25, 0.01);
}

TEST(Compare, TablesHoldEveryRow) {
    const Comparison comparison = compared(
        one_source({row_of(1, "tuned", 8e5, 1), row_of(1, "default", 1e6, 2), row_of(2, "default", 1e6, 3),
                    failed(row_of(2, "tuned", 1e5), TuningStatus::wrong_answer)}));
    const std::string text = text_table(comparison), markdown = markdown_table(comparison);
    for (const char *part :
         {"layer1 avx512 2T", "faster", "baseline", "wrong_answer", "18.0 KiB", "1.2e-06", "1 dropped"}) {
        EXPECT_NE(text.find(part), std::string::npos) << part << "\n" << text;
    }
    EXPECT_NE(markdown.find("wrong\\_answer"), std::string::npos) << markdown;
    EXPECT_EQ(std::count(markdown.begin(),
                         markdown.begin() + static_cast<std::ptrdiff_t>(markdown.find('\n')), '|'),
              10);
}

TEST(Compare, SearchesAreSummarised) {
    SearchLog search{"x", "avx512", "avx512.jsonl", 10, 2, {}};
    Trial trial;
    CpuDirect tile{16, 4, 6, 1, 0, 1, 2, 1, false};
    trial.estimate_ns = 200;
    trial.schedule = ScheduleRecord{tile};
    search.trials.push_back(trial);
    tile.tile_x = 5;
    trial.estimate_ns = 100;
    trial.schedule = ScheduleRecord{tile};
    search.trials.push_back(trial);
    trial.status = TuningStatus::run_crash;
    trial.estimate_ns.reset();
    search.trials.push_back(trial);
    const nlohmann::json figures = search_figures(search);
    EXPECT_EQ(figures["tried"], 3);
    EXPECT_EQ(figures["best_ns"], 100);
    EXPECT_EQ(figures["best_trial"], 2);
    EXPECT_EQ(figures["failed"]["run_crash"], 1);
    EXPECT_DOUBLE_EQ(figures["space_share"], 0.2);
    EXPECT_EQ(figures["parameters"].size(), 1U);
    EXPECT_EQ(figures["parameters"]["tile_x"]["6"], 200);
    EXPECT_FALSE(figures.contains("seconds"));
}

TEST(Compare, SearchesTakeTimeWithoutTheirPauses) {
    SearchLog search;
    const auto trials = [&](std::initializer_list<const char *> dates) {
        search.trials.clear();
        for (const char *date : dates) {
            search.trials.emplace_back().date = date;
            search.trials.back().estimate_ns = 100 - static_cast<double>(search.trials.size());
        }
        return trial_seconds(search);
    };
    const auto seconds = trials(
        {"2026-02-28T23:59:50Z", "2026-03-01T00:00:05Z", "2026-03-02T00:00:00Z", "2026-03-02T00:01:00Z"});
    ASSERT_TRUE(seconds.has_value());
    EXPECT_EQ(*seconds, (std::vector<double>{0, 15, 15 + longest_trial_seconds, 75 + longest_trial_seconds}));
    EXPECT_EQ(search_figures(search)["seconds"], 75 + longest_trial_seconds);
    EXPECT_EQ(search_figures(search)["best_s"], 75 + longest_trial_seconds);
    EXPECT_FALSE(trials({"2026-03-01T00:00:05Z", "2026-03-01T00:00:04Z"}).has_value());
    EXPECT_FALSE(trials({"2026-03-01T00:00:05Z", ""}).has_value());
    EXPECT_FALSE(trials({"2026-13-01T00:00:05Z"}).has_value());
    EXPECT_FALSE(trials({"2026-03-01T00:00:05Z and more"}).has_value());
}

TEST(Compare, LoopNestsAreWhatIsLeftWithoutTheArithmetic) {
    constexpr const char *statement = R"(module name=f, target=x86-64
internal func f_par_for_inner (__user_context, output.y, closure_arg) {
let t1 = load_typed_struct_member((void *)closure_arg, closure_prototype, 0)
allocate sum[float32 * 16]
for (output.x, 0, t1) {
 produce sum {
  sum[ramp(0, 1, 16)] = x16(0.000000f)
 }
}
}

external_plus_metadata func f (__user_context, input, output) {
assert(input != 0, halide_error_buffer_argument_is_null("input"))
produce output {
 let closure_result = halide_do_par_for((halide_task_t)::f_par_for_inner, 0, t439 + 1, (uint8_t *)(closure))
}
}
)";
    EXPECT_EQ(loop_nest(statement), "produce output\n"
                                    " parallel (output.y, 0, t439 + 1)\n"
                                    "  allocate sum[float32 * 16]\n"
                                    "  for (output.x, 0, t1)\n"
                                    "   produce sum\n");
    EXPECT_EQ(loop_nest(statement, 1), "produce output\n… and 4 lines more\n");
    EXPECT_EQ(loop_nest(""), "");
}

TEST(Compare, DatabasesTellHowMuchOfTheSpaceWasTried) {
    const ScratchFolder folder;
    TuningRecord record = example_record();
    std::string error;
    for (int i = 0; i < 3; i++) { // one schedule thrice
        ASSERT_TRUE(append_record(folder.path() / "a.jsonl", record, &error)) << error;
    }
    std::get<CpuDirect>(record.schedule.parameters).tile_x = 31; // in no space
    ASSERT_TRUE(append_record(folder.path() / "a.jsonl", record, &error)) << error;
    std::vector<std::string> problems;
    const auto results = read_database_results(folder.path() / "a.jsonl", &problems);
    ASSERT_TRUE(results.ok()) << results.error();
    ASSERT_EQ(results->searches.size(), 1U);
    ASSERT_TRUE(results->searches[0].space.has_value());
    EXPECT_GT(*results->searches[0].space, 20);
    EXPECT_EQ(results->searches[0].space_tried, 1);
    record.tools.space = 99; // of another version
    ASSERT_TRUE(append_record(folder.path() / "b.jsonl", record, &error)) << error;
    const auto other = read_database_results(folder.path() / "b.jsonl", &problems);
    ASSERT_TRUE(other.ok()) << other.error();
    EXPECT_FALSE(other->searches[0].space.has_value());
}

TEST(Units, DigitsAndPrefixes) {
    EXPECT_EQ(format_time(812.34), "812.3 ns");
    EXPECT_EQ(format_time(1234567), "1.235 ms");
    EXPECT_EQ(format_time(999.96), "1.000 µs");
    EXPECT_EQ(format_time(9.9999), "10.00 ns");
    EXPECT_EQ(format_time(12.5e9), "12.50 s");
    EXPECT_EQ(format_flops(153.24e9), "153.2 GFLOP/s");
    EXPECT_EQ(format_share(0.7641), "76.4 %");
    EXPECT_EQ(format_ratio(1.2345), "1.234×");
    EXPECT_EQ(format_bytes(18432), "18.0 KiB");
    EXPECT_EQ(format_bytes(12), "12 B");
    EXPECT_EQ(format_count(1234), "1234");
    EXPECT_EQ(format_count(12345), "12 345");
    EXPECT_EQ(format_count(12345678), "12.3 M");
    EXPECT_EQ(format_error(1.24e-6), "1.2e-06");
    EXPECT_EQ(format_number(3), "3");
    EXPECT_EQ(format_number(98.24), "98.2");
    EXPECT_EQ(shortened("µµµµ", 3), "µµ…");
}

} // namespace
} // namespace unstride
