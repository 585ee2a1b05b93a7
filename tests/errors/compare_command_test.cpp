// `unstride compare` from the command line: exit codes, messages, and a small measurement.
#include "schedules/database.h"
#include "schedules/target_facts.h"
#include "tests/temporary_folder.h"
#include "tests/unit/example_results.h"
#include "tools/compare/results.h"
#include "tools/files.h"
#include "tools/library/process.h"

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace unstride {
namespace {

namespace fs = std::filesystem;

bool has(const std::string &text, const std::string &part) {
    return text.find(part) != std::string::npos;
}

class CompareCommand : public TemporaryFolderTest {
protected:
    // Results of one layer by one schedule that takes so long.
    void write_rows(const std::string &name, double nanoseconds, std::uint32_t seed,
                    const std::string &text = "") const {
        Results results;
        results.sources = {example_source()};
        results.rows = {example_row("up", "tuned", nanoseconds, seed)};
        if (!text.empty()) {
            results.rows.push_back(example_row("more", "tuned", nanoseconds, seed));
            results.rows.back().text = text;
        }
        write(name, to_json(results).dump());
    }

    // Names that are files of the folder become their paths.
    ProcessResult compare(std::vector<std::string> arguments) const {
        for (std::string &argument : arguments) {
            const bool name = has(argument, ".") && argument[0] != '-' && !has(argument, "/");
            if (name) argument = path(argument).string();
        }
        arguments.insert(arguments.begin(), {UNSTRIDE_PROGRAM, "compare"});
        return run_process(arguments, {std::chrono::minutes(4)}, {"XDG_DATA_HOME=" + path("data").string()});
    }
};

TEST_F(CompareCommand, ARegressionFailsOnlyWhenAsked) {
    write_rows("old.json", 1e6, 1);
    write_rows("new.json", 1.2e6, 2);
    const ProcessResult plain = compare({"old.json", "new.json"});
    EXPECT_EQ(plain.exit_code, 0) << plain.errors;
    EXPECT_TRUE(has(plain.output, "slower")) << plain.output;
    EXPECT_TRUE(has(plain.output, "geometric mean")) << plain.output;
    EXPECT_EQ(compare({"old.json", "new.json", "--fail-on=regression"}).exit_code, 1);
    EXPECT_EQ(compare({"new.json", "old.json", "--fail-on=regression"}).exit_code, 0);
    EXPECT_EQ(compare({"new.json", "old.json", "--fail-on=regression", "--baseline=old.json"}).exit_code, 1);
    EXPECT_EQ(compare({"old.json", "new.json", "--fail-on=regression", "--threshold=25%"}).exit_code, 0);
}

TEST_F(CompareCommand, RegressionsAreNotToldAcrossMachines) {
    write_rows("old.json", 1e6, 1);
    write_rows("new.json", 1.2e6, 2);
    auto results = read_results(path("new.json"));
    ASSERT_TRUE(results.ok()) << results.error();
    results->sources[0].machine.model = "Another";
    write("new.json", to_json(*results).dump());
    const ProcessResult plain = compare({"old.json", "new.json"});
    EXPECT_EQ(plain.exit_code, 0) << plain.errors;
    EXPECT_TRUE(has(plain.output, "other machine")) << plain.output;
    EXPECT_TRUE(has(plain.output, "0 slower")) << plain.output;
    EXPECT_TRUE(has(plain.output, "were measured on different machines")) << plain.output;
    const ProcessResult refused = compare({"old.json", "new.json", "--fail-on=regression"});
    EXPECT_EQ(refused.exit_code, 2);
    EXPECT_TRUE(has(refused.errors, "--across-machines")) << refused.errors;
    EXPECT_TRUE(has(refused.output, "other machine")) << refused.output;
    // also where the other machine is the faster one
    EXPECT_EQ(compare({"new.json", "old.json", "--fail-on=regression"}).exit_code, 2);
    const ProcessResult judged = compare({"old.json", "new.json", "--across-machines"});
    EXPECT_TRUE(has(judged.output, "1 slower")) << judged.output;
    EXPECT_EQ(compare({"old.json", "new.json", "--across-machines", "--fail-on=regression"}).exit_code, 1);
    EXPECT_EQ(compare({"new.json", "old.json", "--across-machines", "--fail-on=regression"}).exit_code, 0);
}

TEST_F(CompareCommand, LayersOfOneFileOnlyAreDropped) {
    write_rows("old.json", 1e6, 1);
    write_rows("new.json", 1e6, 2, "input(f32, 1x8x8x4) | conv(4, kernel=1)");
    const ProcessResult result = compare({"old.json", "new.json"});
    EXPECT_EQ(result.exit_code, 0) << result.errors;
    EXPECT_TRUE(has(result.output, "over 1 pair, 1 dropped")) << result.output;
}

TEST_F(CompareCommand, WhatCannotBeReadIsTold) {
    write_rows("good.json", 1e6, 1);
    write("bad.json", "{\"schema\": 1,\n \"rows\": [,]}");
    write("schema.json", R"({"schema": 7, "sources": [], "rows": []})");
    write("empty.jsonl", "");
    ProcessResult result = compare({"good.json", "bad.json"});
    EXPECT_EQ(result.exit_code, 3);
    EXPECT_TRUE(has(result.errors, "bad.json:2:11: is no JSON")) << result.errors;
    result = compare({"good.json", "absent.json"});
    EXPECT_EQ(result.exit_code, 3);
    EXPECT_TRUE(has(result.errors, "there is no such file")) << result.errors;
    result = compare({"good.json", "schema.json"});
    EXPECT_EQ(result.exit_code, 3);
    EXPECT_TRUE(has(result.errors, "schema 1, not 7")) << result.errors;
    result = compare({"empty.jsonl"});
    EXPECT_EQ(result.exit_code, 3);
    EXPECT_TRUE(has(result.errors, "no record")) << result.errors;
    write("huge.json", R"({"schema": 1, "sources": [], "rows": [{"est_ns": 1e999}]})");
    result = compare({"good.json", "huge.json", "--fail-on=regression"});
    EXPECT_EQ(result.exit_code, 3);
    EXPECT_TRUE(has(result.errors, "huge.json: number overflow parsing '1e999'")) << result.errors;
}

// No rate and no axis could hold it.
TEST_F(CompareCommand, AnEstimateOfNoTimeIsRefused) {
    write_rows("good.json", 1e6, 1);
    nlohmann::json json = nlohmann::json::parse(*read_file(path("good.json")));
    json["rows"][0]["est_ns"] = 1e-300;
    write("none.json", json.dump());
    const ProcessResult result = compare({"none.json", "--format=html"});
    EXPECT_EQ(result.exit_code, 3);
    EXPECT_TRUE(has(result.errors, "/rows/0/est_ns: is so small")) << result.errors;
    EXPECT_EQ(result.output, "");
}

TEST_F(CompareCommand, WrongUsageIsTold) {
    write_rows("good.json", 1e6, 1);
    write("a.layers", "a = input(f32, 1x4x4x8) | conv(8, kernel=1)\n");
    write("b.layers", "a = input(f32, 1x4x4x8) | conv(8, kernel=1)\n");
    write("notes.txt", "");
    const std::vector<std::pair<std::vector<std::string>, std::string>> cases = {
        {{}, "inputs"},
        {{"notes.txt"}, "name results"},
        {{"a.layers", "b.layers"}, "one file of layers"},
        {{"a.layers", "good.json"}, "one file of layers"},
        {{"a.layers", "--schedules=best"}, "unknown schedule 'best'; there are tuned, default"},
        {{"a.layers", "--schedules=tuned,tuned"}, "given twice"},
        {{"a.layers", "--target=z80"}, "unknown target"},
        {{"a.layers", "--instruction-set=mmx"}, "no instruction set 'mmx'"},
        {{"a.layers", "--baseline=direct"}, "no baseline 'direct'; the contenders are tuned, default"},
        {{"a.layers", "--schedules=default,x/b.jsonl:3", "--baseline=b.jsonl:3"},
         "no baseline 'b.jsonl:3'; the contenders are default, record b.jsonl:3"},
        {{"good.json", "--threshold=lots"}, "--threshold"},
        {{"good.json", "--threshold=-1%"}, "--threshold"},
        {{"good.json", "--format=pdf"}, "--format"},
        {{"good.json", "--fail-on=rain"}, "--fail-on"},
        {{"a.layers", "--compile-limit=soon"}, "--compile-limit"},
        {{"a.layers", "--compile-memory=0"}, "--compile-memory"},
        {{"good.json", "--baseline=nobody"}, "there is no baseline 'nobody'; the contenders are tuned"},
        {{"good.json", "--layer=nobody"}, "no layer is left"},
    };
    for (const auto &[arguments, message] : cases) {
        const ProcessResult result = compare(arguments);
        EXPECT_EQ(result.exit_code, 2) << message << "\n" << result.errors;
        EXPECT_TRUE(has(result.errors, message)) << message << "\n" << result.errors;
    }
}

TEST_F(CompareCommand, EveryFormatIsWritten) {
    write_rows("old.json", 1e6, 1);
    write_rows("new.json", 1.2e6, 2);
    const auto written = [&](const std::string &format) {
        const ProcessResult result =
            compare({"old.json", "new.json", "--format=" + format, "-o", "out." + format});
        EXPECT_EQ(result.exit_code, 0) << result.errors;
        EXPECT_EQ(result.output, "");
        const auto text = read_file(path("out." + format));
        return text ? *text : "";
    };
    EXPECT_TRUE(has(written("md"), "| layer |"));
    EXPECT_TRUE(has(written("text"), "x vs baseline"));
    EXPECT_TRUE(has(written("html"), "<!DOCTYPE html>"));
    // what is derived is read again like what was measured
    EXPECT_EQ(nlohmann::json::parse(written("json"))["comparison"]["baseline"], "old.json");
    const ProcessResult again = compare({"out.json"});
    EXPECT_EQ(again.exit_code, 0) << again.errors;
    EXPECT_TRUE(has(again.output, "slower")) << again.output;
    EXPECT_EQ(compare({"out.html"}).output, again.output);
    // to a pipe, HTML needs no file
    EXPECT_TRUE(has(compare({"old.json", "--format=html"}).output, "</html>"));
    const ProcessResult failed = compare({"old.json", "-o", "no/out.txt"});
    EXPECT_EQ(failed.exit_code, 3);
}

TEST_F(CompareCommand, AnOutputThatCannotBeWrittenIsToldBeforeMeasuring) {
    write("tiny.layers", "tiny = input(f32, 1x6x6x8) | transposed_conv(8, kernel=4, stride=2, pad=1)\n");
    fs::create_directory(path("folder.json"));
    for (const char *output : {"no/out.json", "folder.json"}) {
        const ProcessResult result = run_process({UNSTRIDE_PROGRAM, "compare", path("tiny.layers").string(),
                                                  "-o", path(output).string(), "--quiet"},
                                                 {}, {"UNSTRIDE_CACHE_DIR=" + path("cache").string()});
        EXPECT_EQ(result.exit_code, 3);
        EXPECT_TRUE(has(result.errors, output)) << result.errors;
        EXPECT_FALSE(fs::exists(path("cache"))); // nothing was compiled
    }
    // what is there stays where nothing can be measured, and no file is left where there was none
    write("out.json", "mine");
    EXPECT_EQ(compare({"absent.layers", "-o", "out.json"}).exit_code, 3);
    EXPECT_EQ(*read_file(path("out.json")), "mine");
    EXPECT_EQ(compare({"absent.layers", "-o", "new.json"}).exit_code, 3);
    EXPECT_FALSE(fs::exists(path("new.json")));
}

// Each takes one value, so that what follows is the file.
TEST_F(CompareCommand, OptionsMayStandBeforeTheFiles) {
    write_rows("old.json", 1e6, 1);
    for (const std::vector<std::string> &option :
         {std::vector<std::string>{"--layer", "up"}, {"--instruction-set", "avx512"}}) {
        const ProcessResult result = compare({option[0], option[1], option[0], option[1], "old.json"});
        EXPECT_EQ(result.exit_code, 0) << result.errors;
    }
    write("a.layers", "a = input(f32, 1x4x4x8) | conv(8, kernel=1)\n");
    const ProcessResult list = compare({"--schedules", "tuned,best", "a.layers"});
    EXPECT_EQ(list.exit_code, 2);
    EXPECT_TRUE(has(list.errors, "unknown schedule 'best'")) << list.errors;
}

TEST_F(CompareCommand, LostOutputIsAFailure) {
    write_rows("old.json", 1e6, 1);
    const std::string command = UNSTRIDE_PROGRAM " compare ";
    for (const std::string &arguments : {path("old.json").string(), std::string("--help")}) {
        const ProcessResult result =
            run_process({"/bin/sh", "-c", "exec " + command + arguments + " > /dev/full"});
        EXPECT_EQ(result.exit_code, 3) << arguments;
        EXPECT_TRUE(has(result.errors, "standard output: cannot write")) << result.errors;
    }
}

TEST_F(CompareCommand, RecordsAreComparedToo) {
    for (const auto &[name, nanoseconds] : {std::pair("old.jsonl", 1e6), std::pair("new.jsonl", 2e6)}) {
        TuningRecord record = example_record(example_chain, nanoseconds);
        record.samples_ns = example_rounds(nanoseconds, 0.004, 3);
        std::string error;
        ASSERT_TRUE(append_record(path(name), record, &error)) << error;
        record.estimate_ns = 3 * nanoseconds;
        record.baseline = true;
        record.samples_ns = example_rounds(3 * nanoseconds, 0.004, 4);
        ASSERT_TRUE(append_record(path(name), record, &error)) << error;
    }
    const ProcessResult result = compare({"old.jsonl", "new.jsonl", "--fail-on=regression"});
    EXPECT_EQ(result.exit_code, 1) << result.errors;
    EXPECT_TRUE(has(result.output, "new.jsonl: best: geometric mean 0.5")) << result.output;
    EXPECT_TRUE(has(result.output, "new.jsonl: default: geometric mean 0.5")) << result.output;
}

TEST_F(CompareCommand, SchedulesOfALayerAreMeasured) {
    write("tiny.layers", "tiny = input(f32, 1x6x6x8) | transposed_conv(8, kernel=4, stride=2, pad=1)\n");
    const ProcessResult result =
        compare({"tiny.layers", "--schedules", "tuned,default,mullapudi2016", "--rounds", "3", "--threads",
                 "1", "--loops", "--format", "json", "-o", "out.json"});
    ASSERT_EQ(result.exit_code, 0) << result.errors;
    const auto text = read_file(path("out.json"));
    ASSERT_TRUE(text.ok());
    const nlohmann::json json = nlohmann::json::parse(*text);
    ASSERT_EQ(json["rows"].size(), 3U);
    for (const auto &row : json["rows"]) {
        EXPECT_EQ(row["status"], "ok");
        EXPECT_EQ(row["samples_ns"].size(), 3U);
        EXPECT_GT(row["est_ns"], 0);
        EXPECT_EQ(row["threads"], 1);
        EXPECT_GT(row["multiplications"], 0);
        EXPECT_GT(row["static"]["code_bytes"], 0);
        EXPECT_GT(row["hot_loop"]["counts"]["multiply_adds"], 0);
        EXPECT_TRUE(row.contains("correct"));
        EXPECT_TRUE(row.contains("scratch_bytes"));
        EXPECT_TRUE(row.contains("bit_exact"));
        EXPECT_TRUE(has(row["contender"]["loops"], "produce output")) << row["contender"];
        EXPECT_GT(row["derived"]["flops"], 0);
    }
    EXPECT_EQ(json["rows"][1]["bit_exact"], true); // the default itself
    EXPECT_EQ(json["comparison"]["summaries"].size(), 2U);
    EXPECT_GT(json["comparison"]["summaries"][1]["speedup"], 0);
    EXPECT_EQ(json["rows"][0]["contender"]["grade"], "analytic default");
    EXPECT_EQ(json["sources"][0]["peaks"].size(), 1U);
    EXPECT_EQ(json["sources"][0]["protocol"]["interleaved"], true);
    EXPECT_TRUE(json["sources"][0].contains("noise_floor"));
    EXPECT_FALSE(has(*text, path("").string()));
    // what was measured is shown later like at once
    const std::string page = compare({"out.json", "--format=html"}).output;
    EXPECT_TRUE(has(page, "</html>"));
    EXPECT_TRUE(has(page, "geometric mean"));
    EXPECT_TRUE(has(compare({"out.json"}).output, "mullapudi2016: geometric mean"));
    EXPECT_TRUE(has(compare({"out.json", "--format=md"}).output, "- mullapudi2016: geometric mean"));
}

// The forms that the default is chosen from; a layer without one has a row that says why.
TEST_F(CompareCommand, FormsOfALayerAreMeasured) {
    write("forms.layers", "dense = input(f32, 1x18x16x40) | transposed_conv(48, kernel=4, stride=2, pad=1)\n"
                          "apart = input(f32, 1x6x6x8) | bilinear_upsample(2)\n");
    const ProcessResult result =
        compare({"forms.layers", "--schedules", "default,direct,filtering", "--rounds", "2", "--threads", "1",
                 "--format", "json", "-o", "out.json"});
    EXPECT_EQ(result.exit_code, 3) << result.errors; // one could not be measured
    const auto text = read_file(path("out.json"));
    ASSERT_TRUE(text.ok());
    const nlohmann::json rows = nlohmann::json::parse(*text)["rows"];
    ASSERT_EQ(rows.size(), 6U);
    std::map<std::string, nlohmann::json> found;
    for (const auto &row : rows)
        found[row["layer"].get<std::string>() + " " + row["contender"]["name"].get<std::string>()] = row;
    EXPECT_EQ(found["dense direct"]["contender"]["schedule"]["family"], "cpu_direct");
    EXPECT_EQ(found["dense filtering"]["contender"]["schedule"]["family"], "cpu_filtering");
    for (const char *name :
         {"dense default", "dense direct", "dense filtering", "apart default", "apart direct"})
        EXPECT_EQ(found[name]["status"], "ok") << name;
    EXPECT_EQ(found["apart filtering"]["status"], "constraint");
    EXPECT_EQ(found["apart filtering"]["detail"], "the layer does not sum over channels");
}

TEST_F(CompareCommand, WhatIsNotCompiledInTimeHasItsRow) {
    write("tiny.layers", "tiny = input(f32, 1x6x6x8) | transposed_conv(8, kernel=4, stride=2, pad=1)\n");
    const ProcessResult result = run_process(
        {UNSTRIDE_PROGRAM, "compare", path("tiny.layers").string(), "--schedules", "mullapudi2016,default",
         "--compile-limit", "0.001s", "--threads", "1"},
        {std::chrono::minutes(4)},
        {"XDG_DATA_HOME=" + path("data").string(), "UNSTRIDE_CACHE_DIR=" + path("cache").string()});
    EXPECT_EQ(result.exit_code, 3) << result.errors;
    EXPECT_TRUE(has(result.output, "mullapudi2016: compile_timeout")) << result.output << result.errors;
    EXPECT_TRUE(has(result.output, "default: compile_timeout")) << result.output;
}

TEST_F(CompareCommand, AScheduleThatCannotBeMeasuredHasItsRow) {
    write("tiny.layers", "tiny = input(f32, 1x6x6x8) | transposed_conv(8, kernel=4, stride=2, pad=1)\n");
    TuningRecord record = example_record();
    std::string error;
    ASSERT_TRUE(append_record(path("a.jsonl"), record, &error)) << error;
    const ProcessResult result =
        compare({"tiny.layers", "--schedules", "default," + path("a.jsonl").string() + ":9", "--rounds", "2",
                 "--threads", "1"});
    EXPECT_EQ(result.exit_code, 3) << result.errors;
    EXPECT_TRUE(has(result.output, "generator_error")) << result.output;
    EXPECT_TRUE(has(result.output, "there is no record in line 9")) << result.output;
}

} // namespace
} // namespace unstride
