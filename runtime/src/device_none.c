/* The processor itself as the device: buffers are host memory and there is nothing to prepare, fetch or
 * release. */

static void install_device_hooks(void) {}

static int probe_device(const unstride_layer *layer) {
    (void)layer;
    return UNSTRIDE_OK;
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
    (void)is_read;
    buffer->host = (uint8_t *)address;
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
