// The loops of the definition, compiled with all optimisation: what a layer costs that nobody worked on.
#include "bench/rivals/plain_rival.h"

#include <algorithm>

namespace unstride::bench {

namespace {

// Above this one call takes many seconds.
constexpr double most_multiplications = 4e9;

class NaiveRival : public PlainRival {
public:
    Identity identity() const override { return {"naive loops", __VERSION__, {""}, ""}; }

protected:
    void prepare(const Convolution &of, int) override {
        const double products = static_cast<double>(of.batch * of.input_channels * of.outputs_per_group()) *
                                static_cast<double>(product(of.kernel)) *
                                static_cast<double>(product(of.transposed ? of.input : of.output));
        if (products > most_multiplications)
            throw Unsupported("left out: plain loops take seconds for a layer of this size");
    }

    void convolve(const Convolution &of, const float *input, float *output) override {
        const std::int64_t planes = of.batch * of.output_channels;
#pragma omp parallel for
        for (std::int64_t plane = 0; plane < planes; plane++)
            compute_plane(of, input, output, plane / of.output_channels, plane % of.output_channels);
    }

private:
    // Adds input * weight for every pair that meets: transposed convolutions walk inputs, convolutions
    // outputs, and the other side is where a tap leads.
    static void compute_plane(const Convolution &of, const float *input, float *output, std::int64_t image,
                              std::int64_t channel) {
        const std::int64_t in_pixels = product(of.input), out_pixels = product(of.output);
        const std::int64_t taps = product(of.kernel), group = channel / of.outputs_per_group();
        float *out = output + (image * of.output_channels + channel) * out_pixels;
        std::fill_n(out, out_pixels, 0.0f);
        for (std::int64_t ci = 0; ci < of.inputs_per_group(); ci++) {
            const std::int64_t from = group * of.inputs_per_group() + ci;
            const float *in = input + (image * of.input_channels + from) * in_pixels;
            const std::int64_t row = of.transposed
                                         ? from * of.outputs_per_group() + channel % of.outputs_per_group()
                                         : channel * of.inputs_per_group() + ci;
            for (std::int64_t tap = 0; tap < taps; tap++)
                add_tap(of, in, out, of.weights[row * taps + tap], tap);
        }
    }

    static void add_tap(const Convolution &of, const float *in, float *out, float weight, std::int64_t tap) {
        const Axes offset = {tap / of.kernel[2] / of.kernel[1] * of.dilation[0] - of.pad[0],
                             tap / of.kernel[2] % of.kernel[1] * of.dilation[1] - of.pad[1],
                             tap % of.kernel[2] * of.dilation[2] - of.pad[2]};
        const Axes &near = of.transposed ? of.input : of.output;
        const Axes &far = of.transposed ? of.output : of.input;
        Axes first{}, last{}; // of the near side, whose far side is inside
        for (std::size_t axis = 0; axis < 3; axis++) {
            const std::int64_t stride = of.stride[axis];
            first[axis] = offset[axis] < 0 ? (-offset[axis] + stride - 1) / stride : 0;
            const std::int64_t room = far[axis] - 1 - offset[axis];
            last[axis] = room < 0 ? -1 : std::min(near[axis] - 1, room / stride);
        }
        for (std::int64_t z = first[0]; z <= last[0]; z++) {
            for (std::int64_t y = first[1]; y <= last[1]; y++) {
                const std::int64_t near_row = (z * near[1] + y) * near[2];
                const std::int64_t far_row =
                    ((z * of.stride[0] + offset[0]) * far[1] + y * of.stride[1] + offset[1]) * far[2] +
                    offset[2];
                for (std::int64_t x = first[2]; x <= last[2]; x++) {
                    const std::int64_t there = far_row + x * of.stride[2];
                    if (of.transposed)
                        out[there] += weight * in[near_row + x];
                    else
                        out[near_row + x] += weight * in[there];
                }
            }
        }
    }
};

} // namespace

} // namespace unstride::bench

int main() {
    unstride::bench::NaiveRival rival;
    return unstride::bench::serve(rival);
}
