/* The packed weights as a block of memory: a header that says what they are, the weights, the bias. */

#define PACKED_ALIGNMENT 64u
#define PACKED_MAGIC UINT64_C(0x3130676b705f6e75) /* "un_pkg01", little-endian */

typedef struct packed_header {
    uint64_t magic;
    uint32_t abi_version;
    uint32_t header_bytes;
    uint64_t layer_hash;
    uint64_t kernel_identity;
    uint64_t payload_bytes;
    uint64_t reserved[2];
    uint64_t checksum; /* of all that comes before it */
} packed_header;

_Static_assert(sizeof(packed_header) == PACKED_ALIGNMENT,
               "the weights follow the header at an aligned offset");

typedef struct packed_layout {
    int64_t weight_count;
    size_t weights_offset, bias_offset, total_bytes;
} packed_layout;

static size_t align_packed(size_t bytes) {
    return (bytes + PACKED_ALIGNMENT - 1) / PACKED_ALIGNMENT * PACKED_ALIGNMENT;
}

static packed_layout layout_packed(const unstride_kernel *kernel) {
    packed_layout layout = {.weight_count = 1, .weights_offset = sizeof(packed_header)};
    for (int i = 0; i < UNSTRIDE_WEIGHT_DIMENSIONS; i++)
        layout.weight_count *= kernel->weight_extent[i];
    layout.bias_offset = align_packed(layout.weights_offset + (size_t)layout.weight_count * sizeof(float));
    layout.total_bytes = align_packed(layout.bias_offset + (size_t)kernel->bias_extent * sizeof(float));
    return layout;
}

/* FNV-1a: the header is short and guards against mistakes, not against forgery. */
static uint64_t checksum_of(const packed_header *header) {
    const unsigned char *bytes = (const unsigned char *)header;
    uint64_t hash = UINT64_C(14695981039346656037);
    for (size_t i = 0; i < offsetof(packed_header, checksum); i++)
        hash = (hash ^ bytes[i]) * UINT64_C(1099511628211);
    return hash;
}

static void write_packed_header(const unstride_layer *layer, const unstride_kernel *kernel, void *packed) {
    packed_header header = {.magic = PACKED_MAGIC,
                            .abi_version = UNSTRIDE_ABI_VERSION,
                            .header_bytes = sizeof(packed_header),
                            .layer_hash = plan_of(layer)->layer_hash,
                            .kernel_identity = kernel->identity,
                            .payload_bytes = layout_packed(kernel).total_bytes - sizeof(packed_header)};
    header.checksum = checksum_of(&header);
    memcpy(packed, &header, sizeof header);
}

static int check_packed(const unstride_layer *layer, const unstride_kernel *kernel, const void *packed) {
    packed_header header;
    if (packed == NULL) return fail(UNSTRIDE_NULL_ARGUMENT, "%s: packed is null", layer->name);
    if ((uintptr_t)packed % PACKED_ALIGNMENT != 0)
        return fail(UNSTRIDE_MISALIGNED, "%s: packed at %p is no multiple of %u", layer->name, packed,
                    PACKED_ALIGNMENT);
    memcpy(&header, packed, sizeof header);
    if (header.magic != PACKED_MAGIC)
        return fail(UNSTRIDE_NOT_PACKED,
                    "%s: packed: begins with %016llx, not with the mark of packed weights", layer->name,
                    (unsigned long long)header.magic);
    if (header.checksum != checksum_of(&header))
        return fail(UNSTRIDE_NOT_PACKED, "%s: packed: the header's checksum is wrong", layer->name);
    if (header.abi_version != UNSTRIDE_ABI_VERSION || header.header_bytes != sizeof header)
        return fail(UNSTRIDE_STALE_WEIGHTS, "%s: packed: of interface version %u, the library's is %u",
                    layer->name, (unsigned)header.abi_version, (unsigned)UNSTRIDE_ABI_VERSION);
    if (header.layer_hash != plan_of(layer)->layer_hash)
        return fail(UNSTRIDE_FOREIGN_WEIGHTS,
                    "%s: packed: for the layer of hash %016llx, this one's is %016llx", layer->name,
                    (unsigned long long)header.layer_hash, (unsigned long long)plan_of(layer)->layer_hash);
    if (header.kernel_identity != kernel->identity)
        return fail(UNSTRIDE_STALE_WEIGHTS,
                    "%s: packed: for the kernel of identity %016llx, the one in use has %016llx", layer->name,
                    (unsigned long long)header.kernel_identity, (unsigned long long)kernel->identity);
    if (header.payload_bytes != layout_packed(kernel).total_bytes - sizeof header)
        return fail(UNSTRIDE_STALE_WEIGHTS, "%s: packed: %llu bytes of weights, the kernel in use has %llu",
                    layer->name, (unsigned long long)header.payload_bytes,
                    (unsigned long long)(layout_packed(kernel).total_bytes - sizeof header));
    return UNSTRIDE_OK;
}

size_t UNSTRIDE_LIBRARY(packed_bytes)(const unstride_layer *layer) {
    const unstride_kernel *kernel;
    uint32_t requirement;
    if (check_layer(layer, "packed_bytes") || select_kernel(layer, &kernel, &requirement)) return 0;
    return layout_packed(kernel).total_bytes;
}
