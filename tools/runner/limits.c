/* Twelve independent chains hide the latency of every processor in use; separate variables, since an array of
 * vectors would live in memory. */
#include "limits.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#if defined(__x86_64__)
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif

#define CHAINS 12
#define STEPS 100000

/* Runs STEP on twelve variables of TYPE, STEPS times over. The empty assembly keeps each chain as it is
 * written. */
#define RUN_CHAINS(TYPE, ZERO, STEP)                                                                         \
    TYPE a = ZERO, b = ZERO, c = ZERO, d = ZERO, e = ZERO, f = ZERO;                                         \
    TYPE g = ZERO, h = ZERO, i = ZERO, j = ZERO, k = ZERO, l = ZERO;                                         \
    for (int n = 0; n < STEPS; n++) {                                                                        \
        a = STEP(a), b = STEP(b), c = STEP(c), d = STEP(d), e = STEP(e), f = STEP(f);                        \
        g = STEP(g), h = STEP(h), i = STEP(i), j = STEP(j), k = STEP(k), l = STEP(l);                        \
        __asm__ volatile("" : KEEP(a), KEEP(b), KEEP(c), KEEP(d), KEEP(e), KEEP(f));                         \
        __asm__ volatile("" : KEEP(g), KEEP(h), KEEP(i), KEEP(j), KEEP(k), KEEP(l));                         \
    }

typedef struct probe {
    const char *instruction_set;
    void (*run)(void);
    int lanes;
} probe;

#if defined(__x86_64__)

#define KEEP(x) "+v"(x)
#define STEP(x) _mm512_fmadd_ps(x, factor, term)
__attribute__((target("avx512f"))) static void run_avx512(void) {
    const __m512 factor = _mm512_set1_ps(0.999f), term = _mm512_set1_ps(0.001f);
    RUN_CHAINS(__m512, _mm512_setzero_ps(), STEP)
}
#undef STEP
#undef KEEP

#define KEEP(x) "+x"(x)
#define STEP(x) _mm256_fmadd_ps(x, factor, term)
__attribute__((target("avx2,fma"))) static void run_avx2(void) {
    const __m256 factor = _mm256_set1_ps(0.999f), term = _mm256_set1_ps(0.001f);
    RUN_CHAINS(__m256, _mm256_setzero_ps(), STEP)
}
#undef STEP

#define STEP(x) _mm_add_ps(_mm_mul_ps(x, factor), term)
static void run_sse41(void) {
    const __m128 factor = _mm_set1_ps(0.999f), term = _mm_set1_ps(0.001f);
    RUN_CHAINS(__m128, _mm_setzero_ps(), STEP)
}
#undef STEP
#undef KEEP

static const probe probes[] = {{"avx512", run_avx512, 16}, {"avx2", run_avx2, 8}, {"sse41", run_sse41, 4}};

#elif defined(__aarch64__)

#define KEEP(x) "+w"(x)
#define STEP(x) vfmaq_f32(term, x, factor)
static void run_neon(void) {
    const float32x4_t factor = vdupq_n_f32(0.999f), term = vdupq_n_f32(0.001f);
    RUN_CHAINS(float32x4_t, vdupq_n_f32(0), STEP)
}
#undef STEP
#undef KEEP

static const probe probes[] = {{"neon", run_neon, 4}};

#endif

static double seconds_now(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

/* Work of several threads that begin together. */
typedef struct team {
    void (*work)(const void *context, size_t begin, size_t end);
    const void *context;
    size_t count;
    int threads;
    atomic_int waiting;
} team;

typedef struct member {
    team *of;
    int index;
    double seconds; /* that its part took */
    pthread_t thread;
} member;

static void *run_member(void *argument) {
    member *self = argument;
    team *of = self->of;
    const size_t part = of->count / (size_t)of->threads, begin = (size_t)self->index * part;
    atomic_fetch_sub(&of->waiting, 1);
    while (atomic_load(&of->waiting) > 0) {
    }
    const double start = seconds_now();
    of->work(of->context, begin, self->index + 1 == of->threads ? of->count : begin + part);
    self->seconds = seconds_now() - start;
    return NULL;
}

/* Calls work on `threads` parts of 0..count at once. Answers the members, to be freed, or null. */
static member *run_team(void (*work)(const void *, size_t, size_t), const void *context, size_t count,
                        int threads) {
    team of = {work, context, count, threads, threads};
    member *members = calloc((size_t)threads, sizeof *members);
    int started = 1;
    if (members == NULL) return NULL;
    for (int i = 0; i < threads; i++) {
        members[i].of = &of;
        members[i].index = i;
    }
    while (started < threads &&
           pthread_create(&members[started].thread, NULL, run_member, &members[started]) == 0)
        started++;
    if (started < threads) atomic_store(&of.waiting, 0);
    run_member(&members[0]);
    for (int i = 1; i < started; i++)
        pthread_join(members[i].thread, NULL);
    if (started == threads) return members;
    free(members);
    return NULL;
}

static void run_probe(const void *context, size_t begin, size_t end) {
    (void)begin, (void)end;
    ((const probe *)context)->run();
}

double multiply_add_peak(const char *instruction_set, int threads) {
    double sum = 0;
    for (size_t i = 0; i < sizeof probes / sizeof *probes; i++) {
        if (strcmp(probes[i].instruction_set, instruction_set) != 0) continue;
        member *members = run_team(run_probe, &probes[i], 0, threads);
        for (int t = 0; members != NULL && t < threads; t++)
            sum += 2.0 * CHAINS * STEPS * probes[i].lanes / members[t].seconds * 1e-9;
        free(members);
    }
    return sum;
}

typedef struct move {
    const float *source; /* null: fill */
    float *target;
} move;

static void run_move(const void *context, size_t begin, size_t end) {
    const move *what = context;
    if (what->source == NULL) {
        memset(what->target + begin, 1, (end - begin) * sizeof(float));
    } else {
        memcpy(what->target + begin, what->source + begin, (end - begin) * sizeof(float));
    }
    __asm__ volatile("" : : "r"(what->target) : "memory");
}

/* Of the slowest thread. */
static double seconds_to_move(const move *what, size_t count, int threads) {
    member *members = run_team(run_move, what, count, threads);
    double slowest = 0;
    for (int i = 0; members != NULL && i < threads; i++)
        slowest = members[i].seconds > slowest ? members[i].seconds : slowest;
    free(members);
    return slowest;
}

double seconds_to_fill(float *target, size_t count, int threads) {
    const move what = {NULL, target};
    return seconds_to_move(&what, count, threads);
}

double seconds_to_copy(const float *source, float *target, size_t count, int threads) {
    const move what = {source, target};
    return seconds_to_move(&what, count, threads);
}
