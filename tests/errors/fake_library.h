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

// Every layer computes out[o] = w * in[min(o / phases, size - 1)] + bias (+ add), with w the first weight.
extern const unstride_layer
    fake_up; // NHWC, 3 channels, scale 2, 2 phases, kernel 1x1x3x3, bias; heavy arithmetic
extern const unstride_layer fake_small; // the same with hardly any arithmetic
extern const unstride_layer fake_odd;   // scale 2, shift -1, add, no bias: sizes that need four boxes
extern const unstride_layer fake_line;  // one spatial axis, scale 4, shift 3, 4 phases, no weights, batch 2
extern const unstride_layer fake_crop;  // scale 1, shift -4
extern const unstride_layer fake_old;   // of another interface version
extern const unstride_layer gpu_up, gpu_odd, ocl_up, ocl_odd;

// What kernels do, and what they have seen.
typedef struct fake_controls {
    int fail_code;         // compute and pack answer this ...
    const char *fail_text; // ... after reporting this
    int failing_task;      // the task, by its index, that fails instead; -1: all of them would
    int nested;            // each task runs a parallel loop of its own
    int prints;            // kernels print
    long allocate;         // bytes each task asks for
    void (*in_task)(void); // called in each task
    int many_callers;      // nothing of the following is kept, as several threads call at a time
    int boxes;             // compute calls so far, and the last extents and mins of q and u on both axes
    int q_extent[2], u_min[2], u_extent[2];
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
