// A loop over independent jobs on a few threads of this process.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <exception>
#include <mutex>
#include <thread>
#include <vector>

namespace unstride {

// Calls body(i) once for each i in [0, count), at most `jobs` at a time (0: one for each processor). After
// one that throws no others begin, and the first exception is thrown again here.
template<typename Body>
void run_parallel(std::size_t count, int jobs, Body body) {
    const std::size_t processors = std::max(1u, std::thread::hardware_concurrency());
    const std::size_t workers = std::min(count, jobs > 0 ? static_cast<std::size_t>(jobs) : processors);
    std::atomic<std::size_t> next = 0;
    std::mutex mutex;
    std::exception_ptr first;
    const auto work = [&] {
        try {
            for (std::size_t i = next++; i < count; i = next++)
                body(i);
        } catch (...) {
            const std::lock_guard lock(mutex);
            if (!first) first = std::current_exception();
            next = count;
        }
    };
    {
        std::vector<std::jthread> threads;
        for (std::size_t i = 1; i < workers; i++)
            threads.emplace_back(work);
        work();
    }
    if (first) std::rethrow_exception(first);
}

} // namespace unstride
