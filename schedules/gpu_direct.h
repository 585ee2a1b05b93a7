// The schedule family of the direct phase convolution on GPUs, portable between CUDA and OpenCL.
#pragma once

#include "schedules/phase_convolution_stages.h"
#include "schedules/record.h"

namespace unstride {

void schedule_gpu_direct(const PhaseConvolutionStages &stages, const GpuDirect &record);

} // namespace unstride
