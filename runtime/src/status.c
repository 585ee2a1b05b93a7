/* Status codes as text, and the calling thread's last failure. */

#define UNSTRIDE_ERROR_BYTES 512

static _Thread_local char last_error_text[UNSTRIDE_ERROR_BYTES];

typedef struct status_words {
    const char *name, *text;
} status_words;

#define STATUS(code, text) [code] = {#code, text}
static const status_words status_table[] = {
    STATUS(UNSTRIDE_OK, "No error."),
    STATUS(UNSTRIDE_NULL_ARGUMENT, "A pointer that must be given is null."),
    STATUS(UNSTRIDE_WRONG_LAYER, "The layer does not belong to this library."),
    STATUS(UNSTRIDE_WRONG_RANK, "A tensor's rank is not the layer's."),
    STATUS(UNSTRIDE_WRONG_SHAPE, "A size differs from the layer's, or from what the input's sizes ask for."),
    STATUS(UNSTRIDE_EMPTY_TENSOR, "A spatial size is zero or negative."),
    STATUS(UNSTRIDE_WRONG_STRIDE,
           "A stride is negative, too small for the sizes inside it, or not 1 on the last axis."),
    STATUS(UNSTRIDE_SIZE_OVERFLOW, "Sizes or strides go beyond 2^31 - 1 elements."),
    STATUS(UNSTRIDE_OVERLAP, "The output overlaps memory that the call reads or works in."),
    STATUS(UNSTRIDE_MISALIGNED, "A pointer is not aligned as it must be."),
    STATUS(UNSTRIDE_NOT_PACKED, "The packed weights do not begin as this library's do."),
    STATUS(UNSTRIDE_FOREIGN_WEIGHTS, "The packed weights belong to another layer."),
    STATUS(UNSTRIDE_STALE_WEIGHTS,
           "The weights were packed by another version, schedule or instruction set of this layer."),
    STATUS(UNSTRIDE_BUFFER_TOO_SMALL, "Packed or scratch memory is smaller than its query says."),
    STATUS(UNSTRIDE_BAD_THREAD_COUNT, "The number of threads is negative or above 1024."),
    STATUS(UNSTRIDE_UNKNOWN_INSTRUCTION_SET, "The library has no variant of that name."),
    STATUS(UNSTRIDE_UNSUPPORTED_CPU, "This processor lacks the instructions asked for."),
    STATUS(UNSTRIDE_OUT_OF_MEMORY, "Memory could not be allocated."),
    STATUS(UNSTRIDE_NO_DRIVER, "The device's driver library cannot be loaded."),
    STATUS(UNSTRIDE_NO_DEVICE, "The driver reports no usable device."),
    STATUS(UNSTRIDE_DEVICE_FAILURE, "A driver call failed."),
    STATUS(UNSTRIDE_WRONG_ABI, "The header and the library are of different versions."),
    STATUS(UNSTRIDE_INTERNAL, "A check inside the generated code failed: a defect of the library."),
};
#undef STATUS

static const status_words *find_status(int status) {
    static const status_words unknown = {"UNSTRIDE_UNKNOWN_STATUS", "This is no status code of the library."};
    const int count = (int)(sizeof status_table / sizeof status_table[0]);
    return status >= 0 && status < count ? &status_table[status] : &unknown;
}

/* Stores the text for last_error and answers the code, so that a failure is one statement. */
__attribute__((format(printf, 2, 3))) static int fail(int status, const char *format, ...) {
    va_list values;
    va_start(values, format);
    vsnprintf(last_error_text, sizeof last_error_text, format, values);
    va_end(values);
    return status;
}

const char *UNSTRIDE_LIBRARY(status_name)(int status) {
    return find_status(status)->name;
}

const char *UNSTRIDE_LIBRARY(status_text)(int status) {
    return find_status(status)->text;
}

const char *UNSTRIDE_LIBRARY(last_error)(void) {
    return last_error_text;
}
