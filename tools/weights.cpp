// Collects the tensors of one layer and compares each with what its stage asks for.
#include "tools/weights.h"

#include "compiler/language/shapes.h"
#include "compiler/weights/batch_norm.h"
#include "compiler/weights/learned_convolution.h"
#include "tools/array_file.h"
#include "tools/npy.h"
#include "tools/safetensors.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <memory>
#include <system_error>
#include <utility>

namespace unstride {
namespace {

namespace fs = std::filesystem;

// One kind of numbers: its name after NAME. in a folder, and its names in a .safetensors file.
struct Part {
    const char *file;
    std::vector<const char *> keys;
};
const Part weights_part = {"weights", {"weight", "weights"}};
const Part bias_part = {"bias", {"bias"}};
const Part scale_part = {"scale", {"scale"}};
const Part prelu_part = {"prelu", {"prelu", "prelu.weight"}};
const Part gamma_part = {"bn_gamma", {"bn_gamma", "bn.weight"}};
const Part beta_part = {"bn_beta", {"bn_beta", "bn.bias"}};
const Part mean_part = {"bn_mean", {"bn_mean", "bn.running_mean", "running_mean"}};
const Part variance_part = {"bn_variance", {"bn_variance", "bn.running_var", "running_var"}};
const Part eps_part = {"bn_eps", {"bn_eps"}};

// Where tensors come from.
class Source {
public:
    virtual ~Source() = default;
    // The places at which the part is.
    virtual std::vector<std::string> find(const Part &part) const = 0;
    // Where the part would be looked for.
    virtual std::string expected_place(const Part &part) const = 0;
    // Errors begin with the place.
    virtual Result<Tensor> read(const std::string &place) const = 0;
};

class Folder : public Source {
public:
    Folder(fs::path folder, std::string layer) : folder_(std::move(folder)), layer_(std::move(layer)) {}

    std::vector<std::string> find(const Part &part) const override {
        std::error_code ignored;
        const std::string place = expected_place(part);
        return fs::exists(fs::symlink_status(place, ignored)) ? std::vector{place}
                                                              : std::vector<std::string>{};
    }
    std::string expected_place(const Part &part) const override {
        return (folder_ / fmt::format("{}.{}.npy", layer_, part.file)).string();
    }
    Result<Tensor> read(const std::string &place) const override {
        Result<NpyArray> array = read_npy(place);
        if (!array) return Error{array.error()};
        return Tensor{std::move(array->shape), std::move(array->values)};
    }

private:
    fs::path folder_;
    std::string layer_;
};

class OneFile : public Source {
public:
    OneFile(SafetensorsFile file, std::string layer) : file_(std::move(file)), layer_(std::move(layer)) {}

    std::vector<std::string> find(const Part &part) const override {
        std::vector<std::string> places;
        for (const char *key : part.keys) {
            if (file_.contains(full(key))) places.push_back(place_of(key));
        }
        return places;
    }
    std::string expected_place(const Part &part) const override { return place_of(part.keys.front()); }
    Result<Tensor> read(const std::string &place) const override {
        return file_.tensor(place.substr(file_.name().size() + 2));
    }

private:
    SafetensorsFile file_;
    std::string layer_;

    std::string full(const char *key) const { return fmt::format("{}.{}", layer_, key); }
    std::string place_of(const char *key) const { return fmt::format("{}: {}", file_.name(), full(key)); }
};

Result<std::unique_ptr<Source>> open_source(const fs::path &path, const std::string &layer) {
    std::error_code error;
    if (fs::is_directory(path, error)) return std::unique_ptr<Source>(new Folder(path, layer));
    if (path.extension() != ".safetensors") {
        return Error{fmt::format("{}: weights must be a folder of .npy files or one .safetensors file",
                                 path.string())};
    }
    Result<SafetensorsFile> file = SafetensorsFile::read(path);
    if (!file) return Error{file.error()};
    return std::unique_ptr<Source>(new OneFile(std::move(*file), layer));
}

std::string text_of(const Sizes &shape) {
    return shape.empty() ? "()" : fmt::format("{}", fmt::join(shape, "x"));
}

// A stage that takes one number a channel.
struct ChannelStage {
    std::size_t index = 0;
    std::int64_t channels = 0;
};

class Collector {
public:
    Collector(const Source &source, const Layer &layer, FilterOrder order)
        : source_(source), layer_(layer), order_(order), shapes_(infer_shapes(layer)) {}

    LayerWeightsResult run() {
        collect_weights();
        const auto bias = channel_stage<Bias>(), scale = channel_stage<Scale>(),
                   prelu = channel_stage<Prelu>();
        if (has_batch_norm()) {
            collect_batch_norm(scale, bias);
        } else {
            result_.weights.bias = collect(bias_part, bias, "bias");
            result_.weights.scale = collect(scale_part, scale, "scale");
        }
        result_.weights.prelu = collect(prelu_part, prelu, "prelu");
        return std::move(result_);
    }

private:
    const Source &source_;
    const Layer &layer_;
    const FilterOrder order_;
    const std::vector<Shape> shapes_;
    LayerWeightsResult result_;

    void fail(std::string text) { result_.errors.push_back(std::move(text)); }

    // The part as it is stored; `why` completes the error for a part that is missing.
    std::optional<Tensor> read(const Part &part, const std::string &why, std::string *place) {
        const std::vector<std::string> places = source_.find(part);
        if (places.empty()) {
            fail(fmt::format("{}: missing; {}", source_.expected_place(part), why));
            return std::nullopt;
        }
        if (places.size() > 1) {
            fail(fmt::format("{} and {} name the same numbers; keep one", places[0], places[1]));
            return std::nullopt;
        }
        *place = places[0];
        Result<Tensor> tensor = source_.read(*place);
        if (!tensor) {
            fail(tensor.error());
            return std::nullopt;
        }
        const auto bad = std::find_if_not(tensor->values.begin(), tensor->values.end(),
                                          [](float value) { return std::isfinite(value); });
        if (bad != tensor->values.end()) {
            fail(fmt::format("{}: numbers must be finite, got {} at element {}", *place, *bad,
                             bad - tensor->values.begin()));
            return std::nullopt;
        }
        return std::move(*tensor);
    }

    std::optional<Tensor> read_shaped(const Part &part, const Sizes &shape, const std::string &why) {
        std::string place;
        std::optional<Tensor> tensor = read(part, why, &place);
        if (!tensor || tensor->shape == shape) return tensor;
        fail(fmt::format("{}: shape must be {}, got {}", place, text_of(shape), text_of(tensor->shape)));
        return std::nullopt;
    }

    // An error for numbers that nothing would use.
    void refuse_unused(const Part &part, const std::string &reason) {
        for (const std::string &place : source_.find(part))
            fail(fmt::format("{}: not used; {}", place, reason));
    }

    void collect_weights() {
        const auto found = learned_convolution(layer_);
        if (const auto *problem = std::get_if<Diagnostic>(&found)) {
            const bool none = problem->stage == "layer";
            if (!none) fail(to_string(*problem));
            if (none)
                refuse_unused(weights_part,
                              fmt::format("{} has no convolution with learned weights", layer_.name));
            return;
        }
        const auto &convolution = std::get<LearnedConvolution>(found);
        const std::string why = fmt::format("{} needs weights of the shape {}",
                                            stage_name(layer_.stages[convolution.stage].operation),
                                            text_of(stored_shape(convolution)));
        if (order_ == FilterOrder::tensorflow && !(convolution.transposed && convolution.groups == 1)) {
            return fail(
                fmt::format("{}: TensorFlow's filter order is that of a transposed_conv with groups=1; "
                            "give these weights in the frameworks' order",
                            layer_.name));
        }
        std::string place;
        std::optional<Tensor> tensor = read(weights_part, why, &place);
        if (!tensor) return;
        if (tensor->shape != stored_shape(convolution)) {
            return fail(fmt::format("{}: shape must be {}, got {}{}", place,
                                    text_of(stored_shape(convolution)), text_of(tensor->shape),
                                    order_hint(convolution, tensor->shape)));
        }
        result_.weights.weights =
            order_ == FilterOrder::tensorflow ? from_tensorflow_order(*tensor) : std::move(*tensor);
    }

    static Sizes tensorflow_shape(const LearnedConvolution &convolution) {
        Sizes shape = convolution.kernel;
        shape.insert(shape.end(), {convolution.output_channels, convolution.input.channels});
        return shape;
    }

    Sizes stored_shape(const LearnedConvolution &convolution) const {
        return order_ == FilterOrder::tensorflow ? tensorflow_shape(convolution) : convolution.weight_shape;
    }

    std::string order_hint(const LearnedConvolution &convolution, const Sizes &got) const {
        const bool swapped = convolution.transposed && convolution.groups == 1 &&
                             got == (order_ == FilterOrder::tensorflow ? convolution.weight_shape
                                                                       : tensorflow_shape(convolution));
        if (!swapped) return {};
        if (order_ == FilterOrder::tensorflow)
            return fmt::format(", which is the frameworks' order; leave out {}", tensorflow_order_option);
        return fmt::format(", which is TensorFlow's filter order; convert it with {}",
                           tensorflow_order_option);
    }

    template<typename PerChannel>
    std::optional<ChannelStage> channel_stage() {
        std::optional<ChannelStage> found;
        for (std::size_t index = 0; index < layer_.stages.size(); index++) {
            const Stage &stage = layer_.stages[index];
            if (!std::holds_alternative<PerChannel>(stage.operation)) continue;
            if (found) {
                fail(to_string({stage.position, stage_name(stage.operation),
                                "stands twice in one chain; begin a second layer here"}));
                break;
            }
            found = {index, shapes_[index].channels};
        }
        return found;
    }

    std::optional<Tensor> collect(const Part &part, const std::optional<ChannelStage> &stage,
                                  const char *name) {
        if (stage) {
            return read_shaped(part, {stage->channels},
                               fmt::format("{} needs {} numbers", name, stage->channels));
        }
        refuse_unused(part, fmt::format("{} has no `{}` stage; add `| {}` or remove the numbers", layer_.name,
                                        name, name));
        return std::nullopt;
    }

    bool has_batch_norm() const {
        const auto is_given = [&](const Part *part) { return !source_.find(*part).empty(); };
        const Part *const parts[] = {&gamma_part, &beta_part, &mean_part, &variance_part, &eps_part};
        return std::any_of(std::begin(parts), std::end(parts), is_given);
    }

    void collect_batch_norm(const std::optional<ChannelStage> &scale,
                            const std::optional<ChannelStage> &bias) {
        if (!scale || !bias || bias->index != scale->index + 1) {
            return fail(
                fmt::format("{}: batch normalisation is given, which computes `| scale | bias` side by "
                            "side; write them where it stands in the chain",
                            layer_.name));
        }
        refuse_unused(scale_part, "batch normalisation gives the scale");
        const Sizes shape = {scale->channels};
        const std::string why = "batch normalisation needs gamma, beta, mean and variance";
        BatchNorm norm;
        const std::optional<Tensor> convolution_bias = collect_convolution_bias(*scale);
        const std::size_t errors_before = result_.errors.size();
        for (const auto &[part, values] :
             {std::pair(&gamma_part, &norm.gamma), std::pair(&beta_part, &norm.beta),
              std::pair(&mean_part, &norm.mean), std::pair(&variance_part, &norm.variance)}) {
            std::optional<Tensor> tensor = read_shaped(*part, shape, why);
            if (tensor) *values = std::move(tensor->values);
        }
        if (!source_.find(eps_part).empty()) read_eps(&norm);
        if (result_.errors.size() != errors_before) return;
        auto folded =
            fold_batch_norm(norm, convolution_bias ? convolution_bias->values : std::vector<float>{});
        if (const auto *problem = std::get_if<std::string>(&folded))
            return fail(fmt::format("{}: {}", layer_.name, *problem));
        auto &[scale_values, bias_values] = std::get<ScaleAndBias>(folded);
        result_.weights.scale = Tensor{shape, std::move(scale_values)};
        result_.weights.bias = Tensor{shape, std::move(bias_values)};
    }

    // A single number, as () or (1).
    void read_eps(BatchNorm *norm) {
        std::string place;
        const std::optional<Tensor> eps = read(eps_part, "", &place);
        if (!eps) return;
        if (eps->values.size() != 1)
            return fail(fmt::format("{}: must be one number, got shape {}", place, text_of(eps->shape)));
        norm->eps = eps->values[0];
    }

    // The bias that the convolution adds before the normalisation.
    std::optional<Tensor> collect_convolution_bias(const ChannelStage &scale) {
        if (source_.find(bias_part).empty()) return std::nullopt;
        const StageOperation *before = scale.index == 0 ? nullptr : &layer_.stages[scale.index - 1].operation;
        const bool follows_convolution =
            before != nullptr &&
            (std::holds_alternative<Conv>(*before) || std::holds_alternative<TransposedConv>(*before));
        if (!follows_convolution) {
            refuse_unused(bias_part,
                          "with batch normalisation it is the convolution's own bias, which only a "
                          "`scale` directly after the convolution can take in");
            return std::nullopt;
        }
        return read_shaped(bias_part, {scale.channels}, "");
    }
};

} // namespace

LayerWeightsResult read_layer_weights(const fs::path &path, const Layer &layer, FilterOrder order) {
    const Result<std::unique_ptr<Source>> source = open_source(path, layer.name);
    if (!source) return {{}, {source.error()}};
    return Collector(**source, layer, order).run();
}

Tensor from_tensorflow_order(const Tensor &filter) {
    const std::size_t axes = filter.shape.size() - 2;
    const auto outputs = static_cast<std::size_t>(filter.shape[axes]),
               inputs = static_cast<std::size_t>(filter.shape[axes + 1]);
    const std::size_t taps = outputs * inputs == 0 ? 0 : filter.values.size() / (outputs * inputs);
    Tensor result{{filter.shape[axes + 1], filter.shape[axes]}, {}};
    result.shape.insert(result.shape.end(), filter.shape.begin(),
                        filter.shape.begin() + static_cast<std::ptrdiff_t>(axes));
    result.values.reserve(filter.values.size());
    for (std::size_t ci = 0; ci < inputs; ci++) {
        for (std::size_t co = 0; co < outputs; co++) {
            for (std::size_t tap = 0; tap < taps; tap++)
                result.values.push_back(filter.values[(tap * outputs + co) * inputs + ci]);
        }
    }
    return result;
}

} // namespace unstride
