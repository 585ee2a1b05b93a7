// Times every layer of bench/layers/ on every instruction set of this processor with one and two threads,
// each as a share of the multiply-add peak measured around every sample. A kernel whose result is wrong is an
// error row.
#include "bench/limits.h"

#include "compiler/language/parser.h"
#include "tests/reference/comparator.h"
#include "tests/reference/random_data.h"
#include "tests/reference/reference.h"

#include "dense.h"

#include <benchmark/benchmark.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <map>
#include <memory>
#include <new>
#include <optional>
#include <string>
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

// The sizes that a layer with dynamic sizes is timed at: those of the layer of the same name without "_any".
Layer concrete(const unstride_layer &described) {
    const std::string name = described.name;
    const std::string suffix = "_any";
    const bool any = name.size() > suffix.size() && name.ends_with(suffix);
    const std::string wanted = any ? name.substr(0, name.size() - suffix.size()) : name;
    const unstride_library *library = dense_library();
    for (int i = 0; i < library->layer_count; i++) {
        if (wanted != library->layers[i]->name) continue;
        return parse_layer(library->layers[i]->text, name).layers.at(0);
    }
    throw std::runtime_error("no layer of fixed sizes belongs to " + name);
}

// A layer's data and expected result, made once and used for every instruction set and thread count.
struct Case {
    Layer layer;
    reference::LayerData data;
    reference::ReferenceResult expected;
    std::vector<std::int64_t> input_shape, output_shape;
};

const Case &case_of(const unstride_layer &described) {
    static std::map<std::string, Case> cases;
    const auto found = cases.find(described.name);
    if (found != cases.end()) return found->second;
    Case made;
    made.layer = concrete(described);
    made.data = reference::normal_data(made.layer, 1);
    auto expected = reference::evaluate(made.layer, made.data);
    if (!expected) throw std::runtime_error(expected.error());
    made.expected = std::move(*expected);
    made.input_shape = {made.layer.input.batch, made.layer.input.spatial[0], made.layer.input.spatial[1],
                        made.layer.input.channels};
    made.output_shape.resize(4);
    dense_output_shape(&described, made.input_shape.data(), made.output_shape.data());
    return cases.emplace(described.name, std::move(made)).first->second;
}

double median(std::vector<double> values) {
    std::sort(values.begin(), values.end());
    return values[values.size() / 2];
}

void run(benchmark::State &state, const unstride_layer *layer, const std::string &instruction_set,
         int threads) {
    const Case &test = case_of(*layer);
    const auto stop = [&](const std::string &what) {
        state.SkipWithError((what + ": " + dense_last_error()).c_str());
    };
    if (dense_set_instruction_set(instruction_set.c_str()) != UNSTRIDE_OK) return stop("instruction set");
    const std::size_t packed_bytes = dense_packed_bytes(layer);
    const std::size_t scratch_bytes = dense_scratch_bytes(layer, test.input_shape.data(), threads);
    const AlignedMemory packed = allocate(packed_bytes), scratch = allocate(scratch_bytes);
    unstride_weights weights = {};
    weights.kernel = test.data.weights.data();
    if (!test.data.bias.empty()) weights.bias = test.data.bias.data();
    if (dense_pack(layer, &weights, packed.get(), packed_bytes) != UNSTRIDE_OK) return stop("pack");

    std::vector<float> output(test.expected.values.size());
    reference::fill_with_nan(output, 1);
    const unstride_tensor input_view = unstride_dense(test.data.input.data(), 4, test.input_shape.data());
    const unstride_tensor output_view = unstride_dense(output.data(), 4, test.output_shape.data());
    unstride_arguments arguments = {};
    arguments.input = &input_view;
    arguments.output = &output_view;
    arguments.packed = packed.get();
    arguments.scratch = scratch.get();
    arguments.scratch_bytes = scratch_bytes;
    arguments.threads = threads;
    if (dense_run(layer, &arguments) != UNSTRIDE_OK) return stop("run");
    const reference::Comparison comparison =
        reference::compare(test.layer, test.expected, test.expected.shape, output, reference::Tolerance{});
    if (!comparison.equal) return state.SkipWithError(comparison.report.c_str());

    const double operations = 2 * layer->multiplications_per_output * static_cast<double>(output.size());
    std::vector<double> rates, shares, peaks;
    double peak_before = multiply_add_peak(instruction_set, threads);
    for (auto iteration : state) {
        (void)iteration;
        // A sample is enough calls for two milliseconds.
        int calls = 0;
        const auto start = Clock::now();
        std::chrono::duration<double, std::nano> elapsed{};
        do {
            dense_run(layer, &arguments);
            calls++;
            elapsed = Clock::now() - start;
        } while (elapsed.count() < 2e6);
        const double rate = operations * calls / elapsed.count();
        const double peak_after = multiply_add_peak(instruction_set, threads);
        const double peak = std::max(peak_before, peak_after);
        rates.push_back(rate);
        peaks.push_back(peak);
        shares.push_back(rate / peak);
        peak_before = peak_after;
        state.SetIterationTime(elapsed.count() * 1e-9 / calls);
    }
    std::sort(shares.begin(), shares.end());
    state.counters["GFLOP/s"] = median(rates);
    state.counters["peak"] = median(peaks);
    state.counters["share"] = median(shares);
    state.counters["share_p10"] = shares[shares.size() / 10];
    state.counters["share_p90"] = shares[shares.size() * 9 / 10];
    state.SetLabel(dense_schedule_grade(layer));
}

} // namespace
} // namespace unstride::bench

int main(int argc, char **argv) {
    benchmark::Initialize(&argc, argv);
    if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 1;
    const unstride_library *library = dense_library();
    benchmark::AddCustomContext("unstride", library->version);
    for (int index = 0; library->instruction_set_at(index) != nullptr; index++) {
        const std::string instruction_set = library->instruction_set_at(index);
        if (library->set_instruction_set(instruction_set.c_str()) != UNSTRIDE_OK) continue;
        for (int i = 0; i < library->layer_count; i++) {
            for (const int threads : {1, 2}) {
                const unstride_layer *layer = library->layers[i];
                const std::string name =
                    std::string(layer->name) + "/" + instruction_set + "/threads:" + std::to_string(threads);
                benchmark::RegisterBenchmark(name.c_str(), unstride::bench::run, layer, instruction_set,
                                             threads)
                    ->UseManualTime()
                    ->Iterations(25)
                    ->Unit(benchmark::kMicrosecond);
            }
        }
    }
    benchmark::RunSpecifiedBenchmarks();
    benchmark::Shutdown();
    return 0;
}
