// The analytic default of minimal filtering on CPUs.
#pragma once

#include "schedules/default_model.h"

#include <string>

namespace unstride {

// Infinite cycles where there is none. The cycles are those of one image, as of the other families.
// Precondition: fixed sizes, and a layer that sums over channels.
Choice<CpuFiltering> best_filtering(const PhaseConvolution &layer, const TargetFacts &target);

// Why there is none.
std::string no_filtering(const PhaseConvolution &layer, const TargetFacts &target);

// The same tile in tasks for that layer, with strips where rows of other calls may be longer, and the cycles
// of one of two threads for all its images, times two.
CpuFiltering with_task(const PhaseConvolution &layer, const TargetFacts &target, CpuFiltering record,
                       bool open_rows);
double modelled_cycles(const PhaseConvolution &layer, const TargetFacts &target, const CpuFiltering &record);

} // namespace unstride
