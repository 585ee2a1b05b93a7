/* Memory between two pages that may not be touched, so that a read or write outside of it ends the program,
 * which then says of which block it was. */
#ifndef MEASURE_MEMORY_H
#define MEASURE_MEMORY_H

#include <stddef.h>

/* Where the bytes lie between the guards: the end flush with the one after, or the start with the one
 * before. */
enum flush { flush_end, flush_start };

typedef struct block {
    const char *name; /* "the input" */
    void *data;       /* null for a block of no bytes */
    size_t bytes;
    char *base; /* of the mapping, guards included */
    size_t mapped;
} block;

/* Bytes at a multiple of `alignment`, as close to the guard as that allows. What is left between the bytes
 * and the guards holds a pattern. Ends the program with exit_memory where memory is short. */
block make_block(const char *name, size_t bytes, enum flush flush, size_t alignment);

/* From now on a write to the block ends the program. */
void protect_block(block *memory);

/* True if nothing was written between the bytes and the guards. */
int surroundings_untouched(const block *memory);

void free_block(block *memory);

/* Makes a program that touches what it may not say where, before the signal ends it. */
void report_faults(void);

/* Exit codes of the measuring program. */
enum {
    exit_failed = 1, /* bad usage, a file, an answer of the library */
    exit_wrong = 2,  /* the result is wrong */
    exit_memory = 3  /* out of memory */
};

#endif
