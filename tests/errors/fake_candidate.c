/* A library NAME of the layer `input(f32, 1x4x5x3) | relu` that is right, or wrong in the way that FAULT
 * says. */
#include "runtime/include/unstride/unstride.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define TEXT_OF(x) #x
#define TEXT(x) TEXT_OF(x)
#define JOIN_OF(a, b) a##b
#define JOIN(a, b) JOIN_OF(a, b)

static const unstride_layer layer = {.rank = 4,
                                     .name = "relu",
                                     .text = "input(f32, 1x4x5x3) | relu",
                                     .input_shape = {1, 4, 5, 3},
                                     .output_shape = {1, 4, 5, 3}};
static const unstride_layer *const layers[] = {&layer};
static int calls = 0, threads_set = 1;

static int has(const char *fault) {
    return strcmp(TEXT(FAULT), fault) == 0;
}

static int output_shape(const unstride_layer *which, const int64_t *input, int64_t *output) {
    (void)which;
    memcpy(output, input, 4 * sizeof *input);
    return UNSTRIDE_OK;
}

static size_t packed_bytes(const unstride_layer *which) {
    (void)which;
    return 0;
}

static int pack(const unstride_layer *which, const unstride_weights *weights, void *packed, size_t bytes) {
    (void)which, (void)weights, (void)packed, (void)bytes;
    return UNSTRIDE_OK;
}

static size_t scratch_bytes(const unstride_layer *which, const int64_t *input, int threads) {
    (void)which, (void)input, (void)threads;
    return 64;
}

static int take_all_memory(void) {
    const size_t bytes = 16 << 20;
    for (void *memory = malloc(bytes); memory != NULL; memory = malloc(bytes))
        memset(memory, 1, bytes);
    return UNSTRIDE_OUT_OF_MEMORY;
}

static int run(const unstride_layer *which, const unstride_arguments *arguments) {
    const int64_t *stride = arguments->output->stride;
    float *input = arguments->input->data, *output = arguments->output->data, *scratch = arguments->scratch;
    volatile float seen = 0;
    (void)which;
    calls++;
    for (int i = 0; i < 60; i++) {
        if (has("unwritten") && i == 17) continue;
        const int64_t place = i / 15 * stride[1] + i % 15 / 3 * stride[2] + i % 3;
        output[has("dense_only") ? i : place] = input[i] > 0 ? input[i] : 0;
    }
    if (has("one_wrong")) output[16] += 0x1p-20f;
    if (has("reads_scratch")) output[16] += scratch[1];
    if (has("reads_beyond")) seen = input[60];
    if (has("reads_before")) seen = input[-1];
    if (has("writes_input")) input[0] = seen;
    if (has("writes_gap")) output[15] = stride[1] > 15 ? 0 : output[15];
    if (has("writes_around_scratch")) ((char *)arguments->scratch)[-4] = 1;
    if (has("crashes")) raise(SIGFPE);
    if (has("crashes_later") && calls > 8) raise(SIGSEGV);
    while (has("hangs"))
        pause();
    if (has("hogs")) return take_all_memory();
    return has("refuses") ? UNSTRIDE_INTERNAL : UNSTRIDE_OK;
}

static const char *status_name(int status) {
    return status == UNSTRIDE_OUT_OF_MEMORY ? "UNSTRIDE_OUT_OF_MEMORY" : "UNSTRIDE_INTERNAL";
}

static const char *last_error(void) {
    return "as told";
}

static int set_threads(int threads) {
    threads_set = threads > 0 ? threads : 1;
    return UNSTRIDE_OK;
}

static int threads(void) {
    return threads_set;
}

static const char *instruction_set(void) {
    return "none";
}

const unstride_library *JOIN(NAME, _library)(void);
const unstride_library *JOIN(NAME, _library)(void) {
    static const unstride_library library = {.layer_count = 1,
                                             .layers = layers,
                                             .output_shape = output_shape,
                                             .packed_bytes = packed_bytes,
                                             .pack = pack,
                                             .scratch_bytes = scratch_bytes,
                                             .run = run,
                                             .status_name = status_name,
                                             .last_error = last_error,
                                             .set_threads = set_threads,
                                             .threads = threads,
                                             .instruction_set = instruction_set};
    return &library;
}
