// Matrix products by OpenBLAS, in the two ways that most frameworks fall back to: a transposed convolution as
// a product with the whole kernel, scattered into the output (col2im), or as a convolution over an input with
// zeros inserted. Convolutions are a gather (im2col) and a product.
#include "bench/rivals/plain_rival.h"

#include <cblas.h>

#include <algorithm>

// The wheel of scipy-openblas64 renames what OpenBLAS exports.
#ifdef UNSTRIDE_SCIPY_OPENBLAS
#define BLAS(name) scipy_##name##64_
#else
#define BLAS(name) name
#endif

namespace unstride::bench {

namespace {

const char *const by_scatter = "col2im", *const by_zeros = "zero insertion";

// A matrix product with column buffers beyond this would not fit a machine of ordinary size.
constexpr std::int64_t most_column_bytes = std::int64_t{2} << 30;

// OpenBLAS's jobs on OpenMP's threads: threads of its own would wait for work on the same processors.
void run_jobs(int, openblas_dojob_callback job, int count, std::size_t size, void *data, int argument) {
#pragma omp parallel for
    for (int i = 0; i < count; i++)
        job(i, static_cast<char *>(data) + static_cast<std::size_t>(i) * size, argument);
}

// Where tap (z, y, x) of a convolution meets position p: p * stride + tap * dilation - pad.
struct Taps {
    const Convolution &of;

    Axes offset(std::int64_t tap) const {
        return {tap / of.kernel[2] / of.kernel[1] * of.dilation[0] - of.pad[0],
                tap / of.kernel[2] % of.kernel[1] * of.dilation[1] - of.pad[1],
                tap % of.kernel[2] * of.dilation[2] - of.pad[2]};
    }

    // Calls visit(first near index, first far index, count, far step) for each row of pairs of `near` and
    // `far` positions that a tap connects.
    template<typename Visit>
    void for_each_row(std::int64_t tap, const Axes &near, const Axes &far, const Visit &visit) const {
        const Axes by = offset(tap);
        const std::int64_t first = by[2] < 0 ? (-by[2] + of.stride[2] - 1) / of.stride[2] : 0;
        const std::int64_t room = far[2] - 1 - by[2];
        const std::int64_t end = room < 0 ? 0 : std::min(near[2], room / of.stride[2] + 1);
        for (std::int64_t z = 0; z < near[0]; z++) {
            for (std::int64_t y = 0; y < near[1]; y++) {
                const std::int64_t fz = z * of.stride[0] + by[0], fy = y * of.stride[1] + by[1];
                const bool inside = fz >= 0 && fz < far[0] && fy >= 0 && fy < far[1];
                visit((z * near[1] + y) * near[2], first,
                      (fz * far[1] + fy) * far[2] + first * of.stride[2] + by[2],
                      inside ? std::max<std::int64_t>(end - first, 0) : 0);
            }
        }
    }
};

class GemmRival : public PlainRival {
public:
    Identity identity() const override {
        return {"OpenBLAS", BLAS(openblas_get_config)(), {by_scatter, by_zeros}, UNSTRIDE_OPENBLAS_LIBRARY};
    }

    void load(const Problem &problem, const std::string &variant, int threads) override {
        variant_ = variant;
        BLAS(openblas_set_num_threads)(threads);
        BLAS(openblas_set_threads_callback_function)(run_jobs);
        PlainRival::load(problem, variant, threads);
    }

    std::string implementation() const override { return BLAS(openblas_get_corename)(); }

protected:
    void prepare(const Convolution &of, int) override {
        if (variant_ == by_zeros && !of.transposed)
            throw Unsupported("without a transposed convolution the same as " + std::string(by_scatter));
        const std::int64_t taps = product(of.kernel);
        const bool scattered = of.transposed && variant_ == by_scatter;
        const std::int64_t rows = (scattered ? of.outputs_per_group() : of.inputs_per_group()) * taps;
        const std::int64_t columns = product(scattered ? of.input : of.output);
        if (rows * columns * std::int64_t{sizeof(float)} > most_column_bytes)
            throw Unsupported("left out: the column buffer needs more than 2 GiB");
        columns_ = AlignedFloats(static_cast<std::size_t>(rows * columns));
        if (of.transposed && variant_ == by_zeros) prepare_zero_insertion(of);
    }

    void convolve(const Convolution &of, const float *input, float *output) override {
        const std::int64_t in_image = of.input_channels * product(of.input);
        const std::int64_t out_image = of.output_channels * product(of.output);
        for (std::int64_t image = 0; image < of.batch; image++) {
            const float *in = input + image * in_image;
            float *out = output + image * out_image;
            if (!of.transposed) {
                gather_and_multiply(of, in, out);
            } else if (variant_ == by_scatter) {
                multiply_and_scatter(of, in, out);
            } else {
                insert_zeros(of, in);
                gather_and_multiply(spread_, inserted_.data(), out);
            }
        }
    }

private:
    std::string variant_;
    AlignedFloats columns_, inserted_, flipped_;
    Convolution spread_; // the convolution over the input with zeros

    // out[o] = sum of x[i] w[k] over i * s + k * d - p = o. With k' = K - 1 - k and u = o + k' * d the input
    // stands at u = i * s + (K - 1) * d - p, all other u are zero.
    void prepare_zero_insertion(const Convolution &of) {
        spread_ = of;
        spread_.transposed = false;
        spread_.stride = {1, 1, 1};
        spread_.pad = {0, 0, 0};
        for (std::size_t axis = 0; axis < 3; axis++)
            spread_.input[axis] = of.output[axis] + (of.kernel[axis] - 1) * of.dilation[axis];
        inserted_ = AlignedFloats(static_cast<std::size_t>(of.input_channels * product(spread_.input)));
        const std::int64_t taps = product(of.kernel);
        flipped_ = AlignedFloats(static_cast<std::size_t>(of.input_channels * of.outputs_per_group() * taps));
        for (std::int64_t co = 0; co < of.output_channels; co++) {
            const std::int64_t first = co / of.outputs_per_group() * of.inputs_per_group();
            for (std::int64_t ci = 0; ci < of.inputs_per_group(); ci++) {
                const float *from =
                    of.weights + ((first + ci) * of.outputs_per_group() + co % of.outputs_per_group()) * taps;
                std::reverse_copy(from, from + taps,
                                  flipped_.data() + (co * of.inputs_per_group() + ci) * taps);
            }
        }
        spread_.weights = flipped_.data();
    }

    // Whatever was there stays: zeros are never overwritten.
    void insert_zeros(const Convolution &of, const float *input) {
        const Axes &size = spread_.input;
        Axes shift{};
        for (std::size_t axis = 0; axis < 3; axis++)
            shift[axis] = (of.kernel[axis] - 1) * of.dilation[axis] - of.pad[axis];
#pragma omp parallel for
        for (std::int64_t channel = 0; channel < of.input_channels; channel++) {
            const float *in = input + channel * product(of.input);
            float *out = inserted_.data() + channel * product(size);
            for (std::int64_t i = 0; i < product(of.input); i++) {
                const std::int64_t z = i / of.input[2] / of.input[1] * of.stride[0] + shift[0];
                const std::int64_t y = i / of.input[2] % of.input[1] * of.stride[1] + shift[1];
                const std::int64_t x = i % of.input[2] * of.stride[2] + shift[2];
                const bool inside = z >= 0 && z < size[0] && y >= 0 && y < size[1] && x >= 0 && x < size[2];
                if (inside) out[(z * size[1] + y) * size[2] + x] = in[i];
            }
        }
    }

    void gather_and_multiply(const Convolution &of, const float *input, float *output) {
        const std::int64_t taps = product(of.kernel), rows = of.inputs_per_group() * taps;
        const std::int64_t in_pixels = product(of.input), out_pixels = product(of.output);
        for (std::int64_t group = 0; group < of.groups; group++) {
            const float *in = input + group * of.inputs_per_group() * in_pixels;
#pragma omp parallel for
            for (std::int64_t row = 0; row < rows; row++) {
                float *column = columns_.data() + row * out_pixels;
                const float *plane = in + row / taps * in_pixels;
                Taps{of}.for_each_row(
                    row % taps, of.output, of.input,
                    [&](std::int64_t near, std::int64_t first, std::int64_t far, std::int64_t count) {
                        std::fill_n(column + near, of.output[2], 0.0f);
                        for (std::int64_t i = 0; i < count; i++)
                            column[near + first + i] = plane[far + i * of.stride[2]];
                    });
            }
            BLAS(cblas_sgemm)
            (CblasRowMajor, CblasNoTrans, CblasNoTrans, of.outputs_per_group(), out_pixels, rows, 1,
             of.weights + group * of.outputs_per_group() * rows, rows, columns_.data(), out_pixels, 0,
             output + group * of.outputs_per_group() * out_pixels, out_pixels);
        }
    }

    void multiply_and_scatter(const Convolution &of, const float *input, float *output) {
        const std::int64_t taps = product(of.kernel), rows = of.outputs_per_group() * taps;
        const std::int64_t in_pixels = product(of.input), out_pixels = product(of.output);
        for (std::int64_t group = 0; group < of.groups; group++) {
            const std::int64_t from = group * of.inputs_per_group();
            BLAS(cblas_sgemm)
            (CblasRowMajor, CblasTrans, CblasNoTrans, rows, in_pixels, of.inputs_per_group(), 1,
             of.weights + from * rows, rows, input + from * in_pixels, in_pixels, 0, columns_.data(),
             in_pixels);
#pragma omp parallel for
            for (std::int64_t channel = 0; channel < of.outputs_per_group(); channel++) {
                float *out = output + (group * of.outputs_per_group() + channel) * out_pixels;
                std::fill_n(out, out_pixels, 0.0f);
                for (std::int64_t tap = 0; tap < taps; tap++) {
                    const float *column = columns_.data() + (channel * taps + tap) * in_pixels;
                    Taps{of}.for_each_row(
                        tap, of.input, of.output,
                        [&](std::int64_t near, std::int64_t first, std::int64_t far, std::int64_t count) {
                            for (std::int64_t i = 0; i < count; i++)
                                out[far + i * of.stride[2]] += column[near + first + i];
                        });
                }
            }
        }
    }
};

} // namespace

} // namespace unstride::bench

int main() {
    unstride::bench::GemmRival rival;
    return unstride::bench::serve(rival);
}
