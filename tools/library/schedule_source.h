// Where builds take their schedules from: the records of the installation and those of the user.
#pragma once

#include "compiler/result.h"
#include "schedules/lookup.h"
#include "tools/library/installation.h"

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

namespace unstride {

// What changes the code that this installation makes of a schedule.
ToolVersions tool_versions(const Installation &installation);

class ScheduleSource {
public:
    // `database` is a file or folder of records to use instead of the user's own folder, and must exist
    // unless it is empty.
    static Result<ScheduleSource> open(const Installation &installation,
                                       const std::filesystem::path &database = {});

    // Lines of the databases that were skipped: "FILE:LINE: reason".
    const std::vector<std::string> &problems() const { return database_->problems(); }

    // The schedule for a layer that was lowered to `convolution`. May be called by several threads.
    LookupResult find(const Layer &layer, const PhaseConvolution &convolution, const Target &target,
                      const TargetFacts &facts) const;

private:
    ScheduleSource() = default;

    std::unique_ptr<Database> database_;
    std::unique_ptr<ScheduleLookup> lookup_;
    LookupContext host_;
};

} // namespace unstride
