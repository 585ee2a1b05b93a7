// Whether schedules of a database are still right, and still the best that is known.
#pragma once

#include "compiler/language/layer.h"
#include "compiler/result.h"
#include "schedules/database.h"
#include "schedules/target_facts.h"
#include "tools/library/installation.h"
#include "tools/measure/runner.h"
#include "tools/measure/statistics.h"

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

namespace unstride {

// Why a schedule is not known to be right.
struct CheckFailure {
    bool wrong = true; // else nothing is known: a limit of time or memory, a tool or a file was in the way
    std::string detail;
};

// Builds a schedule anew for the layer with its sizes open and compares it with the double-precision
// reference on small and odd ones with several images; where the schedule does not do for open sizes, two odd
// ones are built each by itself. Layers of moderate size are also compared on their own. Nothing if it is
// right.
std::optional<CheckFailure> check_on_odd_sizes(const Layer &layer, const Target &target,
                                               const TargetFacts &facts, const ScheduleRecord &schedule,
                                               const Installation &installation, Runner &runner,
                                               std::uint64_t seed = 1);

enum class VerifyEnd {
    ok,
    stale,   // right, but another schedule is faster by now
    wrong,   // the generator refuses it, it crashes, or differs from the reference
    untimed, // right; recorded on another machine, so it is not timed
    unknown, // could not be checked: see CheckFailure
};

const char *to_string(VerifyEnd end);

struct VerifyResult {
    std::string layer, instruction_set;
    std::string place; // "FILE:LINE" of the record
    VerifyEnd end = VerifyEnd::ok;
    std::string detail;
    std::optional<Ratio> ratio; // of the chosen one over the analytic default
};

// The last chosen record of each layer, instruction set and machine.
std::vector<const DatabaseEntry *> chosen_records(const Database &database);

// Checks a chosen record; where it was recorded on `machine`, times it beside the default and the next best
// two of its layer.
VerifyResult verify(const Database &database, const DatabaseEntry &entry, const Layer &layer,
                    const Target &target, const TargetFacts &facts, const Installation &installation,
                    Runner &runner, const Machine &machine, std::uint64_t seed);

} // namespace unstride
