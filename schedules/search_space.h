// The schedules worth trying for a layer on a target: small enough to enumerate, and free of points that
// arithmetic alone can rule out.
#pragma once

#include "schedules/record.h"

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace unstride {

// Changes when a parameter of a schedule changes its meaning, so that older records are told apart; not when
// points come or go.
inline constexpr int search_space_version = 1;

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
//   - GPU blocks: their threads fill no warps or are more than 256, or take so many registers that fewer than
//     256 of them fit on a multiprocessor. (No schedule uses shared memory.)
// Dynamic sizes count as large enough not to waste anything.
std::optional<std::string> unworthy(const PhaseConvolution &layer, const TargetFacts &target,
                                    const ScheduleRecord &record, int threads = planned_threads);

// All points for a layer, in an order that depends on nothing but the arguments.
class SearchSpace {
public:
    SearchSpace(const PhaseConvolution &layer, const TargetFacts &target, int threads = planned_threads);

    // No two are equal, none violates violated_constraint(). The first is the analytic default, the others
    // are not unworthy().
    const std::vector<ScheduleRecord> &points() const { return points_; }

    // The place of a record in points().
    std::optional<std::size_t> find(const ScheduleRecord &record) const;

    // Places of the points that a local move leads to: of those which differ from it in one parameter only,
    // the next lower and the next higher value of each parameter. Ascending; if a leads to b, b leads to a.
    std::vector<std::size_t> neighbours(std::size_t point) const;

private:
    std::vector<ScheduleRecord> points_;
    std::vector<std::vector<std::int64_t>> parameters_; // of each point: its family, then its fields in order
};

} // namespace unstride
