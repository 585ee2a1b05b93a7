// The loop nest of a schedule: what is left of the compiler's lowered statement when the arithmetic goes.
#pragma once

#include "compiler/result.h"
#include "tools/library/installation.h"
#include "tools/measure/candidate.h"

#include <cstddef>
#include <filesystem>
#include <string>
#include <string_view>

namespace unstride {

// Loops, memory and stages of a statement as Halide prints it, a line each, indented by what they are in; of
// nests beyond `most_lines` the rest is counted. Loops that became vectors, were unrolled or run on a device
// are none any more.
std::string loop_nest(std::string_view statement, std::size_t most_lines = 80);

// The loop nest of a candidate's kernel, which is lowered once more into a fresh folder below `folder`.
Result<std::string> loop_nest_of(const Candidate &candidate, const Installation &installation,
                                 const std::filesystem::path &folder, const ProcessLimits &limits);

} // namespace unstride
