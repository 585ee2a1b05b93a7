/* A stand-in for the CUDA driver: enough to be probed and for Halide's runtime to launch kernels that do
 * nothing. The environment decides how it answers: STUB_CUDA_INIT is cuInit's code, STUB_DEVICES the number
 * of devices, STUB_CUDA_CONTEXT the calling thread's current context, STUB_CUDA_LAUNCH the code of a launch.
 */
#include <stdint.h>
#include <stdlib.h>

static long number(const char *name, long otherwise) {
    const char *value = getenv(name);
    return value == NULL ? otherwise : strtol(value, NULL, 10);
}

int cuInit(unsigned flags) {
    return flags == 0 ? (int)number("STUB_CUDA_INIT", 0) : 1;
}

int cuDeviceGetCount(int *count) {
    *count = (int)number("STUB_DEVICES", 1);
    return 0;
}

int cuCtxGetCurrent(void **context) {
    *context = (void *)(uintptr_t)number("STUB_CUDA_CONTEXT", 0);
    return 0;
}

/* Answers the value of the option it was given as the module. */
int cuModuleLoadDataEx(void **module, const void *image, unsigned count, int *options, void **values) {
    (void)image;
    *module = count == 1 && options[0] == 0 ? values[0] : NULL;
    return 0;
}

int cuCtxPushCurrent_v2(void *context) {
    return context == NULL;
}

int cuCtxPopCurrent_v2(void **context) {
    *context = NULL;
    return 0;
}

int cuModuleGetFunction(void **function, void *module, const char *name) {
    *function = module;
    return name == NULL;
}

int cuModuleUnload(void *module) {
    (void)module;
    return 0;
}

int cuLaunchKernel(void *function, unsigned blocks_x, unsigned blocks_y, unsigned blocks_z,
                   unsigned threads_x, unsigned threads_y, unsigned threads_z, unsigned shared_bytes,
                   void *stream, void **arguments, void **extra) {
    (void)shared_bytes, (void)stream, (void)arguments, (void)extra;
    if (function == NULL || blocks_x * blocks_y * blocks_z * threads_x * threads_y * threads_z == 0) return 1;
    return (int)number("STUB_CUDA_LAUNCH", 0);
}
