// What readers of files of arrays (.npy, .safetensors) have in common.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace unstride {

using Sizes = std::vector<std::int64_t>; // of an array, outermost first

inline constexpr std::size_t largest_rank = 32; // NumPy's own limit

// A string of a file as an error may show it: short, and without control characters.
inline std::string shown(std::string_view text) {
    constexpr std::size_t most = 60;
    std::string result;
    for (const char c : text.substr(0, most))
        result += c >= ' ' && c <= '~' ? c : '?';
    return text.size() > most ? result + "..." : result;
}

} // namespace unstride
