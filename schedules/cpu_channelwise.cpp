// Vectors of channels (or, channels-first, of outputs of one phase) over rows of outputs.
//
// Such layers do a handful of operations for every element they move, so what counts is that every element is
// loaded and stored once, in order. The outputs of one input pixel lie side by side in memory: their phases
// are unrolled, so that the input they share is loaded once.
#include "schedules/channelwise.h"

#include "schedules/cpu_tasks.h"

#include <algorithm>
#include <utility>

namespace unstride {

using namespace Halide;

namespace {

// Pixels whose filtered columns are made at once, so that they are read back from an L1 cache that the input
// and the output stream through, and the columns that two such runs share cost little; 0 for whole rows.
int staged_pixels(const PhaseConvolution &layer) {
    constexpr std::int64_t bytes = 4 * 1024;
    if (layer.weights != WeightSource::filter) return 0;
    const std::int64_t pixels = bytes / (layer.input_channels * static_cast<std::int64_t>(sizeof(float)));
    return static_cast<int>(std::max(pixels, 8 * layer.x().halo()));
}

} // namespace

void schedule_cpu_channelwise(const ChannelwiseStages &stages, const PhaseConvolution &layer,
                              const CpuChannelwise &record) {
    Func output = stages.output, sum = stages.sum, staged = stages.staged;
    const PhaseVars &vars = stages.vars;
    const Var c = vars.c, n = vars.n, u = vars.u[0], v = vars.u[1];
    // Channels that two vectors share would be added to twice where the second tensor is the output itself.
    const TailStrategy tail = layer.has_add() ? TailStrategy::GuardWithIf : TailStrategy::ShiftInwards;

    // Channels-last pixels that only move leave for all their rows at once: each is read once.
    const bool moves = layer.weights == WeightSource::none && !record.lanes_along_x;
    Var lane("lane"), block("block"), pixels("pixels"), row("row"), rows("rows"), phase("phase");
    std::vector<VarOrRVar> order;
    if (record.lanes_along_x) {
        output.split(u, block, lane, record.lanes, TailStrategy::GuardWithIf).vectorize(lane);
        order = {lane, vars.q[0], block};
    } else {
        output.split(c, block, lane, record.lanes, tail).vectorize(lane);
        if (record.unrolls_vectors(layer.output_channels)) output.unroll(block);
        order = {lane, block, vars.q[0], u};
        if (moves) order.insert(order.end() - 1, vars.q[1]);
        if (staged_pixels(layer) > 0) {
            output.split(u, pixels, u, staged_pixels(layer), TailStrategy::GuardWithIf);
            order.push_back(pixels);
        }
    }
    output.split(v, rows, row, record.rows, TailStrategy::GuardWithIf);
    if (!moves) order.push_back(vars.q[1]);
    order.push_back(row);
    if (vars.q.size() > 2) order.push_back(vars.q[2]);
    std::vector<Var> tasks = {rows};
    if (record.lanes_along_x) tasks.push_back(c); // planes
    tasks.insert(tasks.end(), vars.u.begin() + 2, vars.u.end());
    tasks.push_back(n);
    order.insert(order.end(), tasks.begin(), tasks.end());
    output.reorder(order);
    const Var fused = fuse_tasks(output, tasks);

    // Boxes of whole phases, which is all but the ends of an image whose size is no multiple of them.
    const int x_phases = static_cast<int>(layer.x().phase_count());
    if (record.unroll_phases > 1) {
        Halide::Stage whole = output.specialize(output.output_buffer().dim(1).extent() == x_phases);
        if (record.unroll_phases >= x_phases) {
            whole.unroll(vars.q[0]);
        } else {
            whole.split(vars.q[0], vars.q[0], phase, record.unroll_phases, TailStrategy::GuardWithIf)
                .unroll(phase);
        }
    }
    if (staged.defined()) {
        // Filtered columns are made row by row, in memory that is the task's.
        if (layer.weights == WeightSource::filter) {
            const bool by_pixels = !record.lanes_along_x && staged_pixels(layer) > 0;
            staged.compute_at(output, by_pixels ? pixels : vars.q[1]).hoist_storage(output, fused);
        } else {
            staged.compute_at(output, fused);
        }
        if (record.lanes_along_x) {
            std::vector<Var> rows_first = staged.args();
            std::swap(rows_first[0], rows_first[1]); // (x, c, ...)
            staged.reorder_storage(rows_first);
            if (layer.weights == WeightSource::filter) {
                staged.update(0).vectorize(stages.interior, record.lanes, TailStrategy::GuardWithIf);
            } else {
                // The vectors at both ends of a row are put together element by element: short ones have
                // fewer.
                staged.reorder(std::vector<VarOrRVar>(rows_first.begin(), rows_first.end()))
                    .vectorize(vars.x[0], std::min(8, record.lanes), TailStrategy::RoundUp);
            }
        } else {
            int lanes = record.lanes;
            while (lanes > layer.input_channels)
                lanes /= 2;
            // A last vector that overlapped the one before it would be read while the two were still on
            // their way to memory.
            const bool whole = layer.input_channels % lanes == 0;
            staged.vectorize(c, lanes, whole ? TailStrategy::RoundUp : TailStrategy::GuardWithIf)
                .align_storage(c, lanes);
        }
    }
    if (sum.defined()) {
        const Var at = record.lanes_along_x ? vars.q[0] : block;
        sum.compute_at(output, at);
        if (!record.lanes_along_x) {
            sum.bound_extent(c, record.lanes).vectorize(c);
            sum.update().vectorize(c);
        } else {
            sum.bound_extent(u, record.lanes).vectorize(u);
            sum.update().vectorize(u);
        }
        if (layer.x().max_taps() * layer.y().max_taps() <= 16) {
            sum.update().unroll(stages.taps[0]).unroll(stages.taps[1]);
        }
    }
}

} // namespace unstride
