/* Packing of weights: always on the processor, with host memory, so it works without a device. */

/* The per-channel numbers of a layer, in the order that packing kernels take them. */
typedef struct channel_values {
    const char *name;
    const float *values;
    int64_t count;
} channel_values;

enum { channel_value_kinds = 3 };

static void list_channel_values(const unstride_layer *layer, const unstride_weights *weights,
                                channel_values list[channel_value_kinds]) {
    list[0] = (channel_values){"bias", weights->bias, layer->bias_count};
    list[1] = (channel_values){"scale", weights->scale, layer->scale_count};
    list[2] = (channel_values){"prelu", weights->prelu, layer->prelu_count};
}

static int64_t kernel_elements(const unstride_layer *layer) {
    int64_t count = 1;
    for (int i = 0; i < layer->weight_rank; i++)
        count *= layer->weight_shape[i];
    return count;
}

/* The framework's kernel of one group; groups are its outermost axis in either order of channels. */
static void describe_kernel(buffer *target, const unstride_layer *layer, const float *kernel, int group) {
    const unstride_plan *plan = plan_of(layer);
    const bool has_kernel = layer->weight_rank > 0;
    describe_host(target, has_kernel ? kernel + group * (kernel_elements(layer) / plan->groups) : no_values,
                  plan->kernel_extent, plan->kernel_rank);
}

static void describe_channel_values(buffer *target, const unstride_layer *layer, const channel_values *values,
                                    int group) {
    const int32_t count = values->count == 0 ? 1 : (int32_t)(values->count / plan_of(layer)->groups);
    describe_host(target, values->count == 0 ? no_values : values->values + (int64_t)group * count, &count,
                  1);
}

static int pack_group(call *self, const unstride_kernel *kernel, const unstride_weights *weights, int group,
                      char *packed) {
    const unstride_layer *layer = self->layer;
    const packed_layout layout = layout_packed(layer, kernel);
    const char *target = packed + layout.weights_offset + (size_t)group * layout.weights_stride;
    channel_values list[channel_value_kinds];
    buffer kernel_buffer, values[channel_value_kinds], packed_weights, packed_parameters;
    void *user_context = self;
    describe_kernel(&kernel_buffer, layer, weights->kernel, group);
    list_channel_values(layer, weights, list);
    for (int i = 0; i < channel_value_kinds; i++)
        describe_channel_values(&values[i], layer, &list[i], group);
    describe_host(&packed_weights, (const float *)(const void *)target, kernel->weight_extent,
                  kernel->weight_rank);
    target = packed + layout.parameters_offset + (size_t)group * layout.parameters_stride;
    describe_host(&packed_parameters, (const float *)(const void *)target, kernel->parameter_extent, 2);
    void *arguments[] = {
        &user_context,     &kernel_buffer.halide,  &values[0].halide,        &values[1].halide,
        &values[2].halide, &packed_weights.halide, &packed_parameters.halide};
    return kernel->pack(arguments);
}

static int check_weight_pointers(const unstride_layer *layer, const unstride_weights *weights) {
    channel_values list[channel_value_kinds];
    uintptr_t addresses = (uintptr_t)weights->kernel;
    if (layer->weight_rank > 0 && weights->kernel == NULL)
        return fail(UNSTRIDE_NULL_ARGUMENT, "%s: weights: kernel is null", layer->name);
    list_channel_values(layer, weights, list);
    for (int i = 0; i < channel_value_kinds; i++) {
        if (list[i].count > 0 && list[i].values == NULL)
            return fail(UNSTRIDE_NULL_ARGUMENT, "%s: weights: %s is null, the layer has one of %lld",
                        layer->name, list[i].name, (long long)list[i].count);
        if (list[i].count == 0 && list[i].values != NULL)
            return fail(UNSTRIDE_WRONG_SHAPE, "%s: weights: a %s is given, the layer has none", layer->name,
                        list[i].name);
        addresses |= (uintptr_t)list[i].values;
    }
    if (addresses % sizeof(float) != 0)
        return fail(UNSTRIDE_MISALIGNED, "%s: weights: a pointer is no multiple of %zu", layer->name,
                    sizeof(float));
    return UNSTRIDE_OK;
}

static bool overlaps_weights(const unstride_layer *layer, const unstride_weights *weights, const void *packed,
                             size_t bytes) {
    const uintptr_t start = (uintptr_t)packed;
    channel_values list[channel_value_kinds];
    if (layer->weight_rank > 0 && ranges_overlap(start, bytes, (uintptr_t)weights->kernel,
                                                 (size_t)kernel_elements(layer) * sizeof(float)))
        return true;
    list_channel_values(layer, weights, list);
    for (int i = 0; i < channel_value_kinds; i++) {
        const size_t list_bytes = (size_t)list[i].count * sizeof(float);
        if (list[i].count > 0 && ranges_overlap(start, bytes, (uintptr_t)list[i].values, list_bytes))
            return true;
    }
    return false;
}

static int check_pack_target(const unstride_layer *layer, const unstride_kernel *kernel,
                             const unstride_weights *weights, const void *packed, size_t packed_bytes) {
    const size_t needed = layout_packed(layer, kernel).total_bytes;
    if (packed == NULL) return fail(UNSTRIDE_NULL_ARGUMENT, "%s: packed is null", layer->name);
    if ((uintptr_t)packed % PACKED_ALIGNMENT != 0)
        return fail(UNSTRIDE_MISALIGNED, "%s: packed at %p is no multiple of %u", layer->name, packed,
                    PACKED_ALIGNMENT);
    if (packed_bytes < needed)
        return fail(UNSTRIDE_BUFFER_TOO_SMALL, "%s: packed: %zu bytes, %zu are needed", layer->name,
                    packed_bytes, needed);
    if (overlaps_weights(layer, weights, packed, needed))
        return fail(UNSTRIDE_OVERLAP, "%s: packed overlaps the weights it is made from", layer->name);
    return UNSTRIDE_OK;
}

/* Weights that are read once a call take fewer address lookups in large pages: 8 MB of them were read 1.12
 * times as fast on two virtual cores. Systems give such pages where they are asked to, before memory is first
 * written; this asks for those that lie inside the range, and where there are none nothing changes. */
static void ask_for_large_pages(void *start, size_t bytes) {
#ifdef MADV_HUGEPAGE
    const uintptr_t large_page = UINT32_C(1) << 21;
    const uintptr_t first = ((uintptr_t)start + large_page - 1) / large_page * large_page;
    const uintptr_t end = ((uintptr_t)start + bytes) / large_page * large_page;
    const int error = errno;
    if (end > first) (void)madvise((char *)start + (first - (uintptr_t)start), end - first, MADV_HUGEPAGE);
    errno = error;
#else
    (void)start;
    (void)bytes;
#endif
}

int UNSTRIDE_LIBRARY(pack)(const unstride_layer *layer, const unstride_weights *weights, void *packed,
                           size_t packed_bytes) {
    const unstride_weights nothing = {0};
    const unstride_kernel *kernel;
    uint32_t requirement;
    int status = check_layer(layer, "pack");
    if (status != UNSTRIDE_OK) return status;
    if ((status = select_kernel(layer, &kernel, &requirement)) != UNSTRIDE_OK) return status;
    const bool copies = weights == NULL && kernel->embedded != NULL;
    if (weights == NULL) weights = &nothing;
    if (!copies && (status = check_weight_pointers(layer, weights)) != UNSTRIDE_OK) return status;
    if (kernel->pack == NULL) return UNSTRIDE_OK;
    if ((status = check_pack_target(layer, kernel, weights, packed, packed_bytes)) != UNSTRIDE_OK)
        return status;
    const size_t total_bytes = layout_packed(layer, kernel).total_bytes;
    ask_for_large_pages(packed, total_bytes);
    if (copies) {
        memcpy(packed, kernel->embedded, total_bytes);
        return UNSTRIDE_OK;
    }

    ensure_hooks();
    call self = {.layer = layer, .concurrency = 1};
    int code = 0;
    atomic_flag_clear(&self.error_taken);
    memset(packed, 0, total_bytes);
    for (int group = 0; group < plan_of(layer)->groups && code == 0; group++)
        code = pack_group(&self, kernel, weights, group, packed);
    if (code != 0) return kernel_status(&self, "pack", code);
    write_packed_header(layer, kernel, packed);
    return UNSTRIDE_OK;
}
