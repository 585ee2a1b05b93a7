// Where prefetched lines of kernels go.
#pragma once

#include "compiler/result.h"
#include "tools/analysis/machine_code.h"

#include <filesystem>

namespace unstride {

// Makes every prefetch of an object one into the L2 cache. Halide knows only prefetches of data that is read
// once and kept nowhere: prefetchnta on x86-64, which brings a line past the L2 cache, and prfm pldl1strm on
// AArch64. The object is replaced as a whole. Errors: the file cannot be read or written, is no object of the
// architecture, or holds what is no instruction.
Result<void> prefetch_into_l2(const std::filesystem::path &object, Architecture architecture);

} // namespace unstride
