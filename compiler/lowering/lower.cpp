// From a layer's chain of stages to one phase convolution, or the reason why there is none.
#include "compiler/lowering/phase_convolution.h"

#include <fmt/format.h>

#include <optional>
#include <string>

namespace unstride {

namespace {

Diagnostic refuse(const Stage &stage, const std::string &reason) {
    return {stage.position, stage_name(stage.operation), reason};
}

bool is_convolution(const StageOperation &stage) {
    return std::holds_alternative<Conv>(stage) || std::holds_alternative<TransposedConv>(stage);
}

// Activations that are compiled; the others parse and are refused here.
bool is_compiled(const Activation &activation) {
    switch (activation.kind) {
    case ActivationKind::relu:
    case ActivationKind::leaky_relu:
    case ActivationKind::clamp:
        return true;
    case ActivationKind::tanh:
    case ActivationKind::sigmoid:
    case ActivationKind::silu:
    case ActivationKind::gelu:
        return false;
    }
    return false;
}

std::optional<std::string> refuse_groups(std::int64_t groups, std::int64_t input_channels,
                                         std::int64_t output_channels) {
    if (groups == 1 || (groups == input_channels && groups == output_channels)) return std::nullopt;
    return fmt::format("groups must be 1, or equal to both input and output channels (depthwise), to be "
                       "compiled, got {} for "
                       "{} and {} channels",
                       groups, input_channels, output_channels);
}

// Fills what both convolutions share; `phases_of` gives an axis its phases.
template<typename Convolution, typename PhasesOf>
void lower_convolution(const Convolution &conv, const Shape &in, const Shape &out, PhasesOf phases_of,
                       PhaseConvolution *result) {
    const std::vector<ResolvedPadding> padding = resolve_padding(conv, in.spatial);
    const std::vector<SizeRule> rules = size_rules(conv, in);
    result->batch = in.batch;
    result->input_channels = in.channels;
    result->output_channels = out.channels;
    result->groups = conv.groups;
    for (std::size_t axis = 0; axis < in.spatial.size(); axis++) {
        PhaseAxis lowered;
        lowered.input_size = in.spatial[axis];
        lowered.output_size = out.spatial[axis];
        lowered.size = rules[axis];
        lowered.kernel = conv.kernel[axis];
        lowered.phases = phases_of(axis, padding[axis].begin);
        result->axes.push_back(std::move(lowered));
    }
}

// The epilogue or prologue that a stage adds, or why it cannot.
std::optional<Diagnostic> lower_elementwise(const Stage &stage, bool convolution_seen,
                                            PhaseConvolution *result) {
    if (const auto *activation = std::get_if<Activation>(&stage.operation)) {
        if (!is_compiled(*activation)) return refuse(stage, "this activation cannot be compiled yet");
        if (convolution_seen) {
            result->epilogue.push_back(*activation);
        } else {
            result->prologue.push_back(*activation);
        }
        return std::nullopt;
    }
    const bool bias = std::holds_alternative<Bias>(stage.operation);
    const bool add = std::holds_alternative<Add>(stage.operation);
    if (!bias && !add) return refuse(stage, "this stage cannot be compiled yet");
    if (!convolution_seen)
        return refuse(stage, "cannot be compiled before the convolution yet; begin a second layer here");
    if ((bias && result->has_bias()) || (add && result->has_add())) {
        return refuse(stage, "stands twice in one chain; begin a second layer here");
    }
    result->epilogue.push_back(stage.operation);
    return std::nullopt;
}

} // namespace

std::variant<PhaseConvolution, Diagnostic> lower(const Layer &layer) {
    const auto refuse_input = [&](const std::string &reason) {
        return Diagnostic{layer.position, "input", reason};
    };
    if (layer.input.type != ElementType::f32) return refuse_input("only f32 can be compiled yet");
    if (layer.input.layout != Layout::nhwc) return refuse_input("only layout=nhwc can be compiled yet");
    if (layer.input.spatial.size() != 2) {
        return refuse_input(
            fmt::format("only two spatial sizes can be compiled yet, got {}", layer.input.spatial.size()));
    }

    const std::vector<Shape> shapes = infer_shapes(layer);
    PhaseConvolution result;
    bool convolution_seen = false;
    for (std::size_t i = 0; i < layer.stages.size(); i++) {
        const Stage &stage = layer.stages[i];
        if (!is_convolution(stage.operation)) {
            if (auto refusal = lower_elementwise(stage, convolution_seen, &result)) return *refusal;
            continue;
        }
        if (convolution_seen)
            return refuse(stage, "a chain holds one convolution; begin a second layer here");
        convolution_seen = true;
        const Shape &in = shapes[i];
        const Shape &out = shapes[i + 1];
        if (const auto *conv = std::get_if<Conv>(&stage.operation)) {
            for (const std::int64_t stride : conv->stride) {
                if (stride != 1) {
                    return refuse(stage, fmt::format("only stride 1 can be compiled yet, got {}", stride));
                }
            }
            if (auto reason = refuse_groups(conv->groups, in.channels, out.channels))
                return refuse(stage, *reason);
            lower_convolution(
                *conv, in, out,
                [&](std::size_t axis, std::int64_t begin) {
                    return conv_phases(conv->kernel[axis], conv->dilation[axis], begin);
                },
                &result);
        } else {
            const auto &transposed = std::get<TransposedConv>(stage.operation);
            if (auto reason = refuse_groups(transposed.groups, in.channels, out.channels)) {
                return refuse(stage, *reason);
            }
            result.input_channels_first = true;
            lower_convolution(
                transposed, in, out,
                [&](std::size_t axis, std::int64_t begin) {
                    return transposed_conv_phases(transposed.kernel[axis], transposed.stride[axis],
                                                  transposed.dilation[axis], begin);
                },
                &result);
        }
    }
    if (!convolution_seen) return refuse_input("a chain without a convolution cannot be compiled yet");
    return result;
}

} // namespace unstride
