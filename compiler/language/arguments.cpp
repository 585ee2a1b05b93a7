// The rules that a stage's arguments obey on their own, before any shape is known.
#include "compiler/language/arguments.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>

namespace unstride {
namespace {

std::string range_message(std::string_view name, std::int64_t value, std::int64_t minimum) {
    if (value < minimum) return fmt::format("{} must be at least {}, got {}", name, minimum, value);
    if (value > largest_size) return fmt::format("{} must be at most {}, got {}", name, largest_size, value);
    return {};
}

// Checks the range of every argument that it visits.
class RangeCheck {
public:
    explicit RangeCheck(std::optional<std::size_t> spatial_axes) : spatial_axes(spatial_axes) {}

    std::vector<ArgumentProblem> problems;

    void operator()(const ArgumentRule &rule, std::int64_t value) { check_numbers(rule, {&value, 1}); }

    void operator()(const ArgumentRule &rule, const PerAxis &values) {
        const bool absent = rule.presence == Presence::optional && values.empty();
        if (!absent && check_axes(rule, values.size())) check_numbers(rule, values);
    }

    void operator()(const ArgumentRule &rule, const Padding &pad) {
        if (pad.rule != PaddingRule::stated) return;
        if (!check_axes(rule, pad.begin.size()) || !check_axes(rule, pad.end.size())) return;
        if (check_numbers(rule, pad.begin)) check_numbers(rule, pad.end);
    }

    void operator()(const ArgumentRule &rule, const Padding &pad, bool was_written) {
        if (was_written) (*this)(rule, pad);
    }

    void operator()(const ArgumentRule &rule, double value) {
        if (!std::isfinite(value)) {
            report(rule, fmt::format("{} must be finite, got {}", rule.name, value));
        } else if (std::abs(value) > std::numeric_limits<float>::max()) {
            report(rule, fmt::format("{} must be a number that f32 holds, got {}", rule.name, value));
        }
    }

    template<typename Enum>
    requires std::is_enum_v<Enum>
    void operator()(const ArgumentRule &, Enum) {}

private:
    std::optional<std::size_t> spatial_axes;

    void report(const ArgumentRule &rule, std::string message) {
        problems.push_back({rule.name, std::move(message)});
    }

    bool check_axes(const ArgumentRule &rule, std::size_t count) {
        if (!spatial_axes || count == *spatial_axes) return true;
        report(rule, fmt::format("{} must have {} numbers, one for each spatial axis, got {}", rule.name,
                                 *spatial_axes, count));
        return false;
    }

    // Reports at most one number, since `4` stands for as many numbers as there are axes.
    bool check_numbers(const ArgumentRule &rule, std::span<const std::int64_t> values) {
        for (std::int64_t value : values) {
            std::string message = range_message(rule.name, value, rule.minimum);
            if (message.empty()) continue;
            report(rule, std::move(message));
            return false;
        }
        return true;
    }
};

// Rules between the arguments of one stage. Precondition: every argument is in its range and has all its
// axes.
struct RelationCheck {
    std::vector<ArgumentProblem> &problems;

    void operator()(const Conv &conv) const { check_groups(conv.groups, conv.output_channels); }

    void operator()(const TransposedConv &conv) const {
        check_groups(conv.groups, conv.output_channels);
        const bool pads_output =
            std::any_of(conv.output_pad.begin(), conv.output_pad.end(), [](auto pad) { return pad != 0; });
        if (!pads_output) return;
        if (conv.pad.rule != PaddingRule::stated) {
            problems.push_back({"output_pad", fmt::format("output_pad needs pad in numbers, got pad={}",
                                                          choice_words(conv.pad.rule)[int(conv.pad.rule)])});
        }
        if (!conv.output_size.empty()) {
            problems.push_back({"output_pad", "output_pad and output_size exclude each other, got both"});
        }
        for (std::size_t axis = 0; axis < conv.output_pad.size(); axis++) {
            const std::int64_t limit = std::max(conv.stride[axis], conv.dilation[axis]);
            if (conv.output_pad[axis] < limit) continue;
            problems.push_back(
                {"output_pad", fmt::format("output_pad must be less than max(stride, dilation) = {}, got {}",
                                           limit, conv.output_pad[axis])});
            break;
        }
    }

    void operator()(const BilinearUpsample &upsample) const {
        if (upsample.has_pad && upsample.edge != EdgeRule::zero) {
            problems.push_back({"pad", "pad needs edge=zero, got edge=replicate"});
        }
        if (upsample.corners == CornerRule::aligned && upsample.edge == EdgeRule::zero) {
            problems.push_back({"corners", "corners must be half_pixel with edge=zero, got corners=aligned"});
        }
    }

    void operator()(const Activation &activation) const {
        if (activation.kind == ActivationKind::clamp && activation.a > activation.b) {
            problems.push_back(
                {"hi", fmt::format("hi must be at least lo = {}, got {}", activation.a, activation.b)});
        }
    }

    template<typename Operation>
    void operator()(const Operation &) const {}

    void check_groups(std::int64_t groups, std::int64_t output_channels) const {
        if (output_channels % groups == 0) return;
        problems.push_back({"groups", fmt::format("groups must divide the {} output channels, got {}",
                                                  output_channels, groups)});
    }
};

} // namespace

std::int64_t capped_product(std::span<const std::int64_t> factors) {
    if (std::find(factors.begin(), factors.end(), 0) != factors.end()) return 0;
    std::int64_t product = 1;
    for (std::int64_t factor : factors) {
        if (factor == dynamic_size) continue;
        if (product > largest_element_count / factor) return largest_element_count + 1;
        product *= factor;
    }
    return product;
}

std::vector<ArgumentProblem> check_arguments(const StageOperation &operation,
                                             std::optional<std::size_t> spatial_axes) {
    RangeCheck ranges(spatial_axes);
    std::visit([&](const auto &arguments) { visit_arguments(arguments, ranges); }, operation);
    if (ranges.problems.empty() && spatial_axes) std::visit(RelationCheck{ranges.problems}, operation);
    return std::move(ranges.problems);
}

std::vector<ArgumentProblem> check_arguments(const Input &input) {
    std::vector<ArgumentProblem> problems;
    const auto check_size = [&](std::string_view name, std::int64_t size, std::int64_t minimum) {
        std::string message = range_message(name, size, minimum);
        if (!message.empty()) problems.push_back({"shape", std::move(message)});
    };
    if (input.spatial.empty() || input.spatial.size() > 3) {
        problems.push_back({"shape", fmt::format("shape must have one to three spatial sizes, got {}",
                                                 input.spatial.size())});
    }
    if (input.batch != dynamic_size) check_size("batch", input.batch, 0);
    for (std::int64_t size : input.spatial) {
        if (size != dynamic_size) check_size("spatial size", size, 1);
    }
    if (input.channels == dynamic_size) {
        problems.push_back({"shape", "channels must be fixed, got ?"});
    } else {
        check_size("channels", input.channels, 1);
    }
    if (!problems.empty()) return problems;

    std::vector<std::int64_t> sizes = input.spatial;
    sizes.insert(sizes.end(), {input.batch, input.channels});
    if (capped_product(sizes) > largest_element_count) {
        problems.push_back({"shape", "shape must hold at most 2^62 elements, got more"});
    }
    return problems;
}

} // namespace unstride
