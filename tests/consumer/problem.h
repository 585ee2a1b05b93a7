/* A problem for a layer transposed_conv(CO, kernel=4, stride=2, pad=1) | bias of fixed size, and its answer
 * by scattering each input pixel. All values are small integers, so float32 sums are exact and results are
 * compared for equality. */
#ifndef PROBLEM_H
#define PROBLEM_H

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct problem {
    const unstride_layer *layer;
    int64_t input_shape[4], output_shape[4];
    float *input, *kernel, *bias, *output, *expected;
    size_t output_count;
} problem;

static inline float *new_floats(int64_t count) {
    float *floats = (float *)malloc((size_t)count * sizeof(float));
    if (floats == NULL) abort();
    return floats;
}

static inline float *small_integers(int64_t count, unsigned seed) {
    float *values = new_floats(count);
    int64_t i;
    for (i = 0; i < count; i++) {
        seed = seed * 1664525u + 1013904223u;
        values[i] = (float)(int)((seed >> 24) % 17) - 8.0f;
    }
    return values;
}

static inline problem new_problem(const unstride_layer *layer) {
    problem p;
    int64_t n, y, x, ci, co, ky, kx, inputs, outputs = 1;
    memcpy(p.input_shape, layer->input_shape, sizeof p.input_shape);
    p.layer = layer;
    p.output_shape[0] = p.input_shape[0];
    p.output_shape[1] = p.input_shape[1] * 2;
    p.output_shape[2] = p.input_shape[2] * 2;
    p.output_shape[3] = layer->bias_count;
    inputs = p.input_shape[0] * p.input_shape[1] * p.input_shape[2] * p.input_shape[3];
    for (n = 0; n < 4; n++)
        outputs *= p.output_shape[n];
    p.output_count = (size_t)outputs;
    p.input = small_integers(inputs, 1);
    p.kernel = small_integers(p.input_shape[3] * p.output_shape[3] * 16, 2);
    p.bias = small_integers(p.output_shape[3], 3);
    p.output = new_floats(outputs);
    p.expected = new_floats(outputs);
    for (n = 0; n < outputs; n++) {
        p.output[n] = NAN;
        p.expected[n] = p.bias[n % p.output_shape[3]];
    }
    for (n = 0; n < p.input_shape[0]; n++)
        for (y = 0; y < p.input_shape[1]; y++)
            for (x = 0; x < p.input_shape[2]; x++)
                for (ci = 0; ci < p.input_shape[3]; ci++)
                    for (co = 0; co < p.output_shape[3]; co++)
                        for (ky = 0; ky < 4; ky++)
                            for (kx = 0; kx < 4; kx++) {
                                const int64_t oy = 2 * y + ky - 1, ox = 2 * x + kx - 1;
                                if (oy < 0 || oy >= p.output_shape[1] || ox < 0 || ox >= p.output_shape[2])
                                    continue;
                                p.expected[((n * p.output_shape[1] + oy) * p.output_shape[2] + ox) *
                                               p.output_shape[3] +
                                           co] +=
                                    p.input[((n * p.input_shape[1] + y) * p.input_shape[2] + x) *
                                                p.input_shape[3] +
                                            ci] *
                                    p.kernel[((ci * p.output_shape[3] + co) * 4 + ky) * 4 + kx];
                            }
    return p;
}

/* Packs and runs through the functions of one library. With `spoil` a weight is changed first, which must be
 * noticed. */
static inline int solve(problem *p, const unstride_library *library, int spoil) {
    const unstride_tensor input = unstride_dense(p->input, 4, p->input_shape);
    const unstride_tensor output = unstride_dense(p->output, 4, p->output_shape);
    const size_t bytes = library->packed_bytes(p->layer);
    void *packed = aligned_alloc(64, (bytes + 63) / 64 * 64);
    unstride_weights weights;
    unstride_arguments arguments;
    int status;
    if (spoil) p->kernel[5] += 1.0f;
    memset(&weights, 0, sizeof weights);
    weights.kernel = p->kernel;
    weights.bias = p->bias;
    memset(&arguments, 0, sizeof arguments);
    arguments.input = &input;
    arguments.output = &output;
    arguments.packed = packed;
    status = library->pack(p->layer, &weights, packed, bytes);
    if (status == UNSTRIDE_OK) status = library->run(p->layer, &arguments);
    if (status != UNSTRIDE_OK) printf("%s: %s\n", library->status_name(status), library->last_error());
    free(packed);
    return status;
}

/* 0 and a line with the count if every number is right, else 1 and the first wrong one. Frees the problem. */
static inline int judge(problem *p, const char *who) {
    size_t i, wrong = 0;
    for (i = 0; i < p->output_count; i++) {
        if (p->output[i] == p->expected[i]) continue;
        if (wrong++ == 0)
            printf("%s %s: number %d: expected %g, got %g\n", who, p->layer->name, (int)i, p->expected[i],
                   p->output[i]);
    }
    if (wrong == 0) printf("%s %s: %d numbers right\n", who, p->layer->name, (int)p->output_count);
    free(p->input), free(p->kernel), free(p->bias), free(p->output), free(p->expected);
    return wrong != 0;
}

#endif /* PROBLEM_H */
