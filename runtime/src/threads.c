/* How many threads a call gets: the settings, and which layers are too small to share. */

/* A second thread that sleeps pays from about 40 us of work on (measured with two cores of a
 * Sapphire-Rapids-class Xeon: waking and joining costs 5 to 10 us, and uneven shares the rest; up to 60 us in
 * a virtual machine). Each thread must therefore have this much, by an estimate that is rarely slower than
 * the processor: a layer estimated at 40 us mostly takes longer, and then gains still more. One that still
 * looks for work takes it over within a microsecond. */
#define MICROSECONDS_PER_SLEEPING_THREAD 20.0
#define MICROSECONDS_PER_THREAD 6.0

/* Multiplications in a microsecond on one core: between what was measured on that machine (105 GFLOP/s of
 * them with AVX-512, 57 with AVX2) and on Zen 4 (59 with either); narrower sets are taken at four lanes, two
 * fused operations a cycle, 2.5 GHz. */
static double multiplications_per_microsecond(uint32_t requirement) {
    if (requirement & UNSTRIDE_CPU_AVX512) return 75000.0;
    if (requirement & UNSTRIDE_CPU_AVX2_FMA) return 57000.0;
    return 20000.0;
}

/* Layers with few multiplications are bound by storing the output: 28 GB/s of reading and writing were
 * measured on one core of the first machine, 45 on one of the second, of which the output is about half. */
#define OUTPUTS_PER_MICROSECOND 5500.0

/* Small images with many channels are bound by reading the weights: from the L3 cache at 20 GB/s on one core
 * of the first machine, at 94 on one of the second. */
#define WEIGHT_BYTES_PER_MICROSECOND 90000.0

static struct {
    pthread_mutex_t mutex;
    unstride_parallel parallel; /* guarded by mutex; parallel_for is null where none is plugged in */
    atomic_int threads;         /* 0: not yet asked */
} settings = {.mutex = PTHREAD_MUTEX_INITIALIZER};

static int available_processors(void) {
    cpu_set_t set;
    long count =
        sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : sysconf(_SC_NPROCESSORS_ONLN);
    if (count < 1) count = 1;
    return count > UNSTRIDE_MAX_THREADS ? UNSTRIDE_MAX_THREADS : (int)count;
}

static int default_threads(void) {
    int threads = atomic_load_explicit(&settings.threads, memory_order_relaxed);
    if (threads != 0) return threads;
    const int available = available_processors();
    return atomic_compare_exchange_strong(&settings.threads, &threads, available) ? available : threads;
}

static int check_thread_count(const char *what, int threads) {
    if (threads >= 0 && threads <= UNSTRIDE_MAX_THREADS) return UNSTRIDE_OK;
    return fail(UNSTRIDE_BAD_THREAD_COUNT, "%s: %d threads, at most %d can be asked for", what, threads,
                UNSTRIDE_MAX_THREADS);
}

static int check_parallel(const char *what, const unstride_parallel *parallel) {
    if (parallel->parallel_for == NULL)
        return fail(UNSTRIDE_NULL_ARGUMENT, "%s: parallel: parallel_for is null", what);
    if (parallel->concurrency >= 1 && parallel->concurrency <= UNSTRIDE_MAX_THREADS) return UNSTRIDE_OK;
    return fail(UNSTRIDE_BAD_THREAD_COUNT, "%s: parallel: a concurrency of %d, it must be 1 to %d", what,
                parallel->concurrency, UNSTRIDE_MAX_THREADS);
}

static unstride_parallel plugged_in_parallel(void) {
    pthread_mutex_lock(&settings.mutex);
    const unstride_parallel parallel = settings.parallel;
    pthread_mutex_unlock(&settings.mutex);
    return parallel;
}

/* Tasks that may run at a time for the number a caller gave, before the size of the layer is considered. A
 * caller's own threads take all tasks at once, so that only their concurrency bounds them. */
static int requested_tasks(const unstride_parallel *parallel, int threads) {
    if (threads == 1) return 1;
    if (parallel->parallel_for != NULL) return parallel->concurrency;
    return threads == 0 ? default_threads() : threads;
}

/* What a layer with that many outputs takes on one thread, about. */
static double estimated_microseconds(const unstride_layer *layer, const unstride_kernel *kernel,
                                     uint32_t requirement, double outputs) {
    const double weight_bytes = (double)layout_packed(layer, kernel).total_bytes / plan_of(layer)->groups;
    const double limits[] = {layer->multiplications_per_output * outputs /
                                 multiplications_per_microsecond(requirement),
                             outputs / OUTPUTS_PER_MICROSECOND, weight_bytes / WEIGHT_BYTES_PER_MICROSECOND};
    double longest = limits[0];
    for (size_t i = 1; i < sizeof limits / sizeof limits[0]; i++)
        if (limits[i] > longest) longest = limits[i];
    return longest;
}

/* Threads that have enough to do; 1 for small layers. */
static int useful_threads(double microseconds, int requested) {
    const double threads = microseconds / MICROSECONDS_PER_THREAD;
    if (threads >= requested) return requested;
    return threads < 2.0 ? 1 : (int)threads;
}

static bool worth_waking(double microseconds) {
    return microseconds >= 2 * MICROSECONDS_PER_SLEEPING_THREAD;
}

/* A Halide parallel loop as the task of a job. */
typedef struct halide_loop {
    halide_task_t task;
    void *user_context;
    int min;
    uint8_t *closure;
} halide_loop;

static int run_loop_task(void *closure, int index) {
    const halide_loop *loop = closure;
    return loop->task(loop->user_context, loop->min + index, loop->closure);
}

static int parallel_for(void *user_context, halide_task_t task, int min, int count, uint8_t *closure) {
    const call *self = user_context;
    halide_loop loop = {task, user_context, min, closure};
    const pool_job job = {run_loop_task, &loop, count};
    if (self == NULL || self->concurrency <= 1 || count <= 1) return run_alone(&job);
    if (self->parallel.parallel_for != NULL)
        return self->parallel.parallel_for(self->parallel.context, run_loop_task, count, &loop);
    return pool_run(&job, self->concurrency, self->wakes_threads);
}

static void reset_threads_after_fork(void) {
    settings.mutex = (pthread_mutex_t)PTHREAD_MUTEX_INITIALIZER;
    reset_pool_after_fork();
}

int UNSTRIDE_LIBRARY(set_threads)(int threads) {
    const int status = check_thread_count("set_threads", threads);
    if (status == UNSTRIDE_OK)
        atomic_store(&settings.threads, threads == 0 ? available_processors() : threads);
    return status;
}

int UNSTRIDE_LIBRARY(threads)(void) {
    return default_threads();
}

int UNSTRIDE_LIBRARY(set_parallel_for)(const unstride_parallel *parallel) {
    const unstride_parallel none = {0};
    const int status = parallel == NULL ? UNSTRIDE_OK : check_parallel("set_parallel_for", parallel);
    if (status != UNSTRIDE_OK) return status;
    pthread_mutex_lock(&settings.mutex);
    settings.parallel = parallel == NULL ? none : *parallel;
    pthread_mutex_unlock(&settings.mutex);
    return UNSTRIDE_OK;
}
