// `unstride tune` as its users see it: what it records, what builds make of that, and what is left when it is
// ended in any way.
#include "compiler/language/parser.h"
#include "compiler/language/printer.h"
#include "schedules/analytic_default.h"
#include "schedules/database.h"
#include "tests/temporary_folder.h"
#include "tests/unit/write_limit.h"
#include "tools/files.h"
#include "tools/library/host_machine.h"
#include "tools/library/process.h"
#include "tools/library/schedule_source.h"
#include "tools/tune/tuner.h"

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <chrono>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <functional>
#include <optional>
#include <random>
#include <set>
#include <sstream>
#include <string>
#include <sys/wait.h>
#include <thread>
#include <unistd.h>
#include <vector>

namespace unstride {
namespace {

namespace fs = std::filesystem;
using namespace std::chrono_literals;

constexpr const char *chain = "input(f32, 1x6x6x8) | transposed_conv(8, kernel=4, stride=2, pad=1) | relu";

bool has(const std::string &text, const std::string &part) {
    return text.find(part) != std::string::npos;
}

// Kernels are compiled once for all tests.
const fs::path &cache() {
    static const TemporaryFolder folder = *make_temporary_folder("unstride-tune-cache");
    return folder.path();
}

// The command in the background; ended when the object goes.
class Running {
public:
    Running(std::vector<std::string> command, const fs::path &errors) {
        child_ = fork();
        if (child_ != 0) return;
        setpgid(0, 0);
        setenv("UNSTRIDE_CACHE_DIR", cache().c_str(), 1);
        setenv("TMPDIR", (errors.parent_path() / "tmp").c_str(), 1);
        if (std::freopen("/dev/null", "w", stdout) == nullptr) _exit(126);
        if (std::freopen(errors.c_str(), "w", stderr) == nullptr) _exit(126);
        std::vector<char *> arguments;
        for (std::string &argument : command)
            arguments.push_back(argument.data());
        arguments.push_back(nullptr);
        execv(arguments[0], arguments.data());
        _exit(127);
    }
    Running(const Running &) = delete;
    Running &operator=(const Running &) = delete;
    ~Running() {
        if (child_ > 0) finish(SIGKILL);
    }

    bool started() const { return child_ > 0; }

    // Sends a signal and waits: the exit code, or minus the signal that ended it.
    int finish(int signal) {
        kill(child_, signal);
        int status = 0;
        while (waitpid(child_, &status, 0) < 0 && errno == EINTR) {
        }
        child_ = 0;
        return WIFSIGNALED(status) ? -WTERMSIG(status) : WEXITSTATUS(status);
    }

private:
    pid_t child_ = 0;
};

class TuneCommand : public TemporaryFolderTest {
protected:
    void SetUp() override {
        TemporaryFolderTest::SetUp();
        const auto written = write_file_atomically(path("a.layers"), std::string("up = ") + chain + "\n");
        ASSERT_TRUE(written.ok()) << written.error();
        ASSERT_FALSE(own_instruction_sets().empty());
        fs::create_directories(path("tmp"));
    }

    // The plainest instruction set, which compiles fastest.
    const std::string set_ = own_instruction_sets().back().instruction_set;

    ProcessResult unstride(std::vector<std::string> arguments,
                           const std::vector<std::string> &more_environment = {}) const {
        arguments.insert(arguments.begin(), UNSTRIDE_PROGRAM);
        ProcessLimits limits;
        limits.memory_bytes = 0;
        std::vector<std::string> environment = {"UNSTRIDE_CACHE_DIR=" + cache().string(),
                                                "XDG_DATA_HOME=" + path("data").string(),
                                                "TMPDIR=" + path("tmp").string()};
        environment.insert(environment.end(), more_environment.begin(), more_environment.end());
        return run_process(arguments, limits, environment);
    }

    // However restless the machine that runs the tests is.
    std::vector<std::string> arguments(const std::vector<std::string> &more, int candidates = 5,
                                       const std::string &most_drift = "1000") const {
        std::vector<std::string> all = {"tune",
                                        path("a.layers").string(),
                                        "--instruction-set",
                                        set_,
                                        "--db",
                                        path("db").string(),
                                        "--candidates",
                                        std::to_string(candidates),
                                        "--most-drift",
                                        most_drift};
        all.insert(all.end(), more.begin(), more.end());
        return all;
    }
    ProcessResult tune(const std::vector<std::string> &more = {"--quiet", "--json"},
                       int candidates = 5) const {
        return unstride(arguments(more, candidates));
    }

    fs::path records_path() const { return database_file(path("db"), set_); }

    std::vector<TuningRecord> records(const fs::path &file) const {
        Database database;
        database.add(file, RecordOrigin::user);
        EXPECT_TRUE(database.problems().empty()) << database.problems().front();
        std::vector<TuningRecord> all;
        for (const DatabaseEntry &entry : database.entries()) {
            std::string error;
            const auto record = database.read(entry, &error);
            EXPECT_TRUE(record) << error;
            if (record) all.push_back(*record);
        }
        return all;
    }
    std::vector<TuningRecord> records() const { return records(records_path()); }

    // Every record of a file, changed.
    template<typename Change>
    void change_records(const fs::path &file, Change change) const {
        std::string text;
        for (TuningRecord &record : records(file)) {
            change(record);
            text += to_json(record).dump() + "\n";
        }
        ASSERT_TRUE(write_file_atomically(file, text).ok());
    }
    void make_old(const fs::path &file) const {
        change_records(file, [](TuningRecord &record) { record.tools.generators = "sha256:old"; });
    }
    ProcessResult carry() const {
        return unstride({"tune", "carry", "--db", path("db").string(), "--json", "--quiet"});
    }
    bool builds_exactly(const std::string &target = host_target().name) const {
        std::vector<std::string> build = {"build", path("a.layers").string(), "--target",  target,
                                          "--db",  path("db").string(),       "--require", "exact",
                                          "-o",    path("out").string()};
        if (target == host_target().name) build.insert(build.end(), {"--instruction-set", set_});
        return unstride(build).ok();
    }
    std::size_t folders_left() const {
        return static_cast<std::size_t>(
            std::distance(fs::directory_iterator(path("tmp")), fs::directory_iterator()));
    }

    static std::size_t chosen(const std::vector<TuningRecord> &records) {
        std::size_t count = 0;
        for (const TuningRecord &record : records)
            count += record.chosen ? 1 : 0;
        return count;
    }

    static std::set<std::string> schedules(const std::vector<TuningRecord> &records) {
        std::set<std::string> texts;
        for (const TuningRecord &record : records)
            texts.insert(to_json(record.schedule).dump());
        return texts;
    }

    // Starts a run of many candidates and ends it by a signal some time after the third record is there.
    // Answers how it ended.
    int ended_by(int signal) const {
        std::vector<std::string> command = arguments({"--quiet"}, 40);
        command.insert(command.begin(), UNSTRIDE_PROGRAM);
        Running running(command, path("errors"));
        EXPECT_TRUE(running.started());
        for (int waited = 0; waited < 1200 && lines() < 3; waited++)
            std::this_thread::sleep_for(50ms);
        EXPECT_GE(lines(), 3u) << *read_file(path("errors"));
        const auto moment = std::random_device{}() % 1500;
        SCOPED_TRACE(moment);
        std::this_thread::sleep_for(std::chrono::milliseconds(moment));
        return running.finish(signal);
    }

    std::size_t lines() const {
        const auto text = fs::exists(records_path()) ? read_file(records_path()) : Result<std::string>("");
        return text ? static_cast<std::size_t>(std::count(text->begin(), text->end(), '\n')) : 0;
    }
};

TEST_F(TuneCommand, RecordsEveryCandidateAndBuildsFindTheWinner) {
    const ProcessResult result = tune();
    ASSERT_TRUE(result.ok()) << result.errors;
    const auto said = nlohmann::json::parse(result.output, nullptr, false);
    ASSERT_TRUE(said.is_object()) << result.output;
    EXPECT_EQ(said["layer"], "up");
    EXPECT_EQ(said["instruction_set"], set_);
    EXPECT_TRUE(said["verdict"] == "tuned" || said["verdict"] == "kept") << result.output;
    EXPECT_EQ(said["tried"], 5);
    EXPECT_EQ(said["resumed"], 0);

    const std::vector<TuningRecord> all = records();
    EXPECT_EQ(schedules(all).size(), 5u);
    ASSERT_FALSE(all.empty());
    EXPECT_TRUE(all[0].baseline);
    EXPECT_EQ(chosen(all), 1u);
    EXPECT_TRUE(all.back().chosen);
    EXPECT_EQ(to_json(all.back().schedule), said["schedule"]);
    for (const TuningRecord &record : all) {
        EXPECT_EQ(record.layer, print_chain(parse_layer(chain, "up").layers.at(0)));
        EXPECT_EQ(record.machine, host_machine());
        if (record.status == TuningStatus::duplicate) continue;
        ASSERT_EQ(record.status, TuningStatus::ok) << record.detail;
        EXPECT_TRUE(record.correctness);
        EXPECT_FALSE(record.samples_ns.empty());
        EXPECT_TRUE(record.estimate_ns && record.interval_ns && record.load);
        EXPECT_EQ(record.object.substr(0, 7), "sha256:");
        EXPECT_TRUE(record.facts.code_bytes);
        EXPECT_GT(record.scratch_bytes.value_or(0), 0);
    }

    const ProcessResult built = unstride({"build", path("a.layers").string(), "--target", host_target().name,
                                          "--instruction-set", set_, "--db", path("db").string(), "--require",
                                          "exact", "--verify", "-o", path("out").string()});
    EXPECT_TRUE(built.ok()) << built.errors;
    EXPECT_TRUE(has(built.output, set_ + ": exact (")) << built.output;

    const ProcessResult verified =
        unstride({"tune", "verify", path("a.layers").string(), "--db", path("db").string(), "--json"});
    const auto verdict = nlohmann::json::parse(verified.output, nullptr, false);
    ASSERT_TRUE(verdict.is_object()) << verified.output << verified.errors;
    EXPECT_TRUE(verdict["verdict"] == "ok" || verdict["verdict"] == "stale") << verified.output;
}

TEST_F(TuneCommand, TheTableNamesTheLayerAndWhatBecameOfIt) {
    const ProcessResult result = tune({}, 3);
    ASSERT_TRUE(result.ok()) << result.errors;
    EXPECT_TRUE(has(result.output, "chosen / default")) << result.output;
    EXPECT_TRUE(has(result.output, "\nup ")) << result.output;
    EXPECT_TRUE(has(result.errors, "up " + set_ + ": 0 of 3 tried")) << result.errors;
}

TEST_F(TuneCommand, AFinishedSearchIsSkippedUnlessForced) {
    ASSERT_TRUE(tune({"--quiet"}, 3).ok());
    const std::size_t before = records().size();
    const ProcessResult again = tune({"--json", "--quiet"}, 3);
    EXPECT_TRUE(again.ok()) << again.errors;
    EXPECT_EQ(nlohmann::json::parse(again.output)["verdict"], "skipped");
    EXPECT_EQ(records().size(), before);

    const ProcessResult forced = tune({"--json", "--quiet", "--force"}, 3);
    EXPECT_TRUE(forced.ok()) << forced.errors;
    EXPECT_EQ(nlohmann::json::parse(forced.output)["resumed"], 0);
    EXPECT_EQ(chosen(records()), 2u);
}

TEST_F(TuneCommand, AKilledRunLosesNothingAndGoesOn) {
    ASSERT_EQ(ended_by(SIGKILL), -SIGKILL);
    const std::string before = *read_file(records_path());
    const std::vector<TuningRecord> kept = records();
    EXPECT_GE(kept.size(), 3u);
    EXPECT_EQ(chosen(kept), 0u);
    EXPECT_GE(folders_left(), 1u);

    const ProcessResult resumed = tune({"--json", "--quiet"}, static_cast<int>(kept.size()) + 3);
    ASSERT_TRUE(resumed.ok()) << resumed.errors;
    const auto said = nlohmann::json::parse(resumed.output);
    EXPECT_EQ(said["resumed"], schedules(kept).size());
    EXPECT_EQ(read_file(records_path())->substr(0, before.size()), before);
    EXPECT_EQ(chosen(records()), 1u);
    EXPECT_EQ(folders_left(), 0u);
}

TEST_F(TuneCommand, AnInterruptedRunSaysSoAndKeepsItsRecords) {
    EXPECT_EQ(ended_by(SIGINT), 130);
    const std::string errors = *read_file(path("errors"));
    EXPECT_TRUE(has(errors, "interrupted: what was tried is recorded")) << errors;
    EXPECT_GE(records().size(), 3u);
    EXPECT_EQ(chosen(records()), 0u);
}

TEST_F(TuneCommand, AFullDiskEndsTheRunWithWholeRecords) {
    // Larger than any other file that is written, and one blank line.
    fs::create_directories(path("db"));
    std::ofstream(records_path()) << std::string(std::size_t{16} << 20, ' ') << "\n";
    ProcessResult result;
    {
        const WriteLimit full((rlim_t{16} << 20) + 6000);
        result = tune({"--quiet"}, 12);
    }
    EXPECT_EQ(result.exit_code, 1) << result.output;
    EXPECT_TRUE(has(result.errors, "no more records can be kept")) << result.errors;
    EXPECT_TRUE(has(result.errors, "the same command goes on from there")) << result.errors;
    std::ifstream file(records_path());
    std::string line;
    std::getline(file, line);
    int whole = 0;
    for (; std::getline(file, line); whole++)
        EXPECT_TRUE(nlohmann::json::accept(line)) << line;
    EXPECT_GE(whole, 1);
}

TEST_F(TuneCommand, ADriftingBaselineChoosesNothing) {
    // No two timings are equal to the last bit.
    const ProcessResult result = unstride(arguments({"--quiet", "--json"}, 2, "0"));
    EXPECT_EQ(result.exit_code, 1) << result.output;
    EXPECT_EQ(nlohmann::json::parse(result.output)["verdict"], "unstable");
    EXPECT_TRUE(has(result.errors, "so nothing is chosen")) << result.errors;
    EXPECT_EQ(chosen(records()), 0u);
    EXPECT_GE(records().size(), 2u);
}

TEST_F(TuneCommand, ADatabaseThatCannotBeWrittenIsToldAtOnce) {
    const ProcessResult under_a_file =
        unstride({"tune", path("a.layers").string(), "--db", (path("a.layers") / "db").string()});
    EXPECT_EQ(under_a_file.exit_code, 1);
    EXPECT_TRUE(has(under_a_file.errors, "cannot make the folder")) << under_a_file.errors;
    EXPECT_TRUE(has(under_a_file.errors, "name another with --db")) << under_a_file.errors;
    fs::create_directories(path("folder.jsonl"));
    const ProcessResult folder =
        unstride({"tune", path("a.layers").string(), "--db", path("folder.jsonl").string()});
    EXPECT_EQ(folder.exit_code, 1);
    EXPECT_TRUE(has(folder.errors, "folder.jsonl is no file that records can be added to")) << folder.errors;
}

TEST_F(TuneCommand, WrongUsageIsRefusedWithTheRemedy) {
    const std::string file = path("a.layers").string();
    const struct {
        std::vector<std::string> arguments;
        const char *says;
        int code;
    } cases[] = {
        {{"tune"}, "FILE.layers is required", 2},
        {{"tune", file, "--fast"}, "--fast", 2},
        {{"tune", file, "--budget", "10"}, "'10' is no duration: a number and s, m or h, as in 10m", 2},
        {{"tune", file, "--budget", "-1s"}, "is no duration", 2},
        {{"tune", file, "--candidates", "0"}, "--candidates", 2},
        {{"tune", file, "--threads", "-1"}, "--threads", 2},
        {{"tune", file, "--target", "riscv"}, "unknown target 'riscv'; there are host, x86-64", 2},
        {{"tune", file, "--instruction-set", "mmx"}, "has no instruction set 'mmx'", 2},
        {{"tune", file, "--runner", "telepathy"}, "is none of local, ssh:HOST and command:PREFIX", 1},
        {{"tune", file, "--target", "cuda"}, "target cuda cannot be tuned", 1},
        {{"tune", file, "--target", "opencl"}, "target opencl cannot be tuned", 1},
        {{"tune", file, "--layer", "down"}, "there is no layer 'down'; it has up", 1},
        {{"tune", path("none.layers").string()}, "none.layers", 1},
        {{"tune", "verify", "--layer", "up"}, "a FILE.layers is needed too", 2},
        {{"tune", "verify", "--db", path("none").string()}, "there is no such database", 1},
        {{"tune", "carry", "--layer", "up"}, "a FILE.layers is needed too", 2},
        {{"tune", "carry", "--db", path("none").string()}, "there is no such database", 1},
        {{"tune", "compact", "--db", path("none").string()}, "there is no such database", 1},
        {{"tune", "compact", "--best", "-1"}, "--best", 2},
    };
    for (const auto &wrong : cases) {
        const ProcessResult result = unstride(wrong.arguments);
        EXPECT_EQ(result.exit_code, wrong.code) << wrong.says;
        EXPECT_TRUE(has(result.errors, wrong.says)) << wrong.says << "\n" << result.errors;
    }
    EXPECT_FALSE(fs::exists(path("data/unstride") / (set_ + ".jsonl")));
}

TEST_F(TuneCommand, OptionsBeforeACommandAreRefusedNotDropped) {
    for (const char *command : {"verify", "carry", "compact"}) {
        const ProcessResult result = unstride({"tune", "--db", path("db").string(), command});
        EXPECT_EQ(result.exit_code, 2) << result.output;
        EXPECT_TRUE(has(result.errors + result.output, std::string("--db: stands before '") + command))
            << result.errors;
    }
}

TEST_F(TuneCommand, EveryCommandTellsItsOwnExitCodes) {
    const std::vector<std::pair<std::string, std::string>> codes = {
        {"verify", "1 a schedule is wrong, slower than another"},
        {"carry", "1 some records could not be carried"},
        {"compact", "1 a file could not be read or written"},
    };
    for (const auto &[command, says] : codes) {
        const ProcessResult help = unstride({"tune", command, "--help"});
        EXPECT_EQ(help.exit_code, 0);
        EXPECT_TRUE(has(help.output, says)) << help.output;
        EXPECT_FALSE(has(help.output, "nothing could be chosen")) << help.output;
    }
}

TEST_F(TuneCommand, CarryMakesRecordsOfTheSameCodeExactAgain) {
    ASSERT_TRUE(tune({"--quiet"}, 4).ok());
    const std::vector<TuningRecord> tuned = records();
    make_old(records_path());
    EXPECT_FALSE(builds_exactly());

    const ProcessResult carried = carry();
    ASSERT_EQ(carried.exit_code, 0) << carried.output << carried.errors;
    EXPECT_TRUE(has(carried.output, "\"verdict\":\"carried\"")) << carried.output;
    EXPECT_TRUE(builds_exactly());
    const std::vector<TuningRecord> all = records();
    EXPECT_EQ(all.size(), tuned.size() + (tuned.back().baseline ? 1 : 2));
    EXPECT_EQ(to_json(all.back()), to_json(tuned.back())); // with these tools, measured then
    bool baseline = false;
    for (std::size_t i = tuned.size(); i < all.size(); i++)
        baseline = baseline || all[i].baseline;
    EXPECT_TRUE(baseline);

    const ProcessResult again = carry();
    EXPECT_TRUE(again.ok()) << again.errors;
    EXPECT_EQ(again.output, "");
    EXPECT_EQ(records().size(), all.size());
    EXPECT_EQ(nlohmann::json::parse(tune().output)["verdict"], "skipped");
}

TEST_F(TuneCommand, CarryIsOfAnyMachineAndLeavesChangedCodeAlone) {
    ASSERT_TRUE(tune({"--quiet"}, 1).ok());
    change_records(records_path(), [](TuningRecord &record) {
        record.tools.generators = "sha256:old";
        record.machine = {"Another maker", "Another model", "", 1, 2, 3};
    });
    const std::string other = *read_file(records_path());
    change_records(records_path(), [](TuningRecord &record) {
        record.machine = host_machine();
        record.object = "sha256:0123";
    });
    ASSERT_TRUE(write_file_atomically(records_path(), {other, *read_file(records_path())}).ok());
    const std::size_t before = records().size();

    const ProcessResult carried =
        unstride({"tune", "carry", path("a.layers").string(), "--db", path("db").string()});
    EXPECT_EQ(carried.exit_code, 1) << carried.output;
    EXPECT_TRUE(has(carried.output, "the code changed: tune again")) << carried.output;
    const std::vector<TuningRecord> all = records();
    ASSERT_EQ(all.size(), before + 1);
    EXPECT_TRUE(all.back().chosen);
    EXPECT_EQ(all.back().machine.model, "Another model");
    EXPECT_NE(all.back().tools.generators, "sha256:old");
    EXPECT_FALSE(builds_exactly());
    // Nothing is left to carry but what changed, and none of it is of another layer.
    ASSERT_TRUE(
        write_file_atomically(path("b.layers"), "b = input(f32, 1x2x2x8) | conv(8, kernel=1)\n").ok());
    EXPECT_TRUE(unstride({"tune", "carry", path("b.layers").string(), "--db", path("db").string()}).ok());
    EXPECT_EQ(carry().exit_code, 1);
    EXPECT_EQ(records().size(), all.size());
}

TEST_F(TuneCommand, CompactKeepsWhatWasDecided) {
    ASSERT_TRUE(tune({"--quiet"}, 3).ok());
    make_old(records_path());
    ASSERT_TRUE(carry().ok());
    const ProcessResult compacted = unstride({"tune", "compact", "--db", path("db").string(), "--best", "1"});
    ASSERT_TRUE(compacted.ok()) << compacted.errors;
    EXPECT_TRUE(has(compacted.output, " records in ")) << compacted.output;
    EXPECT_LE(records().size(), 5u);
    EXPECT_TRUE(builds_exactly());
}

// As a machine behind ssh, in a folder of its own and with one processor.
TEST_F(TuneCommand, AMachineBehindSshIsTunedUnderItsOwnIdentity) {
    if (!program_exists("taskset")) GTEST_SKIP() << "needs taskset";
    fs::create_directories(path("bin"));
    fs::create_directories(path("elsewhere"));
    const auto script = [&](const char *name, const std::string &text) {
        ASSERT_TRUE(write_file_atomically(path("bin") / name, "#!/bin/sh\n" + text).ok());
        fs::permissions(path("bin") / name, fs::perms::owner_all);
    };
    script("ssh",
           "[ -e " + path("down").string() + " ] && { echo 'no route' >&2; exit 255; }\ncd " +
               path("elsewhere").string() + "\necho \"$5\" >> " + path("log").string() +
               "\nexec taskset -c $(taskset -cp $$ | sed 's/.*: *\\([0-9]*\\).*/\\1/') sh -c \"$5\"\n");
    script("scp", "cp -r \"$7\" \"${8#*:}\"\n");
    const std::string search = "PATH=" + path("bin").string() + ":" + std::getenv("PATH");
    const auto tuned = unstride(arguments({"--runner", "ssh:secret-name", "--quiet", "--json"}, 3), {search});
    ASSERT_TRUE(tuned.ok()) << tuned.errors;
    const std::vector<TuningRecord> all = records();
    EXPECT_EQ(chosen(all), 1u);
    Machine machine = host_machine();
    machine.threads = 1;
    for (const TuningRecord &record : all)
        EXPECT_EQ(to_json(record.machine), to_json(machine));
    EXPECT_FALSE(has(*read_file(records_path()), "secret-name"));
    const std::string log = *read_file(path("log"));
    const std::string folder = log.substr(log.find("rm -rf '/tmp/unstride.") + 8, 20);
    EXPECT_TRUE(has(log, "'time' ")) << log;
    EXPECT_FALSE(fs::exists(folder)) << folder;

    // A machine that is gone is no fault of a schedule.
    std::ofstream(path("down")) << "";
    const auto gone = unstride(arguments({"--runner", "ssh:secret-name", "--quiet", "--force"}, 5), {search});
    EXPECT_EQ(gone.exit_code, 1);
    EXPECT_TRUE(has(gone.errors, "ssh to secret-name failed: no route")) << gone.errors;
    EXPECT_EQ(records().size(), all.size());
}

// A schedule that keeps a single sum in registers takes several times as long as the default.
TEST_F(TuneCommand, VerifyFindsWhatIsSlowerThanTheDefault) {
    const char *slow = "input(f32, 1x24x24x64) | transposed_conv(32, kernel=4, stride=2, pad=1)";
    TuningRecord record;
    record.layer = print_chain(parse_layer(slow, "up").layers.at(0));
    record.instruction_set = set_;
    record.machine = host_machine();
    record.schedule = {CpuDirect{4, 1, 1, 1, 0, 1, 1, 1, false}};
    record.chosen = true;
    record.estimate_ns = 1;
    record.date = "2026-03-01T12:00:00Z";
    std::string error;
    ASSERT_TRUE(append_record(records_path(), record, &error)) << error;
    const std::vector<std::string> verify = {"tune", "verify", "--db", path("db").string()};
    const ProcessResult result = unstride(verify);
    EXPECT_EQ(result.exit_code, 1) << result.output;
    EXPECT_TRUE(has(result.output, "stale")) << result.output;
    EXPECT_TRUE(has(result.output, "the analytic default takes 0.")) << result.output;

    // Where nothing can be compiled, nothing is known of the schedule.
    std::ofstream(path("file")) << "";
    const ProcessResult unknown = unstride(verify, {"UNSTRIDE_CACHE_DIR=" + path("file").string()});
    EXPECT_EQ(unknown.exit_code, 1);
    EXPECT_TRUE(has(unknown.output, "unknown")) << unknown.output;
    EXPECT_FALSE(has(unknown.output, "wrong")) << unknown.output;
}

// The record of a schedule that the layer cannot have any more.
TEST_F(TuneCommand, VerifyTellsOfRecordsThatDoNotFit) {
    const auto lowered = lower(parse_layer(chain, "up").layers.at(0));
    TuningRecord record;
    record.layer = print_chain(parse_layer(chain, "up").layers.at(0));
    record.instruction_set = set_;
    record.machine = host_machine();
    record.schedule = analytic_default(std::get<PhaseConvolution>(lowered), own_instruction_sets().back());
    std::get<CpuDirect>(record.schedule.parameters).tile_x = 100;
    record.chosen = true;
    record.estimate_ns = 1;
    record.date = "2026-03-01T12:00:00Z";
    std::string error;
    ASSERT_TRUE(append_record(records_path(), record, &error)) << error;
    const ProcessResult result = unstride({"tune", "verify", "--db", path("db").string()});
    EXPECT_EQ(result.exit_code, 1);
    EXPECT_TRUE(has(result.output, "wrong")) << result.output;
    EXPECT_TRUE(has(result.output, set_ + ".jsonl:1")) << result.output;
    EXPECT_TRUE(has(result.output, "does not fit the layer any more")) << result.output;
}

// A kernel that became useless after it was chosen, here by damage to the cache.
TEST_F(TuneCommand, BuildVerifyNamesTheRecordOfABadSchedule) {
    ASSERT_TRUE(tune({"--quiet"}, 2).ok());
    const std::vector<std::string> build = {
        "build", path("a.layers").string(), "--target", host_target().name,   "--instruction-set", set_,
        "--db",  path("db").string(),       "-o",       path("out").string(), "--verify"};
    ASSERT_TRUE(unstride(build).ok());
    for (const auto &file : fs::recursive_directory_iterator(cache() / "kernels")) {
        if (file.path().extension() == ".o") std::ofstream(file.path()) << "\177ELF, and no more";
    }
    const ProcessResult result = unstride(build);
    fs::remove_all(cache() / "kernels");
    EXPECT_EQ(result.exit_code, 1);
    EXPECT_TRUE(has(result.errors, "layer up for " + set_ + ": the schedule of ")) << result.errors;
    EXPECT_TRUE(has(result.errors, set_ + ".jsonl:")) << result.errors;
    EXPECT_FALSE(fs::exists(path("out") / host_target().name / "manifest.json"));
}

TEST_F(TuneCommand, WithoutHardwareSchedulesAreModelled) {
    if (host_target().name == "aarch64" || !program_exists("qemu-aarch64") ||
        !program_exists("aarch64-linux-gnu-gcc"))
        GTEST_SKIP() << "needs an emulator and a cross compiler for another processor";
    const ProcessResult result =
        unstride({"tune", path("a.layers").string(), "--target", "aarch64", "--candidates", "4", "--db",
                  path("db").string(), "--json", "--quiet"});
    ASSERT_TRUE(result.ok()) << result.errors;
    const auto said = nlohmann::json::parse(result.output);
    EXPECT_TRUE(said.contains("chosen_cycles")) << result.output;
    EXPECT_FALSE(said.contains("chosen_ns")) << result.output;
    const std::vector<TuningRecord> all = records(path("db/neon.jsonl"));
    EXPECT_EQ(chosen(all), 1u);
    EXPECT_TRUE(all.back().correctness);
    for (const TuningRecord &record : all) {
        EXPECT_EQ(record.machine, Machine{});
        EXPECT_FALSE(record.estimate_ns);
        if (record.status == TuningStatus::duplicate) continue;
        EXPECT_EQ(record.status, TuningStatus::modelled) << record.detail;
        for (const char *processor : {"cortex-a55", "neoverse-n1", "neoverse-v1"})
            EXPECT_EQ(record.facts.modelled_cycles.count(processor), 1u) << processor;
    }
    EXPECT_TRUE(builds_exactly("aarch64"));
    make_old(path("db/neon.jsonl"));
    EXPECT_FALSE(builds_exactly("aarch64"));
    const ProcessResult carried = carry();
    EXPECT_TRUE(carried.ok()) << carried.output << carried.errors;
    EXPECT_TRUE(builds_exactly("aarch64"));
}

} // namespace
} // namespace unstride
