// Databases without what they say twice, and if wanted without candidates that nobody asks for.
#pragma once

#include "compiler/result.h"

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <optional>

namespace unstride {

struct CompactSettings {
    // Of each layer, instruction set, machine and tools: the last chosen record, the analytic default and so
    // many of the fastest other schedules stay, each schedule once. Nothing: all stay.
    std::optional<std::size_t> best;
};

struct CompactResult {
    std::size_t records = 0, kept = 0;
    std::uintmax_t bytes = 0, kept_bytes = 0;
};

// Writes a .jsonl file anew. Records that were carried to other tools go where those hold all that theirs
// did; figures get the digits of to_json(). Lines that are no records stay as they are. The file is replaced
// as a whole, and no record is lost that another process adds meanwhile.
Result<CompactResult> compact(const std::filesystem::path &file, const CompactSettings &settings = {});

} // namespace unstride
