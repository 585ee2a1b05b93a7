// The one list of what each stage and the input take as arguments: names, order, defaults and smallest
// values. The parser, the printer and the range check all walk this list, so that they cannot disagree.
#pragma once

#include "compiler/language/layer.h"

#include <array>
#include <cstddef>
#include <limits>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

namespace unstride {

// The largest size, channel count or number of any argument.
inline constexpr std::int64_t largest_size = std::numeric_limits<std::int32_t>::max();

// The largest number of elements of a tensor.
inline constexpr std::int64_t largest_element_count = std::int64_t{1} << 62;

// The product of the factors, or largest_element_count + 1 where it is beyond largest_element_count.
// A factor that is dynamic_size counts as 1. Precondition: the other factors are at least 0.
std::int64_t capped_product(std::span<const std::int64_t> factors);

enum class Presence {
    required,
    defaulted, // has a default, which is not printed
    optional   // may be absent, which differs from every value
};

struct ArgumentRule {
    std::string_view name;
    Presence presence = Presence::required;
    bool positional = false;        // written without its name
    std::int64_t minimum = 1;       // of each number; choices and reals have none
    std::int64_t default_value = 0; // for a choice, the enumerator
};

constexpr ArgumentRule positional(std::string_view name) {
    return {name, Presence::required, true, 1, 0};
}
constexpr ArgumentRule required(std::string_view name, std::int64_t minimum = 1) {
    return {name, Presence::required, false, minimum, 0};
}
constexpr ArgumentRule optional(std::string_view name, std::int64_t minimum) {
    return {name, Presence::optional, false, minimum, 0};
}
// The default of every number in the language is also the smallest value it may take.
constexpr ArgumentRule defaulted(std::string_view name, std::int64_t value) {
    return {name, Presence::defaulted, false, value, value};
}
template<typename Enum>
requires std::is_enum_v<Enum>
constexpr ArgumentRule defaulted(std::string_view name, Enum value) {
    return defaulted(name, static_cast<std::int64_t>(value));
}

// The words of a choice, in the order of its enumerators.
constexpr auto choice_words(ElementType) {
    return std::to_array<std::string_view>({"f32", "f16", "bf16", "i8"});
}
constexpr auto choice_words(Layout) {
    return std::to_array<std::string_view>({"nhwc", "nchw"});
}
constexpr auto choice_words(NumericPolicy) {
    return std::to_array<std::string_view>({"exact", "safe", "fast"});
}
constexpr auto choice_words(WeightInitialiser) {
    return std::to_array<std::string_view>({"learned", "bilinear"});
}
constexpr auto choice_words(ShuffleOrder) {
    return std::to_array<std::string_view>({"crd", "dcr"});
}
constexpr auto choice_words(EdgeRule) {
    return std::to_array<std::string_view>({"replicate", "zero"});
}
constexpr auto choice_words(CornerRule) {
    return std::to_array<std::string_view>({"half_pixel", "aligned"});
}
// `stated` has no word of its own: its numbers are written.
constexpr auto choice_words(PaddingRule) {
    return std::to_array<std::string_view>({"", "same", "same_lower", "valid"});
}

// Calls `visit(rule, field)` for each argument of a stage, in the order of canonical text. The field is an
// integer, a PerAxis, a Padding, a double or one of the choices above. bilinear_upsample's `pad` comes as
// `visit(rule, field, was_written)`, and the input's shape as `visit.shape(input)`.
template<typename Arguments, typename Visitor>
void visit_arguments(Arguments &arguments, Visitor &visit) {
    using Plain = std::remove_const_t<Arguments>;
    constexpr bool is_transposed = std::is_same_v<Plain, TransposedConv>;
    if constexpr (std::is_same_v<Plain, Input>) {
        visit(positional("type"), arguments.type);
        visit.shape(arguments);
        visit(defaulted("layout", Layout::nhwc), arguments.layout);
        visit(defaulted("numeric", NumericPolicy::safe), arguments.numeric);
    } else if constexpr (std::is_same_v<Plain, Conv> || is_transposed) {
        visit(positional("output_channels"), arguments.output_channels);
        visit(required("kernel"), arguments.kernel);
        visit(defaulted("stride", 1), arguments.stride);
        visit(defaulted("pad", 0), arguments.pad);
        visit(defaulted("dilation", 1), arguments.dilation);
        visit(defaulted("groups", 1), arguments.groups);
        if constexpr (is_transposed) {
            visit(defaulted("output_pad", 0), arguments.output_pad);
            visit(optional("output_size", 1), arguments.output_size);
            visit(defaulted("weights", WeightInitialiser::learned), arguments.weights);
        }
    } else if constexpr (std::is_same_v<Plain, PixelShuffle> || std::is_same_v<Plain, PixelUnshuffle>) {
        visit(positional("factor"), arguments.factor);
        visit(defaulted("order", ShuffleOrder::crd), arguments.order);
    } else if constexpr (std::is_same_v<Plain, NearestUpsample>) {
        visit(positional("factor"), arguments.factor);
    } else if constexpr (std::is_same_v<Plain, BilinearUpsample>) {
        visit(positional("factor"), arguments.factor);
        visit(defaulted("edge", EdgeRule::replicate), arguments.edge);
        visit(defaulted("corners", CornerRule::half_pixel), arguments.corners);
        visit(optional("pad", 0), arguments.pad, arguments.has_pad);
    } else if constexpr (std::is_same_v<Plain, Activation>) {
        if (arguments.kind == ActivationKind::leaky_relu) {
            visit(positional("slope"), arguments.a);
        } else if (arguments.kind == ActivationKind::clamp) {
            visit(positional("lo"), arguments.a);
            visit(positional("hi"), arguments.b);
        }
    } else if constexpr (std::is_same_v<Plain, Crop>) {
        visit(required("from", 0), arguments.from);
        visit(required("size"), arguments.size);
    }
}

// A rule that an argument breaks whatever the shape of what enters the stage.
struct ArgumentProblem {
    std::string_view argument;
    std::string message;
};

// Ranges of each argument, and rules between the arguments of one stage. Without `spatial_axes` only the
// ranges are checked; with it each per-axis value must have that many numbers.
std::vector<ArgumentProblem> check_arguments(const StageOperation &operation,
                                             std::optional<std::size_t> spatial_axes);

// Number of spatial sizes, range of each size, number of elements. All are problems of the argument "shape".
std::vector<ArgumentProblem> check_arguments(const Input &input);

} // namespace unstride
