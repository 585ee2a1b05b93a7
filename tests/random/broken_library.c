/* A library of `relu` layers, one right and the others each wrong in the way that its name says. */
#include "runtime/include/unstride/unstride.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define LAYER(NAME)                                                                                          \
    static const unstride_layer NAME = {.rank = 4,                                                           \
                                        .name = #NAME,                                                       \
                                        .text = "input(f32, 1x4x5x3) | relu",                                \
                                        .input_shape = {1, 4, 5, 3},                                         \
                                        .output_shape = {1, 4, 5, 3}}

LAYER(right);
LAYER(wrong_value);
LAYER(missing_value);
LAYER(by_threads);
LAYER(beyond_the_end);
LAYER(before_the_start);
LAYER(changed_input);
LAYER(answers_a_code);
LAYER(crashes);
LAYER(exits);
LAYER(other_shape);
LAYER(other_schedule);

static const unstride_layer other_text = {
    .rank = 4, .name = "other_text", .text = "input(f32, 1x4x5x3) | tanh"};
static const unstride_layer wrong_counts = {
    .rank = 4, .name = "wrong_counts", .text = "input(f32, 1x4x5x3) | relu", .bias_count = 3};
static const unstride_layer any_size = {
    .rank = 4, .name = "any_size", .text = "input(f32, 1x?x?x4) | pixel_unshuffle(3)"};

static const unstride_layer *const layers[] = {
    &right,         &wrong_value,    &missing_value, &by_threads, &beyond_the_end, &before_the_start,
    &changed_input, &answers_a_code, &crashes,       &exits,      &other_shape,    &other_schedule,
    &other_text,    &wrong_counts,   &any_size};

static int output_shape(const unstride_layer *layer, const int64_t *input, int64_t *output) {
    memcpy(output, input, 4 * sizeof(int64_t));
    if (layer == &other_shape) output[2]++;
    return UNSTRIDE_OK;
}

static size_t packed_bytes(const unstride_layer *layer) {
    (void)layer;
    return 0;
}

static int pack(const unstride_layer *layer, const unstride_weights *weights, void *packed, size_t bytes) {
    (void)layer, (void)weights, (void)packed, (void)bytes;
    return UNSTRIDE_OK;
}

static size_t scratch_bytes(const unstride_layer *layer, const int64_t *input, int threads) {
    (void)layer, (void)input, (void)threads;
    return 0;
}

static int run(const unstride_layer *layer, const unstride_arguments *arguments) {
    const int count = 4 * 5 * 3;
    float *input = arguments->input->data, *output = arguments->output->data;
    for (int i = 0; i < count; i++) {
        if (layer == &missing_value && i == 17) continue;
        output[i] = input[i] > 0 ? input[i] : 0;
    }
    if (layer == &wrong_value) output[count - 1] += 0x1p-20f;
    if (layer == &by_threads && arguments->threads == 3) output[0] = -output[0];
    if (layer == &beyond_the_end) output[count] = 0;
    if (layer == &before_the_start) output[-1] = 0;
    if (layer == &changed_input) input[1] = -input[1];
    if (layer == &crashes) abort();
    if (layer == &exits) _exit(3);
    return layer == &answers_a_code ? UNSTRIDE_INTERNAL : UNSTRIDE_OK;
}

static const char *status_name(int status) {
    return status == UNSTRIDE_INTERNAL ? "UNSTRIDE_INTERNAL" : "UNSTRIDE_OK";
}

static const char *schedule(const unstride_layer *layer) {
    return layer == &other_schedule ? "{\"family\":\"none\"}"
                                    : "{\"family\":\"cpu_channelwise\",\"lanes\":2,\"lanes_along_x\":false,"
                                      "\"rows\":1,\"unroll_phases\":1}";
}

static const char *last_error(void) {
    return "";
}

const unstride_library *chains_library(void);
const unstride_library *chains_library(void) {
    static const unstride_library library = {.layer_count = sizeof layers / sizeof layers[0],
                                             .layers = layers,
                                             .output_shape = output_shape,
                                             .packed_bytes = packed_bytes,
                                             .pack = pack,
                                             .scratch_bytes = scratch_bytes,
                                             .run = run,
                                             .schedule = schedule,
                                             .status_name = status_name,
                                             .last_error = last_error};
    return &library;
}
