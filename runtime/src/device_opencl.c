/* The glue to Halide's OpenCL runtime: tensors are host memory, copied to the device for a call and back
 * after it. */

#define OPENCL_ALL_DEVICES UINT64_C(0xFFFFFFFF)
#define OPENCL_MAX_PLATFORMS 16

static struct {
    pthread_mutex_t mutex;
    _Atomic(void *) driver; /* set once a driver is loaded and has a device */
} opencl = {.mutex = PTHREAD_MUTEX_INITIALIZER};

static void find_function(void *driver, const char *name, void *function) {
    void *symbol = dlsym(driver, name);
    memcpy(function, &symbol, sizeof symbol);
}

static int probe_opencl_driver(const unstride_layer *layer, void *driver) {
    int32_t (*list_platforms)(uint32_t, void **, uint32_t *) = NULL;
    int32_t (*list_devices)(void *, uint64_t, uint32_t, void **, uint32_t *) = NULL;
    void *platforms[OPENCL_MAX_PLATFORMS];
    uint32_t platform_count = 0;
    find_function(driver, "clGetPlatformIDs", &list_platforms);
    find_function(driver, "clGetDeviceIDs", &list_devices);
    if (list_platforms == NULL || list_devices == NULL)
        return fail(UNSTRIDE_NO_DRIVER, "%s: libOpenCL lacks functions of the interface", layer->name);
    const int32_t code = list_platforms(OPENCL_MAX_PLATFORMS, platforms, &platform_count);
    for (uint32_t i = 0; code == 0 && i < platform_count && i < OPENCL_MAX_PLATFORMS; i++) {
        uint32_t devices = 0;
        if (list_devices(platforms[i], OPENCL_ALL_DEVICES, 0, NULL, &devices) == 0 && devices > 0)
            return UNSTRIDE_OK;
    }
    return fail(UNSTRIDE_NO_DEVICE, "%s: no device on any of %u OpenCL platforms (error %d)", layer->name,
                (unsigned)platform_count, (int)code);
}

static int probe_device(const unstride_layer *layer) {
    if (atomic_load(&opencl.driver) != NULL) return UNSTRIDE_OK;
    pthread_mutex_lock(&opencl.mutex);
    int status = UNSTRIDE_OK;
    if (atomic_load(&opencl.driver) == NULL) {
        void *driver = dlopen("libOpenCL.so.1", RTLD_NOW | RTLD_LOCAL);
        if (driver == NULL) driver = dlopen("libOpenCL.so", RTLD_NOW | RTLD_LOCAL);
        if (driver == NULL) {
            status = fail(UNSTRIDE_NO_DRIVER, "%s: neither libOpenCL.so.1 nor libOpenCL.so can be loaded",
                          layer->name);
        } else {
            status = probe_opencl_driver(layer, driver);
            if (status == UNSTRIDE_OK)
                atomic_store(&opencl.driver, driver);
            else
                dlclose(driver);
        }
    }
    pthread_mutex_unlock(&opencl.mutex);
    return status;
}

static int prepare_device(call *self, const unstride_arguments *arguments) {
    (void)self;
    (void)arguments;
    return UNSTRIDE_OK;
}

static uintptr_t packed_address(const unstride_arguments *arguments, const void *packed) {
    (void)arguments;
    return (uintptr_t)packed;
}

static void place_buffer(halide_buffer_t *buffer, uintptr_t address, bool is_read) {
    buffer->host = (uint8_t *)address;
    if (is_read) buffer->flags = HALIDE_BUFFER_HOST_DIRTY;
}

static int fetch_output(call *self, halide_buffer_t *output) {
    return halide_copy_to_host(self, output);
}

/* What a failing release has to say comes too late to matter: the result is already in the caller's memory.
 */
static void release_buffer(call *self, halide_buffer_t *buffer) {
    halide_device_free(self, buffer);
}

static void *load_opencl_library(const char *name) {
    (void)name;
    return atomic_load(&opencl.driver);
}

static void *find_opencl_symbol(void *library, const char *name) {
    (void)library;
    void *driver = atomic_load(&opencl.driver);
    return driver == NULL ? NULL : dlsym(driver, name);
}

static void install_device_hooks(void) {
    halide_set_custom_load_library(load_opencl_library);
    halide_set_custom_get_library_symbol(find_opencl_symbol);
}
