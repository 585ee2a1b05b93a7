// The commands of the protocol, and how calls are timed.
#include "bench/rivals/rival.h"

#include "bench/rivals/json_lines.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <new>
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
    const auto bytes = std::filesystem::file_size(std::filesystem::canonical(library, unknown), unknown);
    json reply = {{"name", identity.name}, {"version", identity.version}, {"variants", identity.variants}};
    if (!unknown) reply["library_bytes"] = bytes;
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

} // namespace

int serve(Rival &rival) {
    return serve_lines([&](const json &request) -> json {
        const std::string command = request.at("command");
        if (command == "describe") return describe(rival.identity());
        if (command == "load") return load(rival, request);
        if (command == "run_once") return run_once(rival, request.at("output"));
        if (command == "sample") return samples(rival, request);
        return {{"error", fmt::format("unknown command '{}'", command)}};
    });
}

AlignedFloats::AlignedFloats(std::size_t count) : size_(count) {
    data_ = static_cast<float *>(std::aligned_alloc(64, (count * sizeof(float) + 127) / 64 * 64));
    if (data_ == nullptr) throw std::bad_alloc();
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
