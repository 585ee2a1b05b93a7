/* Checks of a caller's layers, shapes, views and pointers; nothing is written and no generated code has run
 * yet. */

/* A checked view: sizes and strides in the layer's order, with the strides of size-1 axes replaced by what
 * their inner extents span, since a caller may leave anything there. `span` is the distance from the first to
 * past the last. */
typedef struct checked_view {
    uintptr_t address;
    int rank;
    int64_t size[UNSTRIDE_MAX_RANK], stride[UNSTRIDE_MAX_RANK];
    int64_t span;
} checked_view;

static const unstride_plan *plan_of(const unstride_layer *layer) {
    return (const unstride_plan *)layer->implementation;
}

static int check_layer(const unstride_layer *layer, const char *function) {
    if (layer == NULL) return fail(UNSTRIDE_NULL_ARGUMENT, "%s: layer is null", function);
    for (int i = 0; i < unstride_this_library.layer_count; i++) {
        if (unstride_this_library.layers[i] != layer) continue;
        if (layer->abi_version != UNSTRIDE_ABI_VERSION)
            return fail(UNSTRIDE_WRONG_ABI, "%s: %s: the layer is of interface version %u, the runtime of %u",
                        function, layer->name, (unsigned)layer->abi_version, (unsigned)UNSTRIDE_ABI_VERSION);
        return UNSTRIDE_OK;
    }
    return fail(UNSTRIDE_WRONG_LAYER, "%s: the layer at %p is none of library %s", function,
                (const void *)layer, unstride_this_library.library_name);
}

static int channel_axis(const unstride_layer *layer) {
    return layer->channels_first ? 1 : layer->rank - 1;
}

static int width_axis(const unstride_layer *layer) {
    return layer->rank - (layer->channels_first ? 1 : 2);
}

/* Axis of plan->axes for an axis of the shape: 0 is width, 1 height, 2 depth; -1 for batch and channels. */
static int spatial_axis(const unstride_layer *layer, int axis) {
    return axis == 0 || axis == channel_axis(layer) ? -1 : width_axis(layer) - axis;
}

static const char *axis_name(const unstride_layer *layer, int axis) {
    static const char *const spatial_names[UNSTRIDE_MAX_SPATIAL_AXES] = {"width", "height", "depth"};
    const int spatial = spatial_axis(layer, axis);
    if (spatial >= 0) return spatial_names[spatial];
    return axis == 0 ? "batch" : "channels";
}

static int check_input_shape(const unstride_layer *layer, const int64_t *shape) {
    for (int axis = 0; axis < layer->rank; axis++) {
        const int64_t wanted = layer->input_shape[axis];
        const char *name = axis_name(layer, axis);
        if (spatial_axis(layer, axis) >= 0 && shape[axis] <= 0)
            return fail(UNSTRIDE_EMPTY_TENSOR, "%s: input: size %lld on axis %d (%s)", layer->name,
                        (long long)shape[axis], axis, name);
        if (shape[axis] < 0)
            return fail(UNSTRIDE_WRONG_SHAPE, "%s: input: size %lld on axis %d (%s)", layer->name,
                        (long long)shape[axis], axis, name);
        if (wanted >= 0 && shape[axis] != wanted)
            return fail(UNSTRIDE_WRONG_SHAPE, "%s: input: size %lld on axis %d (%s), the layer asks for %lld",
                        layer->name, (long long)shape[axis], axis, name, (long long)wanted);
        if (shape[axis] > INT32_MAX)
            return fail(UNSTRIDE_SIZE_OVERFLOW, "%s: input: size %lld on axis %d (%s) is beyond 2^31 - 1",
                        layer->name, (long long)shape[axis], axis, name);
    }
    return UNSTRIDE_OK;
}

/* One step of a layer's sizes on an axis of the shape, in place. */
static int apply_size_step(const unstride_layer *layer, const unstride_size_step *step, int64_t input,
                           int axis, int64_t *size) {
    const char *name = axis_name(layer, axis);
    if (*size < step->least)
        return fail(UNSTRIDE_WRONG_SHAPE,
                    "%s: input: size %lld on axis %d (%s): a stage asks for at least %lld, got %lld",
                    layer->name, (long long)input, axis, name, (long long)step->least, (long long)*size);
    if (*size % step->multiple != 0)
        return fail(UNSTRIDE_WRONG_SHAPE,
                    "%s: input: size %lld on axis %d (%s): a stage asks for a multiple of %lld, got %lld",
                    layer->name, (long long)input, axis, name, (long long)step->multiple, (long long)*size);
    int64_t scaled;
    const bool overflow = __builtin_mul_overflow(step->scale, *size, &scaled) ||
                          __builtin_add_overflow(scaled, step->shift, &scaled);
    const int64_t floored = scaled / step->divisor - (scaled % step->divisor < 0);
    if (overflow || floored > INT32_MAX)
        return fail(UNSTRIDE_SIZE_OVERFLOW, "%s: output: the size on axis %d (%s) is beyond 2^31 - 1",
                    layer->name, axis, name);
    if (floored <= 0)
        return fail(UNSTRIDE_EMPTY_TENSOR,
                    "%s: output: an input of %lld on axis %d (%s) leaves a size of %lld", layer->name,
                    (long long)input, axis, name, (long long)floored);
    *size = floored;
    return UNSTRIDE_OK;
}

/* The output's shape for an input's shape that check_input_shape has seen. */
static int infer_output_shape(const unstride_layer *layer, const int64_t *input, int64_t *output) {
    output[0] = input[0];
    output[channel_axis(layer)] = layer->output_shape[channel_axis(layer)];
    for (int spatial = plan_of(layer)->spatial_axes - 1; spatial >= 0; spatial--) {
        const unstride_axis *rule = &plan_of(layer)->axes[spatial];
        const int axis = width_axis(layer) - spatial;
        output[axis] = input[axis];
        for (int i = 0; i < rule->step_count; i++) {
            const int status = apply_size_step(layer, &rule->steps[i], input[axis], axis, &output[axis]);
            if (status != UNSTRIDE_OK) return status;
        }
    }
    return UNSTRIDE_OK;
}

static int check_rank(const unstride_layer *layer, const char *what, const unstride_tensor *tensor) {
    if (tensor->rank == layer->rank) return UNSTRIDE_OK;
    return fail(UNSTRIDE_WRONG_RANK, "%s: %s: rank %d, the layer's is %d", layer->name, what,
                (int)tensor->rank, (int)layer->rank);
}

static int check_same_shape(const unstride_layer *layer, const char *what, const unstride_tensor *tensor,
                            const int64_t *wanted, const int64_t *input) {
    for (int axis = 0; axis < layer->rank; axis++) {
        const long long size = (long long)tensor->shape[axis], asked = (long long)wanted[axis];
        if (size == asked) continue;
        if (size <= 0 && spatial_axis(layer, axis) >= 0)
            return fail(UNSTRIDE_EMPTY_TENSOR, "%s: %s: size %lld on axis %d (%s)", layer->name, what, size,
                        axis, axis_name(layer, axis));
        if (axis == channel_axis(layer))
            return fail(UNSTRIDE_WRONG_SHAPE,
                        "%s: %s: size %lld on axis %d (channels), the layer asks for %lld", layer->name, what,
                        size, axis, asked);
        return fail(UNSTRIDE_WRONG_SHAPE, "%s: %s: size %lld on axis %d (%s), the input's %lld asks for %lld",
                    layer->name, what, size, axis, axis_name(layer, axis), (long long)input[axis], asked);
    }
    return UNSTRIDE_OK;
}

/* Strides, span and alignment of a view whose sizes are known to be right and positive. The limit of 2^31 - 1
 * holds for every size * stride, as the kernels compute offsets in 32 bits. */
static int check_view(const unstride_layer *layer, const char *what, const unstride_tensor *tensor,
                      checked_view *view) {
    int64_t span = 1, elements = 1;
    view->address = (uintptr_t)tensor->data;
    view->rank = layer->rank;
    for (int axis = layer->rank - 1; axis >= 0; axis--) {
        const int64_t size = tensor->shape[axis], stride = tensor->stride[axis];
        const char *name = axis_name(layer, axis);
        view->size[axis] = size;
        view->stride[axis] = size > 1 ? stride : span;
        if (__builtin_mul_overflow(elements, size, &elements) || elements > INT32_MAX)
            return fail(UNSTRIDE_SIZE_OVERFLOW, "%s: %s: more than 2^31 - 1 elements", layer->name, what);
        if (size == 1) continue;
        if (axis == layer->rank - 1 && stride != 1)
            return fail(UNSTRIDE_WRONG_STRIDE, "%s: %s: stride %lld on axis %d (%s), it must be 1",
                        layer->name, what, (long long)stride, axis, name);
        if (stride < span)
            return fail(UNSTRIDE_WRONG_STRIDE,
                        "%s: %s: stride %lld on axis %d (%s), the axes inside it span %lld", layer->name,
                        what, (long long)stride, axis, name, (long long)span);
        int64_t reach;
        if (__builtin_mul_overflow(size, stride, &reach) || reach > INT32_MAX)
            return fail(UNSTRIDE_SIZE_OVERFLOW,
                        "%s: %s: size %lld times stride %lld on axis %d (%s) is beyond 2^31 - 1", layer->name,
                        what, (long long)size, (long long)stride, axis, name);
        span += (size - 1) * stride;
    }
    view->span = span;
    if (tensor->data == NULL) return fail(UNSTRIDE_NULL_ARGUMENT, "%s: %s: data is null", layer->name, what);
    if (view->address % sizeof(float) != 0)
        return fail(UNSTRIDE_MISALIGNED, "%s: %s: data at %p is no multiple of %zu", layer->name, what,
                    (const void *)tensor->data, sizeof(float));
    return UNSTRIDE_OK;
}

static bool ranges_overlap(uintptr_t a, size_t a_bytes, uintptr_t b, size_t b_bytes) {
    return a < b + b_bytes && b < a + a_bytes;
}

static int64_t greatest_common_divisor(int64_t a, int64_t b) {
    while (b != 0) {
        const int64_t rest = a % b;
        a = b;
        b = rest;
    }
    return a;
}

/* The greatest common divisor of `divisor` and of the strides of the axes outside `inner`. */
static int64_t common_stride(const checked_view *view, int inner, int64_t divisor) {
    for (int axis = 0; axis < inner; axis++)
        if (view->size[axis] > 1) divisor = greatest_common_divisor(divisor, view->stride[axis]);
    return divisor;
}

/* Distance from the first to past the last element on the axes from `inner` on. */
static int64_t inner_span(const checked_view *view, int inner) {
    int64_t span = 1;
    for (int axis = inner; axis < view->rank; axis++)
        span += (view->size[axis] - 1) * view->stride[axis];
    return span;
}

/* Whether two views may share an element. Views of disjoint ranges do not. Nor do two channel slices or
 * windows of one tensor, whose ranges interleave: with g dividing every stride outside an axis of both, the
 * elements of a view lie at (offset .. offset + span from that axis on) modulo g, and if these two arcs are
 * disjoint for any axis nothing is shared. Anything else counts as overlap. */
static bool views_overlap(const checked_view *a, const checked_view *b) {
    if (!ranges_overlap(a->address, (size_t)a->span * sizeof(float), b->address,
                        (size_t)b->span * sizeof(float)))
        return false;
    const bool forward = b->address >= a->address;
    const checked_view *lower = forward ? a : b, *upper = forward ? b : a;
    const uintptr_t distance = upper->address - lower->address;
    if (distance % sizeof(float) != 0) return true;
    for (int inner = 1; inner < a->rank; inner++) {
        const int64_t period = common_stride(b, inner, common_stride(a, inner, 0));
        if (period == 0) continue;
        const int64_t offset = (int64_t)(distance / sizeof(float) % (uintptr_t)period);
        if (offset >= inner_span(lower, inner) && offset + inner_span(upper, inner) <= period) return false;
    }
    return true;
}

static bool same_view(const checked_view *a, const checked_view *b) {
    if (a->address != b->address) return false;
    for (int axis = 0; axis < a->rank; axis++)
        if (a->size[axis] != b->size[axis] || a->stride[axis] != b->stride[axis]) return false;
    return true;
}

static bool view_overlaps_range(const checked_view *view, const void *start, size_t bytes) {
    return start != NULL &&
           ranges_overlap(view->address, (size_t)view->span * sizeof(float), (uintptr_t)start, bytes);
}
