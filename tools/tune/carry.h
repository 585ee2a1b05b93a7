// Records of other tools as records of these, where the code is the same: a change to the generators leaves
// the code of most kernels as it was, and what was measured of it stays true.
#pragma once

#include "schedules/database.h"
#include "tools/library/installation.h"

#include <atomic>
#include <cstddef>
#include <functional>
#include <string>
#include <vector>

namespace unstride {

enum class CarryEnd {
    carried,   // the same code: a record with these tools is added
    changed,   // other code: to be tuned again
    unknown,   // the record does not say what code it was about
    unbuilt,   // cannot be built: the schedule does not fit any more, or something is missing here
    unwritten, // the record could not be added
};

const char *to_string(CarryEnd end);

struct CarryResult {
    std::string layer, instruction_set; // the layer's text
    Machine machine;
    std::string place;     // "FILE:LINE" of the record
    bool baseline = false; // it is there as the analytic default, not as what is chosen
    CarryEnd end = CarryEnd::unbuilt;
    std::string detail;
};

// The last chosen record of a layer, instruction set and machine, and the analytic default that was measured
// with it; null where these tools have one already, or none is to be carried.
struct CarrySubject {
    const DatabaseEntry *chosen = nullptr, *baseline = nullptr;
};

// What is to be carried. A default is left out where it is the chosen one too, or is the default no more.
std::vector<CarrySubject> carry_subjects(const Database &database, const ToolVersions &tools);

struct CarrySettings {
    int jobs = 0;                                       // compiled at once; 0: one for each processor
    const std::atomic<bool> *interrupted = nullptr;     // set: begin no more
    std::function<void(const CarryResult &)> on_result; // as soon as there is one, by one thread at a time
};

// Builds the code of every subject and adds the records of those that are the same to the files that hold the
// old ones; nothing is timed. A record is the old one but for its tools. The default's comes before the
// chosen one's, so that what was interrupted is finished by the next call. In the order of the subjects;
// those that were not begun are left out.
std::vector<CarryResult> carry(const Database &database, const std::vector<CarrySubject> &subjects,
                               const Installation &installation, const CarrySettings &settings = {});

} // namespace unstride
