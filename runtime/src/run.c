/* One call of a layer: all checks, then the kernel on each box of each group. */

/* What the checks of a call find out. */
typedef struct checked_call {
    const unstride_kernel *kernel;
    int64_t output_shape[UNSTRIDE_MAX_RANK];
    checked_view input, add, output;
    const void *packed; /* in host memory: the caller's, the library's own, or null where nothing is packed */
    uintptr_t packed_address; /* as the kernels are given it */
    int requested;            /* tasks at a time that were asked for */
    int useful;               /* threads that have enough to do; 1: a plain loop */
    bool wakes_threads;       /* there is enough to do even if they must be woken first */
    unstride_parallel parallel;
    size_t scratch_bytes; /* zero where the kernel stages nothing */
    size_t slot_bytes;
} checked_call;

static int check_shapes(const unstride_layer *layer, const unstride_arguments *arguments,
                        checked_call *found) {
    int status;
    if ((status = check_rank(layer, "input", arguments->input)) != UNSTRIDE_OK) return status;
    if ((status = check_rank(layer, "output", arguments->output)) != UNSTRIDE_OK) return status;
    const int64_t *input = arguments->input->shape;
    if ((status = check_input_shape(layer, input)) != UNSTRIDE_OK) return status;
    if ((status = infer_output_shape(layer, input, found->output_shape)) != UNSTRIDE_OK) return status;
    status = check_same_shape(layer, "output", arguments->output, found->output_shape, input);
    if (status != UNSTRIDE_OK || !layer->has_add) return status;
    if ((status = check_rank(layer, "add", arguments->add)) != UNSTRIDE_OK) return status;
    return check_same_shape(layer, "add", arguments->add, found->output_shape, input);
}

/* Threads and scratch memory for an output's shape; the same for the query and for the call. */
static void plan_tasks(const unstride_layer *layer, uint32_t requirement, const int64_t *output,
                       int requested, checked_call *found) {
    double outputs = 1.0 / plan_of(layer)->groups; /* of one call of the kernel */
    for (int axis = 0; axis < layer->rank; axis++)
        outputs *= (double)output[axis];
    const bool on_device = unstride_this_library.device != UNSTRIDE_DEVICE_NONE;
    found->requested = requested;
    const double microseconds = estimated_microseconds(layer, found->kernel, requirement, outputs);
    found->useful = on_device ? 1 : useful_threads(microseconds, requested);
    found->wakes_threads = worth_waking(microseconds);
    found->slot_bytes = on_device ? 0 : (size_t)slot_bytes_of(layer, found->kernel, output);
    const int tasks = found->useful == 1 ? 1 : requested;
    found->scratch_bytes = found->slot_bytes * (size_t)tasks * (size_t)found->kernel->staging_count;
}

static int check_threads(const unstride_layer *layer, const unstride_arguments *arguments,
                         checked_call *found) {
    const int status = check_thread_count(layer->name, arguments->threads);
    if (status != UNSTRIDE_OK) return status;
    if (arguments->parallel == NULL) {
        found->parallel = plugged_in_parallel();
        return UNSTRIDE_OK;
    }
    found->parallel = *arguments->parallel;
    return check_parallel(layer->name, arguments->parallel);
}

/* Views that are addressed by phases, of which the last outputs may lack some. */
static int check_whole_phases(const unstride_layer *layer, const char *what, const checked_view *view) {
    for (int spatial = 0; spatial < plan_of(layer)->spatial_axes; spatial++) {
        const int axis = width_axis(layer) - spatial;
        const int32_t phases = plan_of(layer)->axes[spatial].phases;
        int64_t reach;
        if (!__builtin_mul_overflow(round_up(view->size[axis], phases), view->stride[axis], &reach) &&
            reach <= INT32_MAX)
            continue;
        return fail(UNSTRIDE_SIZE_OVERFLOW,
                    "%s: %s: size %lld, rounded up to a multiple of %d, times stride %lld on axis %d (%s) is "
                    "beyond 2^31 - 1",
                    layer->name, what, (long long)view->size[axis], (int)phases,
                    (long long)view->stride[axis], axis, axis_name(layer, axis));
    }
    return UNSTRIDE_OK;
}

static int check_output_view(const unstride_layer *layer, const char *what, const unstride_tensor *tensor,
                             checked_view *view) {
    const int status = check_view(layer, what, tensor, view);
    return status == UNSTRIDE_OK ? check_whole_phases(layer, what, view) : status;
}

static int check_views(const unstride_layer *layer, const unstride_arguments *arguments,
                       checked_call *found) {
    int status;
    if ((status = check_view(layer, "input", arguments->input, &found->input)) != UNSTRIDE_OK) return status;
    status = check_output_view(layer, "output", arguments->output, &found->output);
    if (status != UNSTRIDE_OK) return status;
    if (views_overlap(&found->output, &found->input))
        return fail(UNSTRIDE_OVERLAP, "%s: output at %p overlaps input at %p", layer->name,
                    (void *)arguments->output->data, (void *)arguments->input->data);
    if (!layer->has_add) return UNSTRIDE_OK;
    status = check_output_view(layer, "add", arguments->add, &found->add);
    if (status != UNSTRIDE_OK) return status;
    if (!same_view(&found->add, &found->output) && views_overlap(&found->output, &found->add))
        return fail(UNSTRIDE_OVERLAP, "%s: output at %p overlaps add at %p and is not the same view",
                    layer->name, (void *)arguments->output->data, (void *)arguments->add->data);
    return UNSTRIDE_OK;
}

static int check_packed_weights(const unstride_layer *layer, const unstride_arguments *arguments,
                                checked_call *found) {
    found->packed = NULL;
    found->packed_address = 0;
    if (found->kernel->pack == NULL) return UNSTRIDE_OK;
    found->packed = arguments->packed != NULL ? arguments->packed : found->kernel->embedded;
    const int status = check_packed(layer, found->kernel, found->packed);
    if (status != UNSTRIDE_OK) return status;
    const uintptr_t address = packed_address(arguments, found->packed);
    if (address == 0)
        return fail(UNSTRIDE_NULL_ARGUMENT,
                    "%s: packed_device is zero; copy what pack writes to the device and give its address",
                    layer->name);
    if (address % PACKED_ALIGNMENT != 0)
        return fail(UNSTRIDE_MISALIGNED, "%s: packed_device is no multiple of %u", layer->name,
                    PACKED_ALIGNMENT);
    if (view_overlaps_range(&found->output, (const void *)address,
                            layout_packed(layer, found->kernel).total_bytes))
        return fail(UNSTRIDE_OVERLAP, "%s: output at %p overlaps the packed weights", layer->name,
                    (void *)arguments->output->data);
    found->packed_address = address;
    return UNSTRIDE_OK;
}

static int check_scratch(const unstride_layer *layer, const unstride_arguments *arguments,
                         const checked_call *found) {
    const void *scratch = arguments->scratch;
    const size_t bytes = found->scratch_bytes;
    if (scratch == NULL || bytes == 0) return UNSTRIDE_OK;
    if ((uintptr_t)scratch % SLOT_ALIGNMENT != 0)
        return fail(UNSTRIDE_MISALIGNED, "%s: scratch at %p is no multiple of %u", layer->name, scratch,
                    SLOT_ALIGNMENT);
    if (arguments->scratch_bytes < bytes)
        return fail(UNSTRIDE_BUFFER_TOO_SMALL, "%s: scratch: %zu bytes, %zu are needed", layer->name,
                    arguments->scratch_bytes, bytes);
    if (view_overlaps_range(&found->output, scratch, bytes) ||
        view_overlaps_range(&found->input, scratch, bytes) ||
        (layer->has_add && view_overlaps_range(&found->add, scratch, bytes)) ||
        ranges_overlap((uintptr_t)scratch, bytes, (uintptr_t)found->packed,
                       layout_packed(layer, found->kernel).total_bytes))
        return fail(UNSTRIDE_OVERLAP, "%s: scratch overlaps a tensor or the packed weights", layer->name);
    return UNSTRIDE_OK;
}

static int check_given(const unstride_layer *layer, const unstride_arguments *arguments) {
    int status = check_layer(layer, "run");
    if (status != UNSTRIDE_OK) return status;
    if (arguments == NULL) return fail(UNSTRIDE_NULL_ARGUMENT, "%s: arguments is null", layer->name);
    if (arguments->input == NULL) return fail(UNSTRIDE_NULL_ARGUMENT, "%s: input is null", layer->name);
    if (arguments->output == NULL) return fail(UNSTRIDE_NULL_ARGUMENT, "%s: output is null", layer->name);
    if (layer->has_add && arguments->add == NULL)
        return fail(UNSTRIDE_NULL_ARGUMENT, "%s: add is null, the layer adds a second tensor", layer->name);
    if (!layer->has_add && arguments->add != NULL)
        return fail(UNSTRIDE_WRONG_SHAPE, "%s: add is given, the layer adds no second tensor", layer->name);
    return UNSTRIDE_OK;
}

/* A group's part of the packed weights; where nothing is packed, host memory that no kernel reads. */
static void describe_packed(buffer *weights, buffer *parameters, const unstride_layer *layer,
                            const checked_call *found, int group) {
    const unstride_kernel *kernel = found->kernel;
    const packed_layout layout = layout_packed(layer, kernel);
    if (kernel->pack == NULL) {
        describe_host(weights, no_values, kernel->weight_extent, kernel->weight_rank);
        describe_host(parameters, no_values, kernel->parameter_extent, 2);
        return;
    }
    describe_dense(weights, kernel->weight_extent, kernel->weight_rank);
    describe_dense(parameters, kernel->parameter_extent, 2);
    const uintptr_t packed = found->packed_address;
    place_buffer(&weights->halide, packed + layout.weights_offset + (size_t)group * layout.weights_stride,
                 true);
    place_buffer(&parameters->halide,
                 packed + layout.parameters_offset + (size_t)group * layout.parameters_stride, true);
}

static int compute_box(call *self, const checked_call *found, int group,
                       const phase_range box[UNSTRIDE_MAX_SPATIAL_AXES], buffer *input, buffer *weights,
                       buffer *parameters) {
    const unstride_layer *layer = self->layer;
    buffer add, output;
    void *user_context = self;
    void *arguments[6] = {&user_context, &input->halide, &weights->halide, &parameters->halide};
    int count = 4;
    if (layer->has_add) {
        describe_box(&add, layer, &found->add, group, box, true);
        arguments[count++] = &add.halide;
    }
    describe_box(&output, layer, &found->output, group, box, false);
    arguments[count] = &output.halide;
    int code = found->kernel->compute(arguments);
    if (code == 0) code = fetch_output(self, &output.halide);
    release_buffer(self, &output.halide);
    if (layer->has_add) release_buffer(self, &add.halide);
    return code;
}

/* The kernel on every box of a group; the inputs are described once, so a device receives them once. */
static int compute_group(call *self, const checked_call *found, const box_ranges *boxes, int group) {
    buffer input, weights, parameters;
    int code = 0;
    describe_input(&input, self->layer, &found->input, group);
    describe_packed(&weights, &parameters, self->layer, found, group);
    for (int i = 0; i < box_count(boxes) && code == 0; i++) {
        phase_range box[UNSTRIDE_MAX_SPATIAL_AXES];
        choose_box(boxes, i, box);
        code = compute_box(self, found, group, box, &input, &weights, &parameters);
    }
    release_buffer(self, &input.halide);
    release_buffer(self, &weights.halide);
    release_buffer(self, &parameters.halide);
    return code;
}

static int compute_groups(call *self, const checked_call *found) {
    const box_ranges boxes = split_output(self->layer, found->kernel, found->output_shape);
    int code = 0;
    for (int group = 0; group < plan_of(self->layer)->groups && code == 0; group++)
        code = compute_group(self, found, &boxes, group);
    return kernel_status(self, "run", code);
}

/* Tasks at a time. Of threads that are not the library's own nobody knows whether they sleep. */
static int concurrency_of(const checked_call *found) {
    if (found->parallel.parallel_for == NULL) return found->useful;
    return found->wakes_threads ? found->requested : 1;
}

static int run_checked(const unstride_layer *layer, const unstride_arguments *arguments,
                       const checked_call *found) {
    call self = {.layer = layer,
                 .parallel = found->parallel,
                 .concurrency = concurrency_of(found),
                 .wakes_threads = found->wakes_threads,
                 .slots = arguments->scratch,
                 .slot_bytes = found->slot_bytes};
    void *allocated = NULL;
    atomic_flag_clear(&self.error_taken);
    ensure_hooks();
    const int status = prepare_device(&self, arguments);
    if (status != UNSTRIDE_OK) return status;
    if (found->scratch_bytes > 0) {
        self.slot_count = (int)(found->scratch_bytes / found->slot_bytes);
        if (arguments->scratch == NULL) {
            if (posix_memalign(&allocated, SLOT_ALIGNMENT, found->scratch_bytes) != 0)
                return fail(UNSTRIDE_OUT_OF_MEMORY, "%s: no %zu bytes of scratch memory", layer->name,
                            found->scratch_bytes);
            self.slots = allocated;
        }
    }
    const int result = compute_groups(&self, found);
    free(allocated);
    return result;
}

int UNSTRIDE_LIBRARY(run)(const unstride_layer *layer, const unstride_arguments *arguments) {
    checked_call found;
    uint32_t requirement;
    int status;
    if ((status = check_given(layer, arguments)) != UNSTRIDE_OK) return status;
    if ((status = check_shapes(layer, arguments, &found)) != UNSTRIDE_OK) return status;
    if ((status = check_threads(layer, arguments, &found)) != UNSTRIDE_OK) return status;
    if ((status = select_kernel(layer, &found.kernel, &requirement)) != UNSTRIDE_OK) return status;
    if (arguments->input->shape[0] == 0) return UNSTRIDE_OK;
    if ((status = probe_device(layer)) != UNSTRIDE_OK) return status;
    if ((status = check_views(layer, arguments, &found)) != UNSTRIDE_OK) return status;
    if ((status = check_packed_weights(layer, arguments, &found)) != UNSTRIDE_OK) return status;
    plan_tasks(layer, requirement, found.output_shape, requested_tasks(&found.parallel, arguments->threads),
               &found);
    if ((status = check_scratch(layer, arguments, &found)) != UNSTRIDE_OK) return status;
    return run_checked(layer, arguments, &found);
}

size_t UNSTRIDE_LIBRARY(scratch_bytes)(const unstride_layer *layer, const int64_t *input_shape, int threads) {
    checked_call found;
    uint32_t requirement;
    if (UNSTRIDE_LIBRARY(output_shape)(layer, input_shape, found.output_shape)) return 0;
    if (check_thread_count("scratch_bytes", threads) || select_kernel(layer, &found.kernel, &requirement))
        return 0;
    if (input_shape[0] == 0) return 0;
    const unstride_parallel parallel = plugged_in_parallel();
    const int tasks = requested_tasks(&parallel, threads);
    plan_tasks(layer, requirement, found.output_shape, tasks > threads ? tasks : threads, &found);
    return found.scratch_bytes;
}
