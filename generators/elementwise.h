// Elementwise stages as Halide expressions.
#pragma once

#include "compiler/language/layer.h"

#include <Halide.h>

#include <vector>

namespace unstride {

// The activation of a float32 value. NaN stays NaN.
Halide::Expr activate(const Activation &activation, const Halide::Expr &value);

// A chain of them, first to last.
Halide::Expr activate(const std::vector<Activation> &activations, Halide::Expr value);

} // namespace unstride
