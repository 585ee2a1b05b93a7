// An error in a layer's text, with the place it was found and the rule it broke.
#pragma once

#include <string>
#include <vector>

namespace unstride {

// A place in a layer's text. Lines and columns count from 1; column counts bytes.
struct SourcePosition {
    std::string file;
    int line = 1;
    int column = 1;
};

struct Diagnostic {
    SourcePosition position;
    std::string stage;   // "transposed_conv", or "input" / "layer" for what is no stage
    std::string message; // the rule and the value: "kernel must be at least 1, got 0"
};

// "layers/fcn.layers:3:38: transposed_conv: kernel must be at least 1, got 0"
std::string to_string(const Diagnostic &diagnostic);

} // namespace unstride
