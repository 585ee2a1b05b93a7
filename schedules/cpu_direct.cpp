// Register tiles of output channels by outputs of one phase, over an input staged with its zeros.
//
// The register budget: a step of the innermost loop multiplies `vectors` vectors of weights with tile_x *
// tile_y input values, each broadcast from memory, into vectors * tile_x * tile_y accumulators. Accumulators,
// weights and one broadcast must fit the register file (24 + 4 + 1 of 32 with AVX-512, 12 + 2 + 1 of 16 with
// AVX2). Loads a step are vectors + tile_x * tile_y for vectors * tile_x * tile_y multiply-adds, which a
// square-ish tile makes least. Two-dimensional pixel tiles win over long rows because they waste less at the
// ends of short rows. Where the multiply-add takes one operand from a lane (AArch64), stage_lanes channels of
// every pixel are loaded at once instead of broadcast: of tiles of 4 vectors by 5 pixels, unrolled by 8
// channels, 160 of 191 instructions of the loop then multiply (256 to 64 channels, kernel 4, stride 2).
#include "schedules/cpu_direct.h"

#include "schedules/cpu_tasks.h"

#include <algorithm>

namespace unstride {

using namespace Halide;

void schedule_cpu_direct(const PhaseConvolutionStages &stages, const PhaseConvolution &layer,
                         const CpuDirect &record) {
    Func output = stages.output, sum = stages.sum, padded = stages.padded;
    Halide::Stage stores = stages.stores;
    const PhaseVars &vars = stages.vars;
    const Var c = vars.c, n = vars.n, u = vars.u[0], v = vars.u[1];
    const int block = record.lanes * record.vectors;
    const TailStrategy guard = TailStrategy::GuardWithIf;

    // A task is `rows` tiles high and `strip` tiles wide. The phases walk over the staged input outermost, so
    // that the weights of one phase and block stay in cache for all tiles of the task.
    Var lane("lane"), block_index("block_index"), tile_u("tile_u"), in_u("in_u"), tile_v("tile_v"),
        in_v("in_v");
    Var strip("strip"), row_group("row_group");
    stores.split(c, block_index, lane, block, guard)
        .split(u, tile_u, in_u, record.tile_x, guard)
        .split(v, tile_v, in_v, record.tile_y, guard)
        .split(tile_v, row_group, tile_v, record.rows, guard);
    std::vector<VarOrRVar> order = {lane, in_u, in_v, tile_u, tile_v};
    std::vector<Var> tasks;
    if (record.strip > 0) {
        stores.split(tile_u, strip, tile_u, record.strip, guard);
        tasks.push_back(strip);
    }
    tasks.push_back(row_group);
    if (!record.split_blocks) order.push_back(block_index);
    order.insert(order.end(), vars.q.begin(), vars.q.end());
    if (record.split_blocks) tasks.push_back(block_index);
    tasks.insert(tasks.end(), vars.u.begin() + 2, vars.u.end()); // planes of a volume
    tasks.push_back(n);
    order.insert(order.end(), tasks.begin(), tasks.end());
    stores.reorder(order);
    const Var fused = fuse_tasks(stores, tasks);
    stores.vectorize(lane, record.lanes).unroll(lane).unroll(in_u).unroll(in_v);

    sum.compute_at(output, tile_u)
        .bound_extent(c, block)
        .align_bounds(c, block)
        .bound_extent(u, record.tile_x)
        .bound_extent(v, record.tile_y)
        .vectorize(c, record.lanes)
        .unroll(c)
        .unroll(u)
        .unroll(v);
    // The tile's own dimensions innermost: their extents are constants, so every accumulator has a constant
    // place and becomes a register. Of the others bounds inference does not always see that the extent is 1.
    std::vector<Var> storage = {c, u, v};
    for (const Var &q : vars.q) {
        sum.bound_extent(q, 1);
        storage.push_back(q);
    }
    storage.insert(storage.end(), vars.u.begin() + 2, vars.u.end());
    storage.push_back(n);
    sum.reorder_storage(storage);
    std::vector<VarOrRVar> loops = {c, u, v, stages.ci};
    loops.insert(loops.end(), stages.taps.begin(), stages.taps.end());
    sum.update().reorder(loops).vectorize(c, record.lanes).unroll(c).unroll(u).unroll(v);
    if (skips_padding(layer, record, 0)) {
        stores.unroll(vars.q[0]);
        sum.update().unroll(stages.taps[0]);
    }
    if (record.stage_lanes > 1) {
        // One load brings stage_lanes input channels of a pixel into a register, and multiply-adds take them
        // lane by lane.
        RVar ci_outer("ci_outer"), ci_group("ci_group"), ci_lane("ci_lane");
        sum.update()
            .split(stages.ci, ci_outer, ci_lane, record.unroll)
            .split(ci_lane, ci_group, ci_lane, record.stage_lanes)
            .reorder(c, u, v, ci_lane, ci_group, ci_outer)
            .unroll(ci_lane)
            .unroll(ci_group);
        Func read = stages.read;
        read.compute_at(sum, ci_group)
            .bound_extent(c, record.stage_lanes)
            .bound_extent(u, record.tile_x)
            .bound_extent(v, record.tile_y)
            .vectorize(c)
            .unroll(u)
            .unroll(v);
        std::vector<Var> kept = {c, u, v};
        for (const Var &var : read.args()) {
            const bool tiled = std::any_of(kept.begin(), kept.begin() + 3,
                                           [&](const Var &tile) { return tile.name() == var.name(); });
            if (tiled) continue;
            read.bound_extent(var, 1);
            kept.push_back(var);
        }
        read.reorder_storage(kept);
    } else if (record.unroll > 1) {
        sum.update().unroll(stages.ci, record.unroll);
    }

    // Staging reads whole vectors of channels; the last one of an odd count is shifted inwards, so that
    // nothing outside the tensor is read.
    const std::int64_t channels = layer.kernel_input_channels();
    int lanes = record.lanes;
    while (lanes > channels)
        lanes /= 2;
    padded.compute_at(output, fused).vectorize(c, lanes, TailStrategy::ShiftInwards);
}

} // namespace unstride
