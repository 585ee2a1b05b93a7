// The same analysis of PTX, the text that NVIDIA's driver compiles. Its registers are virtual and its code is
// scheduled anew, so counts are of operations, not of the device's instructions.
#pragma once

#include "tools/analysis/analysis.h"

namespace unstride {

// Of the PTX that a CUDA object of Halide's holds as a text. A register of a thread is a lane of what the
// device does for many threads at once: so all multiply-adds, loads, stores and registers count as those of
// vectors, with one number each, and those of local memory as the stack's too. Addresses are places in the
// function.
Result<KernelAnalysis> analyse_ptx(std::string_view object);

} // namespace unstride
