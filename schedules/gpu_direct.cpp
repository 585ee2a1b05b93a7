// One thread computes thread_channels * thread_x outputs of one phase in registers; neighbouring threads take
// neighbouring groups of channels, so that a block's weights and results are contiguous, and the input values
// that it shares come from cache. Checked for results and spills; never timed on a GPU.
#include "schedules/gpu_direct.h"

namespace unstride {

using namespace Halide;

void schedule_gpu_direct(const PhaseConvolutionStages &stages, const GpuDirect &record) {
    Func output = stages.output, sum = stages.sum;
    const Var c = stages.c, n = stages.n;
    const Var qx = stages.qx, u = stages.u, qy = stages.qy, v = stages.v;
    const TailStrategy guard = TailStrategy::GuardWithIf;

    // Phases, images and rows make one dimension of blocks, the first, which alone may exceed 65535. Blocks
    // of all phases of the same rows follow each other and share their input in cache.
    Var cbk("c_block"), ct("c_thread"), ci("c_in"), ub("u_block"), ut("u_thread"), ui("u_in");
    Var vb("v_block"), vt("v_thread"), planes("planes");
    output.split(c, cbk, ct, record.block_channels, guard)
        .split(ct, ct, ci, record.thread_channels)
        .split(u, ub, ut, record.block_x, guard)
        .split(ut, ut, ui, record.thread_x)
        .split(v, vb, vt, record.block_y, guard)
        .fuse(qx, qy, planes)
        .fuse(planes, n, planes)
        .fuse(planes, vb, planes)
        .reorder(ci, ui, ct, ut, vt, planes, cbk, ub)
        .unroll(ci)
        .unroll(ui)
        .gpu_threads(ct, ut, vt)
        .gpu_blocks(planes, cbk, ub);

    sum.compute_at(output, ct)
        .bound_extent(c, record.thread_channels)
        .align_bounds(c, record.thread_channels)
        .bound_extent(u, record.thread_x)
        .unroll(c)
        .unroll(u);
    sum.update().reorder({c, u, stages.ci, stages.tx, stages.ty}).unroll(c).unroll(u);
    if (record.unroll > 1) sum.update().unroll(stages.ci, record.unroll);
}

} // namespace unstride
