// Tuning one layer for one instruction set: the search of search.h over candidates that are compiled, checked
// against the reference and timed, or where there is no machine to time them on, modelled.
//
// Every candidate becomes a record of the database as soon as its fate is known, failed ones too; what a
// later run finds there is not tried again. A record is `chosen` only at the end of a finished search.
#pragma once

#include "schedules/database.h"
#include "tools/library/installation.h"
#include "tools/measure/runner.h"
#include "tools/measure/statistics.h"

#include <atomic>
#include <chrono>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace unstride {

// How far a run is.
struct TuneProgress {
    std::string layer, instruction_set;
    const char *step = ""; // "compiling", "measuring", "finals", …
    std::size_t tried = 0, candidates = 0, failed = 0;
    std::optional<double> best, baseline; // nanoseconds, or modelled cycles
    std::chrono::seconds left{0};         // of the budget
};

struct TuneSettings {
    std::chrono::milliseconds budget{
        600'000}; // for the search of one layer and instruction set; finals follow
    std::size_t candidates = 64;
    std::uint64_t seed = 1;
    int threads = 0;                                // of a call; 0: all processors
    double threshold = practical_threshold;         // by which a schedule must beat the one in use
    double most_drift = 0.1;                        // of the default's time over the run
    bool force = false;                             // also where a search was finished
    const std::atomic<bool> *interrupted = nullptr; // set: end as soon as possible
    std::function<void(const TuneProgress &)> on_progress;
};

// What tuning works with. All must outlive the calls.
struct TuneContext {
    const Installation &installation;
    const Database &database;            // as it was when the command began
    std::filesystem::path database_path; // that records are added to: a folder or a .jsonl file
    Runner &runner;                      // one that emulates gives modelled records
    Machine machine;                     // that its programs run on, see machine_of()
};

enum class TuneEnd {
    tuned,       // a schedule beat the one in use
    kept,        // none did: the one in use is chosen
    skipped,     // there is a chosen record
    unstable,    // the default's time drifted: nothing is chosen
    failed,      // no candidate could be used, or a step of the run itself failed
    interrupted, // nothing is chosen
};

const char *to_string(TuneEnd end);

struct FailureTally {
    std::size_t count = 0;
    std::string first; // the first one's detail
};

struct TuneResult {
    std::string layer, instruction_set;
    TuneEnd end = TuneEnd::failed;
    std::string detail;    // why it was not chosen, or why the search ended
    bool modelled = false; // costs are modelled cycles, else nanoseconds
    std::optional<ScheduleRecord> chosen;
    std::optional<double> default_cost, chosen_cost;
    std::optional<Ratio> ratio; // time of the chosen one over that of the default; modelled: of the cycles
    std::size_t tried = 0;      // by this run or by unfinished ones before
    std::size_t resumed = 0;    // of these, by earlier runs
    std::map<TuningStatus, FailureTally> failures; // of all that were tried
    bool cannot_record = false;                    // the database takes no more records
    double seconds = 0;
};

// Tunes; writes nothing but records. `layer` is one that lowers.
TuneResult tune(const Layer &layer, const Target &target, const TargetFacts &facts,
                const TuneContext &context, const TuneSettings &settings);

// The file that records of an instruction set are added to: the path itself where it is a .jsonl file, else a
// file in that folder; of the user's own folder where the path is empty.
Result<std::filesystem::path> records_file(const std::filesystem::path &database,
                                           const std::string &instruction_set);

// That records can be added to a file, which need not exist; its folders are made.
Result<void> check_appendable(const std::filesystem::path &file);

// Whether code of an instruction set runs on this machine, by its processor or by an emulator.
bool runs_here(const Target &target, const TargetFacts &facts);

// The instruction sets of this machine's own target that its processor has, best first.
std::vector<TargetFacts> own_instruction_sets();

// What starts programs of a target on this machine, as make_runner() takes it: "local", or an emulator.
std::string default_runner(const Target &target);

} // namespace unstride
