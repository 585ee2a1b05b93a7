// A library as its tables describe it, from the planned and compiled layers.
#pragma once

#include "compiler/language/shapes.h"
#include "compiler/lowering/phase_convolution.h"
#include "tools/known_weights.h"
#include "tools/library/c_source.h"
#include "tools/library/installation.h"
#include "tools/library/kernel_compiler.h"

#include <filesystem>
#include <string>
#include <vector>

namespace unstride {

struct PlannedKernel {
    KernelRequest request;
    std::string grade;           // how the schedule was found
    std::string schedule_source; // "FILE:LINE" of its record; empty for defaults
    std::string remark;          // why it is not the best schedule known; empty: it is
    CompiledKernel compiled;
    std::filesystem::path embedded; // file with packed weights that the library is to hold; empty: none
};

struct PlannedLayer {
    Layer layer;
    PhaseConvolution convolution;
    const KnownWeights *known = nullptr; // null: weights are given to the library's `pack`
    std::vector<PlannedKernel> kernels;  // one for each instruction set of the target, in its order
};

LibraryDescription describe_library(const std::string &name, const Target &target,
                                    const std::vector<PlannedLayer> &layers,
                                    const Installation &installation);

// The sizes in the order of the layout, as the C interface has them.
std::vector<std::int64_t> sizes_in_order(const Shape &shape, Layout layout);

} // namespace unstride
