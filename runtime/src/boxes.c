/* Tensors as the kernels see them. Output coordinate o = phases * u + q: where a size is no multiple of the
 * phases, the last u has fewer q. A kernel that bounds its stores is given all q there; else the tensor is
 * covered by up to two ranges an axis, hence by up to eight boxes. */

/* A halide_buffer_t with room for its dimensions. */
typedef struct buffer {
    halide_buffer_t halide;
    halide_dimension_t dimensions[UNSTRIDE_MAX_WEIGHT_DIMENSIONS];
} buffer;

/* A range of one axis: phases 0 .. q_extent - 1 of u_min .. u_min + u_extent - 1. */
typedef struct phase_range {
    int32_t q_extent, u_min, u_extent;
} phase_range;

/* The ranges of every axis that kernels know; a box takes one of each. */
typedef struct box_ranges {
    phase_range ranges[UNSTRIDE_MAX_SPATIAL_AXES][2];
    int counts[UNSTRIDE_MAX_SPATIAL_AXES];
} box_ranges;

/* The channels of a view that belong to one of its layer's groups. */
typedef struct channel_range {
    int64_t first, count;
} channel_range;

/* Where what a layer does not have is said to lie: one element, zero. */
_Alignas(64) static const float no_values[16];

/* Layers of one spatial axis have a y of size 1. */
static int kernel_axes(const unstride_plan *plan) {
    return plan->spatial_axes > 2 ? plan->spatial_axes : 2;
}

static int split_axis(int64_t size, int32_t phases, phase_range ranges[2]) {
    const int32_t whole = (int32_t)(size / phases), rest = (int32_t)(size % phases);
    int count = 0;
    if (whole > 0) ranges[count++] = (phase_range){phases, 0, whole};
    if (rest > 0) ranges[count++] = (phase_range){rest, whole, 1};
    return count;
}

static box_ranges split_output(const unstride_layer *layer, const unstride_kernel *kernel,
                               const int64_t *output_shape) {
    const unstride_plan *plan = plan_of(layer);
    box_ranges boxes;
    for (int spatial = 0; spatial < UNSTRIDE_MAX_SPATIAL_AXES; spatial++) {
        const bool real = spatial < plan->spatial_axes;
        const int32_t phases = real ? plan->axes[spatial].phases : 1;
        int64_t size = real ? output_shape[width_axis(layer) - spatial] : 1;
        if (kernel->bounds_stores[spatial]) size += (phases - size % phases) % phases;
        boxes.counts[spatial] = split_axis(size, phases, boxes.ranges[spatial]);
    }
    return boxes;
}

static int box_count(const box_ranges *boxes) {
    return boxes->counts[0] * boxes->counts[1] * boxes->counts[2];
}

/* The range of each axis for the box of that number. */
static void choose_box(const box_ranges *boxes, int box, phase_range chosen[UNSTRIDE_MAX_SPATIAL_AXES]) {
    for (int spatial = 0; spatial < UNSTRIDE_MAX_SPATIAL_AXES; spatial++) {
        chosen[spatial] = boxes->ranges[spatial][box % boxes->counts[spatial]];
        box /= boxes->counts[spatial];
    }
}

static void begin_buffer(buffer *target) {
    memset(target, 0, sizeof *target);
    target->halide.type = (halide_type_t){HALIDE_TYPE_CODE_FLOAT, 32, 1};
    target->halide.dim = target->dimensions;
}

/* A stride beyond 32 bits belongs to an axis of one element, where it is never used. */
static void add_dimension(buffer *target, int32_t min, int64_t extent, int64_t stride) {
    const int32_t fitted = stride > INT32_MAX ? INT32_MAX : (int32_t)stride;
    target->dimensions[target->halide.dimensions++] = (halide_dimension_t){min, (int32_t)extent, fitted, 0};
}

static void describe_dense(buffer *target, const int32_t *extents, int count) {
    int64_t stride = 1;
    begin_buffer(target);
    for (int i = 0; i < count; i++) {
        add_dimension(target, 0, extents[i], stride);
        stride *= extents[i];
    }
}

/* Dense values in host memory, whatever the device. */
static void describe_host(buffer *target, const float *values, const int32_t *extents, int count) {
    describe_dense(target, extents, count);
    target->halide.host = (uint8_t *)(uintptr_t)values;
}

/* Size and stride of a spatial axis of a view. */
static void view_axis(const unstride_layer *layer, const checked_view *view, int spatial, int64_t *size,
                      int64_t *stride) {
    const bool real = spatial < plan_of(layer)->spatial_axes;
    *size = real ? view->size[width_axis(layer) - spatial] : 1;
    *stride = real ? view->stride[width_axis(layer) - spatial] : view->span;
}

static channel_range group_channels(const unstride_layer *layer, const checked_view *view, int group) {
    const int64_t count = view->size[channel_axis(layer)] / plan_of(layer)->groups;
    return (channel_range){group * count, count};
}

/* Address of the element at `offset` elements from the first of a group's channels. */
static uintptr_t view_address(const unstride_layer *layer, const checked_view *view, channel_range channels,
                              int64_t offset) {
    offset += channels.first * view->stride[channel_axis(layer)];
    return view->address + (uintptr_t)offset * sizeof(float);
}

static void describe_input(buffer *target, const unstride_layer *layer, const checked_view *view, int group) {
    const channel_range channels = group_channels(layer, view, group);
    begin_buffer(target);
    add_dimension(target, 0, channels.count, view->stride[channel_axis(layer)]);
    for (int spatial = 0; spatial < kernel_axes(plan_of(layer)); spatial++) {
        int64_t size, stride;
        view_axis(layer, view, spatial, &size, &stride);
        add_dimension(target, 0, size, stride);
    }
    add_dimension(target, 0, view->size[0], view->stride[0]);
    place_buffer(&target->halide, view_address(layer, view, channels, 0), true);
}

/* The part of an output-shaped view that lies in a box; the buffer's address is that of the box's first
 * element. */
static void describe_box(buffer *target, const unstride_layer *layer, const checked_view *view, int group,
                         const phase_range box[UNSTRIDE_MAX_SPATIAL_AXES], bool is_read) {
    const channel_range channels = group_channels(layer, view, group);
    int64_t offset = 0;
    begin_buffer(target);
    add_dimension(target, 0, channels.count, view->stride[channel_axis(layer)]);
    for (int spatial = 0; spatial < kernel_axes(plan_of(layer)); spatial++) {
        int64_t size, stride;
        view_axis(layer, view, spatial, &size, &stride);
        const int64_t u_stride = stride * plan_of(layer)->axes[spatial].phases;
        add_dimension(target, 0, box[spatial].q_extent, stride);
        add_dimension(target, box[spatial].u_min, box[spatial].u_extent, u_stride);
        offset += box[spatial].u_min * u_stride;
    }
    add_dimension(target, 0, view->size[0], view->stride[0]);
    place_buffer(&target->halide, view_address(layer, view, channels, offset), is_read);
}
