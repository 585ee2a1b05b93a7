// Weights that are known when a library is built: what they let the compiler build instead of a layer.
#pragma once

#include "compiler/language/layer.h"
#include "tools/weights.h"

#include <filesystem>
#include <string>
#include <vector>

namespace unstride {

// The weights of one layer that is built, and where both come from.
struct KnownWeights {
    LayerWeights weights; // in the shapes of the layer that is built
    std::string given;    // the chain of the layer as it was given
    std::string sha256;   // of the tensors that the layer as given asks for; empty where it asks for none
    bool exact = false;   // nothing was looked for
    std::vector<std::string> findings; // what was found and what that saves, a line each
};

struct KnownWeightsResult {
    std::vector<Layer> layers;         // to build, in the order and with the names of the given ones
    std::vector<KnownWeights> weights; // one for each
    std::vector<std::string> errors;   // all that is missing or wrong, each with its place
    bool ok() const { return errors.empty(); }
};

// Reads the weights of every layer (read_layer_weights) and takes what rewrite_by_weights makes of it, unless
// `exact` is asked for here or by the layer's numeric policy. Precondition: the layers passed check_shapes.
KnownWeightsResult know_weights(const std::filesystem::path &path, const std::vector<Layer> &layers,
                                FilterOrder order, bool exact);

} // namespace unstride
