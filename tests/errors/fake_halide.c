/* Stands in for Halide's runtime inside a fake library: setters that keep the hooks, and device calls that
 * count. Included by fake_kernels.c; its names carry the library's name, since a real library hides its
 * runtime. */
#define halide_set_error_handler UNSTRIDE_LIBRARY(halide_set_error_handler)
#define halide_set_custom_print UNSTRIDE_LIBRARY(halide_set_custom_print)
#define halide_set_custom_malloc UNSTRIDE_LIBRARY(halide_set_custom_malloc)
#define halide_set_custom_free UNSTRIDE_LIBRARY(halide_set_custom_free)
#define halide_set_custom_do_par_for UNSTRIDE_LIBRARY(halide_set_custom_do_par_for)
#define halide_set_custom_load_library UNSTRIDE_LIBRARY(halide_set_custom_load_library)
#define halide_set_custom_get_library_symbol UNSTRIDE_LIBRARY(halide_set_custom_get_library_symbol)
#define halide_set_cuda_acquire_context UNSTRIDE_LIBRARY(halide_set_cuda_acquire_context)
#define halide_set_cuda_release_context UNSTRIDE_LIBRARY(halide_set_cuda_release_context)
#define halide_set_cuda_get_stream UNSTRIDE_LIBRARY(halide_set_cuda_get_stream)
#define halide_cuda_device_interface UNSTRIDE_LIBRARY(halide_cuda_device_interface)
#define halide_copy_to_host UNSTRIDE_LIBRARY(halide_copy_to_host)
#define halide_device_free UNSTRIDE_LIBRARY(halide_device_free)

#include "halide_abi.h"

static struct {
    halide_error_handler_t error;
    halide_print_t print;
    halide_malloc_t allocate;
    halide_free_t release;
    halide_do_par_for_t parallel_for;
    halide_load_library_t load_library;
    halide_get_library_symbol_t get_symbol;
    halide_cuda_acquire_context_t acquire_context;
    halide_cuda_release_context_t release_context;
    halide_cuda_get_stream_t get_stream;
} hooks;

#define SETTER(type, function, field)                                                                        \
    type function(type value) {                                                                              \
        type before = hooks.field;                                                                           \
        hooks.field = value;                                                                                 \
        return before;                                                                                       \
    }

SETTER(halide_error_handler_t, halide_set_error_handler, error)
SETTER(halide_print_t, halide_set_custom_print, print)
SETTER(halide_malloc_t, halide_set_custom_malloc, allocate)
SETTER(halide_free_t, halide_set_custom_free, release)
SETTER(halide_do_par_for_t, halide_set_custom_do_par_for, parallel_for)
SETTER(halide_load_library_t, halide_set_custom_load_library, load_library)
SETTER(halide_get_library_symbol_t, halide_set_custom_get_library_symbol, get_symbol)
SETTER(halide_cuda_acquire_context_t, halide_set_cuda_acquire_context, acquire_context)
SETTER(halide_cuda_release_context_t, halide_set_cuda_release_context, release_context)
SETTER(halide_cuda_get_stream_t, halide_set_cuda_get_stream, get_stream)

const struct halide_device_interface_t *halide_cuda_device_interface(void) {
    return (const struct halide_device_interface_t *)&hooks;
}

int halide_copy_to_host(void *user_context, struct halide_buffer_t *buffer) {
    (void)user_context;
    (void)buffer;
    fake.copies_back++;
    return 0;
}

int halide_device_free(void *user_context, struct halide_buffer_t *buffer) {
    (void)user_context;
    (void)buffer;
    fake.releases++;
    return 0;
}
