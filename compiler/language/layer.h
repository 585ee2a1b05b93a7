// A layer as the layer language states it: an input and a chain of stages, nothing derived.
#pragma once

#include "compiler/language/diagnostic.h"

#include <cstdint>
#include <string>
#include <variant>
#include <vector>

namespace unstride {

// A batch or spatial size written `?`: known only at run time.
inline constexpr std::int64_t dynamic_size = -1;

enum class ElementType { f32, f16, bf16, i8 };
enum class Layout { nhwc, nchw };
enum class NumericPolicy { exact, safe, fast };

// One value per spatial axis, slowest axis first (depth, height, width).
// The parser expands `4` to as many values as the input has spatial axes.
using PerAxis = std::vector<std::int64_t>;

// `same` and `same_lower` are TensorFlow's and ONNX's rules; `stated` means that begin and end hold the
// numbers.
enum class PaddingRule { stated, same, same_lower, valid };

struct Padding {
    PaddingRule rule = PaddingRule::stated;
    PerAxis begin; // empty unless rule == stated
    PerAxis end;
    bool operator==(const Padding &) const = default;
};

struct Input {
    ElementType type = ElementType::f32;
    Layout layout = Layout::nhwc;
    NumericPolicy numeric = NumericPolicy::safe;
    std::int64_t batch = 1;    // dynamic_size for `?`
    PerAxis spatial;           // one to three sizes, each may be dynamic_size
    std::int64_t channels = 1; // never dynamic
    bool operator==(const Input &) const = default;
};

struct Conv {
    std::int64_t output_channels = 0;
    PerAxis kernel, stride, dilation;
    Padding pad;
    std::int64_t groups = 1;
    bool operator==(const Conv &) const = default;
};

enum class WeightInitialiser { learned, bilinear };

struct TransposedConv {
    std::int64_t output_channels = 0;
    PerAxis kernel, stride, dilation;
    Padding pad;
    PerAxis output_pad;
    PerAxis output_size; // empty unless written
    std::int64_t groups = 1;
    WeightInitialiser weights = WeightInitialiser::learned;
    bool operator==(const TransposedConv &) const = default;
};

enum class ShuffleOrder { crd, dcr };

struct PixelShuffle {
    std::int64_t factor = 0;
    ShuffleOrder order = ShuffleOrder::crd;
    bool operator==(const PixelShuffle &) const = default;
};

struct PixelUnshuffle {
    std::int64_t factor = 0;
    ShuffleOrder order = ShuffleOrder::crd;
    bool operator==(const PixelUnshuffle &) const = default;
};

struct NearestUpsample {
    PerAxis factor;
    bool operator==(const NearestUpsample &) const = default;
};

enum class EdgeRule { replicate, zero };
enum class CornerRule { half_pixel, aligned };

struct BilinearUpsample {
    PerAxis factor;
    EdgeRule edge = EdgeRule::replicate;
    CornerRule corners = CornerRule::half_pixel;
    bool has_pad = false; // `pad=` was written
    Padding pad;
    bool operator==(const BilinearUpsample &) const = default;
};

// Per output channel.
struct Bias {
    bool operator==(const Bias &) const = default;
};
struct Scale {
    bool operator==(const Scale &) const = default;
};
struct Prelu {
    bool operator==(const Prelu &) const = default;
};

// Adds a second tensor of the same shape.
struct Add {
    bool operator==(const Add &) const = default;
};

enum class ActivationKind { relu, leaky_relu, clamp, tanh, sigmoid, silu, gelu };

struct Activation {
    ActivationKind kind = ActivationKind::relu;
    double a = 0; // leaky_relu: the slope; clamp: the lower bound
    double b = 0; // clamp: the upper bound
    bool operator==(const Activation &) const = default;
};

struct Crop {
    PerAxis from, size;
    bool operator==(const Crop &) const = default;
};

using StageOperation = std::variant<Conv, TransposedConv, PixelShuffle, PixelUnshuffle, NearestUpsample,
                                    BilinearUpsample, Bias, Scale, Prelu, Add, Activation, Crop>;

struct Stage {
    StageOperation operation;
    SourcePosition position; // of the stage's name; not part of equality
    bool operator==(const Stage &other) const { return operation == other.operation; }
};

struct Layer {
    std::string name; // an identifier: letters, digits, underscores, not starting with a digit
    Input input;
    std::vector<Stage> stages;
    SourcePosition position; // of the layer's name; not part of equality
    bool operator==(const Layer &other) const {
        return name == other.name && input == other.input && stages == other.stages;
    }
};

// The stage's name in the language: "transposed_conv", "leaky_relu", ….
const char *stage_name(const StageOperation &operation);

} // namespace unstride
