// One layer after the other: read, hash, rewrite.
#include "tools/known_weights.h"

#include "compiler/language/printer.h"
#include "compiler/weights/structure.h"
#include "tools/sha256.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <utility>

namespace unstride {
namespace {

std::string hash_of(const LayerWeights &weights) {
    std::vector<std::string> parts;
    for (const auto &[name, tensor] :
         {std::pair("weights", &weights.weights), std::pair("bias", &weights.bias),
          std::pair("scale", &weights.scale), std::pair("prelu", &weights.prelu)}) {
        if (!*tensor) continue;
        const std::vector<float> &values = (*tensor)->values;
        parts.push_back(fmt::format("{} {}", name, fmt::join((*tensor)->shape, "x")));
        parts.emplace_back(reinterpret_cast<const char *>(values.data()), values.size() * sizeof(float));
    }
    return parts.empty() ? "" : sha256_of_parts(parts);
}

} // namespace

KnownWeightsResult know_weights(const std::filesystem::path &path, const std::vector<Layer> &layers,
                                FilterOrder order, bool exact) {
    KnownWeightsResult result;
    for (const Layer &layer : layers) {
        LayerWeightsResult read = read_layer_weights(path, layer, order);
        for (std::string &error : read.errors) {
            // A place that cannot be opened is the same error for every layer.
            if (std::find(result.errors.begin(), result.errors.end(), error) == result.errors.end())
                result.errors.push_back(std::move(error));
        }
        if (!read.ok()) continue;
        KnownWeights known{std::move(read.weights),
                           print_chain(layer),
                           "",
                           exact || layer.input.numeric == NumericPolicy::exact,
                           {}};
        known.sha256 = hash_of(known.weights);
        Layer built = layer;
        if (known.weights.weights && !known.exact) {
            auto rewritten = rewrite_by_weights(layer, *known.weights.weights);
            if (const auto *problem = std::get_if<Diagnostic>(&rewritten)) {
                result.errors.push_back(to_string(*problem));
                continue;
            }
            WeightRewrite &rewrite = std::get<WeightRewrite>(rewritten);
            known.findings = explain(rewrite);
            known.weights.weights = std::move(rewrite.weights);
            built = std::move(rewrite.layer);
        }
        result.layers.push_back(std::move(built));
        result.weights.push_back(std::move(known));
    }
    return result;
}

} // namespace unstride
