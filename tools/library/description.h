// A library as its tables describe it, from the planned and compiled layers.
#pragma once

#include "compiler/lowering/phase_convolution.h"
#include "tools/library/c_source.h"
#include "tools/library/installation.h"
#include "tools/library/kernel_compiler.h"

#include <string>
#include <vector>

namespace unstride {

struct PlannedKernel {
    KernelRequest request;
    std::string grade; // how the schedule was found
    CompiledKernel compiled;
};

struct PlannedLayer {
    Layer layer;
    PhaseConvolution convolution;
    std::vector<PlannedKernel> kernels; // one for each instruction set of the target, in its order
};

LibraryDescription describe_library(const std::string &name, const Target &target,
                                    const std::vector<PlannedLayer> &layers,
                                    const Installation &installation);

// Bytes that packing writes for a kernel, without the header of the blob.
std::int64_t packed_weight_bytes(const LibraryKernel &kernel);

} // namespace unstride
