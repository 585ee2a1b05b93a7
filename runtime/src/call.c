/* What one call of run or pack needs to know while kernels work; its address is the kernels' user context. */

#define UNSTRIDE_MAX_THREADS 1024
#define SLOT_WORD_BITS 64
#define SLOT_WORDS (UNSTRIDE_MAX_THREADS * UNSTRIDE_MAX_STAGINGS / SLOT_WORD_BITS)

typedef struct call {
    const unstride_layer *layer;
    unstride_parallel parallel; /* parallel_for is null: the library's own threads */
    int concurrency;            /* tasks at a time; 1: a plain loop on the calling thread */
    bool wakes_threads;         /* the library's own, where they sleep */
    char *slots;                /* scratch memory, slot_count times slot_bytes */
    size_t slot_bytes;
    int slot_count;
    _Atomic uint64_t occupied[SLOT_WORDS]; /* a bit for each slot */
    atomic_flag error_taken;
    char error[UNSTRIDE_ERROR_BYTES]; /* the first that a kernel reported */
    void *cuda_context, *cuda_stream;
} call;

/* Keeps the first error of a call, without the line end that some of Halide's texts have. Kernels call it
 * from any thread; the call reads it after they have all finished. Null is the context of Halide's own
 * clean-up at exit. */
static void keep_kernel_error(void *user_context, const char *text) {
    call *self = user_context;
    if (self == NULL || atomic_flag_test_and_set(&self->error_taken)) return;
    size_t length = strnlen(text, sizeof self->error - 1);
    while (length > 0 && (text[length - 1] == '\n' || text[length - 1] == ' '))
        length--;
    memcpy(self->error, text, length);
    self->error[length] = '\0';
}

/* The status for what a kernel answered; the details go to last_error. */
static int kernel_status(const call *self, const char *what, int code) {
    if (code == 0) return UNSTRIDE_OK;
    int status = UNSTRIDE_INTERNAL;
    if (code == HALIDE_ERROR_OUT_OF_MEMORY) {
        status = UNSTRIDE_OUT_OF_MEMORY;
    } else if (unstride_this_library.device != UNSTRIDE_DEVICE_NONE) {
        /* A positive code is a driver's own; the listed ones are what Halide makes of a failed driver call.
         */
        static const int device_codes[] = {
            HALIDE_ERROR_GENERIC,
            HALIDE_ERROR_COPY_TO_HOST_FAILED,
            HALIDE_ERROR_COPY_TO_DEVICE_FAILED,
            HALIDE_ERROR_DEVICE_MALLOC_FAILED,
            HALIDE_ERROR_DEVICE_SYNC_FAILED,
            HALIDE_ERROR_DEVICE_FREE_FAILED,
            HALIDE_ERROR_SYMBOL_NOT_FOUND,
            HALIDE_ERROR_DEVICE_RUN_FAILED,
            HALIDE_ERROR_GPU_DEVICE_ERROR,
            HALIDE_ERROR_DEVICE_BUFFER_COPY_FAILED,
        };
        for (size_t i = 0; i < sizeof device_codes / sizeof device_codes[0]; i++)
            if (code > 0 || code == device_codes[i]) status = UNSTRIDE_DEVICE_FAILURE;
    }
    return fail(status, "%s: %s: %s (code %d)", self->layer->name, what,
                self->error[0] != '\0' ? self->error : "no text was given", code);
}
