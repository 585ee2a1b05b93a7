// The schedule family of minimal filtering on CPUs.
#pragma once

#include "compiler/lowering/phase_convolution.h"
#include "schedules/minimal_filtering_stages.h"
#include "schedules/record.h"

namespace unstride {

void schedule_cpu_filtering(const MinimalFilteringStages &stages, const PhaseConvolution &layer,
                            const CpuFiltering &record);

} // namespace unstride
