/* Runs one layer of the library it is linked with on raw float32 files and prints what it measured, for
 * `unstride run`.
 *
 * usage: runner THREADS SECONDS INPUT KERNEL BIAS SCALE PRELU ADD OUTPUT SIZE...
 * with "-" for a file that the layer has not. It prints lines "instruction_set NAME", "threads N", "schedule
 * JSON", "grade TEXT" and "samples_ns N N …"; on an error one line on standard error and exit code 1. SECONDS
 * bounds the time spent on repetitions.
 */
#include RUNNER_HEADER

#include "device.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define MOST_SAMPLES 200

/* Places on the command line. */
enum {
    place_threads = 1,
    place_seconds,
    place_input,
    place_kernel,
    place_bias,
    place_scale,
    place_prelu,
    place_add,
    place_output,
    place_sizes
};

static int fail(const char *what, const char *details) {
    fprintf(stderr, "%s: %s\n", what, details);
    return 1;
}

static double seconds_now(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

/* 64-byte aligned memory of at least `bytes`, or null. */
static void *allocate(size_t bytes) {
    return aligned_alloc(64, (bytes + 127) / 64 * 64);
}

static float *read_floats(const char *path, size_t count) {
    float *values = allocate(count * sizeof(float));
    FILE *file = fopen(path, "rb");
    if (values == NULL || file == NULL || fread(values, sizeof(float), count, file) != count) {
        fprintf(stderr, "cannot read %zu numbers from %s\n", count, path);
        exit(1);
    }
    fclose(file);
    return values;
}

/* The numbers of a file, or null where the layer has none. */
static float *read_optional(const char *path, int64_t count) {
    return count == 0 ? NULL : read_floats(path, (size_t)count);
}

static size_t element_count(const int64_t *shape, int rank) {
    size_t count = 1;
    for (int i = 0; i < rank; i++)
        count *= (size_t)shape[i];
    return count;
}

static int compare_doubles(const void *a, const void *b) {
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(const double *values, int count) {
    double sorted[MOST_SAMPLES];
    memcpy(sorted, values, (size_t)count * sizeof *values);
    qsort(sorted, (size_t)count, sizeof *sorted, compare_doubles);
    return sorted[count / 2];
}

/* Stable: the medians of both halves agree within 1 %. */
static int is_stable(const double *samples, int count) {
    const double first = median(samples, count / 2), second = median(samples + count / 2, count - count / 2);
    const double difference = first > second ? first - second : second - first;
    return count >= 16 && difference <= 0.01 * second;
}

int main(int argc, char **argv) {
    const unstride_library *library = RUNNER_LIBRARY();
    const unstride_layer *layer = library->layers[0];
    if (argc != place_sizes + layer->rank)
        return fail("usage", "THREADS SECONDS INPUT KERNEL BIAS SCALE PRELU ADD OUTPUT SIZE...");
    const int threads = atoi(argv[place_threads]);
    const double seconds = atof(argv[place_seconds]);
    int64_t input_shape[UNSTRIDE_MAX_RANK], output_shape[UNSTRIDE_MAX_RANK];
    for (int i = 0; i < layer->rank; i++)
        input_shape[i] = atoll(argv[place_sizes + i]);
    if (library->set_threads(threads) != UNSTRIDE_OK) return fail("set_threads", library->last_error());
    if (library->instruction_set() == NULL) return fail("instruction_set", library->last_error());
    if (library->output_shape(layer, input_shape, output_shape) != UNSTRIDE_OK)
        return fail("output_shape", library->last_error());

    const size_t input_count = element_count(input_shape, layer->rank);
    const size_t output_count = element_count(output_shape, layer->rank);
    unstride_weights weights = {0};
    if (layer->weight_rank > 0)
        weights.kernel =
            read_floats(argv[place_kernel], element_count(layer->weight_shape, layer->weight_rank));
    weights.bias = read_optional(argv[place_bias], layer->bias_count);
    weights.scale = read_optional(argv[place_scale], layer->scale_count);
    weights.prelu = read_optional(argv[place_prelu], layer->prelu_count);
    const size_t packed_bytes = library->packed_bytes(layer);
    void *packed = packed_bytes == 0 ? NULL : allocate(packed_bytes);
    if (packed_bytes > 0 && packed == NULL) return fail("pack", "out of memory");
    if (library->pack(layer, &weights, packed, packed_bytes) != UNSTRIDE_OK)
        return fail("pack", library->last_error());

    float *input = read_floats(argv[place_input], input_count);
    float *add = read_optional(argv[place_add], layer->has_add ? (int64_t)output_count : 0);
    float *output = allocate(output_count * sizeof(float));
    const size_t scratch_bytes = library->scratch_bytes(layer, input_shape, threads);
    void *scratch = allocate(scratch_bytes);
    if (output == NULL || scratch == NULL) return fail("run", "out of memory");

    unstride_tensor input_view = unstride_dense(input, layer->rank, input_shape);
    unstride_tensor add_view = unstride_dense(add, layer->rank, output_shape);
    unstride_tensor output_view = unstride_dense(output, layer->rank, output_shape);
    unstride_arguments arguments = {.input = &input_view,
                                    .add = add == NULL ? NULL : &add_view,
                                    .output = &output_view,
                                    .packed = packed,
                                    .scratch = scratch,
                                    .scratch_bytes = scratch_bytes};
    const char *error = device_begin(&arguments, input_count, output_count, packed_bytes);
    if (error != NULL) return fail("device", error);
    if (library->run(layer, &arguments) != UNSTRIDE_OK) return fail("run", library->last_error());
    if ((error = device_synchronize()) != NULL) return fail("device", error);

    double samples[MOST_SAMPLES];
    int count = 0;
    const double begin = seconds_now();
    while (count < 3 ||
           (count < MOST_SAMPLES && seconds_now() - begin < seconds && !is_stable(samples, count))) {
        /* A sample is enough calls for a millisecond. */
        int calls = 0;
        const double start = seconds_now();
        double elapsed;
        do {
            if (library->run(layer, &arguments) != UNSTRIDE_OK) return fail("run", library->last_error());
            if ((error = device_synchronize()) != NULL) return fail("device", error);
            calls++;
            elapsed = seconds_now() - start;
        } while (elapsed < 1e-3);
        samples[count++] = elapsed / calls;
    }
    if ((error = device_end(output, output_count)) != NULL) return fail("device", error);

    FILE *file = fopen(argv[place_output], "wb");
    if (file == NULL || fwrite(output, sizeof(float), output_count, file) != output_count ||
        fclose(file) != 0)
        return fail("cannot write", argv[place_output]);
    printf("instruction_set %s\nthreads %d\nschedule %s\ngrade %s\nsamples_ns", library->instruction_set(),
           library->threads(), library->schedule(layer), library->schedule_grade(layer));
    for (int i = 0; i < count; i++)
        printf(" %.0f", samples[i] * 1e9);
    printf("\n");
    return 0;
}
