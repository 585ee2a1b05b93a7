// manifest.json: what a library holds and how it was made.
#pragma once

#include "tools/library/description.h"

#include <cstdint>
#include <string>

namespace unstride {

// JSON with a final newline. No path and no host name is in it, so that equal inputs give equal manifests.
std::string write_manifest(const LibraryDescription &library, const Target &target,
                           const std::vector<PlannedLayer> &layers, const Installation &installation,
                           std::uintmax_t archive_bytes);

} // namespace unstride
