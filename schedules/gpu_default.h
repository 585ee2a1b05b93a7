// The analytic defaults on GPUs.
#pragma once

#include "schedules/record.h"

#include <optional>

namespace unstride {

// The family of the layer that is not filtered.
ScheduleRecord gpu_default(const PhaseConvolution &layer, const TargetFacts &target);

// The tile that saves most products of those that stay in registers; none where none saves any.
// Precondition: a layer that sums over channels.
std::optional<GpuFiltering> gpu_filtering_default(const PhaseConvolution &layer, const TargetFacts &target);

} // namespace unstride
