// A comparison as a table to read: plain text for a terminal, Markdown for a document.
#pragma once

#include "tools/compare/comparison.h"

#include <string>

namespace unstride {

std::string text_table(const Comparison &comparison);
std::string markdown_table(const Comparison &comparison);

} // namespace unstride
