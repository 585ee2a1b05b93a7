/* Kernels written by hand with the signature of generated ones, and the tables of a fake library. Included by
 * fake_cpu.c, fake_cuda.c and fake_opencl.c after they have named the library and its device. */
#include "fake_library.h"

#include <stdatomic.h>
#include <string.h>

#include "kernel_table.h"

#include "fake_halide.c"

typedef struct fake_row {
    const halide_buffer_t *input, *weights, *bias, *add, *output;
    int first;
} fake_row;

static float *element(const halide_buffer_t *buffer, const int *at) {
    int64_t offset = 0;
    for (int i = 0; i < buffer->dimensions; i++)
        offset += (int64_t)(at[i] - buffer->dim[i].min) * buffer->dim[i].stride;
    uint8_t *base = buffer->host != NULL ? buffer->host : (uint8_t *)(uintptr_t)buffer->device;
    return (float *)(void *)base + offset;
}

static int smaller(int a, int b) {
    return a < b ? a : b;
}

static void compute_row(const fake_row *row, int v) {
    const halide_dimension_t *out = row->output->dim, *in = row->input->dim;
    const float weight = *element(row->weights, (const int[7]){0});
    int at[6];
    at[4] = v;
    for (at[5] = 0; at[5] < out[5].extent; at[5]++)
        for (at[3] = 0; at[3] < out[3].extent; at[3]++)
            for (at[2] = out[2].min; at[2] < out[2].min + out[2].extent; at[2]++)
                for (at[1] = 0; at[1] < out[1].extent; at[1]++)
                    for (at[0] = 0; at[0] < out[0].extent; at[0]++) {
                        const int from[4] = {at[0], smaller(at[2], in[1].extent - 1),
                                             smaller(v, in[2].extent - 1), at[5]};
                        float value = weight * *element(row->input, from) + *element(row->bias, at);
                        if (row->add != NULL) value += *element(row->add, at);
                        *element(row->output, at) = value;
                    }
}

static int nested_task(void *user_context, int index, uint8_t *closure) {
    (void)user_context;
    atomic_fetch_add((atomic_int *)(void *)closure, index);
    return 0;
}

static int compute_task(void *user_context, int v, uint8_t *closure) {
    const fake_row *row = (const fake_row *)(void *)closure;
    void *staging = NULL;
    fake_enter_task();
    if (fake.allocate > 0) {
        staging = hooks.allocate(user_context, (size_t)fake.allocate);
        if (staging != NULL) memset(staging, 1, (size_t)fake.allocate);
    }
    if (fake.nested) {
        atomic_int sum = 0;
        if (hooks.parallel_for(user_context, nested_task, 0, 10, (uint8_t *)&sum) != 0 || sum != 45)
            return -22;
    }
    if (fake.in_task != NULL) fake.in_task();
    compute_row(row, v);
    hooks.release(user_context, staging);
    fake_leave_task();
    if (v - row->first != fake.failing_task) return 0;
    hooks.error(user_context, fake.fail_text);
    hooks.error(user_context, "a later error");
    return fake.fail_code;
}

#if UNSTRIDE_LIBRARY_DEVICE == UNSTRIDE_DEVICE_CUDA
/* What Halide's runtime does before a launch: context, stream, and a module load with its own limit of
 * registers. */
static int launch_as_halide(void *user_context) {
    int (*load)(void **, const void *, unsigned, int *, void **);
    int option = 0;
    void *module, *value = (void *)(uintptr_t)64;
    const int code = hooks.acquire_context(user_context, &fake.context, true);
    if (code != 0 || hooks.get_stream(user_context, fake.context, &fake.stream) != 0) return -29;
    void *symbol = hooks.get_symbol(hooks.load_library("libcuda.so"), "cuModuleLoadDataEx");
    memcpy(&load, &symbol, sizeof load);
    if (load == NULL || load(&module, "", 1, &option, &value) != 0) return -29;
    fake.registers = (unsigned)(uintptr_t)module;
    int (*missing)(void);
    symbol = hooks.get_symbol(NULL, "cuNoSuchFunction");
    memcpy(&missing, &symbol, sizeof missing);
    fake.missing_code = missing();
    return hooks.release_context(user_context);
}
#else
static int launch_as_halide(void *user_context) {
    (void)user_context;
    return 0;
}
#endif

static void note_box(const halide_dimension_t *out) {
    fake.boxes++;
    for (int i = 0; i < 2; i++) {
        fake.q_extent[i] = out[1 + 2 * i].extent;
        fake.u_min[i] = out[2 + 2 * i].min;
        fake.u_extent[i] = out[2 + 2 * i].extent;
    }
}

static int compute_boxed(void *user_context, fake_row *row) {
    const halide_dimension_t *out = row->output->dim;
    if (!fake.many_callers) note_box(out);
    if (fake.prints) hooks.print(user_context, "a kernel's chatter\n");
    if (fake.fail_code != 0 && fake.failing_task < 0) {
        if (fake.fail_text != NULL) hooks.error(user_context, fake.fail_text);
        return fake.fail_code;
    }
    const int code = launch_as_halide(user_context);
    if (code != 0) return code;
    row->first = out[4].min;
    return hooks.parallel_for(user_context, compute_task, out[4].min, out[4].extent, (uint8_t *)row);
}

static int compute(void **arguments) {
    fake_row row = {arguments[1], arguments[2], arguments[3], NULL, arguments[4], 0};
    return compute_boxed(*(void **)arguments[0], &row);
}

static int compute_with_add(void **arguments) {
    fake_row row = {arguments[1], arguments[2], arguments[3], arguments[4], arguments[5], 0};
    return compute_boxed(*(void **)arguments[0], &row);
}

static int pack(void **arguments) {
    const halide_buffer_t *kernel = arguments[1], *bias = arguments[2], *weights = arguments[3],
                          *packed_bias = arguments[4];
    if (fake.fail_code != 0) {
        hooks.error(*(void **)arguments[0], fake.fail_text);
        return fake.fail_code;
    }
    *element(weights, (const int[7]){0}) = *element(kernel, (const int[4]){0});
    for (int i = 0; i < packed_bias->dim[0].extent && i < bias->dim[0].extent; i++)
        *element(packed_bias, &i) = *element(bias, &i);
    return 0;
}

#define KERNEL(schedule_text, identity_value, function)                                                      \
    {                                                                                                        \
        .schedule = schedule_text, .grade = "made by hand", .identity = identity_value, .compute = function, \
        .pack = pack, .weight_extent = {4, 3, 1, 1, 2, 2, 1}, .bias_extent = 4, .tile_x = 4, .strip = 2,     \
        .tile_y = 2, .rows = 1, .staged_channels = 3                                                         \
    }

/* One kernel for each instruction set below; the whole row is staged by the second. */
#define KERNELS(name, function)                                                                              \
    static const unstride_kernel name[] = {KERNEL("{\"fake\": 0}", 100, function),                           \
                                           KERNEL("{\"fake\": 1}", 101, function),                           \
                                           KERNEL("{\"fake\": 2}", 102, function)}
KERNELS(kernels, compute);
KERNELS(kernels_with_add, compute_with_add);

static const unstride_kernel line_kernels[] = {{.schedule = "{}",
                                                .grade = "",
                                                .identity = 7,
                                                .compute = compute,
                                                .weight_extent = {1, 1, 1, 1, 1, 1, 1},
                                                .bias_extent = 2},
                                               {.schedule = "{}",
                                                .grade = "",
                                                .identity = 8,
                                                .compute = compute,
                                                .weight_extent = {1, 1, 1, 1, 1, 1, 1},
                                                .bias_extent = 2},
                                               {.schedule = "{}",
                                                .grade = "",
                                                .identity = 9,
                                                .compute = compute,
                                                .weight_extent = {1, 1, 1, 1, 1, 1, 1},
                                                .bias_extent = 2}};

#define PLAN(name, hash, scale, shift, phases, table)                                                        \
    static const unstride_plan name = {                                                                      \
        hash, 2, {{scale, shift, phases, 2}, {scale, shift, phases, 2}}, {1, 1, 3, 3}, table}
PLAN(up_plan, 11, 2, 0, 2, kernels);
PLAN(odd_plan, 12, 2, -1, 2, kernels_with_add);
PLAN(crop_plan, 13, 1, -4, 1, kernels);
static const unstride_plan line_plan = {14, 1, {{4, 3, 4, 0}, {1, 0, 1, 0}}, {1, 1, 1, 1}, line_kernels};

#define LAYER(name, version, biases, adds, multiplications, plan)                                            \
    const unstride_layer UNSTRIDE_LIBRARY(name) = {version,                                                  \
                                                   4,                                                        \
                                                   #name,                                                    \
                                                   "input(f32, ?x?x?x3) | fake",                             \
                                                   {-1, -1, -1, 3},                                          \
                                                   {-1, -1, -1, 3},                                          \
                                                   4,                                                        \
                                                   {3, 3, 1, 1},                                             \
                                                   biases,                                                   \
                                                   adds,                                                     \
                                                   multiplications,                                          \
                                                   &plan}
LAYER(up, UNSTRIDE_ABI_VERSION, 3, 0, 1e6, up_plan);
LAYER(small, UNSTRIDE_ABI_VERSION, 3, 0, 1, up_plan);
LAYER(odd, UNSTRIDE_ABI_VERSION, 0, 1, 1e6, odd_plan);
LAYER(crop, UNSTRIDE_ABI_VERSION, 3, 0, 1, crop_plan);
LAYER(old, UNSTRIDE_ABI_VERSION + 1, 3, 0, 1, up_plan);
const unstride_layer UNSTRIDE_LIBRARY(line) = {UNSTRIDE_ABI_VERSION,
                                               3,
                                               "line",
                                               "input(f32, 2x?x2) | fake",
                                               {2, -1, 2},
                                               {2, -1, 2},
                                               0,
                                               {0},
                                               0,
                                               0,
                                               1,
                                               &line_plan};

static const unstride_layer *const layers[] = {&UNSTRIDE_LIBRARY(up),   &UNSTRIDE_LIBRARY(small),
                                               &UNSTRIDE_LIBRARY(odd),  &UNSTRIDE_LIBRARY(line),
                                               &UNSTRIDE_LIBRARY(crop), &UNSTRIDE_LIBRARY(old)};

/* The first needs what no processor has. */
static const unstride_instruction_set instruction_sets[] = {
    {"future", 0x80000000u}, {"fast", 0}, {"plain", 0}};

#define TEXT_OF(name) #name
#define TEXT(name) TEXT_OF(name)
static const unstride_table unstride_this_library = {TEXT(UNSTRIDE_LIBRARY(library)),
                                                     "fake target",
                                                     "1.2.3",
                                                     UNSTRIDE_LIBRARY_DEVICE,
                                                     6,
                                                     layers,
                                                     3,
                                                     instruction_sets};

#include "runtime.c"
