/* The functions of one library. A generated header defines UNSTRIDE_LIBRARY as the library's name around a
 * copy of this text, so that what is written here as UNSTRIDE_LIBRARY(run) is called NAME_run. */
/* BEGIN FUNCTIONS */
/* The output's shape for an input's shape, both of the layer's rank.
 * Errors: NULL_ARGUMENT, WRONG_LAYER, WRONG_SHAPE, EMPTY_TENSOR, SIZE_OVERFLOW. */
int UNSTRIDE_LIBRARY(output_shape)(const unstride_layer *layer, const int64_t *input_shape,
                                   int64_t *output_shape);

/* Bytes that pack writes for the instruction set in use; 0 on an error, and for layers that pack nothing:
 * those that have no weights, or compute them. */
size_t UNSTRIDE_LIBRARY(packed_bytes)(const unstride_layer *layer);

/* Brings weights into the kernel's own layout. `packed` is host memory of at least packed_bytes, 64-byte
 * aligned. The result belongs to this layer, version and instruction set; it may be copied and stored.
 * Where packed_bytes is 0 nothing is written and `packed` may be null. Where the library holds the packed
 * weights (it was built with --weights), `weights` may be null, and `packed` gets a copy of them.
 * Linux is asked for large pages (madvise) where the range holds some: they are given to memory that was never
 * written before, as malloc's mostly is.
 * Errors: NULL_ARGUMENT, WRONG_LAYER, WRONG_SHAPE (a bias, scale or prelu for a layer that has none),
 * MISALIGNED, BUFFER_TOO_SMALL, OVERLAP, UNKNOWN_INSTRUCTION_SET, UNSUPPORTED_CPU, OUT_OF_MEMORY, INTERNAL.
 */
int UNSTRIDE_LIBRARY(pack)(const unstride_layer *layer, const unstride_weights *weights, void *packed,
                           size_t packed_bytes);

/* Bytes of scratch memory for a call with that input shape and at most `threads` tasks at a time (0:
 * threads()): the `threads` of the call, or the concurrency of its `parallel`. While set_parallel_for's
 * threads are in use, enough for theirs too, unless `threads` is 1. 0 on an error, and where none is needed.
 */
size_t UNSTRIDE_LIBRARY(scratch_bytes)(const unstride_layer *layer, const int64_t *input_shape, int threads);

/* Computes the layer. Every argument is checked before anything is written.
 * Errors: any status. */
int UNSTRIDE_LIBRARY(run)(const unstride_layer *layer, const unstride_arguments *arguments);

/* The schedule compiled in for the instruction set in use, as JSON, and how it was found ("analytic default",
 * ...). Null on an error. */
const char *UNSTRIDE_LIBRARY(schedule)(const unstride_layer *layer);
const char *UNSTRIDE_LIBRARY(schedule_grade)(const unstride_layer *layer);

/* "UNSTRIDE_WRONG_SHAPE"; one sentence; and the calling thread's last failure in full ("" before the first).
 */
const char *UNSTRIDE_LIBRARY(status_name)(int status);
const char *UNSTRIDE_LIBRARY(status_text)(int status);
const char *UNSTRIDE_LIBRARY(last_error)(void);

/* Threads of a call, the calling one included. 0 sets the default: all processors this process may run on.
 * Results are bit-identical for any number. */
int UNSTRIDE_LIBRARY(set_threads)(int threads);
int UNSTRIDE_LIBRARY(threads)(void);

/* Replaces the library's threads by the caller's; null brings the library's back. The struct is copied. */
int UNSTRIDE_LIBRARY(set_parallel_for)(const unstride_parallel *parallel);

/* The instruction set in use: chosen at the first call as the best this processor has, or the one that the
 * environment variable UNSTRIDE_INSTRUCTION_SET names. Null if the processor has none. */
const char *UNSTRIDE_LIBRARY(instruction_set)(void);
/* The names compiled in, best first; null past the last. */
const char *UNSTRIDE_LIBRARY(instruction_set_at)(int index);
/* Forces one by name, null for the best. Weights packed before must be packed again.
 * Errors: UNKNOWN_INSTRUCTION_SET, UNSUPPORTED_CPU. */
int UNSTRIDE_LIBRARY(set_instruction_set)(const char *name);

/* All of the above as a table, with the layers. */
const unstride_library *UNSTRIDE_LIBRARY(library)(void);
/* END FUNCTIONS */
