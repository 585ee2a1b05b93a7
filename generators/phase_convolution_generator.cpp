// What a phase convolution computes. How it is scheduled is in schedules/.
//
// The plain sum of a transposed convolution over output position o tests every kernel index for divisibility
// by the stride. Split by phase, o = phases * u + q, nothing is left to test (compiler/lowering/taps.cpp
// derives the taps):
//
//   out(c, qx, u, qy, v, n) = epilogue(bias(c) + sum over ci, tx < count(qx), ty < count(qy) of
//                                 weights(c, ci, tx, ty, qx, qy) * in(ci, u + offset(qx, tx), v + offset(qy,
//                                 ty), n))
//
// The output buffer's dimensions (c, qx, u, qy, v, n) carry the strides of a plain channels-last tensor: qx
// steps by one pixel, u by `phases` pixels. So every phase is a dense loop that stores straight into place.
#include "generators/elementwise.h"
#include "generators/layer_parameters.h"
#include "generators/tap_table.h"
#include "schedules/cpu_direct.h"
#include "schedules/gpu_direct.h"

#include <Halide.h>

#include <array>

namespace unstride {

using namespace Halide;

class PhaseConvolutionGenerator : public Generator<PhaseConvolutionGenerator> {
public:
    GeneratorParam<std::string> layer{"layer", ""};
    GeneratorParam<std::string> schedule_record{"schedule", ""};
    GeneratorParam<std::string> instruction_set{"instruction_set", ""};

    void configure() {
        parameters = decode_parameters(layer, schedule_record, instruction_set);
        input = add_input<Buffer<float, 4>>("input");     // (c, x, y, n)
        weights = add_input<Buffer<float, 7>>("weights"); // (c in block, ci, tx, ty, qx, qy, block)
        bias = add_input<Buffer<float, 1>>("bias");       // (block * blocks), zero where there is none
        if (parameters.convolution.has_add()) add = add_input<Buffer<float, 6>>("add"); // as output
        output = add_output<Buffer<float, 6>>("output"); // (c, qx, u, qy, v, n)
    }

    void generate() {
        const PhaseConvolution &conv = parameters.convolution;
        const PhaseAxis &y_axis = conv.axes[0], &x_axis = conv.axes[1];
        const int block = block_channels(parameters.record);
        const int channels = static_cast<int>(conv.output_channels);

        // Zeros around the input; activations before the convolution act inside only.
        const Expr width = input->dim(1).extent(), height = input->dim(2).extent();
        const Expr inside = 0 <= x && x < width && 0 <= y && y < height;
        const Expr channel = min(c, static_cast<int>(conv.input_channels) - 1);
        const Expr pixel = (*input)(channel, clamp(x, 0, width - 1), clamp(y, 0, height - 1), n);
        padded(c, x, y, n) = select(inside, activate(conv.prologue, pixel), 0.0f);

        // The epilogue's first stage is nearly always the bias: then it costs nothing as the sum's first
        // term.
        const bool bias_first = !conv.epilogue.empty() && std::holds_alternative<Bias>(conv.epilogue[0]);
        sum(c, qx, u, qy, v, n) = bias_first ? Expr((*bias)(c)) : Expr(0.0f);

        const TapProgression taps_x = x_axis.progression(), taps_y = y_axis.progression();
        const RDom r(0, static_cast<int>(conv.channels_per_group()), 0, static_cast<int>(x_axis.max_taps()),
                     0, static_cast<int>(y_axis.max_taps()), "r");
        ci = r.x, tx = r.y, ty = r.z;
        RDom taps = r;
        taps.where(tx < table(taps_x.count, qx));
        taps.where(ty < table(taps_y.count, qy));
        const Expr in_x =
            u + table(taps_x.first_input_offset, qx) + tx * static_cast<int>(taps_x.offset_step);
        const Expr in_y =
            v + table(taps_y.first_input_offset, qy) + ty * static_cast<int>(taps_y.offset_step);
        const Expr in_c = conv.depthwise() ? Expr(c) : Expr(ci);
        sum(c, qx, u, qy, v, n) +=
            (*weights)(c % block, ci, tx, ty, qx, qy, c / block) * padded(in_c, in_x, in_y, n);

        Expr value = sum(c, qx, u, qy, v, n);
        for (std::size_t i = bias_first ? 1 : 0; i < conv.epilogue.size(); i++) {
            const StageOperation &stage = conv.epilogue[i];
            if (std::holds_alternative<Bias>(stage)) {
                value += (*bias)(c);
            } else if (std::holds_alternative<Add>(stage)) {
                value += (*add)(c, qx, u, qy, v, n);
            } else {
                value = activate(std::get<Activation>(stage), value);
            }
        }
        (*output)(c, qx, u, qy, v, n) = value;

        // What the runtime guarantees about every buffer it passes.
        const std::array<int, 7> extents = packed_extents(conv, parameters.record);
        int stride = 1;
        for (int d = 0; d < 7; d++) {
            weights->dim(d).set_bounds(0, extents[d]).set_stride(stride);
            stride *= extents[d];
        }
        bias->dim(0).set_bounds(0, block * extents[6]);
        input->dim(0).set_bounds(0, static_cast<int>(conv.input_channels));
        input->dim(1).set_min(0);
        input->dim(2).set_min(0);
        output->dim(0).set_bounds(0, channels);
        output->dim(1).set_min(0);
        output->dim(3).set_min(0);
        if (conv.has_add()) add->dim(0).set_bounds(0, channels);
        weights->set_host_alignment(64);
        bias->set_host_alignment(64);
    }

    void schedule() {
        const PhaseConvolution &conv = parameters.convolution;
        const PhaseConvolutionStages stages{*output, sum, padded, c, x, y, n, qx, u, qy, v, ci, tx, ty};
        if (const auto *cpu = std::get_if<CpuDirect>(&parameters.record.parameters)) {
            schedule_cpu_direct(stages, conv, *cpu);
        } else {
            schedule_gpu_direct(stages, std::get<GpuDirect>(parameters.record.parameters));
        }
    }

private:
    LayerParameters parameters;
    Input<Buffer<float, 4>> *input = nullptr;
    Input<Buffer<float, 7>> *weights = nullptr;
    Input<Buffer<float, 1>> *bias = nullptr;
    Input<Buffer<float, 6>> *add = nullptr;
    Output<Buffer<float, 6>> *output = nullptr;
    Func padded{"padded"}, sum{"sum"};
    Var c{"c"}, x{"x"}, y{"y"}, n{"n"};
    Var qx{"qx"}, u{"u"}, qy{"qy"}, v{"v"};
    RVar ci, tx, ty;
};

} // namespace unstride

HALIDE_REGISTER_GENERATOR(unstride::PhaseConvolutionGenerator, phase_convolution)
