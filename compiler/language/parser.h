// Text to layers. Every error of the text is collected; nothing is thrown.
#pragma once

#include "compiler/language/layer.h"

#include <string>
#include <string_view>
#include <vector>

namespace unstride {

struct ParseResult {
    std::vector<Layer> layers; // those that parsed without an error and passed the shape check, in file order
    std::vector<Diagnostic> errors; // in file order
    bool ok() const { return errors.empty(); }
};

// Parses a `.layers` text: one layer a line, `#` starts a comment. `file` is only used in positions.
// A layer's shapes are checked too (see shapes.h), and a name used twice is an error.
ParseResult parse_layers(std::string_view text, const std::string &file);

// Parses what stands right of `NAME =` ("input(…) | …"), for records and command lines; the layer is named
// `name`.
ParseResult parse_layer(std::string_view text, const std::string &name, const std::string &file = "layer");

} // namespace unstride
