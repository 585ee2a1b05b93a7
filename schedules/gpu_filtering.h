// The schedule family of minimal filtering on GPUs, portable between CUDA and OpenCL.
#pragma once

#include "schedules/minimal_filtering_stages.h"
#include "schedules/record.h"

namespace unstride {

void schedule_gpu_filtering(const MinimalFilteringStages &stages, const GpuFiltering &record);

} // namespace unstride
