// The schedule family of column sums on CPUs.
#pragma once

#include "compiler/lowering/phase_convolution.h"
#include "schedules/phase_vars.h"
#include "schedules/record.h"

#include <Halide.h>

namespace unstride {

struct ColumnSumStages {
    Halide::Func output; // (c, qx, u, qy, v, [qz, w,] n)
    Halide::Func sum;    // the same, before the epilogue
    Halide::Func column; // (l, x, y, [z,] n), zero outside the tensor
    // The same, reduced over ci; across channels over the lanes of lane_product.
    Halide::Func product;
    // (channel, l, x, y, [z,] n), across channels: a lane's sum over the ci-th vectors of channels.
    Halide::Func lane_product;
    Halide::Func held; // (channel, l): the weights of lane_product
    const PhaseVars &vars;
    Halide::Var l, channel;
    Halide::RVar ci, lane;
};

void schedule_cpu_columns(const ColumnSumStages &stages, const PhaseConvolution &layer,
                          const CpuColumns &record);

} // namespace unstride
