// Matrix products, a point at a time, between two transforms that stay in a task's cache.
//
// A task is task_tiles tiles. It transforms their inputs; then, for each phase and block of output channels,
// makes the products of every point and transforms them back into the output. The products take nine tenths
// of the time: register tiles of `vectors` vectors of output channels by `tiles` tiles, with the budget of
// the direct form (vectors * tiles accumulators, a vector of weights each, and one broadcast;
// schedules/cpu_direct.cpp). The weights of a point are read once a task, so tasks of many tiles read them
// less often; their transformed inputs, n / m times the window's on each axis, are read once a block. Where a
// sum over channels is several chains, all register tiles of a task add one to their products before the
// next.
//
// Channels-first tensors take the same products, and transforms that have vectors along rows of tiles. A task
// is some whole rows, or strips of them, whose first and last tiles the neighbours compute too. Its results
// leave by whole rows of outputs: neighbours in a row are read by vectors of channels, turned in registers
// and stored, the phases of x interleaved.
#include "schedules/cpu_filtering.h"

namespace unstride {

using namespace Halide;

namespace {

// The inputs of the task's tiles, a vector of channels of one tile at a time. Odd channel counts end in a
// vector that is shifted inwards.
void schedule_transform(const MinimalFilteringStages &stages, const PhaseConvolution &layer, int lanes,
                        const RVar &task) {
    Func output = stages.output, transformed = stages.transformed;
    const Var c = stages.vars.c, t = stages.at[0];
    while (lanes > layer.kernel_input_channels())
        lanes /= 2;
    Var vector("vector"), lane("lane");
    transformed.compute_at(output, task)
        .reorder_storage(c, t, stages.p[0], stages.p[1])
        .split(c, vector, lane, lanes, TailStrategy::ShiftInwards)
        .reorder(lane, stages.p[0], stages.p[1], vector, t)
        .unroll(stages.p[0])
        .unroll(stages.p[1])
        .vectorize(lane);
    Func read_place = stages.read_place;
    read_place.compute_at(transformed, t).bound_extent(t, 1);
    for (Func part : {stages.half, stages.window}) {
        part.compute_at(transformed, vector).bound_extent(c, lanes).bound_extent(t, 1).vectorize(c);
        for (const Var &var : part.args())
            if (var.name() != c.name() && var.name() != t.name()) part.unroll(var);
    }
}

// The products of all tiles of a task, for one block of channels.
void schedule_products(const MinimalFilteringStages &stages, const CpuFiltering &record,
                       const LoopLevel &where) {
    Func products = stages.products, product = stages.product;
    const PhaseVars &vars = stages.vars;
    const Var c = vars.c, t = stages.at[0];
    Var group("group"), in_group("in_group");
    std::vector<VarOrRVar> order = {c, in_group, group};
    std::vector<Var> storage = {c, t}, ones = {stages.p[0], stages.p[1], vars.q[0], vars.q[1]};
    for (std::size_t place = 1; place < stages.at.size(); place++) {
        order.push_back(stages.at[place]);
        storage.push_back(stages.at[place]);
        ones.push_back(stages.at[place]);
    }
    order.insert(order.end(), {stages.p[0], stages.p[1]});
    storage.insert(storage.end(), {stages.p[0], stages.p[1], vars.q[0], vars.q[1]});
    products.compute_at(where).bound_extent(c, record.block()).align_bounds(c, record.block());
    Halide::Stage sum = products;
    if (stages.part) {
        products.align_bounds(t, record.tiles).vectorize(c, record.lanes).unroll(c);
        storage.push_back(*stages.part);
        ones.push_back(*stages.part);
        // All tiles go through a chain's weights before the next.
        order.insert(order.end() - 2, stages.parts);
        sum = products.update();
    }
    sum.split(t, group, in_group, record.tiles, TailStrategy::RoundUp)
        .reorder(order)
        .vectorize(c, record.lanes)
        .unroll(c)
        .unroll(in_group);
    product.compute_at(products, group)
        .bound_extent(c, record.block())
        .align_bounds(c, record.block())
        .bound_extent(t, record.tiles)
        .reorder_storage(storage)
        .vectorize(c, record.lanes)
        .unroll(c)
        .unroll(t);
    for (const Var &one : ones)
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

void schedule_channels_last(const MinimalFilteringStages &stages, const PhaseConvolution &layer,
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
        .split(stages.tile[0], task, in_task, record.task_tiles, guard)
        .reorder({lane, stages.outputs_of_tile[0], stages.outputs_of_tile[1], vector, in_task, vars.q[0],
                  vars.q[1], block, task})
        .vectorize(lane)
        .unroll(stages.outputs_of_tile[0])
        .unroll(stages.outputs_of_tile[1]);
    if (record.split_blocks) output.update().fuse(block, task, task);
    output.update().parallel(task);
    inverse.compute_at(output, vector)
        .bound_extent(stages.i[0], record.tile_x)
        .bound_extent(vars.c, record.lanes)
        .bound_extent(stages.at[0], 1)
        .bound_extent(vars.q[0], 1)
        .bound_extent(vars.q[1], 1)
        .vectorize(vars.c)
        .unroll(stages.i[0])
        .unroll(stages.p[1]);
    Func store_place = stages.store_place;
    store_place.compute_at(output, in_task).bound_extent(stages.at[0], 1);
    schedule_products(stages, record, {output, vars.q[0]});
    schedule_transform(stages, layer, record.lanes, task);
}

// One block holds all phases, or, of a single axis, whole ones. The results of a tile are whole vectors in
// nearby memory, from which they are copied to their places one by one.
void schedule_merged(const MinimalFilteringStages &stages, const PhaseConvolution &layer,
                     const CpuFiltering &record) {
    Func output = stages.output, inverse = stages.inverse, result = stages.result, finished = stages.finished;
    const PhaseVars &vars = stages.vars;
    const Var t = stages.at[0];
    Var block("block"), phase("phase");
    RVar task("task"), in_task("in_task");
    const RVar x = stages.outputs_of_tile[0], y = stages.outputs_of_tile[1];
    const bool one_block = channels_of_blocks(layer, record) <= record.block();
    Halide::Stage stored = output.update();
    // Outputs of different tiles are different, which Halide does not see; hence the word of races.
    stored.allow_race_conditions().split(stages.tile[0], task, in_task, record.task_tiles,
                                         TailStrategy::GuardWithIf);
    if (one_block) {
        stored.reorder({vars.c, vars.q[0], x, vars.q[1], y, in_task, task});
    } else {
        const int phases = record.block() / static_cast<int>(layer.kernel_output_channels());
        stored.split(vars.q[0], block, phase, phases, TailStrategy::GuardWithIf)
            .reorder({vars.c, phase, x, vars.q[1], y, in_task, block, task});
    }
    stored.unroll(vars.c).unroll(x);
    if (record.split_blocks) stored.fuse(block, task, task);
    stored.parallel(task);
    for (Func part : {finished, result, inverse}) {
        part.compute_at(output, in_task)
            .bound_extent(vars.c, record.block())
            .align_bounds(vars.c, record.block())
            .bound_extent(stages.i[0], record.tile_x)
            .bound_extent(t, 1)
            .bound_extent(vars.q[0], 1)
            .bound_extent(vars.q[1], 1)
            .vectorize(vars.c, record.lanes);
        part.unroll(stages.i[0]);
    }
    inverse.unroll(stages.p[1]);
    for (Func part : {finished, result})
        part.bound_extent(stages.i[1], record.tile_y).unroll(stages.i[1]);
    Func store_place = stages.store_place;
    store_place.compute_at(output, in_task).bound_extent(t, 1);
    schedule_products(stages, record,
                      {output, one_block || record.split_blocks ? VarOrRVar(task) : VarOrRVar(block)});
    schedule_transform(stages, layer, record.lanes, task);
}

// Channels whose rows are copied at a time.
constexpr int copied_channels = 16;

// Vectors along a row of tiles of one channel. The input is copied with its zeros, so many channels at a time
// that the copy stays in the nearest cache.
void schedule_transform_along_rows(const MinimalFilteringStages &stages, const CpuFiltering &record,
                                   const RVar &task) {
    Func output = stages.output, transformed = stages.transformed, padded = stages.padded;
    const PhaseVars &vars = stages.vars;
    const Var c = vars.c, t = stages.at[0], row = stages.at[1];
    const int lanes = record.row_lanes();
    Var vector("vector"), lane("lane"), some("some"), in_some("in_some");
    transformed.compute_at(output, task)
        .reorder_storage(t, c, row, stages.p[0], stages.p[1], vars.n)
        .split(t, vector, lane, lanes, TailStrategy::RoundUp)
        .split(c, some, in_some, copied_channels, TailStrategy::GuardWithIf)
        .reorder(lane, stages.p[0], stages.p[1], vector, in_some, row, some)
        .unroll(stages.p[0])
        .unroll(stages.p[1])
        .vectorize(lane);
    for (Func part : {stages.half, stages.window}) {
        part.compute_at(transformed, vector).bound_extent(t, lanes);
        part.reorder_storage(part.args()[3], part.args()[0], part.args()[1], part.args()[2], part.args()[4],
                             part.args()[5]);
        part.vectorize(t);
        for (const Var &one : {c, row, vars.n})
            part.bound_extent(one, 1);
        part.unroll(part.args()[1]).unroll(part.args()[2]);
    }
    padded.compute_at(transformed, some)
        .reorder_storage(vars.x[0], c, vars.x[1], vars.n)
        .reorder(vars.x[0], c, vars.x[1], vars.n)
        .vectorize(vars.x[0], lanes, TailStrategy::RoundUp);
}

// The results of a vector of channels and of the tiles that some neighbouring outputs come from, and these
// outputs turned.
void schedule_results(const MinimalFilteringStages &stages, const PhaseConvolution &layer,
                      const CpuFiltering &record, const Var &vector) {
    Func output = stages.output, result = stages.result, inverse = stages.inverse, across = stages.across,
         along = stages.along;
    const PhaseVars &vars = stages.vars;
    const Var c = vars.c, t = stages.at[0], row = stages.at[1], u = vars.u[0];
    const int phases = static_cast<int>(layer.x().phase_count());
    result.compute_at(output, vector)
        .store_in(MemoryType::Stack)
        .reorder_storage(c, stages.i[0], stages.i[1], t, vars.q[0], vars.q[1], row, vars.n)
        .bound_extent(c, record.lanes)
        .bound_extent(stages.i[0], record.tile_x)
        .bound_extent(stages.i[1], record.tile_y)
        .bound_extent(t, static_cast<int>(tiles_of_vector(layer, record)))
        .bound_extent(vars.q[0], phases)
        .reorder(c, stages.i[0], stages.i[1], t, vars.q[0])
        .vectorize(c)
        .unroll(stages.i[0])
        .unroll(stages.i[1]);
    inverse.compute_at(result, t)
        .bound_extent(c, record.lanes)
        .bound_extent(stages.i[0], record.tile_x)
        .vectorize(c)
        .unroll(stages.i[0])
        .unroll(stages.p[1]);
    for (Func part : {result, inverse}) {
        for (const Var &one : {vars.q[1], row, vars.n})
            part.bound_extent(one, 1);
    }
    for (const Var &one : {t, vars.q[0]})
        inverse.bound_extent(one, 1);

    along.compute_at(output, stages.outputs_of_tile[1])
        .store_in(MemoryType::Stack)
        .reorder_storage(u, c, vars.q[0], vars.q[1], stages.i[1], row, vars.n)
        .reorder(u, c, vars.q[0])
        .bound_extent(vars.q[0], phases)
        .vectorize(u)
        .unroll(c);
    across.compute_at(along, vars.q[0])
        .reorder_storage(c, u, vars.q[0], vars.q[1], stages.i[1], row, vars.n)
        .bound_extent(vars.q[0], 1)
        .reorder(c, u)
        .vectorize(c)
        .unroll(u);
    for (Func part : {along, across}) {
        part.bound_extent(c, record.lanes).bound_extent(u, record.lanes);
        for (const Var &one : {vars.q[1], stages.i[1], row, vars.n})
            part.bound_extent(one, 1);
    }
}

void schedule_channels_first(const MinimalFilteringStages &stages, const PhaseConvolution &layer,
                             const CpuFiltering &record) {
    Func output = stages.output;
    const PhaseVars &vars = stages.vars;
    const TailStrategy guard = TailStrategy::GuardWithIf;
    Var block("block"), vector("vector"), lane("lane"), neighbours("neighbours"), neighbour("neighbour"),
        strip("strip");
    RVar task("task"), row("row");
    Expr across = stages.tiles[0];
    if (record.strip > 0) across = min(across, static_cast<int>(tiles_of_strip(layer, record)));
    const Expr rows = max(record.task_tiles / record.staged_row(across), 1);
    Halide::Stage stored = output.update();
    if (record.strip == 0) {
        stored.split(vars.u[0], neighbours, neighbour, record.lanes, guard);
    } else {
        stored.split(vars.u[0], strip, neighbours, record.strip, guard)
            .split(neighbours, neighbours, neighbour, record.lanes, guard);
    }
    // Outputs of different tiles are different, which Halide does not see; hence the word of races.
    stored.allow_race_conditions()
        .split(vars.c, block, lane, record.block(), guard)
        .split(lane, vector, lane, record.lanes, guard)
        .split(stages.tile[0], task, row, rows, guard);
    std::vector<VarOrRVar> order = {neighbour, vars.q[0], lane, stages.outputs_of_tile[1], vector, neighbours,
                                    row,       vars.q[1], block};
    if (record.strip > 0) order.emplace_back(strip);
    order.insert(order.end(), {task, stages.tile[1]});
    stored.reorder(order).vectorize(neighbour).unroll(lane).fuse(task, stages.tile[1], task);
    if (record.strip > 0) stored.fuse(strip, task, task);
    stored.parallel(task);
    output.update()
        .specialize(output.output_buffer().dim(1).extent() == static_cast<int>(layer.x().phase_count()))
        .unroll(vars.q[0]);
    schedule_results(stages, layer, record, vector);
    schedule_products(stages, record, {output, vars.q[1]});
    schedule_transform_along_rows(stages, record, task);
}

} // namespace

void schedule_cpu_filtering(const MinimalFilteringStages &stages, const PhaseConvolution &layer,
                            const CpuFiltering &record) {
    if (layer.layout == Layout::nchw) {
        schedule_channels_first(stages, layer, record);
    } else if (record.merge_phases) {
        schedule_merged(stages, layer, record);
    } else {
        schedule_channels_last(stages, layer, record);
    }
}

} // namespace unstride
