// Builds schedules of layers and measures them side by side: the rows of a result file.
#pragma once

#include "tools/compare/results.h"
#include "tools/measure/candidate.h"
#include "tools/measure/session.h"

#include <string>
#include <vector>

namespace unstride {

struct LiveRequest {
    std::vector<Layer> layers;
    const Target *target = nullptr;
    std::vector<std::string> instruction_sets; // of the target, at least one
    std::vector<std::string> schedules;        // see schedule_names(); at least one, none twice
    std::string runner = "local";
    std::filesystem::path database; // of records to look up before the shipped ones; empty: the user's own
    int threads = 0;                // 0: all processors
    TimingProtocol protocol;
    CandidateLimits limits;
    bool loops = false;  // also the loop nest of every schedule
    std::string command; // that the result is to name
    bool quiet = false;  // no progress
};

// "tuned, default, FILE.jsonl:LINE"
std::string schedule_names();

// Whether a text names a schedule to compare. Does not look whether a record is there.
bool names_schedule(const std::string &text);

// What the rows of a schedule are called: "tuned", "record FILE.jsonl:LINE" without the folders.
std::string contender_name(const std::string &schedule);

// Every layer, instruction set and schedule has its row; what could not be built, checked or timed says why.
// The first schedule is timed as two to find the noise floor. An error means that nothing could be measured.
Result<Results> measure_schedules(const LiveRequest &request);

} // namespace unstride
