// The stages of a phase convolution as the generator names them, for the schedule families to order.
#pragma once

#include "schedules/phase_vars.h"

#include <Halide.h>

#include <vector>

namespace unstride {

struct PhaseConvolutionStages {
    Halide::Func output;  // (c, qx, u, qy, v, [qz, w,] n)
    Halide::Stage stores; // of the output
    Halide::Func sum;     // the same, reduced over ci and the taps
    Halide::Func read;    // (c, u, qx, tap x, v, qy, tap y, [w, qz, tap z,] n): what a tap of an output reads
    Halide::Func padded;  // (c, x, y, [z,] n)
    const PhaseVars &vars;
    Halide::RVar ci;
    std::vector<Halide::RVar> taps; // x first
};

} // namespace unstride
