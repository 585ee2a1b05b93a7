// Three libraries as `unstride build` would make them, but with kernels written by hand that obey `fake`, so
// that tests can provoke every answer of the runtime: `fake` for the processor, `gpu` for CUDA, `ocl` for
// OpenCL.
#ifndef UNSTRIDE_TESTS_FAKE_LIBRARY_H
#define UNSTRIDE_TESTS_FAKE_LIBRARY_H

#include "unstride/unstride.h"

#ifdef __cplusplus
extern "C" {
#endif

#define UNSTRIDE_LIBRARY(function) fake_##function
#include "unstride/library.h"
#undef UNSTRIDE_LIBRARY
#define UNSTRIDE_LIBRARY(function) gpu_##function
#include "unstride/library.h"
#undef UNSTRIDE_LIBRARY
#define UNSTRIDE_LIBRARY(function) ocl_##function
#include "unstride/library.h"
#undef UNSTRIDE_LIBRARY

uint64_t fake_scratch_misses(void);

// Every layer computes out[o] = w * in[min(o / phases, size - 1)] + bias (+ add), with w the first weight of
// the group; fake_grouped and fake_grouped_chw scale * (that) + prelu; those that pack nothing move the
// input. Unless said otherwise: NHWC, 3 channels, sizes known at run time, kernel 3x3x1x1.
extern const unstride_layer fake_up;       // scale 2, 2 phases, bias; heavy arithmetic
extern const unstride_layer fake_small;    // the same with hardly any arithmetic
extern const unstride_layer fake_wide;     // as fake_small, with 8 MB of packed weights
extern const unstride_layer fake_odd;      // scale 2, shift -1, add, no bias: sizes that need four boxes
extern const unstride_layer fake_bounded;  // as fake_odd; its kernel bounds its stores on x
extern const unstride_layer fake_line;     // one spatial axis, scale 4, shift 3, batch 2; packs nothing
extern const unstride_layer fake_crop;     // scale 1, shift -4
extern const unstride_layer fake_old;      // of another interface version
extern const unstride_layer fake_chw;      // NCHW, scale 2, shift -1, add, bias
extern const unstride_layer fake_line_chw; // NCHW, one spatial axis, scale 2, bias
extern const unstride_layer fake_volume;   // three spatial axes, scale 2, shift -1, bias: eight boxes
extern const unstride_layer fake_stepped;  // halved, an even size asked for; then 2 * size - 3; then cut to 4
extern const unstride_layer fake_held;     // as fake_up; the library holds its packed weights
// 6 channels in 3 groups, kernel 6x2x1x1, scale 2, shift -1, add, bias, scale, prelu; two buffers a task.
extern const unstride_layer fake_grouped, fake_grouped_chw;
extern const unstride_layer gpu_up, gpu_odd, gpu_line, gpu_held, ocl_up, ocl_odd, ocl_line, ocl_grouped;

// What fake_held's library holds: zeros, until a test writes packed weights there.
#define FAKE_HELD_BYTES 1024
extern unsigned char fake_held_weights[FAKE_HELD_BYTES], gpu_held_weights[FAKE_HELD_BYTES];

// What kernels do, and what they have seen.
typedef struct fake_controls {
    int fail_code;              // compute and pack answer this ...
    const char *fail_text;      // ... after reporting this
    int failing_task;           // the task, by its index, that fails instead; -1: all of them would
    int nested;                 // each task runs a parallel loop of its own
    int prints;                 // kernels print
    long allocate;              // bytes of each buffer that a task asks for
    int more_buffers;           // that a task holds at the same time, beyond one
    void (*in_task)(int index); // called in each task
    int many_callers;           // nothing of the following is kept, as several threads call at a time
    int boxes; // compute calls so far, and the last extents and mins of q and u on every axis
    int q_extent[3], u_min[3], u_extent[3];
    int packs; // pack calls so far, and the last extents of the kernel, bias, scale and prelu
    int kernel_rank, kernel_extent[5], channel_values[3];
    void *context, *stream;    // CUDA: what the hooks answered
    unsigned registers;        // CUDA: the limit that reached the driver
    int missing_code;          // CUDA: what a function that the driver lacks answers
    int copies_back, releases; // OpenCL
} fake_controls;

extern fake_controls fake;

// Largest number of tasks that ran at the same time since the last call of this.
int fake_take_peak(void);

#ifdef __cplusplus
}
#endif

#endif
