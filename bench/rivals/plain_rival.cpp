// Elementwise stages work in place, all others from one buffer to the next.
#include "bench/rivals/plain_rival.h"

#include <algorithm>
#include <cmath>
#include <numbers>
#include <omp.h>
#include <type_traits>
#include <variant>

namespace unstride::bench {

namespace {

std::int64_t pixels_of(const Shape &shape) {
    return product(widened(shape.spatial, 1));
}

std::size_t elements_of(const Shape &shape) {
    return static_cast<std::size_t>(shape.batch * shape.channels * pixels_of(shape));
}

template<typename Stage>
Convolution convolution_of(const Stage &stage, const Shape &from, const Shape &to) {
    Convolution result;
    result.transposed = std::is_same_v<Stage, TransposedConv>;
    result.batch = from.batch;
    result.input_channels = from.channels;
    result.output_channels = to.channels;
    result.groups = stage.groups;
    result.input = widened(from.spatial, 1);
    result.output = widened(to.spatial, 1);
    result.kernel = widened(stage.kernel, 1);
    result.stride = widened(stage.stride, 1);
    result.dilation = widened(stage.dilation, 1);
    PerAxis begin;
    for (const ResolvedPadding &pad : resolve_padding(stage, from.spatial))
        begin.push_back(pad.begin);
    result.pad = widened(begin, 0);
    return result;
}

float activated(const Activation &activation, float x) {
    const auto a = static_cast<float>(activation.a), b = static_cast<float>(activation.b);
    switch (activation.kind) {
    case ActivationKind::relu:
        return std::max(x, 0.0f);
    case ActivationKind::leaky_relu:
        return x > 0 ? x : a * x;
    case ActivationKind::clamp:
        return std::min(std::max(x, a), b);
    case ActivationKind::tanh:
        return std::tanh(x);
    case ActivationKind::sigmoid:
        return 1 / (1 + std::exp(-x));
    case ActivationKind::silu:
        return x / (1 + std::exp(-x));
    case ActivationKind::gelu:
        return 0.5f * x * (1 + std::erf(x / std::numbers::sqrt2_v<float>));
    }
    return x;
}

// Sets every number of `values` to function(channel, index, number).
template<typename Function>
void for_each_number(const Shape &shape, float *values, const Function &function) {
    const std::int64_t planes = shape.batch * shape.channels, pixels = pixels_of(shape);
#pragma omp parallel for
    for (std::int64_t plane = 0; plane < planes; plane++) {
        const auto channel = static_cast<std::size_t>(plane % shape.channels);
        for (std::int64_t i = plane * pixels; i < (plane + 1) * pixels; i++)
            values[i] = function(channel, static_cast<std::size_t>(i), values[i]);
    }
}

// Sets every number of `to` to the one at from[source(channel, position)] of its image.
template<typename Source>
void gather(const Shape &from, const Shape &to, const float *input, float *output, const Source &source) {
    const Axes size = widened(to.spatial, 1);
    const std::int64_t planes = to.batch * to.channels, pixels = product(size);
    const std::int64_t image = from.channels * pixels_of(from);
#pragma omp parallel for
    for (std::int64_t plane = 0; plane < planes; plane++) {
        const float *in = input + plane / to.channels * image;
        float *out = output + plane * pixels;
        for (std::int64_t z = 0; z < size[0]; z++) {
            for (std::int64_t y = 0; y < size[1]; y++) {
                for (std::int64_t x = 0; x < size[2]; x++)
                    *out++ = in[source(plane % to.channels, Axes{z, y, x})];
            }
        }
    }
}

std::int64_t index_in(const Axes &size, std::int64_t channel, const Axes &p) {
    return ((channel * size[0] + p[0]) * size[1] + p[1]) * size[2] + p[2];
}

void shuffle(const PixelShuffle &stage, const Shape &from, const Shape &to, const float *in, float *out) {
    const Axes size = widened(from.spatial, 1);
    const std::int64_t block = from.channels / to.channels;
    const Axes factor = widened(PerAxis(from.spatial.size(), stage.factor), 1);
    gather(from, to, in, out, [&](std::int64_t channel, const Axes &p) {
        std::int64_t phase = 0;
        Axes pixel{};
        for (std::size_t axis = 0; axis < 3; axis++) {
            phase = phase * factor[axis] + p[axis] % factor[axis];
            pixel[axis] = p[axis] / factor[axis];
        }
        const bool crd = stage.order == ShuffleOrder::crd;
        return index_in(size, crd ? channel * block + phase : phase * to.channels + channel, pixel);
    });
}

} // namespace

Axes widened(const PerAxis &values, std::int64_t fill) {
    Axes axes;
    axes.fill(fill);
    std::copy(values.begin(), values.end(), axes.end() - static_cast<std::ptrdiff_t>(values.size()));
    return axes;
}

void PlainRival::load(const Problem &problem, const std::string &, int threads) {
    omp_set_num_threads(threads);
    layout_ = problem.layer.input.layout;
    problem_ = in_layout(problem, Layout::nchw);
    input_ = AlignedFloats(problem_.data.input);
    steps_.clear();
    for (std::size_t i = 0; i < problem_.layer.stages.size(); i++) {
        Step step{problem_.layer.stages[i].operation, problem_.shapes[i], problem_.shapes[i + 1], {}, {}};
        const auto convolution = [&](const auto &stage) {
            step.convolution = convolution_of(stage, step.from, step.to);
            step.convolution.weights = problem_.data.weights.data();
            prepare(step.convolution, threads);
        };
        if (const auto *conv = std::get_if<Conv>(&step.operation)) {
            convolution(*conv);
        } else if (const auto *transposed = std::get_if<TransposedConv>(&step.operation)) {
            convolution(*transposed);
        } else if (std::holds_alternative<PixelUnshuffle>(step.operation) ||
                   std::holds_alternative<BilinearUpsample>(step.operation)) {
            throw Unsupported(std::string(stage_name(step.operation)) + " is no part of this program");
        } else {
            step.in_place = i > 0 && step.from == step.to;
        }
        if (!step.in_place) step.result = AlignedFloats(elements_of(step.to));
        steps_.push_back(std::move(step));
    }
}

void PlainRival::apply(Step &step, const float *from, float *to) const {
    const reference::LayerData &data = problem_.data;
    const auto elementwise = [&](const auto &function) {
        if (from != to) std::copy_n(from, elements_of(step.to), to);
        for_each_number(step.to, to, function);
    };
    if (std::holds_alternative<Conv>(step.operation) ||
        std::holds_alternative<TransposedConv>(step.operation)) {
        const_cast<PlainRival *>(this)->convolve(step.convolution, from, to);
    } else if (const auto *shuffled = std::get_if<PixelShuffle>(&step.operation)) {
        shuffle(*shuffled, step.from, step.to, from, to);
    } else if (const auto *nearest = std::get_if<NearestUpsample>(&step.operation)) {
        const Axes size = widened(step.from.spatial, 1), factor = widened(nearest->factor, 1);
        gather(step.from, step.to, from, to, [&](std::int64_t channel, const Axes &p) {
            return index_in(size, channel, {p[0] / factor[0], p[1] / factor[1], p[2] / factor[2]});
        });
    } else if (const auto *crop = std::get_if<Crop>(&step.operation)) {
        const Axes size = widened(step.from.spatial, 1), begin = widened(crop->from, 0);
        gather(step.from, step.to, from, to, [&](std::int64_t channel, const Axes &p) {
            return index_in(size, channel, {p[0] + begin[0], p[1] + begin[1], p[2] + begin[2]});
        });
    } else if (std::holds_alternative<Bias>(step.operation)) {
        elementwise([&](std::size_t channel, std::size_t, float x) { return x + data.bias[channel]; });
    } else if (std::holds_alternative<Scale>(step.operation)) {
        elementwise([&](std::size_t channel, std::size_t, float x) { return x * data.scale[channel]; });
    } else if (std::holds_alternative<Prelu>(step.operation)) {
        elementwise(
            [&](std::size_t channel, std::size_t, float x) { return x > 0 ? x : x * data.prelu[channel]; });
    } else if (std::holds_alternative<Add>(step.operation)) {
        elementwise([&](std::size_t, std::size_t index, float x) { return x + data.add[index]; });
    } else {
        const Activation &activation = std::get<Activation>(step.operation);
        elementwise([&](std::size_t, std::size_t, float x) { return activated(activation, x); });
    }
}

void PlainRival::run() {
    float *to = nullptr;
    const float *from = input_.data();
    for (Step &step : steps_) {
        to = step.in_place ? to : step.result.data();
        apply(step, from, to);
        from = to;
    }
    last_ = from;
}

std::vector<float> PlainRival::output() {
    const Shape &shape = problem_.shapes.back();
    return moved({last_, elements_of(shape)}, shape, Layout::nchw, layout_);
}

} // namespace unstride::bench
