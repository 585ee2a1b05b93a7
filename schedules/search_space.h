// The schedules worth trying for a layer on a target: small enough to enumerate, and free of points that
// arithmetic alone can rule out.
#pragma once

#include "schedules/record.h"
#include "schedules/search_rules.h"

#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

namespace unstride {

// Changes when a parameter of a schedule changes its meaning, so that older records are told apart; not when
// points come or go.
inline constexpr int search_space_version = 1;

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
    // the next lower and the next higher value of each parameter; a filter tile and its chains are one.
    // Ascending; if a leads to b, b leads to a.
    std::vector<std::size_t> neighbours(std::size_t point) const;

private:
    std::vector<ScheduleRecord> points_;
    std::vector<std::vector<std::int64_t>> parameters_; // of each point
};

} // namespace unstride
