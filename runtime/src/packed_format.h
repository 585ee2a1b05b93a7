/* Packed weights as a block of bytes: a header that says what they are, then the weights of every group, then
 * the parameters of every group, each at a multiple of PACKED_ALIGNMENT; the bytes between them are zero. The
 * runtime writes and checks such blocks, and `unstride build --weights` writes the same ones into a library.
 * For C and C++. */
#ifndef UNSTRIDE_PACKED_FORMAT_H
#define UNSTRIDE_PACKED_FORMAT_H

#include <stddef.h>
#include <stdint.h>

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

/* Offsets from the header's first byte, and steps from group to group. */
typedef struct packed_layout {
    size_t weights_offset, weights_stride;
    size_t parameters_offset, parameters_stride;
    size_t total_bytes; /* 0 where nothing is packed */
} packed_layout;

static inline size_t align_packed(size_t bytes) {
    return (bytes + PACKED_ALIGNMENT - 1) / PACKED_ALIGNMENT * PACKED_ALIGNMENT;
}

/* Of `groups` groups of so many bytes each. */
static inline packed_layout layout_packed_groups(size_t groups, size_t weight_bytes, size_t parameter_bytes) {
    packed_layout layout;
    layout.weights_offset = sizeof(packed_header);
    layout.weights_stride = align_packed(weight_bytes);
    layout.parameters_offset = layout.weights_offset + groups * layout.weights_stride;
    layout.parameters_stride = align_packed(parameter_bytes);
    layout.total_bytes = layout.parameters_offset + groups * layout.parameters_stride;
    return layout;
}

/* FNV-1a: the header is short and guards against mistakes, not against forgery. */
static inline uint64_t packed_checksum(const packed_header *header) {
    const unsigned char *bytes = (const unsigned char *)header;
    uint64_t hash = UINT64_C(14695981039346656037);
    for (size_t i = 0; i < offsetof(packed_header, checksum); i++)
        hash = (hash ^ bytes[i]) * UINT64_C(1099511628211);
    return hash;
}

static inline packed_header make_packed_header(uint32_t abi_version, uint64_t layer_hash,
                                               uint64_t kernel_identity, size_t total_bytes) {
    packed_header header = {PACKED_MAGIC,
                            abi_version,
                            (uint32_t)sizeof(packed_header),
                            layer_hash,
                            kernel_identity,
                            total_bytes - sizeof(packed_header),
                            {0, 0},
                            0};
    header.checksum = packed_checksum(&header);
    return header;
}

#endif
