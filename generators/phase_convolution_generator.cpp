// A phase convolution that sums over channels, directly. How it is scheduled is in schedules/.
//
// The plain sum of a transposed convolution over output position o tests every kernel index for divisibility
// by the stride. Split by phase, o = phases * u + q, nothing is left to test (compiler/lowering/taps.cpp
// derives the taps):
//
//   out(c, qx, u, qy, v, n) = epilogue(bias(c) + sum over ci, tx < count(qx), ty < count(qy) of
//                                 weights(c, ci, tx, ty, qx, qy) * in(ci, stride * u + offset(qx, tx),
//                                 stride * v + offset(qy, ty), n))
#include "generators/layer_generator.h"
#include "generators/tap_table.h"
#include "schedules/cpu_direct.h"
#include "schedules/cpu_planar.h"
#include "schedules/gpu_direct.h"

#include <Halide.h>

namespace unstride {

using namespace Halide;

class PhaseConvolutionGenerator : public ComputeGenerator<PhaseConvolutionGenerator> {
public:
    void generate() {
        const PhaseConvolution &conv = convolution();
        const std::vector<const PhaseAxis *> axes = axes_from_x(conv);
        const int block = block_channels(parameters.record);
        const auto *cpu = std::get_if<CpuDirect>(&parameters.record.parameters);

        const Expr channel = min(vars->c, static_cast<int>(conv.kernel_input_channels()) - 1);
        padded(vars->input()) = input_at(channel, {vars->x.begin(), vars->x.end()});

        // A bias that the packing made costs nothing as the sum's first term.
        const ChannelParameters rows = this->rows();
        sum(vars->output()) = rows.has_folded_bias() ? rows.folded_bias(*vars) : Expr(0.0f);

        Region ranges = {Range(0, static_cast<int>(conv.channels_per_output()))};
        for (const PhaseAxis *axis : axes)
            ranges.emplace_back(0, static_cast<int>(axis->max_taps()));
        RDom r(ranges, "r");
        ci = r[0];
        std::vector<Expr> weight_at = {vars->c % block, ci}, read_at = {ci}, padded_at = {vars->c};
        std::vector<Var> read_vars = {vars->c};
        for (std::size_t axis = 0; axis < axes.size(); axis++) {
            taps.push_back(r[static_cast<int>(axis) + 1]);
            r.where(has_tap(*axes[axis], vars->q[axis], taps[axis]));
            if (cpu != nullptr && skips_padding(conv, *cpu, axis)) {
                const Expr at = input_position(*axes[axis], vars->q[axis], vars->u[axis], taps[axis]);
                r.where(0 <= at && at < static_cast<int>(axes[axis]->input_size));
            }
            weight_at.push_back(taps[axis]);
            const Var tap("tap_" + vars->x[axis].name());
            read_at.insert(read_at.end(), {vars->u[axis], vars->q[axis], taps[axis]});
            read_vars.insert(read_vars.end(), {vars->u[axis], vars->q[axis], tap});
            padded_at.push_back(input_position(*axes[axis], vars->q[axis], vars->u[axis], tap));
        }
        weight_at.insert(weight_at.end(), vars->q.begin(), vars->q.end());
        weight_at.push_back(vars->c / block);
        for (std::vector<Expr> *at : {&read_at, &padded_at})
            at->push_back(vars->n);
        read_vars.push_back(vars->n);
        read(read_vars) = padded(padded_at);
        sum(vars->output()) += (*weights)(weight_at)*read(read_at);

        finish(sum(here()));
    }

    void schedule() {
        const PhaseConvolution &conv = convolution();
        if (using_autoscheduler()) return estimate();
        const PhaseConvolutionStages stages{*output, stores(), sum, read, padded, *vars, ci, taps};
        if (const auto *cpu = std::get_if<CpuDirect>(&parameters.record.parameters)) {
            // Which columns are inside is then known of every output of a tile.
            if (skips_padding(conv, *cpu, 0)) {
                output->dim(1).set_bounds(0, static_cast<int>(conv.x().phase_count()));
                output->dim(2).set_bounds(0, static_cast<int>(outputs_of_phase(conv.x())));
            }
            schedule_cpu_direct(stages, conv, *cpu);
            prefetch_weights();
        } else if (const auto *planar = std::get_if<CpuPlanar>(&parameters.record.parameters)) {
            schedule_cpu_planar(stages, conv, *planar);
        } else {
            schedule_gpu_direct(stages, std::get<GpuDirect>(parameters.record.parameters));
        }
    }

private:
    Func padded{"padded"}, read{"read"}, sum{"sum"};
    RVar ci;
    std::vector<RVar> taps;
};

} // namespace unstride

HALIDE_REGISTER_GENERATOR(unstride::PhaseConvolutionGenerator, phase_convolution)
