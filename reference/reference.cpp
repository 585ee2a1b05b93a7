// The stages of a chain, each as the loops of its definition; transposed convolution in scatter form.
#include "reference/reference.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <fmt/format.h>
#include <functional>
#include <numbers>
#include <numeric>
#include <span>
#include <variant>

namespace unstride::reference {
namespace {

// Everything below works on channels-last tensors of three spatial axes; the leading axes a layer lacks have
// size 1, kernel 1, stride 1 and no padding.
using Axes = std::array<std::int64_t, 3>;

Axes widen(const PerAxis &values, std::int64_t fill) {
    Axes axes;
    axes.fill(fill);
    std::copy(values.begin(), values.end(), axes.end() - static_cast<std::ptrdiff_t>(values.size()));
    return axes;
}

std::int64_t product(const Axes &axes) {
    return axes[0] * axes[1] * axes[2];
}

bool inside(const Axes &position, const Axes &size) {
    for (int axis = 0; axis < 3; ++axis)
        if (position[axis] < 0 || position[axis] >= size[axis]) return false;
    return true;
}

// Calls visit(position) for every begin <= position < end, slowest axis first.
template<typename Visit>
void for_each_position(const Axes &begin, const Axes &end, Visit visit) {
    for (std::int64_t z = begin[0]; z < end[0]; ++z)
        for (std::int64_t y = begin[1]; y < end[1]; ++y)
            for (std::int64_t x = begin[2]; x < end[2]; ++x)
                visit(Axes{z, y, x});
}

struct Tensor {
    std::int64_t batch = 0;
    Axes size{};
    std::int64_t channels = 0;
    std::vector<double> value, magnitude;

    explicit Tensor(const Shape &shape)
        : batch(shape.batch), size(widen(shape.spatial, 1)), channels(shape.channels),
          value(static_cast<std::size_t>(batch * product(size) * channels), 0.0),
          magnitude(value.size(), 0.0) {}

    std::size_t index(std::int64_t n, const Axes &p, std::int64_t c) const {
        return static_cast<std::size_t>(
            (((n * size[0] + p[0]) * size[1] + p[1]) * size[2] + p[2]) * channels + c);
    }

    void set_from(std::size_t at, const Tensor &other, std::size_t from) {
        value[at] = other.value[from];
        magnitude[at] = other.magnitude[from];
    }
};

// A tensor and the number of roundings behind its values.
struct State {
    Tensor tensor;
    std::int64_t terms = 0;
};

// The index of (n, p, c) in an array of the layer's own layout.
std::size_t layout_index(const Tensor &t, Layout layout, std::int64_t n, const Axes &p, std::int64_t c) {
    if (layout == Layout::nhwc) return t.index(n, p, c);
    return static_cast<std::size_t>(
        (((n * t.channels + c) * t.size[0] + p[0]) * t.size[1] + p[1]) * t.size[2] + p[2]);
}

// Calls visit(index in the tensor, index in the layer's layout, channel) for every element.
template<typename Visit>
void for_each_element(const Tensor &tensor, Layout layout, Visit visit) {
    for (std::int64_t n = 0; n < tensor.batch; ++n)
        for_each_position({0, 0, 0}, tensor.size, [&](const Axes &p) {
            for (std::int64_t c = 0; c < tensor.channels; ++c)
                visit(tensor.index(n, p, c), layout_index(tensor, layout, n, p, c), c);
        });
}

// Weights as double, one row of output channels for each tap and input channel: [tap][ci][co of ci's group].
struct Weights {
    std::int64_t groups, inputs_per_group, outputs_per_group;
    std::vector<double> rows;

    Weights(std::int64_t input_channels, std::int64_t output_channels, std::int64_t groups_,
            std::int64_t taps)
        : groups(groups_), inputs_per_group(input_channels / groups_),
          outputs_per_group(output_channels / groups_),
          rows(static_cast<std::size_t>(taps * input_channels * outputs_per_group), 0.0) {}

    std::size_t row(std::int64_t tap, std::int64_t group, std::int64_t ci) const {
        return static_cast<std::size_t>(((tap * groups + group) * inputs_per_group + ci) * outputs_per_group);
    }

    // Sets every weight to weight(tap, group, ci, co), ci and co counted inside the group.
    template<typename Weight>
    void fill(std::int64_t taps, Weight weight) {
        for (std::int64_t tap = 0; tap < taps; ++tap)
            for (std::int64_t group = 0; group < groups; ++group)
                for (std::int64_t ci = 0; ci < inputs_per_group; ++ci)
                    for (std::int64_t co = 0; co < outputs_per_group; ++co)
                        rows[row(tap, group, ci) + static_cast<std::size_t>(co)] = weight(tap, group, ci, co);
    }
};

// out pixel += in pixel * the weights of one tap.
void add_pixel(const Tensor &in, std::size_t in_pixel, const Weights &weights, std::int64_t tap, Tensor &out,
               std::size_t out_pixel) {
    const auto outputs = static_cast<std::size_t>(weights.outputs_per_group);
    for (std::int64_t group = 0; group < weights.groups; ++group) {
        double *sum = out.value.data() + out_pixel + static_cast<std::size_t>(group) * outputs;
        double *sum_magnitude = out.magnitude.data() + out_pixel + static_cast<std::size_t>(group) * outputs;
        for (std::int64_t ci = 0; ci < weights.inputs_per_group; ++ci) {
            const std::size_t from =
                in_pixel + static_cast<std::size_t>(group * weights.inputs_per_group + ci);
            const double x = in.value[from];
            const double x_magnitude = in.magnitude[from];
            const double *w = weights.rows.data() + weights.row(tap, group, ci);
            for (std::size_t co = 0; co < outputs; ++co) {
                sum[co] += x * w[co];
                sum_magnitude[co] += x_magnitude * std::abs(w[co]);
            }
        }
    }
}

// How many (tap, input pixel) pairs reach each output pixel; the largest count bounds the roundings.
struct PairCount {
    std::vector<std::int64_t> pairs;
    explicit PairCount(const Tensor &out) : pairs(static_cast<std::size_t>(product(out.size)), 0) {}
    void add(const Tensor &out, const Axes &p) {
        ++pairs[static_cast<std::size_t>((p[0] * out.size[1] + p[1]) * out.size[2] + p[2])];
    }
    std::int64_t largest() const { return *std::max_element(pairs.begin(), pairs.end()); }
};

Axes padding_begin(const std::vector<ResolvedPadding> &padding) {
    PerAxis begin;
    for (const ResolvedPadding &axis : padding)
        begin.push_back(axis.begin);
    return widen(begin, 0);
}

// What surrounds one stage: the shapes it maps between, the layer's layout and the data it may read.
struct Context {
    const Shape &input_shape;
    const Shape &output_shape;
    Layout layout;
    const LayerData &data;
};

// out[o] = sum over taps t of in[stride * o + dilation * t - pad] * w[t]
State apply(const Conv &conv, const State &in, const Context &context) {
    const Axes kernel = widen(conv.kernel, 1), stride = widen(conv.stride, 1),
               dilation = widen(conv.dilation, 1);
    const Axes pad = padding_begin(resolve_padding(conv, context.input_shape.spatial));
    const std::int64_t taps = product(kernel);
    Weights weights(in.tensor.channels, conv.output_channels, conv.groups, taps);
    weights.fill(taps, [&](std::int64_t tap, std::int64_t group, std::int64_t ci, std::int64_t co) {
        const std::int64_t output = group * weights.outputs_per_group + co;
        return context.data
            .weights[static_cast<std::size_t>((output * weights.inputs_per_group + ci) * taps + tap)];
    });

    State out{Tensor(context.output_shape)};
    PairCount count(out.tensor);
    for (std::int64_t n = 0; n < in.tensor.batch; ++n) {
        std::int64_t tap = 0;
        for_each_position({0, 0, 0}, kernel, [&](const Axes &t) {
            for_each_position({0, 0, 0}, out.tensor.size, [&](const Axes &o) {
                Axes i;
                for (int axis = 0; axis < 3; ++axis)
                    i[axis] = stride[axis] * o[axis] + dilation[axis] * t[axis] - pad[axis];
                if (!inside(i, in.tensor.size)) return;
                add_pixel(in.tensor, in.tensor.index(n, i, 0), weights, tap, out.tensor,
                          out.tensor.index(n, o, 0));
                if (n == 0) count.add(out.tensor, o);
            });
            ++tap;
        });
    }
    out.terms = in.terms + count.largest() * weights.inputs_per_group;
    return out;
}

// Every input pixel i adds in[i] * w[t] to out[stride * i + dilation * t - pad], where that is an output.
State apply(const TransposedConv &conv, const State &in, const Context &context) {
    const Axes kernel = widen(conv.kernel, 1), stride = widen(conv.stride, 1),
               dilation = widen(conv.dilation, 1);
    const Axes pad = padding_begin(resolve_padding(conv, context.input_shape.spatial));
    const std::int64_t taps = product(kernel);
    Weights weights(in.tensor.channels, conv.output_channels, conv.groups, taps);
    if (conv.weights == WeightInitialiser::bilinear) {
        // The triangle filter from each channel to itself, zero between different channels.
        std::array<std::vector<double>, 3> filter;
        for (int axis = 0; axis < 3; ++axis)
            filter[axis] = bilinear_filter(kernel[axis]);
        weights.fill(taps, [&](std::int64_t tap, std::int64_t group, std::int64_t ci, std::int64_t co) {
            if (group * weights.inputs_per_group + ci != group * weights.outputs_per_group + co) return 0.0;
            const std::int64_t x = tap % kernel[2], y = tap / kernel[2] % kernel[1],
                               z = tap / (kernel[2] * kernel[1]);
            return filter[0][static_cast<std::size_t>(z)] * filter[1][static_cast<std::size_t>(y)] *
                   filter[2][static_cast<std::size_t>(x)];
        });
    } else {
        weights.fill(taps, [&](std::int64_t tap, std::int64_t group, std::int64_t ci, std::int64_t co) {
            const std::int64_t input = group * weights.inputs_per_group + ci;
            return context.data
                .weights[static_cast<std::size_t>((input * weights.outputs_per_group + co) * taps + tap)];
        });
    }

    State out{Tensor(context.output_shape)};
    PairCount count(out.tensor);
    for (std::int64_t n = 0; n < in.tensor.batch; ++n) {
        std::int64_t tap = 0;
        for_each_position({0, 0, 0}, kernel, [&](const Axes &t) {
            for_each_position({0, 0, 0}, in.tensor.size, [&](const Axes &i) {
                Axes o;
                for (int axis = 0; axis < 3; ++axis)
                    o[axis] = stride[axis] * i[axis] + dilation[axis] * t[axis] - pad[axis];
                if (!inside(o, out.tensor.size)) return;
                add_pixel(in.tensor, in.tensor.index(n, i, 0), weights, tap, out.tensor,
                          out.tensor.index(n, o, 0));
                if (n == 0) count.add(out.tensor, o);
            });
            ++tap;
        });
    }
    // A bilinear weight is rounded to f32 once an axis before it is used.
    const std::int64_t weight_roundings = conv.weights == WeightInitialiser::bilinear ? 3 : 0;
    out.terms = in.terms + count.largest() * weights.inputs_per_group + weight_roundings;
    return out;
}

// The transposed convolution of each channel with the triangle filter, where `replicate` lets the pixels
// beyond the border hold the border's value and `zero` lets them hold nothing.
State apply(const BilinearUpsample &bilinear, const State &in, const Context &context) {
    const std::size_t rank = context.input_shape.spatial.size();
    TransposedConv conv;
    conv.output_channels = in.tensor.channels;
    conv.stride = bilinear.factor;
    conv.dilation = PerAxis(rank, 1);
    conv.output_pad = PerAxis(rank, 0);
    conv.pad = bilinear.has_pad ? bilinear.pad : Padding{};
    for (const std::int64_t f : bilinear.factor) {
        const bool aligned = bilinear.corners == CornerRule::aligned;
        conv.kernel.push_back(aligned ? 2 * f - 1 : 2 * f - f % 2);
        if (bilinear.has_pad) continue;
        conv.pad.begin.push_back(aligned ? f - 1 : f / 2); // f / 2 == ceil((f - 1) / 2)
        conv.pad.end.push_back(conv.pad.begin.back());
    }
    const Axes kernel = widen(conv.kernel, 1), stride = widen(conv.stride, 1);
    const Axes pad = padding_begin(resolve_padding(conv, context.input_shape.spatial));
    std::array<std::vector<double>, 3> filter;
    for (int axis = 0; axis < 3; ++axis)
        filter[axis] = bilinear_filter(kernel[axis]);

    State out{Tensor(context.output_shape)};
    Axes begin{0, 0, 0}, end = in.tensor.size;
    if (bilinear.edge == EdgeRule::replicate) {
        // Far enough that every pixel which could reach an output takes part; those too far reach none.
        for (int axis = 0; axis < 3; ++axis) {
            begin[axis] = -1 - kernel[axis] / stride[axis];
            end[axis] = (out.tensor.size[axis] + pad[axis]) / stride[axis] + 1;
        }
    }
    PairCount count(out.tensor);
    for (std::int64_t n = 0; n < in.tensor.batch; ++n)
        for_each_position({0, 0, 0}, kernel, [&](const Axes &t) {
            double w = 1;
            for (int axis = 0; axis < 3; ++axis)
                w *= filter[axis][static_cast<std::size_t>(t[axis])];
            for_each_position(begin, end, [&](const Axes &i) {
                Axes o, source;
                for (int axis = 0; axis < 3; ++axis) {
                    o[axis] = stride[axis] * i[axis] + t[axis] - pad[axis];
                    source[axis] = std::clamp<std::int64_t>(i[axis], 0, in.tensor.size[axis] - 1);
                }
                if (!inside(o, out.tensor.size)) return;
                const std::size_t to = out.tensor.index(n, o, 0), from = in.tensor.index(n, source, 0);
                for (std::size_t c = 0; c < static_cast<std::size_t>(in.tensor.channels); ++c) {
                    out.tensor.value[to + c] += w * in.tensor.value[from + c];
                    out.tensor.magnitude[to + c] += w * in.tensor.magnitude[from + c];
                }
                if (n == 0) count.add(out.tensor, o);
            });
        });
    out.terms = in.terms + count.largest() + 3; // three for the weights' own rounding
    return out;
}

// Calls visit(small position, channel c of the few-channel side, large position, channel of the many-channel
// side) for every element of a pixel shuffle: the small image has factor^rank times the channels of the large
// one.
template<typename Visit>
void for_each_shuffled(const Axes &small, std::int64_t few_channels, const Axes &factor, ShuffleOrder order,
                       Visit visit) {
    const std::int64_t phases = product(factor);
    for_each_position({0, 0, 0}, small, [&](const Axes &p) {
        for_each_position({0, 0, 0}, factor, [&](const Axes &sub) {
            const std::int64_t phase = (sub[0] * factor[1] + sub[1]) * factor[2] + sub[2];
            Axes large;
            for (int axis = 0; axis < 3; ++axis)
                large[axis] = p[axis] * factor[axis] + sub[axis];
            for (std::int64_t c = 0; c < few_channels; ++c)
                visit(p, c, large,
                      order == ShuffleOrder::crd ? c * phases + phase : phase * few_channels + c);
        });
    });
}

// crd: out[c, r·h + i, r·w + j] = in[c·r² + i·r + j, h, w];  dcr: … = in[(i·r + j)·C + c, h, w]
State apply(const PixelShuffle &shuffle, const State &in, const Context &context) {
    const Axes factor = widen(PerAxis(context.input_shape.spatial.size(), shuffle.factor), 1);
    State out{Tensor(context.output_shape), in.terms};
    for (std::int64_t n = 0; n < in.tensor.batch; ++n)
        for_each_shuffled(in.tensor.size, out.tensor.channels, factor, shuffle.order,
                          [&](const Axes &small, std::int64_t c, const Axes &large, std::int64_t many) {
                              out.tensor.set_from(out.tensor.index(n, large, c), in.tensor,
                                                  in.tensor.index(n, small, many));
                          });
    return out;
}

State apply(const PixelUnshuffle &shuffle, const State &in, const Context &context) {
    const Axes factor = widen(PerAxis(context.input_shape.spatial.size(), shuffle.factor), 1);
    State out{Tensor(context.output_shape), in.terms};
    for (std::int64_t n = 0; n < in.tensor.batch; ++n)
        for_each_shuffled(out.tensor.size, in.tensor.channels, factor, shuffle.order,
                          [&](const Axes &small, std::int64_t c, const Axes &large, std::int64_t many) {
                              out.tensor.set_from(out.tensor.index(n, small, many), in.tensor,
                                                  in.tensor.index(n, large, c));
                          });
    return out;
}

// out[o] = in[source(o)], channel by channel.
template<typename Source>
State move_pixels(const State &in, const Context &context, Source source) {
    State out{Tensor(context.output_shape), in.terms};
    for (std::int64_t n = 0; n < in.tensor.batch; ++n)
        for_each_position({0, 0, 0}, out.tensor.size, [&](const Axes &o) {
            Axes i;
            for (int axis = 0; axis < 3; ++axis)
                i[axis] = source(axis, o[axis]);
            for (std::int64_t c = 0; c < in.tensor.channels; ++c)
                out.tensor.set_from(out.tensor.index(n, o, c), in.tensor, in.tensor.index(n, i, c));
        });
    return out;
}

State apply(const NearestUpsample &nearest, const State &in, const Context &context) {
    const Axes factor = widen(nearest.factor, 1);
    return move_pixels(in, context, [&](int axis, std::int64_t o) { return o / factor[axis]; });
}

State apply(const Crop &crop, const State &in, const Context &context) {
    const Axes from = widen(crop.from, 0);
    return move_pixels(in, context, [&](int axis, std::int64_t o) { return o + from[axis]; });
}

State apply(const Bias &, State state, const Context &context) {
    for_each_element(state.tensor, context.layout, [&](std::size_t at, std::size_t, std::int64_t c) {
        const double b = context.data.bias[static_cast<std::size_t>(c)];
        state.tensor.value[at] += b;
        state.tensor.magnitude[at] += std::abs(b);
    });
    ++state.terms;
    return state;
}

State apply(const Scale &, State state, const Context &context) {
    for_each_element(state.tensor, context.layout, [&](std::size_t at, std::size_t, std::int64_t c) {
        const double s = context.data.scale[static_cast<std::size_t>(c)];
        state.tensor.value[at] *= s;
        state.tensor.magnitude[at] *= std::abs(s);
    });
    ++state.terms;
    return state;
}

State apply(const Prelu &, State state, const Context &context) {
    for_each_element(state.tensor, context.layout, [&](std::size_t at, std::size_t, std::int64_t c) {
        const double slope = context.data.prelu[static_cast<std::size_t>(c)];
        if (state.tensor.value[at] < 0) state.tensor.value[at] *= slope;
        state.tensor.magnitude[at] *= std::max(1.0, std::abs(slope));
    });
    ++state.terms;
    return state;
}

State apply(const Add &, State state, const Context &context) {
    for_each_element(state.tensor, context.layout, [&](std::size_t at, std::size_t in_layout, std::int64_t) {
        const double second = context.data.add[in_layout];
        state.tensor.value[at] += second;
        state.tensor.magnitude[at] += std::abs(second);
    });
    ++state.terms;
    return state;
}

// A function of one number, the most it can enlarge an error by, and its own roundings. The roundings of a
// smooth function are relative to its value, which then joins the magnitude.
struct Function {
    std::function<double(double)> of;
    double steepest = 1;
    std::int64_t roundings = 0;
    bool smooth = false;
};

Function function_of(const Activation &activation) {
    const double a = activation.a, b = activation.b;
    switch (activation.kind) {
    case ActivationKind::relu:
        return {[](double x) { return x < 0 ? 0 : x; }};
    case ActivationKind::leaky_relu:
        return {[a](double x) { return x < 0 ? a * x : x; }, std::max(1.0, std::abs(a)), 2};
    case ActivationKind::clamp:
        return {[a, b](double x) { return x < a ? a : (x > b ? b : x); }, 1, 1, true};
    case ActivationKind::tanh:
        return {[](double x) { return std::tanh(x); }, 1, 8, true};
    case ActivationKind::sigmoid:
        return {[](double x) { return 1 / (1 + std::exp(-x)); }, 0.25, 8, true};
    case ActivationKind::silu:
        return {[](double x) { return x / (1 + std::exp(-x)); }, 1.1, 8, true};
    case ActivationKind::gelu:
        return {[](double x) { return 0.5 * x * (1 + std::erf(x / std::numbers::sqrt2)); }, 1.13, 8, true};
    }
    return {};
}

State apply(const Activation &activation, State state, const Context &) {
    const Function function = function_of(activation);
    for (std::size_t at = 0; at < state.tensor.value.size(); ++at) {
        double &value = state.tensor.value[at], &magnitude = state.tensor.magnitude[at];
        value = function.of(value);
        magnitude = magnitude * function.steepest + (function.smooth ? std::abs(value) : 0);
    }
    state.terms += function.roundings;
    return state;
}

State input_state(const Shape &shape, const Context &context) {
    State state{Tensor(shape)};
    for_each_element(state.tensor, context.layout, [&](std::size_t at, std::size_t in_layout, std::int64_t) {
        state.tensor.value[at] = context.data.input[in_layout];
        state.tensor.magnitude[at] = std::abs(state.tensor.value[at]);
    });
    return state;
}

std::int64_t element_count(const Shape &shape) {
    return std::accumulate(shape.spatial.begin(), shape.spatial.end(), shape.batch * shape.channels,
                           std::multiplies<>());
}

// The part of the data that a stage reads, or null.
std::int64_t *part_of(const StageOperation &operation, DataSizes &sizes) {
    if (std::holds_alternative<Conv>(operation)) return &sizes.weights;
    if (const auto *conv = std::get_if<TransposedConv>(&operation))
        return conv->weights == WeightInitialiser::learned ? &sizes.weights : nullptr;
    if (std::holds_alternative<Bias>(operation)) return &sizes.bias;
    if (std::holds_alternative<Scale>(operation)) return &sizes.scale;
    if (std::holds_alternative<Prelu>(operation)) return &sizes.prelu;
    if (std::holds_alternative<Add>(operation)) return &sizes.add;
    return nullptr;
}

} // namespace

std::vector<double> bilinear_filter(std::int64_t kernel) {
    const double f = static_cast<double>((kernel + 1) / 2),
                 centre = static_cast<double>(kernel - 1) / (2 * f);
    std::vector<double> filter;
    for (std::int64_t i = 0; i < kernel; ++i)
        filter.push_back(1 - std::abs(static_cast<double>(i) / f - centre));
    return filter;
}

Layer with_sizes(const Layer &layer, std::int64_t batch, const PerAxis &spatial) {
    Layer fixed = layer;
    if (fixed.input.batch == dynamic_size) fixed.input.batch = batch;
    for (std::size_t axis = 0; axis < fixed.input.spatial.size() && axis < spatial.size(); ++axis)
        if (fixed.input.spatial[axis] == dynamic_size) fixed.input.spatial[axis] = spatial[axis];
    return fixed;
}

Result<DataSizes> data_sizes(const Layer &layer) {
    const std::vector<Diagnostic> errors = check_shapes(layer);
    if (!errors.empty()) return Error{to_string(errors.front())};
    if (layer.input.batch == dynamic_size || std::ranges::count(layer.input.spatial, dynamic_size) > 0)
        return Error{fmt::format("{}: the reference needs every size fixed", layer.name)};
    const std::vector<Shape> shapes = infer_shapes(layer);
    DataSizes sizes;
    sizes.input = element_count(shapes.front());
    std::vector<const std::int64_t *> used;
    for (std::size_t k = 0; k < layer.stages.size(); ++k) {
        const StageOperation &operation = layer.stages[k].operation;
        std::int64_t *part = part_of(operation, sizes);
        if (part == nullptr) continue;
        if (std::ranges::count(used, part) > 0)
            return Error{fmt::format(
                "{}: {}: the reference evaluates one such stage with data of its own, got a second",
                layer.name, stage_name(operation))};
        used.push_back(part);
        if (part == &sizes.weights) {
            const std::vector<std::int64_t> shape = weight_shape(operation, shapes[k].channels);
            *part = std::accumulate(shape.begin(), shape.end(), std::int64_t{1}, std::multiplies<>());
        } else {
            *part = part == &sizes.add ? element_count(shapes[k]) : shapes[k].channels;
        }
    }
    return sizes;
}

Result<ReferenceResult> evaluate(const Layer &layer, const LayerData &data) {
    const Result<DataSizes> sizes = data_sizes(layer);
    if (!sizes) return Error{sizes.error()};
    const auto wrong_part = [&](const char *part, std::int64_t expected, const std::vector<float> &got) {
        return static_cast<std::size_t>(expected) == got.size()
                   ? std::string()
                   : fmt::format("{}: {}: expected {} numbers, got {}", layer.name, part, expected,
                                 got.size());
    };
    for (const std::string &error :
         {wrong_part("input", sizes->input, data.input), wrong_part("weights", sizes->weights, data.weights),
          wrong_part("bias", sizes->bias, data.bias), wrong_part("scale", sizes->scale, data.scale),
          wrong_part("prelu", sizes->prelu, data.prelu), wrong_part("add", sizes->add, data.add)})
        if (!error.empty()) return Error{error};

    const std::vector<Shape> shapes = infer_shapes(layer);
    State state = input_state(shapes[0], {shapes[0], shapes[0], layer.input.layout, data});
    for (std::size_t k = 0; k < layer.stages.size(); ++k) {
        const Context context{shapes[k], shapes[k + 1], layer.input.layout, data};
        state = std::visit([&](const auto &stage) { return apply(stage, std::move(state), context); },
                           layer.stages[k].operation);
    }

    ReferenceResult result{shapes.back(), std::vector<double>(state.tensor.value.size()),
                           std::vector<double>(state.tensor.value.size()), state.terms};
    for_each_element(state.tensor, layer.input.layout,
                     [&](std::size_t at, std::size_t in_layout, std::int64_t) {
                         result.values[in_layout] = state.tensor.value[at];
                         result.magnitudes[in_layout] = state.tensor.magnitude[at];
                     });
    return result;
}

} // namespace unstride::reference
