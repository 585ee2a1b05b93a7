// The schedule family of the direct phase convolution on CPUs.
#pragma once

#include "schedules/phase_convolution_stages.h"
#include "schedules/record.h"

namespace unstride {

void schedule_cpu_direct(const PhaseConvolutionStages &stages, const PhaseConvolution &layer,
                         const CpuDirect &record);

} // namespace unstride
