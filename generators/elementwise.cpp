// Activations without calls, tables or gathers: comparisons, multiplications, additions and at most one
// division, so that every target vectorises them.
//
// Halide lets a target reorder float arithmetic and assume that there is no NaN. Where the order or a NaN
// matters, an operation is made strict by itself: Halide::strict_float() would reach into the operand, and
// take fused multiplications and additions from the kernel that the activation ends. An addition of what a
// strict one gave is strict as well if a term is in both, because LLVM looks through the operands of one that
// is not.
#include "generators/elementwise.h"

#include <cstdint>
#include <initializer_list>

namespace unstride {
namespace {

using Halide::Expr;
using Halide::Internal::Call;

Expr strict(Call::IntrinsicOp operation, const Expr &a, const Expr &b) {
    const Halide::Type type = operation == Call::strict_lt ? Halide::Bool() : a.type();
    return Call::make(type, operation, {a, b}, Call::PureIntrinsic);
}

// max(x, bound) and min(x, bound) that keep NaN.
Expr at_least(const Expr &x, const Expr &bound) {
    return Halide::select(strict(Call::strict_lt, x, bound), bound, x);
}
Expr at_most(const Expr &x, const Expr &bound) {
    return Halide::select(strict(Call::strict_lt, bound, x), bound, x);
}

Expr bits(const Expr &x) {
    return Halide::reinterpret<std::uint32_t>(x);
}

// |x| and sign from the representation, the same on every target for NaN and zero: Halide::abs(x) leaves -0
// on some.
Expr magnitude(const Expr &x) {
    return Halide::reinterpret<float>(bits(x) & Expr(0x7fffffffu));
}
Expr with_sign_of(const Expr &x, const Expr &value) {
    return Halide::reinterpret<float>((bits(value) & Expr(0x7fffffffu)) | (bits(x) & Expr(0x80000000u)));
}

// Horner's rule, the coefficient of the highest power first.
Expr polynomial(const Expr &x, std::initializer_list<float> coefficients) {
    Expr sum;
    for (const float coefficient : coefficients)
        sum = sum.defined() ? sum * x + coefficient : Expr(coefficient);
    return sum;
}

struct PowerOfTwo {
    Expr exponent; // y rounded to an integer, as a float
    Expr power;    // 2^exponent
};

// For y in [-126, 127]. The sum's unit is 1, so the addition rounds y, and the low bits of the sum's
// representation are the rounded value plus 127: the exponent field of the power.
PowerOfTwo nearest_power_of_two(const Expr &y) {
    const Expr shift = 0x1.8p23f + 127;
    const Expr sum = strict(Call::strict_add, y, shift);
    return {strict(Call::strict_sub, sum, shift), Halide::reinterpret<float>(bits(sum) << 23)};
}

struct Exponential {
    Expr power;    // 2^n
    Expr fraction; // e^r - 1, so that power * fraction + power is the exponential
};

// e^-z for z in [0, 87.3366], as 2^n * e^r with n = round(-z / ln 2) and r = -z - n * ln 2. ln 2 is split in
// two: n times the first part, of 15 bits, is exact.
Exponential exp_of_minus(const Expr &z) {
    const PowerOfTwo scale = nearest_power_of_two(z * -0x1.715476p0f);
    const Expr high = strict(Call::strict_sub, -z, scale.exponent * 0x1.62e4p-1f);
    const Expr r = strict(Call::strict_sub, high, scale.exponent * 0x1.7f7d1cp-20f);
    // Degree 6 for |r| <= 0.3475 with the terms 1 + r given, minimax in the relative error of e^r (3.2e-9) by
    // reweighted least squares.
    const Expr rest = polynomial(r, {0.0013814236f, 0.0083689028f, 0.041668406f, 0.16666519f, 0.49999993f});
    return {scale.power, r * r * rest + r};
}

// -m / (2 + m) with m = e^-2|x| - 1, which has the relative accuracy of x near 0 because n = 0 there; x gives
// the sign. tanh(10) rounds to 1.
Expr tanh_by_exponential(const Expr &x) {
    const Exponential e = exp_of_minus(2.0f * at_most(magnitude(x), 10.0f));
    const Expr m = e.power * e.fraction + strict(Call::strict_sub, e.power, 1.0f);
    return with_sign_of(x, m / (2.0f + m));
}

// factor * sigmoid(x) as factor * 1 / (1 + e^-|x|), or factor * e^-|x| / (1 + e^-|x|) for x < 0: the divisor
// is in [1, 2] and nothing overflows. An exponential below the smallest normal float is taken as 0.
Expr times_sigmoid(const Expr &factor, const Expr &x) {
    const Expr z = magnitude(x);
    const Exponential e = exp_of_minus(z);
    const Expr exponential =
        Halide::select(strict(Call::strict_lt, 87.33654f, z), 0.0f, e.power * e.fraction + e.power);
    const Expr negative = Halide::reinterpret<std::int32_t>(x) < 0;
    return factor * Halide::select(negative, exponential, 1.0f) / (1.0f + exponential);
}

// relu(x) - |x| * Phi(-|x|), which is x * Phi(x) for either sign and does not cancel.
//   2 * Phi(-z) = 2^y(z), y(z) = z * (polynomial of degree 8) on [0, 6.5]: minimax by reweighted least
//   squares in the error of z * Phi(-z), taken relative to the larger of it and 0.02 (3.7e-8). 2^f / 2 for
//   |f| <= 0.501: degree 5 with the constant term given, minimax in relative error (9.3e-8).
Expr gelu(const Expr &x) {
    const Expr z = magnitude(x);
    const Expr y =
        z * polynomial(z, {3.3010569e-07f, -6.8175122e-06f, 5.8119864e-05f, -2.2949342e-04f, -8.7085481e-05f,
                           0.0070402887f, -0.052498512f, -0.45920367f, -1.1511059f});
    const PowerOfTwo scale = nearest_power_of_two(y);
    const Expr mantissa =
        polynomial(strict(Call::strict_sub, y, scale.exponent),
                   {0.00066321636f, 0.0048358620f, 0.027753683f, 0.12011119f, 0.34657349f, 0.5f});
    const Expr tail = Halide::select(strict(Call::strict_lt, z, 6.5f), z * scale.power * mantissa, 0.0f);
    return at_least(x, 0.0f) - tail;
}

} // namespace

Expr activate(const Activation &activation, const Expr &value) {
    const Expr a = static_cast<float>(activation.a), b = static_cast<float>(activation.b);
    switch (activation.kind) {
    case ActivationKind::relu:
        return at_least(value, 0.0f);
    case ActivationKind::leaky_relu:
        return Halide::select(strict(Call::strict_lt, value, 0.0f), value * a, value);
    case ActivationKind::clamp:
        return at_most(at_least(value, a), b);
    case ActivationKind::tanh:
        return tanh_by_exponential(value);
    case ActivationKind::sigmoid:
        return times_sigmoid(1.0f, value);
    case ActivationKind::silu:
        return times_sigmoid(Halide::max(value, -88.0f), value); // infinity * 0 would be NaN
    case ActivationKind::gelu:
        return gelu(value);
    }
    throw Halide::CompileError("an activation without a definition");
}

Expr activate(const std::vector<Activation> &activations, Expr value) {
    for (const Activation &activation : activations)
        value = activate(activation, value);
    return value;
}

} // namespace unstride
