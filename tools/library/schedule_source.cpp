// Look-up in the shipped database and the user's.
#include "tools/library/schedule_source.h"

#include "compiler/language/printer.h"
#include "schedules/search_space.h"
#include "tools/library/host_machine.h"

#include <fmt/format.h>

namespace unstride {

namespace fs = std::filesystem;

ToolVersions tool_versions(const Installation &installation) {
    return {installation.compiler_version, installation.halide_version, installation.generator_sources,
            search_space_version};
}

Result<ScheduleSource> ScheduleSource::open(const Installation &installation, const fs::path &database) {
    std::error_code error;
    if (!database.empty() && !fs::exists(database, error))
        return Error{
            fmt::format("{}: there is no such database; name a folder or a .jsonl file", database.string())};
    ScheduleSource source;
    source.database_ = std::make_unique<Database>();
    source.database_->add(installation.schedules, RecordOrigin::shipped);
    source.database_->add(database.empty() ? user_database_folder() : database, RecordOrigin::user);
    source.lookup_ = std::make_unique<ScheduleLookup>(*source.database_);
    source.host_ = {host_machine(), tool_versions(installation)};
    return source;
}

LookupResult ScheduleSource::find(const Layer &layer, const PhaseConvolution &convolution,
                                  const Target &target, const TargetFacts &facts) const {
    LookupContext context = host_;
    if (target.name != host_target().name) context.machine = {};
    return lookup_->find(print_chain(layer), convolution, facts, context);
}

} // namespace unstride
