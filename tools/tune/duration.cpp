// A number and a unit of one letter.
#include "tools/tune/duration.h"

#include <charconv>
#include <cmath>

namespace unstride {

std::optional<std::chrono::milliseconds> parse_duration(std::string_view text) {
    double number = 0;
    const char *end = text.data() + text.size();
    const auto [rest, error] = std::from_chars(text.data(), end, number, std::chars_format::fixed);
    if (error != std::errc{} || end - rest != 1) return std::nullopt;
    const double seconds = *rest == 's' ? 1 : *rest == 'm' ? 60 : *rest == 'h' ? 3600 : 0;
    const double milliseconds = std::round(number * seconds * 1000);
    if (!(milliseconds >= 1 && milliseconds <= 3.6e9)) return std::nullopt;
    return std::chrono::milliseconds(static_cast<std::int64_t>(milliseconds));
}

} // namespace unstride
