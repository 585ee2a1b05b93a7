// Every layer of grid.layers on every instruction set of this processor against the double-precision
// reference: borders, tails, threads, slices of larger tensors, and not one byte read or written outside what
// the caller gave.
#include "compiler/language/parser.h"
#include "reference/comparator.h"
#include "reference/random_data.h"
#include "reference/reference.h"
#include "schedules/record.h"
#include "tests/kernels/form_numerics.h"
#include "tests/kernels/guarded_memory.h"

#include "grid.h"

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <cmath>
#include <memory>
#include <numeric>
#include <optional>
#include <string>
#include <thread>
#include <vector>

extern "C" std::uint64_t grid_scratch_misses(void);

namespace unstride {
namespace {

using reference::LayerData;
using Sizes = std::vector<std::int64_t>;

// Tasks in reverse order on three threads of the caller.
int reverse_parallel_for(void *context, int (*task)(void *closure, int index), int count, void *closure) {
    ++*static_cast<int *>(context);
    std::vector<int> results(3, 0);
    std::vector<std::thread> threads;
    for (int worker = 0; worker < 3; worker++) {
        threads.emplace_back([&, worker] {
            for (int i = count - 1 - worker; i >= 0; i -= 3) {
                const int result = task(closure, i);
                if (result != 0) results[static_cast<std::size_t>(worker)] = result;
            }
        });
    }
    for (std::thread &thread : threads)
        thread.join();
    for (const int result : results) {
        if (result != 0) return result;
    }
    return 0;
}

// How one call is made.
struct Call {
    Flush flush = Flush::end;
    int threads = 1;
    bool callers_threads = false;
    bool slices =
        false; // every tensor is a window of a larger one, with elements between that must not change
    bool own_scratch = true; // the caller's scratch memory, of exactly the size asked for
    bool must_share = false; // the caller's threads must get to do something
};

// A tensor in guarded memory, dense or as a window with gaps on every axis.
class PlacedTensor {
public:
    PlacedTensor(const Sizes &shape, const Call &call) : shape_(shape) {
        Sizes outer = shape;
        if (call.slices) {
            for (std::size_t axis = 1; axis < outer.size(); axis++)
                outer[axis] += 1 + static_cast<std::int64_t>(axis);
        }
        view_ = unstride_dense(nullptr, static_cast<int>(shape.size()), outer.data());
        std::copy(shape.begin(), shape.end(), view_.shape);
        // From the window's first element to its last: what the call may touch ends there.
        span_ = 1;
        for (std::size_t axis = 0; axis < shape.size(); axis++) {
            if (shape[axis] == 0) span_ = 0;
            if (span_ > 0) span_ += (shape[axis] - 1) * view_.stride[axis];
        }
        memory_.emplace(static_cast<std::size_t>(span_) * sizeof(float), call.flush, alignof(float));
        view_.data = memory_->floats();
        reference::fill_with_nan({view_.data, static_cast<std::size_t>(span_)}, 7);
        before_.assign(view_.data, view_.data + span_);
    }

    const unstride_tensor *view() const { return &view_; }

    // Calls visit(element, offset) for every element of the window, in dense order.
    template<typename Visit>
    void for_each(Visit visit) const {
        Sizes at(shape_.size(), 0);
        const std::int64_t count =
            std::accumulate(shape_.begin(), shape_.end(), std::int64_t{1}, std::multiplies<>());
        for (std::int64_t i = 0; i < count; i++) {
            std::int64_t offset = 0;
            for (std::size_t axis = 0; axis < at.size(); axis++)
                offset += at[axis] * view_.stride[axis];
            visit(i, offset);
            for (std::size_t axis = at.size(); axis-- > 0;) {
                if (++at[axis] < shape_[axis]) break;
                at[axis] = 0;
            }
        }
    }

    void write(const std::vector<float> &values) {
        for_each([&](std::int64_t i, std::int64_t offset) {
            view_.data[offset] = values[static_cast<std::size_t>(i)];
        });
    }

    std::vector<float> read() const {
        std::vector<float> values;
        for_each([&](std::int64_t, std::int64_t offset) { values.push_back(view_.data[offset]); });
        return values;
    }

    // True if nothing between the window's elements changed, bit for bit.
    bool gaps_untouched() const {
        std::vector<bool> inside(static_cast<std::size_t>(span_), false);
        for_each([&](std::int64_t, std::int64_t offset) { inside[static_cast<std::size_t>(offset)] = true; });
        for (std::size_t i = 0; i < inside.size(); i++) {
            if (!inside[i] && std::memcmp(&view_.data[i], &before_[i], sizeof(float)) != 0) return false;
        }
        return true;
    }

private:
    Sizes shape_;
    unstride_tensor view_;
    std::int64_t span_ = 0;
    std::optional<GuardedMemory> memory_;
    std::vector<float> before_;
};

// The framework's weights in guarded memory, flush as the call says.
class PlacedWeights {
public:
    PlacedWeights(const LayerData &data, const Call &call)
        : kernel_(place(data.weights, call)), bias_(place(data.bias, call)), scale_(place(data.scale, call)),
          prelu_(place(data.prelu, call)) {}

    unstride_weights view() const {
        unstride_weights weights = {};
        weights.kernel = kernel_ ? kernel_->floats() : nullptr;
        weights.bias = bias_ ? bias_->floats() : nullptr;
        weights.scale = scale_ ? scale_->floats() : nullptr;
        weights.prelu = prelu_ ? prelu_->floats() : nullptr;
        return weights;
    }

private:
    using Placed = std::unique_ptr<GuardedMemory>;

    static Placed place(const std::vector<float> &values, const Call &call) {
        if (values.empty()) return nullptr;
        auto memory =
            std::make_unique<GuardedMemory>(values.size() * sizeof(float), call.flush, alignof(float));
        std::copy(values.begin(), values.end(), memory->floats());
        return memory;
    }

    Placed kernel_, bias_, scale_, prelu_;
};

// The layer's result for one call, or a failed expectation.
std::vector<float> run(const unstride_layer &layer, const Sizes &input_shape, const LayerData &data,
                       const Call &call) {
    Sizes output_shape(input_shape.size());
    EXPECT_EQ(grid_output_shape(&layer, input_shape.data(), output_shape.data()), UNSTRIDE_OK)
        << grid_last_error();
    const std::size_t packed_bytes = grid_packed_bytes(&layer);
    const GuardedMemory packed(packed_bytes, call.flush, 64);
    const PlacedWeights placed(data, call);
    const unstride_weights weights = placed.view();
    EXPECT_EQ(grid_pack(&layer, &weights, packed.data(), packed_bytes), UNSTRIDE_OK) << grid_last_error();
    const std::vector<char> packed_before(static_cast<const char *>(packed.data()),
                                          static_cast<const char *>(packed.data()) + packed_bytes);

    PlacedTensor input(input_shape, call), output(output_shape, call);
    std::optional<PlacedTensor> add;
    input.write(data.input);
    if (layer.has_add) {
        add.emplace(output_shape, call);
        add->write(data.add);
    }
    const int threads = call.callers_threads ? 3 : call.threads;
    const std::size_t scratch_bytes = grid_scratch_bytes(&layer, input_shape.data(), threads);
    const GuardedMemory scratch(scratch_bytes, call.flush, 64);
    int calls = 0;
    const unstride_parallel parallel = {reverse_parallel_for, &calls, 3};
    unstride_arguments arguments = {};
    arguments.input = input.view();
    arguments.add = add ? add->view() : nullptr;
    arguments.output = output.view();
    arguments.packed = packed_bytes > 0 ? packed.data() : nullptr;
    if (call.own_scratch) {
        arguments.scratch = scratch.data();
        arguments.scratch_bytes = scratch_bytes;
    }
    arguments.threads = threads;
    arguments.parallel = call.callers_threads ? &parallel : nullptr;
    EXPECT_EQ(grid_run(&layer, &arguments), UNSTRIDE_OK) << grid_last_error();
    EXPECT_TRUE(!call.must_share || calls > 0)
        << layer.name << " is too small to be shared: its threads are not tested";
    EXPECT_TRUE(output.gaps_untouched()) << layer.name;
    EXPECT_EQ(std::memcmp(packed.data(), packed_before.data(), packed_bytes), 0) << layer.name;
    EXPECT_TRUE(packed.surroundings_untouched() && scratch.surroundings_untouched()) << layer.name;
    EXPECT_TRUE(input.gaps_untouched() && (!add || add->gaps_untouched())) << layer.name;
    const auto same = [](const std::vector<float> &got, const std::vector<float> &given) {
        return std::memcmp(got.data(), given.data(), got.size() * sizeof(float)) == 0;
    };
    EXPECT_TRUE(same(input.read(), data.input) && (!add || same(add->read(), data.add))) << layer.name;
    return output.read();
}

int channel_axis(const unstride_layer &layer) {
    return layer.channels_first ? 1 : layer.rank - 1;
}

// Batch, then the spatial sizes, slowest first.
Sizes open_sizes(const unstride_layer &layer) {
    Sizes sizes(layer.input_shape, layer.input_shape + layer.rank);
    sizes.erase(sizes.begin() + channel_axis(layer));
    return sizes;
}

Sizes with_channels(const unstride_layer &layer, Sizes sizes) {
    sizes.insert(sizes.begin() + channel_axis(layer), layer.input_shape[channel_axis(layer)]);
    return sizes;
}

// The layer's input shape with these in place of its dynamic sizes: batch, depth, height, width, of which a
// layer of fewer axes takes the last.
Sizes shape_with(const unstride_layer &layer, const Sizes &batch_and_spatial) {
    Sizes sizes = open_sizes(layer);
    const std::size_t skipped = batch_and_spatial.size() - sizes.size();
    for (std::size_t i = 0; i < sizes.size(); i++) {
        if (sizes[i] == dynamic_size) sizes[i] = batch_and_spatial[i == 0 ? 0 : skipped + i];
    }
    return with_channels(layer, sizes);
}

// Whether the layer takes an input of that shape: some ask for multiples or for more than a few pixels.
bool accepts(const unstride_layer &layer, const Sizes &shape) {
    Sizes output(shape.size());
    return grid_output_shape(&layer, shape.data(), output.data()) == UNSTRIDE_OK;
}

// The input shapes that a layer is tested at: its own, or several in place of its dynamic sizes.
std::vector<Sizes> shapes_of(const unstride_layer &layer) {
    std::vector<Sizes> shapes;
    // The widest is enough for several strips of a row, which many input channels make short.
    const std::int64_t wide = layer.input_shape[channel_axis(layer)] >= 128 ? 1500 : 150;
    for (const Sizes &chosen : {Sizes{1, 1, 1, 1}, Sizes{2, 2, 1, 9}, Sizes{1, 1, 11, 1}, Sizes{3, 3, 13, 17},
                                Sizes{2, 4, 12, 16}, Sizes{1, 3, 6, 9}, Sizes{1, 2, 2, wide}}) {
        const Sizes shape = shape_with(layer, chosen);
        if (accepts(layer, shape) && (shapes.empty() || shape != shapes.back())) shapes.push_back(shape);
    }
    return shapes;
}

// Whether a call is worth several threads beyond doubt: in multiplications, of which storing an output is
// worth about fifteen. Groups divide the work by a number that the layer does not show.
bool is_large(const unstride_layer &layer, const Sizes &shape) {
    if (std::string(layer.name).starts_with("shared_")) return true;
    Sizes output(shape.size());
    EXPECT_EQ(grid_output_shape(&layer, shape.data(), output.data()), UNSTRIDE_OK) << grid_last_error();
    double work = std::max(layer.multiplications_per_output, 15.0);
    for (const std::int64_t size : output)
        work *= static_cast<double>(size);
    return work >= 1e7 && std::string(layer.text).find("groups=") == std::string::npos;
}

using Parameters = std::tuple<const unstride_layer *, const char *>;

class Kernels : public testing::TestWithParam<Parameters> {
protected:
    void SetUp() override {
        if (grid_set_instruction_set(std::get<1>(GetParam())) != UNSTRIDE_OK) {
            GTEST_SKIP() << "this processor has no " << std::get<1>(GetParam());
        }
    }
    void TearDown() override { grid_set_instruction_set(nullptr); }

    const unstride_layer &layer() const { return *std::get<0>(GetParam()); }

    // The schedule compiled in, and the layer that it schedules.
    ScheduleRecord schedule() const {
        std::string error;
        const auto record = record_from_json(nlohmann::json::parse(grid_schedule(&layer())), &error);
        EXPECT_TRUE(record.has_value()) << error;
        return record.value_or(ScheduleRecord{});
    }
    PhaseConvolution lowered() const {
        return std::get<PhaseConvolution>(lower(parse_layer(layer().text, layer().name).layers.at(0)));
    }

    Layer sized(const Sizes &shape) const {
        const Layer parsed = parse_layer(layer().text, layer().name).layers.at(0);
        Sizes sizes = shape;
        sizes.erase(sizes.begin() + channel_axis(layer()));
        return reference::with_sizes(parsed, sizes[0], {sizes.begin() + 1, sizes.end()});
    }
};

TEST_P(Kernels, AgreeWithTheReference) {
    const std::uint64_t misses = grid_scratch_misses();
    const reference::Tolerance tolerance = tolerance_of(lowered(), schedule());
    ASSERT_FALSE(shapes_of(layer()).empty());
    for (const Sizes &shape : shapes_of(layer())) {
        const Layer concrete = sized(shape);
        const LayerData data = reference::normal_data(concrete, 11);
        const auto expected = reference::evaluate(concrete, data);
        ASSERT_TRUE(expected.ok()) << expected.error();
        for (const Call &call :
             {Call{Flush::end, 1}, Call{Flush::start, 2}, Call{Flush::end, 2, false, true},
              Call{Flush::start, 1, false, true}, Call{Flush::end, 3, false, false, false}}) {
            const std::vector<float> output = run(layer(), shape, data, call);
            const auto comparison =
                reference::compare(concrete, *expected, expected->shape, output, tolerance);
            ASSERT_TRUE(comparison.equal) << comparison.report;
        }
    }
    EXPECT_EQ(grid_scratch_misses(), misses) << "a task needed more memory than scratch_bytes says";
}

TEST_P(Kernels, AreExactOnExactData) {
    const auto spare_bits = spare_bits_of(lowered(), schedule());
    if (!spare_bits) GTEST_SKIP() << "the transformed weights round";
    for (const Sizes &shape : shapes_of(layer())) {
        const Layer concrete = sized(shape);
        const auto data = reference::exact_data(concrete, 5, *spare_bits);
        if (reference::has_rounding_activation(concrete)) GTEST_SKIP() << "the layer's own stages round";
        ASSERT_TRUE(data.has_value()) << "the layer's sums cannot be exact";
        const auto expected = reference::evaluate(concrete, *data);
        ASSERT_TRUE(expected.ok()) << expected.error();
        reference::Tolerance exact;
        exact.exact = true;
        const auto comparison = reference::compare(concrete, *expected, expected->shape,
                                                   run(layer(), shape, *data, Call{}), exact);
        ASSERT_TRUE(comparison.equal) << comparison.report;
    }
}

// A small layer is not shared among threads, so dynamic sizes are taken large here and some layers are large
// themselves: those named shared_ must be.
TEST_P(Kernels, AreTheSameForAnyThreads) {
    const Sizes shape = shape_with(layer(), {2, 6, 96, 120});
    const bool large = is_large(layer(), shape);
    // Rounding data: any difference in the order of sums would show.
    const LayerData data = reference::normal_data(sized(shape), 3);
    const std::vector<float> alone = run(layer(), shape, data, Call{});
    for (const Call &call :
         {Call{Flush::end, 2}, Call{Flush::end, 5}, Call{Flush::end, 1, true, false, true, large},
          Call{Flush::start, 1, true, true, true, large}}) {
        const std::vector<float> shared = run(layer(), shape, data, call);
        ASSERT_EQ(shared.size(), alone.size());
        ASSERT_EQ(std::memcmp(shared.data(), alone.data(), alone.size() * sizeof(float)), 0) << layer().name;
    }
}

TEST_P(Kernels, WriteNothingForABatchOfZero) {
    if (layer().input_shape[0] != dynamic_size) return;
    for (const Sizes &chosen : {Sizes{1, 2, 4, 6}, Sizes{1, 1, 1, 1}, Sizes{1, 8, 8, 8}}) {
        Sizes shape = shape_with(layer(), chosen);
        if (!accepts(layer(), shape)) continue;
        const LayerData data = reference::normal_data(sized(shape), 1);
        shape[0] = 0;
        EXPECT_TRUE(run(layer(), shape, data, Call{}).empty());
    }
}

std::vector<const unstride_layer *> all_layers() {
    const unstride_library *library = grid_library();
    return {library->layers, library->layers + library->layer_count};
}

std::vector<const char *> all_instruction_sets() {
    std::vector<const char *> names;
    for (int i = 0; grid_instruction_set_at(i) != nullptr; i++)
        names.push_back(grid_instruction_set_at(i));
    return names;
}

INSTANTIATE_TEST_SUITE_P(Grid, Kernels,
                         testing::Combine(testing::ValuesIn(all_layers()),
                                          testing::ValuesIn(all_instruction_sets())),
                         [](const testing::TestParamInfo<Parameters> &info) {
                             return std::string(std::get<0>(info.param)->name) + "_" +
                                    std::get<1>(info.param);
                         });

} // namespace
} // namespace unstride
