/* Installs our functions in the library's private copy of Halide's runtime, once. */

static void print_nothing(void *user_context, const char *text) {
    (void)user_context;
    (void)text;
}

static void install_hooks(void) {
    halide_set_error_handler(keep_kernel_error);
    halide_set_custom_print(print_nothing);
    halide_set_custom_malloc(allocate_for_kernel);
    halide_set_custom_free(release_for_kernel);
    halide_set_custom_do_par_for(parallel_for);
    install_device_hooks();
    pthread_atfork(NULL, NULL, reset_threads_after_fork);
}

static void ensure_hooks(void) {
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, install_hooks);
}
