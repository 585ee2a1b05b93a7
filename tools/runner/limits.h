/* What a machine can do at most, measured in the same process as the kernels: shared by the measuring program
 * and the benchmark. */
#ifndef UNSTRIDE_LIMITS_H
#define UNSTRIDE_LIMITS_H

#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Float32 operations a second, in units of 10^9 (a multiply-add is two), that `threads` threads reach at once
 * with independent multiply-adds in the registers of an instruction set ("avx512", "avx2", "sse41", "neon").
 * Takes about a millisecond. 0 for other names and where memory or threads are short. The instructions must
 * be present. */
double multiply_add_peak(const char *instruction_set, int threads);

/* Seconds to fill `count` floats, and to copy them, each thread its own contiguous part; 0 where memory or
 * threads are short. */
double seconds_to_fill(float *target, size_t count, int threads);
double seconds_to_copy(const float *source, float *target, size_t count, int threads);

#ifdef __cplusplus
}
#endif

#endif
