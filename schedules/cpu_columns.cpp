// A matrix product in register tiles of `vectors` vectors of columns by tile_x pixels, kept for as many rows
// as the outputs of one row read, and the sums of those.
//
// A task walks down its rows of outputs and computes every row of columns once (a sliding window). All phases
// of a row of outputs are made from the same rows of columns.
//
// Across channels the vectors of a register tile are one for each of `vectors` columns and tile_x pixels.
#include "schedules/cpu_columns.h"

#include "schedules/cpu_tasks.h"

#include <algorithm>

namespace unstride {

using namespace Halide;

void schedule_cpu_columns(const ColumnSumStages &stages, const PhaseConvolution &layer,
                          const CpuColumns &record) {
    Func output = stages.output, sum = stages.sum, column = stages.column, product = stages.product;
    const PhaseVars &vars = stages.vars;
    const Var n = vars.n, x = vars.x[0], u = vars.u[0], v = vars.u[1], l = stages.l;
    const TailStrategy guard = TailStrategy::GuardWithIf;

    const std::int64_t blocks = (column_count(layer) + record.block() - 1) / record.block();
    Var strip("strip"), in_strip("in_strip"), row("row"), rows("rows");
    Var vector("vector"), in_vector("in_vector");
    output.split(v, rows, row, record.rows, guard);
    std::vector<Var> tasks;
    Var along = u;
    if (record.strip > 0) {
        output.split(u, strip, in_strip, record.strip, guard);
        along = in_strip;
        tasks.push_back(strip);
    }
    std::vector<VarOrRVar> order = {vars.c, vars.q[0], along};
    const bool by_vector = record.output_lanes > 1;
    if (by_vector) {
        output.split(along, vector, in_vector, record.output_lanes, guard).vectorize(in_vector);
        order = {in_vector, vars.c, vars.q[0], vector};
    }
    order.push_back(vars.q[1]);
    if (vars.q.size() > 2) order.push_back(vars.q[2]);
    order.push_back(row);
    tasks.push_back(rows);
    tasks.insert(tasks.end(), vars.u.begin() + 2, vars.u.end());
    tasks.push_back(n);
    order.insert(order.end(), tasks.begin(), tasks.end());
    output.reorder(order);
    const Var fused = fuse_tasks(output, tasks);
    output.unroll(vars.c);
    // Boxes of whole phases, which is all but the ends of an image whose size is no multiple of them.
    const int x_phases = static_cast<int>(layer.x().phase_count());
    const int y_phases = static_cast<int>(layer.y().phase_count());
    if (x_phases <= 8 && y_phases <= 8) {
        const OutputImageParam tensor = output.output_buffer();
        const Expr whole = tensor.dim(1).extent() == x_phases && tensor.dim(3).extent() == y_phases;
        // Vectors of neighbouring phases interleave into dense stores where their distance is known.
        const int pixel = layer.layout == Layout::nhwc ? static_cast<int>(layer.kernel_output_channels()) : 1;
        const Expr dense = tensor.dim(1).stride() == pixel && tensor.dim(2).stride() == pixel * x_phases;
        std::vector<Expr> cases = {whole};
        if (by_vector) cases.insert(cases.begin(), whole && dense);
        for (const Expr &condition : cases) {
            Halide::Stage special = output.specialize(condition);
            special.unroll(vars.q[0]);
            if (x_phases * y_phases <= 16) special.unroll(vars.q[1]);
        }
    }
    if (by_vector) {
        // Sums of a vector of outputs, planar, so that the epilogue reads them as vectors.
        sum.compute_at(output, vector).reorder(vars.c, vars.q[0], u).unroll(vars.c);
        std::vector<Var> storage = {u, vars.c};
        storage.insert(storage.end(), vars.q.begin(), vars.q.end());
        storage.insert(storage.end(), vars.u.begin() + 1, vars.u.end());
        storage.push_back(n);
        sum.bound_extent(u, record.output_lanes).bound_extent(vars.q[0], x_phases).reorder_storage(storage);
        for (std::size_t axis = 1; axis < vars.q.size(); axis++)
            sum.bound_extent(vars.q[axis], 1).bound_extent(vars.u[axis], 1);
        sum.bound_extent(n, 1);
        // Loads at a distance of up to four floats are shuffles of dense ones.
        if (blocks * record.block() <= 4) sum.vectorize(u).unroll(vars.q[0]);
    }

    Var tile("tile"), pixel("pixel"), block("block"), lane("lane");
    column.bound(l, 0, static_cast<int>(blocks * record.block()))
        .store_at(output, fused)
        .compute_at(output, row)
        .split(x, tile, pixel, record.tile_x, TailStrategy::RoundUp)
        .split(l, block, lane, record.block(), TailStrategy::RoundUp);
    std::vector<VarOrRVar> loops = {lane, pixel};
    if (record.blocks_outermost) {
        loops.insert(loops.end(), {tile, block});
    } else {
        loops.insert(loops.end(), {block, tile});
    }
    for (std::size_t axis = 1; axis < vars.x.size(); axis++)
        loops.push_back(vars.x[axis]);
    column.reorder(loops);
    const Var tile_loop = record.blocks_outermost ? tile : block;
    product.compute_at(column, tile_loop)
        .bound_extent(l, record.block())
        .align_bounds(l, record.block())
        .bound_extent(x, record.tile_x);
    Halide::Stage products = product.update();
    if (record.across_channels) {
        column.vectorize(lane).unroll(pixel);
        // Of all columns and pixels at once: every shuffle brings lanes of two vectors together.
        product.vectorize(l).vectorize(x);
        products.reorder(stages.lane, l, x).atomic().vectorize(stages.lane).vectorize(l).vectorize(x);
        Func lane_product = stages.lane_product, held = stages.held;
        lane_product.compute_at(column, tile_loop)
            .bound_extent(stages.channel, record.lanes)
            .bound_extent(l, record.block())
            .align_bounds(l, record.block())
            .bound_extent(x, record.tile_x)
            .vectorize(stages.channel)
            .unroll(l)
            .unroll(x);
        products = lane_product.update();
        products.reorder(stages.channel, l, x, stages.ci).vectorize(stages.channel).unroll(l).unroll(x);
        held.compute_at(output, fused);
    } else {
        column.vectorize(lane, record.lanes).unroll(lane).unroll(pixel);
        product.vectorize(l, record.lanes).unroll(l).unroll(x);
        products.reorder(l, x, stages.ci).vectorize(l, record.lanes).unroll(l).unroll(x);
    }
    if (record.unroll > 1) products.unroll(stages.ci, record.unroll);
}

} // namespace unstride
