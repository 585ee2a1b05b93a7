// The schedule family of minimal filtering on CPUs.
#pragma once

#include "compiler/lowering/minimal_filtering.h"
#include "schedules/phase_vars.h"
#include "schedules/record.h"

#include <Halide.h>

#include <array>
#include <vector>

namespace unstride {

// Vectors of two are x first. t is a tile, p a point, k a place in a tile's window, i an output of a tile.
struct MinimalFilteringStages {
    Halide::Func output;      // (c, qx, u, qy, v, n), one update over tile_outputs and tile
    Halide::Func read_place;  // (t): where a tile's window is
    Halide::Func store_place; // (t): where its outputs are
    Halide::Func inverse;     // (c, ix, py, t, qx, qy): one axis transformed back
    Halide::Func products;    // (c, px, py, t, qx, qy)
    Halide::Func product;     // the same, reduced over ci and the taps of direct axes
    Halide::Func read;        // (c, px, py, t): what a product reads of the transformed input
    Halide::Func transformed; // the same
    Halide::Func half;        // (c, px, ky, t): one axis transformed
    Halide::Func window;      // (c, kx, ky, t): the input with its zeros
    const PhaseVars &vars;
    std::array<Halide::Var, 2> p, k, i;
    Halide::Var t;
    Halide::RVar ci, tile;
    std::vector<Halide::RVar> taps; // of direct axes
    std::array<Halide::RVar, 2> tile_outputs;
};

void schedule_cpu_filtering(const MinimalFilteringStages &stages, const PhaseConvolution &layer,
                            const CpuFiltering &record);

} // namespace unstride
