// The ways in which a layer can be put to a framework that does not know the layer language.
#pragma once

#include "compiler/language/layer.h"

#include <span>
#include <string>
#include <vector>

namespace unstride::bench {

struct Form {
    std::string name; // empty: as written
    Layer layer;
    std::vector<float> weights; // that the layer itself has not, in the frameworks' order; else empty
};

// The layer as it is written, and where they exist: channel by channel instead of by a full matrix whose
// other weights are zero, with a crop as padding of the transposed convolution before it, and a convolution
// of an image enlarged by nearest pixels folded into a transposed convolution, whose weights are summed from
// the layer's own. Interpolation that fades out at the border stands as the transposed convolution that it
// is. The last is what a user who knows a framework well would write; which form is faster differs, so all
// are timed.
std::vector<Form> forms_of(const Layer &layer, std::span<const float> weights);

} // namespace unstride::bench
