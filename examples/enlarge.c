/* Enlarges a picture by 2 or 4 with a library that `unstride build examples/enlarge.layers` makes.
 * Usage: enlarge INPUT FACTOR OUTPUT... (picture.h names the formats; each output gets the result) */
#include "enlarge.h"
#include "picture.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum { runs = 15 };

static int by_value(const void *a, const void *b) {
    return (*(const double *)a > *(const double *)b) - (*(const double *)a < *(const double *)b);
}

static double milliseconds(void) {
    struct timespec now;
    timespec_get(&now, TIME_UTC);
    return now.tv_sec * 1e3 + now.tv_nsec / 1e6;
}

int main(int argc, char **argv) {
    const int factor = argc > 3 ? atoi(argv[2]) : 0;
    const unstride_layer *layer = factor == 2 ? &enlarge_up2 : &enlarge_up4;
    picture small, large;
    if (factor != 2 && factor != 4) return fprintf(stderr, "usage: %s INPUT 2|4 OUTPUT...\n", argv[0]), 2;
    if (read_picture(argv[1], &small) != 0) return 1;

    /* The library says how large the result is. */
    const int64_t input_shape[4] = {1, small.height, small.width, 3};
    int64_t shape[4];
    int status = enlarge_output_shape(layer, input_shape, shape);
    if (status != UNSTRIDE_OK) return fprintf(stderr, "%s\n", enlarge_last_error()), 1;
    large =
        (picture){(int)shape[1], (int)shape[2], malloc((size_t)(shape[1] * shape[2] * 3) * sizeof(float))};
    if (large.pixels == NULL) return fprintf(stderr, "out of memory\n"), 1;

    /* weights=bilinear: the filter is part of the kernel, so there is nothing to pack. */
    const unstride_tensor input = unstride_dense(small.pixels, 4, input_shape);
    const unstride_tensor output = unstride_dense(large.pixels, 4, shape);
    const unstride_arguments arguments = {.input = &input, .output = &output};
    double times[runs];
    for (int i = 0; i < runs && status == UNSTRIDE_OK; i++) {
        const double start = milliseconds();
        status = enlarge_run(layer, &arguments);
        times[i] = milliseconds() - start;
    }
    if (status != UNSTRIDE_OK) return fprintf(stderr, "%s\n", enlarge_last_error()), 1;

    qsort(times, runs, sizeof times[0], by_value);
    printf("%4d x %-4d -> %4d x %-4d  %-7s %2d threads  median %7.3f ms, fastest %7.3f ms of %d runs\n",
           small.width, small.height, large.width, large.height, enlarge_instruction_set(), enlarge_threads(),
           times[runs / 2], times[0], runs);
    for (int i = 3; i < argc; i++)
        status |= write_picture(argv[i], &large);
    free(small.pixels), free(large.pixels);
    return status;
}
