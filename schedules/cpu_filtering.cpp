// Matrix products, a point at a time, between two transforms that stay in a task's cache.
//
// A task is task_tiles tiles. It transforms their inputs; then, for each phase and block of output channels,
// makes the products of every point and transforms them back into the output. The products take nine tenths
// of the time: register tiles of `vectors` vectors of output channels by `tiles` tiles, with the budget of
// the direct form (vectors * tiles accumulators, a vector of weights each, and one broadcast;
// schedules/cpu_direct.cpp). The weights of a point are read once a task, so tasks of many tiles read them
// less often; their transformed inputs, n / m times the window's on each axis, are read once a block.
#include "schedules/cpu_filtering.h"

namespace unstride {

using namespace Halide;

namespace {

// The inputs of the task's tiles, a vector of channels of one tile at a time. Odd channel counts end in a
// vector that is shifted inwards.
void schedule_transform(const MinimalFilteringStages &stages, const PhaseConvolution &layer, int lanes,
                        const RVar &task) {
    Func output = stages.output, transformed = stages.transformed;
    const Var c = stages.vars.c;
    while (lanes > layer.kernel_input_channels())
        lanes /= 2;
    Var vector("vector"), lane("lane");
    transformed.compute_at(output, task)
        .reorder_storage(c, stages.t, stages.p[0], stages.p[1])
        .split(c, vector, lane, lanes, TailStrategy::ShiftInwards)
        .reorder(lane, stages.p[0], stages.p[1], vector, stages.t)
        .unroll(stages.p[0])
        .unroll(stages.p[1])
        .vectorize(lane);
    Func read_place = stages.read_place;
    read_place.compute_at(transformed, stages.t).bound_extent(stages.t, 1);
    for (Func part : {stages.half, stages.window}) {
        part.compute_at(transformed, vector).bound_extent(c, lanes).bound_extent(stages.t, 1).vectorize(c);
        for (const Var &var : part.args())
            if (var.name() != c.name() && var.name() != stages.t.name()) part.unroll(var);
    }
}

void schedule_products(const MinimalFilteringStages &stages, const CpuFiltering &record, const Var &phase) {
    Func output = stages.output, products = stages.products, product = stages.product;
    const PhaseVars &vars = stages.vars;
    const Var c = vars.c, t = stages.t;
    Var group("group"), in_group("in_group");
    products.compute_at(output, phase)
        .bound_extent(c, record.block())
        .align_bounds(c, record.block())
        .split(t, group, in_group, record.tiles, TailStrategy::RoundUp)
        .reorder(c, in_group, group, stages.p[0], stages.p[1])
        .vectorize(c, record.lanes)
        .unroll(c)
        .unroll(in_group);
    product.compute_at(products, group)
        .bound_extent(c, record.block())
        .align_bounds(c, record.block())
        .bound_extent(t, record.tiles)
        .reorder_storage(c, t, stages.p[0], stages.p[1], vars.q[0], vars.q[1])
        .vectorize(c, record.lanes)
        .unroll(c)
        .unroll(t);
    for (const Var &one : {stages.p[0], stages.p[1], vars.q[0], vars.q[1]})
        product.bound_extent(one, 1);
    std::vector<VarOrRVar> loops = {c, t, stages.ci};
    loops.insert(loops.end(), stages.taps.begin(), stages.taps.end());
    product.update().reorder(loops).vectorize(c, record.lanes).unroll(c).unroll(t);
    if (record.stage_lanes > 1) {
        RVar ci_outer("ci_outer"), ci_group("ci_group"), ci_lane("ci_lane");
        product.update()
            .split(stages.ci, ci_outer, ci_lane, record.unroll)
            .split(ci_lane, ci_group, ci_lane, record.stage_lanes)
            .reorder(c, t, ci_lane, ci_group, ci_outer)
            .unroll(ci_lane)
            .unroll(ci_group);
        Func read = stages.read;
        read.compute_at(product, ci_group)
            .bound_extent(c, record.stage_lanes)
            .bound_extent(t, record.tiles)
            .bound_extent(stages.p[0], 1)
            .bound_extent(stages.p[1], 1)
            .reorder_storage(c, t, stages.p[0], stages.p[1])
            .vectorize(c)
            .unroll(t);
    } else if (record.unroll > 1) {
        product.update().unroll(stages.ci, record.unroll);
    }
}

} // namespace

void schedule_cpu_filtering(const MinimalFilteringStages &stages, const PhaseConvolution &layer,
                            const CpuFiltering &record) {
    Func output = stages.output, inverse = stages.inverse;
    const PhaseVars &vars = stages.vars;
    const TailStrategy guard = TailStrategy::GuardWithIf;
    Var block("block"), vector("vector"), lane("lane");
    RVar task("task"), in_task("in_task");
    // Outputs of different tiles are different, which Halide does not see; hence the word of races.
    output.update()
        .allow_race_conditions()
        .split(vars.c, block, lane, record.block(), guard)
        .split(lane, vector, lane, record.lanes, guard)
        .split(stages.tile, task, in_task, record.task_tiles, guard)
        .reorder({lane, stages.tile_outputs[0], stages.tile_outputs[1], vector, in_task, vars.q[0], vars.q[1],
                  block, task})
        .vectorize(lane)
        .unroll(stages.tile_outputs[0])
        .unroll(stages.tile_outputs[1])
        .parallel(task);
    inverse.compute_at(output, vector)
        .bound_extent(stages.i[0], record.tile_x)
        .bound_extent(vars.c, record.lanes)
        .bound_extent(stages.t, 1)
        .bound_extent(vars.q[0], 1)
        .bound_extent(vars.q[1], 1)
        .vectorize(vars.c)
        .unroll(stages.i[0])
        .unroll(stages.p[1]);
    Func store_place = stages.store_place;
    store_place.compute_at(output, in_task).bound_extent(stages.t, 1);
    schedule_products(stages, record, vars.q[0]);
    schedule_transform(stages, layer, record.lanes, task);
}

} // namespace unstride
