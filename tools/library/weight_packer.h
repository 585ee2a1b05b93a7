// The packed weights that a library holds.
#pragma once

#include "compiler/result.h"
#include "tools/library/c_source.h"
#include "tools/library/installation.h"
#include "tools/library/kernel_compiler.h"
#include "tools/weights.h"

#include <filesystem>

namespace unstride {

// Writes to `file` what NAME_pack of the library writes for these weights where this kernel is in use.
// `weights` have the shapes of the layer that is built; `kernel` packs. Intermediate files lie beside `file`.
Result<void> write_packed_weights(const LibraryLayer &layer, const LibraryKernel &kernel,
                                  const KernelRequest &request, const LayerWeights &weights,
                                  const Installation &installation, const std::filesystem::path &file);

} // namespace unstride
