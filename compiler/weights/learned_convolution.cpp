// Finding the stage with weights.
#include "compiler/weights/learned_convolution.h"

#include <fmt/format.h>

#include <optional>

namespace unstride {
namespace {

struct Describe {
    const Shape &input;

    template<typename Convolution>
    std::optional<LearnedConvolution> common(const Convolution &conv) const {
        LearnedConvolution result;
        result.input = input;
        result.output_channels = conv.output_channels;
        result.groups = conv.groups;
        result.kernel = conv.kernel;
        result.stride = conv.stride;
        result.dilation = conv.dilation;
        result.weight_shape = weight_shape(conv, input.channels);
        return result;
    }
    std::optional<LearnedConvolution> operator()(const Conv &conv) const { return common(conv); }
    std::optional<LearnedConvolution> operator()(const TransposedConv &conv) const {
        if (conv.weights != WeightInitialiser::learned) return std::nullopt;
        std::optional<LearnedConvolution> result = common(conv);
        result->transposed = true;
        return result;
    }
    template<typename Other>
    std::optional<LearnedConvolution> operator()(const Other &) const {
        return std::nullopt;
    }
};

} // namespace

double LearnedConvolution::fan_in() const {
    double terms = static_cast<double>(input.channels / groups);
    for (std::size_t axis = 0; axis < kernel.size(); axis++) {
        terms *= static_cast<double>(kernel[axis]);
        if (transposed) terms /= static_cast<double>(stride[axis]);
    }
    return terms;
}

std::variant<LearnedConvolution, Diagnostic> learned_convolution(const Layer &layer) {
    const std::vector<Shape> shapes = infer_shapes(layer);
    std::optional<LearnedConvolution> found;
    for (std::size_t index = 0; index < layer.stages.size(); index++) {
        const Stage &stage = layer.stages[index];
        std::optional<LearnedConvolution> convolution = std::visit(Describe{shapes[index]}, stage.operation);
        if (!convolution) continue;
        if (found) {
            return Diagnostic{stage.position, stage_name(stage.operation),
                              "stands second with learned weights; begin a second layer here"};
        }
        convolution->stage = index;
        found = std::move(convolution);
    }
    if (found) return std::move(*found);
    return Diagnostic{layer.position, "layer",
                      fmt::format("{} has no convolution with learned weights", layer.name)};
}

} // namespace unstride
