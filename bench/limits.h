// What this machine can do at most, measured in the same process as the kernels.
#pragma once

#include <cstddef>
#include <string>

namespace unstride::bench {

// Float32 operations a second, in units of 10^9 (a multiply-add is two), that `threads` threads reach at once
// with independent multiply-adds in the registers of an instruction set ("avx512", "avx2", "sse41", "neon").
// Takes about a millisecond. The instructions must be present.
double multiply_add_peak(const std::string &instruction_set, int threads);

// Seconds to fill `count` floats, and to copy them, each thread its own contiguous part.
double seconds_to_fill(float *target, std::size_t count, int threads);
double seconds_to_copy(const float *source, float *target, std::size_t count, int threads);

} // namespace unstride::bench
