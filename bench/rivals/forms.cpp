// Every form is checked as a layer of its own before it is offered.
#include "bench/rivals/forms.h"

#include "compiler/language/shapes.h"
#include "compiler/weights/initialisers.h"

#include <algorithm>
#include <optional>
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

} // namespace

std::vector<Form> forms_of(const Layer &layer) {
    std::vector<Form> forms = {{"", without_zero_edges(layer), {}}};
    if (auto other = channel_by_channel(forms[0].layer)) forms.push_back({"by channel", *other, {}});
    for (std::size_t i = 0, count = forms.size(); i < count; i++) {
        auto other = with_crop_as_padding(forms[i].layer);
        if (!other || !check_shapes(*other).empty()) continue;
        const std::string name = forms[i].name.empty() ? "padded" : forms[i].name + ", padded";
        forms.push_back({name, *other, {}});
    }
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
