// Definitions follow PyTorch: relu(x) = max(x, 0), leaky_relu(x) = x for x > 0 else a * x, clamp(x) =
// min(max(x, lo), hi).
#include "generators/elementwise.h"

namespace unstride {

using Halide::Expr;

Expr activate(const Activation &activation, const Expr &value) {
    const Expr a = static_cast<float>(activation.a), b = static_cast<float>(activation.b);
    switch (activation.kind) {
    // The comparisons are written so that NaN takes the branch that keeps it.
    case ActivationKind::relu:
        return Halide::select(value < 0.0f, 0.0f, value);
    case ActivationKind::leaky_relu:
        return Halide::select(value < 0.0f, value * a, value);
    case ActivationKind::clamp:
        return Halide::select(value < a, a, Halide::select(value > b, b, value));
    case ActivationKind::tanh:
    case ActivationKind::sigmoid:
    case ActivationKind::silu:
    case ActivationKind::gelu:
        break;
    }
    throw Halide::CompileError("an activation that lowering should have refused");
}

Expr activate(const std::vector<Activation> &activations, Expr value) {
    for (const Activation &activation : activations)
        value = activate(activation, value);
    return value;
}

} // namespace unstride
