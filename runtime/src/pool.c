/* The library's own threads: one job at a time, done by the calling thread and by the workers that took a
 * seat before the calling thread closed the job. Whoever finds the pool busy works alone, so nested and
 * concurrent calls cannot wait for each other.
 *
 * A thread begins with its share of neighbouring tasks, the same in every call of a layer, so that weights
 * and tensors stay in its core's cache; then it claims what is left of the other shares. */

/* Workers look for the next job this long before they sleep: waking a sleeper costs several microseconds, and
 * the layers of a network follow each other faster than this. */
#define SPIN_NANOSECONDS 50000

/* Jobs that are too small to wake anybody do so after this many in a row: from then on the workers stay
 * awake. */
#define JOBS_IN_A_ROW 8

typedef struct pool_job {
    int (*task)(void *closure, int index);
    void *closure;
    int count;
} pool_job;

/* Tasks from `next` to `end`; each in a cache line of its own. The first share is the calling thread's. */
typedef struct share {
    _Alignas(64) atomic_int next;
    int end;
} share;

static struct {
    pthread_mutex_t mutex; /* for sleeping only */
    pthread_cond_t wake, done;
    atomic_flag busy;
    /* These belong to the holder of `busy`, and to workers from taking a seat to counting in `finished`. */
    pool_job job;
    int share_count;
    share shares[UNSTRIDE_MAX_THREADS];
    atomic_int seats, finished, result;
    atomic_int sleepers;
    atomic_bool caller_sleeps, stopping;
    /* These belong to the holder of `busy`. */
    int worker_count;
    int in_a_row;     /* jobs, each of which began soon after the one before it had ended */
    int64_t last_end; /* of a job */
    pthread_t workers[UNSTRIDE_MAX_THREADS - 1];
} pool = {.mutex = PTHREAD_MUTEX_INITIALIZER,
          .wake = PTHREAD_COND_INITIALIZER,
          .done = PTHREAD_COND_INITIALIZER,
          .busy = ATOMIC_FLAG_INIT};

static int64_t now_nanoseconds(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (int64_t)time.tv_sec * 1000000000 + time.tv_nsec;
}

static void spin_pause(void) {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

/* Whether `ready` came true within the spinning time; the clock is read once in 64 looks. */
static bool spin_until(bool (*ready)(int), int value) {
    const int64_t end = now_nanoseconds() + SPIN_NANOSECONDS;
    do {
        for (int i = 0; i < 64; i++) {
            if (ready(value)) return true;
            spin_pause();
        }
    } while (now_nanoseconds() < end);
    return false;
}

static void share_out(int count, int shares) {
    pool.share_count = shares;
    for (int i = 0; i < shares; i++) {
        atomic_store_explicit(&pool.shares[i].next, (int)((int64_t)count * i / shares), memory_order_relaxed);
        pool.shares[i].end = (int)((int64_t)count * (i + 1) / shares);
    }
}

static void work_on_share(const pool_job *job, share *of) {
    while (atomic_load_explicit(&pool.result, memory_order_relaxed) == 0) {
        const int index = atomic_fetch_add_explicit(&of->next, 1, memory_order_relaxed);
        if (index >= of->end) return;
        const int code = job->task(job->closure, index);
        int none = 0;
        if (code != 0) atomic_compare_exchange_strong(&pool.result, &none, code);
    }
}

static void work_on_job(int first_share) {
    const pool_job job = pool.job;
    const int count = pool.share_count;
    for (int i = 0; i < count; i++)
        work_on_share(&job, &pool.shares[(first_share + i) % count]);
}

static bool work_or_stop(int unused) {
    (void)unused;
    return atomic_load(&pool.seats) > 0 || atomic_load(&pool.stopping);
}

static bool all_finished(int joined) {
    return atomic_load(&pool.finished) == joined;
}

static bool take_seat(void) {
    int seats = atomic_load(&pool.seats);
    while (seats > 0)
        if (atomic_compare_exchange_weak(&pool.seats, &seats, seats - 1)) return true;
    return false;
}

/* Sleepers announce themselves before they look, and the caller opens seats before it looks for sleepers
 * (both sequentially consistent), so one of the two sees the other. The same holds for caller_sleeps and
 * finished. */
static void sleep_until_work(void) {
    pthread_mutex_lock(&pool.mutex);
    atomic_fetch_add(&pool.sleepers, 1);
    while (!work_or_stop(0))
        pthread_cond_wait(&pool.wake, &pool.mutex);
    atomic_fetch_sub(&pool.sleepers, 1);
    pthread_mutex_unlock(&pool.mutex);
}

static void *work_as_worker(void *number) {
    while (!atomic_load(&pool.stopping)) {
        if (take_seat()) {
            work_on_job(1 + (int)((intptr_t)number % (pool.share_count - 1)));
            atomic_fetch_add(&pool.finished, 1);
            if (atomic_load(&pool.caller_sleeps)) {
                pthread_mutex_lock(&pool.mutex);
                pthread_cond_signal(&pool.done);
                pthread_mutex_unlock(&pool.mutex);
            }
        } else if (!spin_until(work_or_stop, 0)) {
            sleep_until_work();
        }
    }
    return NULL;
}

/* Workers leave signals to the program's own threads, but those of a fault, which go to the thread that made
 * it and kill the process where that blocks them. With fewer workers than wanted, as when the system refuses
 * more, the job is merely slower. */
static void grow_pool(int workers) {
    if (pool.worker_count >= workers) return;
    static const int faults[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGSYS};
    sigset_t blocked, before;
    sigfillset(&blocked);
    for (size_t i = 0; i < sizeof faults / sizeof faults[0]; i++)
        sigdelset(&blocked, faults[i]);
    pthread_sigmask(SIG_SETMASK, &blocked, &before);
    while (pool.worker_count < workers &&
           pthread_create(&pool.workers[pool.worker_count], NULL, work_as_worker,
                          (void *)(intptr_t)pool.worker_count) == 0)
        pool.worker_count++;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
}

static int awake_workers(void) {
    return pool.worker_count - atomic_load(&pool.sleepers);
}

/* Those that are awake look for seats by themselves. */
static void wake_workers(int wanted) {
    const int missing = wanted - awake_workers();
    if (missing <= 0) return;
    pthread_mutex_lock(&pool.mutex);
    if (missing >= atomic_load(&pool.sleepers)) {
        pthread_cond_broadcast(&pool.wake);
    } else {
        for (int i = 0; i < missing; i++)
            pthread_cond_signal(&pool.wake);
    }
    pthread_mutex_unlock(&pool.mutex);
}

static void wait_for_workers(int joined) {
    if (all_finished(joined) || spin_until(all_finished, joined)) return;
    pthread_mutex_lock(&pool.mutex);
    atomic_store(&pool.caller_sleeps, true);
    while (!all_finished(joined))
        pthread_cond_wait(&pool.done, &pool.mutex);
    atomic_store(&pool.caller_sleeps, false);
    pthread_mutex_unlock(&pool.mutex);
}

static int run_alone(const pool_job *job) {
    for (int i = 0; i < job->count; i++) {
        const int code = job->task(job->closure, i);
        if (code != 0) return code;
    }
    return 0;
}

static int run_together(const pool_job *job, int threads) {
    grow_pool(threads - 1);
    const int seats = threads - 1 < pool.worker_count ? threads - 1 : pool.worker_count;
    pool.job = *job;
    share_out(job->count, seats + 1);
    atomic_store(&pool.result, 0);
    atomic_store(&pool.finished, 0);
    atomic_store(&pool.seats, seats);
    wake_workers(seats);
    work_on_job(0);
    wait_for_workers(seats - atomic_exchange(&pool.seats, 0));
    return atomic_load(&pool.result);
}

/* Runs the tasks on at most `threads` threads, the calling one included; 0 or the first non-zero result. A
 * job that does not wake workers is shared with those that are awake. */
static int pool_run(const pool_job *job, int threads, bool wakes) {
    if (threads > job->count) threads = job->count;
    if (threads <= 1 || atomic_flag_test_and_set(&pool.busy)) return run_alone(job);
    const bool follows = now_nanoseconds() - pool.last_end < SPIN_NANOSECONDS;
    if (!follows) pool.in_a_row = 0;
    if (pool.in_a_row < JOBS_IN_A_ROW) pool.in_a_row++;
    if (!wakes && pool.in_a_row < JOBS_IN_A_ROW) {
        const int awake = 1 + awake_workers();
        if (threads > awake) threads = awake;
    }
    const int result = threads <= 1 ? run_alone(job) : run_together(job, threads);
    pool.last_end = now_nanoseconds();
    atomic_flag_clear(&pool.busy);
    return result;
}

/* After fork() the child has none of the workers, and locks may be held by threads that it does not have. */
static void reset_pool_after_fork(void) {
    pool.mutex = (pthread_mutex_t)PTHREAD_MUTEX_INITIALIZER;
    pool.wake = (pthread_cond_t)PTHREAD_COND_INITIALIZER;
    pool.done = (pthread_cond_t)PTHREAD_COND_INITIALIZER;
    atomic_store(&pool.seats, 0);
    atomic_store(&pool.sleepers, 0);
    atomic_store(&pool.caller_sleeps, false);
    pool.worker_count = 0;
    atomic_flag_clear(&pool.busy);
}

/* For programs that unload a shared object with this library in it: no worker may outlive its code. `busy`
 * stays taken, so that calls made later still work, alone. A job in flight keeps its workers. */
__attribute__((destructor)) static void stop_pool(void) {
    if (atomic_flag_test_and_set(&pool.busy)) return;
    pthread_mutex_lock(&pool.mutex);
    atomic_store(&pool.stopping, true);
    pthread_cond_broadcast(&pool.wake);
    pthread_mutex_unlock(&pool.mutex);
    for (int i = 0; i < pool.worker_count; i++)
        pthread_join(pool.workers[i], NULL);
    pool.worker_count = 0;
}
