// Draws stage by stage, each fitting the shape that the chain has reached.
#include "tests/random/chain_generator.h"

#include "compiler/language/arguments.h"
#include "compiler/language/shapes.h"

#include <algorithm>
#include <numeric>

namespace unstride::chains {
namespace {

using reference::Random;

constexpr std::int64_t most_elements = 4096;
constexpr std::int64_t usual_dynamic_size = 8;

std::int64_t power(std::int64_t factor, std::size_t exponent) {
    std::int64_t product = 1;
    for (std::size_t i = 0; i < exponent; i++)
        product *= factor;
    return product;
}

class ChainDraw {
public:
    ChainDraw(Random &random, const std::string &name) : random(random) { layer.name = name; }

    // The order of stages that composes into one kernel; every shape is valid.
    Layer plausible() {
        draw_input();
        const bool has_convolution = chance(0.88);
        const bool has_shuffle = chance(0.25);
        const std::int64_t shuffle = has_shuffle ? random.integer(2, 3) : 1;
        const std::int64_t block = power(shuffle, axes());
        if (!has_convolution && has_shuffle)
            layer.input.channels = block * random.integer(1, std::max<std::int64_t>(1, 40 / block));
        shape = {layer.input.batch, layer.input.spatial, layer.input.channels};

        if (chance(0.25)) append_valid([&] { return activation(); });
        const bool rearranges = chance(0.25);
        if (rearranges) append_valid([&] { return rearrangement(); });
        if (rearranges && chance(0.2)) append_valid([&] { return activation(); });
        if (has_convolution) append_valid([&] { return convolution(block, rearranges); });
        draw_epilogue(random.integer(0, 3));
        if (has_shuffle) {
            append_valid([&] { return PixelShuffle{shuffle, shuffle_order()}; });
            draw_epilogue(random.integer(0, 2));
        }
        if (chance(0.15)) append_valid([&] { return crop(); });
        if (layer.stages.empty()) append_valid([&] { return activation(); });
        return std::move(layer);
    }

    // Any stages in any order, whether their shapes fit or not.
    Layer anything() {
        draw_input();
        if (chance(0.05)) layer.input.type = static_cast<ElementType>(random.integer(1, 3));
        shape = {layer.input.batch, layer.input.spatial, layer.input.channels};
        const std::int64_t count = random.integer(1, 5);
        for (std::int64_t i = 0; i < count; i++)
            append(any_stage());
        return std::move(layer);
    }

private:
    Random &random;
    Layer layer;
    Shape shape; // what the chain has reached while its shapes are valid

    std::size_t axes() const { return layer.input.spatial.size(); }
    bool chance(double probability) { return random.uniform() < probability; }

    std::int64_t pick(const std::vector<std::int64_t> &values) {
        return values[static_cast<std::size_t>(
            random.integer(0, static_cast<std::int64_t>(values.size()) - 1))];
    }

    std::int64_t channels() { return chance(0.6) ? pick({1, 3, 16, 17}) : random.integer(1, 40); }

    // Mostly the same number on every axis.
    template<typename Draw>
    PerAxis per_axis(Draw draw) {
        PerAxis values(axes(), draw());
        if (chance(0.3)) std::generate(values.begin(), values.end(), draw);
        return values;
    }

    void draw_input() {
        Input &input = layer.input;
        input.layout = chance(0.7) ? Layout::nhwc : Layout::nchw;
        input.numeric = chance(0.6)   ? NumericPolicy::safe
                        : chance(0.5) ? NumericPolicy::exact
                                      : NumericPolicy::fast;
        input.batch = chance(0.15) ? dynamic_size : random.integer(1, chance(0.6) ? 1 : 2);
        const std::int64_t rank = pick({1, 2, 2, 2, 3});
        const std::int64_t largest = rank == 1 ? 40 : rank == 2 ? 12 : 5;
        for (std::int64_t axis = 0; axis < rank; axis++)
            input.spatial.push_back(chance(0.15) ? dynamic_size : random.integer(1, largest));
        input.channels = channels();
    }

    void append(StageOperation operation) {
        layer.stages.push_back({std::move(operation), {}});
        if (check_shapes(layer).empty()) shape = infer_shapes(layer).back();
    }

    // Gives up after a few draws whose shapes do not fit.
    template<typename Draw>
    void append_valid(Draw draw) {
        for (int tries = 0; tries < 8; tries++) {
            append(draw());
            if (check_shapes(layer).empty()) return;
            layer.stages.pop_back();
        }
    }

    // Activations, and each other stage at most once in the chain.
    void draw_epilogue(std::int64_t count) {
        std::vector<StageOperation> left = {Bias{}, Scale{}, Prelu{}, Add{}};
        for (const Stage &stage : layer.stages)
            std::erase_if(left, [&](const auto &kind) { return kind.index() == stage.operation.index(); });
        for (std::int64_t i = 0; i < count; i++) {
            const std::int64_t drawn = random.integer(0, static_cast<std::int64_t>(left.size()));
            if (drawn == static_cast<std::int64_t>(left.size())) {
                append(activation());
            } else {
                append(left[static_cast<std::size_t>(drawn)]);
                left.erase(left.begin() + drawn);
            }
        }
    }

    // Slopes and bounds that keep sums exact, and others.
    StageOperation activation() {
        Activation drawn{static_cast<ActivationKind>(random.integer(0, 6)), 0, 0};
        if (drawn.kind == ActivationKind::leaky_relu) drawn.a = chance(0.5) ? 0.25 : 0.01;
        if (drawn.kind == ActivationKind::clamp) {
            drawn.a = static_cast<double>(random.integer(-4, 2)) / 4;
            drawn.b = drawn.a + static_cast<double>(random.integer(0, 24)) / 4;
        }
        return drawn;
    }

    ShuffleOrder shuffle_order() { return chance(0.5) ? ShuffleOrder::crd : ShuffleOrder::dcr; }

    StageOperation rearrangement() {
        if (chance(0.4)) return PixelUnshuffle{random.integer(1, 3), shuffle_order()};
        return nearest();
    }

    NearestUpsample nearest() {
        return {per_axis([&] { return pick({1, 2, 2, 3, 4}); })};
    }

    StageOperation convolution(std::int64_t block, bool after_rearrangement) {
        if (after_rearrangement && chance(0.9)) return conv(block);
        const double kind = random.uniform();
        if (kind < 0.4) return conv(block);
        if (kind < 0.85) return transposed_conv(block);
        return bilinear_upsample();
    }

    // Longer where there are fewer axes, as networks have them.
    std::int64_t kernel() {
        if (axes() == 1) return pick({1, 2, 3, 4, 5, 7, 11, 16});
        return axes() == 2 ? pick({1, 2, 3, 3, 4, 5, 7}) : pick({1, 2, 3});
    }

    // Fills what both convolutions share; output channels are a multiple of `block`.
    template<typename Convolution>
    void draw_convolution(Convolution &conv, std::int64_t block) {
        conv.output_channels =
            block == 1 ? channels() : block * random.integer(1, std::max<std::int64_t>(1, 40 / block));
        conv.kernel = per_axis([&] { return kernel(); });
        conv.dilation = per_axis([&] { return chance(0.8) ? 1 : random.integer(2, 3); });
        conv.groups = 1;
        if (chance(0.2)) {
            conv.output_channels = shape.channels * (chance(0.7) ? 1 : random.integer(2, 3));
            conv.groups = shape.channels;
        } else if (chance(0.2)) {
            const std::int64_t most = std::gcd(shape.channels, conv.output_channels);
            conv.groups = random.integer(1, most);
            while (most % conv.groups != 0)
                conv.groups--;
        }
        conv.pad = padding(conv.kernel, conv.dilation);
    }

    Padding padding(const PerAxis &kernel, const PerAxis &dilation) {
        if (chance(0.3)) return {static_cast<PaddingRule>(random.integer(1, 3)), {}, {}};
        Padding pad;
        const bool unequal = chance(0.2), large = chance(0.1);
        for (std::size_t axis = 0; axis < axes(); axis++) {
            const std::int64_t reach = dilation[axis] * (kernel[axis] - 1) + 1;
            const std::int64_t most = large ? reach + 1 : reach / 2;
            pad.begin.push_back(random.integer(0, most));
            pad.end.push_back(unequal ? random.integer(0, most) : pad.begin.back());
        }
        return pad;
    }

    Conv conv(std::int64_t block) {
        Conv drawn;
        draw_convolution(drawn, block);
        drawn.stride = per_axis([&] { return pick({1, 1, 1, 2, 3}); });
        return drawn;
    }

    TransposedConv transposed_conv(std::int64_t block) {
        TransposedConv drawn;
        draw_convolution(drawn, block);
        drawn.stride = per_axis([&] {
            return axes() == 1 ? pick({1, 2, 3, 5, 8}) : pick({1, 2, 2, 2, 3, 4});
        });
        drawn.output_pad = PerAxis(axes(), 0);
        if (chance(0.15)) {
            drawn.weights = WeightInitialiser::bilinear;
            drawn.output_channels = shape.channels;
            if (drawn.groups > 1 || chance(0.5)) drawn.groups = shape.channels;
        }
        if (chance(0.15)) {
            for (std::size_t axis = 0; axis < axes(); axis++)
                drawn.output_size.push_back(output_size(drawn, axis));
        } else if (drawn.pad.rule == PaddingRule::stated && chance(0.3)) {
            for (std::size_t axis = 0; axis < axes(); axis++)
                drawn.output_pad[axis] =
                    random.integer(0, std::max(drawn.stride[axis], drawn.dilation[axis]) - 1);
        }
        return drawn;
    }

    // A size near the plain one, often one that the padding rule allows.
    std::int64_t output_size(const TransposedConv &conv, std::size_t axis) {
        const std::int64_t in = std::max<std::int64_t>(1, shape.spatial[axis]);
        std::int64_t size = conv.stride[axis] * in;
        if (conv.pad.rule == PaddingRule::stated) {
            size = conv.stride[axis] * (in - 1) + conv.dilation[axis] * (conv.kernel[axis] - 1) + 1 -
                   conv.pad.begin[axis] - conv.pad.end[axis];
        }
        return std::max<std::int64_t>(1, size + random.integer(0, 1));
    }

    BilinearUpsample bilinear_upsample() {
        BilinearUpsample drawn;
        drawn.factor = per_axis([&] { return random.integer(1, 4); });
        if (chance(0.35)) {
            drawn.edge = EdgeRule::zero;
            drawn.has_pad = chance(0.5);
            if (drawn.has_pad) drawn.pad = padding(drawn.factor, PerAxis(axes(), 1));
        } else if (chance(0.4)) {
            drawn.corners = CornerRule::aligned;
        }
        return drawn;
    }

    Crop crop() {
        Crop drawn;
        for (std::size_t axis = 0; axis < axes(); axis++) {
            const std::int64_t size = shape.spatial[axis] == dynamic_size ? 4 : shape.spatial[axis];
            drawn.from.push_back(random.integer(0, size - 1));
            drawn.size.push_back(random.integer(1, size - drawn.from.back()));
        }
        return drawn;
    }

    StageOperation any_stage() {
        switch (random.integer(0, 11)) {
        case 0:
            return conv(1);
        case 1:
            return transposed_conv(1);
        case 2:
            return PixelShuffle{random.integer(1, 3), shuffle_order()};
        case 3:
            return PixelUnshuffle{random.integer(1, 3), shuffle_order()};
        case 4:
            return nearest();
        case 5:
            return bilinear_upsample();
        case 6:
            return crop();
        case 7:
            return Bias{};
        case 8:
            return Scale{};
        case 9:
            return Prelu{};
        case 10:
            return Add{};
        default:
            return activation();
        }
    }
};

// Takes one step of those that visit_arguments offers for a stage or an input: the one with the given number.
class OneStep {
public:
    OneStep(int wanted, std::size_t axes)
        : wanted(wanted), no_padding{{}, PerAxis(axes, 0), PerAxis(axes, 0)} {}

    bool taken() const { return next > wanted; }

    void operator()(const ArgumentRule &rule, std::int64_t &value) { lower(value, rule.minimum); }
    void operator()(const ArgumentRule &rule, PerAxis &values) {
        if (rule.presence == Presence::optional && !values.empty() && is_next()) {
            values.clear();
        } else {
            for (std::int64_t &value : values)
                lower(value, rule.minimum);
        }
    }
    void operator()(const ArgumentRule &, Padding &pad) {
        if (pad.rule != PaddingRule::stated && is_next()) pad = no_padding;
        for (PerAxis *side : {&pad.begin, &pad.end}) {
            for (std::int64_t &value : *side)
                lower(value, 0);
        }
    }
    void operator()(const ArgumentRule &rule, Padding &pad, bool &was_written) {
        if (was_written && is_next()) {
            pad = {};
            was_written = false;
        } else {
            (*this)(rule, pad);
        }
    }
    void operator()(const ArgumentRule &, double &) {}
    template<typename Enum>
    requires std::is_enum_v<Enum>
    void operator()(const ArgumentRule &rule, Enum &value) {
        const auto usual = static_cast<Enum>(rule.default_value);
        if (value != usual && is_next()) value = usual;
    }
    void shape(Input &input) {
        for (std::int64_t *size : sizes_of(input)) {
            if (*size == dynamic_size && is_next()) *size = usual_dynamic_size;
            lower(*size, 1);
        }
    }

private:
    int wanted, next = 0;
    Padding no_padding;

    bool is_next() { return next++ == wanted; }

    void lower(std::int64_t &value, std::int64_t minimum) {
        const std::int64_t half = std::midpoint(value, minimum);
        if (value > minimum && is_next()) {
            value = minimum;
        } else if (value > minimum + 2 && is_next()) {
            value = half;
        } else if (value > minimum + 1 && is_next()) {
            value--;
        }
    }

    static std::vector<std::int64_t *> sizes_of(Input &input) {
        std::vector<std::int64_t *> sizes = {&input.batch, &input.channels};
        for (std::int64_t &size : input.spatial)
            sizes.push_back(&size);
        return sizes;
    }
};

// Takes the slowest spatial axis out of every argument.
struct WithoutFirstAxis {
    static void shorten(PerAxis &values) {
        if (!values.empty()) values.erase(values.begin());
    }
    void operator()(const ArgumentRule &, PerAxis &values) const { shorten(values); }
    void operator()(const ArgumentRule &, Padding &pad) const {
        shorten(pad.begin);
        shorten(pad.end);
    }
    void operator()(const ArgumentRule &rule, Padding &pad, bool) const { (*this)(rule, pad); }
    template<typename Other>
    void operator()(const ArgumentRule &, Other &) const {}
    void shape(Input &input) const { shorten(input.spatial); }
};

template<typename Visitor>
void visit_all(Layer &layer, Visitor &visitor) {
    visit_arguments(layer.input, visitor);
    for (Stage &stage : layer.stages)
        std::visit([&](auto &arguments) { visit_arguments(arguments, visitor); }, stage.operation);
}

} // namespace

Layer draw_layer(Random &random, const std::string &name) {
    while (true) {
        ChainDraw draw(random, name);
        Layer layer = random.uniform() < 0.65 ? draw.plausible() : draw.anything();
        if (!check_shapes(layer).empty() || largest_tensor(layer) <= most_elements) return layer;
    }
}

std::int64_t largest_tensor(const Layer &layer) {
    std::int64_t largest = 0;
    for (const Shape &shape : infer_shapes(layer)) {
        std::vector<std::int64_t> sizes = shape.spatial;
        sizes.insert(sizes.end(), {shape.batch, shape.channels});
        std::replace(sizes.begin(), sizes.end(), dynamic_size, usual_dynamic_size);
        largest = std::max(largest, capped_product(sizes));
    }
    return largest;
}

std::vector<Layer> simplifications(const Layer &layer) {
    std::vector<Layer> simpler;
    for (std::size_t i = layer.stages.size(); i-- > 0 && layer.stages.size() > 1;) {
        simpler.push_back(layer);
        simpler.back().stages.erase(simpler.back().stages.begin() + static_cast<std::ptrdiff_t>(i));
    }
    if (layer.input.spatial.size() > 1) {
        simpler.push_back(layer);
        WithoutFirstAxis without;
        visit_all(simpler.back(), without);
    }
    for (int wanted = 0;; wanted++) {
        Layer stepped = layer;
        OneStep step(wanted, layer.input.spatial.size());
        visit_all(stepped, step);
        if (!step.taken()) return simpler;
        simpler.push_back(std::move(stepped));
    }
}

} // namespace unstride::chains
