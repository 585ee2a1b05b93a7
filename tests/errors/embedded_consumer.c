/* Calls every layer of a library that holds its weights. Arguments: a folder, and perhaps `same`.
 *
 * Reads NAME.input.raw and NAME.add.raw, where the layer adds, as f32; writes NAME.output.raw. With `same` it
 * also packs NAME.weights.raw, NAME.bias.raw, … on every instruction set that the processor has, and fails
 * unless the library's own packed weights are the same bytes. */
#include "net.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *folder;

/* NAME.WHAT.raw; null where there is none. */
static float *read_raw(const unstride_layer *layer, const char *what) {
    char path[4096];
    snprintf(path, sizeof path, "%s/%s.%s.raw", folder, layer->name, what);
    FILE *file = fopen(path, "rb");
    if (file == NULL) return NULL;
    fseek(file, 0, SEEK_END);
    const long bytes = ftell(file);
    rewind(file);
    float *values = malloc((size_t)bytes + 1);
    const size_t count = fread(values, 1, (size_t)bytes, file);
    fclose(file);
    return count == (size_t)bytes ? values : NULL;
}

static int failed(const unstride_layer *layer, int status) {
    printf("%s: %s: %s\n", layer->name, net_status_name(status), net_last_error());
    return 1;
}

static int run_layer(const unstride_layer *layer) {
    float *const in = read_raw(layer, "input"), *const add = read_raw(layer, "add");
    size_t outputs = 1;
    for (int axis = 0; axis < layer->rank; axis++)
        outputs *= (size_t)layer->output_shape[axis];
    float *const out = malloc(outputs * sizeof(float));
    memset(out, 0xff, outputs * sizeof(float));
    const unstride_tensor input = unstride_dense(in, layer->rank, layer->input_shape);
    const unstride_tensor added = unstride_dense(add, layer->rank, layer->output_shape);
    const unstride_tensor output = unstride_dense(out, layer->rank, layer->output_shape);
    const unstride_arguments arguments = {
        .input = &input, .add = layer->has_add ? &added : NULL, .output = &output};
    const int status = net_run(layer, &arguments);
    if (status != UNSTRIDE_OK) return failed(layer, status);
    char path[4096];
    snprintf(path, sizeof path, "%s/%s.output.raw", folder, layer->name);
    FILE *file = fopen(path, "wb");
    const size_t written = fwrite(out, sizeof(float), outputs, file);
    free(in), free(add), free(out);
    return fclose(file) != 0 || written != outputs;
}

static int check_same(const unstride_layer *layer) {
    const unstride_weights weights = {.kernel = read_raw(layer, "weights"),
                                      .bias = read_raw(layer, "bias"),
                                      .scale = read_raw(layer, "scale"),
                                      .prelu = read_raw(layer, "prelu")};
    int sets = 0;
    for (int i = 0; net_instruction_set_at(i) != NULL; i++) {
        if (net_set_instruction_set(net_instruction_set_at(i)) != UNSTRIDE_OK) continue;
        const size_t bytes = net_packed_bytes(layer);
        void *const held = aligned_alloc(64, bytes), *const packed = aligned_alloc(64, bytes);
        int status = net_pack(layer, NULL, held, bytes);
        if (status == UNSTRIDE_OK) status = net_pack(layer, &weights, packed, bytes);
        if (status != UNSTRIDE_OK) return failed(layer, status);
        if (memcmp(held, packed, bytes) != 0) {
            printf("%s: other bytes on %s\n", layer->name, net_instruction_set_at(i));
            return 1;
        }
        free(held), free(packed);
        sets++;
    }
    printf("%s: the same bytes on %d instruction sets\n", layer->name, sets);
    return net_set_instruction_set(NULL) != UNSTRIDE_OK || sets == 0;
}

int main(int argc, char **argv) {
    const unstride_library *library = net_library();
    folder = argv[1];
    for (int i = 0; i < library->layer_count; i++) {
        if (argc > 2 && check_same(library->layers[i]) != 0) return 1;
        if (run_layer(library->layers[i]) != 0) return 1;
    }
    return 0;
}
