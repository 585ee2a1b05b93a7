// Brings weights from the framework's layout into the one that the compute kernel walks, so that this layout
// is known to generators only.
//
//   packed(c in block, ci, tx, ty, qx, qy, block) = kernel[output channel][input channel][ky(qy, ty)][kx(qx,
//   tx)]
//
// where kx and ky are the kernel indices of that phase's taps; zero beyond a phase's taps and beyond the last
// channel. Frameworks store transposed convolutions as (CI, CO/groups, ky, kx) and convolutions as (CO,
// CI/groups, ky, kx).
#include "generators/layer_parameters.h"
#include "generators/tap_table.h"

#include <Halide.h>

namespace unstride {

using namespace Halide;

class WeightPackingGenerator : public Generator<WeightPackingGenerator> {
public:
    GeneratorParam<std::string> layer{"layer", ""};
    GeneratorParam<std::string> schedule_record{"schedule", ""};
    GeneratorParam<std::string> instruction_set{"instruction_set", ""};

    void configure() {
        parameters = decode_parameters(layer, schedule_record, instruction_set);
        kernel = add_input<Buffer<float, 4>>(
            "kernel"); // innermost first, as stored; not read for bilinear weights
        bias = add_input<Buffer<float, 1>>("bias"); // zeros where the layer has none
        packed = add_output<Buffer<float, 7>>("packed");
        packed_bias = add_output<Buffer<float, 1>>("packed_bias");
    }

    void generate() {
        const PhaseConvolution &conv = parameters.convolution;
        const TapProgression taps_x = conv.axes[1].progression(), taps_y = conv.axes[0].progression();
        const int block = block_channels(parameters.record);
        const int output_channels = static_cast<int>(conv.output_channels);

        const Expr channel = cb * block + cl;
        const Expr co = min(channel, output_channels - 1);
        const auto index = [](const TapProgression &taps, const Expr &q, const Expr &t, std::int64_t extent) {
            return clamp(table(taps.first_kernel_index, q) + t * static_cast<int>(taps.kernel_step), 0,
                         static_cast<int>(extent) - 1);
        };
        const Expr kx = index(taps_x, qx, tx, conv.axes[1].kernel),
                   ky = index(taps_y, qy, ty, conv.axes[0].kernel);
        Expr weight;
        if (parameters.bilinear_weights) {
            const Expr same_channel = conv.depthwise() ? cast<bool>(true) : co == ci;
            weight = select(same_channel, triangle(kx, 1) * triangle(ky, 0), 0.0f);
        } else if (conv.depthwise()) {
            weight = (*kernel)(kx, ky, 0, co);
        } else {
            weight = conv.input_channels_first ? (*kernel)(kx, ky, co, ci) : (*kernel)(kx, ky, ci, co);
        }
        const Expr exists =
            channel < output_channels && tx < table(taps_x.count, qx) && ty < table(taps_y.count, qy);
        (*packed)(cl, ci, tx, ty, qx, qy, cb) = select(exists, weight, 0.0f);
        (*packed_bias)(c) = select(c < output_channels, (*bias)(min(c, output_channels - 1)), 0.0f);
    }

    void schedule() {} // runs once a set of weights: plain loops

private:
    // The bilinear initialiser on one axis, the filler that Caffe and FCN define for kernel k: fc = ceil(k /
    // 2), centre = (k - 1) / (2 fc), w[t] = 1 - |t / fc - centre|. Computed in double and rounded once.
    Expr triangle(const Expr &t, std::size_t axis) const {
        const double k = static_cast<double>(parameters.convolution.axes[axis].kernel);
        const double fc = std::ceil(k / 2), centre = (k - 1) / (2 * fc);
        return cast<float>(Expr(1.0) - abs(cast<double>(t) / Expr(fc) - Expr(centre)));
    }

    LayerParameters parameters;
    Input<Buffer<float, 4>> *kernel = nullptr;
    Input<Buffer<float, 1>> *bias = nullptr;
    Output<Buffer<float, 7>> *packed = nullptr;
    Output<Buffer<float, 1>> *packed_bias = nullptr;
    Var c{"c"}, cl{"cl"}, cb{"cb"}, ci{"ci"}, tx{"tx"}, ty{"ty"}, qx{"qx"}, qy{"qy"};
};

} // namespace unstride

HALIDE_REGISTER_GENERATOR(unstride::WeightPackingGenerator, weight_packing)
