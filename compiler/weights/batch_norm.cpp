// Batch normalisation folded.
#include "compiler/weights/batch_norm.h"

#include <fmt/format.h>

#include <cmath>

namespace unstride {
namespace {

std::string problem_of(const BatchNorm &norm, std::span<const float> convolution_bias) {
    struct Part {
        const char *name;
        std::size_t size;
    };
    const std::size_t channels = norm.gamma.size();
    for (const Part &part :
         {Part{"beta", norm.beta.size()}, Part{"mean", norm.mean.size()},
          Part{"variance", norm.variance.size()},
          Part{"convolution's bias", convolution_bias.empty() ? channels : convolution_bias.size()}}) {
        if (part.size == channels) continue;
        return fmt::format("batch normalisation: the {} must hold as many numbers as gamma, {}, got {}",
                           part.name, channels, part.size);
    }
    if (!(norm.eps >= 0) || !std::isfinite(norm.eps))
        return fmt::format("batch normalisation: eps must be a number of at least 0, got {}", norm.eps);
    for (std::size_t c = 0; c < norm.variance.size(); c++) {
        if (norm.variance[c] + norm.eps > 0) continue;
        return fmt::format("batch normalisation: variance + eps must be above 0, got {} + {} in channel {}",
                           norm.variance[c], norm.eps, c);
    }
    return {};
}

} // namespace

std::variant<ScaleAndBias, std::string> fold_batch_norm(const BatchNorm &norm,
                                                        std::span<const float> convolution_bias) {
    if (std::string problem = problem_of(norm, convolution_bias); !problem.empty()) return problem;
    ScaleAndBias folded;
    for (std::size_t c = 0; c < norm.gamma.size(); c++) {
        const auto scale = static_cast<float>(norm.gamma[c] / std::sqrt(norm.variance[c] + norm.eps));
        const double before = convolution_bias.empty() ? 0.0 : convolution_bias[c];
        const auto bias = static_cast<float>(norm.beta[c] + (before - norm.mean[c]) * double{scale});
        if (!std::isfinite(scale) || !std::isfinite(bias)) {
            return fmt::format("batch normalisation: channel {} gives scale {} and bias {}, which f32 cannot "
                               "hold; check its gamma, beta, mean and variance",
                               c, scale, bias);
        }
        folded.scale.push_back(scale);
        folded.bias.push_back(bias);
    }
    return folded;
}

} // namespace unstride
