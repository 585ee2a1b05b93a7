/* Packing of weights: always on the processor, with host memory, so it works without a device. */

/* A bias of zeros for layers that have none, as long as any kernel may read: a value for each channel of each
 * phase. */
static float *make_zero_bias(const unstride_layer *layer, const unstride_kernel *kernel, int32_t *count) {
    const unstride_plan *plan = plan_of(layer);
    int64_t needed = layer->output_shape[layer->rank - 1];
    for (int i = 0; i < plan->spatial_axes; i++)
        needed *= plan->axes[i].phases;
    if (needed < kernel->bias_extent) needed = kernel->bias_extent;
    *count = (int32_t)needed;
    return calloc((size_t)needed, sizeof(float));
}

static int run_pack_kernel(const unstride_layer *layer, const unstride_kernel *kernel, const float *values,
                           const float *bias, int32_t bias_count, char *packed) {
    const packed_layout layout = layout_packed(kernel);
    static const int32_t one_element[4] = {1, 1, 1, 1};
    buffer kernel_buffer, bias_buffer, weights_buffer, packed_bias_buffer;
    call self = {.layer = layer, .concurrency = 1};
    void *user_context = &self;
    atomic_flag_clear(&self.error_taken);
    begin_buffer(&kernel_buffer);
    add_dense_dimensions(&kernel_buffer,
                         layer->weight_rank == 0 ? one_element : plan_of(layer)->kernel_extent, 4);
    kernel_buffer.halide.host = (uint8_t *)(uintptr_t)values;
    begin_buffer(&bias_buffer);
    add_dense_dimensions(&bias_buffer, &bias_count, 1);
    bias_buffer.halide.host = (uint8_t *)(uintptr_t)bias;
    begin_buffer(&weights_buffer);
    add_dense_dimensions(&weights_buffer, kernel->weight_extent, UNSTRIDE_WEIGHT_DIMENSIONS);
    weights_buffer.halide.host = (uint8_t *)packed + layout.weights_offset;
    begin_buffer(&packed_bias_buffer);
    add_dense_dimensions(&packed_bias_buffer, &kernel->bias_extent, 1);
    packed_bias_buffer.halide.host = (uint8_t *)packed + layout.bias_offset;
    void *arguments[] = {&user_context, &kernel_buffer.halide, &bias_buffer.halide, &weights_buffer.halide,
                         &packed_bias_buffer.halide};
    return kernel_status(&self, "pack", kernel->pack(arguments));
}

static int check_weight_pointers(const unstride_layer *layer, const unstride_weights *weights) {
    if (layer->weight_rank > 0 && weights->kernel == NULL)
        return fail(UNSTRIDE_NULL_ARGUMENT, "%s: weights: kernel is null", layer->name);
    if (layer->bias_count > 0 && weights->bias == NULL)
        return fail(UNSTRIDE_NULL_ARGUMENT, "%s: weights: bias is null, the layer has one of %lld",
                    layer->name, (long long)layer->bias_count);
    if (layer->bias_count == 0 && weights->bias != NULL)
        return fail(UNSTRIDE_WRONG_SHAPE, "%s: weights: a bias is given, the layer has none", layer->name);
    if ((uintptr_t)weights->kernel % sizeof(float) != 0 || (uintptr_t)weights->bias % sizeof(float) != 0)
        return fail(UNSTRIDE_MISALIGNED, "%s: weights: a pointer is no multiple of %zu", layer->name,
                    sizeof(float));
    return UNSTRIDE_OK;
}

static int check_pack_target(const unstride_layer *layer, const unstride_kernel *kernel,
                             const unstride_weights *weights, const void *packed, size_t packed_bytes) {
    const size_t needed = layout_packed(kernel).total_bytes;
    if (packed == NULL) return fail(UNSTRIDE_NULL_ARGUMENT, "%s: packed is null", layer->name);
    if ((uintptr_t)packed % PACKED_ALIGNMENT != 0)
        return fail(UNSTRIDE_MISALIGNED, "%s: packed at %p is no multiple of %u", layer->name, packed,
                    PACKED_ALIGNMENT);
    if (packed_bytes < needed)
        return fail(UNSTRIDE_BUFFER_TOO_SMALL, "%s: packed: %zu bytes, %zu are needed", layer->name,
                    packed_bytes, needed);
    size_t kernel_bytes = sizeof(float);
    for (int i = 0; i < layer->weight_rank; i++)
        kernel_bytes *= (size_t)layer->weight_shape[i];
    if ((layer->weight_rank > 0 &&
         ranges_overlap((uintptr_t)packed, needed, (uintptr_t)weights->kernel, kernel_bytes)) ||
        (weights->bias != NULL && ranges_overlap((uintptr_t)packed, needed, (uintptr_t)weights->bias,
                                                 (size_t)layer->bias_count * sizeof(float))))
        return fail(UNSTRIDE_OVERLAP, "%s: packed overlaps the weights it is made from", layer->name);
    return UNSTRIDE_OK;
}

int UNSTRIDE_LIBRARY(pack)(const unstride_layer *layer, const unstride_weights *weights, void *packed,
                           size_t packed_bytes) {
    static const float no_kernel = 0.0f;
    const unstride_weights nothing = {0};
    const unstride_kernel *kernel;
    uint32_t requirement;
    int status = check_layer(layer, "pack");
    if (status != UNSTRIDE_OK) return status;
    if ((status = select_kernel(layer, &kernel, &requirement)) != UNSTRIDE_OK) return status;
    if (weights == NULL) weights = &nothing;
    if ((status = check_weight_pointers(layer, weights)) != UNSTRIDE_OK) return status;
    if ((status = check_pack_target(layer, kernel, weights, packed, packed_bytes)) != UNSTRIDE_OK)
        return status;

    ensure_hooks();
    int32_t bias_count = (int32_t)layer->bias_count;
    float *zero_bias = NULL;
    if (bias_count == 0 && (zero_bias = make_zero_bias(layer, kernel, &bias_count)) == NULL)
        return fail(UNSTRIDE_OUT_OF_MEMORY, "%s: pack: no memory for %d zeros", layer->name, (int)bias_count);
    memset(packed, 0, layout_packed(kernel).total_bytes);
    if (kernel->pack != NULL)
        status = run_pack_kernel(layer, kernel, layer->weight_rank == 0 ? &no_kernel : weights->kernel,
                                 zero_bias != NULL ? zero_bias : weights->bias, bias_count, packed);
    free(zero_bias);
    if (status == UNSTRIDE_OK) write_packed_header(layer, kernel, packed);
    return status;
}
