/* Where the runner's tensors live: in host memory, or copied to a CUDA device with -DRUNNER_CUDA.
 * Functions answer null, or the text of an error. */
#ifndef RUNNER_DEVICE_H
#define RUNNER_DEVICE_H

#ifndef RUNNER_CUDA

static const char *device_begin(unstride_arguments *arguments, size_t input_count, size_t output_count,
                                size_t packed_bytes) {
    (void)arguments, (void)input_count, (void)output_count, (void)packed_bytes;
    return NULL;
}
static const char *device_synchronize(void) {
    return NULL;
}
static const char *device_end(float *output, size_t output_count) {
    (void)output, (void)output_count;
    return NULL;
}

#else

#include <dlfcn.h>

/* The few driver functions that moving tensors takes; a non-zero result is an error. */
static struct {
    int (*init)(unsigned);
    int (*device_get)(int *, int);
    int (*context_retain)(void **, int);
    int (*context_set)(void *);
    int (*allocate)(uint64_t *, size_t);
    int (*to_device)(uint64_t, const void *, size_t);
    int (*to_host)(void *, uint64_t, size_t);
    int (*synchronize)(void);
} cuda;
static unstride_tensor device_input, device_add, device_output;

static const char *load_driver(void) {
    void *driver = dlopen("libcuda.so.1", RTLD_NOW);
    if (driver == NULL) driver = dlopen("libcuda.so", RTLD_NOW);
    if (driver == NULL) return "UNSTRIDE_NO_DRIVER: neither libcuda.so nor libcuda.so.1 can be loaded";
    static const char *const names[] = {"cuInit",          "cuDeviceGet",     "cuDevicePrimaryCtxRetain",
                                        "cuCtxSetCurrent", "cuMemAlloc_v2",   "cuMemcpyHtoD_v2",
                                        "cuMemcpyDtoH_v2", "cuCtxSynchronize"};
    void **functions = (void **)&cuda;
    for (int i = 0; i < 8; i++) {
        functions[i] = dlsym(driver, names[i]);
        if (functions[i] == NULL) return names[i];
    }
    return NULL;
}

static const char *copy_in(unstride_tensor *device, const unstride_tensor **host, size_t count) {
    uint64_t address = 0;
    if (*host == NULL) return NULL;
    if (cuda.allocate(&address, count * sizeof(float)) != 0) return "out of device memory";
    if (cuda.to_device(address, (*host)->data, count * sizeof(float)) != 0)
        return "a copy to the device failed";
    *device = **host;
    device->data = (float *)(uintptr_t)address;
    *host = device;
    return NULL;
}

static const char *device_begin(unstride_arguments *arguments, size_t input_count, size_t output_count,
                                size_t packed_bytes) {
    int device = 0;
    void *context = NULL;
    const char *error = load_driver();
    if (error != NULL) return error;
    if (cuda.init(0) != 0 || cuda.device_get(&device, 0) != 0)
        return "UNSTRIDE_NO_DEVICE: the driver reports no device";
    if (cuda.context_retain(&context, device) != 0 || cuda.context_set(context) != 0) return "no context";
    arguments->cuda_context = context;
    if ((error = copy_in(&device_input, &arguments->input, input_count)) != NULL) return error;
    if ((error = copy_in(&device_add, &arguments->add, output_count)) != NULL) return error;
    if ((error = copy_in(&device_output, &arguments->output, output_count)) != NULL) return error;
    if (packed_bytes == 0) return NULL;
    if (cuda.allocate(&arguments->packed_device, packed_bytes) != 0) return "out of device memory";
    return cuda.to_device(arguments->packed_device, arguments->packed, packed_bytes) != 0
               ? "a copy to the device failed"
               : NULL;
}
static const char *device_synchronize(void) {
    return cuda.synchronize() != 0 ? "the device reports a failure" : NULL;
}
static const char *device_end(float *output, size_t output_count) {
    return cuda.to_host(output, (uint64_t)(uintptr_t)device_output.data, output_count * sizeof(float)) != 0
               ? "a copy from the device failed"
               : NULL;
}

#endif

#endif
