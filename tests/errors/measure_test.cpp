// Candidates built, checked and timed: real ones end to end, and ones that go wrong in every way there is a
// status for.
#include "tools/measure/session.h"

#include "compiler/language/parser.h"
#include "compiler/language/printer.h"
#include "schedules/analytic_default.h"
#include "tools/files.h"
#include "tools/library/host_machine.h"
#include "tools/library/kernel_compiler.h"
#include "tools/library/parallel.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <vector>

namespace unstride {
namespace {

namespace fs = std::filesystem;

using std::chrono::milliseconds;

Layer layer_of(const std::string &text) {
    const auto parsed = parse_layers(text, "test");
    EXPECT_EQ(parsed.layers.size(), 1u) << text;
    return parsed.layers.at(0);
}

// The instruction set that every processor of the target has.
const TargetFacts &plainest(const Target &target) {
    return target.instruction_sets.back();
}

PhaseConvolution lowered(const Layer &layer) {
    return std::get<PhaseConvolution>(lower(layer));
}

bool has(const std::string &text, const std::string &part) {
    return text.find(part) != std::string::npos;
}

std::string text_of(const Failure &failure) {
    return std::string(to_string(failure.status)) + ": " + failure.detail;
}

// Short: nothing here asks for good figures.
TimingProtocol quick_protocol() {
    TimingProtocol protocol;
    protocol.rounds = 3;
    protocol.samples = 2;
    protocol.sample_milliseconds = 0.05;
    protocol.limit = milliseconds(20'000);
    return protocol;
}

// A cache of its own for all of them, so that nothing is left from another version.
class Measuring : public testing::Test {
protected:
    static void SetUpTestSuite() {
        auto made = make_temporary_folder("unstride-measure");
        ASSERT_TRUE(made.ok()) << made.error();
        shared_.emplace(std::move(*made));
        setenv("UNSTRIDE_CACHE_DIR", (shared_->path() / "cache").c_str(), 1);
        auto found = find_installation();
        ASSERT_TRUE(found.ok()) << found.error();
        installation_ = *found;
    }
    static void TearDownTestSuite() { shared_.reset(); }

    void SetUp() override {
        auto made = make_temporary_folder("test", shared_->path());
        ASSERT_TRUE(made.ok()) << made.error();
        folder_.emplace(std::move(*made));
    }

    fs::path path(const std::string &name) const { return folder_->path() / name; }

    void write_script(const std::string &name, const std::string &text) const {
        ASSERT_TRUE(write_file_atomically(path(name), "#!/bin/sh\n" + text).ok());
        fs::permissions(path(name), fs::perms::owner_all);
    }

    Outcome<Candidate> build(const Layer &layer, const Target &target = host_target()) const {
        const TargetFacts &facts = plainest(target);
        return build_candidate(layer, target, facts, analytic_default(lowered(layer), facts), installation_,
                               path("candidates"));
    }

    static std::optional<TemporaryFolder> shared_;
    static Installation installation_;
    std::optional<TemporaryFolder> folder_;
};
std::optional<TemporaryFolder> Measuring::shared_;
Installation Measuring::installation_;

const char *const small_layer =
    "up = input(f32, 1x5x7x8) | transposed_conv(12, kernel=4, stride=2, pad=1) | bias | relu";

TEST_F(Measuring, ACandidateIsBuiltCheckedAndTimed) {
    const Layer layer = layer_of(small_layer);
    const auto candidate = build(layer);
    ASSERT_TRUE(candidate.ok()) << text_of(candidate.failure());
    EXPECT_TRUE(fs::exists(candidate->archive));
    EXPECT_TRUE(fs::exists(candidate->compute_object));
    EXPECT_TRUE(candidate->object.starts_with("sha256:"));
    EXPECT_GT(candidate->code_bytes, 500);
    EXPECT_LT(candidate->code_bytes, static_cast<std::int64_t>(fs::file_size(candidate->compute_object)));
    EXPECT_GT(candidate->compile_seconds, 0);

    const auto runner = make_runner("local", host_target());
    ASSERT_TRUE(runner.ok()) << runner.error();
    SessionOptions options;
    options.threads = 2;
    const auto session =
        MeasuringSession::open(layer, host_target(), installation_, **runner, path("work"), options);
    ASSERT_TRUE(session.ok()) << session.error();
    EXPECT_EQ(session->operations(), 2.0 * 5 * 7 * 8 * 12 * 16);
    const auto checked = session->check(*candidate);
    ASSERT_TRUE(checked.ok()) << text_of(checked.failure());
    EXPECT_EQ(checked->correctness.shapes, 1);
    EXPECT_GT(checked->correctness.max_ulp, 0);
    EXPECT_LT(checked->correctness.max_relative, 1e-5);
    EXPECT_EQ(checked->threads, 2);

    for (const bool cold : {false, true}) {
        TimingProtocol protocol = quick_protocol();
        protocol.cold = cold;
        const auto run = session->time({&*candidate, &*candidate}, protocol);
        ASSERT_TRUE(run.ok()) << run.error();
        EXPECT_EQ(run->threads, 2);
        EXPECT_EQ(run->peak_gflops.size(), 3u);
        EXPECT_EQ(run->load.size(), 3u);
        EXPECT_GT(run->peak_gflops[0], 0.1);
        ASSERT_EQ(run->candidates.size(), 2u);
        for (const Outcome<Rounds> &rounds : run->candidates) {
            ASSERT_TRUE(rounds.ok()) << text_of(rounds.failure());
            ASSERT_EQ(rounds->size(), 3u);
            for (const std::vector<double> &samples : *rounds) {
                EXPECT_EQ(samples.size(), 2u);
                EXPECT_GT(estimate(*rounds).value, 0);
            }
        }
    }
}

TEST_F(Measuring, SizesKnownAtRunTimeAreCheckedAtSeveral) {
    const Layer layer = layer_of("any = input(f32, ?x?x?x4) | pixel_unshuffle(3) | relu");
    const std::vector<Layer> sizes = measured_sizes(layer);
    ASSERT_EQ(sizes.size(), 3u);
    EXPECT_EQ(sizes[0].input.spatial, (PerAxis{3, 3}));
    EXPECT_EQ(sizes[1].input.spatial, (PerAxis{9, 18}));
    EXPECT_EQ(sizes[1].input.batch, 2);
    EXPECT_EQ(sizes[2].input.spatial, (PerAxis{66, 66}));
    const auto candidate = build(layer);
    ASSERT_TRUE(candidate.ok()) << text_of(candidate.failure());
    const auto runner = make_runner("local", host_target());
    const auto session = MeasuringSession::open(layer, host_target(), installation_, **runner, path("work"));
    ASSERT_TRUE(session.ok()) << session.error();
    const auto checked = session->check(*candidate);
    ASSERT_TRUE(checked.ok()) << text_of(checked.failure());
    EXPECT_EQ(checked->correctness.shapes, 3);
}

TEST_F(Measuring, SeveralThreadsBuildAtOnce) {
    const Layer layer = layer_of("line = input(f32, 1x9x4) | nearest_upsample(2) | relu");
    std::mutex mutex;
    std::vector<Candidate> built;
    run_parallel(4, 4, [&](std::size_t) {
        const auto candidate = build(layer);
        const std::lock_guard lock(mutex);
        ASSERT_TRUE(candidate.ok()) << text_of(candidate.failure());
        built.push_back(*candidate);
    });
    ASSERT_EQ(built.size(), 4u);
    EXPECT_EQ(built[0].library, built[3].library);
    EXPECT_EQ(built[0].object, built[3].object);
    std::size_t left = 0;
    for (const auto &entry : fs::directory_iterator(path("candidates")))
        left += entry.is_directory() ? 1 : 0;
    EXPECT_EQ(left, 0u);
}

TEST_F(Measuring, ASchedulesOwnRefusalStartsNothing) {
    const Layer layer = layer_of(small_layer);
    const TargetFacts &facts = plainest(host_target());
    CpuDirect tile;
    tile.lanes = facts.vector_lanes;
    tile.tile_x = 100; // more registers than there are
    Installation none = installation_;
    none.generators = path("absent");
    const auto candidate = build_candidate(layer, host_target(), facts, {tile}, none, path("candidates"));
    ASSERT_FALSE(candidate.ok());
    EXPECT_EQ(candidate.failure().status, TuningStatus::constraint) << text_of(candidate.failure());
}

// Generator programs that fail in every way.
TEST_F(Measuring, GeneratorsThatFailAreToldApart) {
    struct Case {
        const char *name, *script;
        TuningStatus status;
        const char *detail;
    };
    const Case cases[] = {
        {"refuses", "echo 'no such loop' >&2; exit 1", TuningStatus::generator_error, "no such loop"},
        {"dies", "kill -SEGV $$", TuningStatus::generator_error, "SIGSEGV"},
        {"hangs", "sleep 100", TuningStatus::compile_timeout, "stopped after"},
        {"hogs", "head -c 400000000 /dev/zero | tail -c 400000000 > /dev/null", TuningStatus::resource_limit,
         "memory exhausted"},
        {"lies", "exit 0", TuningStatus::compile_error, "wrote no object"},
    };
    const Layer layer = layer_of(small_layer);
    const TargetFacts &facts = plainest(host_target());
    for (const Case &tried : cases) {
        write_script(tried.name, tried.script);
        Installation fake = installation_;
        fake.generators = path(tried.name);
        fake.generator_hash = tried.name; // kernels of the real one are in the cache
        CandidateLimits limits;
        const bool ends =
            tried.status != TuningStatus::compile_timeout; // by itself, however busy the machine
        limits.generator = {milliseconds(ends ? 60'000 : 1000), std::int64_t{200} << 20};
        const auto candidate =
            build_candidate(layer, host_target(), facts, analytic_default(lowered(layer), facts), fake,
                            path("candidates"), limits);
        ASSERT_FALSE(candidate.ok()) << tried.name;
        EXPECT_EQ(candidate.failure().status, tried.status)
            << tried.name << ": " << candidate.failure().detail;
        EXPECT_TRUE(has(candidate.failure().detail, tried.detail)) << candidate.failure().detail;
    }
}

// Candidates that are no work of the generator's.
class Faults : public Measuring {
protected:
    void SetUp() override {
        Measuring::SetUp();
        layer_ = layer_of("relu = input(f32, 1x4x5x3) | relu");
        runner_ = *make_runner("local", host_target());
        SessionOptions options;
        options.threads = 1;
        options.check_limit = milliseconds(4000);
        options.memory_bytes = std::int64_t{256} << 20;
        auto opened =
            MeasuringSession::open(layer_, host_target(), installation_, *runner_, path("work"), options);
        ASSERT_TRUE(opened.ok()) << opened.error();
        session_.emplace(std::move(*opened));
    }

    Candidate fake(const std::string &fault) const {
        Candidate candidate;
        candidate.layer = layer_;
        candidate.facts = plainest(host_target());
        candidate.library = "fake_" + fault;
        candidate.archive = path("lib" + fault + ".a");
        const fs::path object = path(fault + ".o");
        const ProcessResult compiled =
            run_process({"cc", "-c", "-O1", "-I", UNSTRIDE_SOURCE_FOLDER, "-DNAME=" + candidate.library,
                         "-DFAULT=" + fault, UNSTRIDE_SOURCE_FOLDER "/tests/errors/fake_candidate.c", "-o",
                         object.string()});
        EXPECT_TRUE(compiled.ok()) << compiled.errors;
        EXPECT_TRUE(run_process({"ar", "rcs", candidate.archive.string(), object.string()}).ok());
        return candidate;
    }

    Layer layer_;
    std::unique_ptr<Runner> runner_;
    std::optional<MeasuringSession> session_;
};

TEST_F(Faults, NoneInARightCandidate) {
    const auto checked = session_->check(fake("none"));
    ASSERT_TRUE(checked.ok()) << text_of(checked.failure());
    EXPECT_EQ(checked->correctness.max_ulp, 0);
    EXPECT_EQ(checked->threads, 1);
}

TEST_F(Faults, AreNamedByTheCheck) {
    struct Case {
        const char *fault;
        TuningStatus status;
        const char *detail;
    };
    const Case cases[] = {
        {"one_wrong", TuningStatus::wrong_answer, "1 of 60 elements"},
        {"unwritten", TuningStatus::wrong_answer, "number 17"},
        {"dense_only", TuningStatus::wrong_answer, "elements are wrong"},
        {"reads_scratch", TuningStatus::wrong_answer, "got nan"},
        {"writes_gap", TuningStatus::wrong_answer, "gaps"},
        {"writes_around_scratch", TuningStatus::wrong_answer, "wrote outside of the scratch memory"},
        {"reads_beyond", TuningStatus::run_crash,
         "SIGSEGV (Segmentation fault): touched memory 0 bytes after the end of the input"},
        {"reads_before", TuningStatus::run_crash, "touched memory 4 bytes before the start of the input"},
        {"writes_input", TuningStatus::run_crash, "wrote to what may only be read: the input"},
        {"crashes", TuningStatus::run_crash, "SIGFPE"},
        {"refuses", TuningStatus::run_crash, "UNSTRIDE_INTERNAL: as told"},
        {"hangs", TuningStatus::run_timeout, "4 s"},
        {"hogs", TuningStatus::resource_limit, "UNSTRIDE_OUT_OF_MEMORY"},
    };
    for (const Case &tried : cases) {
        const auto checked = session_->check(fake(tried.fault));
        ASSERT_FALSE(checked.ok()) << tried.fault;
        EXPECT_EQ(checked.failure().status, tried.status) << tried.fault << ": " << checked.failure().detail;
        EXPECT_TRUE(has(checked.failure().detail, tried.detail))
            << tried.fault << ": " << checked.failure().detail;
    }
}

TEST_F(Faults, OfTheLinkerAreTheCandidates) {
    Candidate empty = fake("none");
    empty.library = "another";
    const auto checked = session_->check(empty);
    ASSERT_FALSE(checked.ok());
    EXPECT_EQ(checked.failure().status, TuningStatus::link_error);
    EXPECT_TRUE(has(checked.failure().detail, "another_library")) << checked.failure().detail;
}

TEST_F(Faults, WhileTimingLeaveTheOthersTheirRounds) {
    const Candidate right = fake("none"), wrong = fake("one_wrong"), crashes = fake("crashes_later"),
                    hangs = fake("hangs");
    ASSERT_TRUE(session_->check(crashes).ok());
    TimingProtocol protocol = quick_protocol();
    protocol.limit = milliseconds(4000);
    const auto run = session_->time({&crashes, &right, &wrong, &hangs}, protocol);
    ASSERT_TRUE(run.ok()) << run.error();
    ASSERT_EQ(run->candidates.size(), 4u);
    ASSERT_TRUE(run->candidates[1].ok()) << text_of(run->candidates[1].failure());
    EXPECT_EQ(run->candidates[1]->size(), 3u);
    EXPECT_EQ(run->candidates[0].failure().status, TuningStatus::run_crash);
    EXPECT_TRUE(has(run->candidates[0].failure().detail, "SIGSEGV"));
    EXPECT_EQ(run->candidates[2].failure().status, TuningStatus::wrong_answer);
    EXPECT_EQ(run->candidates[3].failure().status, TuningStatus::run_timeout);
}

TEST_F(Faults, OfALimitKeepTheRoundsThatWereWhole) {
    const Candidate right = fake("none");
    TimingProtocol protocol = quick_protocol();
    protocol.rounds = 1'000'000;
    protocol.limit = milliseconds(3000);
    const auto run = session_->time({&right}, protocol);
    ASSERT_TRUE(run.ok()) << run.error();
    ASSERT_TRUE(run->candidates[0].ok()) << text_of(run->candidates[0].failure());
    const Rounds &rounds = *run->candidates[0];
    EXPECT_GT(rounds.size(), 2u);
    EXPECT_LT(rounds.size(), 1'000'000u);
    EXPECT_EQ(rounds.size(), run->peak_gflops.size());
    EXPECT_EQ(rounds.back().size(), 2u);
}

TEST_F(Faults, OfCachedDataAreMended) {
    const auto data = make_problem_data(layer_, 1, cache_folder());
    ASSERT_TRUE(data.ok()) << data.error();
    const auto before = read_file(*data / "expected");
    const auto written = fs::last_write_time(*data / "expected");
    ASSERT_TRUE(make_problem_data(layer_, 1, cache_folder()).ok());
    EXPECT_EQ(fs::last_write_time(*data / "expected"), written);
    fs::resize_file(*data / "expected", 8);
    const auto mended = make_problem_data(layer_, 1, cache_folder());
    ASSERT_TRUE(mended.ok()) << mended.error();
    EXPECT_EQ(*read_file(*mended / "expected"), *before);
}

// Versions enter the names of a kernel's functions, and nothing else of its code.
TEST_F(Measuring, TheHashOfCodeKnowsNoNames) {
    const Layer layer = layer_of("up = input(f32, 1x6x6x8) | transposed_conv(8, kernel=4, stride=2, pad=1)");
    for (const Target &target : {host_target(), *find_target("aarch64")}) {
        if (!program_exists(target.tool_prefix + "objcopy")) continue;
        const TargetFacts &facts = plainest(target);
        const ScheduleRecord schedule = analytic_default(lowered(layer), facts);
        std::set<std::string> hashes, keys;
        for (const char *version : {"1", "2", "3", "4"}) {
            Installation installation = installation_;
            installation.compiler_version = version;
            const auto hash = hash_of_candidate(layer, target, facts, schedule, installation);
            ASSERT_TRUE(hash.ok()) << text_of(hash.failure());
            hashes.insert(*hash);
            keys.insert(kernel_key({print_chain(layer), facts, schedule, true}, installation));
        }
        EXPECT_EQ(hashes.size(), 1u) << target.name;
        EXPECT_EQ(keys.size(), 4u);
    }
}

// `ssh` and `scp` that do everything on this machine, and write down what they were asked for.
class Ssh : public Faults {
protected:
    void SetUp() override {
        Faults::SetUp();
        write_script("ssh", "echo \"$@\" >> " + path("log").string() +
                                "\n[ \"$4\" = down ] && { echo 'connection refused' >&2; exit 255; }\n"
                                "cd / && exec sh -c \"$5\"\n");
        write_script("scp", "echo \"$@\" >> " + path("log").string() + "\ncp -r \"$7\" \"${8#*:}\"\n");
        path_ = std::getenv("PATH");
        setenv("PATH", (folder_->path().string() + ":" + path_).c_str(), 1);
    }
    void TearDown() override { setenv("PATH", path_.c_str(), 1); }

    std::string path_;
};

TEST_F(Ssh, CopiesRunsAndLeavesNothing) {
    std::string place;
    {
        const auto runner = make_runner("ssh:me@board", host_target());
        ASSERT_TRUE(runner.ok()) << runner.error();
        EXPECT_FALSE((*runner)->here());
        SessionOptions options;
        options.threads = 1;
        auto session =
            MeasuringSession::open(layer_, host_target(), installation_, **runner, path("remote"), options);
        ASSERT_TRUE(session.ok()) << session.error();
        const Candidate right = fake("none");
        const auto checked = session->check(right);
        ASSERT_TRUE(checked.ok()) << text_of(checked.failure());
        const auto crashed = session->check(fake("reads_beyond"));
        ASSERT_FALSE(crashed.ok());
        EXPECT_EQ(crashed.failure().status, TuningStatus::run_crash) << crashed.failure().detail;
        EXPECT_TRUE(has(crashed.failure().detail, "SIGSEGV")) << crashed.failure().detail;
        EXPECT_TRUE(has(crashed.failure().detail, "after the end of the input")) << crashed.failure().detail;
        const auto run = session->time({&right}, quick_protocol());
        ASSERT_TRUE(run.ok()) << run.error();
        EXPECT_EQ(run->candidates[0]->size(), 3u);
        const std::string log = *read_file(path("log"));
        const std::size_t at = log.find("/tmp/unstride.");
        ASSERT_NE(log.find("/tmp/unstride.", at + 5), std::string::npos) << log;
        place = log.substr(log.find("me@board:/tmp/unstride.") + 9);
        place = place.substr(0, place.find('/', 6));
        EXPECT_TRUE(fs::is_directory(place)) << place;
    }
    EXPECT_FALSE(fs::exists(place)) << place;
}

TEST_F(Ssh, SaysWhenAMachineCannotBeReached) {
    const auto runner = make_runner("ssh:down", host_target());
    ASSERT_TRUE(runner.ok()) << runner.error();
    const auto session =
        MeasuringSession::open(layer_, host_target(), installation_, **runner, path("remote"));
    ASSERT_FALSE(session.ok());
    EXPECT_TRUE(has(session.error(), "connection refused")) << session.error();
    EXPECT_TRUE(has(session.error(), "down")) << session.error();
}

TEST_F(Faults, OfRunnersAreExplained) {
    for (const char *text :
         {"", "remote", "ssh:", "ssh:-oProxyCommand=x", "ssh:a b", "command:", "local:x"}) {
        const auto runner = make_runner(text, host_target());
        ASSERT_FALSE(runner.ok()) << text;
        EXPECT_TRUE(has(runner.error(), "ssh:HOST")) << runner.error();
    }
    EXPECT_TRUE(has(make_runner("command:no-such-program -x", host_target()).error(), "no-such-program"));
    const Target &foreign = *find_target(host_target().name == "aarch64" ? "x86-64" : "aarch64");
    EXPECT_TRUE(has(make_runner("local", foreign).error(), "ssh:HOST"));
}

TEST_F(Faults, ACommandStartsPrograms) {
    const auto runner = make_runner("command:env UNSTRIDE_PROBE=1", host_target());
    ASSERT_TRUE(runner.ok()) << runner.error();
    EXPECT_EQ((*runner)->name(), "command:env UNSTRIDE_PROBE=1");
    const auto machine = machine_of(**runner, host_target(), installation_, path("work"));
    ASSERT_TRUE(machine.ok()) << machine.error();
    EXPECT_EQ(*machine, host_machine());
    const auto session =
        MeasuringSession::open(layer_, host_target(), installation_, **runner, path("remote"));
    ASSERT_TRUE(session.ok()) << session.error();
    EXPECT_TRUE(session->check(fake("none")).ok());
}

TEST_F(Measuring, AnEmulatorChecksAndDoesNotTime) {
    const Target &target = *find_target("aarch64");
    if (host_target().name == target.name || !program_exists("qemu-aarch64") ||
        !program_exists(target.tool_prefix + "gcc"))
        GTEST_SKIP() << "needs another machine, qemu-aarch64 and a cross compiler";
    const Layer layer = layer_of("line = input(f32, 1x9x4) | nearest_upsample(2) | relu");
    const auto candidate = build(layer, target);
    ASSERT_TRUE(candidate.ok()) << text_of(candidate.failure());
    const auto runner = make_runner("command:qemu-aarch64", target);
    ASSERT_TRUE(runner.ok()) << runner.error();
    const auto session = MeasuringSession::open(layer, target, installation_, **runner, path("work"));
    ASSERT_TRUE(session.ok()) << session.error();
    const auto checked = session->check(*candidate);
    ASSERT_TRUE(checked.ok()) << text_of(checked.failure());
    const auto run = session->time({&*candidate}, quick_protocol());
    ASSERT_FALSE(run.ok());
    EXPECT_TRUE(has(run.error(), "emulates")) << run.error();
}

} // namespace
} // namespace unstride
