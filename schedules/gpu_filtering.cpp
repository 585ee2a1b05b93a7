// One thread computes thread_channels channels of one tile: it reads the tile's window of an input channel,
// transforms it and multiplies every point into a sum of its own, all in registers, so that neither memory
// nor a barrier lies between the stages. Threads of other channels transform the same window again: that is
// 32 additions of F(3, 2) beside 16 multiply-adds a channel, of windows that come from cache. Checked for
// results and spills; never timed on a GPU.
#include "schedules/gpu_filtering.h"

namespace unstride {

using namespace Halide;

void schedule_gpu_filtering(const MinimalFilteringStages &stages, const GpuFiltering &record) {
    Func output = stages.output, product = stages.product;
    const PhaseVars &vars = stages.vars;
    const Var c = vars.c, t = stages.at[0];
    const TailStrategy guard = TailStrategy::GuardWithIf;

    // A launch for each phase, as of the direct form. Outputs of different tiles are different, which Halide
    // does not see; hence the word of races.
    Var c_block("c_block"), c_thread("c_thread"), c_in("c_in");
    RVar t_block("t_block"), t_thread("t_thread");
    const RVar x = stages.outputs_of_tile[0], y = stages.outputs_of_tile[1];
    output.update()
        .allow_race_conditions()
        .split(c, c_block, c_thread, record.block_channels, guard)
        .split(c_thread, c_thread, c_in, record.thread_channels, guard)
        .split(stages.tile[0], t_block, t_thread, record.block_tiles, guard)
        .reorder({c_in, x, y, c_thread, t_thread, t_block, c_block, vars.q[0], vars.q[1]})
        .unroll(c_in)
        .unroll(x)
        .unroll(y)
        .gpu_threads(c_thread, t_thread)
        .gpu_blocks(t_block, c_block); // of large images more than the 65535 that CUDA has along y

    const std::vector<Var> phases = {vars.q[0], vars.q[1]};
    product.compute_at(output, c_thread)
        .bound_extent(c, record.thread_channels)
        .align_bounds(c, record.thread_channels)
        .bound_extent(t, 1)
        .reorder_storage(c, stages.p[0], stages.p[1], t, vars.q[0], vars.q[1])
        .unroll(c)
        .unroll(stages.p[0])
        .unroll(stages.p[1]);
    for (const Var &one : phases)
        product.bound_extent(one, 1);
    std::vector<VarOrRVar> loops = {c, stages.p[0], stages.p[1], stages.ci};
    loops.insert(loops.end(), stages.taps.begin(), stages.taps.end());
    product.update().reorder(loops).unroll(c).unroll(stages.p[0]).unroll(stages.p[1]);
    for (Func part : {stages.transformed, stages.half, stages.window}) {
        part.compute_at(product, stages.ci).bound_extent(c, 1).bound_extent(t, 1);
        part.unroll(part.args()[1]).unroll(part.args()[2]);
    }
    for (Func place : {stages.read_place, stages.store_place})
        place.compute_at(output, c_thread).bound_extent(t, 1);
}

} // namespace unstride
