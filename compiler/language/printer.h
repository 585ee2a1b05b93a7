// Layers to text, in the one canonical form: parse(print(x)) == x and print(parse(print(x))) == print(x).
#pragma once

#include "compiler/language/layer.h"

#include <string>

namespace unstride {

// "NAME = input(f32, 1x64x64x256) | transposed_conv(64, kernel=4, stride=2, pad=1) | bias"
std::string print(const Layer &layer);

// The same without "NAME = ": what names the computation in hashes, records and caches.
std::string print_chain(const Layer &layer);

// One stage: "transposed_conv(64, kernel=4, stride=2, pad=1)". Arguments at their default are left out; a
// per-axis value that is the same on every axis is printed once.
std::string print(const StageOperation &operation);

} // namespace unstride
