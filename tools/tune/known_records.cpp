// One pass over the entries; only records of unfinished searches are read as a whole.
#include "tools/tune/known_records.h"

#include <algorithm>

namespace unstride {

KnownRecords known_records(const Database &database, const TuningIdentity &identity) {
    KnownRecords known;
    std::vector<const DatabaseEntry *> since;
    for (const DatabaseEntry &entry : database.entries()) {
        if (database.instruction_set(entry) != identity.instruction_set ||
            database.machine(entry) != identity.machine)
            continue;
        const ScheduleRecord &schedule = database.schedule(entry);
        if (database.layer_text(entry) != identity.layer) {
            if (entry.chosen) known.of_other_layers.push_back(schedule);
            continue;
        }
        const bool same_tools = database.tools(entry) == identity.tools;
        if (entry.chosen) known.incumbent = schedule;
        if (!same_tools) continue;
        if (entry.chosen && (identity.modelled || entry.status == TuningStatus::ok)) {
            known.finished = true;
            since.clear();
        } else {
            since.push_back(&entry);
        }
    }
    std::string error; // of lines that were read once already
    for (const DatabaseEntry *entry : since) {
        if (auto record = database.read(*entry, &error)) known.unfinished.push_back(std::move(*record));
    }
    std::vector<ScheduleRecord> newest;
    for (auto other = known.of_other_layers.rbegin(); other != known.of_other_layers.rend(); ++other) {
        if (std::find(newest.begin(), newest.end(), *other) == newest.end()) newest.push_back(*other);
    }
    known.of_other_layers = std::move(newest);
    return known;
}

} // namespace unstride
