// What the analytic defaults count and compare: the work of a layer whose sizes may be known at run time
// only, and the cycles that a loop takes for it.
#pragma once

#include "schedules/record.h"

#include <cstdint>
#include <limits>

namespace unstride {

// A schedule with the cycles that the model gives one image on one thread.
struct ModelledSchedule {
    ScheduleRecord schedule;
    double cycles = 0;
};

// The cheapest of the records that are offered.
template<typename Record>
struct Choice {
    Record record;
    double cycles = std::numeric_limits<double>::infinity();

    // Ties stay with the one found first.
    void offer(const Record &other, double cost) {
        if (cost >= cycles * 0.999) return;
        record = other;
        cycles = cost;
    }
};

inline std::int64_t divide_up(std::int64_t a, std::int64_t b) {
    return (a + b - 1) / b;
}

// At least 1; where the size is dynamic, of a small one.
std::int64_t planned_outputs(const PhaseAxis &axis);

std::int64_t planned_batch(const PhaseConvolution &layer); // 1 where it is dynamic
std::int64_t planes(const PhaseConvolution &layer);        // of a volume; 1 for images
std::int64_t phase_count(const PhaseConvolution &layer);   // of all axes
double taps_of_all_phases(const PhaseConvolution &layer);
double multiplications_per_image(const PhaseConvolution &layer);

bool has_dynamic_size(const PhaseConvolution &layer);
// The same layer for one image of that size, where sizes are dynamic.
PhaseConvolution with_sizes(PhaseConvolution layer, std::int64_t size);

// Cycles of a step that multiplies each of `vectors` loaded vectors with each of `broadcasts` numbers.
double step_cycles(const TargetFacts &target, double vectors, double broadcasts);
// A step that multiplies by lane.
double lane_step_cycles(double vectors, double pixels, int stage_lanes);
// Entering and leaving a register tile: the bias, addresses, results.
double tile_overhead(double accumulators);

} // namespace unstride
