// A comparison as one HTML file for reading: no network, no scripts, light and dark, from a phone's width on.
#pragma once

#include "tools/compare/comparison.h"

#include <optional>
#include <string>
#include <string_view>

namespace unstride {

// The whole page. Every figure comes from to_json(comparison), which the page carries: elements with
// data-json="POINTER" and data-form="FORM" (or none: usual_form()) show the value at that JSON pointer as
// written by the function of tools/compare/units.h that FORM names (see figure_text()). A pointer that does
// not begin with "/" continues the data-at of the element that it stands in. In a table of class "figures"
// the cells of a row do so with the pointers and forms of the table's header, in that order; "–" stands for
// no value.
//
// Listings of assembly and loops take no more room than `listing_bytes` all together: where there are more,
// the longest are cut, and say so.
std::string html_report(const Comparison &comparison);

inline constexpr std::size_t listing_bytes = 800'000;

// The JSON that a report carries; nothing for other pages.
std::optional<std::string_view> json_of_report(std::string_view page);

// The form of figures that do not say theirs, by the last name of their pointer: "time" of "…/est_ns"; "text"
// of most.
std::string usual_form(std::string_view pointer);

// A value as a form of the report shows it: "time", "seconds", "flops", "bandwidth", "share", "spread",
// "ratio", "bytes", "count", "error", "number", "schedule" (of the parameters: "cpu_direct lanes=16 …"),
// "text".
std::string figure_text(const nlohmann::json &value, const std::string &form);

} // namespace unstride
