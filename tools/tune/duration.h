// Durations as command lines state them.
#pragma once

#include <chrono>
#include <optional>
#include <string_view>

namespace unstride {

// "30s", "10m", "1h", "1.5m"; nothing for anything else, for zero and for more than 1000 hours.
std::optional<std::chrono::milliseconds> parse_duration(std::string_view text);

} // namespace unstride
