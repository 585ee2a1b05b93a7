// The given numbers of a layer, from a folder of .npy files or one .safetensors file.
#pragma once

#include "compiler/language/layer.h"
#include "compiler/weights/tensor.h"

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

namespace unstride {

// The order in which the filter of a transposed convolution is stored.
enum class FilterOrder {
    framework, // (CI, CO/groups, spatial…), as PyTorch and ONNX
    tensorflow // (spatial…, CO, CI), as TensorFlow's conv2d_transpose; converted
};

// The command-line option that stands for FilterOrder::tensorflow, for errors to name.
inline constexpr const char *tensorflow_order_option = "--tensorflow-filters";

// What the chain uses; the rest is empty. Weights are in the order of weight_shape().
struct LayerWeights {
    std::optional<Tensor> weights, bias, scale, prelu;
};

struct LayerWeightsResult {
    LayerWeights weights;
    std::vector<std::string> errors; // all that is missing or wrong, each with its place
    bool ok() const { return errors.empty(); }
};

// The numbers of one layer.
//
// - A folder holds NAME.weights.npy, NAME.bias.npy, NAME.scale.npy and NAME.prelu.npy, and for batch
//   normalisation NAME.bn_gamma.npy, bn_beta, bn_mean, bn_variance and perhaps bn_eps.
// - A .safetensors file holds NAME.weight (or .weights), NAME.bias, NAME.scale, NAME.prelu (or .prelu.weight)
//   and NAME.bn_gamma (or .bn.weight), bn_beta (.bn.bias), bn_mean (.bn.running_mean, .running_mean),
//   bn_variance (.bn.running_var, .running_var) and bn_eps. One number under two names is an error.
//
// Batch normalisation gives the numbers of the chain's `| scale | bias`, which stand side by side; where it
// is given, NAME.bias is the bias of the convolution that they follow directly. eps is 1e-5 unless given.
//
// Every tensor must have exactly the shape that the layer asks for. Numbers for a stage that the layer does
// not have are an error, and so are NaN and infinities. Precondition: the layer passed check_shapes.
LayerWeightsResult read_layer_weights(const std::filesystem::path &path, const Layer &layer,
                                      FilterOrder order = FilterOrder::framework);

// (spatial…, CO, CI) to (CI, CO, spatial…). Precondition: at least three sizes.
Tensor from_tensorflow_order(const Tensor &filter);

} // namespace unstride
