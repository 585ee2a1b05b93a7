// What prefetched lines of kernels are for.
#pragma once

#include "compiler/result.h"
#include "tools/analysis/machine_code.h"

#include <filesystem>

namespace unstride {

enum class PrefetchHint {
    into_l2,     // read from there soon: prefetcht1, prfm pldl2keep
    for_writing, // about to be written: prefetchw, prfm pstl1keep
};

// Gives every prefetch of an object a hint. Halide knows only prefetches of data that is read once and kept
// nowhere: prefetchnta on x86-64, which brings a line past the L2 cache, and prfm pldl1strm on AArch64. The
// object is replaced as a whole. Errors: the file cannot be read or written, is no object of the
// architecture, or holds what is no instruction.
Result<void> set_prefetch_hint(const std::filesystem::path &object, Architecture architecture,
                               PrefetchHint hint);

} // namespace unstride
