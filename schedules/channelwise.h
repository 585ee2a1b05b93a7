// The schedule families of layers whose outputs each read one input channel.
#pragma once

#include "compiler/lowering/phase_convolution.h"
#include "schedules/phase_vars.h"
#include "schedules/record.h"

#include <Halide.h>

#include <vector>

namespace unstride {

struct ChannelwiseStages {
    Halide::Func output; // (c, qx, u, qy, v, [qz, w,] n)
    Halide::Func sum;    // undefined, or the same reduced over the taps (learned weights)
    // Undefined, or what a task keeps: (c, x, y, [z,] n) input with its border for learned weights, (c, x,
    // qy, v, [qz, w,] n) input columns already filtered for known ones.
    Halide::Func staged;
    const PhaseVars &vars;
    std::vector<Halide::RVar> taps; // of `sum`, x first
    Halide::RVar interior;          // the columns inside the input, in the first update of staged rows
};

void schedule_cpu_channelwise(const ChannelwiseStages &stages, const PhaseConvolution &layer,
                              const CpuChannelwise &record);
void schedule_gpu_channelwise(const ChannelwiseStages &stages, const GpuChannelwise &record);

} // namespace unstride
