// Read from /sys and /proc; what is not there stays unknown.
#include "tools/compare/machine_state.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <optional>
#include <string>
#include <thread>

namespace unstride {

namespace {

std::string first_line(const char *path) {
    std::string line;
    std::ifstream file(path);
    std::getline(file, line);
    return line;
}

std::optional<bool> has_turbo() {
    const std::string off = first_line("/sys/devices/system/cpu/intel_pstate/no_turbo");
    if (!off.empty()) return off == "0";
    const std::string on = first_line("/sys/devices/system/cpu/cpufreq/boost");
    if (!on.empty()) return on == "1";
    return std::nullopt;
}

// Processors under a hypervisor say so among their flags; those of AArch64 have no such flag.
std::optional<bool> is_virtualised() {
    std::ifstream file("/proc/cpuinfo");
    for (std::string line; std::getline(file, line);) {
        if (line.rfind("flags", 0) == 0) return (line + " ").find(" hypervisor ") != std::string::npos;
    }
    return std::nullopt;
}

// Bytes that one thread copies in `seconds`, reading and writing counted.
double copied_bytes(std::size_t bytes, double seconds, std::atomic<int> *waiting) {
    std::vector<char> source(bytes / 2, 1), target(bytes / 2, 0);
    waiting->fetch_sub(1);
    while (waiting->load() > 0)
        std::this_thread::yield();
    using Clock = std::chrono::steady_clock;
    const auto end = Clock::now() + std::chrono::duration<double>(seconds);
    const std::size_t repetitions = std::max<std::size_t>(1, (std::size_t{1} << 20) / bytes);
    double copied = 0;
    do {
        for (std::size_t i = 0; i < repetitions; i++) {
            std::memcpy(target.data(), source.data(), source.size());
            asm volatile("" ::"r"(target.data()) : "memory"); // or copies would be left out
        }
        copied += static_cast<double>(repetitions) * static_cast<double>(bytes);
    } while (Clock::now() < end);
    return copied;
}

double bandwidth(std::size_t bytes, int threads) {
    constexpr double seconds = 0.05;
    std::atomic<int> waiting = threads;
    std::vector<double> copied(static_cast<std::size_t>(threads), 0);
    std::vector<std::thread> workers;
    for (double &own : copied)
        workers.emplace_back([&] { own = copied_bytes(bytes, seconds, &waiting); });
    double total = 0;
    for (std::size_t i = 0; i < workers.size(); i++) {
        workers[i].join();
        total += copied[i];
    }
    return total / seconds;
}

} // namespace

void describe_state(ResultSource *source) {
    source->governor = first_line("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor");
    source->turbo = has_turbo();
    source->virtualised = is_virtualised();
    double load = 0;
    if (::getloadavg(&load, 1) == 1) source->load = load;
}

std::vector<MeasuredBandwidth> measure_bandwidths(const Machine &machine, int threads) {
    constexpr std::size_t beyond_caches = std::size_t{128} << 20;
    std::vector<MeasuredBandwidth> result;
    if (machine.l1d_bytes > 0)
        result.push_back(
            {"L1", threads, bandwidth(static_cast<std::size_t>(machine.l1d_bytes) / 2, threads)});
    if (machine.l2_bytes > 0)
        result.push_back({"L2", threads, bandwidth(static_cast<std::size_t>(machine.l2_bytes) / 2, threads)});
    result.push_back({"memory", threads, bandwidth(beyond_caches, threads)});
    return result;
}

} // namespace unstride
