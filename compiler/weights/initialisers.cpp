// Weights from formulas and seeds.
#include "compiler/weights/initialisers.h"

#include "compiler/language/shapes.h"
#include "compiler/lowering/filters.h"
#include "compiler/weights/kernel_view.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <random>

namespace unstride {
namespace {

// Twelve uniform numbers summed: variance 1, close to normal, and no libm on the way.
double normal_number(std::mt19937_64 &random) {
    double sum = -6;
    for (int i = 0; i < 12; i++)
        sum += static_cast<double>(random() >> 11) * 0x1p-53;
    return sum;
}

} // namespace

Tensor bilinear_kernel(std::int64_t channels, std::int64_t groups, const PerAxis &kernel) {
    const std::int64_t per_group = channels / groups;
    Tensor tensor{{channels, per_group}, {}};
    tensor.shape.insert(tensor.shape.end(), kernel.begin(), kernel.end());
    const std::vector<float> filter = bilinear_weights(kernel);
    tensor.values.assign(static_cast<std::size_t>(channels * per_group) * filter.size(), 0.0f);
    for (std::int64_t c = 0; c < channels; c++) {
        const auto offset = static_cast<std::ptrdiff_t>(c * per_group + c % per_group) *
                            static_cast<std::ptrdiff_t>(filter.size());
        std::copy(filter.begin(), filter.end(), tensor.values.begin() + offset);
    }
    return tensor;
}

std::vector<std::string> bilinear_recipe_warnings(const Layer &layer, std::size_t stage) {
    const auto *conv = std::get_if<TransposedConv>(&layer.stages[stage].operation);
    if (conv == nullptr) return {};
    const PerAxis sizes = infer_shapes(layer)[stage].spatial;
    const std::vector<ResolvedPadding> padding = resolve_padding(*conv, sizes);
    PerAxis cropped(sizes.size(), 0);
    for (std::size_t later = stage + 1; later < layer.stages.size(); later++) {
        if (const auto *crop = std::get_if<Crop>(&layer.stages[later].operation)) {
            for (std::size_t axis = 0; axis < sizes.size(); axis++)
                cropped[axis] += crop->from[axis];
        }
    }
    std::vector<std::string> warnings;
    for (std::size_t axis = 0; axis < sizes.size(); axis++) {
        const std::string_view name = axis_name(axis, sizes.size());
        const std::int64_t factor = conv->stride[axis], kernel = conv->kernel[axis];
        const std::int64_t begin = padding[axis].begin + cropped[axis];
        const std::int64_t half_pixel_kernel = 2 * factor - factor % 2, half_pixel_pad = factor / 2;
        if (conv->dilation[axis] != 1) {
            warnings.push_back(fmt::format("{}: dilation {} spreads the bilinear filter; write dilation=1",
                                           name, conv->dilation[axis]));
        } else if (kernel == 2 * factor - 1 && begin == factor - 1) {
            continue;
        } else if (kernel != half_pixel_kernel) {
            warnings.push_back(fmt::format(
                "{}: kernel {} with stride {} is no bilinear upsampling by {}{}; write "
                "kernel={}, pad={} (or kernel={}, pad={} for aligned corners)",
                name, kernel, factor, factor, kernel == 2 * factor - 1 ? " but a shifted one" : "",
                half_pixel_kernel, half_pixel_pad, 2 * factor - 1, factor - 1));
        } else if (begin != half_pixel_pad) {
            warnings.push_back(fmt::format("{}: padding {} shifts the bilinear upsampling by {} output "
                                           "elements; write pad={}",
                                           name, begin, std::abs(begin - half_pixel_pad), half_pixel_pad));
        }
    }
    return warnings;
}

Tensor normal_weights(const std::vector<std::int64_t> &shape, double deviation, std::uint64_t seed) {
    std::mt19937_64 random(seed);
    std::size_t count = 1;
    for (const std::int64_t size : shape)
        count *= static_cast<std::size_t>(size);
    Tensor tensor{shape, std::vector<float>(count)};
    for (float &value : tensor.values)
        value = static_cast<float>(deviation * normal_number(random));
    return tensor;
}

double he_deviation(const LearnedConvolution &convolution) {
    return std::sqrt(2 / convolution.fan_in());
}

Tensor icnr(const Tensor &sub_kernels, std::size_t output_axis, std::int64_t block, ShuffleOrder order) {
    const std::int64_t channels = sub_kernels.shape[output_axis];
    std::size_t outer = 1, inner = 1; // sizes before and after the output channels
    for (std::size_t axis = 0; axis < sub_kernels.shape.size(); axis++) {
        if (axis == output_axis) continue;
        (axis < output_axis ? outer : inner) *= static_cast<std::size_t>(sub_kernels.shape[axis]);
    }
    Tensor result{sub_kernels.shape, {}};
    result.shape[output_axis] = channels * block;
    result.values.reserve(sub_kernels.values.size() * static_cast<std::size_t>(block));
    for (std::size_t o = 0; o < outer; o++) {
        for (std::int64_t channel = 0; channel < channels * block; channel++) {
            const std::int64_t from = order == ShuffleOrder::crd ? channel / block : channel % channels;
            const std::size_t begin =
                (o * static_cast<std::size_t>(channels) + static_cast<std::size_t>(from)) * inner;
            const auto first = sub_kernels.values.begin() + static_cast<std::ptrdiff_t>(begin);
            result.values.insert(result.values.end(), first, first + static_cast<std::ptrdiff_t>(inner));
        }
    }
    return result;
}

} // namespace unstride
