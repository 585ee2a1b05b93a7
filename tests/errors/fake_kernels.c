/* Kernels written by hand with the signature of generated ones, and the tables of a fake library. Included by
 * fake_cpu.c, fake_cuda.c and fake_opencl.c after they have named the library and its device. */
#include "fake_library.h"

#include <stdatomic.h>
#include <string.h>

#include "kernel_table.h"

#include "fake_halide.c"

typedef struct fake_row {
    const halide_buffer_t *input, *weights, *parameters, *add, *output;
    int first; /* of the outermost spatial axis, along which tasks are divided */
    int width; /* beyond which nothing is stored; 0: the box knows */
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

static int spatial_axes(const halide_buffer_t *output) {
    return (output->dimensions - 2) / 2;
}

static float compute_element(const fake_row *row, const int *at) {
    const int axes = spatial_axes(row->output);
    int from[5] = {at[0]};
    for (int i = 0; i < axes; i++)
        from[1 + i] = smaller(at[2 + 2 * i], row->input->dim[1 + i].extent - 1);
    from[1 + axes] = at[row->output->dimensions - 1];
    float value = *element(row->input, from);
    if (row->weights != NULL) {
        value *= *element(row->weights, (const int[UNSTRIDE_MAX_WEIGHT_DIMENSIONS]){0});
        value += *element(row->parameters, (const int[2]){at[0], 0});
        if (row->parameters->dim[1].extent > 1)
            value = value * *element(row->parameters, (const int[2]){at[0], 1}) +
                    *element(row->parameters, (const int[2]){at[0], 2});
    }
    return row->add == NULL ? value : value + *element(row->add, at);
}

static void compute_row(const fake_row *row, int outer) {
    const halide_dimension_t *out = row->output->dim;
    const int count = row->output->dimensions;
    int at[8], i;
    for (i = 0; i < count; i++)
        at[i] = i == count - 2 ? outer : out[i].min;
    do {
        if (row->width == 0 || 2 * at[2] + at[1] < row->width)
            *element(row->output, at) = compute_element(row, at);
        for (i = 0; i < count; i++) {
            if (i == count - 2) continue;
            if (++at[i] < out[i].min + out[i].extent) break;
            at[i] = out[i].min;
        }
    } while (i < count);
}

static int nested_task(void *user_context, int index, uint8_t *closure) {
    (void)user_context;
    atomic_fetch_add((atomic_int *)(void *)closure, index);
    return 0;
}

static int compute_task(void *user_context, int v, uint8_t *closure) {
    const fake_row *row = (const fake_row *)(void *)closure;
    void *staging[1 + UNSTRIDE_MAX_STAGINGS] = {NULL};
    fake_enter_task();
    for (int i = 0; i <= fake.more_buffers && fake.allocate > 0; i++) {
        staging[i] = hooks.allocate(user_context, (size_t)fake.allocate);
        if (staging[i] != NULL) memset(staging[i], 1 + i, (size_t)fake.allocate);
    }
    if (fake.nested) {
        atomic_int sum = 0;
        if (hooks.parallel_for(user_context, nested_task, 0, 10, (uint8_t *)&sum) != 0 || sum != 45)
            return -22;
    }
    if (fake.in_task != NULL) fake.in_task(v - row->first);
    compute_row(row, v);
    for (int i = 0; i <= fake.more_buffers; i++)
        hooks.release(user_context, staging[i]);
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

static void note_box(const halide_buffer_t *output) {
    fake.boxes++;
    for (int i = 0; i < spatial_axes(output); i++) {
        fake.q_extent[i] = output->dim[1 + 2 * i].extent;
        fake.u_min[i] = output->dim[2 + 2 * i].min;
        fake.u_extent[i] = output->dim[2 + 2 * i].extent;
    }
}

static int compute_boxed(void *user_context, fake_row *row) {
    const halide_dimension_t *outer = &row->output->dim[row->output->dimensions - 2];
    if (!fake.many_callers) note_box(row->output);
    if (row->input->dimensions != spatial_axes(row->output) + 2) return -28;
    if (fake.prints) hooks.print(user_context, "a kernel's chatter\n");
    if (fake.fail_code != 0 && fake.failing_task < 0) {
        if (fake.fail_text != NULL) hooks.error(user_context, fake.fail_text);
        return fake.fail_code;
    }
    const int code = launch_as_halide(user_context);
    if (code != 0) return code;
    row->first = outer->min;
    return hooks.parallel_for(user_context, compute_task, outer->min, outer->extent, (uint8_t *)row);
}

static int compute(void **arguments) {
    fake_row row = {arguments[1], arguments[2], arguments[3], NULL, arguments[4], 0, 0};
    return compute_boxed(*(void **)arguments[0], &row);
}

static int compute_with_add(void **arguments) {
    fake_row row = {arguments[1], arguments[2], arguments[3], arguments[4], arguments[5], 0, 0};
    return compute_boxed(*(void **)arguments[0], &row);
}

static int compute_bounded(void **arguments) {
    fake_row row = {arguments[1], arguments[2], arguments[3], arguments[4], arguments[5], 0, 0};
    row.width = 2 * row.input->dim[1].extent - 1;
    return compute_boxed(*(void **)arguments[0], &row);
}

static int move(void **arguments) {
    fake_row row = {arguments[1], NULL, NULL, NULL, arguments[4], 0, 0};
    return compute_boxed(*(void **)arguments[0], &row);
}

static void note_pack(void **arguments) {
    const halide_buffer_t *kernel = arguments[1];
    fake.packs++;
    fake.kernel_rank = kernel->dimensions;
    for (int i = 0; i < kernel->dimensions; i++)
        fake.kernel_extent[i] = kernel->dim[i].extent;
    for (int i = 0; i < 3; i++)
        fake.channel_values[i] = ((const halide_buffer_t *)arguments[2 + i])->dim[0].extent;
}

static int pack(void **arguments) {
    const halide_buffer_t *kernel = arguments[1], *weights = arguments[5], *parameters = arguments[6];
    if (!fake.many_callers) note_pack(arguments);
    if (fake.fail_code != 0) {
        hooks.error(*(void **)arguments[0], fake.fail_text);
        return fake.fail_code;
    }
    *element(weights, (const int[UNSTRIDE_MAX_WEIGHT_DIMENSIONS]){0}) =
        *element(kernel, (const int[UNSTRIDE_MAX_RANK]){0});
    for (int row = 0; row < parameters->dim[1].extent; row++) {
        const halide_buffer_t *values = arguments[2 + row];
        for (int c = 0; c < parameters->dim[0].extent && c < values->dim[0].extent; c++)
            *element(parameters, (const int[2]){c, row}) = *element(values, &c);
    }
    return 0;
}

#define HELD_WEIGHTS UNSTRIDE_LIBRARY(held_weights)
extern unsigned char HELD_WEIGHTS[FAKE_HELD_BYTES];
_Alignas(64) unsigned char HELD_WEIGHTS[FAKE_HELD_BYTES];

#define KERNEL(number, parameter_rows, function, blob, blocks)                                               \
    {                                                                                                        \
        .schedule = "{\"fake\": " #number "}", .grade = "made by hand", .identity = 100 + number,            \
        .compute = function, .pack = pack, .weight_rank = 7, .weight_extent = {4, 3, 1, 1, 2, 2, blocks},    \
        .parameter_extent = {4, parameter_rows}, .tile_x = 4, .strip = 2, .tile_y = 2, .rows = 1,            \
        .staging_count = parameter_rows == 1 ? 1 : 2,                                                        \
        .stagings = {{3, {1, 1, 1}, {2, 2, 0}}, {2, {2, 2, 1}, {1, 0, 0}}}, .embedded = blob,                \
        .bounds_stores = {                                                                                   \
            function == compute_bounded,                                                                     \
            0,                                                                                               \
            0                                                                                                \
        }                                                                                                    \
    }

/* One kernel for each instruction set below. */
#define KERNELS(name, rows, function, blob, blocks)                                                          \
    static const unstride_kernel name[] = {KERNEL(0, rows, function, blob, blocks),                          \
                                           KERNEL(1, rows, function, blob, blocks),                          \
                                           KERNEL(2, rows, function, blob, blocks)}
KERNELS(kernels, 1, compute, NULL, 1);
KERNELS(kernels_with_add, 1, compute_with_add, NULL, 1);
KERNELS(bounded_kernels, 1, compute_bounded, NULL, 1);
KERNELS(grouped_kernels, 3, compute_with_add, NULL, 1);
KERNELS(held_kernels, 1, compute, HELD_WEIGHTS, 1);
KERNELS(wide_kernels, 1, compute, NULL, 40000);

#define MOVING_KERNEL(number)                                                                                \
    {                                                                                                        \
        .schedule = "{}", .grade = "", .identity = number, .compute = move, .weight_rank = 1,                \
        .weight_extent = {1}, .parameter_extent = {                                                          \
            1,                                                                                               \
            1                                                                                                \
        }                                                                                                    \
    }
static const unstride_kernel moving_kernels[] = {MOVING_KERNEL(7), MOVING_KERNEL(8), MOVING_KERNEL(9)};

#define AXIS(scale, shift, phases)                                                                           \
    { 1, {{scale, shift, 1, 1, 1}}, phases }
#define AXES(scale, shift, phases)                                                                           \
    { AXIS(scale, shift, phases), AXIS(scale, shift, phases), AXIS(scale, shift, phases) }
#define KERNEL_EXTENT .kernel_rank = 4, .kernel_extent = {1, 1, 3, 3}
#define PLAN(name, hash, table, ...)                                                                         \
    static const unstride_plan name = {                                                                      \
        .layer_hash = hash, .spatial_axes = 2, .groups = 1, .kernels = table, __VA_ARGS__}
PLAN(up_plan, 11, kernels, .axes = AXES(2, 0, 2), KERNEL_EXTENT);
PLAN(odd_plan, 12, kernels_with_add, .axes = AXES(2, -1, 2), KERNEL_EXTENT);
PLAN(bounded_plan, 23, bounded_kernels, .axes = AXES(2, -1, 2), KERNEL_EXTENT);
PLAN(crop_plan, 13, kernels, .axes = AXES(1, -4, 1), KERNEL_EXTENT);
PLAN(chw_plan, 15, kernels_with_add, .axes = AXES(2, -1, 2), KERNEL_EXTENT, .channels_first = 1);
PLAN(wide_plan, 22, wide_kernels, .axes = AXES(2, 0, 2), KERNEL_EXTENT);
PLAN(held_plan, 16, held_kernels, .axes = AXES(2, 0, 2), KERNEL_EXTENT);
static const unstride_plan line_plan = {.layer_hash = 14,
                                        .spatial_axes = 1,
                                        .groups = 1,
                                        .kernels = moving_kernels,
                                        .axes = {AXIS(4, 3, 4), {.phases = 1}},
                                        .kernel_rank = 4,
                                        .kernel_extent = {1, 1, 1, 1}};
static const unstride_plan line_chw_plan = {.layer_hash = 17,
                                            .spatial_axes = 1,
                                            .groups = 1,
                                            .kernels = kernels,
                                            .axes = {AXIS(2, 0, 2), {.phases = 1}},
                                            .channels_first = 1,
                                            KERNEL_EXTENT};
static const unstride_plan volume_plan = {.layer_hash = 18,
                                          .spatial_axes = 3,
                                          .groups = 1,
                                          .kernels = kernels,
                                          .axes = AXES(2, -1, 2),
                                          .kernel_rank = 5,
                                          .kernel_extent = {1, 1, 1, 3, 3}};
#define GROUPED_PLAN(name, hash, first)                                                                      \
    static const unstride_plan name = {.layer_hash = hash,                                                   \
                                       .spatial_axes = 2,                                                    \
                                       .channels_first = first,                                              \
                                       .groups = 3,                                                          \
                                       .kernels = grouped_kernels,                                           \
                                       .axes = AXES(2, -1, 2),                                               \
                                       .kernel_rank = 4,                                                     \
                                       .kernel_extent = {1, 1, 2, 2}}
GROUPED_PLAN(grouped_plan, 19, 0);
GROUPED_PLAN(grouped_chw_plan, 20, 1);
#define STEPS                                                                                                \
    { 3, {{1, 0, 2, 1, 2}, {2, -3, 1, 1, 1}, {0, 4, 1, 6, 1}}, 1 }
PLAN(stepped_plan, 21, kernels, .axes = {STEPS, STEPS}, KERNEL_EXTENT);

#define SHAPES(count, ...) .rank = count, .input_shape = __VA_ARGS__, .output_shape = __VA_ARGS__
#define SQUARES SHAPES(4, {-1, -1, -1, 3})
#define LAYER(layer_name, plan, shapes, ...)                                                                 \
    const unstride_layer UNSTRIDE_LIBRARY(layer_name) = {.abi_version = UNSTRIDE_ABI_VERSION,                \
                                                         .name = #layer_name,                                \
                                                         .text = "input(f32, ?x?x?x3) | fake",               \
                                                         .implementation = &plan,                            \
                                                         shapes,                                             \
                                                         __VA_ARGS__}
#define DENSE_3X3 .weight_rank = 4, .weight_shape = {3, 3, 1, 1}
#define HEAVY .multiplications_per_output = 1e6
#define LIGHT .multiplications_per_output = 1
LAYER(up, up_plan, SQUARES, DENSE_3X3, .bias_count = 3, HEAVY);
LAYER(small, up_plan, SQUARES, DENSE_3X3, .bias_count = 3, LIGHT);
LAYER(wide, wide_plan, SQUARES, DENSE_3X3, .bias_count = 3, LIGHT);
LAYER(odd, odd_plan, SQUARES, DENSE_3X3, .has_add = 1, HEAVY);
LAYER(bounded, bounded_plan, SQUARES, DENSE_3X3, .has_add = 1, HEAVY);
LAYER(line, line_plan, SHAPES(3, {2, -1, 2}), LIGHT);
LAYER(crop, crop_plan, SQUARES, DENSE_3X3, .bias_count = 3, LIGHT);
const unstride_layer UNSTRIDE_LIBRARY(old) = {.abi_version = UNSTRIDE_ABI_VERSION + 1, .name = "old"};
LAYER(chw, chw_plan, SHAPES(4, {-1, 3, -1, -1}), DENSE_3X3, .bias_count = 3, .has_add = 1,
      .channels_first = 1, HEAVY);
LAYER(line_chw, line_chw_plan, SHAPES(3, {-1, 3, -1}), .weight_rank = 3, .weight_shape = {3, 3, 1},
      .bias_count = 3, .channels_first = 1, LIGHT);
LAYER(volume, volume_plan, SHAPES(5, {-1, -1, -1, -1, 3}), .weight_rank = 5, .weight_shape = {3, 3, 1, 1, 1},
      .bias_count = 3, HEAVY);
#define GROUPED                                                                                              \
    .weight_rank = 4, .weight_shape = {6, 2, 1, 1}, .bias_count = 6, .scale_count = 6, .prelu_count = 6,     \
    .has_add = 1, HEAVY
LAYER(grouped, grouped_plan, SHAPES(4, {-1, -1, -1, 6}), GROUPED);
LAYER(grouped_chw, grouped_chw_plan, SHAPES(4, {-1, 6, -1, -1}), GROUPED, .channels_first = 1);
LAYER(stepped, stepped_plan, SQUARES, DENSE_3X3, .bias_count = 3, LIGHT);
LAYER(held, held_plan, SQUARES, DENSE_3X3, .bias_count = 3, LIGHT);

static const unstride_layer *const layers[] = {
    &UNSTRIDE_LIBRARY(up),      &UNSTRIDE_LIBRARY(small),       &UNSTRIDE_LIBRARY(odd),
    &UNSTRIDE_LIBRARY(line),    &UNSTRIDE_LIBRARY(crop),        &UNSTRIDE_LIBRARY(old),
    &UNSTRIDE_LIBRARY(chw),     &UNSTRIDE_LIBRARY(line_chw),    &UNSTRIDE_LIBRARY(volume),
    &UNSTRIDE_LIBRARY(grouped), &UNSTRIDE_LIBRARY(grouped_chw), &UNSTRIDE_LIBRARY(stepped),
    &UNSTRIDE_LIBRARY(held),    &UNSTRIDE_LIBRARY(wide),        &UNSTRIDE_LIBRARY(bounded)};

/* The first needs what no processor has. */
static const unstride_instruction_set instruction_sets[] = {
    {"future", 0x80000000u}, {"fast", 0}, {"plain", 0}};

#define TEXT_OF(name) #name
#define TEXT(name) TEXT_OF(name)
static const unstride_table unstride_this_library = {
    TEXT(UNSTRIDE_LIBRARY(library)),  "fake target", "1.2.3", UNSTRIDE_LIBRARY_DEVICE,
    sizeof layers / sizeof layers[0], layers,        3,       instruction_sets};

#include "runtime.c"
