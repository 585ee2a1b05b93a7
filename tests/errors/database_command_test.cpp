// Schedules from databases in `unstride build` and `unstride run`: which record answers, what is said of it,
// and what happens where none is good enough.
#include "compiler/language/parser.h"
#include "compiler/language/printer.h"
#include "schedules/analytic_default.h"
#include "schedules/database.h"
#include "tests/temporary_folder.h"
#include "tools/files.h"
#include "tools/library/host_machine.h"
#include "tools/library/process.h"
#include "tools/npy.h"

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <filesystem>
#include <fstream>
#include <optional>
#include <string>
#include <vector>

namespace unstride {
namespace {

namespace fs = std::filesystem;

constexpr const char *chain = "input(f32, 1x4x4x8) | conv(16, kernel=1)";

bool has(const std::string &text, const std::string &part) {
    return text.find(part) != std::string::npos;
}

class DatabaseCommand : public TemporaryFolderTest {
protected:
    void SetUp() override {
        TemporaryFolderTest::SetUp();
        const auto written = write_file_atomically(path("a.layers"), std::string("up = ") + chain + "\n");
        ASSERT_TRUE(written.ok()) << written.error();
    }

    // The user's own folder is DATA/unstride.
    ProcessResult unstride(std::vector<std::string> arguments) const {
        arguments.insert(arguments.begin(), UNSTRIDE_PROGRAM);
        return run_process(arguments, {}, {"XDG_DATA_HOME=" + path("data").string()});
    }

    ProcessResult build(const std::vector<std::string> &more = {}) const {
        std::vector<std::string> arguments = {
            "build", path("a.layers").string(), "--target", host_target().name, "-o", path("out").string()};
        arguments.insert(arguments.end(), more.begin(), more.end());
        return unstride(arguments);
    }

    nlohmann::json manifest() const {
        const auto text = read_file(path("out") / host_target().name / "manifest.json");
        EXPECT_TRUE(text.ok()) << text.error();
        return nlohmann::json::parse(text ? *text : "{}");
    }

    // A record of the layer for every instruction set, by this machine and these tools, that is not the
    // analytic default.
    std::vector<TuningRecord> own_records() const {
        const ProcessResult plain = build({"--quiet"});
        EXPECT_TRUE(plain.ok()) << plain.errors;
        const nlohmann::json made = manifest();
        std::vector<TuningRecord> records;
        const Layer layer = parse_layer(chain, "up").layers.at(0);
        for (const TargetFacts &facts : host_target().instruction_sets) {
            TuningRecord record;
            record.layer = print_chain(layer);
            record.instruction_set = facts.instruction_set;
            record.machine = host_machine();
            record.tools = {made["unstride"], made["halide"], made["generators"], 1};
            record.schedule = analytic_default(std::get<PhaseConvolution>(lower(layer)), facts);
            auto &tile = std::get<CpuDirect>(record.schedule.parameters);
            tile.tile_x = tile.tile_x == 1 ? 2 : 1;
            record.estimate_ns = 1000;
            record.date = "2026-03-01T12:00:00Z";
            records.push_back(record);
        }
        return records;
    }

    void add(const fs::path &folder, const TuningRecord &record) const {
        std::string error;
        ASSERT_TRUE(append_record(database_file(folder, record.instruction_set), record, &error)) << error;
    }
};

TEST_F(DatabaseCommand, WithoutRecordsDefaultsAreTaken) {
    const ProcessResult result = build();
    ASSERT_TRUE(result.ok()) << result.errors;
    EXPECT_TRUE(has(result.output, host_target().instruction_sets[0].instruction_set + ": analytic default"))
        << result.output;
    for (const auto &kernel : manifest()["layers"][0]["kernels"])
        EXPECT_EQ(kernel["schedule_grade"], "analytic default");
}

TEST_F(DatabaseCommand, TheUsersRecordsAreTakenAndNamed) {
    const std::vector<TuningRecord> records = own_records();
    for (const TuningRecord &record : records)
        add(path("data/unstride"), record);
    const ProcessResult result = build({"--require", "exact"});
    ASSERT_TRUE(result.ok()) << result.errors;
    for (std::size_t i = 0; i < records.size(); i++) {
        const std::string set = records[i].instruction_set;
        EXPECT_TRUE(has(result.output, set + ": exact (")) << result.output;
        EXPECT_TRUE(has(result.output, set + ".jsonl:1)")) << result.output;
        const nlohmann::json kernel = manifest()["layers"][0]["kernels"][i];
        EXPECT_EQ(kernel["schedule_grade"], "exact");
        EXPECT_EQ(kernel["schedule"], to_json(records[i].schedule));
    }
    // --db stands for the user's folder
    fs::create_directories(path("empty"));
    ASSERT_TRUE(build({"--db", path("empty").string(), "--quiet"}).ok());
    EXPECT_EQ(manifest()["layers"][0]["kernels"][0]["schedule_grade"], "analytic default");
}

TEST_F(DatabaseCommand, WhatIsNotGoodEnoughIsAnErrorAndLeavesNothing) {
    std::vector<TuningRecord> records = own_records();
    for (TuningRecord &record : records) {
        record.tools.generators = "sha256:0";
        add(path("db"), record);
    }
    const ProcessResult exact = build({"--db", path("db").string(), "--require", "exact"});
    EXPECT_EQ(exact.exit_code, 1);
    EXPECT_TRUE(
        has(exact.errors, "layer up for " + records[0].instruction_set +
                              ": the best schedule known is of grade 'near shape', required is 'exact'"))
        << exact.errors;
    EXPECT_FALSE(fs::exists(path("out") / host_target().name / "manifest.json"));
    const ProcessResult near = build({"--db", path("db").string(), "--require=near-shape", "--quiet"});
    EXPECT_TRUE(near.ok()) << near.errors;
    EXPECT_EQ(manifest()["layers"][0]["kernels"][0]["schedule_grade"], "near shape");
}

TEST_F(DatabaseCommand, BadLinesAreWarnedOf) {
    fs::create_directories(path("data/unstride"));
    std::ofstream(path("data/unstride/avx2.jsonl")) << "{\"schema\":1,\"lay";
    const ProcessResult result = build({"--quiet"});
    EXPECT_TRUE(result.ok()) << result.errors;
    EXPECT_TRUE(
        has(result.errors, "avx2.jsonl:1: the line ends before its JSON object does; the line is skipped"))
        << result.errors;
}

TEST_F(DatabaseCommand, WrongOptionsAreRefused) {
    const ProcessResult grade = build({"--require", "perfect"});
    EXPECT_EQ(grade.exit_code, 2);
    EXPECT_TRUE(has(grade.errors, "there are the grades exact, near-shape, near-machine")) << grade.errors;
    const ProcessResult none = build({"--db", path("none").string()});
    EXPECT_EQ(none.exit_code, 1);
    EXPECT_TRUE(has(none.errors, "none: there is no such database")) << none.errors;
}

TEST_F(DatabaseCommand, RunsTakeThemToo) {
    for (const TuningRecord &record : own_records())
        add(path("db"), record);
    ASSERT_TRUE(write_npy(path("up.input.npy"), {1, 4, 4, 8}, std::vector<float>(128, 1)).ok());
    ASSERT_TRUE(write_npy(path("up.weights.npy"), {16, 8, 1, 1}, std::vector<float>(128, 2)).ok());
    const auto run = [&](const std::vector<std::string> &more) {
        std::vector<std::string> arguments = {"run",   path("a.layers").string(), "--data", path("").string(),
                                              "--out", path("out").string(),      "--json", "--quiet"};
        arguments.insert(arguments.end(), more.begin(), more.end());
        const ProcessResult result = unstride(arguments);
        EXPECT_TRUE(result.ok()) << result.errors;
        return nlohmann::json::parse(result.output, nullptr, false);
    };
    EXPECT_EQ(run({})["schedule_grade"], "analytic default");
    EXPECT_EQ(run({"--db", path("db").string()})["schedule_grade"], "exact");
    const auto output = read_npy(path("out/up.output.npy"));
    ASSERT_TRUE(output.ok()) << output.error();
    EXPECT_EQ(output->values, std::vector<float>(256, 16));
}

} // namespace
} // namespace unstride
