// NumPy's .npy files of float32, the form in which tensors enter and leave the tools.
#pragma once

#include "compiler/result.h"

#include <cstdint>
#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace unstride {

struct NpyArray {
    std::vector<std::int64_t> shape; // empty for a single number
    std::vector<float> values;       // C order: the last size varies fastest
    bool operator==(const NpyArray &) const = default;
};

// Reads a little-endian float32 array in C order, format 1.0, 2.0 or 3.0. With `expected_shape` a file of
// another shape is an error. Every error begins with the path; nothing is allocated before the header agrees
// with the file's size.
Result<NpyArray> read_npy(const std::filesystem::path &path,
                          const std::optional<std::vector<std::int64_t>> &expected_shape = std::nullopt);

// The same for bytes in memory; errors begin with `name`.
Result<NpyArray> parse_npy(std::string_view bytes, const std::string &name,
                           const std::optional<std::vector<std::int64_t>> &expected_shape = std::nullopt);

// Writes format 1.0; `path` holds either all of the array or what it held before.
Result<void> write_npy(const std::filesystem::path &path, const std::vector<std::int64_t> &shape,
                       std::span<const float> values);

} // namespace unstride
