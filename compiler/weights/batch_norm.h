// Batch normalisation at inference as the `| scale | bias` of the language.
#pragma once

#include <span>
#include <string>
#include <variant>
#include <vector>

namespace unstride {

// y = gamma * (x - mean) / sqrt(variance + eps) + beta, one number of each a channel.
struct BatchNorm {
    std::vector<float> gamma, beta, mean, variance;
    double eps = 1e-5; // PyTorch's and ONNX's default; TensorFlow's is 1e-3
};

// y = scale * x + bias.
struct ScaleAndBias {
    std::vector<float> scale, bias;
    bool operator==(const ScaleAndBias &) const = default;
};

// The two vectors that compute the normalisation of what a convolution gives, or what is wrong with the
// numbers: scale = gamma / sqrt(variance + eps) and bias = beta + (convolution_bias - mean) * scale, computed
// in double. The bias is computed with the rounded scale, so that rounding the scale moves nothing at x =
// mean - convolution_bias. `convolution_bias` is what the convolution adds before the normalisation; it may
// be empty, else it holds one number a channel.
std::variant<ScaleAndBias, std::string> fold_batch_norm(const BatchNorm &norm,
                                                        std::span<const float> convolution_bias = {});

} // namespace unstride
