// Sizes through a chain: padding rules as numbers, the size rule of every stage, and the check of a whole
// layer.
#include "compiler/language/shapes.h"

#include "compiler/integer_division.h"
#include "compiler/language/arguments.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>
#include <optional>

namespace unstride {
namespace {

// How far the taps of one axis reach: dilation·(kernel − 1) + 1.
template<typename Convolution>
std::int64_t reach(const Convolution &conv, std::size_t axis) {
    return conv.dilation[axis] * (conv.kernel[axis] - 1) + 1;
}

// A negative total pads nothing at the beginning: its rows are computed at the end. Otherwise `same` puts the
// smaller half first and `same_lower` the larger one.
ResolvedPadding split_padding(std::int64_t total, PaddingRule rule) {
    if (total < 0) return {0, total};
    const std::int64_t smaller = total / 2;
    const std::int64_t larger = total - smaller;
    return rule == PaddingRule::same_lower ? ResolvedPadding{larger, smaller}
                                           : ResolvedPadding{smaller, larger};
}

bool is_same(const Padding &pad) {
    return pad.rule == PaddingRule::same || pad.rule == PaddingRule::same_lower;
}

ResolvedPadding resolve_padding(const Conv &conv, std::int64_t input_size, std::size_t axis) {
    if (conv.pad.rule == PaddingRule::stated) return {conv.pad.begin[axis], conv.pad.end[axis]};
    if (conv.pad.rule == PaddingRule::valid) return {0, 0};
    if (conv.stride[axis] == 1) return split_padding(reach(conv, axis) - 1, conv.pad.rule);
    const std::int64_t output_size = ceil_divide(input_size, conv.stride[axis]);
    const std::int64_t total = (output_size - 1) * conv.stride[axis] + reach(conv, axis) - input_size;
    return split_padding(std::max<std::int64_t>(total, 0), conv.pad.rule);
}

// Under `same` and `valid` a stated output_size decides the total; without one the output has in·stride
// elements, and for `valid` in·stride + max(reach − stride, 0).
ResolvedPadding resolve_padding(const TransposedConv &conv, std::int64_t input_size, std::size_t axis) {
    if (conv.pad.rule == PaddingRule::stated) return {conv.pad.begin[axis], conv.pad.end[axis]};
    std::int64_t total = reach(conv, axis) - conv.stride[axis];
    if (!conv.output_size.empty()) {
        total = conv.stride[axis] * (input_size - 1) + reach(conv, axis) - conv.output_size[axis];
    }
    if (conv.pad.rule == PaddingRule::valid) return {0, std::min<std::int64_t>(total, 0)};
    return split_padding(total, conv.pad.rule);
}

// The output size of a stated padding, before output_pad.
std::int64_t plain_output_size(const TransposedConv &conv, std::int64_t input_size, std::size_t axis) {
    return conv.stride[axis] * (input_size - 1) + reach(conv, axis) - conv.pad.begin[axis] -
           conv.pad.end[axis];
}

// The smallest and largest output_size that a transposed convolution can have. For stated padding it is
// PyTorch's range; for `same` and `valid` those sizes from which the convolution with the same padding gives
// the input size back.
struct SizeRange {
    std::int64_t smallest = 0;
    std::int64_t largest = 0;
};
SizeRange output_size_range(const TransposedConv &conv, std::int64_t input_size, std::size_t axis) {
    const std::int64_t stride = conv.stride[axis];
    if (conv.pad.rule == PaddingRule::stated) {
        const std::int64_t plain = plain_output_size(conv, input_size, axis);
        return {plain, plain + std::max(stride, conv.dilation[axis]) - 1};
    }
    const std::int64_t smallest = stride * (input_size - 1) + (is_same(conv.pad) ? 1 : reach(conv, axis));
    return {smallest, smallest + stride - 1};
}

std::int64_t resolve_output_pad(const TransposedConv &conv, std::int64_t input_size, std::size_t axis) {
    if (conv.output_size.empty()) return conv.output_pad[axis];
    if (conv.pad.rule != PaddingRule::stated) return 0;
    return conv.output_size[axis] - plain_output_size(conv, input_size, axis);
}

// The size rule of one axis.
struct AxisRule {
    std::int64_t input_size;
    std::size_t axis;

    SizeRule operator()(const Conv &conv) const {
        const std::int64_t stride = conv.stride[axis];
        if (is_same(conv.pad)) return {1, stride - 1, stride};
        const ResolvedPadding pad = resolve_padding(conv, input_size, axis);
        return {1, pad.begin + pad.end - reach(conv, axis) + stride, stride};
    }
    SizeRule operator()(const TransposedConv &conv) const {
        if (!conv.output_size.empty()) return {0, conv.output_size[axis], 1};
        const ResolvedPadding pad = resolve_padding(conv, input_size, axis);
        const std::int64_t stride = conv.stride[axis];
        return {stride, reach(conv, axis) - stride - pad.begin - pad.end + conv.output_pad[axis], 1};
    }
    SizeRule operator()(const PixelShuffle &shuffle) const { return {shuffle.factor, 0, 1}; }
    SizeRule operator()(const PixelUnshuffle &unshuffle) const { return {1, 0, unshuffle.factor}; }
    SizeRule operator()(const NearestUpsample &upsample) const { return {upsample.factor[axis], 0, 1}; }
    SizeRule operator()(const BilinearUpsample &upsample) const {
        const std::int64_t factor = upsample.factor[axis];
        if (upsample.edge == EdgeRule::zero) return (*this)(as_transposed_conv(upsample, 1));
        return {factor, upsample.corners == CornerRule::aligned ? 1 - factor : 0, 1};
    }
    SizeRule operator()(const Crop &crop) const { return {0, crop.size[axis], 1}; }
    template<typename SizeKeeping>
    SizeRule operator()(const SizeKeeping &) const {
        return {};
    }
};

// factor to the power of the number of axes, capped as capped_product is.
std::int64_t block_elements(std::int64_t factor, std::size_t axes) {
    return capped_product(std::vector<std::int64_t>(axes, factor));
}

struct OutputChannels {
    const Shape &input;

    std::int64_t operator()(const Conv &conv) const { return conv.output_channels; }
    std::int64_t operator()(const TransposedConv &conv) const { return conv.output_channels; }
    std::int64_t operator()(const PixelShuffle &shuffle) const {
        return input.channels / block_elements(shuffle.factor, input.spatial.size());
    }
    std::int64_t operator()(const PixelUnshuffle &unshuffle) const {
        const std::int64_t factors[] = {input.channels,
                                        block_elements(unshuffle.factor, input.spatial.size())};
        return capped_product(factors);
    }
    template<typename ChannelKeeping>
    std::int64_t operator()(const ChannelKeeping &) const {
        return input.channels;
    }
};

Shape output_shape(const StageOperation &operation, const Shape &input) {
    Shape output = input;
    output.channels = std::visit(OutputChannels{input}, operation);
    const std::vector<SizeRule> rules = size_rules(operation, input);
    for (std::size_t axis = 0; axis < rules.size(); axis++) {
        output.spatial[axis] = rules[axis].apply(input.spatial[axis]);
    }
    return output;
}

std::int64_t element_count(const Shape &shape) {
    std::vector<std::int64_t> sizes = shape.spatial;
    sizes.insert(sizes.end(), {shape.batch, shape.channels});
    return capped_product(sizes);
}

// Rules of one stage that depend on the shape of what enters it.
class ShapeCheck {
public:
    ShapeCheck(const Shape &input, std::vector<std::string> &messages) : input(input), messages(messages) {}

    // The shape after the stage, or nothing where an error leaves it unknown.
    std::optional<Shape> run(const StageOperation &operation) {
        if (!std::visit(*this, operation)) return std::nullopt;
        Shape output = output_shape(operation, input);
        bool good = true;
        for (std::size_t axis = 0; axis < axes(); axis++) {
            const std::int64_t size = output.spatial[axis];
            if (size == dynamic_size && input.spatial[axis] == dynamic_size) continue;
            good &= check_output(axis_name(axis, axes()), size);
        }
        good &= check_output("channels", output.channels);
        if (!good) return std::nullopt;
        if (element_count(output) > largest_element_count) {
            return fail("output must hold at most 2^62 elements, got more");
        }
        return output;
    }

    // Each of these says whether the output shape can be told.
    bool operator()(const Conv &conv) {
        check_convolution(conv, conv.groups);
        bool good = true;
        for (std::size_t axis = 0; axis < axes(); axis++) {
            if (!is_same(conv.pad) || conv.stride[axis] == 1 || input.spatial[axis] != dynamic_size) continue;
            fail("pad=same with a stride needs a fixed {}, got ?", axis_name(axis, axes()));
            good = false;
        }
        return good;
    }

    bool operator()(const TransposedConv &conv) {
        check_convolution(conv, conv.groups);
        bool good = true;
        for (std::size_t axis = 0; axis < conv.output_size.size(); axis++) {
            const std::string_view name = axis_name(axis, axes());
            if (input.spatial[axis] == dynamic_size) {
                fail("output_size needs a fixed {}, got ?", name);
                good = false;
                continue;
            }
            const SizeRange range = output_size_range(conv, input.spatial[axis], axis);
            const std::int64_t size = conv.output_size[axis];
            if (range.smallest <= size && size <= range.largest) continue;
            fail("output_size of the {} must be between {} and {}, got {}", name, range.smallest,
                 range.largest, size);
            good = false;
        }
        return good;
    }

    bool operator()(const PixelShuffle &shuffle) {
        const std::int64_t block = block_elements(shuffle.factor, axes());
        if (input.channels % block == 0) return true;
        fail("channels must be divisible by factor^{}, got {} channels and factor {}", axes(), input.channels,
             shuffle.factor);
        return false;
    }

    bool operator()(const PixelUnshuffle &unshuffle) {
        bool good = true;
        for (std::size_t axis = 0; axis < axes(); axis++) {
            const std::int64_t size = input.spatial[axis];
            if (size == dynamic_size || size % unshuffle.factor == 0) continue;
            fail("{} must be divisible by the factor {}, got {}", axis_name(axis, axes()), unshuffle.factor,
                 size);
            good = false;
        }
        return good;
    }

    bool operator()(const Crop &crop) {
        for (std::size_t axis = 0; axis < axes(); axis++) {
            const std::int64_t size = input.spatial[axis];
            const std::int64_t end = crop.from[axis] + crop.size[axis];
            if (size == dynamic_size || end <= size) continue;
            fail("from + size must be at most the {} {}, got {}", axis_name(axis, axes()), size, end);
        }
        return true;
    }

    template<typename Unrestricted>
    bool operator()(const Unrestricted &) {
        return true;
    }

private:
    const Shape &input;
    std::vector<std::string> &messages;

    std::size_t axes() const { return input.spatial.size(); }

    template<typename... Values>
    std::nullopt_t fail(fmt::format_string<Values...> format, Values &&...values) {
        messages.push_back(fmt::format(format, std::forward<Values>(values)...));
        return std::nullopt;
    }

    bool check_output(std::string_view name, std::int64_t size) {
        if (size < 1) {
            fail("output {} must be at least 1, got {}", name, size);
        } else if (size > largest_element_count) {
            fail("output {} must be at most {}, got more than 2^62", name, largest_size);
        } else if (size > largest_size) {
            fail("output {} must be at most {}, got {}", name, largest_size, size);
        }
        return 1 <= size && size <= largest_size;
    }

    void check_convolution(const StageOperation &operation, std::int64_t groups) {
        if (input.channels % groups != 0) {
            fail("groups must divide the {} input channels, got {}", input.channels, groups);
        } else if (capped_product(weight_shape(operation, input.channels)) > largest_element_count) {
            fail("weights must hold at most 2^62 elements, got more");
        }
    }
};

} // namespace

std::int64_t SizeRule::apply(std::int64_t in) const {
    if (scale == 0) return shift;
    if (in == dynamic_size) return dynamic_size;
    return floor_divide(scale * in + shift, divisor);
}

TransposedConv as_transposed_conv(const BilinearUpsample &upsample, std::int64_t channels) {
    const bool aligned = upsample.corners == CornerRule::aligned;
    TransposedConv conv;
    conv.output_channels = channels;
    conv.groups = channels;
    conv.weights = WeightInitialiser::bilinear;
    conv.stride = upsample.factor;
    conv.dilation.assign(upsample.factor.size(), 1);
    conv.output_pad.assign(upsample.factor.size(), 0);
    conv.pad = upsample.pad;
    for (std::int64_t factor : upsample.factor) {
        conv.kernel.push_back(aligned ? 2 * factor - 1 : 2 * factor - factor % 2);
        if (upsample.has_pad) continue;
        conv.pad.begin.push_back(aligned ? factor - 1 : factor / 2);
        conv.pad.end.push_back(conv.pad.begin.back());
    }
    return conv;
}

std::vector<ResolvedPadding> resolve_padding(const Conv &conv, const PerAxis &input_sizes) {
    std::vector<ResolvedPadding> pads;
    for (std::size_t axis = 0; axis < input_sizes.size(); axis++) {
        pads.push_back(resolve_padding(conv, input_sizes[axis], axis));
    }
    return pads;
}

std::vector<ResolvedPadding> resolve_padding(const TransposedConv &conv, const PerAxis &input_sizes) {
    std::vector<ResolvedPadding> pads;
    for (std::size_t axis = 0; axis < input_sizes.size(); axis++) {
        pads.push_back(resolve_padding(conv, input_sizes[axis], axis));
    }
    return pads;
}

PerAxis resolve_output_pad(const TransposedConv &conv, const PerAxis &input_sizes) {
    PerAxis pads;
    for (std::size_t axis = 0; axis < input_sizes.size(); axis++) {
        pads.push_back(resolve_output_pad(conv, input_sizes[axis], axis));
    }
    return pads;
}

std::vector<SizeRule> size_rules(const StageOperation &operation, const Shape &input) {
    std::vector<SizeRule> rules;
    for (std::size_t axis = 0; axis < input.spatial.size(); axis++) {
        rules.push_back(std::visit(AxisRule{input.spatial[axis], axis}, operation));
    }
    return rules;
}

std::vector<Shape> infer_shapes(const Layer &layer) {
    std::vector<Shape> shapes = {{layer.input.batch, layer.input.spatial, layer.input.channels}};
    for (const Stage &stage : layer.stages) {
        shapes.push_back(output_shape(stage.operation, shapes.back()));
    }
    return shapes;
}

std::vector<Diagnostic> check_shapes(const Layer &layer) {
    std::vector<Diagnostic> errors;
    for (ArgumentProblem &problem : check_arguments(layer.input)) {
        errors.push_back({layer.position, "input", std::move(problem.message)});
    }
    const bool good_input = errors.empty();
    std::optional<Shape> shape;
    if (good_input) shape = Shape{layer.input.batch, layer.input.spatial, layer.input.channels};

    for (const Stage &stage : layer.stages) {
        const auto axes = good_input ? std::optional(layer.input.spatial.size()) : std::nullopt;
        std::vector<std::string> messages;
        for (ArgumentProblem &problem : check_arguments(stage.operation, axes)) {
            messages.push_back(std::move(problem.message));
        }
        if (!messages.empty()) {
            shape.reset();
        } else if (shape) {
            shape = ShapeCheck(*shape, messages).run(stage.operation);
        }
        for (std::string &message : messages) {
            errors.push_back({stage.position, stage_name(stage.operation), std::move(message)});
        }
    }
    return errors;
}

std::string_view axis_name(std::size_t axis, std::size_t axes) {
    constexpr std::string_view names[] = {"depth", "height", "width"};
    return names[axis + 3 - axes];
}

std::string print(const Shape &shape, Layout layout) {
    std::vector<std::string> sizes;
    const auto add = [&](std::int64_t size) {
        sizes.push_back(size == dynamic_size ? "?" : fmt::format("{}", size));
    };
    add(shape.batch);
    if (layout == Layout::nchw) add(shape.channels);
    for (std::int64_t size : shape.spatial)
        add(size);
    if (layout == Layout::nhwc) add(shape.channels);
    return fmt::format("{}", fmt::join(sizes, "x"));
}

namespace {

// A number with the sign that formulas are written with; `in` for a dynamic size.
std::string term(std::int64_t value) {
    if (value == dynamic_size) return "in";
    return fmt::format("{}", value);
}

// `− 1`, or `− (−1)` for what runs over the end.
std::string minus(std::int64_t value) {
    return value < 0 ? fmt::format("− (−{})", -value) : fmt::format("− {}", value);
}

// The result of a stage's arithmetic, or how it follows from `in` where that is dynamic.
std::string result_text(const SizeRule &rule, std::int64_t input_size) {
    const std::int64_t output_size = rule.apply(input_size);
    if (rule.scale == 0 || input_size != dynamic_size) return fmt::format("{}", output_size);
    std::string text = rule.scale == 1 ? "in" : fmt::format("{}·in", rule.scale);
    if (rule.shift != 0) text += fmt::format(" {} {}", rule.shift < 0 ? "−" : "+", std::abs(rule.shift));
    if (rule.divisor == 1) return text;
    if (rule.shift != 0) text = "(" + text + ")";
    return fmt::format("floor({} / {})", text, rule.divisor);
}

// The left side of the arithmetic on one axis; empty for stages that keep the size.
struct AxisArithmetic {
    std::int64_t input_size;
    std::size_t axis;

    std::string operator()(const Conv &conv) const {
        const ResolvedPadding pad = resolve_padding(conv, input_size, axis);
        return fmt::format("floor(({} + {} + {} − {}·({}−1) − 1) / {}) + 1", term(input_size), pad.begin,
                           pad.end, conv.dilation[axis], conv.kernel[axis], conv.stride[axis]);
    }
    std::string operator()(const TransposedConv &conv) const {
        const ResolvedPadding pad = resolve_padding(conv, input_size, axis);
        return fmt::format("{}·({}−1) + {}·({}−1) + 1 {} {} + {}", conv.stride[axis], term(input_size),
                           conv.dilation[axis], conv.kernel[axis], minus(pad.begin), minus(pad.end),
                           resolve_output_pad(conv, input_size, axis));
    }
    std::string operator()(const PixelShuffle &shuffle) const {
        return fmt::format("{}·{}", shuffle.factor, term(input_size));
    }
    std::string operator()(const PixelUnshuffle &unshuffle) const {
        return fmt::format("{} / {}", term(input_size), unshuffle.factor);
    }
    std::string operator()(const NearestUpsample &upsample) const {
        return fmt::format("{}·{}", upsample.factor[axis], term(input_size));
    }
    std::string operator()(const BilinearUpsample &upsample) const {
        if (upsample.edge == EdgeRule::zero) return (*this)(as_transposed_conv(upsample, 1));
        if (upsample.corners == CornerRule::aligned) {
            return fmt::format("{}·({}−1) + 1", upsample.factor[axis], term(input_size));
        }
        return fmt::format("{}·{}", upsample.factor[axis], term(input_size));
    }
    std::string operator()(const Crop &crop) const {
        return fmt::format("from {} to {} of {}", crop.from[axis], crop.from[axis] + crop.size[axis] - 1,
                           term(input_size));
    }
    template<typename SizeKeeping>
    std::string operator()(const SizeKeeping &) const {
        return {};
    }
};

} // namespace

std::vector<std::string> explain_sizes(const StageOperation &operation, const Shape &input) {
    std::vector<std::string> lines;
    const std::vector<SizeRule> rules = size_rules(operation, input);
    for (std::size_t axis = 0; axis < rules.size(); axis++) {
        const std::string arithmetic = std::visit(AxisArithmetic{input.spatial[axis], axis}, operation);
        if (arithmetic.empty()) return {};
        lines.push_back(fmt::format("{}: {} = {}", axis_name(axis, rules.size()), arithmetic,
                                    result_text(rules[axis], input.spatial[axis])));
    }
    return lines;
}

std::vector<std::int64_t> weight_shape(const StageOperation &operation, std::int64_t input_channels) {
    std::vector<std::int64_t> shape;
    if (const auto *conv = std::get_if<Conv>(&operation)) {
        shape = {conv->output_channels, input_channels / conv->groups};
        shape.insert(shape.end(), conv->kernel.begin(), conv->kernel.end());
    } else if (const auto *transposed = std::get_if<TransposedConv>(&operation)) {
        shape = {input_channels, transposed->output_channels / transposed->groups};
        shape.insert(shape.end(), transposed->kernel.begin(), transposed->kernel.end());
    }
    return shape;
}

} // namespace unstride
