// Measuring candidates of one layer on one machine: data and expected results made once, every candidate
// checked in a process of its own, then candidates timed side by side in another.
#pragma once

#include "compiler/language/layer.h"
#include "compiler/result.h"
#include "schedules/target_facts.h"
#include "schedules/tuning_record.h"
#include "tools/library/installation.h"
#include "tools/measure/candidate.h"
#include "tools/measure/outcome.h"
#include "tools/measure/problem_data.h"
#include "tools/measure/runner.h"
#include "tools/measure/statistics.h"

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace unstride {

struct SessionOptions {
    int threads = 0;        // of a call; 0: all processors of the machine the programs run on
    std::uint64_t seed = 1; // of the data
    std::chrono::milliseconds check_limit{60'000}; // of one process that checks
    std::int64_t memory_bytes = 0;                 // of a process's address space; 0: enough for honest ones
};

struct TimingProtocol {
    int rounds = 8, samples = 5;
    double sample_milliseconds = 1; // a sample is as many calls as take that long
    bool cold = false;              // the caches are emptied of the tensors before each call
    std::uint64_t seed = 1;         // of the order in which the candidates take turns
    std::chrono::milliseconds limit{120'000};
};

// What checking a right candidate found out. max_relative and max_ulp of the correctness are the largest
// error in units of the expected value and of the distance between floats there, where values below the root
// mean square of the whole output count as that large: sums that cancel say nothing about a kernel.
struct CheckedCandidate {
    Correctness correctness;
    double call_nanoseconds = 0;    // of one call on the data that is timed, the second one; a rough guide
    std::int64_t scratch_bytes = 0; // that this call asked its caller for
    int threads = 0;                // that it ran with
    std::string outputs;            // hashes of its outputs: equal where these are equal in every bit
};

// Of one process, or of the last one that was started after leaving out candidates that failed.
struct TimingRun {
    // In the order of the candidates; rounds in which every one was timed. A run that was ended by its limit
    // keeps those that it had. A failure is one of check()'s.
    std::vector<Outcome<Rounds>> candidates;
    std::vector<double> peak_gflops; // of each round: what multiply-adds in registers reach with those
                                     // threads; 0 for GPUs
    std::vector<double> load;        // average of the machine's run queue, of each round
    int threads = 0;
};

// The machine that a runner's programs run on, by what a program there says; all empty where it is emulated.
// `work` is a folder for its files.
Result<Machine> machine_of(Runner &runner, const Target &target, const Installation &installation,
                           const std::filesystem::path &work);

class MeasuringSession {
public:
    // Makes data and the double-precision results, or takes them from the cache folder: evaluating large
    // layers takes many seconds. The runner must outlive the session; `work` is a folder for its files.
    static Result<MeasuringSession> open(const Layer &layer, const Target &target,
                                         const Installation &installation, Runner &runner,
                                         const std::filesystem::path &work,
                                         const SessionOptions &options = {});
    MeasuringSession(MeasuringSession &&) noexcept;
    MeasuringSession &operator=(MeasuringSession &&) noexcept;
    ~MeasuringSession();

    // The layer at the size that is timed.
    const Layer &timed_layer() const;

    // Floating-point operations of a call that is timed: two for each multiplication.
    double operations() const;

    // Runs a candidate at every size between guard pages on outputs that hold NaN, dense and with gaps
    // between rows, and compares with the double-precision results. A failure is link_error, wrong_answer,
    // run_crash (with the signal, and what memory was touched; or what the library or the runner refused),
    // run_timeout or resource_limit; or of the environment where no program could be made or started. May be
    // called by several threads at once.
    Outcome<CheckedCandidate> check(const Candidate &candidate) const;

    // Times candidates in one process, taking turns. They are compared with the expected result once more
    // there, without guards. A candidate may be given several times (to measure the noise floor). An error
    // is none of a candidate's: no program could be made or started, or an emulator runs it.
    Result<TimingRun> time(const std::vector<const Candidate *> &candidates,
                           const TimingProtocol &protocol = {}) const;

private:
    struct State;
    explicit MeasuringSession(std::unique_ptr<State> state);
    std::unique_ptr<State> state_;
};

} // namespace unstride
