/* What the compiler tells the runtime about a layer and its kernels: data only, written as C by `unstride
 * build`.
 *
 * Output coordinate o = phases * u + q on each spatial axis, and a kernel is given plain tensors seen through
 * strides:
 *   input  (c, x, y, [z,] n)
 *   output, add  (c, q_x, u, q_y, v, [q_z, w,] n)
 * whatever the order of the axes in memory (the layer's layout). z is there for layers of three spatial axes;
 * layers of one have a y of size 1. Where an output size is no multiple of the phases, the last u has fewer
 * q. On an axis of bounds_stores the kernel is given all of them there, and stores those that the tensor has.
 * Of other axes it runs on a box for each combination of ranges of whole and rest phases (up to two an axis).
 * Where groups is above 1, it runs once for each group, with that group's channels of every tensor and its
 * part of the packed weights.
 */
#ifndef UNSTRIDE_KERNEL_TABLE_H
#define UNSTRIDE_KERNEL_TABLE_H

#include "unstride/unstride.h"

#define UNSTRIDE_MAX_SPATIAL_AXES 3
#define UNSTRIDE_MAX_WEIGHT_DIMENSIONS 9
#define UNSTRIDE_MAX_SIZE_STEPS 6
#define UNSTRIDE_MAX_STAGINGS 2

/* One step from an input size to an output size: asks for size >= least and size % multiple == 0, and gives
 * floor((scale * size + shift) / divisor), which must be at least 1. */
typedef struct unstride_size_step {
    int64_t scale, shift, divisor;
    int64_t least, multiple;
} unstride_size_step;

/* One spatial axis of a layer. */
typedef struct unstride_axis {
    int32_t step_count; /* applied in order; none: the size is kept */
    unstride_size_step steps[UNSTRIDE_MAX_SIZE_STEPS];
    int32_t phases;
} unstride_axis;

/* A buffer that every task of a kernel allocates: channels times the product, over x, y and z, of scale * t +
 * extra elements, for a task of t outputs of one phase on that axis. */
typedef struct unstride_staging {
    int32_t channels;
    int32_t scale[UNSTRIDE_MAX_SPATIAL_AXES], extra[UNSTRIDE_MAX_SPATIAL_AXES];
} unstride_staging;

/* The kernels of one layer for one instruction set. Both functions take an array of pointers to their
 * arguments, the first to a `void *` user context, the others to Halide buffers:
 *   compute: context, input, weights, parameters, [add,] output
 *   pack: context, kernel, bias, scale, prelu, weights, parameters
 * and return 0 or a Halide error code. Pack's `kernel` is the framework's weights of one group, dimension 0
 * innermost, with plan.kernel_extent; bias, scale and prelu are that group's channels; what the layer does
 * not have is one element, zero. `weights` is dense with weight_extent, innermost first, and `parameters`
 * dense with parameter_extent (channels, rows). `pack` is null where nothing is to be packed: then compute
 * reads neither, weight_rank is 1, all extents are 1, and no packed weights are asked for. */
typedef struct unstride_kernel {
    const char *schedule; /* JSON */
    const char *grade;
    uint64_t identity; /* hash of layer, schedule, target and versions: packed weights carry it */
    int (*compute)(void **arguments);
    int (*pack)(void **arguments);
    int32_t weight_rank;
    int32_t weight_extent[UNSTRIDE_MAX_WEIGHT_DIMENSIONS]; /* of one group */
    int32_t parameter_extent[2];                           /* of one group */
    /* A task is tile_x * strip outputs (strip == 0: the whole row, rounded up to whole tiles) by tile_y *
     * rows outputs by one plane of one phase, and allocates these buffers at the same time. */
    int32_t tile_x, strip, tile_y, rows;
    int32_t bounds_stores[UNSTRIDE_MAX_SPATIAL_AXES]; /* true: stores nothing beyond the size of this axis */
    int32_t staging_count;
    unstride_staging stagings[UNSTRIDE_MAX_STAGINGS];
    const void *embedded; /* the packed weights, header included, where the library holds them; else null */
} unstride_kernel;

typedef struct unstride_plan {
    uint64_t layer_hash;  /* of the layer's text */
    int32_t spatial_axes; /* 1 to 3 */
    int32_t channels_first;
    int32_t groups; /* calls of a kernel, one a group; 1 for a depthwise layer */
    unstride_axis axes[UNSTRIDE_MAX_SPATIAL_AXES]; /* x, y, z */
    int32_t kernel_rank;
    int32_t kernel_extent[UNSTRIDE_MAX_RANK]; /* of the framework's weights of one group, innermost first */
    const unstride_kernel *kernels;           /* one for each instruction set of the library, in its order */
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
