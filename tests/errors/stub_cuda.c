/* A stand-in for the CUDA driver: enough to be probed, recording nothing but what it is asked to load. The environment
 * decides how it answers: STUB_CUDA_INIT is cuInit's code, STUB_DEVICES the number of devices, STUB_CUDA_CONTEXT whether
 * the calling thread has a current context. */
#include <stdint.h>
#include <stdlib.h>

static long number(const char *name, long otherwise) {
    const char *value = getenv(name);
    return value == NULL ? otherwise : strtol(value, NULL, 10);
}

int cuInit(unsigned flags) { return flags == 0 ? (int)number("STUB_CUDA_INIT", 0) : 1; }

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
