// Tuning records as results: of each layer, what its search decided for, the analytic default, and the log of
// the search.
#pragma once

#include "tools/compare/results.h"

#include <filesystem>
#include <string>
#include <vector>

namespace unstride {

// A folder or a .jsonl file of records. Each machine in it is a source. Of a layer, instruction set and
// machine, the records by the latest tool versions count: the contender "best" is what was chosen last, else
// the cheapest; "default" is the analytic default. Their times come from different processes, so they are no
// pairs. Lines that were skipped are added to `problems`. An error where nothing is there.
Result<Results> read_database_results(const std::filesystem::path &path, std::vector<std::string> *problems);

// The search that a database recorded for a layer, an instruction set and a machine; without trials if none.
SearchLog search_log_of(const std::filesystem::path &database, const std::string &layer_text,
                        const std::string &instruction_set, const Machine &machine);

} // namespace unstride
