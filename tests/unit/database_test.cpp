// Tuning records through JSON, and the files that hold them: several writers, damage at every byte, other
// versions, a full disk.
#include "schedules/database.h"
#include "schedules/json_line.h"
#include "tests/unit/tuning_records.h"
#include "tests/unit/write_limit.h"

#include <fmt/format.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <cmath>
#include <fstream>
#include <functional>
#include <limits>
#include <set>
#include <sstream>
#include <sys/wait.h>
#include <unistd.h>

namespace unstride {
namespace {

namespace fs = std::filesystem;

TuningRecord full_record() {
    TuningRecord record = example_record();
    record.detail = "nothing went wrong";
    record.object = "sha256:4567";
    record.baseline = record.chosen = true;
    record.correctness = Correctness{"float64 loops", 5, 1.25e-6, 3};
    record.samples_ns = {{1010, 1000, 1020}, {1005, 10.25, 1001}};
    record.interval_ns = {{990.5, 1010}};
    record.load = 0.25;
    record.facts = {18432, 192, 41, 0, {{"neoverse-n1", 98.5}}, {{"fma", 768000}, {"all", 1000000}}};
    record.compile_seconds = 2.5;
    record.scratch_bytes = 65536;
    record.seed = std::numeric_limits<std::uint64_t>::max();
    return record;
}

TuningRecord modelled_record() {
    TuningRecord record = example_record();
    record.status = TuningStatus::modelled;
    record.estimate_ns.reset();
    record.machine = {};
    record.facts.modelled_cycles = {{"cortex-a55", 400}, {"neoverse-n1", 100}};
    return record;
}

TuningRecord failed_record(TuningStatus status) {
    TuningRecord record = example_record();
    record.status = status;
    record.estimate_ns.reset();
    record.detail = "signal 11";
    return record;
}

std::string line_of(const TuningRecord &record) {
    return to_json(record).dump() + "\n";
}

std::string contents(const fs::path &file) {
    std::stringstream text;
    text << std::ifstream(file, std::ios::binary).rdbuf();
    return text.str();
}

void write(const fs::path &file, const std::string &text) {
    fs::create_directories(file.parent_path());
    std::ofstream(file, std::ios::binary | std::ios::trunc) << text;
    ASSERT_EQ(contents(file), text);
}

Database loaded(const fs::path &path, RecordOrigin origin = RecordOrigin::shipped) {
    Database database;
    database.add(path, origin);
    return database;
}

bool has(const std::string &text, const std::string &part) {
    return text.find(part) != std::string::npos;
}

// ---- Records

TEST(TuningRecords, GoThroughJsonUnchanged) {
    std::vector<TuningRecord> records = {example_record(), full_record(), modelled_record()};
    for (const TuningStatus status :
         {TuningStatus::constraint, TuningStatus::generator_error, TuningStatus::compile_error,
          TuningStatus::compile_timeout, TuningStatus::link_error, TuningStatus::run_crash,
          TuningStatus::run_timeout, TuningStatus::wrong_answer, TuningStatus::resource_limit,
          TuningStatus::duplicate})
        records.push_back(failed_record(status));
    for (const TuningRecord &record : records) {
        std::string error;
        const auto read = tuning_record_from_json(nlohmann::json::parse(line_of(record)), &error);
        ASSERT_TRUE(read.has_value()) << error << " in " << line_of(record);
        EXPECT_TRUE(*read == record) << line_of(record) << line_of(*read);
        EXPECT_EQ(status_from_string(to_string(record.status)), record.status);
    }
    EXPECT_FALSE(status_from_string("fine").has_value());
}

TEST(TuningRecords, KeepTheDigitsThatMeanSomething) {
    TuningRecord record = example_record(example_chain, 123456.789);
    record.samples_ns = {{123456.789, 0.123456789, 5, 1e20}};
    record.interval_ns = {{123456.111, 1234567.8}};
    record.compile_seconds = 0.402394468;
    const std::string line = line_of(record);
    for (const char *part : {R"("samples_ns":[[123500,0.1235,5,)", R"("est_ns":123457,)",
                             R"("ci99_ns":[123456,1234570])", R"("compile_s":0.4024)"})
        EXPECT_TRUE(has(line, part)) << part << " in " << line;
    std::string error;
    const auto read = tuning_record_from_json(nlohmann::json::parse(line), &error);
    ASSERT_TRUE(read.has_value()) << error;
    EXPECT_EQ(line_of(*read), line);
}

TEST(TuningRecords, ReadNoHalves) {
    const nlohmann::json good = to_json(full_record());
    const auto refusal = [](const nlohmann::json &json) {
        std::string error;
        EXPECT_FALSE(tuning_record_from_json(json, &error).has_value()) << json;
        return error;
    };
    for (const char *key :
         {"schema", "layer", "target", "machine", "tool", "schedule", "status", "est_ns", "seed", "when"}) {
        nlohmann::json bad = good;
        bad.erase(key);
        EXPECT_TRUE(has(refusal(bad), key)) << refusal(bad);
    }
    for (const auto &[key, value] : good.items()) {
        nlohmann::json bad = good;
        bad[key] = value.is_array() ? nlohmann::json("text") : nlohmann::json::array();
        EXPECT_TRUE(has(refusal(bad), key)) << refusal(bad);
    }
    for (const char *key : {"vendor", "model", "gpu", "l1d_bytes", "l2_bytes", "threads"}) {
        nlohmann::json bad = good;
        bad["machine"].erase(key);
        EXPECT_TRUE(has(refusal(bad), std::string("machine: ") + key)) << refusal(bad);
    }
    nlohmann::json bad = good;
    bad["machine"]["threads"] = std::int64_t{1} << 33;
    EXPECT_TRUE(has(refusal(bad), "out of range"));
    bad = good;
    bad["seed"] = -1;
    EXPECT_TRUE(has(refusal(bad), "seed"));
    bad = good;
    bad["status"] = "excellent";
    EXPECT_EQ(refusal(bad), "status is unknown");
    bad = good;
    bad["est_ns"] = 0;
    EXPECT_TRUE(has(refusal(bad), "est_ns"));
    bad = to_json(modelled_record());
    bad["static"]["modelled_cycles"]["cortex-a55"] = -1;
    EXPECT_TRUE(has(refusal(bad), "modelled_cycles"));
    nlohmann::json more = good; // a later version may add what this one need not know
    more["invention"] = 1;
    std::string error;
    EXPECT_TRUE(tuning_record_from_json(more, &error).has_value()) << error;
}

TEST(TuningRecords, KeepNoPaths) {
    TuningRecord record = failed_record(TuningStatus::link_error);
    record.detail = "/usr/bin/ld: cannot find '/home/somebody/work/a.o' (in /tmp/x/y.o:3) and/or b";
    EXPECT_EQ(to_json(record)["detail"], "ld: cannot find 'a.o' (in y.o:3) and/or b");
}

TEST(TuningRecords, CostIsTimeOrTheMeanOfModels) {
    EXPECT_EQ(cost(TuningStatus::ok, 5.0, {}), 5.0);
    EXPECT_FALSE(cost(TuningStatus::ok, std::nullopt, {}).has_value());
    EXPECT_FALSE(cost(TuningStatus::wrong_answer, 5.0, {}).has_value());
    EXPECT_NEAR(*cost(TuningStatus::modelled, std::nullopt, modelled_record().facts), 200, 1e-9);
    EXPECT_FALSE(cost(TuningStatus::modelled, 5.0, {}).has_value());
}

// ---- Lines

TEST(JsonLine, SplitsWhatIsJsonAndNothingElse) {
    std::string error;
    const auto members =
        split_object(R"( {"a" : [1, {"b": "}\"]"}], "c":-1.5e+3,"d":{}, "e": null} )", &error);
    ASSERT_TRUE(members.has_value()) << error;
    ASSERT_EQ(members->size(), 4u);
    EXPECT_EQ((*members)[0].key, "a");
    EXPECT_EQ((*members)[0].value, R"([1, {"b": "}\"]"}])");
    EXPECT_EQ((*members)[1].value, "-1.5e+3");
    EXPECT_EQ((*members)[3].value, "null");
    for (const char *text : {"",
                             "[]",
                             "1",
                             "{",
                             "{}}",
                             "{} {}",
                             R"({"a"})",
                             R"({"a":})",
                             R"({"a":1,})",
                             R"({,"a":1})",
                             R"({a:1})",
                             R"({"a":01})",
                             R"({"a":1.})",
                             R"({"a":.5})",
                             R"({"a":1e})",
                             R"({"a":+1})",
                             R"({"a":nul})",
                             R"({"a":"\x"})",
                             R"({"a":"\u12g4"})",
                             "{\"a\":\"\t\"}",
                             R"({"a":[1,]})",
                             R"({"a":[1 2]})",
                             R"({"a":[1,,2]})",
                             R"({"a":[1,2,]})",
                             R"({"a":[1,2x,3]})",
                             R"({"a":[1,2)",
                             R"({"a":[1,)",
                             R"({"a":NaN})",
                             R"({"a":"b)"}) {
        EXPECT_FALSE(split_object(text, &error).has_value()) << text;
        EXPECT_FALSE(nlohmann::json::accept(text) && nlohmann::json::parse(text).is_object()) << text;
    }
    EXPECT_FALSE(split_object(std::string(100000, '{'), &error).has_value());
    EXPECT_FALSE(split_object(R"({"a":)" + std::string(100000, '['), &error).has_value());
}

// Changes of one byte are told from JSON exactly as a full parser does.
TEST(JsonLine, AgreesWithAFullParserOnDamagedRecords) {
    const std::string good = to_json(full_record()).dump();
    std::string error;
    for (std::size_t i = 0; i < good.size(); i++) {
        for (const char c : {'"', '{', ']', ',', '0', '-', '.', ' ', '\\'}) {
            std::string bad = good;
            bad[i] = c;
            const auto json = nlohmann::json::parse(bad, nullptr, false);
            EXPECT_EQ(split_object(bad, &error).has_value(), json.is_object()) << bad;
        }
    }
}

// ---- The store

TEST(Store, NothingThereIsEmpty) {
    const ScratchFolder folder;
    for (const fs::path &path : {folder.path(), folder.path() / "none", fs::path()}) {
        const Database database = loaded(path);
        EXPECT_TRUE(database.entries().empty());
        EXPECT_TRUE(database.problems().empty());
    }
}

TEST(Store, AppendedRecordsAreReadBackInOrder) {
    const ScratchFolder folder;
    const fs::path data = folder.path() / "data/unstride";
    const std::vector<TuningRecord> records = {full_record(), failed_record(TuningStatus::run_crash),
                                               modelled_record(), example_record()};
    std::string error;
    for (const TuningRecord &record : records)
        ASSERT_TRUE(append_record(database_file(data, "avx512"), record, &error)) << error;
    write(data / "notes.txt", "not a database");

    const Database database = loaded(data, RecordOrigin::user);
    EXPECT_TRUE(database.problems().empty());
    ASSERT_EQ(database.entries().size(), records.size());
    for (std::size_t i = 0; i < records.size(); i++) {
        const DatabaseEntry &entry = database.entries()[i];
        const auto read = database.read(entry, &error);
        ASSERT_TRUE(read.has_value()) << error;
        EXPECT_TRUE(*read == records[i]);
        EXPECT_EQ(database.layer_text(entry), records[i].layer);
        EXPECT_EQ(database.instruction_set(entry), "avx512");
        EXPECT_EQ(database.machine(entry), records[i].machine);
        EXPECT_EQ(database.tools(entry), records[i].tools);
        EXPECT_EQ(database.schedule(entry), records[i].schedule);
        EXPECT_EQ(entry.status, records[i].status);
        EXPECT_EQ(entry.cost, cost(records[i].status, records[i].estimate_ns, records[i].facts));
        EXPECT_EQ(entry.chosen, records[i].chosen);
        EXPECT_EQ(entry.baseline, records[i].baseline);
        EXPECT_EQ(entry.origin, RecordOrigin::user);
        EXPECT_EQ(database.place(entry), fmt::format("{}:{}", (data / "avx512.jsonl").string(), i + 1));
    }
    // one file by its name, too
    EXPECT_EQ(loaded(data / "avx512.jsonl").entries().size(), records.size());
}

// Files are read a piece at a time; a line may lie in two pieces, or be longer than one.
TEST(Store, HoldsLinesOfAnyLength) {
    const ScratchFolder folder;
    const fs::path file = folder.path() / "avx512.jsonl";
    const std::string line = line_of(full_record());
    std::string text;
    while (text.size() < (std::size_t{5} << 19))
        text += line;
    const std::size_t before = text.size() / line.size();
    text += "{\"comment\":\"" + std::string(std::size_t{3} << 20, 'x') + "\"}\n";
    text += line + line.substr(0, line.size() - 1); // the last one without its end
    write(file, text);

    const Database database = loaded(file);
    ASSERT_EQ(database.entries().size(), before + 2);
    ASSERT_EQ(database.problems().size(), 1u);
    EXPECT_EQ(database.problems()[0].find(fmt::format("{}:{}: ", file.string(), before + 1)), 0u);
    EXPECT_EQ(database.entries().back().line, before + 3);
    std::string error;
    for (const DatabaseEntry &entry : database.entries()) {
        const auto read = database.read(entry, &error);
        ASSERT_TRUE(read.has_value()) << error;
        EXPECT_TRUE(*read == full_record());
    }

    // Compacting replaces a file while others read it; what shortens it is reported.
    fs::rename(file, folder.path() / "replaced");
    EXPECT_TRUE(database.read(database.entries()[0], &error).has_value()) << error;
    fs::resize_file(folder.path() / "replaced", 10);
    EXPECT_FALSE(database.read(database.entries()[0], &error).has_value());
    EXPECT_EQ(error, file.string() + ":1: cannot be read: the file has changed");
}

TEST(Store, FilesAreReadInTheOrderOfTheirNames) {
    const ScratchFolder folder;
    std::string error;
    for (const char *set : {"sse41", "avx2", "neon"}) {
        TuningRecord record = example_record();
        record.instruction_set = set;
        ASSERT_TRUE(append_record(database_file(folder.path(), set), record, &error)) << error;
    }
    const Database database = loaded(folder.path());
    ASSERT_EQ(database.entries().size(), 3u);
    EXPECT_EQ(database.instruction_set(database.entries()[0]), "avx2");
    EXPECT_EQ(database.instruction_set(database.entries()[1]), "neon");
    EXPECT_EQ(database.instruction_set(database.entries()[2]), "sse41");
}

TEST(Store, SurvivesTruncationAtEveryByte) {
    const ScratchFolder folder;
    const fs::path file = folder.path() / "avx512.jsonl";
    const std::string first = line_of(full_record()),
                      second = line_of(failed_record(TuningStatus::run_crash));
    const std::string whole = first + second;
    for (std::size_t length = 0; length <= whole.size(); length++) {
        write(file, whole.substr(0, length));
        const Database database = loaded(file);
        const std::size_t complete = length >= whole.size() - 1 ? 2 : length >= first.size() - 1 ? 1 : 0;
        ASSERT_EQ(database.entries().size(), complete) << length;
        const bool amid =
            length != 0 && length != first.size() - 1 && length != first.size() && length < whole.size() - 1;
        ASSERT_EQ(database.problems().size(), amid ? 1u : 0u) << length;
        if (amid) {
            EXPECT_EQ(database.problems()[0], fmt::format("{}:{}: the line ends before its JSON object does",
                                                          file.string(), complete + 1));
        }
    }
}

TEST(Store, AppendingAfterATruncationLosesNothing) {
    const ScratchFolder folder;
    const fs::path file = folder.path() / "avx512.jsonl";
    const std::string first = line_of(example_record()), second = line_of(full_record());
    std::string error;
    for (std::size_t length = 0; length <= second.size(); length++) {
        write(file, first + second.substr(0, length));
        ASSERT_TRUE(append_record(file, modelled_record(), &error)) << error;
        const Database database = loaded(file);
        const bool second_complete = length >= second.size() - 1;
        ASSERT_EQ(database.entries().size(), second_complete ? 3u : 2u) << length;
        EXPECT_EQ(database.entries().back().status, TuningStatus::modelled);
        EXPECT_EQ(database.problems().size(), second_complete || length == 0 ? 0u : 1u) << length;
        EXPECT_EQ(contents(file).find("\n\n"), std::string::npos);
    }
}

TEST(Store, ReportsBadLinesByNumberAndKeepsTheOthers) {
    const ScratchFolder folder;
    const fs::path file = folder.path() / "avx512.jsonl";
    const auto changed = [](const std::function<void(nlohmann::json &)> &change) {
        nlohmann::json json = to_json(full_record());
        change(json);
        return json.dump() + "\n";
    };
    const std::pair<std::string, const char *> bad[] = {
        {"nonsense\n", "unexpected character at column 1"},
        {"{}\n", "schema (none) is not"},
        {changed([](auto &json) { json["schema"] = 2; }),
         "schema 2 is not the one that this version reads, 1"},
        {changed([](auto &json) { json["layer"] = "input(f32, 1x4x4x4) | dance(3)"; }), "layer: "},
        {changed([](auto &json) { json["layer"] = 3; }), "layer: is no text"},
        {changed([](auto &json) { json["schedule"]["family"] = "cpu_magic"; }),
         "schedule: unknown family cpu_magic"},
        {changed([](auto &json) { json["schedule"].erase("rows"); }), "schedule: rows is missing"},
        {changed([](auto &json) { json["machine"].erase("model"); }), "machine: model is missing"},
        {changed([](auto &json) { json["tool"]["halide"] = 21; }), "tool: halide is no text"},
        {changed([](auto &json) { json["status"] = "excellent"; }), "status \"excellent\" is unknown"},
        {changed([](auto &json) { json["chosen"] = 1; }), "chosen is neither true nor false"},
        {changed([](auto &json) { json["baseline"] = "true"; }), "baseline is neither true nor false"},
        {changed([](auto &json) { json.erase("est_ns"); }), "est_ns is missing"},
        {std::string("\0\0\0\n", 4), "unexpected character"},
    };
    std::string text = "\n";
    for (const auto &[line, reason] : bad)
        text += line + line_of(example_record()) + "  \r\n";
    write(file, text);
    const Database database = loaded(file);
    EXPECT_EQ(database.entries().size(), std::size(bad));
    ASSERT_EQ(database.problems().size(), std::size(bad));
    for (std::size_t i = 0; i < std::size(bad); i++) {
        const std::string place = fmt::format("{}:{}: ", file.string(), 2 + 3 * i);
        EXPECT_EQ(database.problems()[i].substr(0, place.size()), place);
        EXPECT_TRUE(has(database.problems()[i], bad[i].second)) << database.problems()[i];
        EXPECT_EQ(database.entries()[i].line, 3 + 3 * i);
    }
}

TEST(Store, WhatCannotBeReadIsAProblem) {
    const ScratchFolder folder;
    fs::create_directories(folder.path() / "odd.jsonl");
    const Database database = loaded(folder.path());
    ASSERT_EQ(database.problems().size(), 1u);
    EXPECT_TRUE(has(database.problems()[0], "odd.jsonl: cannot be read: Is a directory"))
        << database.problems()[0];
}

TEST(Store, TheSameThingWrittenDifferentlyIsTheSame) {
    const ScratchFolder folder;
    const fs::path file = folder.path() / "avx512.jsonl";
    std::string spaced = to_json(example_record()).dump(1);
    std::replace(spaced.begin(), spaced.end(), '\n', ' ');
    nlohmann::json wordy = to_json(example_record());
    wordy["layer"] = "input( f32,1x64x64x64 )|transposed_conv(64,kernel=4x4,stride=2,pad=1)|bias|relu";
    write(file, line_of(example_record()) + spaced + "\n" + wordy.dump() + "\n");
    const Database database = loaded(file);
    ASSERT_EQ(database.entries().size(), 3u) << database.problems()[0];
    for (const DatabaseEntry &entry : database.entries()) {
        EXPECT_EQ(entry.layer, database.entries()[0].layer);
        EXPECT_EQ(entry.machine, database.entries()[0].machine);
        EXPECT_EQ(entry.tools, database.entries()[0].tools);
        EXPECT_EQ(entry.schedule, database.entries()[0].schedule);
    }
}

TEST(Store, ManyProcessesAppendWholeRecords) {
    const ScratchFolder folder;
    const fs::path file = folder.path() / "avx512.jsonl";
    constexpr int writers = 8, records = 50;
    std::vector<pid_t> children;
    for (int writer = 0; writer < writers; writer++) {
        const pid_t child = ::fork();
        ASSERT_GE(child, 0);
        if (child == 0) {
            bool good = true;
            for (int i = 0; i < records; i++) {
                TuningRecord record = full_record();
                record.seed = static_cast<std::uint64_t>(writer * records + i);
                record.detail.assign(static_cast<std::size_t>(i * 97 % 9000), 'x');
                std::string error;
                good = append_record(file, record, &error) && good;
            }
            ::_exit(good ? 0 : 1);
        }
        children.push_back(child);
    }
    for (const pid_t child : children) {
        int status = -1;
        ASSERT_EQ(::waitpid(child, &status, 0), child);
        EXPECT_EQ(status, 0);
    }
    const Database database = loaded(file);
    EXPECT_TRUE(database.problems().empty()) << database.problems()[0];
    std::set<std::uint64_t> seeds;
    std::vector<std::uint64_t> last(writers, 0);
    for (const DatabaseEntry &entry : database.entries()) {
        std::string error;
        const auto record = database.read(entry, &error);
        ASSERT_TRUE(record.has_value()) << error;
        EXPECT_TRUE(seeds.insert(record->seed).second);
        std::uint64_t &before = last[record->seed / records];
        EXPECT_GE(record->seed, before); // of one writer in its order
        before = record->seed;
    }
    EXPECT_EQ(seeds.size(), std::size_t{writers * records});
}

TEST(Store, AFullDiskLeavesNothingHalfWritten) {
    const ScratchFolder folder;
    const fs::path file = folder.path() / "avx512.jsonl";
    std::string error;
    ASSERT_TRUE(append_record(file, example_record(), &error)) << error;
    const std::string before = contents(file);
    {
        const WriteLimit limit(before.size() + 100);
        EXPECT_FALSE(append_record(file, example_record(), &error));
    }
    EXPECT_TRUE(has(error, "avx512.jsonl: cannot write")) << error;
    EXPECT_EQ(contents(file), before);
    EXPECT_TRUE(append_record(file, example_record(), &error)) << error;
    EXPECT_EQ(loaded(file).entries().size(), 2u);
}

TEST(Store, RefusesToWriteWhatItCouldNotRead) {
    const ScratchFolder folder;
    const fs::path file = folder.path() / "avx512.jsonl";
    std::string error;
    TuningRecord record = example_record();
    record.estimate_ns = std::nan("");
    EXPECT_FALSE(append_record(file, record, &error));
    EXPECT_TRUE(has(error, "est_ns")) << error;
    record.estimate_ns.reset();
    EXPECT_FALSE(append_record(file, record, &error));
    EXPECT_FALSE(fs::exists(file));
    EXPECT_FALSE(append_record("/proc/none/avx512.jsonl", example_record(), &error));
    EXPECT_TRUE(has(error, "/proc/none")) << error;
}

// A detail may hold whatever a compiler printed.
TEST(Store, WritesAnyBytesAsText) {
    const ScratchFolder folder;
    const fs::path file = folder.path() / "avx512.jsonl";
    TuningRecord record = failed_record(TuningStatus::compile_error);
    record.detail = "bad \xff\xfe bytes\nand lines\t\"quoted\"";
    std::string error;
    ASSERT_TRUE(append_record(file, record, &error)) << error;
    const Database database = loaded(file);
    ASSERT_EQ(database.entries().size(), 1u);
    const auto read = database.read(database.entries()[0], &error);
    ASSERT_TRUE(read.has_value()) << error;
    EXPECT_TRUE(has(read->detail, "bytes\nand lines\t\"quoted\""));
}

TEST(Store, TheUsersFolderFollowsTheEnvironment) {
    ::setenv("HOME", "/home/somebody", 1);
    ::unsetenv("XDG_DATA_HOME");
    EXPECT_EQ(user_database_folder(), "/home/somebody/.local/share/unstride");
    ::setenv("XDG_DATA_HOME", "/data", 1);
    EXPECT_EQ(user_database_folder(), "/data/unstride");
    ::unsetenv("XDG_DATA_HOME");
    ::unsetenv("HOME");
    EXPECT_EQ(user_database_folder(), "");
}

} // namespace
} // namespace unstride
