// Elementwise stages as Halide expressions.
#pragma once

#include "compiler/language/layer.h"

#include <Halide.h>

#include <vector>

namespace unstride {

// The activation of a float32 value, as PyTorch defines it (torch.nn.ReLU, LeakyReLU, Hardtanh, Tanh,
// Sigmoid, SiLU, and GELU with approximate='none'):
//   relu(x) = max(x, 0)                 leaky_relu(x) = x for x > 0, a * x otherwise
//   clamp(x) = min(max(x, a), b)        tanh(x) = (e^x - e^-x) / (e^x + e^-x)
//   sigmoid(x) = 1 / (1 + e^-x)         silu(x) = x * sigmoid(x)
//   gelu(x) = x * Phi(x), Phi the cumulative distribution function of the standard normal distribution
//
// NaN stays NaN, infinities give the limits, tanh is odd to the last bit and keeps the sign of zero, and no
// result leaves the range of its function. The four functions that round are within the larger of these two
// errors of their value, for every finite input, whether or not the target fuses multiplications and
// additions, if it rounds divisions correctly and keeps subnormal numbers (the 2.5 ulp that OpenCL allows a
// division add 2 ulp):
//   tanh      4 ulp             2^-149 (the smallest subnormal float)
//   sigmoid   4 ulp             1.2e-38 (results below the smallest normal float become 0)
//   silu      4 ulp             1.1e-36 (results for x < -87.33654 become 0)
//   gelu      4 ulp             6e-8 (results for x <= -6.5 become 0)
Halide::Expr activate(const Activation &activation, const Halide::Expr &value);

// A chain of them, first to last.
Halide::Expr activate(const std::vector<Activation> &activations, Halide::Expr value);

} // namespace unstride
