// How figures are written, everywhere the same: three or four digits that mean something, then the unit.
#pragma once

#include <string>

namespace unstride {

std::string format_time(double nanoseconds);     // "812.3 ns", "1.234 ms"
std::string format_seconds(double seconds);      // "2.4 s"
std::string format_flops(double per_second);     // "153.2 GFLOP/s"
std::string format_bandwidth(double per_second); // "21.5 GB/s"
std::string format_share(double fraction);       // "76.4 %"
std::string format_spread(double fraction);      // "±0.8 %"
std::string format_ratio(double ratio);          // "1.234×"
std::string format_bytes(double bytes);          // "18.0 KiB"
std::string format_count(double count);          // "1 234"; "12.3 M" from a million on
std::string format_error(double error);          // "1.2e-06"; "0"
std::string format_number(double value);         // "98.2"

// The text cut to a width in characters, with "…" where something is missing.
std::string shortened(const std::string &text, std::size_t width);

// How many columns UTF-8 text takes.
std::size_t text_width(const std::string &text);

} // namespace unstride
