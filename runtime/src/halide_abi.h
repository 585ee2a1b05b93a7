/* The part of Halide 21's C interface that generated kernels and their runtime share with us, declared here
 * so that a library is built without Halide's headers. tests/errors/halide_abi_test.cpp compares it with
 * HalideRuntime.h. */
#ifndef UNSTRIDE_HALIDE_ABI_H
#define UNSTRIDE_HALIDE_ABI_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define HALIDE_TYPE_CODE_FLOAT 2
#define HALIDE_BUFFER_HOST_DIRTY 1u
#define HALIDE_BUFFER_DEVICE_DIRTY 2u

#define HALIDE_ERROR_GENERIC (-1)
#define HALIDE_ERROR_OUT_OF_MEMORY (-11)
#define HALIDE_ERROR_COPY_TO_HOST_FAILED (-14)
#define HALIDE_ERROR_COPY_TO_DEVICE_FAILED (-15)
#define HALIDE_ERROR_DEVICE_MALLOC_FAILED (-16)
#define HALIDE_ERROR_DEVICE_SYNC_FAILED (-17)
#define HALIDE_ERROR_DEVICE_FREE_FAILED (-18)
#define HALIDE_ERROR_SYMBOL_NOT_FOUND (-21)
#define HALIDE_ERROR_DEVICE_RUN_FAILED (-23)
#define HALIDE_ERROR_GPU_DEVICE_ERROR (-29)
#define HALIDE_ERROR_DEVICE_BUFFER_COPY_FAILED (-39)

typedef struct halide_type_t {
    uint8_t code;
    uint8_t bits;
    uint16_t lanes;
} halide_type_t;

typedef struct halide_dimension_t {
    int32_t min, extent, stride;
    uint32_t flags;
} halide_dimension_t;

struct halide_device_interface_t;

typedef struct halide_buffer_t {
    uint64_t device;
    const struct halide_device_interface_t *device_interface;
    uint8_t *host;
    uint64_t flags;
    halide_type_t type;
    int32_t dimensions;
    halide_dimension_t *dim;
    void *padding;
} halide_buffer_t;

typedef void (*halide_error_handler_t)(void *user_context, const char *text);
typedef void (*halide_print_t)(void *user_context, const char *text);
typedef void *(*halide_malloc_t)(void *user_context, size_t bytes);
typedef void (*halide_free_t)(void *user_context, void *pointer);
typedef int (*halide_task_t)(void *user_context, int index, uint8_t *closure);
typedef int (*halide_do_par_for_t)(void *user_context, halide_task_t task, int min, int count,
                                   uint8_t *closure);
typedef void *(*halide_load_library_t)(const char *name);
typedef void *(*halide_get_library_symbol_t)(void *library, const char *name);
typedef int (*halide_cuda_acquire_context_t)(void *user_context, void **context, bool create);
typedef int (*halide_cuda_release_context_t)(void *user_context);
typedef int (*halide_cuda_get_stream_t)(void *user_context, void *context, void **stream);

halide_error_handler_t halide_set_error_handler(halide_error_handler_t handler);
halide_print_t halide_set_custom_print(halide_print_t print);
halide_malloc_t halide_set_custom_malloc(halide_malloc_t allocate);
halide_free_t halide_set_custom_free(halide_free_t release);
halide_do_par_for_t halide_set_custom_do_par_for(halide_do_par_for_t parallel_for);

/* In the runtimes of device libraries only. */
halide_load_library_t halide_set_custom_load_library(halide_load_library_t load);
halide_get_library_symbol_t halide_set_custom_get_library_symbol(halide_get_library_symbol_t find);
int halide_copy_to_host(void *user_context, struct halide_buffer_t *buffer);
int halide_device_free(void *user_context, struct halide_buffer_t *buffer);
const struct halide_device_interface_t *halide_cuda_device_interface(void);
halide_cuda_acquire_context_t halide_set_cuda_acquire_context(halide_cuda_acquire_context_t handler);
halide_cuda_release_context_t halide_set_cuda_release_context(halide_cuda_release_context_t handler);
halide_cuda_get_stream_t halide_set_cuda_get_stream(halide_cuda_get_stream_t handler);

#ifdef __cplusplus
}
#endif

#endif
