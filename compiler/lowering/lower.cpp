// From a layer's chain of stages to one phase convolution, or the reason why there is none.
#include "compiler/language/arguments.h"
#include "compiler/lowering/filters.h"
#include "compiler/lowering/phase_convolution.h"

#include <fmt/format.h>

#include <algorithm>
#include <limits>
#include <optional>
#include <string>

namespace unstride {

namespace {

constexpr const char *second_layer = "; begin a second layer here";

// Walks a chain and composes its stages, or keeps the first reason why they do not compose.
//
// What composes: activations, then at most one pixel_unshuffle or nearest_upsample, activations, then at most
// one convolution or bilinear_upsample; after it per-channel stages, activations and `add` in any order, at
// most one pixel_shuffle, and any crops.
class ChainLowering {
public:
    explicit ChainLowering(const Layer &layer) : layer(layer), shapes(infer_shapes(layer)) {
        const Shape &in = shapes.front(), &out = shapes.back();
        result.batch = in.batch;
        result.layout = layer.input.layout;
        result.numeric = layer.input.numeric;
        result.input_channels = in.channels;
        result.output_channels = out.channels;
        result.weights = WeightSource::none;
        result.spatial_axes = static_cast<std::int64_t>(in.spatial.size());
        for (std::size_t axis = 0; axis < in.spatial.size(); axis++) {
            PhaseAxis identity;
            identity.input_size = in.spatial[axis];
            identity.output_size = out.spatial[axis];
            identity.phases = conv_phases(1, 1, 0, 0);
            result.axes.push_back(std::move(identity));
        }
    }

    std::variant<PhaseConvolution, Diagnostic> run() {
        if (layer.input.type != ElementType::f32)
            return Diagnostic{layer.position, "input", "only f32 can be compiled yet"};
        if (const char *beyond = tensor_beyond_reach()) {
            return Diagnostic{
                layer.position, "layer",
                fmt::format("the {} must hold at most 2^31 - 1 elements to be compiled", beyond)};
        }
        for (index = 0; index < layer.stages.size(); index++) {
            std::visit([&](const auto &operation) { apply(operation); }, stage().operation);
            if (refusal) return *refusal;
            const std::vector<SizeRule> rules = size_rules(stage().operation, shapes[index]);
            for (std::size_t axis = 0; axis < rules.size(); axis++) {
                SizeStep step{rules[axis], 1, 1};
                if (const auto *crop = std::get_if<Crop>(&stage().operation))
                    step.least = crop->from[axis] + crop->size[axis];
                if (const auto *unshuffle = std::get_if<PixelUnshuffle>(&stage().operation))
                    step.multiple = unshuffle->factor;
                if (step != SizeStep{}) result.axes[axis].sizes.push_back(step);
            }
        }
        if (result.edge == EdgeRule::zero) {
            for (PhaseAxis &axis : result.axes)
                drop_taps_outside(&axis);
        }
        if (result.axes.size() == 1) add_trivial_axis();
        fold_scale();
        return std::move(result);
    }

private:
    const Layer &layer;
    const std::vector<Shape> shapes;
    PhaseConvolution result;
    std::optional<Diagnostic> refusal;
    std::size_t index = 0;
    bool reads_fixed = false;    // a convolution or resize says which inputs are read
    bool epilogue_begun = false; // a per-channel stage or `add` was seen
    bool unshuffled = false, shuffled = false, cropped = false;
    std::optional<NearestUpsample> nearest;

    const Stage &stage() const { return layer.stages[index]; }
    const Shape &before() const { return shapes[index]; }

    void refuse(const std::string &reason) {
        refusal = Diagnostic{stage().position, stage_name(stage().operation), reason};
    }

    // Kernels count elements in 32 bits.
    const char *tensor_beyond_reach() const {
        const auto is_beyond = [](const Shape &shape) {
            PerAxis sizes = shape.spatial;
            sizes.insert(sizes.end(), {shape.batch, shape.channels});
            return capped_product(sizes) > std::numeric_limits<std::int32_t>::max();
        };
        return is_beyond(shapes.front()) ? "input" : is_beyond(shapes.back()) ? "output" : nullptr;
    }

    void set_phases(PhaseAxis *axis, std::vector<Phase> phases) {
        if (phases.empty()) {
            return refuse(
                fmt::format("takes more than {} phases or {} taps on an axis, which is too much for "
                            "one kernel",
                            largest_phase_count, largest_tap_count));
        }
        axis->phases = std::move(phases);
    }

    // A stage that decides what is read must come first.
    bool refuse_late() {
        const char *earlier = reads_fixed      ? "a convolution or bilinear_upsample"
                              : epilogue_begun ? "a per-channel stage or add"
                              : shuffled       ? "pixel_shuffle"
                              : cropped        ? "crop"
                                               : nullptr;
        if (earlier == nullptr) return false;
        refuse(fmt::format("cannot follow {} in one kernel{}", earlier, second_layer));
        return true;
    }

    void apply(const Conv &conv) {
        if (refuse_late()) return;
        reads_fixed = true;
        result.weights = WeightSource::learned;
        result.groups = conv.groups;
        result.weight_shape = weight_shape(conv, before().channels);
        const std::vector<ResolvedPadding> padding = resolve_padding(conv, before().spatial);
        if (unshuffled && conv.groups != 1)
            return refuse("groups must be 1 after pixel_unshuffle in one kernel" + std::string(second_layer));
        for (std::size_t axis = 0; axis < result.axes.size(); axis++) {
            PhaseAxis &lowered = result.axes[axis];
            const std::int64_t kernel = conv.kernel[axis], stride = conv.stride[axis];
            const std::int64_t dilation = conv.dilation[axis], begin = padding[axis].begin;
            lowered.kernel = kernel;
            if (unshuffled) {
                set_phases(&lowered, unshuffled_conv_phases(kernel, dilation, begin, lowered.unshuffle));
                lowered.input_stride = lowered.unshuffle * stride;
            } else {
                const std::int64_t repeat = nearest ? nearest->factor[axis] : 1;
                set_phases(&lowered, conv_phases(kernel, stride, dilation, begin, repeat));
                lowered.input_stride = stride * static_cast<std::int64_t>(lowered.phases.size()) / repeat;
            }
        }
    }

    void apply(const TransposedConv &conv) {
        if (refuse_late()) return;
        if (unshuffled || nearest) {
            return refuse(fmt::format("cannot follow {} in one kernel{}",
                                      unshuffled ? "pixel_unshuffle" : "nearest_upsample", second_layer));
        }
        const bool bilinear = conv.weights == WeightInitialiser::bilinear;
        if (bilinear && conv.output_channels != before().channels) {
            return refuse(fmt::format("weights=bilinear needs as many output as input channels to be "
                                      "compiled, got {} and {}",
                                      conv.output_channels, before().channels));
        }
        lower_transposed(conv);
        result.groups = conv.groups;
        result.weights = bilinear ? WeightSource::filter : WeightSource::learned;
        if (!bilinear) result.weight_shape = weight_shape(conv, before().channels);
    }

    void apply(const BilinearUpsample &upsample) {
        if (refuse_late()) return;
        if (unshuffled || nearest) {
            return refuse(fmt::format("cannot follow {} in one kernel{}",
                                      unshuffled ? "pixel_unshuffle" : "nearest_upsample", second_layer));
        }
        result.edge = upsample.edge;
        lower_transposed(as_transposed_conv(upsample, before().channels));
        result.weights = WeightSource::filter;
    }

    void lower_transposed(const TransposedConv &conv) {
        reads_fixed = true;
        result.input_channels_first = true;
        const std::vector<ResolvedPadding> padding = resolve_padding(conv, before().spatial);
        for (std::size_t axis = 0; axis < result.axes.size(); axis++) {
            PhaseAxis &lowered = result.axes[axis];
            lowered.kernel = conv.kernel[axis];
            // A single input pixel is scattered once, whatever the stride: with one phase for every output
            // each multiplies it with its own kernel element, and nothing with the zeros around it.
            const bool one_pixel = before().spatial[axis] == 1 && result.edge == EdgeRule::zero;
            const std::int64_t stride = one_pixel ? shapes[index + 1].spatial[axis] : conv.stride[axis];
            set_phases(&lowered, transposed_conv_phases(conv.kernel[axis], stride, conv.dilation[axis],
                                                        padding[axis].begin));
            if (refusal) return;
            if (conv.weights == WeightInitialiser::bilinear)
                lowered.filter = bilinear_filter(conv.kernel[axis]);
        }
    }

    void apply(const PixelUnshuffle &unshuffle) {
        if (refuse_late()) return;
        if (unshuffled || nearest)
            return refuse(std::string("cannot follow another rearrangement in one kernel") + second_layer);
        unshuffled = true;
        result.unshuffle_order = unshuffle.order;
        for (PhaseAxis &axis : result.axes) {
            axis.unshuffle = unshuffle.factor;
            axis.input_stride = unshuffle.factor;
            set_phases(&axis, unshuffled_conv_phases(1, 1, 0, unshuffle.factor));
        }
    }

    void apply(const NearestUpsample &upsample) {
        if (refuse_late()) return;
        if (unshuffled || nearest)
            return refuse(std::string("cannot follow another rearrangement in one kernel") + second_layer);
        nearest = upsample;
        for (std::size_t axis = 0; axis < result.axes.size(); axis++)
            set_phases(&result.axes[axis], conv_phases(1, 1, 1, 0, upsample.factor[axis]));
    }

    void apply(const PixelShuffle &shuffle) {
        if (shuffled) return refuse(std::string("stands twice in one chain") + second_layer);
        if (unshuffled && !reads_fixed)
            return refuse(std::string("cannot follow pixel_unshuffle in one kernel") + second_layer);
        if (result.has_add()) return refuse(std::string("cannot follow add in one kernel") + second_layer);
        if (nearest && !reads_fixed)
            return refuse(std::string("cannot follow nearest_upsample in one kernel") + second_layer);
        const bool depthwise = result.groups == result.input_channels && result.groups == before().channels;
        if (result.weights == WeightSource::learned && result.groups > 1 && !depthwise)
            return refuse(std::string("cannot follow a grouped convolution in one kernel") + second_layer);
        shuffled = true;
        result.shuffle_order = shuffle.order;
        for (EpilogueStage &stage : result.epilogue)
            stage.before_shuffle = true;
        for (PhaseAxis &axis : result.axes) {
            axis.shuffle = shuffle.factor;
            set_phases(&axis, shuffled_phases(axis.phases, shuffle.factor));
        }
    }

    void apply(const Crop &crop) {
        if (result.has_add()) return refuse(std::string("cannot follow add in one kernel") + second_layer);
        if (unshuffled && !reads_fixed)
            return refuse(std::string("cannot follow pixel_unshuffle in one kernel") + second_layer);
        cropped = true;
        for (std::size_t axis = 0; axis < result.axes.size(); axis++) {
            PhaseAxis &cut = result.axes[axis];
            cut.phases = cropped_phases(cut.phases, crop.from[axis], cut.input_stride);
        }
    }

    void apply(const Activation &activation) {
        // Before a convolution it acts on the input. A rearrangement or repetition of pixels keeps values, so
        // it makes no difference on which side of one an activation stands.
        if (!reads_fixed && !epilogue_begun && convolution_follows()) {
            result.prologue.push_back(activation);
        } else {
            result.epilogue.push_back({activation, false});
        }
    }

    bool convolution_follows() const {
        return std::any_of(layer.stages.begin() + static_cast<std::ptrdiff_t>(index), layer.stages.end(),
                           [](const Stage &later) {
                               return std::holds_alternative<Conv>(later.operation) ||
                                      std::holds_alternative<TransposedConv>(later.operation) ||
                                      std::holds_alternative<BilinearUpsample>(later.operation);
                           });
    }

    template<typename PerChannel>
    void apply(const PerChannel &operation) {
        epilogue_begun = true;
        const bool twice =
            std::any_of(result.epilogue.begin(), result.epilogue.end(), [](const EpilogueStage &earlier) {
                return std::holds_alternative<PerChannel>(earlier.operation);
            });
        if (twice) return refuse(std::string("stands twice in one chain") + second_layer);
        result.epilogue.push_back({operation, false});
    }

    // One spatial axis is computed as the last of two.
    void add_trivial_axis() {
        PhaseAxis axis;
        axis.input_size = 1;
        axis.output_size = 1;
        axis.phases = conv_phases(1, 1, 0, 0);
        if (!result.axes[0].filter.empty()) axis.filter = {1.0};
        result.axes.insert(result.axes.begin(), std::move(axis));
    }

    // Learned weights take the scales that follow them directly.
    void fold_scale() {
        if (result.weights != WeightSource::learned) return;
        auto end = result.epilogue.begin();
        while (end != result.epilogue.end() && (std::holds_alternative<Bias>(end->operation) ||
                                                std::holds_alternative<Scale>(end->operation)))
            ++end;
        result.folded.assign(result.epilogue.begin(), end);
        result.epilogue.erase(result.epilogue.begin(), end);
    }
};

} // namespace

std::variant<PhaseConvolution, Diagnostic> lower(const Layer &layer) {
    return ChainLowering(layer).run();
}

} // namespace unstride
