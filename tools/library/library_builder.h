// From layers to a library on disk: schedules chosen, kernels compiled in parallel, one archive, header and
// manifest.
#pragma once

#include "compiler/language/layer.h"
#include "compiler/result.h"
#include "schedules/lookup.h"
#include "schedules/target_facts.h"
#include "tools/known_weights.h"

#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace unstride {

class ScheduleSource;

struct BuildRequest {
    std::vector<Layer> layers;
    std::vector<KnownWeights> weights; // that the library is to hold, one for each layer; or empty
    std::string name;                  // of the library: prefixes every symbol
    std::vector<const Target *> targets;
    std::filesystem::path folder; // FOLDER/TARGET/libNAME.a, NAME.h and manifest.json are written
    const ScheduleSource *schedules = nullptr;               // null: analytic defaults
    LookupGrade worst_grade = LookupGrade::analytic_default; // that is good enough
    std::optional<std::int64_t> most_weight_bytes;           // packed, of one layer for one instruction set
    int jobs = 0;       // kernels compiled at once; 0: one for each processor
    bool quiet = false; // no progress
};

// How the schedule of one kernel was found.
struct FoundSchedule {
    std::string layer, instruction_set, grade;
    std::string source; // "FILE:LINE" of its record; empty for defaults
    std::string remark; // why it is not the best schedule known; empty: it is
    std::int64_t packed_weight_bytes = 0;
    std::int64_t extra_weight_bytes = 0; // of these, what they are more than in the layer's own products
};

struct BuiltLibrary {
    const Target *target = nullptr;
    std::filesystem::path archive, header, manifest;
    std::uintmax_t archive_bytes = 0;
    std::size_t kernels = 0, kernels_from_cache = 0;
    std::vector<FoundSchedule> schedules;      // of every kernel, in the order of the layers
    std::map<std::string, std::size_t> grades; // how schedules were found, and for how many kernels
};

struct BuildOutcome {
    std::vector<BuiltLibrary> libraries; // in the request's order; empty if anything failed
    std::vector<std::string> errors;     // each names its layer, or the target and step
    bool ok() const { return errors.empty(); }
};

// All or nothing: on an error no file of this name is left in any of the request's folders, an older one
// neither.
BuildOutcome build_libraries(const BuildRequest &request);

// Takes away what an earlier build of that name left, so that a failure cannot be mistaken for a success.
void remove_outputs(const std::filesystem::path &folder, const std::string &name,
                    const std::vector<const Target *> &targets);

} // namespace unstride
