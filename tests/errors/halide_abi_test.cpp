// Our own declarations of Halide's C interface against the real header: sizes, offsets, codes and signatures.
// Ours are renamed by macros, so that both can be seen at once.
#include <HalideRuntime.h>
#include <HalideRuntimeCuda.h>
#include <HalideRuntimeOpenCL.h>

#define halide_type_t ours_type_t
#define halide_dimension_t ours_dimension_t
#define halide_buffer_t ours_buffer_t
#define halide_device_interface_t ours_device_interface_t
#define halide_error_handler_t ours_error_handler_t
#define halide_print_t ours_print_t
#define halide_malloc_t ours_malloc_t
#define halide_free_t ours_free_t
#define halide_task_t ours_task_t
#define halide_do_par_for_t ours_do_par_for_t
#define halide_load_library_t ours_load_library_t
#define halide_get_library_symbol_t ours_get_library_symbol_t
#define halide_cuda_acquire_context_t ours_cuda_acquire_context_t
#define halide_cuda_release_context_t ours_cuda_release_context_t
#define halide_cuda_get_stream_t ours_cuda_get_stream_t
#define halide_set_error_handler ours_set_error_handler
#define halide_set_custom_print ours_set_custom_print
#define halide_set_custom_malloc ours_set_custom_malloc
#define halide_set_custom_free ours_set_custom_free
#define halide_set_custom_do_par_for ours_set_custom_do_par_for
#define halide_set_custom_load_library ours_set_custom_load_library
#define halide_set_custom_get_library_symbol ours_set_custom_get_library_symbol
#define halide_copy_to_host ours_copy_to_host
#define halide_device_free ours_device_free
#define halide_cuda_device_interface ours_cuda_device_interface
#define halide_set_cuda_acquire_context ours_set_cuda_acquire_context
#define halide_set_cuda_release_context ours_set_cuda_release_context
#define halide_set_cuda_get_stream ours_set_cuda_get_stream
#include "halide_abi.h"
#undef halide_type_t
#undef halide_dimension_t
#undef halide_buffer_t
#undef halide_device_interface_t
#undef halide_error_handler_t
#undef halide_print_t
#undef halide_malloc_t
#undef halide_free_t
#undef halide_task_t
#undef halide_do_par_for_t
#undef halide_load_library_t
#undef halide_get_library_symbol_t
#undef halide_cuda_acquire_context_t
#undef halide_cuda_release_context_t
#undef halide_cuda_get_stream_t
#undef halide_set_error_handler
#undef halide_set_custom_print
#undef halide_set_custom_malloc
#undef halide_set_custom_free
#undef halide_set_custom_do_par_for
#undef halide_set_custom_load_library
#undef halide_set_custom_get_library_symbol
#undef halide_copy_to_host
#undef halide_device_free
#undef halide_cuda_device_interface
#undef halide_set_cuda_acquire_context
#undef halide_set_cuda_release_context
#undef halide_set_cuda_get_stream

#include <gtest/gtest.h>

#include <cstddef>
#include <type_traits>

namespace {

#define SAME_LAYOUT(type)                                                                                    \
    static_assert(sizeof(ours_##type) == sizeof(halide_##type) &&                                            \
                  alignof(ours_##type) == alignof(halide_##type))
#define SAME_FIELD(type, field)                                                                              \
    static_assert(offsetof(ours_##type, field) == offsetof(halide_##type, field));                           \
    static_assert(sizeof(ours_##type::field) == sizeof(halide_##type::field))
#define SAME_SIGNATURE(type) static_assert(std::is_same_v<ours_##type, halide_##type>)
#define SAME_SETTER(function)                                                                                \
    static_assert(std::is_same_v<decltype(&ours_##function), decltype(&halide_##function)>)

SAME_LAYOUT(type_t);
SAME_FIELD(type_t, code);
SAME_FIELD(type_t, bits);
SAME_FIELD(type_t, lanes);
SAME_LAYOUT(dimension_t);
SAME_FIELD(dimension_t, min);
SAME_FIELD(dimension_t, extent);
SAME_FIELD(dimension_t, stride);
SAME_FIELD(dimension_t, flags);
SAME_LAYOUT(buffer_t);
SAME_FIELD(buffer_t, device);
SAME_FIELD(buffer_t, device_interface);
SAME_FIELD(buffer_t, host);
SAME_FIELD(buffer_t, flags);
SAME_FIELD(buffer_t, type);
SAME_FIELD(buffer_t, dimensions);
SAME_FIELD(buffer_t, dim);
SAME_FIELD(buffer_t, padding);

SAME_SIGNATURE(error_handler_t);
SAME_SIGNATURE(print_t);
SAME_SIGNATURE(malloc_t);
SAME_SIGNATURE(free_t);
SAME_SIGNATURE(task_t);
SAME_SIGNATURE(do_par_for_t);
SAME_SIGNATURE(load_library_t);
SAME_SIGNATURE(get_library_symbol_t);
SAME_SIGNATURE(cuda_acquire_context_t);
SAME_SIGNATURE(cuda_release_context_t);
SAME_SIGNATURE(cuda_get_stream_t);

SAME_SETTER(set_error_handler);
SAME_SETTER(set_custom_print);
SAME_SETTER(set_custom_malloc);
SAME_SETTER(set_custom_free);
SAME_SETTER(set_custom_do_par_for);
SAME_SETTER(set_custom_load_library);
SAME_SETTER(set_custom_get_library_symbol);
SAME_SETTER(set_cuda_acquire_context);
SAME_SETTER(set_cuda_release_context);
SAME_SETTER(set_cuda_get_stream);

// Functions that take or give Halide's own structures: the same but for the names of those.
static_assert(std::is_same_v<decltype(&halide_copy_to_host), int (*)(void *, halide_buffer_t *)>);
static_assert(std::is_same_v<decltype(&ours_copy_to_host), int (*)(void *, ours_buffer_t *)>);
static_assert(std::is_same_v<decltype(&halide_device_free), int (*)(void *, halide_buffer_t *)>);
static_assert(std::is_same_v<decltype(&ours_device_free), int (*)(void *, ours_buffer_t *)>);
static_assert(
    std::is_same_v<decltype(&halide_cuda_device_interface), const halide_device_interface_t *(*)()>);
static_assert(std::is_same_v<decltype(&ours_cuda_device_interface), const ours_device_interface_t *(*)()>);

TEST(HalideAbi, CodesAreTheSame) {
    EXPECT_EQ(HALIDE_TYPE_CODE_FLOAT, halide_type_float);
    EXPECT_EQ(HALIDE_BUFFER_HOST_DIRTY, static_cast<unsigned>(halide_buffer_flag_host_dirty));
    EXPECT_EQ(HALIDE_BUFFER_DEVICE_DIRTY, static_cast<unsigned>(halide_buffer_flag_device_dirty));
    EXPECT_EQ(HALIDE_ERROR_GENERIC, halide_error_code_generic_error);
    EXPECT_EQ(HALIDE_ERROR_OUT_OF_MEMORY, halide_error_code_out_of_memory);
    EXPECT_EQ(HALIDE_ERROR_COPY_TO_HOST_FAILED, halide_error_code_copy_to_host_failed);
    EXPECT_EQ(HALIDE_ERROR_COPY_TO_DEVICE_FAILED, halide_error_code_copy_to_device_failed);
    EXPECT_EQ(HALIDE_ERROR_DEVICE_MALLOC_FAILED, halide_error_code_device_malloc_failed);
    EXPECT_EQ(HALIDE_ERROR_DEVICE_SYNC_FAILED, halide_error_code_device_sync_failed);
    EXPECT_EQ(HALIDE_ERROR_DEVICE_FREE_FAILED, halide_error_code_device_free_failed);
    EXPECT_EQ(HALIDE_ERROR_SYMBOL_NOT_FOUND, halide_error_code_symbol_not_found);
    EXPECT_EQ(HALIDE_ERROR_DEVICE_RUN_FAILED, halide_error_code_device_run_failed);
    EXPECT_EQ(HALIDE_ERROR_GPU_DEVICE_ERROR, halide_error_code_gpu_device_error);
    EXPECT_EQ(HALIDE_ERROR_DEVICE_BUFFER_COPY_FAILED, halide_error_code_device_buffer_copy_failed);
}

} // namespace
