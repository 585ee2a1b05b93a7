// What a database says about a layer before it is tuned.
#pragma once

#include "schedules/database.h"

#include <optional>
#include <string>
#include <vector>

namespace unstride {

// Whose records count: one layer for one instruction set, machine and tool versions.
struct TuningIdentity {
    std::string layer; // print_chain()
    std::string instruction_set;
    Machine machine;
    ToolVersions tools;
    bool modelled = false; // a search that only modelled counts as finished too
};

struct KnownRecords {
    // What the last finished search with any tools on this machine decided for.
    std::optional<ScheduleRecord> incumbent;

    // A search with these tools was finished.
    bool finished = false;

    // Of this identity, in the order they were written, since the last finished search: what an unfinished
    // one has tried. Of several records of a schedule all are here.
    std::vector<TuningRecord> unfinished;

    // What finished searches for other layers decided for, the newest first, no two equal.
    std::vector<ScheduleRecord> of_other_layers;
};

KnownRecords known_records(const Database &database, const TuningIdentity &identity);

} // namespace unstride
