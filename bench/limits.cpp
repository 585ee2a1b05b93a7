// Twelve independent chains hide the latency of every processor in use; separate variables, since an array of
// vectors would live in memory.
#include "bench/limits.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstring>
#include <numeric>
#include <thread>
#include <vector>

#if defined(__x86_64__)
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif

namespace unstride::bench {

namespace {

constexpr int chains = 12;
constexpr int steps = 100'000;

// Runs STEP on twelve variables of TYPE, `steps` times over. The empty assembly keeps each chain as it is
// written.
#define UNSTRIDE_CHAINS(TYPE, ZERO, STEP)                                                                    \
    TYPE a = ZERO, b = ZERO, c = ZERO, d = ZERO, e = ZERO, f = ZERO;                                         \
    TYPE g = ZERO, h = ZERO, i = ZERO, j = ZERO, k = ZERO, l = ZERO;                                         \
    for (int n = 0; n < steps; n++) {                                                                        \
        a = STEP(a), b = STEP(b), c = STEP(c), d = STEP(d), e = STEP(e), f = STEP(f);                        \
        g = STEP(g), h = STEP(h), i = STEP(i), j = STEP(j), k = STEP(k), l = STEP(l);                        \
        asm volatile(""                                                                                      \
                     : UNSTRIDE_KEEP(a), UNSTRIDE_KEEP(b), UNSTRIDE_KEEP(c), UNSTRIDE_KEEP(d),               \
                       UNSTRIDE_KEEP(e), UNSTRIDE_KEEP(f), UNSTRIDE_KEEP(g), UNSTRIDE_KEEP(h),               \
                       UNSTRIDE_KEEP(i), UNSTRIDE_KEEP(j), UNSTRIDE_KEEP(k), UNSTRIDE_KEEP(l));              \
    }

#if defined(__x86_64__)

#define UNSTRIDE_KEEP(x) "+v"(x)
#define UNSTRIDE_STEP(x) _mm512_fmadd_ps(x, factor, term)
__attribute__((target("avx512f"))) void run_avx512() {
    const __m512 factor = _mm512_set1_ps(0.999f), term = _mm512_set1_ps(0.001f);
    UNSTRIDE_CHAINS(__m512, _mm512_setzero_ps(), UNSTRIDE_STEP)
}
#undef UNSTRIDE_STEP
#undef UNSTRIDE_KEEP

#define UNSTRIDE_KEEP(x) "+x"(x)
#define UNSTRIDE_STEP(x) _mm256_fmadd_ps(x, factor, term)
__attribute__((target("avx2,fma"))) void run_avx2() {
    const __m256 factor = _mm256_set1_ps(0.999f), term = _mm256_set1_ps(0.001f);
    UNSTRIDE_CHAINS(__m256, _mm256_setzero_ps(), UNSTRIDE_STEP)
}
#undef UNSTRIDE_STEP

#define UNSTRIDE_STEP(x) _mm_add_ps(_mm_mul_ps(x, factor), term)
void run_sse41() {
    const __m128 factor = _mm_set1_ps(0.999f), term = _mm_set1_ps(0.001f);
    UNSTRIDE_CHAINS(__m128, _mm_setzero_ps(), UNSTRIDE_STEP)
}
#undef UNSTRIDE_STEP
#undef UNSTRIDE_KEEP

struct Probe {
    void (*run)();
    int lanes;
};
Probe probe_of(const std::string &instruction_set) {
    if (instruction_set == "avx512") return {run_avx512, 16};
    if (instruction_set == "avx2") return {run_avx2, 8};
    return {run_sse41, 4};
}

#elif defined(__aarch64__)

#define UNSTRIDE_KEEP(x) "+w"(x)
#define UNSTRIDE_STEP(x) vfmaq_f32(term, x, factor)
void run_neon() {
    const float32x4_t factor = vdupq_n_f32(0.999f), term = vdupq_n_f32(0.001f);
    UNSTRIDE_CHAINS(float32x4_t, vdupq_n_f32(0), UNSTRIDE_STEP)
}
#undef UNSTRIDE_STEP
#undef UNSTRIDE_KEEP

struct Probe {
    void (*run)();
    int lanes;
};
Probe probe_of(const std::string &) {
    return {run_neon, 4};
}

#endif

using Clock = std::chrono::steady_clock;

// Calls work(index) on `threads` threads that begin together.
template<typename Work>
void on_threads(int threads, const Work &work) {
    std::atomic<int> waiting = threads;
    const auto begin = [&](int index) {
        waiting--;
        while (waiting > 0) {
        }
        work(index);
    };
    std::vector<std::thread> others;
    for (int i = 1; i < threads; i++)
        others.emplace_back(begin, i);
    begin(0);
    for (std::thread &thread : others)
        thread.join();
}

// Seconds that the slowest thread takes for work(begin, end) on its part of `count` elements.
template<typename Work>
double slowest_part(std::size_t count, int threads, const Work &work) {
    std::vector<double> seconds(static_cast<std::size_t>(threads));
    on_threads(threads, [&](int index) {
        const std::size_t part = count / static_cast<std::size_t>(threads),
                          i = static_cast<std::size_t>(index);
        const auto start = Clock::now();
        work(i * part, index + 1 == threads ? count : (i + 1) * part);
        seconds[i] = std::chrono::duration<double>(Clock::now() - start).count();
    });
    return *std::max_element(seconds.begin(), seconds.end());
}

} // namespace

double multiply_add_peak(const std::string &instruction_set, int threads) {
    const Probe probe = probe_of(instruction_set);
    std::vector<double> rates(static_cast<std::size_t>(threads));
    on_threads(threads, [&](int index) {
        const auto start = Clock::now();
        probe.run();
        const std::chrono::duration<double, std::nano> elapsed = Clock::now() - start;
        rates[static_cast<std::size_t>(index)] = 2.0 * chains * steps * probe.lanes / elapsed.count();
    });
    return std::accumulate(rates.begin(), rates.end(), 0.0);
}

double seconds_to_fill(float *target, std::size_t count, int threads) {
    return slowest_part(count, threads, [&](std::size_t begin, std::size_t end) {
        std::memset(target + begin, 1, (end - begin) * sizeof(float));
        asm volatile("" : : "r"(target) : "memory");
    });
}

double seconds_to_copy(const float *source, float *target, std::size_t count, int threads) {
    return slowest_part(count, threads, [&](std::size_t begin, std::size_t end) {
        std::memcpy(target + begin, source + begin, (end - begin) * sizeof(float));
        asm volatile("" : : "r"(target) : "memory");
    });
}

} // namespace unstride::bench
