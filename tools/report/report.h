// A comparison as one HTML file for reading: no network, no scripts, light and dark, from a phone's width on.
#pragma once

#include "tools/compare/comparison.h"

#include <optional>
#include <string>
#include <string_view>

namespace unstride {

// The whole page. Every figure comes from to_json(comparison), which the page carries: elements with
// data-json="POINTER" and data-form="FORM" (or none: "text") show the value at that JSON pointer as written
// by the function of tools/compare/units.h that FORM names (see figure_text()).
std::string html_report(const Comparison &comparison);

// The JSON that a report carries; nothing for other pages.
std::optional<std::string_view> json_of_report(std::string_view page);

// A value as a form of the report shows it: "time", "seconds", "flops", "bandwidth", "share", "spread",
// "ratio", "bytes", "count", "error", "number", "text".
std::string figure_text(const nlohmann::json &value, const std::string &form);

} // namespace unstride
