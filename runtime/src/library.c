/* The remaining queries, and all functions of the library as a table. */

int UNSTRIDE_LIBRARY(output_shape)(const unstride_layer *layer, const int64_t *input_shape,
                                   int64_t *output_shape) {
    int status = check_layer(layer, "output_shape");
    if (status != UNSTRIDE_OK) return status;
    if (input_shape == NULL || output_shape == NULL)
        return fail(UNSTRIDE_NULL_ARGUMENT, "%s: output_shape: %s is null", layer->name,
                    input_shape == NULL ? "input_shape" : "output_shape");
    status = check_input_shape(layer, input_shape);
    return status != UNSTRIDE_OK ? status : infer_output_shape(layer, input_shape, output_shape);
}

static unstride_library function_table;

static void fill_function_table(void) {
    function_table = (unstride_library){
        .abi_version = UNSTRIDE_ABI_VERSION,
        .name = unstride_this_library.library_name,
        .target = unstride_this_library.target,
        .version = unstride_this_library.version,
        .layer_count = unstride_this_library.layer_count,
        .layers = unstride_this_library.layers,
        .output_shape = UNSTRIDE_LIBRARY(output_shape),
        .packed_bytes = UNSTRIDE_LIBRARY(packed_bytes),
        .pack = UNSTRIDE_LIBRARY(pack),
        .scratch_bytes = UNSTRIDE_LIBRARY(scratch_bytes),
        .run = UNSTRIDE_LIBRARY(run),
        .schedule = UNSTRIDE_LIBRARY(schedule),
        .schedule_grade = UNSTRIDE_LIBRARY(schedule_grade),
        .status_name = UNSTRIDE_LIBRARY(status_name),
        .status_text = UNSTRIDE_LIBRARY(status_text),
        .last_error = UNSTRIDE_LIBRARY(last_error),
        .set_threads = UNSTRIDE_LIBRARY(set_threads),
        .threads = UNSTRIDE_LIBRARY(threads),
        .set_parallel_for = UNSTRIDE_LIBRARY(set_parallel_for),
        .instruction_set = UNSTRIDE_LIBRARY(instruction_set),
        .instruction_set_at = UNSTRIDE_LIBRARY(instruction_set_at),
        .set_instruction_set = UNSTRIDE_LIBRARY(set_instruction_set),
    };
}

const unstride_library *UNSTRIDE_LIBRARY(library)(void) {
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, fill_function_table);
    return &function_table;
}
