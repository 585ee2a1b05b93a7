// The schedule family of the direct phase convolution on CPUs for tensors whose rows are contiguous.
#pragma once

#include "schedules/phase_convolution_stages.h"
#include "schedules/record.h"

namespace unstride {

void schedule_cpu_planar(const PhaseConvolutionStages &stages, const PhaseConvolution &layer,
                         const CpuPlanar &record);

} // namespace unstride
