// `unstride init`: weights to begin training with, in the shape that the frameworks store.
#include "tools/commands.h"

#include "compiler/language/arguments.h"
#include "compiler/weights/initialisers.h"
#include "compiler/weights/learned_convolution.h"
#include "tools/npy.h"

#include <CLI/CLI.hpp>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cstdio>
#include <map>
#include <memory>
#include <optional>

namespace unstride {

namespace {

enum class Kind { bilinear, icnr, normal };

const std::map<std::string, Kind> kinds = {
    {"bilinear", Kind::bilinear}, {"icnr", Kind::icnr}, {"normal", Kind::normal}};

struct InitOptions {
    std::string file, layer, output;
    std::optional<Kind> kind;
    std::uint64_t seed = 0;
};

// The shuffle that rearranges what the convolution gives, if one does.
const PixelShuffle *shuffle_after(const Layer &layer, std::size_t stage) {
    for (std::size_t later = stage + 1; later < layer.stages.size(); later++) {
        if (const auto *shuffle = std::get_if<PixelShuffle>(&layer.stages[later].operation)) return shuffle;
    }
    return nullptr;
}

Error refusal(const Layer &layer, const LearnedConvolution &convolution, const std::string &reason) {
    const Stage &stage = layer.stages[convolution.stage];
    return Error{to_string({stage.position, stage_name(stage.operation), reason})};
}

Result<Tensor> bilinear_weights_of(const Layer &layer, const LearnedConvolution &convolution) {
    if (!convolution.transposed) {
        return refusal(layer, convolution,
                       "bilinear weights are for a transposed_conv; use --kind icnr or normal");
    }
    if (convolution.output_channels != convolution.input.channels) {
        return refusal(layer, convolution,
                       fmt::format("bilinear weights need as many output as input channels, got {} and {}; "
                                   "use --kind normal",
                                   convolution.output_channels, convolution.input.channels));
    }
    for (const std::string &warning : bilinear_recipe_warnings(layer, convolution.stage))
        fmt::print(stderr, "unstride: warning: layer {}: {}\n", layer.name, warning);
    return bilinear_kernel(convolution.input.channels, convolution.groups, convolution.kernel);
}

Result<Tensor> icnr_weights(const Layer &layer, const LearnedConvolution &convolution, std::uint64_t seed) {
    const PixelShuffle *shuffle = shuffle_after(layer, convolution.stage);
    if (shuffle == nullptr) {
        return refusal(layer, convolution,
                       "icnr needs a pixel_shuffle after the convolution; use --kind normal");
    }
    if (convolution.groups != 1) {
        return refusal(layer, convolution,
                       fmt::format("icnr needs groups=1, got {}; use --kind normal", convolution.groups));
    }
    std::int64_t block = 1;
    for (std::size_t axis = 0; axis < convolution.kernel.size(); axis++)
        block *= shuffle->factor;
    const std::size_t output_axis = convolution.transposed ? 1 : 0;
    std::vector<std::int64_t> sub_shape = convolution.weight_shape;
    sub_shape[output_axis] /= block;
    const Tensor sub_kernels = normal_weights(sub_shape, he_deviation(convolution), seed);
    return icnr(sub_kernels, output_axis, block, shuffle->order);
}

Result<Tensor> initial_weights(const Layer &layer, const LearnedConvolution &convolution, Kind kind,
                               std::uint64_t seed) {
    switch (kind) {
    case Kind::bilinear:
        return bilinear_weights_of(layer, convolution);
    case Kind::icnr:
        return icnr_weights(layer, convolution, seed);
    case Kind::normal:
        break;
    }
    return normal_weights(convolution.weight_shape, he_deviation(convolution), seed);
}

Result<void> write_initial_weights(const Layer &layer, const InitOptions &options) {
    const auto found = learned_convolution(layer);
    if (const auto *problem = std::get_if<Diagnostic>(&found)) return Error{to_string(*problem)};
    const auto &convolution = std::get<LearnedConvolution>(found);
    if (capped_product(convolution.weight_shape) > largest_size) {
        return refusal(layer, convolution,
                       fmt::format("init writes at most {} weights, the layer has more", largest_size));
    }
    const bool before_shuffle = shuffle_after(layer, convolution.stage) != nullptr && convolution.groups == 1;
    const Kind kind = options.kind.value_or(before_shuffle ? Kind::icnr : Kind::normal);
    const Result<Tensor> weights = initial_weights(layer, convolution, kind, options.seed);
    if (!weights) return Error{weights.error()};
    if (const Result<void> written = write_npy(options.output, weights->shape, weights->values); !written)
        return written;
    const auto name = std::find_if(kinds.begin(), kinds.end(), [&](const auto &entry) {
                          return entry.second == kind;
                      })->first;
    fmt::print("{}: {} weights of {}, shape {}\n", options.output, name, layer.name,
               fmt::join(weights->shape, "x"));
    return {};
}

int init(const InitOptions &options) {
    const auto layers = load_layers(options.file, {options.layer});
    if (!layers) return 1;
    if (const Result<void> written = write_initial_weights(layers->front(), options); !written) {
        print_error(written.error());
        return 1;
    }
    return 0;
}

} // namespace

void add_init_command(CLI::App &app, int *exit_code) {
    auto options = std::make_shared<InitOptions>();
    CLI::App *command = app.add_subcommand("init", "Write weights to begin the training of a layer with");
    command->add_option("file", options->file, "File in the layer language")
        ->required()
        ->type_name("FILE.layers");
    command->add_option("--layer", options->layer, "The layer")->required()->type_name("LAYER");
    command
        ->add_option(
            "--output,-o", options->output,
            "NumPy file for the weights of the layer's convolution: float32, in the shape that PyTorch "
            "and ONNX store")
        ->required()
        ->type_name("FILE.npy");
    command
        ->add_option(
            "--kind", options->kind,
            "bilinear: a transposed_conv interpolates each channel; icnr: conv and pixel_shuffle begin "
            "as nearest upsampling of a convolution with normal weights; normal: deviation sqrt(2 / "
            "fan-in). Unless given: icnr before a pixel_shuffle, else normal")
        ->transform(CLI::CheckedTransformer(kinds).description(""))
        ->type_name("bilinear|icnr|normal");
    command
        ->add_option("--seed", options->seed, "Of the normal numbers; the same seed gives the same weights")
        ->check(CLI::NonNegativeNumber)
        ->capture_default_str();
    command->callback([options, exit_code] { *exit_code = init(*options); });
}

} // namespace unstride
