/* Writing and checking of the header of packed weights. */
#include "packed_format.h"

_Static_assert(sizeof(packed_header) == PACKED_ALIGNMENT,
               "the weights follow the header at an aligned offset");

static size_t dense_bytes(const int32_t *extents, int count) {
    size_t bytes = sizeof(float);
    for (int i = 0; i < count; i++)
        bytes *= (size_t)extents[i];
    return bytes;
}

static packed_layout layout_packed(const unstride_layer *layer, const unstride_kernel *kernel) {
    if (kernel->pack == NULL) return (packed_layout){0};
    return layout_packed_groups((size_t)plan_of(layer)->groups,
                                dense_bytes(kernel->weight_extent, kernel->weight_rank),
                                dense_bytes(kernel->parameter_extent, 2));
}

static void write_packed_header(const unstride_layer *layer, const unstride_kernel *kernel, void *packed) {
    const packed_header header =
        make_packed_header(UNSTRIDE_ABI_VERSION, plan_of(layer)->layer_hash, kernel->identity,
                           layout_packed(layer, kernel).total_bytes);
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
    if (header.checksum != packed_checksum(&header))
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
    if (header.payload_bytes != layout_packed(layer, kernel).total_bytes - sizeof header)
        return fail(UNSTRIDE_STALE_WEIGHTS, "%s: packed: %llu bytes of weights, the kernel in use has %llu",
                    layer->name, (unsigned long long)header.payload_bytes,
                    (unsigned long long)(layout_packed(layer, kernel).total_bytes - sizeof header));
    return UNSTRIDE_OK;
}

size_t UNSTRIDE_LIBRARY(packed_bytes)(const unstride_layer *layer) {
    const unstride_kernel *kernel;
    uint32_t requirement;
    if (check_layer(layer, "packed_bytes") || select_kernel(layer, &kernel, &requirement)) return 0;
    return layout_packed(layer, kernel).total_bytes;
}
