// The names of the stages in the layer language.
#include "compiler/language/layer.h"

namespace unstride {
namespace {

struct StageName {
    const char *operator()(const Conv &) const { return "conv"; }
    const char *operator()(const TransposedConv &) const { return "transposed_conv"; }
    const char *operator()(const PixelShuffle &) const { return "pixel_shuffle"; }
    const char *operator()(const PixelUnshuffle &) const { return "pixel_unshuffle"; }
    const char *operator()(const NearestUpsample &) const { return "nearest_upsample"; }
    const char *operator()(const BilinearUpsample &) const { return "bilinear_upsample"; }
    const char *operator()(const Bias &) const { return "bias"; }
    const char *operator()(const Scale &) const { return "scale"; }
    const char *operator()(const Prelu &) const { return "prelu"; }
    const char *operator()(const Add &) const { return "add"; }
    const char *operator()(const Crop &) const { return "crop"; }
    const char *operator()(const Activation &activation) const {
        switch (activation.kind) {
        case ActivationKind::relu:
            return "relu";
        case ActivationKind::leaky_relu:
            return "leaky_relu";
        case ActivationKind::clamp:
            return "clamp";
        case ActivationKind::tanh:
            return "tanh";
        case ActivationKind::sigmoid:
            return "sigmoid";
        case ActivationKind::silu:
            return "silu";
        case ActivationKind::gelu:
            return "gelu";
        }
        return "activation";
    }
};

} // namespace

const char *stage_name(const StageOperation &operation) {
    return std::visit(StageName{}, operation);
}

} // namespace unstride
