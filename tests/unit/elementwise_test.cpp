// The activations as compiled code against double precision, over floats of every magnitude.
#include "generators/elementwise.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <fstream>
#include <iterator>
#include <limits>
#include <numbers>
#include <regex>
#include <string>
#include <vector>

namespace unstride {
namespace {

constexpr float infinity = std::numeric_limits<float>::infinity();
constexpr float nan_value = std::numeric_limits<float>::quiet_NaN();

// The values given to a compiled activation in one call.
constexpr int chunk = 1 << 16;

struct Compiled {
    Halide::ImageParam input{Halide::Float(32), 1, "input"};
    Halide::Func output{"output"};

    explicit Compiled(const Activation &activation) {
        Halide::Var i{"i"};
        output(i) = activate(activation, input(i));
        output.vectorize(i, 8);
    }
    void run(std::vector<float> &in, std::vector<float> &out, const Halide::Target &target) {
        const int size = static_cast<int>(in.size());
        input.set(Halide::Buffer<float>(in.data(), size));
        Halide::Buffer<float> results(out.data(), size);
        output.realize(results, target);
    }
};

// The host as it is, and as it would be without fused multiplication and addition, where it can be asked for
// that.
std::vector<Halide::Target> targets() {
    const Halide::Target host = Halide::get_jit_target_from_environment();
    std::vector<Halide::Target> result = {host};
    if (host.arch == Halide::Target::X86)
        result.push_back(
            Halide::Target(host.os, host.arch, host.bits, {Halide::Target::SSE41, Halide::Target::JIT}));
    return result;
}

std::vector<float> values_of(const Activation &activation, std::vector<float> values,
                             const Halide::Target &target) {
    const std::size_t count = values.size();
    values.resize((count + 7) / 8 * 8); // whole vectors
    std::vector<float> results(values.size());
    Compiled(activation).run(values, results, target);
    results.resize(count);
    return results;
}

std::string bits_of(float value) {
    char text[64];
    std::snprintf(text, sizeof text, "%.9g (0x%08x)", value, std::bit_cast<std::uint32_t>(value));
    return text;
}

double sigmoid(double x) {
    return 1 / (1 + std::exp(-x));
}

struct Function {
    Activation activation;
    double (*expected)(double);
    double absolute;             // the error allowed, where 4 ulp are less
    float low, high;             // limits of the function's values
    std::vector<float> critical; // around these, both signs, every float is tried
};

constexpr double allowed_ulps = 4;

std::vector<Function> functions() {
    return {
        {.activation = {ActivationKind::tanh},
         .expected = [](double x) { return std::tanh(x); },
         .absolute = 0x1p-149,
         .low = -1,
         .high = 1,
         .critical = {0.17328680f, 0.5f, 0.51986039f, 1, 9.01f, 10}},
        {.activation = {ActivationKind::sigmoid},
         .expected = sigmoid,
         .absolute = 1.2e-38,
         .low = 0,
         .high = 1,
         .critical = {0.34657359f, 1, 16.6f, 87.33654f, 88.7f, 104}},
        {.activation = {ActivationKind::silu},
         .expected = [](double x) { return x * sigmoid(x); },
         .absolute = 1.1e-36,
         .low = -0.2785f,
         .high = infinity,
         .critical = {0.34657359f, 1.2784645f, 87.33654f, 88, 104}},
        {.activation = {ActivationKind::gelu},
         .expected = [](double x) { return 0.5 * x * std::erfc(-x / std::numbers::sqrt2); },
         .absolute = 6e-8,
         .low = -0.17f,
         .high = infinity,
         .critical = {0.375f, 0.7517916f, 1, 2, 6.5f}},
    };
}

// The distance between neighbouring floats at a value.
double ulp_of(double value) {
    return std::ldexp(1.0, std::max(std::ilogb(std::max(std::abs(value), 0x1p-149)), -126) - 23);
}

// Errors met so far, and where the largest were.
class Errors {
public:
    Errors(const Function &function, std::string where) : function(function), where(std::move(where)) {}

    void compare(float x, float got) {
        const double expected = function.expected(x), error = std::abs(got - expected);
        const double ulp = ulp_of(expected);
        if (!(error <= std::max(allowed_ulps * ulp, function.absolute)) || got < function.low ||
            got > function.high)
            fail(x, got, expected);
        if (error > allowed_ulps * ulp && error > largest) largest = error, largest_at = x;
        if (error > function.absolute && error / ulp > most_ulps) most_ulps = error / ulp, most_ulps_at = x;
    }
    void compare_odd(float x, float got, float of_minus_x) {
        if (std::bit_cast<std::uint32_t>(got) != std::bit_cast<std::uint32_t>(-of_minus_x))
            fail(x, got, -of_minus_x);
    }
    void report() const {
        EXPECT_EQ(failures, 0) << stage_name(function.activation) << " on " << where;
        std::printf("%-8s %6.3f ulp at %-30s %9.3g absolute at %-30s %s\n", stage_name(function.activation),
                    most_ulps, bits_of(most_ulps_at).c_str(), largest, bits_of(largest_at).c_str(),
                    where.c_str());
    }

private:
    void fail(float x, float got, double expected) {
        if (++failures <= 5)
            ADD_FAILURE() << stage_name(function.activation) << "(" << bits_of(x) << ") is " << bits_of(got)
                          << ", expected " << expected << " on " << where;
    }

    const Function &function;
    std::string where;
    double largest = 0, most_ulps = 0;
    float largest_at = 0, most_ulps_at = 0;
    int failures = 0;
};

// The non-negative finite floats that are tried, as bits.
std::vector<std::uint32_t> patterns(const Function &function) {
    constexpr std::uint32_t end = 0x7f800000, step = 256;
    std::vector<std::uint32_t> result;
    // The place within a step varies, so that low bits are not always zero.
    for (std::uint32_t i = 0; i < end / step; i++)
        result.push_back(i * step + i * 157 % step);
    for (std::uint32_t subnormal = 0; subnormal < 4096; subnormal++)
        result.push_back(subnormal);
    for (const float centre : function.critical) {
        const auto bits = std::bit_cast<std::uint32_t>(centre);
        for (std::uint32_t near = bits - 40000; near < bits + 40000; near++)
            result.push_back(near);
    }
    return result;
}

TEST(Elementwise, ErrorsAreWithinTheStatedBounds) {
    for (const Function &function : functions()) {
        const bool odd = function.activation.kind == ActivationKind::tanh;
        Compiled compiled(function.activation);
        const std::vector<std::uint32_t> all = patterns(function);
        for (const Halide::Target &target : targets()) {
            Errors errors(function, target.to_string());
            std::vector<float> in(2 * chunk), out(2 * chunk);
            for (std::size_t begin = 0; begin < all.size(); begin += chunk) {
                for (std::size_t i = 0; i < chunk; i++) {
                    in[i] = std::bit_cast<float>(all[std::min(begin + i, all.size() - 1)]);
                    in[chunk + i] = -in[i];
                }
                compiled.run(in, out, target);
                for (std::size_t i = 0; i < in.size(); i++)
                    errors.compare(in[i], out[i]);
                for (std::size_t i = 0; odd && i < chunk; i++)
                    errors.compare_odd(in[i], out[i], out[chunk + i]);
            }
            errors.report();
        }
    }
}

TEST(Elementwise, NanStaysNan) {
    for (const ActivationKind kind :
         {ActivationKind::relu, ActivationKind::leaky_relu, ActivationKind::clamp, ActivationKind::tanh,
          ActivationKind::sigmoid, ActivationKind::silu, ActivationKind::gelu}) {
        const Activation activation{kind, 0.1, 0.3};
        for (const Halide::Target &target : targets()) {
            for (const float result : values_of(activation, {nan_value, -nan_value}, target))
                EXPECT_TRUE(std::isnan(result)) << stage_name(activation) << " on " << target;
        }
    }
}

TEST(Elementwise, LimitsAndZeros) {
    const std::vector<float> x = {-infinity, -0.0f, 0.0f, infinity};
    const struct {
        Activation activation;
        std::vector<float> expected; // to the bit
    } cases[] = {
        {{ActivationKind::relu}, {0, -0.0f, 0, infinity}},
        {{ActivationKind::leaky_relu, 0.1}, {-infinity, -0.0f, 0, infinity}},
        {{ActivationKind::clamp, -3, 0.5}, {-3, -0.0f, 0, 0.5f}},
        {{ActivationKind::tanh}, {-1, -0.0f, 0, 1}},
        {{ActivationKind::sigmoid}, {0, 0.5f, 0.5f, 1}},
        {{ActivationKind::silu}, {-0.0f, -0.0f, 0, infinity}},
        {{ActivationKind::gelu}, {0, -0.0f, 0, infinity}},
    };
    for (const auto &[activation, expected] : cases) {
        for (const Halide::Target &target : targets()) {
            const std::vector<float> got = values_of(activation, x, target);
            for (std::size_t i = 0; i < x.size(); i++) {
                EXPECT_EQ(std::bit_cast<std::uint32_t>(got[i]), std::bit_cast<std::uint32_t>(expected[i]))
                    << stage_name(activation) << " of " << x[i] << " is " << got[i] << ", expected "
                    << expected[i] << " on " << target;
            }
        }
    }
}

TEST(Elementwise, ComparisonsAreExact) {
    const std::vector<float> x = {-2, -0.5f, 0, 0.5f, 2};
    for (const Halide::Target &target : targets()) {
        EXPECT_EQ(values_of({ActivationKind::relu}, x, target), (std::vector<float>{0, 0, 0, 0.5f, 2}));
        EXPECT_EQ(values_of({ActivationKind::leaky_relu, 0.25}, x, target),
                  (std::vector<float>{-0.5f, -0.125f, 0, 0.5f, 2}));
        EXPECT_EQ(values_of({ActivationKind::clamp, -1, 1}, x, target),
                  (std::vector<float>{-1, -0.5f, 0, 0.5f, 1}));
    }
}

// Halide's assembly of the activation, without the checks of its arguments.
std::string assembly_of(const Activation &activation, const std::string &target) {
    Compiled compiled(activation);
    const std::string path = testing::TempDir() + "elementwise_test.s";
    compiled.output.compile_to_assembly(path, {compiled.input}, "activation",
                                        Halide::Target(target + "-no_asserts-no_bounds_query-no_runtime"));
    std::ifstream stream(path);
    const std::string assembly{std::istreambuf_iterator<char>(stream), {}};
    return assembly.substr(0, assembly.find("activation_argv")); // a wrapper, which calls the function
}

TEST(Elementwise, VectorCodeHasNoCallsAndNoScalarArithmetic) {
    const struct {
        std::string target;
        std::regex unwanted, division;
    } expectations[] = {
        {"x86-64-linux-sse41", std::regex(R"(\tcall|\t(add|sub|mul|div|min|max|cmp\w*|ucomi)ss\t)"),
         std::regex(R"(\tdivps\t)")},
        {"x86-64-linux-sse41-avx-avx2-fma-f16c",
         std::regex(R"(\tcall|\tv(add|sub|mul|div|min|max|cmp\w*|ucomi|fn?m\w*)ss\t|\tvgather)"),
         std::regex(R"(\tvdivps\t)")},
        {"arm-64-linux", std::regex(R"(\tbl\t|\tf[a-z]+\ts[0-9])"), std::regex(R"(\tfdiv\tv)")},
    };
    for (const auto &[target, unwanted, division] : expectations) {
        for (const Function &function : functions()) {
            const std::string assembly = assembly_of(function.activation, target);
            std::smatch found;
            EXPECT_FALSE(std::regex_search(assembly, found, unwanted))
                << stage_name(function.activation) << " for " << target << " has" << found.str();
            EXPECT_EQ(std::regex_search(assembly, division), function.activation.kind != ActivationKind::gelu)
                << stage_name(function.activation) << " for " << target;
        }
    }
}

} // namespace
} // namespace unstride
