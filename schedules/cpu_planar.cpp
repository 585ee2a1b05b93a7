// Register tiles of outputs of a row by output channels, for channels-first tensors.
//
// A step of the innermost loop multiplies `vectors` vectors of neighbouring inputs of one channel with
// `channels` weights, each broadcast from memory. The phases of x are computed one after the other into the
// same tile and leave it together: where their vectors interleave, the stores are dense. No tensor is
// transposed, in memory or in registers.
#include "schedules/cpu_planar.h"

#include "schedules/cpu_tasks.h"

namespace unstride {

using namespace Halide;

void schedule_cpu_planar(const PhaseConvolutionStages &stages, const PhaseConvolution &layer,
                         const CpuPlanar &record) {
    Func output = stages.output, sum = stages.sum, padded = stages.padded;
    Halide::Stage stores = stages.stores;
    const PhaseVars &vars = stages.vars;
    const Var c = vars.c, n = vars.n, u = vars.u[0], v = vars.u[1], qx = vars.q[0];
    const TailStrategy guard = TailStrategy::GuardWithIf;
    const int width = record.lanes * record.vectors;
    const int x_phases = static_cast<int>(layer.x().phase_count());

    Var in_block("in_block"), block_index("block_index"), tile_u("tile_u"), in_u("in_u"), tile_v("tile_v"),
        in_v("in_v"), vector("vector");
    Var strip("strip"), row_group("row_group");
    stores.split(c, block_index, in_block, record.channels, guard)
        .split(u, tile_u, in_u, width, guard)
        .split(in_u, vector, in_u, record.lanes)
        .split(v, tile_v, in_v, record.tile_y, guard)
        .split(tile_v, row_group, tile_v, record.rows, guard);
    std::vector<VarOrRVar> order = {in_u, qx, vector, in_block, in_v, tile_u, tile_v, block_index};
    std::vector<Var> tasks;
    if (record.strip > 0) {
        stores.split(tile_u, strip, tile_u, record.strip, guard);
        tasks.push_back(strip);
    }
    tasks.push_back(row_group);
    order.insert(order.end(), vars.q.begin() + 1, vars.q.end());
    tasks.insert(tasks.end(), vars.u.begin() + 2, vars.u.end());
    tasks.push_back(n);
    order.insert(order.end(), tasks.begin(), tasks.end());
    stores.reorder(order);
    const Var fused = fuse_tasks(stores, tasks);
    stores.vectorize(in_u).unroll(vector).unroll(in_block).unroll(in_v);
    stores.specialize(output.output_buffer().dim(1).extent() == x_phases).unroll(qx);

    sum.compute_at(output, tile_u)
        .bound_extent(c, record.channels)
        .align_bounds(c, record.channels)
        .bound_extent(u, width)
        .bound_extent(v, record.tile_y)
        .bound_extent(qx, x_phases)
        .vectorize(u, record.lanes)
        .unroll(u)
        .unroll(c)
        .unroll(v)
        .unroll(qx);
    std::vector<Var> storage = {u, c, v, qx};
    for (std::size_t axis = 1; axis < vars.q.size(); axis++) {
        sum.bound_extent(vars.q[axis], 1);
        storage.push_back(vars.q[axis]);
    }
    storage.insert(storage.end(), vars.u.begin() + 2, vars.u.end());
    storage.push_back(n);
    sum.reorder_storage(storage);
    std::vector<VarOrRVar> loops = {u, c, v, stages.ci};
    loops.insert(loops.end(), stages.taps.begin(), stages.taps.end());
    loops.push_back(qx);
    sum.update().reorder(loops).vectorize(u, record.lanes).unroll(u).unroll(c).unroll(v).unroll(qx);
    if (record.unroll > 1) sum.update().unroll(stages.ci, record.unroll);

    std::vector<Var> rows = {vars.x[0], c};
    rows.insert(rows.end(), vars.x.begin() + 1, vars.x.end());
    rows.push_back(n);
    padded.compute_at(output, fused)
        .reorder_storage(rows)
        .reorder(std::vector<VarOrRVar>(rows.begin(), rows.end()))
        .vectorize(vars.x[0], record.lanes, TailStrategy::RoundUp);
}

} // namespace unstride
