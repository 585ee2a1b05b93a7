/* A stand-in for the OpenCL loader: one platform with STUB_DEVICES devices. */
#include <stdint.h>
#include <stdlib.h>

int32_t clGetPlatformIDs(uint32_t room, void **platforms, uint32_t *count) {
    if (room > 0) platforms[0] = NULL;
    *count = 1;
    return 0;
}

int32_t clGetDeviceIDs(void *platform, uint64_t type, uint32_t room, void **devices, uint32_t *count) {
    const char *value = getenv("STUB_DEVICES");
    (void)platform;
    (void)type;
    (void)room;
    (void)devices;
    *count = value == NULL ? 1 : (uint32_t)strtoul(value, NULL, 10);
    return 0;
}
