// Every form is checked as a layer of its own before it is offered.
#include "bench/rivals/forms.h"

#include "compiler/language/shapes.h"
#include "compiler/weights/initialisers.h"

#include <algorithm>
#include <functional>
#include <numeric>
#include <optional>
#include <utility>
#include <variant>

namespace unstride::bench {

namespace {

// Bilinear upsampling over a border of zeros is a transposed convolution and nothing else.
Layer without_zero_edges(Layer layer) {
    const std::vector<Shape> shapes = infer_shapes(layer);
    for (std::size_t i = 0; i < layer.stages.size(); i++) {
        const auto *upsample = std::get_if<BilinearUpsample>(&layer.stages[i].operation);
        if (upsample == nullptr || upsample->edge != EdgeRule::zero) continue;
        TransposedConv convolution = as_transposed_conv(*upsample, shapes[i].channels);
        convolution.weights = WeightInitialiser::bilinear;
        layer.stages[i].operation = convolution;
    }
    return layer;
}

TransposedConv *bilinear_convolution(Layer *layer) {
    for (Stage &stage : layer->stages) {
        auto *convolution = std::get_if<TransposedConv>(&stage.operation);
        if (convolution != nullptr && convolution->weights == WeightInitialiser::bilinear) return convolution;
    }
    return nullptr;
}

std::optional<Layer> channel_by_channel(Layer layer) {
    TransposedConv *convolution = bilinear_convolution(&layer);
    if (convolution == nullptr || convolution->groups == convolution->output_channels) return std::nullopt;
    convolution->groups = convolution->output_channels;
    return layer;
}

// Whether a stage computes every pixel by itself from one tensor.
bool is_pointwise(const StageOperation &operation) {
    return std::holds_alternative<Bias>(operation) || std::holds_alternative<Scale>(operation) ||
           std::holds_alternative<Prelu>(operation) || std::holds_alternative<Activation>(operation);
}

// The transposed convolution that computes only what a crop keeps.
std::optional<TransposedConv> cropped(TransposedConv convolution, const Crop &crop, const PerAxis &input) {
    const std::vector<ResolvedPadding> padding = resolve_padding(convolution, input);
    Padding pad;
    convolution.output_size.clear();
    convolution.output_pad.assign(input.size(), 0);
    for (std::size_t axis = 0; axis < input.size(); axis++) {
        const std::int64_t begin = padding[axis].begin + crop.from[axis];
        const std::int64_t full = convolution.stride[axis] * (input[axis] - 1) +
                                  convolution.dilation[axis] * (convolution.kernel[axis] - 1) + 1;
        const std::int64_t end = full - begin - crop.size[axis];
        if (end < 0) return std::nullopt;
        pad.begin.push_back(begin);
        pad.end.push_back(end);
    }
    convolution.pad = pad;
    return convolution;
}

std::optional<Layer> with_crop_as_padding(Layer layer) {
    const std::vector<Shape> shapes = infer_shapes(layer);
    for (std::size_t at = 1; at < layer.stages.size(); at++) {
        const auto *crop = std::get_if<Crop>(&layer.stages[at].operation);
        if (crop == nullptr) continue;
        std::size_t from = at - 1;
        while (from > 0 && is_pointwise(layer.stages[from].operation))
            from--;
        const auto *convolution = std::get_if<TransposedConv>(&layer.stages[from].operation);
        if (convolution == nullptr) return std::nullopt;
        const auto smaller = cropped(*convolution, *crop, shapes[from].spatial);
        if (!smaller) return std::nullopt;
        layer.stages[from].operation = *smaller;
        layer.stages.erase(layer.stages.begin() + static_cast<std::ptrdiff_t>(at));
        return layer;
    }
    return std::nullopt;
}

std::int64_t product(const PerAxis &sizes) {
    return std::accumulate(sizes.begin(), sizes.end(), std::int64_t{1}, std::multiplies<>());
}

// The position on each axis of an element of a box, the last axis fastest.
PerAxis position(std::int64_t element, const PerAxis &sizes) {
    PerAxis result(sizes.size());
    for (std::size_t axis = sizes.size(); axis-- > 0; element /= sizes[axis])
        result[axis] = element % sizes[axis];
    return result;
}

// (CO, CI, ...) to (CI, CO, ...): each element of the convolution's kernel goes to f of the other on every
// axis.
std::vector<float> folded_kernel(const Conv &conv, const PerAxis &factor, std::int64_t input_channels,
                                 std::span<const float> weights) {
    PerAxis larger = conv.kernel;
    for (std::size_t axis = 0; axis < larger.size(); axis++)
        larger[axis] += factor[axis] - 1;
    const std::int64_t from = product(conv.kernel), to = product(larger), repeats = product(factor);
    std::vector<double> sums(static_cast<std::size_t>(conv.output_channels * input_channels * to));
    for (std::int64_t t = 0; t < from; t++) {
        for (std::int64_t r = 0; r < repeats; r++) {
            const PerAxis tap = position(t, conv.kernel), repeat = position(r, factor);
            std::int64_t m = 0;
            for (std::size_t axis = 0; axis < larger.size(); axis++)
                m = m * larger[axis] + conv.kernel[axis] - 1 - tap[axis] + repeat[axis];
            for (std::int64_t co = 0; co < conv.output_channels; co++) {
                for (std::int64_t ci = 0; ci < input_channels; ci++) {
                    sums[static_cast<std::size_t>((ci * conv.output_channels + co) * to + m)] +=
                        weights[static_cast<std::size_t>((co * input_channels + ci) * from + t)];
                }
            }
        }
    }
    return {sums.begin(), sums.end()};
}

// A convolution of an image enlarged by repeating its pixels f times, as the transposed convolution of stride
// f of the image before: with P = kernel - 1 - pad its weight m is, on each axis, the sum of w[kernel - 1 - m
// + r] over 0 <= r < f.
std::optional<Form> folded(const Layer &layer, std::span<const float> weights) {
    for (std::size_t at = 0; at + 1 < layer.stages.size(); at++) {
        const auto *enlarged = std::get_if<NearestUpsample>(&layer.stages[at].operation);
        const auto *conv = std::get_if<Conv>(&layer.stages[at + 1].operation);
        if (enlarged == nullptr || conv == nullptr || conv->groups != 1) continue;
        const std::vector<Shape> shapes = infer_shapes(layer);
        const std::vector<ResolvedPadding> padding = resolve_padding(*conv, shapes[at + 1].spatial);
        TransposedConv transposed;
        transposed.output_channels = conv->output_channels;
        transposed.stride = enlarged->factor;
        transposed.dilation = conv->dilation;
        transposed.output_pad.assign(conv->kernel.size(), 0);
        Padding pad;
        for (std::size_t axis = 0; axis < conv->kernel.size(); axis++) {
            const std::int64_t last = conv->kernel[axis] - 1;
            if (conv->stride[axis] != 1 || conv->dilation[axis] != 1 || padding[axis].begin > last ||
                padding[axis].end > last)
                return std::nullopt;
            transposed.kernel.push_back(last + enlarged->factor[axis]);
            pad.begin.push_back(last - padding[axis].begin);
            pad.end.push_back(last - padding[axis].end);
        }
        transposed.pad = pad;
        Form form{"folded", layer, folded_kernel(*conv, enlarged->factor, shapes[at + 1].channels, weights)};
        form.layer.stages[at].operation = transposed;
        form.layer.stages.erase(form.layer.stages.begin() + static_cast<std::ptrdiff_t>(at + 1));
        return form;
    }
    return std::nullopt;
}

} // namespace

std::vector<Form> forms_of(const Layer &layer, std::span<const float> weights) {
    std::vector<Form> forms = {{"", without_zero_edges(layer), {}}};
    if (auto other = channel_by_channel(forms[0].layer)) forms.push_back({"by channel", *other, {}});
    for (std::size_t i = 0, count = forms.size(); i < count; i++) {
        auto other = with_crop_as_padding(forms[i].layer);
        if (!other || !check_shapes(*other).empty()) continue;
        const std::string name = forms[i].name.empty() ? "padded" : forms[i].name + ", padded";
        forms.push_back({name, *other, {}});
    }
    if (auto other = folded(layer, weights); other && check_shapes(other->layer).empty())
        forms.push_back(std::move(*other));
    for (Form &form : forms) {
        if (const TransposedConv *convolution = bilinear_convolution(&form.layer)) {
            form.weights =
                bilinear_kernel(convolution->output_channels, convolution->groups, convolution->kernel)
                    .values;
        }
    }
    return forms;
}

} // namespace unstride::bench
