// What a database of schedules holds: one candidate that was tried, with everything needed to trust it.
#pragma once

#include "schedules/record.h"

#include <nlohmann/json_fwd.hpp>

#include <array>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace unstride {

// How trying a candidate ended.
enum class TuningStatus {
    ok,              // checked against the reference, then timed
    modelled,        // compiled and analysed, never timed
    constraint,      // refused before it was generated
    generator_error, // the generator refused or crashed
    compile_error,   // its object could not be made
    compile_timeout, //
    link_error,      //
    run_crash,       // ended by a signal
    run_timeout,     //
    wrong_answer,    // differs from the reference
    resource_limit,  // needed more memory, registers or disk than allowed
    duplicate,       // the same object as a candidate that was timed
};

const char *to_string(TuningStatus status);
std::optional<TuningStatus> status_from_string(std::string_view text);

// A machine as far as schedules depend on it. All empty for a machine that nobody named: what is compiled for
// another processor or device than the one at hand.
struct Machine {
    std::string vendor, model;                // of the processor
    std::string gpu;                          // empty where none is used
    std::int64_t l1d_bytes = 0, l2_bytes = 0; // of one core
    int threads = 0;                          // that run a kernel
    bool operator==(const Machine &) const = default;
};

// Everything besides the schedule that changes the code of a kernel.
struct ToolVersions {
    std::string unstride, halide;
    std::string generators; // "sha256:…" of the generators' sources
    int space = 0;          // search_space_version: what the parameters of a schedule mean
    bool operator==(const ToolVersions &) const = default;
};

// The check against the reference that came before the timing.
struct Correctness {
    std::string reference;
    int shapes = 0; // that were tried
    double max_relative = 0, max_ulp = 0;
    bool operator==(const Correctness &) const = default;
};

// What the object says without being run, and what an emulator counted.
struct StaticFacts {
    std::optional<std::int64_t> code_bytes;
    std::optional<std::int64_t> multiply_adds, vector_loads_stores, spills; // of the hottest loop
    std::map<std::string, double> modelled_cycles;    // of one call, by processor: "neoverse-n1"
    std::map<std::string, std::int64_t> instructions; // that one call executes, by kind
    bool operator==(const StaticFacts &) const = default;
};

struct TuningRecord {
    std::string layer;           // as print_chain() writes it
    std::string instruction_set; // TargetFacts::instruction_set
    Machine machine;
    ToolVersions tools;
    ScheduleRecord schedule;
    TuningStatus status = TuningStatus::ok;
    std::string detail;    // of a failure: the signal, the first error, the object that it duplicates
    std::string object;    // "sha256:…" of the stripped object; empty if there was none
    bool baseline = false; // the analytic default of these tools
    bool chosen = false;   // what a finished search decided for; the latest one counts
    std::optional<Correctness> correctness;
    std::vector<std::vector<double>> samples_ns;      // of one call, a list for each round
    std::optional<double> estimate_ns;                // median of the rounds' minima; every `ok` has one
    std::optional<std::array<double, 2>> interval_ns; // 99 % confidence
    std::optional<double> load;                       // average of the machine's run queue when it was timed
    StaticFacts facts;                                // every `modelled` has modelled cycles
    std::optional<double> compile_seconds;
    std::optional<std::int64_t> scratch_bytes; // that a call asks its caller for
    std::uint64_t seed = 0;
    std::string date; // "2026-03-01T12:00:00Z"
    bool operator==(const TuningRecord &) const = default;
};

// {"schema":1,…}, keys sorted, absent values left out; and back. Reading refuses missing keys, values of the
// wrong type, numbers that are not finite and other schemas, and ignores keys that it does not know.
// Writing keeps four significant digits of samples, finer than any clock and noise, and six of what is
// derived from them; absolute paths in `detail` are cut down to their last name.
nlohmann::json to_json(const TuningRecord &record);
std::optional<TuningRecord> tuning_record_from_json(const nlohmann::json &json, std::string *error);

// The schema that is written, and the only one that is read.
inline constexpr int tuning_schema = 1;

// Parts of a record, for readers that need no more.
nlohmann::json to_json(const Machine &machine);
std::optional<Machine> machine_from_json(const nlohmann::json &json, std::string *error);
nlohmann::json to_json(const ToolVersions &tools);
std::optional<ToolVersions> tools_from_json(const nlohmann::json &json, std::string *error);
nlohmann::json to_json(const Correctness &correctness);
std::optional<Correctness> correctness_from_json(const nlohmann::json &json, std::string *error);
nlohmann::json to_json(const StaticFacts &facts);
std::optional<StaticFacts> facts_from_json(const nlohmann::json &json, std::string *error);

// What schedules of one layer and target are compared by: the estimate, or where nothing was timed the
// geometric mean of the modelled cycles. Nothing for a record that is no answer to a look-up.
std::optional<double> cost(TuningStatus status, const std::optional<double> &estimate_ns,
                           const StaticFacts &facts);

} // namespace unstride
