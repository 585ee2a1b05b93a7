// Numbers with a shape: weights and per-channel vectors as frameworks store them.
#pragma once

#include <cstdint>
#include <vector>

namespace unstride {

struct Tensor {
    std::vector<std::int64_t> shape; // empty for a single number
    std::vector<float> values;       // C order: the last size varies fastest
    bool operator==(const Tensor &) const = default;
};

} // namespace unstride
