// The result file: what is written is read back, and everything else is refused with its place.
#include "tests/unit/example_results.h"
#include "tools/compare/results.h"
#include "tools/files.h"

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <filesystem>
#include <string>

namespace unstride {
namespace {

Results full_results() {
    Results results;
    results.sources = {example_source()};
    results.sources[0].unsteady = "the clock fell";
    ResultRow row = example_row("up", "tuned", 8e5);
    row.contender.version = "1.0";
    row.contender.implementation = "direct";
    row.contender.grade = "near shape";
    row.contender.record = "avx512.jsonl:3";
    row.contender.loops = "for y\n  for x";
    row.reproduce = "unstride compare a.layers --layer up";
    row.moved_bytes = 7e6;
    row.bit_exact = true;
    row.facts.modelled_cycles = {{"skylake-avx512", 98.5}};
    row.hot_loop = HotLoop{"vfmadd231ps\n", {{"multiply_adds", 24}}, {{"skylake-avx512", 12.5}}, "operands"};
    row.compile_seconds = 2.5;
    row.scratch_bytes = 65536;
    row.search = 0;
    ResultRow failed = example_row("up", "default", 9e5);
    failed.status = TuningStatus::run_crash;
    failed.detail = "signal 4";
    failed.estimate_ns.reset();
    failed.interval_ns.reset();
    failed.samples_ns.clear();
    results.rows = {row, failed};
    Trial trial{TuningStatus::ok, "", 9e5, row.contender.schedule, "2026-03-01T12:00:00Z"};
    results.searches = {{row.text,
                         "avx512",
                         "avx512.jsonl",
                         240,
                         2,
                         {trial, {TuningStatus::wrong_answer, "nan", {}, {}, ""}}}};
    return results;
}

std::string error_of(const nlohmann::json &json) {
    const Result<Results> read = results_from_text(json.dump(), "a.json");
    return read ? "accepted" : read.error();
}

TEST(Results, WhatIsWrittenIsReadBack) {
    const Results results = full_results();
    const Result<Results> read = results_from_text(to_json(results).dump(), "a.json");
    ASSERT_TRUE(read.ok()) << read.error();
    EXPECT_EQ(*read, results);
    EXPECT_EQ(to_json(*read), to_json(results));
}

TEST(Results, FilesAreRead) {
    const ScratchFolder folder;
    const auto path = folder.path() / "r.json";
    ASSERT_TRUE(write_file_atomically(path, to_json(full_results()).dump()).ok());
    const Result<Results> read = read_results(path);
    ASSERT_TRUE(read.ok()) << read.error();
    EXPECT_EQ(*read, full_results());
    EXPECT_FALSE(read_results(folder.path() / "absent.json").ok());
}

TEST(Results, UnknownKeysAreIgnored) {
    nlohmann::json json = to_json(full_results());
    json["later"] = 1;
    json["rows"][0]["later"] = {1, 2};
    EXPECT_EQ(error_of(json), "accepted");
}

TEST(Results, EveryTruncationIsRefused) {
    const std::string text = to_json(full_results()).dump();
    for (std::size_t size = 0; size < text.size(); size += 7)
        ASSERT_FALSE(results_from_text(text.substr(0, size), "a.json").ok()) << size;
}

TEST(Results, SyntaxErrorsHaveLineAndColumn) {
    const Result<Results> read = results_from_text("{\n  \"schema\": 1,\n  oops\n}", "a.json");
    ASSERT_FALSE(read.ok());
    EXPECT_EQ(read.error().substr(0, 11), "a.json:3:3:") << read.error();
}

TEST(Results, ValuesOfAnyWrongTypeAreRefusedByPath) {
    const nlohmann::json whole = to_json(full_results());
    const nlohmann::json flat = whole.flatten();
    std::size_t tried = 0;
    for (const auto &[pointer, value] : flat.items()) {
        nlohmann::json json = whole;
        json[nlohmann::json::json_pointer(pointer)] = nlohmann::json::array({nlohmann::json::object()});
        const std::string error = error_of(json);
        EXPECT_NE(error, "accepted") << pointer;
        // the path up to the member that another reader takes over
        const std::string head = pointer.substr(0, pointer.find('/', 1));
        EXPECT_NE(error.find(head), std::string::npos) << pointer << ": " << error;
        tried++;
    }
    EXPECT_GT(tried, 100U);
}

TEST(Results, ErrorsNameTheValue) {
    nlohmann::json json = to_json(full_results());
    json["rows"][1]["status"] = "fine";
    EXPECT_EQ(error_of(json), "a.json: /rows/1/status: 'fine' is no status");
    json = to_json(full_results());
    json["rows"][0].erase("est_ns");
    EXPECT_EQ(error_of(json), "a.json: /rows/0/est_ns: is missing, although the status is ok");
    json = to_json(full_results());
    json["rows"][0]["samples_ns"][2][1] = -1;
    EXPECT_NE(error_of(json).find("/rows/0/samples_ns"), std::string::npos);
    json = to_json(full_results());
    json["rows"][0]["est_ns"] = 0;
    EXPECT_EQ(error_of(json), "a.json: /rows/0/est_ns: is not positive");
    json["rows"][0]["est_ns"] = 1e-300;
    EXPECT_EQ(error_of(json), "a.json: /rows/0/est_ns: is so small that operations a second are not finite");
    json["rows"][0].erase("multiplications");
    EXPECT_NE(error_of(json), "accepted");
    json = to_json(full_results());
    json["rows"][0]["threads"] = -2;
    EXPECT_EQ(error_of(json), "a.json: /rows/0/threads: is out of range");
}

TEST(Results, NumbersThatNothingHoldsAreRefused) {
    const Result<Results> read = results_from_text(R"({"schema": 1e999})", "a.json");
    ASSERT_FALSE(read.ok());
    EXPECT_EQ(read.error(), "a.json: number overflow parsing '1e999'");
}

TEST(Results, ReferencesMustHold) {
    nlohmann::json json = to_json(full_results());
    json["rows"][0]["source"] = 1;
    EXPECT_EQ(error_of(json), "a.json: /rows/0/source: there is no source 1");
    json = to_json(full_results());
    json["rows"][0]["search"] = 9;
    EXPECT_EQ(error_of(json), "a.json: /rows/0/search: there is no search 9");
    json = to_json(full_results());
    json["rows"][1]["contender"]["name"] = "tuned";
    EXPECT_NE(error_of(json).find("/rows/1: the same"), std::string::npos);
}

TEST(Results, OtherSchemasAreRefused) {
    nlohmann::json json = to_json(full_results());
    json["schema"] = 2;
    EXPECT_NE(error_of(json).find("schema 1, not 2"), std::string::npos) << error_of(json);
    json.erase("schema");
    EXPECT_NE(error_of(json).find("/schema: is missing"), std::string::npos) << error_of(json);
    EXPECT_NE(error_of(nlohmann::json::array()), "accepted");
    EXPECT_NE(error_of(42), "accepted");
}

TEST(Results, DeepNestingIsRefused) {
    const std::string deep(100000, '[');
    EXPECT_FALSE(results_from_text(deep, "a.json").ok());
    EXPECT_FALSE(
        results_from_text("{\"schema\":1,\"x\":" + deep + std::string(100000, ']') + "}", "a.json").ok());
}

TEST(Results, MergingKeepsReferencesAndNames) {
    Results results = full_results();
    merge(&results, full_results());
    ASSERT_EQ(results.sources.size(), 2U);
    EXPECT_EQ(results.sources[1].name, "this run (2)");
    EXPECT_EQ(results.rows[2].source, 1U);
    EXPECT_EQ(results.rows[2].search, 1U);
    EXPECT_EQ(error_of(to_json(results)), "accepted");
}

} // namespace
} // namespace unstride
