// Which schedules of a layer arithmetic alone can rule out.
#pragma once

#include "schedules/record.h"

#include <cstdint>
#include <optional>
#include <string>

namespace unstride {

// What a machine of unknown size counts as.
inline constexpr int planned_threads = 2;

// Why a record is not worth trying, or nothing:
//   - constraints: it violates violated_constraint();
//   - waste: its tiles overhang the rows, columns and channels of the layer so far that less than 0.7 of the
//     work is kept (on GPUs 0.5), although narrower ones keep more; or wider vectors would do as well;
//   - multipliers: its register tile has too few accumulators to keep two multiply-adds a cycle going, or
//     loads too often for each of them; or it fills the registers so far that generated code was seen to
//     spill;
//   - caches: a task of more than one tile stages more than 3/4 of the L2 cache, or walks over a panel of
//     weights of more than 1/2 of it although a narrower block would do;
//   - code: the innermost loops take more than half of an instruction cache of 32 KiB, or their unrolling
//     does not divide the channels;
//   - threads: its tasks leave `threads` threads idle for more than 0.15 of the time, and smaller tasks would
//     not; splitting blocks of channels among tasks adds nothing;
//   - GPU blocks: those of layers that sum over channels fill no warps, are more than 256 threads, or take so
//     many registers that fewer than 256 of them fit on a multiprocessor. (No schedule uses shared memory.)
// Dynamic sizes count as large enough not to waste anything.
std::optional<std::string> unworthy(const PhaseConvolution &layer, const TargetFacts &target,
                                    const ScheduleRecord &record, int threads = planned_threads);

// The largest register tiles that are tried.
inline constexpr int most_tile_x = 12, most_tile_y = 4, most_vectors = 4;

// Outputs of one phase along an axis; nothing if known only at run time.
std::optional<std::int64_t> outputs(const PhaseAxis &axis);

// Tiles that an axis can fill, of at most `limit`.
std::int64_t useful(std::optional<std::int64_t> extent, std::int64_t limit);

// Tasks of one call; nothing where that is known only at run time.
std::optional<std::int64_t> task_count(const PhaseConvolution &layer, const TaskShape &task,
                                       std::int64_t blocks);

// The rule on what a task stages.
std::optional<std::string> large_task(const PhaseConvolution &layer, const TargetFacts &target,
                                      const ScheduleRecord &record);

} // namespace unstride
