/* What the compiler tells the runtime about a layer and its kernels: data only, written as C by `unstride
 * build`.
 *
 * Output coordinate o = phases * u + q on each spatial axis. The kernel's tensors are channels-last views:
 *   input  (c, x, y, n)            output, add  (c, q_x, u, q_y, v, n)
 *   weights (channel in block, ci, tap x, tap y, phase x, phase y, block)        bias (block * blocks)
 * so the output is a plain tensor seen through strides; where an output size is no multiple of the phases,
 * the kernel runs on up to four boxes (whole phases, right edge, bottom edge, corner). */
#ifndef UNSTRIDE_KERNEL_TABLE_H
#define UNSTRIDE_KERNEL_TABLE_H

#include "unstride/unstride.h"

#define UNSTRIDE_WEIGHT_DIMENSIONS 7

/* One spatial axis of a layer: output size = scale * input size + shift. */
typedef struct unstride_axis {
    int64_t scale, shift;
    int32_t phases;
    int32_t halo; /* input elements that a tile of t outputs of one phase reads beyond t, over all phases */
} unstride_axis;

/* The kernels of one layer for one instruction set. Both functions take an array of pointers to their
 * arguments, the first to a `void *` user context, the others to Halide buffers: compute: context, input,
 * weights, bias, [add,] output       pack: context, kernel, bias, weights, packed bias and return 0 or a
 * Halide error code. `kernel` is the framework's weights as (kx, ky, CO/groups or CI/groups, CI or CO):
 * dimension 0 innermost, the spatial axes padded to two with extent 1. A layer without weights passes pack
 * one element, zero; a layer without bias passes at least bias_extent zeros. `pack` is null where nothing is
 * to be packed: weights and bias are then zeros. */
typedef struct unstride_kernel {
    const char *schedule; /* JSON */
    const char *grade;
    uint64_t identity; /* hash of layer, schedule, target and versions: packed weights carry it */
    int (*compute)(void **arguments);
    int (*pack)(void **arguments);
    int32_t weight_extent[UNSTRIDE_WEIGHT_DIMENSIONS];
    int32_t bias_extent; /* block * blocks */
    /* Staging of one task: tile_x * strip outputs by tile_y * rows outputs of one phase, plus the axes'
     * halos, times `staged_channels`; zero channels when the kernel stages nothing. strip == 0: the whole
     * row. */
    int32_t tile_x, strip, tile_y, rows, staged_channels;
} unstride_kernel;

typedef struct unstride_plan {
    uint64_t layer_hash;  /* of the layer's text */
    int32_t spatial_axes; /* 1 or 2; axes[0] is x, axes[1] is y */
    unstride_axis axes[2];
    int32_t kernel_extent[4];       /* of the framework's weights, as above */
    const unstride_kernel *kernels; /* one for each instruction set of the library, in its order */
} unstride_plan;

/* A compiled-in instruction set. `requirement` is a bit set of UNSTRIDE_CPU_*. */
typedef struct unstride_instruction_set {
    const char *name; /* "avx512", "avx2", "sse41", "neon", "cuda", "opencl" */
    uint32_t requirement;
} unstride_instruction_set;

#define UNSTRIDE_CPU_SSE41 1u
#define UNSTRIDE_CPU_AVX2_FMA 2u /* AVX, AVX2, FMA and the operating system's support for YMM state */
#define UNSTRIDE_CPU_AVX512 4u   /* F, CD, BW, DQ, VL and ZMM state */

#define UNSTRIDE_DEVICE_NONE 0
#define UNSTRIDE_DEVICE_CUDA 1
#define UNSTRIDE_DEVICE_OPENCL 2

typedef struct unstride_table {
    const char *library_name, *target, *version;
    int32_t device; /* UNSTRIDE_DEVICE_* */
    int32_t layer_count;
    const unstride_layer *const *layers; /* layer->implementation is its unstride_plan */
    int32_t instruction_set_count;       /* best first */
    const unstride_instruction_set *instruction_sets;
} unstride_table;

#endif
