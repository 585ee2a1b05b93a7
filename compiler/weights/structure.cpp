// Each rewrite here proposes a layer and a tensor; accept() keeps it if it means the same and costs less.
#include "compiler/weights/structure.h"

#include "compiler/language/arguments.h"
#include "compiler/language/printer.h"
#include "compiler/lowering/costs.h"
#include "compiler/weights/kernel_view.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <limits>

namespace unstride {
namespace {

bool all_zero(std::span<const float> values) {
    return std::all_of(values.begin(), values.end(), [](float value) { return value == 0; });
}

std::vector<ZeroPlanes> find_zero_planes(const KernelView &view) {
    std::vector<std::vector<bool>> used; // per axis and plane
    for (const std::int64_t size : view.sizes())
        used.emplace_back(static_cast<std::size_t>(size), false);
    for (std::size_t element = 0; element < view.elements(); element++) {
        bool zero = true;
        for (std::int64_t k = 0; zero && k < view.count(); k++)
            zero = view.kernel(k)[element] == 0;
        if (zero) continue;
        const PerAxis position = position_of(element, view.sizes());
        for (std::size_t axis = 0; axis < position.size(); axis++)
            used[axis][static_cast<std::size_t>(position[axis])] = true;
    }
    std::vector<ZeroPlanes> planes;
    for (std::vector<bool> &axis : used) {
        const auto first = std::find(axis.begin(), axis.end() - 1, true);
        const auto last = std::find(axis.rbegin(), std::make_reverse_iterator(first + 1), true);
        planes.push_back({first - axis.begin(), last - axis.rbegin()});
    }
    return planes;
}

// The tensor without `cut` planes of every kernel.
Tensor without_planes(const Tensor &tensor, const std::vector<ZeroPlanes> &cut) {
    const KernelView view(tensor);
    Tensor result{tensor.shape, {}};
    for (std::size_t axis = 0; axis < cut.size(); axis++)
        result.shape[axis + 2] -= cut[axis].leading + cut[axis].trailing;
    for (std::int64_t k = 0; k < view.count(); k++) {
        for (std::size_t element = 0; element < view.elements(); element++) {
            const PerAxis position = position_of(element, view.sizes());
            bool kept = true;
            for (std::size_t axis = 0; axis < cut.size(); axis++) {
                kept &= cut[axis].leading <= position[axis] &&
                        position[axis] < view.sizes()[axis] - cut[axis].trailing;
            }
            if (kept) result.values.push_back(view.kernel(k)[element]);
        }
    }
    return result;
}

// A smaller kernel on one axis. The taps t = leading + t' read or write dilation * leading further on, which
// a padding smaller by as much makes good; at the end the output shrinks by dilation * trailing, which the
// other padding makes good, or output_pad.
struct AxisCut {
    ZeroPlanes planes;
    std::int64_t pad_begin = 0, pad_end = 0, output_pad = 0;
};

AxisCut cut_axis(ZeroPlanes zero, std::int64_t dilation, ResolvedPadding padding) {
    AxisCut cut;
    cut.planes.leading = std::min(zero.leading, std::max<std::int64_t>(padding.begin, 0) / dilation);
    cut.planes.trailing = std::min(zero.trailing, std::max<std::int64_t>(padding.end, 0) / dilation);
    cut.pad_begin = padding.begin - dilation * cut.planes.leading;
    cut.pad_end = padding.end - dilation * cut.planes.trailing;
    return cut;
}

// Here `padding.end` has output_pad taken off: -end rows beyond the plain output are computed.
AxisCut cut_transposed_axis(ZeroPlanes zero, std::int64_t dilation, std::int64_t stride,
                            ResolvedPadding padding) {
    AxisCut cut = cut_axis({zero.leading, 0}, dilation, padding);
    const std::int64_t most_output_pad = std::max(stride, dilation) - 1;
    const std::int64_t room = std::max<std::int64_t>(padding.end + most_output_pad, 0);
    cut.planes.trailing = std::min(zero.trailing, room / dilation);
    const std::int64_t end = padding.end - dilation * cut.planes.trailing;
    cut.pad_end = std::max<std::int64_t>(end, 0);
    cut.output_pad = std::max<std::int64_t>(-end, 0);
    return cut;
}

template<typename Convolution>
void apply_cuts(Convolution &conv, const std::vector<AxisCut> &cuts) {
    conv.pad = {};
    for (std::size_t axis = 0; axis < cuts.size(); axis++) {
        conv.kernel[axis] -= cuts[axis].planes.leading + cuts[axis].planes.trailing;
        conv.pad.begin.push_back(cuts[axis].pad_begin);
        conv.pad.end.push_back(cuts[axis].pad_end);
    }
}

// The stage with a smaller kernel; `cuts` says what went.
struct CutPlanes {
    const std::vector<ZeroPlanes> &zero;
    const PerAxis &input_sizes;
    std::vector<AxisCut> cuts;

    void operator()(Conv &conv) {
        const std::vector<ResolvedPadding> padding = resolve_padding(conv, input_sizes);
        for (std::size_t axis = 0; axis < zero.size(); axis++)
            cuts.push_back(cut_axis(zero[axis], conv.dilation[axis], padding[axis]));
        apply_cuts(conv, cuts);
    }
    void operator()(TransposedConv &conv) {
        const std::vector<ResolvedPadding> padding = resolve_padding(conv, input_sizes);
        const PerAxis output_pad = resolve_output_pad(conv, input_sizes);
        for (std::size_t axis = 0; axis < zero.size(); axis++) {
            cuts.push_back(cut_transposed_axis(zero[axis], conv.dilation[axis], conv.stride[axis],
                                               {padding[axis].begin, padding[axis].end - output_pad[axis]}));
            conv.output_pad[axis] = cuts.back().output_pad;
        }
        conv.output_size.clear();
        apply_cuts(conv, cuts);
    }
    template<typename Other>
    void operator()(Other &) {}
};

// The channel, counted within its group, that channel `a` of the first size meets as itself.
bool is_own(const KernelView &view, std::int64_t a, std::int64_t b) {
    return b == a % view.second();
}

bool is_diagonal(const KernelView &view) {
    for (std::int64_t a = 0; a < view.first(); a++) {
        for (std::int64_t b = 0; b < view.second(); b++) {
            if (!is_own(view, a, b) && !all_zero(view.kernel(a, b))) return false;
        }
    }
    return true;
}

Tensor diagonal_of(const Tensor &tensor) {
    const KernelView view(tensor);
    Tensor result{tensor.shape, {}};
    result.shape[1] = 1;
    for (std::int64_t a = 0; a < view.first(); a++) {
        const std::span<const float> kernel = view.kernel(a, a % view.second());
        result.values.insert(result.values.end(), kernel.begin(), kernel.end());
    }
    return result;
}

bool within_one_step(float value, float expected) {
    constexpr float infinity = std::numeric_limits<float>::infinity();
    return std::nextafter(expected, -infinity) <= value && value <= std::nextafter(expected, infinity);
}

// Precondition: is_diagonal(view).
bool is_bilinear(const KernelView &view) {
    const std::vector<float> filter = bilinear_weights(view.sizes());
    for (std::int64_t a = 0; a < view.first(); a++) {
        const std::span<const float> kernel = view.kernel(a, a % view.second());
        if (!std::equal(kernel.begin(), kernel.end(), filter.begin(), within_one_step)) return false;
    }
    return true;
}

std::vector<bool> find_separable(const Tensor &tensor) {
    const KernelView view(tensor);
    const PerAxis &sizes = view.sizes();
    if (std::count_if(sizes.begin(), sizes.end(), [](std::int64_t size) { return size > 1; }) < 2) return {};
    std::vector<bool> separable;
    for (std::int64_t k = 0; k < view.count(); k++)
        separable.push_back(separate(view.kernel(k), sizes).has_value());
    return separable;
}

void set_groups(StageOperation &operation, std::int64_t groups) {
    if (auto *conv = std::get_if<Conv>(&operation)) conv->groups = groups;
    if (auto *conv = std::get_if<TransposedConv>(&operation)) conv->groups = groups;
}

// True if the stage maps every input size alike in both layers.
bool same_sizes(const Layer &a, const Layer &b, const LearnedConvolution &convolution) {
    const std::vector<SizeRule> rules_a =
                                    size_rules(a.stages[convolution.stage].operation, convolution.input),
                                rules_b =
                                    size_rules(b.stages[convolution.stage].operation, convolution.input);
    for (std::size_t axis = 0; axis < rules_a.size(); axis++) {
        const std::int64_t size = convolution.input.spatial[axis];
        const bool same = size == dynamic_size ? rules_a[axis] == rules_b[axis]
                                               : rules_a[axis].apply(size) == rules_b[axis].apply(size);
        if (!same) return false;
    }
    return true;
}

// The multiplications of a call, where all sizes are known.
std::optional<double> call_multiplications(const PhaseConvolution &lowered, const Input &input) {
    if (input.batch == dynamic_size ||
        std::count(input.spatial.begin(), input.spatial.end(), dynamic_size) > 0)
        return std::nullopt;
    return costs(lowered, input.batch, input.spatial).multiplications;
}

// Holds the best layer so far.
class Rewriter {
public:
    Rewriter(const Layer &layer, const Tensor &weights, const PhaseConvolution &lowered) {
        result.layer = layer;
        result.weights = weights;
        result.multiplications_before = result.multiplications_after = multiplications_per_output(lowered);
        result.call_multiplications_before = result.call_multiplications_after =
            call_multiplications(lowered, layer.input);
    }

    // Tries the rewrites one after the other, each on what the last has left.
    WeightRewrite run() {
        cut_zero_planes();
        const bool square = convolution().output_channels == convolution().input.channels;
        const bool diagonal = square && is_diagonal(KernelView(*result.weights));
        result.found.diagonal = diagonal && convolution().groups < convolution().output_channels;
        result.found.bilinear =
            diagonal && convolution().transposed && is_bilinear(KernelView(*result.weights));
        if (result.found.diagonal) split_channels();
        result.found.separable = find_separable(*result.weights);
        if (result.found.bilinear) generate_weights();
        return std::move(result);
    }

private:
    WeightRewrite result;

    LearnedConvolution convolution() const {
        return std::get<LearnedConvolution>(learned_convolution(result.layer));
    }

    // Takes the layer over if it computes the same sizes, can be compiled and multiplies no more often.
    bool accept(const Layer &candidate, const LearnedConvolution &original) {
        if (!check_shapes(candidate).empty() || !same_sizes(result.layer, candidate, original)) return false;
        const auto lowered = lower(candidate);
        const auto *form = std::get_if<PhaseConvolution>(&lowered);
        if (form == nullptr || multiplications_per_output(*form) > result.multiplications_after) return false;
        result.layer = candidate;
        result.changed = true;
        result.multiplications_after = multiplications_per_output(*form);
        result.call_multiplications_after = call_multiplications(*form, candidate.input);
        return true;
    }

    void cut_zero_planes() {
        const LearnedConvolution original = convolution();
        result.found.zero_planes = find_zero_planes(KernelView(*result.weights));
        Layer candidate = result.layer;
        CutPlanes cut{result.found.zero_planes, original.input.spatial, {}};
        std::visit(cut, candidate.stages[original.stage].operation);
        std::vector<ZeroPlanes> planes;
        for (const AxisCut &axis : cut.cuts)
            planes.push_back(axis.planes);
        if (planes == std::vector<ZeroPlanes>(planes.size())) return;
        if (accept(candidate, original)) result.weights = without_planes(*result.weights, planes);
    }

    void split_channels() {
        const LearnedConvolution original = convolution();
        Layer candidate = result.layer;
        set_groups(candidate.stages[original.stage].operation, original.output_channels);
        if (accept(candidate, original)) result.weights = diagonal_of(*result.weights);
    }

    void generate_weights() {
        const LearnedConvolution original = convolution();
        Layer candidate = result.layer;
        auto &conv = std::get<TransposedConv>(candidate.stages[original.stage].operation);
        conv.weights = WeightInitialiser::bilinear;
        if (accept(candidate, original)) result.weights.reset();
    }
};

std::string shape_text(const std::vector<std::int64_t> &shape) {
    return fmt::format("{}", fmt::join(shape, "x"));
}

std::optional<std::string> tensor_problem(const std::vector<std::int64_t> &expected, const Tensor &weights) {
    if (weights.shape != expected) {
        return fmt::format("weights must have the shape {}, got {}", shape_text(expected),
                           shape_text(weights.shape));
    }
    if (static_cast<std::int64_t>(weights.values.size()) != capped_product(expected)) {
        return fmt::format("weights of the shape {} hold {} numbers, got {}", shape_text(expected),
                           capped_product(expected), weights.values.size());
    }
    return std::nullopt;
}

} // namespace

bool WeightStructure::all_separable() const {
    return !separable.empty() && std::count(separable.begin(), separable.end(), false) == 0;
}

// With p the largest element, K = outer product of v_a means K[t] = K[p] * product over axes a of
// K[p with t_a in the place of p_a] / K[p]. So the lines through p are the factors, and one of them carries
// K[p]; every other element is then a check.
std::optional<AxisFactors> separate(std::span<const float> kernel, const PerAxis &sizes) {
    for (const float value : kernel)
        if (!std::isfinite(value)) return std::nullopt;
    const auto largest = std::max_element(kernel.begin(), kernel.end(),
                                          [](float a, float b) { return std::abs(a) < std::abs(b); });
    const auto pivot = static_cast<std::size_t>(largest - kernel.begin());
    const PerAxis at = position_of(pivot, sizes);

    AxisFactors factors(sizes.size());
    std::size_t stride = kernel.size();
    for (std::size_t axis = 0; axis < sizes.size(); axis++) {
        stride /= static_cast<std::size_t>(sizes[axis]);
        const std::size_t line = pivot - static_cast<std::size_t>(at[axis]) * stride;
        const double divisor = axis == 0 || *largest == 0 ? 1.0 : *largest;
        for (std::size_t t = 0; t < static_cast<std::size_t>(sizes[axis]); t++)
            factors[axis].push_back(kernel[line + t * stride] / divisor);
    }
    const double relative = 4.0 * static_cast<double>(sizes.size()) * 0x1p-24;
    const double absolute = 2.0 * std::numeric_limits<float>::denorm_min();
    for (std::size_t element = 0; element < kernel.size(); element++) {
        const PerAxis position = position_of(element, sizes);
        double product = 1;
        for (std::size_t axis = 0; axis < sizes.size(); axis++)
            product *= factors[axis][static_cast<std::size_t>(position[axis])];
        if (!(std::abs(kernel[element] - product) <= relative * std::abs(product) + absolute))
            return std::nullopt;
    }
    return factors;
}

std::variant<WeightRewrite, Diagnostic> rewrite_by_weights(const Layer &layer, const Tensor &weights) {
    const auto found = learned_convolution(layer);
    if (const auto *problem = std::get_if<Diagnostic>(&found)) return *problem;
    const auto &convolution = std::get<LearnedConvolution>(found);
    if (const auto problem = tensor_problem(convolution.weight_shape, weights)) {
        const Stage &stage = layer.stages[convolution.stage];
        return Diagnostic{stage.position, stage_name(stage.operation), *problem};
    }
    const auto lowered = lower(layer);
    if (std::holds_alternative<Diagnostic>(lowered)) {
        WeightRewrite unchanged;
        unchanged.layer = layer;
        unchanged.weights = weights;
        return unchanged;
    }
    return Rewriter(layer, weights, std::get<PhaseConvolution>(lowered)).run();
}

std::vector<std::string> explain(const WeightRewrite &rewrite) {
    const WeightStructure &found = rewrite.found;
    std::vector<std::string> lines;
    if (std::any_of(found.zero_planes.begin(), found.zero_planes.end(),
                    [](const ZeroPlanes &planes) { return planes.leading + planes.trailing > 0; })) {
        std::vector<std::string> axes;
        for (const ZeroPlanes &planes : found.zero_planes)
            axes.push_back(fmt::format("{}:{}", planes.leading, planes.trailing));
        lines.push_back(fmt::format("zero planes at the ends of the kernel: {}", fmt::join(axes, "x")));
    }
    if (found.diagonal) lines.push_back("diagonal: every channel reads itself alone");
    if (found.bilinear) lines.push_back("bilinear: every kernel is the triangle filter");
    if (found.all_separable()) {
        lines.push_back("separable: every kernel is the outer product of one vector an axis");
    } else if (const auto count = std::count(found.separable.begin(), found.separable.end(), true);
               count > 0) {
        lines.push_back(fmt::format("separable: {} of {} kernels", count, found.separable.size()));
    }
    if (rewrite.changed) {
        lines.push_back(fmt::format("computed as: {}", print_chain(rewrite.layer)));
        lines.push_back(fmt::format("multiplications of one output element: {:g} instead of {:g}",
                                    rewrite.multiplications_after, rewrite.multiplications_before));
    }
    return lines;
}

} // namespace unstride
