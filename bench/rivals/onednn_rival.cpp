// oneDNN through its C++ interface: each convolution is one primitive with all that follows as post-ops, in
// weights of the layout that it asks for. Variants are the layout of the tensors; in "any" that is oneDNN's
// choice too, and bringing tensors into it is not timed.
#include "bench/rivals/rival.h"

#include <dnnl.hpp>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <fmt/format.h>
#include <optional>
#include <unordered_map>
#include <utility>
#include <variant>

namespace unstride::bench {

namespace {

using dnnl::memory;
using Arguments = std::unordered_map<int, memory>;

constexpr auto f32 = memory::data_type::f32;

memory::dims dims_of(const Shape &shape) {
    memory::dims dims = {shape.batch, shape.channels};
    dims.insert(dims.end(), shape.spatial.begin(), shape.spatial.end());
    return dims;
}

std::int64_t product(const memory::dims &dims) {
    std::int64_t result = 1;
    for (const std::int64_t size : dims)
        result *= size;
    return result;
}

// Strides of (batch, channels, spatial…) of a dense tensor in a layout.
memory::dims strides_of(const Shape &shape, Layout layout) {
    const std::size_t rank = shape.spatial.size() + 2;
    memory::dims strides(rank);
    std::int64_t stride = layout == Layout::nhwc ? shape.channels : 1;
    for (std::size_t axis = rank; axis-- > 2;) {
        strides[axis] = stride;
        stride *= shape.spatial[axis - 2];
    }
    strides[1] = layout == Layout::nhwc ? 1 : stride;
    strides[0] = layout == Layout::nhwc ? stride : stride * shape.channels;
    return strides;
}

memory::desc plain(const Shape &shape, Layout layout) {
    return {dims_of(shape), f32, strides_of(shape, layout)};
}

// A number a channel.
memory::desc channel_vector(const Shape &shape) {
    memory::dims dims(shape.spatial.size() + 2, 1), strides(dims.size(), 1);
    dims[1] = shape.channels;
    strides[0] = shape.channels;
    return {dims, f32, strides};
}

struct Eltwise {
    dnnl::algorithm algorithm;
    float alpha, beta;
};

Eltwise eltwise_of(const Activation &activation) {
    using dnnl::algorithm;
    const auto a = static_cast<float>(activation.a), b = static_cast<float>(activation.b);
    switch (activation.kind) {
    case ActivationKind::relu:
        return {algorithm::eltwise_relu, 0, 0};
    case ActivationKind::leaky_relu:
        return {algorithm::eltwise_relu, a, 0};
    case ActivationKind::clamp:
        return {algorithm::eltwise_clip, a, b};
    case ActivationKind::tanh:
        return {algorithm::eltwise_tanh, 0, 0};
    case ActivationKind::sigmoid:
        return {algorithm::eltwise_logistic, 0, 0};
    case ActivationKind::silu:
        return {algorithm::eltwise_swish, 1, 0};
    case ActivationKind::gelu:
        return {algorithm::eltwise_gelu_erf, 0, 0};
    }
    throw Unsupported("an unknown activation");
}

class OneDnn : public Rival {
public:
    Identity identity() const override {
        const dnnl_version_t &version = *dnnl_version();
        return {UNSTRIDE_ONEDNN_NAME,
                fmt::format("{}.{}.{}", version.major, version.minor, version.patch),
                {"nhwc", "nchw", "any"},
                UNSTRIDE_ONEDNN_LIBRARY};
    }

    void load(const Problem &problem, const std::string &variant, int) override {
        layout_ = variant == "nchw" ? Layout::nchw : Layout::nhwc;
        free_layout_ = variant == "any";
        own_layout_ = problem.layer.input.layout;
        problem_ = in_layout(problem, layout_);
        const std::vector<Stage> &stages = problem_.layer.stages;
        std::size_t count = stages.size();
        if (count > 0 && std::holds_alternative<Crop>(stages.back().operation)) crop_ = --count;
        value_ = filled(plain(problem_.shapes.front(), layout_), problem_.data.input);
        for (std::size_t at = 0; at < count;)
            at = add_stage(at, count);
        stream_.wait();
    }

    std::string implementation() const override { return implementation_; }

    void run() override {
        for (Step &step : steps_)
            step.primitive.execute(stream_, step.arguments);
        stream_.wait();
    }

    // A crop at the end is a view, which costs nothing.
    std::vector<float> output() override {
        const Shape computed = crop_ ? problem_.shapes[*crop_] : problem_.shapes.back();
        memory result(plain(computed, own_layout_), engine_);
        dnnl::reorder(value_, result).execute(stream_, value_, result);
        stream_.wait();
        std::vector<float> values(static_cast<std::size_t>(product(dims_of(computed))));
        copy_out(result, &values);
        return crop_ ? cropped(values, computed) : values;
    }

private:
    struct Step {
        dnnl::primitive primitive;
        Arguments arguments;
    };

    dnnl::engine engine_{dnnl::engine::kind::cpu, 0};
    dnnl::stream stream_{engine_};
    Problem problem_;
    Layout layout_ = Layout::nhwc, own_layout_ = Layout::nhwc;
    bool free_layout_ = false;
    std::optional<std::size_t> crop_; // the stage that is left to output()
    std::vector<Step> steps_;
    memory value_; // what the next stage reads
    std::string implementation_;

    std::unordered_map<const void *, AlignedFloats> held_; // what memory objects show, by its place

    memory hold(const memory::desc &desc) {
        AlignedFloats block((desc.get_size() + sizeof(float) - 1) / sizeof(float));
        float *const place = block.data();
        held_.emplace(place, std::move(block));
        return {desc, engine_, place};
    }

    memory filled(const memory::desc &desc, const std::vector<float> &values) {
        memory result = hold(desc);
        void *target = result.map_data();
        std::memcpy(target, values.data(), values.size() * sizeof(float));
        result.unmap_data(target);
        return result;
    }

    static void copy_out(memory source, std::vector<float> *values) {
        void *from = source.map_data();
        std::memcpy(values->data(), from, values->size() * sizeof(float));
        source.unmap_data(from);
    }

    std::vector<float> cropped(const std::vector<float> &values, const Shape &shape) const {
        const Crop &crop = std::get<Crop>(problem_.layer.stages[*crop_].operation);
        const memory::dims strides = strides_of(shape, own_layout_);
        const Shape &kept = problem_.shapes.back();
        const memory::dims kept_strides = strides_of(kept, own_layout_), sizes = dims_of(kept);
        std::vector<float> result(static_cast<std::size_t>(product(sizes)));
        memory::dims at(sizes.size(), 0);
        for (std::size_t left = result.size(); left > 0; left--) {
            std::int64_t from = 0, to = 0;
            for (std::size_t axis = 0; axis < at.size(); axis++) {
                from += (at[axis] + (axis < 2 ? 0 : crop.from[axis - 2])) * strides[axis];
                to += at[axis] * kept_strides[axis];
            }
            result[static_cast<std::size_t>(to)] = values[static_cast<std::size_t>(from)];
            for (std::size_t axis = at.size(); axis-- > 0 && ++at[axis] == sizes[axis];)
                at[axis] = 0;
        }
        return result;
    }

    // The tensor in a layout that a primitive wants; moved once, before any call.
    memory in_format(memory from, const memory::desc &wanted) {
        if (from.get_desc() == wanted) return from;
        memory to = hold(wanted);
        dnnl::reorder(from, to).execute(stream_, from, to);
        stream_.wait();
        held_.erase(from.get_data_handle());
        return to;
    }

    template<typename Description, typename Primitive>
    void add_step(const Description &description, const Primitive &primitive, Arguments arguments,
                  const memory &result) {
        implementation_ += (implementation_.empty() ? "" : ", ") + std::string(description.impl_info_str());
        arguments[DNNL_ARG_DST] = result;
        steps_.push_back({primitive, std::move(arguments)});
        value_ = result;
    }

    // Adds the stage and those that go with it; answers the number of the next.
    std::size_t add_stage(std::size_t at, std::size_t count) {
        const StageOperation &operation = problem_.layer.stages[at].operation;
        if (const auto *conv = std::get_if<Conv>(&operation)) return add_convolution(*conv, at, count);
        if (const auto *conv = std::get_if<TransposedConv>(&operation))
            return add_convolution(*conv, at, count);
        if (const auto *nearest = std::get_if<NearestUpsample>(&operation)) {
            add_resampling(dnnl::algorithm::resampling_nearest, nearest->factor, at);
        } else if (const auto *bilinear = std::get_if<BilinearUpsample>(&operation)) {
            if (bilinear->corners == CornerRule::aligned) throw Unsupported("oneDNN does not align corners");
            add_resampling(dnnl::algorithm::resampling_linear, bilinear->factor, at);
        } else if (const auto *shuffle = std::get_if<PixelShuffle>(&operation)) {
            add_shuffle(*shuffle, at);
        } else {
            add_pointwise(operation, at);
        }
        return at + 1;
    }

    template<typename Stage>
    memory convolution_weights(const Stage &stage, const Shape &from, const Shape &to) {
        const bool transposed = std::is_same_v<Stage, TransposedConv>;
        const std::int64_t groups = stage.groups, taps = product(stage.kernel);
        const std::int64_t ci = from.channels / groups, co = to.channels / groups;
        memory::dims dims = {co, ci},
                     strides = {transposed ? taps : ci * taps, transposed ? co * taps : taps};
        if (groups > 1) {
            dims.insert(dims.begin(), groups);
            strides.insert(strides.begin(), ci * co * taps);
        }
        std::int64_t stride = taps;
        for (const std::int64_t size : stage.kernel) {
            stride /= size;
            dims.push_back(size);
            strides.push_back(stride);
        }
        return filled({dims, f32, strides}, problem_.data.weights);
    }

    // The post-ops of the stages from `at` on that compute every pixel by itself; answers the next stage.
    std::size_t add_post_ops(std::size_t at, std::size_t count, dnnl::primitive_attr *attributes,
                             Arguments *arguments) {
        dnnl::post_ops post_ops;
        for (; at < count; at++) {
            const StageOperation &operation = problem_.layer.stages[at].operation;
            const Shape &shape = problem_.shapes[at];
            const int number = DNNL_ARG_ATTR_MULTIPLE_POST_OP(post_ops.len());
            if (const auto *activation = std::get_if<Activation>(&operation)) {
                const Eltwise eltwise = eltwise_of(*activation);
                post_ops.append_eltwise(eltwise.algorithm, eltwise.alpha, eltwise.beta);
            } else if (std::holds_alternative<Prelu>(operation)) {
                post_ops.append_prelu(1 << 1);
                (*arguments)[number | DNNL_ARG_WEIGHTS] =
                    filled({{shape.channels}, f32, memory::dims{1}}, problem_.data.prelu);
            } else if (const auto binary = binary_of(operation, shape)) {
                post_ops.append_binary(binary->algorithm, binary->other.get_desc());
                (*arguments)[number | DNNL_ARG_SRC_1] = binary->other;
            } else {
                break;
            }
        }
        attributes->set_post_ops(post_ops);
        return at;
    }

    struct Binary {
        dnnl::algorithm algorithm;
        memory other;
    };

    std::optional<Binary> binary_of(const StageOperation &operation, const Shape &shape) {
        using dnnl::algorithm;
        const reference::LayerData &data = problem_.data;
        if (std::holds_alternative<Bias>(operation))
            return Binary{algorithm::binary_add, filled(channel_vector(shape), data.bias)};
        if (std::holds_alternative<Scale>(operation))
            return Binary{algorithm::binary_mul, filled(channel_vector(shape), data.scale)};
        if (std::holds_alternative<Add>(operation))
            return Binary{algorithm::binary_add, filled(plain(shape, layout_), data.add)};
        return std::nullopt;
    }

    template<typename Stage>
    std::size_t add_convolution(const Stage &stage, std::size_t at, std::size_t count) {
        constexpr bool transposed = std::is_same_v<Stage, TransposedConv>;
        using Primitive =
            std::conditional_t<transposed, dnnl::deconvolution_forward, dnnl::convolution_forward>;
        constexpr auto algorithm =
            transposed ? dnnl::algorithm::deconvolution_direct : dnnl::algorithm::convolution_auto;
        const Shape &from = problem_.shapes[at], &to = problem_.shapes[at + 1];
        memory::dims dilation, begin, end;
        const std::vector<ResolvedPadding> padding = resolve_padding(stage, from.spatial);
        for (std::size_t axis = 0; axis < padding.size(); axis++) {
            const std::int64_t reach = stage.dilation[axis] * (stage.kernel[axis] - 1) + 1;
            dilation.push_back(stage.dilation[axis] - 1);
            begin.push_back(padding[axis].begin);
            // The end follows from the sizes, so that it holds output_pad too.
            const std::int64_t large = transposed ? from.spatial[axis] : to.spatial[axis];
            const std::int64_t other = transposed ? to.spatial[axis] : from.spatial[axis];
            end.push_back(stage.stride[axis] * (large - 1) + reach - begin.back() - other);
        }

        const memory user_weights = convolution_weights(stage, from, to);
        const memory::desc any_weights(user_weights.get_desc().get_dims(), f32, memory::format_tag::any);
        const memory::desc any_result(dims_of(to), f32, memory::format_tag::any);
        const memory::desc source_desc = free_layout_ && steps_.empty()
                                             ? memory::desc(dims_of(from), f32, memory::format_tag::any)
                                             : value_.get_desc();
        const memory::desc result_desc = free_layout_ ? any_result : plain(to, layout_);
        const bool has_bias =
            at + 1 < count && std::holds_alternative<Bias>(problem_.layer.stages[at + 1].operation);
        const memory::desc bias_desc =
            has_bias ? memory::desc({to.channels}, f32, memory::dims{1}) : memory::desc();
        dnnl::primitive_attr attributes;
        Arguments arguments;
        const std::size_t next = add_post_ops(at + (has_bias ? 2 : 1), count, &attributes, &arguments);
        const auto description = describe<Primitive>([&] {
            return typename Primitive::primitive_desc(engine_, dnnl::prop_kind::forward_inference, algorithm,
                                                      source_desc, any_weights, bias_desc, result_desc,
                                                      stage.stride, dilation, begin, end, attributes);
        });
        arguments[DNNL_ARG_SRC] = in_format(value_, description.src_desc());
        arguments[DNNL_ARG_WEIGHTS] = in_format(user_weights, description.weights_desc());
        if (has_bias) arguments[DNNL_ARG_BIAS] = filled(bias_desc, problem_.data.bias);
        add_step(description, Primitive(description), arguments, hold(description.dst_desc()));
        return next;
    }

    // What oneDNN has no implementation for.
    template<typename Primitive, typename Make>
    static auto describe(const Make &make) {
        try {
            return make();
        } catch (const dnnl::error &error) {
            throw Unsupported(std::string("oneDNN: ") + error.what());
        }
    }

    memory::desc result_like(const Shape &shape) const { return plain(shape, layout_); }

    void refuse_free_layout() const {
        if (free_layout_) throw Unsupported("only convolutions have a layout to choose");
    }

    void add_resampling(dnnl::algorithm algorithm, const PerAxis &factor, std::size_t at) {
        refuse_free_layout();
        const std::vector<float> factors(factor.begin(), factor.end());
        using Resampling = dnnl::resampling_forward;
        const auto description = describe<Resampling>([&] {
            return Resampling::primitive_desc(engine_, dnnl::prop_kind::forward_inference, algorithm, factors,
                                              value_.get_desc(), result_like(problem_.shapes[at + 1]));
        });
        add_step(description, Resampling(description), {{DNNL_ARG_SRC, value_}},
                 hold(description.dst_desc()));
    }

    // A reorder between two views of rank 2 + 2 * axes: batch, channel, the place in the block, the pixel.
    void add_shuffle(const PixelShuffle &shuffle, std::size_t at) {
        refuse_free_layout();
        const Shape &from = problem_.shapes[at], &to = problem_.shapes[at + 1];
        const memory::dims source = strides_of(from, layout_), target = strides_of(to, layout_);
        const std::size_t axes = from.spatial.size();
        const std::int64_t block = from.channels / to.channels;
        const bool crd = shuffle.order == ShuffleOrder::crd;
        memory::dims dims = {to.batch, to.channels}, read = {source[0], (crd ? block : 1) * source[1]};
        memory::dims written = {target[0], target[1]};
        std::int64_t phase = block;
        for (std::size_t axis = 0; axis < axes; axis++) {
            phase /= shuffle.factor;
            dims.push_back(shuffle.factor);
            read.push_back(phase * (crd ? 1 : to.channels) * source[1]);
            written.push_back(target[2 + axis]);
        }
        for (std::size_t axis = 0; axis < axes; axis++) {
            dims.push_back(from.spatial[axis]);
            read.push_back(source[2 + axis]);
            written.push_back(shuffle.factor * target[2 + axis]);
        }
        memory result = hold(plain(to, layout_));
        const memory view_in({dims, f32, read}, engine_, value_.get_data_handle());
        const memory view_out({dims, f32, written}, engine_, result.get_data_handle());
        const auto description =
            describe<dnnl::reorder>([&] { return dnnl::reorder::primitive_desc(view_in, view_out); });
        add_step(description, dnnl::reorder(description), {{DNNL_ARG_SRC, view_in}}, view_out);
        value_ = result;
    }

    void add_pointwise(const StageOperation &operation, std::size_t at) {
        const Shape &shape = problem_.shapes[at];
        const memory result = hold(value_.get_desc());
        if (const auto *activation = std::get_if<Activation>(&operation)) {
            const Eltwise eltwise = eltwise_of(*activation);
            const dnnl::eltwise_forward::primitive_desc description(
                engine_, dnnl::prop_kind::forward_inference, eltwise.algorithm, value_.get_desc(),
                result.get_desc(), eltwise.alpha, eltwise.beta);
            add_step(description, dnnl::eltwise_forward(description), {{DNNL_ARG_SRC, value_}}, result);
        } else if (std::holds_alternative<Prelu>(operation)) {
            const memory slopes = filled(channel_vector(shape), problem_.data.prelu);
            const dnnl::prelu_forward::primitive_desc description(engine_, dnnl::prop_kind::forward_inference,
                                                                  value_.get_desc(), slopes.get_desc(),
                                                                  result.get_desc());
            add_step(description, dnnl::prelu_forward(description),
                     {{DNNL_ARG_SRC, value_}, {DNNL_ARG_WEIGHTS, slopes}}, result);
        } else if (const auto binary = binary_of(operation, shape)) {
            const dnnl::binary::primitive_desc description(engine_, binary->algorithm, value_.get_desc(),
                                                           binary->other.get_desc(), result.get_desc());
            add_step(description, dnnl::binary(description),
                     {{DNNL_ARG_SRC_0, value_}, {DNNL_ARG_SRC_1, binary->other}}, result);
        } else {
            throw Unsupported(fmt::format("oneDNN has no {} here", stage_name(operation)));
        }
    }
};

} // namespace

} // namespace unstride::bench

int main() {
    // oneDNN built on SYCL runs on the OpenCL driver that comes with it; this is how that is found.
    ::setenv("OCL_ICD_FILENAMES", UNSTRIDE_ONEDNN_DRIVER, 0);
    unstride::bench::OneDnn rival;
    return unstride::bench::serve(rival);
}
