// Prefixes and digits.
#include "tools/compare/units.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <initializer_list>

namespace unstride {

namespace {

// At least `digits` digits, with as many decimals as that takes.
std::string with_digits(double value, int digits) {
    const double magnitude = std::abs(value);
    int before = 1;
    for (double limit = 10; magnitude >= limit && before < digits; limit *= 10)
        before++;
    std::string text = fmt::format("{:.{}f}", value, digits - before);
    // rounding may have carried into one more digit: 9.9996 to 10.000
    if (digits > before && text.size() > static_cast<std::size_t>(digits) + 1 + (value < 0 ? 1 : 0))
        text.pop_back();
    if (!text.empty() && text.back() == '.') text.pop_back();
    return text;
}

// The largest of the units, `step` apart, that leaves at least 1.
std::string scaled(double value, double step, int digits, std::initializer_list<const char *> units) {
    auto unit = units.begin();
    while (std::abs(value) >= step * 0.99995 && unit + 1 != units.end()) {
        value /= step;
        unit++;
    }
    return fmt::format("{} {}", with_digits(value, digits), *unit);
}

} // namespace

std::string format_time(double nanoseconds) {
    return scaled(nanoseconds, 1000, 4, {"ns", "µs", "ms", "s"});
}

std::string format_seconds(double seconds) {
    return seconds < 1 ? scaled(seconds * 1e9, 1000, 2, {"ns", "µs", "ms", "s"})
                       : fmt::format("{:.1f} s", seconds);
}

std::string format_flops(double per_second) {
    return fmt::format("{} GFLOP/s", with_digits(per_second / 1e9, 4));
}

std::string format_bandwidth(double per_second) {
    return fmt::format("{} GB/s", with_digits(per_second / 1e9, 3));
}

std::string format_share(double fraction) {
    return fmt::format("{:.1f} %", fraction * 100);
}

std::string format_spread(double fraction) {
    return fmt::format("±{:.1f} %", fraction * 100);
}

std::string format_ratio(double ratio) {
    return fmt::format("{}×", with_digits(ratio, 4));
}

std::string format_bytes(double bytes) {
    return bytes < 1024 ? fmt::format("{:.0f} B", bytes) : scaled(bytes, 1024, 3, {"B", "KiB", "MiB", "GiB"});
}

std::string format_count(double count) {
    if (count >= 1e6) return scaled(count / 1e6, 1000, 3, {"M", "G", "T"});
    std::string text = fmt::format("{:.0f}", count);
    if (text.size() > 4) text.insert(text.size() - 3, " ");
    return text;
}

std::string format_error(double error) {
    return error == 0 ? "0" : fmt::format("{:.1e}", error);
}

std::string format_number(double value) {
    return value == std::floor(value) && std::abs(value) < 1e15 ? fmt::format("{:.0f}", value)
                                                                : with_digits(value, 3);
}

std::size_t text_width(const std::string &text) {
    return static_cast<std::size_t>(
        std::count_if(text.begin(), text.end(), [](char c) { return (c & 0xc0) != 0x80; }));
}

std::string shortened(const std::string &text, std::size_t width) {
    if (text_width(text) <= width) return text;
    std::string result;
    std::size_t columns = 0;
    for (const char c : text) {
        columns += (c & 0xc0) != 0x80;
        if (columns >= width) break;
        result += c;
    }
    return result + "…";
}

} // namespace unstride
