// The commands of the protocol, and how calls are timed.
#include "bench/rivals/rival.h"

#include "bench/rivals/json_lines.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <memory>
#include <new>
#include <sched.h>
#include <sys/mman.h>
#include <utility>

namespace unstride::bench {

namespace {

using nlohmann::json;
using Clock = std::chrono::steady_clock;

double nanoseconds_since(Clock::time_point start) {
    return std::chrono::duration<double, std::nano>(Clock::now() - start).count();
}

json describe(const Identity &identity) {
    std::error_code unknown;
    const std::string library = identity.library.empty() ? "/proc/self/exe" : identity.library;
    const std::filesystem::path file = std::filesystem::canonical(library, unknown);
    const auto bytes = std::filesystem::file_size(file, unknown);
    json reply = {{"name", identity.name}, {"version", identity.version}, {"variants", identity.variants}};
    if (!unknown) {
        reply["library"] = file.string();
        reply["library_bytes"] = bytes;
    }
    return reply;
}

json load(Rival &rival, const json &request) {
    try {
        const Problem problem = read_problem(std::string(request.at("problem")), request.at("form"));
        const auto start = Clock::now();
        rival.load(problem, request.at("variant"), request.at("threads"));
        return {{"implementation", rival.implementation()},
                {"load_seconds", nanoseconds_since(start) * 1e-9}};
    } catch (const Unsupported &reason) {
        return {{"unsupported", reason.what()}};
    }
}

json run_once(Rival &rival, const std::string &path) {
    const auto start = Clock::now();
    rival.run();
    const double first_call = nanoseconds_since(start);
    const std::vector<float> output = rival.output();
    std::ofstream file(path, std::ios::binary);
    file.write(reinterpret_cast<const char *>(output.data()),
               static_cast<std::streamsize>(output.size() * sizeof(float)));
    if (!file.flush()) throw std::runtime_error(path + ": cannot be written");
    return {{"first_call_ns", first_call}};
}

struct Sample {
    double nanoseconds = 0; // of one call
    int calls = 0;
};

// As many calls in a row as take that long, at least one.
Sample sample(Rival &rival, double least_nanoseconds) {
    const auto start = Clock::now();
    int calls = 0;
    double elapsed = 0;
    do {
        rival.run();
        calls++;
        elapsed = nanoseconds_since(start);
    } while (elapsed < least_nanoseconds);
    return {elapsed / calls, calls};
}

json samples(Rival &rival, const json &request) {
    const double least = request.at("min_ms").get<double>() * 1e6;
    sample(rival, request.at("warm_ms").get<double>() * 1e6);
    json nanoseconds = json::array(), calls = json::array();
    for (int i = 0; i < request.at("count").get<int>(); i++) {
        const Sample taken = sample(rival, least);
        nanoseconds.push_back(taken.nanoseconds);
        calls.push_back(taken.calls);
    }
    return {{"ns", nanoseconds}, {"calls", calls}};
}

// Pages of its own: memory that malloc gives back changes how malloc serves a rival from then on.
class Pages {
public:
    explicit Pages(std::size_t bytes)
        : bytes_(bytes),
          memory_(::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)) {
        if (memory_ == MAP_FAILED) throw std::bad_alloc();
        ::madvise(memory_, bytes, MADV_HUGEPAGE); // or most of the time goes into faults
        std::memset(memory_, 1, bytes);           // unwritten, all pages are one
    }
    ~Pages() { ::munmap(memory_, bytes_); }
    Pages(const Pages &) = delete;
    Pages &operator=(const Pages &) = delete;

    void read() const {
        const volatile char *bytes = static_cast<const volatile char *>(memory_);
        for (std::size_t i = 0; i < bytes_; i += 64)
            (void)bytes[i];
    }

private:
    std::size_t bytes_;
    void *memory_;
};

// Reads `bytes` on every processor that this process may use: some caches belong to one of them.
void empty_caches(std::size_t bytes) {
    const Pages pages(bytes);
    cpu_set_t allowed;
    CPU_ZERO(&allowed);
    if (::sched_getaffinity(0, sizeof allowed, &allowed) != 0)
        throw std::runtime_error("the system does not tell this process's processors");
    for (std::size_t processor = 0; processor < CPU_SETSIZE; processor++) {
        if (!CPU_ISSET(processor, &allowed)) continue;
        cpu_set_t one;
        CPU_ZERO(&one);
        CPU_SET(processor, &one);
        ::sched_setaffinity(0, sizeof one, &one);
        pages.read();
    }
    ::sched_setaffinity(0, sizeof allowed, &allowed);
}

json cold_calls(Rival &rival, const json &request) {
    json nanoseconds = json::array();
    for (int i = 0; i < request.at("count").get<int>(); i++) {
        empty_caches(request.at("flush_bytes"));
        const auto start = Clock::now();
        rival.run();
        nanoseconds.push_back(nanoseconds_since(start));
    }
    return {{"ns", nanoseconds}};
}

} // namespace

int serve(Rival &rival) {
    return serve_lines([&](const json &request) -> json {
        const std::string command = request.at("command");
        if (command == "describe") return describe(rival.identity());
        if (command == "load") return load(rival, request);
        if (command == "run_once") return run_once(rival, request.at("output"));
        if (command == "sample") return samples(rival, request);
        if (command == "cold") return cold_calls(rival, request);
        return {{"error", fmt::format("unknown command '{}'", command)}};
    });
}

namespace {

// As NumPy does for the arrays that rivals in Python compute on: for the whole large pages of the memory.
void ask_for_large_pages(void *start, std::size_t bytes) {
    const std::size_t large_page = std::size_t{1} << 21;
    void *first = start;
    if (std::align(large_page, large_page, first, bytes) != nullptr)
        ::madvise(first, bytes / large_page * large_page, MADV_HUGEPAGE);
}

} // namespace

AlignedFloats::AlignedFloats(std::size_t count) : size_(count) {
    data_ = static_cast<float *>(std::aligned_alloc(64, (count * sizeof(float) + 127) / 64 * 64));
    if (data_ == nullptr) throw std::bad_alloc();
    ask_for_large_pages(data_, count * sizeof(float));
    std::fill_n(data_, count, 0.0f);
}

AlignedFloats::AlignedFloats(const std::vector<float> &values) : AlignedFloats(values.size()) {
    std::copy(values.begin(), values.end(), data_);
}

AlignedFloats::~AlignedFloats() {
    std::free(data_);
}

AlignedFloats::AlignedFloats(AlignedFloats &&other) noexcept
    : data_(std::exchange(other.data_, nullptr)), size_(std::exchange(other.size_, 0)) {}

AlignedFloats &AlignedFloats::operator=(AlignedFloats &&other) noexcept {
    std::swap(data_, other.data_);
    std::swap(size_, other.size_);
    return *this;
}

} // namespace unstride::bench
