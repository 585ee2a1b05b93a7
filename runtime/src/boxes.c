/* Tensors as the kernels see them. Output coordinate o = phases * u + q: where a size is no multiple of the
 * phases, the last u has fewer q, and the tensor is covered by up to two ranges an axis, hence four boxes. */

#define OUTPUT_DIMENSIONS 6
#define INPUT_DIMENSIONS 4

/* A halide_buffer_t with room for its dimensions. */
typedef struct buffer {
    halide_buffer_t halide;
    halide_dimension_t dimensions[UNSTRIDE_WEIGHT_DIMENSIONS];
} buffer;

/* A range of one axis: phases 0 .. q_extent - 1 of u_min .. u_min + u_extent - 1. */
typedef struct phase_range {
    int32_t q_extent, u_min, u_extent;
} phase_range;

static int split_axis(int64_t size, int32_t phases, phase_range ranges[2]) {
    const int32_t whole = (int32_t)(size / phases), rest = (int32_t)(size % phases);
    int count = 0;
    if (whole > 0) ranges[count++] = (phase_range){phases, 0, whole};
    if (rest > 0) ranges[count++] = (phase_range){rest, whole, 1};
    return count;
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

static void add_dense_dimensions(buffer *target, const int32_t *extents, int count) {
    int64_t stride = 1;
    for (int i = 0; i < count; i++) {
        add_dimension(target, 0, extents[i], stride);
        stride *= extents[i];
    }
}

/* Size and stride of a spatial axis of a view; layers of one spatial axis have a y of size 1. */
static void view_axis(const checked_view *view, int spatial, int64_t *size, int64_t *stride) {
    const int axis = view->rank - 2 - spatial;
    *size = axis > 0 ? view->size[axis] : 1;
    *stride = axis > 0 ? view->stride[axis] : view->span;
}

static void describe_input(buffer *target, const checked_view *view) {
    int64_t width, row, height, plane;
    view_axis(view, 0, &width, &row);
    view_axis(view, 1, &height, &plane);
    begin_buffer(target);
    add_dimension(target, 0, view->size[view->rank - 1], 1);
    add_dimension(target, 0, width, row);
    add_dimension(target, 0, height, plane);
    add_dimension(target, 0, view->size[0], view->stride[0]);
    place_buffer(&target->halide, view->address, true);
}

/* The part of an output-shaped view that lies in a box; the buffer's address is that of the box's first
 * element. */
static void describe_box(buffer *target, const checked_view *view, const unstride_plan *plan,
                         const phase_range *x, const phase_range *y, bool is_read) {
    int64_t width, x_stride, height, y_stride;
    view_axis(view, 0, &width, &x_stride);
    view_axis(view, 1, &height, &y_stride);
    const int64_t u_stride = plan->axes[0].phases * x_stride;
    const int64_t v_stride = (plan->spatial_axes > 1 ? plan->axes[1].phases : 1) * y_stride;
    begin_buffer(target);
    add_dimension(target, 0, view->size[view->rank - 1], 1);
    add_dimension(target, 0, x->q_extent, x_stride);
    add_dimension(target, x->u_min, x->u_extent, u_stride);
    add_dimension(target, 0, y->q_extent, y_stride);
    add_dimension(target, y->u_min, y->u_extent, v_stride);
    add_dimension(target, 0, view->size[0], view->stride[0]);
    const int64_t offset = x->u_min * u_stride + y->u_min * v_stride;
    place_buffer(&target->halide, view->address + (uintptr_t)offset * sizeof(float), is_read);
}
