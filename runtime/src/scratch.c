/* Memory for kernels: slots cut from one block a call, for each task that runs at a time one for each buffer
 * that it holds. */

#define SLOT_ALIGNMENT 64u

/* Kernels may read up to a vector before and after an allocation, and Halide asks for a vector more than it
 * needs. */
#define SLOT_MARGIN 64u
#define SLOT_SLACK 64u

static _Atomic uint64_t scratch_miss_count;

static int64_t round_up(int64_t value, int64_t multiple) {
    return (value + multiple - 1) / multiple * multiple;
}

/* Outputs of one phase that a task computes on an axis. A strip of zero is the whole row, and its last tile
 * may be only partly inside the output. */
static int64_t task_extent(const unstride_layer *layer, const unstride_kernel *kernel, const int64_t *output,
                           int spatial) {
    if (spatial == 2) return 1;
    if (spatial == 1) return (int64_t)kernel->tile_y * kernel->rows;
    if (kernel->strip != 0) return (int64_t)kernel->tile_x * kernel->strip;
    const int32_t phases = plan_of(layer)->axes[0].phases;
    return round_up((output[width_axis(layer)] + phases - 1) / phases, kernel->tile_x);
}

static int64_t staging_bytes(const unstride_layer *layer, const unstride_kernel *kernel,
                             const unstride_staging *staging, const int64_t *output) {
    int64_t elements = staging->channels;
    for (int spatial = 0; spatial < UNSTRIDE_MAX_SPATIAL_AXES; spatial++) {
        const int64_t extent = task_extent(layer, kernel, output, spatial);
        elements *= staging->scale[spatial] * extent + staging->extra[spatial];
    }
    return elements * (int64_t)sizeof(float);
}

/* Every slot holds the largest of the kernel's buffers. */
static int64_t slot_bytes_of(const unstride_layer *layer, const unstride_kernel *kernel,
                             const int64_t *output) {
    int64_t most = 0;
    for (int i = 0; i < kernel->staging_count; i++) {
        const int64_t bytes = staging_bytes(layer, kernel, &kernel->stagings[i], output);
        if (bytes > most) most = bytes;
    }
    return most == 0 ? 0 : round_up(most + SLOT_SLACK + 2 * SLOT_MARGIN, SLOT_ALIGNMENT);
}

static void *allocate_elsewhere(size_t bytes) {
    void *block;
    atomic_fetch_add_explicit(&scratch_miss_count, 1, memory_order_relaxed);
    if (bytes > SIZE_MAX - 2 * SLOT_MARGIN ||
        posix_memalign(&block, SLOT_ALIGNMENT, bytes + 2 * SLOT_MARGIN) != 0)
        return NULL;
    return (char *)block + SLOT_MARGIN;
}

/* Halide's malloc. What fits no slot comes from the heap: correct before fast, and counted. */
static void *allocate_for_kernel(void *user_context, size_t bytes) {
    call *self = user_context;
    if (self == NULL || self->slot_bytes < 2 * SLOT_MARGIN || bytes > self->slot_bytes - 2 * SLOT_MARGIN)
        return allocate_elsewhere(bytes);
    for (int word = 0; word * SLOT_WORD_BITS < self->slot_count; word++) {
        uint64_t bits = atomic_load_explicit(&self->occupied[word], memory_order_relaxed);
        while (~bits != 0) {
            const int slot = word * SLOT_WORD_BITS + __builtin_ctzll(~bits);
            if (slot >= self->slot_count) break;
            const uint64_t bit = UINT64_C(1) << (slot % SLOT_WORD_BITS);
            if (atomic_compare_exchange_weak_explicit(&self->occupied[word], &bits, bits | bit,
                                                      memory_order_acquire, memory_order_relaxed))
                return self->slots + (size_t)slot * self->slot_bytes + SLOT_MARGIN;
        }
    }
    return allocate_elsewhere(bytes);
}

static void release_for_kernel(void *user_context, void *pointer) {
    call *self = user_context;
    if (pointer == NULL) return;
    const size_t total = self == NULL ? 0 : self->slot_bytes * (size_t)self->slot_count;
    const uintptr_t offset = (uintptr_t)pointer - (uintptr_t)(self == NULL ? NULL : self->slots);
    if (offset >= total) {
        free((char *)pointer - SLOT_MARGIN);
        return;
    }
    const size_t slot = offset / self->slot_bytes;
    const uint64_t bit = UINT64_C(1) << (slot % SLOT_WORD_BITS);
    atomic_fetch_and_explicit(&self->occupied[slot / SLOT_WORD_BITS], ~bit, memory_order_release);
}

/* How often a kernel's memory came from the heap since the program began, for tests: always 0 when the plan
 * is right. */
uint64_t UNSTRIDE_LIBRARY(scratch_misses)(void);
uint64_t UNSTRIDE_LIBRARY(scratch_misses)(void) {
    return atomic_load(&scratch_miss_count);
}
