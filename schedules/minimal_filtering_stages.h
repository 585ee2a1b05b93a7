// The stages of minimal filtering as the generator names them, for the schedule families to order.
#pragma once

#include "schedules/phase_vars.h"

#include <Halide.h>

#include <array>
#include <optional>
#include <vector>

namespace unstride {

// Vectors of two are x first. Where phases are merged, c counts the channels of all of them and q is 0. `at`
// is a tile, which is its number, or, where tiles stay in rows, its place in a row and a column and its
// image; p is a point, k a place in a tile's window, i an output of a tile.
struct MinimalFilteringStages {
    Halide::Func output;      // (c, qx, u, qy, v, n), one update over outputs_of_tile and tile
    Halide::Func read_place;  // (at): where a tile's window is; numbered tiles only
    Halide::Func store_place; // (at): where its outputs are; likewise
    Halide::Func inverse;     // (c, ix, py, at, qx, qy): one axis transformed back
    Halide::Func products;    // (c, px, py, at, qx, qy); reduced over parts, where there are any
    Halide::Func product;     // the same, and part; reduced over ci and the taps of direct axes
    Halide::Func read;        // (c, px, py, at): what a product reads of the transformed input
    Halide::Func transformed; // the same
    Halide::Func half;        // (c, px, ky, at): one axis transformed
    Halide::Func window;      // (c, kx, ky, at): the input with its zeros
    Halide::Func
        result; // (c, ix, iy, at, qx, qy): both axes transformed back; of rows and merged phases only
    Halide::Func finished; // the same with its epilogue; of merged phases only
    // Tiles in rows only.
    Halide::Func padded; // (c, x, y, n): the input with its zeros
    Halide::Func across; // (c, qx, u, qy, iy, tile of y, n): the same, by its place in a row of outputs
    Halide::Func along;  // the same, with vectors along the row
    const PhaseVars &vars;
    std::array<Halide::Var, 2> p, k, i;
    std::vector<Halide::Var> at;
    std::optional<Halide::Var> part; // a chain of the channels' sum, where there are several
    Halide::RVar ci, parts;
    std::vector<Halide::RVar> tile; // as far as the update is over it; x is pure for tiles in rows
    std::vector<Halide::RVar> taps; // of direct axes
    std::array<Halide::RVar, 2> outputs_of_tile; // likewise
    std::array<Halide::Expr, 2> tiles;           // of a row, of a column
};

} // namespace unstride
