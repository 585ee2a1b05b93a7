// The stages of a phase convolution as the generator names them, for the schedule families to order.
#pragma once

#include <Halide.h>

namespace unstride {

struct PhaseConvolutionStages {
    Halide::Func output; // (c, qx, u, qy, v, n)
    Halide::Func sum;    // (c, qx, u, qy, v, n), reduced over ci, tx, ty
    Halide::Func padded; // (c, x, y, n)
    Halide::Var c, x, y, n;
    Halide::Var qx, u, qy, v;
    Halide::RVar ci, tx, ty;
};

} // namespace unstride
