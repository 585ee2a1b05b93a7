// The schedule family of column sums on CPUs.
#pragma once

#include "compiler/lowering/phase_convolution.h"
#include "schedules/phase_vars.h"
#include "schedules/record.h"

#include <Halide.h>

namespace unstride {

struct ColumnSumStages {
    Halide::Func output;  // (c, qx, u, qy, v, [qz, w,] n)
    Halide::Func sum;     // the same, before the epilogue
    Halide::Func column;  // (l, x, y, [z,] n), zero outside the tensor
    Halide::Func product; // the same, reduced over ci
    const PhaseVars &vars;
    Halide::Var l;
    Halide::RVar ci;
};

void schedule_cpu_columns(const ColumnSumStages &stages, const PhaseConvolution &layer,
                          const CpuColumns &record);

} // namespace unstride
