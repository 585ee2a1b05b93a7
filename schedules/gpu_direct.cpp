// One thread computes thread_channels * thread_x outputs of one phase in registers; neighbouring threads take
// neighbouring groups of channels, so that a block's weights and results are contiguous, and the input values
// that it shares come from cache. Checked for results and spills; never timed on a GPU.
#include "schedules/gpu_direct.h"

namespace unstride {

using namespace Halide;

void schedule_gpu_direct(const PhaseConvolutionStages &stages, const GpuDirect &record) {
    Func output = stages.output, sum = stages.sum;
    const PhaseVars &vars = stages.vars;
    const Var c = vars.c, u = vars.u[0], v = vars.u[1];
    const TailStrategy guard = TailStrategy::GuardWithIf;

    // A launch for each phase and image: what differs between them is then a number the kernel is given, and
    // the outputs of a thread are known to be of one phase, without which the sums are no registers.
    Var cbk("c_block"), ct("c_thread"), ci("c_in"), ub("u_block"), ut("u_thread"), ui("u_in");
    Var vb("v_block"), vt("v_thread");
    output.split(c, cbk, ct, record.block_channels, guard)
        .split(ct, ct, ci, record.thread_channels)
        .split(u, ub, ut, record.block_x, guard)
        .split(ut, ut, ui, record.thread_x)
        .split(v, vb, vt, record.block_y, guard);
    std::vector<VarOrRVar> order = {ci, ui, ct, ut, vt, ub, cbk, vb};
    order.insert(order.end(), vars.q.begin(), vars.q.end());
    order.insert(order.end(), vars.u.begin() + 2, vars.u.end());
    order.push_back(vars.n);
    output.reorder(order).unroll(ci).unroll(ui).gpu_threads(ct, ut, vt).gpu_blocks(ub, cbk, vb);

    sum.compute_at(output, ct)
        .bound_extent(c, record.thread_channels)
        .align_bounds(c, record.thread_channels)
        .bound_extent(u, record.thread_x)
        .unroll(c)
        .unroll(u);
    std::vector<VarOrRVar> loops = {c, u, stages.ci};
    loops.insert(loops.end(), stages.taps.begin(), stages.taps.end());
    sum.update().reorder(loops).unroll(c).unroll(u);
    if (record.unroll > 1) sum.update().unroll(stages.ci, record.unroll);
}

} // namespace unstride
