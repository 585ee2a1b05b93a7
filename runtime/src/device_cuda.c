/* The glue between a caller's CUDA context, stream and device addresses and Halide's CUDA runtime. The driver
 * is looked for at the first call that needs it, so the library links and answers codes where there is none.
 */

#define CUDA_SUCCESS_CODE 0

typedef int (*cuda_module_load_t)(void **module, const void *image, unsigned count, int *options,
                                  void **values);

static struct {
    pthread_mutex_t mutex;
    _Atomic(void *) driver; /* set once a driver is loaded and has a device */
    int (*context_get_current)(void **context);
    cuda_module_load_t module_load;
} cuda = {.mutex = PTHREAD_MUTEX_INITIALIZER};

/* Drivers install libcuda.so.1; libcuda.so is the name on some systems, but also that of the toolkit's
 * stand-in for linking, which can run nothing, so it comes second. */
static void *open_cuda_driver(void) {
    void *driver = dlopen("libcuda.so.1", RTLD_NOW | RTLD_LOCAL);
    return driver != NULL ? driver : dlopen("libcuda.so", RTLD_NOW | RTLD_LOCAL);
}

/* dlsym answers object pointers; POSIX has them hold functions too. */
static void find_function(void *driver, const char *name, void *function) {
    void *symbol = dlsym(driver, name);
    memcpy(function, &symbol, sizeof symbol);
}

static int probe_cuda_driver(const unstride_layer *layer, void *driver) {
    int (*initialise)(unsigned) = NULL;
    int (*count_devices)(int *) = NULL;
    int devices = 0;
    find_function(driver, "cuInit", &initialise);
    find_function(driver, "cuDeviceGetCount", &count_devices);
    find_function(driver, "cuCtxGetCurrent", &cuda.context_get_current);
    find_function(driver, "cuModuleLoadDataEx", &cuda.module_load);
    if (initialise == NULL || count_devices == NULL || cuda.context_get_current == NULL ||
        cuda.module_load == NULL)
        return fail(UNSTRIDE_NO_DRIVER, "%s: libcuda lacks functions of the driver interface", layer->name);
    int code = initialise(0);
    if (code != CUDA_SUCCESS_CODE)
        return fail(UNSTRIDE_NO_DEVICE, "%s: cuInit answered CUDA error %d", layer->name, code);
    code = count_devices(&devices);
    if (code != CUDA_SUCCESS_CODE || devices < 1)
        return fail(UNSTRIDE_NO_DEVICE, "%s: cuDeviceGetCount found %d devices (CUDA error %d)", layer->name,
                    devices, code);
    return UNSTRIDE_OK;
}

/* Loads the driver once; a failure is tried again by the next call. Comes before the checks of device
 * addresses, which nobody can have without a driver. */
static int probe_device(const unstride_layer *layer) {
    if (atomic_load(&cuda.driver) != NULL) return UNSTRIDE_OK;
    pthread_mutex_lock(&cuda.mutex);
    int status = UNSTRIDE_OK;
    if (atomic_load(&cuda.driver) == NULL) {
        void *driver = open_cuda_driver();
        if (driver == NULL) {
            status = fail(UNSTRIDE_NO_DRIVER, "%s: neither libcuda.so.1 nor libcuda.so can be loaded",
                          layer->name);
        } else {
            status = probe_cuda_driver(layer, driver);
            if (status == UNSTRIDE_OK)
                atomic_store(&cuda.driver, driver);
            else
                dlclose(driver);
        }
    }
    pthread_mutex_unlock(&cuda.mutex);
    return status;
}

static int prepare_device(call *self, const unstride_arguments *arguments) {
    self->cuda_context = arguments->cuda_context;
    self->cuda_stream = arguments->cuda_stream;
    if (self->cuda_context != NULL) return UNSTRIDE_OK;
    const int code = cuda.context_get_current(&self->cuda_context);
    if (code != CUDA_SUCCESS_CODE)
        return fail(UNSTRIDE_DEVICE_FAILURE, "%s: cuCtxGetCurrent answered CUDA error %d", self->layer->name,
                    code);
    if (self->cuda_context == NULL)
        return fail(UNSTRIDE_NO_DEVICE,
                    "%s: cuda_context is null and the calling thread has no current CUDA context",
                    self->layer->name);
    return UNSTRIDE_OK;
}

static uintptr_t packed_address(const unstride_arguments *arguments, const void *packed) {
    (void)packed;
    return (uintptr_t)arguments->packed_device;
}

static void place_buffer(halide_buffer_t *buffer, uintptr_t address, bool is_read) {
    buffer->device = address;
    buffer->device_interface = halide_cuda_device_interface();
    if (is_read) buffer->flags = HALIDE_BUFFER_DEVICE_DIRTY;
}

static int fetch_output(call *self, halide_buffer_t *output) {
    (void)self;
    (void)output;
    return 0;
}

static void release_buffer(call *self, halide_buffer_t *buffer) {
    (void)self;
    (void)buffer;
}

static void *load_cuda_library(const char *name) {
    (void)name;
    return atomic_load(&cuda.driver);
}

/* Halide 21 compiles every module for at most 64 registers a thread unless HL_CUDA_JIT_MAX_REGISTERS says
 * otherwise, which spills the accumulators of register tiles. Setting the variable would change the host
 * program's environment, so the option is replaced on its way to the driver: 128 registers, with which blocks
 * of 512 threads still fit the 65536 of a multiprocessor (tiles of 4x8 a thread take 64 to 114). A variable
 * that the user has set is left as it is. */
static int load_cuda_module(void **module, const void *image, unsigned count, int *options, void **values) {
    enum { jit_max_registers = 0, registers = 128 };
    for (unsigned i = 0; i < count && getenv("HL_CUDA_JIT_MAX_REGISTERS") == NULL; i++)
        if (options[i] == jit_max_registers) values[i] = (void *)(uintptr_t)registers;
    return cuda.module_load(module, image, count, options, values);
}

/* Stands in for a function that a driver lacks, since Halide calls what it did not find. */
static int answer_not_found(void) {
    enum { cuda_error_not_found = 500 };
    return cuda_error_not_found;
}

static void *find_cuda_symbol(void *library, const char *name) {
    (void)library;
    const cuda_module_load_t load_module = load_cuda_module;
    int (*const not_found)(void) = answer_not_found;
    void *driver = atomic_load(&cuda.driver), *symbol = NULL;
    if (driver == NULL) return NULL;
    if (strcmp(name, "cuModuleLoadDataEx") == 0)
        memcpy(&symbol, &load_module, sizeof symbol);
    else if ((symbol = dlsym(driver, name)) == NULL)
        memcpy(&symbol, &not_found, sizeof symbol);
    return symbol;
}

/* Without a call there is no context; that is so when Halide cleans up at exit, which then has nothing to do.
 */
static int acquire_cuda_context(void *user_context, void **context, bool create) {
    (void)create;
    *context = user_context == NULL ? NULL : ((const call *)user_context)->cuda_context;
    return CUDA_SUCCESS_CODE;
}

static int release_cuda_context(void *user_context) {
    (void)user_context;
    return CUDA_SUCCESS_CODE;
}

static int get_cuda_stream(void *user_context, void *context, void **stream) {
    (void)context;
    *stream = user_context == NULL ? NULL : ((const call *)user_context)->cuda_stream;
    return CUDA_SUCCESS_CODE;
}

static void install_device_hooks(void) {
    halide_set_custom_load_library(load_cuda_library);
    halide_set_custom_get_library_symbol(find_cuda_symbol);
    halide_set_cuda_acquire_context(acquire_cuda_context);
    halide_set_cuda_release_context(release_cuda_context);
    halide_set_cuda_get_stream(get_cuda_stream);
}
