// The one file format for everything that is compared: what ran each layer, how long it took, and all that is
// needed to trust and repeat that.
//
// A file is a JSON object, {"schema":1,"sources":[…],"rows":[…],"searches":[…]}. A source is one run of a
// measuring program on one machine; a row is one layer computed by one contender, which is a schedule of this
// compiler or another framework; a search is the log of tuning one layer. Absent values are left out; keys
// that a reader does not know are ignored, so a file may carry more.
#pragma once

#include "compiler/result.h"
#include "schedules/tuning_record.h"

#include <nlohmann/json_fwd.hpp>

#include <array>
#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace unstride {

inline constexpr int results_schema = 1;

// How times were taken.
struct Protocol {
    int rounds = 0, samples_per_round = 0;
    double sample_seconds = 0; // that the calls of one sample take at least
    bool interleaved = false;  // every round runs all contenders of a layer, so rounds are pairs
    bool cold = false;         // caches are emptied between calls
    std::uint64_t seed = 0;    // of the data and of the order within a round
    bool operator==(const Protocol &) const = default;
};

// Float32 operations a second (a multiply-add is two) that were measured in registers.
struct MeasuredPeak {
    std::string instruction_set;
    int threads = 1;
    double flops = 0;
    bool operator==(const MeasuredPeak &) const = default;
};

// Bytes a second that were measured on data of one level.
struct MeasuredBandwidth {
    std::string level; // "L1", "L2", "memory"
    int threads = 1;
    double bytes_per_second = 0;
    bool operator==(const MeasuredBandwidth &) const = default;
};

// One run of a measuring program.
struct ResultSource {
    std::string name; // unique in a file
    Machine machine;
    ToolVersions tools;
    std::string commit, date, command; // empty where unknown
    std::string governor;              // of the processor's clock; empty where the system does not tell
    std::optional<bool> turbo, virtualised;
    std::optional<double> load;        // average of the run queue when it began
    std::optional<double> noise_floor; // |ratio - 1| of a kernel compared with itself
    std::string unsteady;              // why the machine was not steady; empty if it was
    Protocol protocol;
    std::vector<MeasuredPeak> peaks;
    std::vector<MeasuredBandwidth> bandwidths;
    bool operator==(const ResultSource &) const = default;
};

// What computed a layer.
struct Contender {
    std::string name; // "tuned", "default", "record avx2.jsonl:3", "adams2019", "onnxruntime"
    std::string version, implementation; // of another framework, and which of its kernels ran
    std::optional<ScheduleRecord> schedule;
    std::string grade, record; // of a schedule that was looked up: "near shape", "FILE:LINE"
    std::string loops;         // the loop nest as the compiler prints it, or a part of it
    bool operator==(const Contender &) const = default;
};

// The innermost loop with most multiply-adds.
struct HotLoop {
    std::string assembly;                       // a line an instruction
    std::map<std::string, std::int64_t> counts; // "multiply_adds", "vector_loads", "spills", "registers", …
    std::map<std::string, double> modelled_cycles; // of one iteration, by processor
    std::string bottleneck;                        // what the model waits for
    bool operator==(const HotLoop &) const = default;
};

struct ResultRow {
    std::size_t source = 0;                // place in `sources`
    std::string layer;                     // its name
    std::string text;                      // print_chain() of it
    std::vector<std::int64_t> input_shape; // that ran, in the layout's order
    std::string instruction_set; // TargetFacts::instruction_set; of the machine for other frameworks
    int threads = 1;
    Contender contender;
    TuningStatus status = TuningStatus::ok;
    std::string detail;                               // of a failure
    std::string reproduce;                            // command line that measures this row again
    std::vector<std::vector<double>> samples_ns;      // of one call, a list for each round
    std::optional<double> estimate_ns;                // every `ok` has one
    std::optional<std::array<double, 2>> interval_ns; // 99 % confidence
    std::optional<double> multiplications;            // of one call; two operations each
    std::optional<double> compulsory_bytes;           // tensors and weights, each once
    std::optional<double> moved_bytes;                // between processor and memory, where a counter told
    std::optional<Correctness> correctness;
    std::optional<bool> bit_exact; // equal to the default schedule in every bit
    StaticFacts facts;
    std::optional<HotLoop> hot_loop;
    std::optional<double> compile_seconds;
    std::optional<std::int64_t> scratch_bytes; // that a call asks its caller for
    std::optional<std::size_t> search;         // place in `searches`
    bool operator==(const ResultRow &) const = default;
};

// One candidate that a search tried, in the order of the log.
struct Trial {
    TuningStatus status = TuningStatus::ok;
    std::string detail;
    std::optional<double> estimate_ns;
    std::optional<ScheduleRecord> schedule;
    std::string date; // "2026-03-01T12:00:00Z"
    bool operator==(const Trial &) const = default;
};

struct SearchLog {
    std::string layer, instruction_set; // canonical text
    std::string log;                    // the file's name
    // Points of the search space as this version enumerates it, and how many of them the trials cover.
    std::optional<std::int64_t> space, space_tried;
    std::vector<Trial> trials;
    bool operator==(const SearchLog &) const = default;
};

struct Results {
    std::vector<ResultSource> sources;
    std::vector<ResultRow> rows;
    std::vector<SearchLog> searches;
    bool operator==(const Results &) const = default;
};

nlohmann::json to_json(const Results &results);

// Reads the text of a file. An error begins with `name` and the line and column of what is no JSON, or the
// path of a value that does not fit: "a.json: /rows/3/status: 'fine' is no status".
Result<Results> results_from_text(std::string_view text, const std::string &name);

Result<Results> read_results(const std::filesystem::path &path);

// Appends the sources, rows and searches of `more`. A source whose name is taken gets a number behind it.
void merge(Results *results, Results more);

} // namespace unstride
