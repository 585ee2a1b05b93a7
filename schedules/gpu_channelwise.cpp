// One output element a thread; neighbouring threads take neighbouring channels. Checked for results; never
// timed on a GPU.
#include "schedules/channelwise.h"

namespace unstride {

using namespace Halide;

void schedule_gpu_channelwise(const ChannelwiseStages &stages, const GpuChannelwise &record) {
    Func output = stages.output, sum = stages.sum;
    const PhaseVars &vars = stages.vars;
    const TailStrategy guard = TailStrategy::GuardWithIf;
    Var c_block("c_block"), c_thread("c_thread"), u_block("u_block"), u_thread("u_thread");
    output.split(vars.c, c_block, c_thread, record.block_channels, guard)
        .split(vars.u[0], u_block, u_thread, record.block_x, guard);
    // CUDA has 2^31 - 1 blocks along x and 65535 along y and z, so whatever depends on the image goes along
    // x.
    std::vector<Var> outer = vars.q;
    outer.insert(outer.end(), vars.u.begin() + 1, vars.u.end());
    outer.push_back(vars.n);
    std::vector<VarOrRVar> order = {c_thread, u_thread, u_block, c_block};
    if (sum.defined()) {
        // A launch for each phase and image: sums of a thread are registers only where those are known.
        order.insert(order.end(), vars.q.begin(), vars.q.end());
        order.insert(order.end(), vars.u.begin() + 2, vars.u.end());
        order.push_back(vars.n);
        output.fuse(u_block, vars.u[1], u_block)
            .reorder(order)
            .gpu_threads(c_thread, u_thread)
            .gpu_blocks(u_block, c_block);
        sum.compute_at(output, c_thread);
        return;
    }
    Var planes = outer[0];
    for (std::size_t i = 1; i < outer.size(); i++) {
        Var wider;
        output.fuse(planes, outer[i], wider);
        planes = wider;
    }
    output.fuse(planes, u_block, u_block)
        .reorder(c_thread, u_thread, u_block, c_block)
        .gpu_threads(c_thread, u_thread)
        .gpu_blocks(u_block, c_block);
}

} // namespace unstride
