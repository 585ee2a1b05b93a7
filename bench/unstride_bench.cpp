// Times every layer of bench/layers/ on every instruction set of this processor with one and two threads:
// as a share of the multiply-add peak, and as a multiple of the times that filling and copying the output
// take, all measured around every sample. A kernel whose result is wrong is an error row.
//
// `--check` only compares every layer with the double-precision reference, on the best instruction set.
#include "compiler/language/parser.h"
#include "reference/comparator.h"
#include "reference/random_data.h"
#include "reference/reference.h"
#include "tools/runner/limits.h"

#include "networks.h"

#include <benchmark/benchmark.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <memory>
#include <new>
#include <optional>
#include <string>
#include <thread>
#include <vector>

namespace unstride::bench {
namespace {

using Clock = std::chrono::steady_clock;

struct AlignedDeleter {
    void operator()(void *memory) const { std::free(memory); }
};
using AlignedMemory = std::unique_ptr<void, AlignedDeleter>;

AlignedMemory allocate(std::size_t bytes) {
    void *memory = std::aligned_alloc(64, (bytes + 127) / 64 * 64);
    if (memory == nullptr) throw std::bad_alloc();
    return AlignedMemory(memory);
}

// A layer of one of the libraries.
struct Entry {
    const unstride_library *library;
    const unstride_layer *layer;
};

std::vector<Entry> all_layers() {
    std::vector<Entry> entries;
    for (const auto &network : networks) {
        for (int i = 0; i < network()->layer_count; i++)
            entries.push_back({network(), network()->layers[i]});
    }
    return entries;
}

// The sizes that a layer with dynamic sizes is timed at: those of the layer of the same name without "_any".
Layer concrete(const Entry &entry) {
    const std::string name = entry.layer->name;
    const std::string suffix = "_any";
    const bool any = name.size() > suffix.size() && name.ends_with(suffix);
    const std::string wanted = any ? name.substr(0, name.size() - suffix.size()) : name;
    for (int i = 0; i < entry.library->layer_count; i++) {
        if (wanted != entry.library->layers[i]->name) continue;
        return parse_layer(entry.library->layers[i]->text, name).layers.at(0);
    }
    throw std::runtime_error("no layer of fixed sizes belongs to " + name);
}

// The sizes of an input in the layer's order.
std::vector<std::int64_t> sizes_of(const Input &input) {
    std::vector<std::int64_t> sizes = {input.batch};
    if (input.layout == Layout::nchw) sizes.push_back(input.channels);
    sizes.insert(sizes.end(), input.spatial.begin(), input.spatial.end());
    if (input.layout == Layout::nhwc) sizes.push_back(input.channels);
    return sizes;
}

// One layer with its data, its packed weights and all memory for a call.
class Call {
public:
    Call(const Entry &entry, int threads) : entry_(entry), layer_(concrete(entry)) {
        data_ = reference::normal_data(layer_, 1);
        input_shape_ = sizes_of(layer_.input);
        output_shape_.resize(input_shape_.size());
        const unstride_library &library = *entry.library;
        check(library.output_shape(entry.layer, input_shape_.data(), output_shape_.data()), "output_shape");
        const std::size_t packed_bytes = library.packed_bytes(entry.layer);
        const std::size_t scratch_bytes = library.scratch_bytes(entry.layer, input_shape_.data(), threads);
        packed_ = allocate(packed_bytes);
        scratch_ = allocate(scratch_bytes);
        unstride_weights weights = {};
        if (!data_.weights.empty()) weights.kernel = data_.weights.data();
        if (!data_.bias.empty()) weights.bias = data_.bias.data();
        if (!data_.scale.empty()) weights.scale = data_.scale.data();
        if (!data_.prelu.empty()) weights.prelu = data_.prelu.data();
        check(library.pack(entry.layer, &weights, packed_.get(), packed_bytes), "pack");

        std::size_t elements = 1;
        for (const std::int64_t size : output_shape_)
            elements *= static_cast<std::size_t>(size);
        output.resize(elements);
        reference::fill_with_nan(output, 1);
        input_view_ = dense(data_.input.data(), input_shape_);
        add_view_ = dense(data_.add.data(), output_shape_);
        output_view_ = dense(output.data(), output_shape_);
        arguments_.input = &input_view_;
        if (entry.layer->has_add) arguments_.add = &add_view_;
        arguments_.output = &output_view_;
        if (packed_bytes > 0) arguments_.packed = packed_.get();
        arguments_.scratch = scratch_.get();
        arguments_.scratch_bytes = scratch_bytes;
        arguments_.threads = threads;
    }
    Call(const Call &) = delete;
    Call &operator=(const Call &) = delete;

    void run() { check(entry_.library->run(entry_.layer, &arguments_), "run"); }

    // What differs from the reference; empty where nothing does.
    std::string difference(const reference::ReferenceResult &expected) const {
        return reference::compare(layer_, expected, expected.shape, output, reference::Tolerance{}).report;
    }

    reference::ReferenceResult reference() const {
        auto expected = reference::evaluate(layer_, data_);
        if (!expected) throw std::runtime_error(expected.error());
        return std::move(*expected);
    }

    // Of the tensors, each once.
    double bytes() const {
        return static_cast<double>((data_.input.size() + data_.add.size() + output.size()) * sizeof(float));
    }

    std::vector<float> output;

private:
    Entry entry_;
    Layer layer_;
    reference::LayerData data_;
    std::vector<std::int64_t> input_shape_, output_shape_;
    AlignedMemory packed_, scratch_;
    unstride_tensor input_view_ = {}, add_view_ = {}, output_view_ = {};
    unstride_arguments arguments_ = {};

    void check(int status, const char *what) const {
        if (status != UNSTRIDE_OK)
            throw std::runtime_error(std::string(what) + ": " + entry_.library->last_error());
    }

    static unstride_tensor dense(const float *data, const std::vector<std::int64_t> &shape) {
        return unstride_dense(data, static_cast<int>(shape.size()), shape.data());
    }
};

// The expected result of a layer, made once for all instruction sets and thread counts. Layers of one text
// have the same data.
const reference::ReferenceResult &expected_of(const Entry &entry, const Call &call) {
    static std::map<std::string, reference::ReferenceResult> results;
    const std::string name = std::string(entry.library->name) + "/" + entry.layer->name;
    auto found = results.find(name);
    if (found == results.end()) found = results.emplace(name, call.reference()).first;
    return found->second;
}

double median(std::vector<double> values) {
    std::sort(values.begin(), values.end());
    return values[values.size() / 2];
}

// Of as many calls in a row as take that long, at least one.
double seconds_a_call(Call &call, double least) {
    int calls = 0;
    const auto start = Clock::now();
    std::chrono::duration<double> elapsed{};
    do {
        call.run();
        calls++;
        elapsed = Clock::now() - start;
    } while (elapsed.count() < least);
    return elapsed.count() / calls;
}

void time_layer(benchmark::State &state, const Entry &entry, const std::string &instruction_set,
                int threads) {
    if (entry.library->set_instruction_set(instruction_set.c_str()) != UNSTRIDE_OK)
        return state.SkipWithError(entry.library->last_error());
    std::optional<Call> call;
    try {
        call.emplace(entry, threads);
        call->run();
        const std::string difference = call->difference(expected_of(entry, *call));
        if (!difference.empty()) return state.SkipWithError(difference.c_str());
    } catch (const std::exception &error) {
        return state.SkipWithError(error.what());
    }

    const double operations =
        2 * entry.layer->multiplications_per_output * static_cast<double>(call->output.size());
    std::vector<double> rates, shares, bandwidths, fills, copies;
    std::vector<float> copied(call->output.size());
    const auto fill = [&] { return seconds_to_fill(copied.data(), copied.size(), threads); };
    const auto copy = [&] {
        return seconds_to_copy(call->output.data(), copied.data(), copied.size(), threads);
    };
    double peak_before = multiply_add_peak(instruction_set.c_str(), threads), fill_before = fill(),
           copy_before = copy();
    for (auto iteration : state) {
        (void)iteration;
        // The probes leave caches cold and threads asleep on whatever processor: calls in a row come first.
        seconds_a_call(*call, 5e-3);
        const double seconds = seconds_a_call(*call, 3e-3);
        const double peak_after = multiply_add_peak(instruction_set.c_str(), threads), fill_after = fill(),
                     copy_after = copy();
        rates.push_back(operations / seconds * 1e-9);
        shares.push_back(rates.back() / std::max(peak_before, peak_after));
        bandwidths.push_back(call->bytes() / seconds * 1e-9);
        fills.push_back(seconds / std::min(fill_before, fill_after));
        copies.push_back(seconds / std::min(copy_before, copy_after));
        peak_before = peak_after;
        fill_before = fill_after;
        copy_before = copy_after;
        state.SetIterationTime(seconds);
    }
    std::sort(shares.begin(), shares.end());
    state.counters["GFLOP/s"] = median(rates);
    state.counters["share"] = median(shares);
    state.counters["share_p10"] = shares[shares.size() / 10];
    state.counters["share_p90"] = shares[shares.size() * 9 / 10];
    state.counters["GB/s"] = median(bandwidths);
    state.counters["fills"] = median(fills);
    state.counters["copies"] = median(copies);
    state.SetLabel(entry.library->schedule_grade(entry.layer));
}

void register_benchmarks() {
    for (const Entry &entry : all_layers()) {
        for (int index = 0; entry.library->instruction_set_at(index) != nullptr; index++) {
            const std::string instruction_set = entry.library->instruction_set_at(index);
            if (entry.library->set_instruction_set(instruction_set.c_str()) != UNSTRIDE_OK) continue;
            for (const int threads : {1, 2}) {
                const std::string name = std::string(entry.library->name) + "/" + entry.layer->name + "/" +
                                         instruction_set + "/threads:" + std::to_string(threads);
                benchmark::RegisterBenchmark(name.c_str(), time_layer, entry, instruction_set, threads)
                    ->UseManualTime()
                    ->Iterations(25)
                    ->Unit(benchmark::kMicrosecond);
            }
        }
    }
}

// Every layer once, several at a time: the reference takes most of it.
int check_layers() {
    const std::vector<Entry> entries = all_layers();
    std::atomic<std::size_t> next = 0;
    std::atomic<int> wrong = 0;
    const auto work = [&] {
        for (std::size_t i = next++; i < entries.size(); i = next++) {
            std::string problem;
            try {
                Call call(entries[i], 2);
                call.run();
                problem = call.difference(call.reference());
            } catch (const std::exception &error) {
                problem = error.what();
            }
            std::printf("%s/%s: %s\n", entries[i].library->name, entries[i].layer->name,
                        problem.empty() ? "equal to the reference" : problem.c_str());
            wrong += problem.empty() ? 0 : 1;
        }
    };
    std::vector<std::thread> threads;
    for (unsigned i = 1; i < std::thread::hardware_concurrency(); i++)
        threads.emplace_back(work);
    work();
    for (std::thread &thread : threads)
        thread.join();
    std::printf("%zu layers, %d wrong\n", entries.size(), wrong.load());
    return wrong == 0 ? 0 : 1;
}

} // namespace
} // namespace unstride::bench

int main(int argc, char **argv) {
    if (argc == 2 && std::strcmp(argv[1], "--check") == 0) return unstride::bench::check_layers();
    benchmark::Initialize(&argc, argv);
    if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 1;
    benchmark::AddCustomContext("unstride", networks[0]()->version);
    unstride::bench::register_benchmarks();
    benchmark::RunSpecifiedBenchmarks();
    benchmark::Shutdown();
    return 0;
}
