// A call of a fake layer with right arguments, which tests then spoil one at a time, and the result to
// expect.
#pragma once

#include "fake_library.h"
#include "kernel_table.h"
#include "unstride/unstride.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <vector>

#include <sys/wait.h>
#include <unistd.h>

// Kernels do nothing special before and after every test.
class Runtime : public testing::Test {
protected:
    void SetUp() override { calm(); }
    void TearDown() override {
        calm();
        EXPECT_EQ(fake_set_threads(0), UNSTRIDE_OK);
        EXPECT_EQ(fake_set_parallel_for(nullptr), UNSTRIDE_OK);
        EXPECT_EQ(fake_set_instruction_set(nullptr), UNSTRIDE_OK);
    }

private:
    static void calm() {
        fake = fake_controls{};
        fake.failing_task = -1;
        fake_take_peak();
    }
};

struct FakeCall {
    explicit FakeCall(const unstride_layer &layer, const unstride_library *library = fake_library(),
                      std::int64_t height = 5, std::int64_t width = 4, std::int64_t batch = 2)
        : layer(layer), library(library) {
        std::vector<std::int64_t> shape(layer.input_shape, layer.input_shape + layer.rank);
        const std::int64_t sizes[] = {width, height, 3};
        if (shape[0] < 0) shape[0] = batch;
        for (int spatial = 0; spatial < plan().spatial_axes; spatial++)
            shape[static_cast<std::size_t>(axis_of(spatial))] = sizes[spatial];
        std::vector<std::int64_t> result(shape.size());
        EXPECT_EQ(library->output_shape(&layer, shape.data(), result.data()), UNSTRIDE_OK)
            << library->last_error();
        input_values.resize(elements(shape));
        for (std::size_t i = 0; i < input_values.size(); i++)
            input_values[i] = static_cast<float>(i % 23);
        output_values.assign(elements(result), unwritten);
        add_values.assign(elements(result), 1000.0f);
        input = unstride_dense(input_values.data(), layer.rank, shape.data());
        output = unstride_dense(output_values.data(), layer.rank, result.data());
        add = unstride_dense(add_values.data(), layer.rank, result.data());
        const std::size_t bytes = library->packed_bytes(&layer);
        EXPECT_TRUE(bytes == 0 || packed.allocate(bytes));
        EXPECT_EQ(pack(), UNSTRIDE_OK) << library->last_error();
        arguments.input = &input;
        arguments.output = &output;
        arguments.add = layer.has_add ? &add : nullptr;
        arguments.packed = packed.data();
        arguments.packed_device = reinterpret_cast<std::uintptr_t>(packed.data());
    }

    unstride_weights weights() const {
        unstride_weights all{};
        all.kernel = kernel.data();
        if (layer.bias_count > 0) all.bias = bias.data();
        if (layer.scale_count > 0) all.scale = scale.data();
        if (layer.prelu_count > 0) all.prelu = prelu.data();
        return all;
    }

    int pack() {
        const unstride_weights all = weights();
        return library->pack(&layer, &all, packed.data(), packed.bytes());
    }

    int run() { return library->run(&layer, &arguments); }
    std::string error() const { return library->last_error(); }

    // Whether every element of the output is the layer's; `phases` as the layer's plan has it.
    bool right(std::int64_t phases = 2) const {
        std::vector<std::int64_t> at(static_cast<std::size_t>(layer.rank), 0);
        for (;;) {
            if (!(element(output, at) == wanted(at, phases))) return false;
            std::size_t axis = at.size();
            while (axis > 0 && ++at[axis - 1] == output.shape[axis - 1])
                at[--axis] = 0;
            if (axis == 0) return true;
        }
    }

    bool untouched() const {
        return std::all_of(output_values.begin(), output_values.end(),
                           [](float value) { return value == unwritten; });
    }

    static constexpr float unwritten = -77.0f;
    const unstride_layer &layer;
    const unstride_library *library;
    std::vector<float> kernel{3, 1, 4, 1, 5, 9, 2, 6, 7, 3, 5, 8};
    std::vector<float> bias{0.5f, 1.5f, 2.5f, 3.5f, 4.5f, 5.5f}, scale{1, 2, 4, 0.5f, 8, 0.25f};
    std::vector<float> prelu{10, 20, 30, 40, 50, 60};
    std::vector<float> input_values, output_values, add_values;
    unstride::runtime::AlignedMemory packed;
    unstride_tensor input{}, output{}, add{};
    unstride_arguments arguments{};

private:
    const unstride_plan &plan() const { return *static_cast<const unstride_plan *>(layer.implementation); }
    int axis_of(int spatial) const { return layer.rank - (layer.channels_first ? 1 : 2) - spatial; }

    float wanted(const std::vector<std::int64_t> &at, std::int64_t phases) const {
        std::vector<std::int64_t> from = at;
        for (int spatial = 0; spatial < plan().spatial_axes; spatial++) {
            const auto axis = static_cast<std::size_t>(axis_of(spatial));
            from[axis] = std::min(at[axis] / phases, input.shape[axis] - 1);
        }
        float value = element(input, from);
        const auto channel = static_cast<std::size_t>(at[layer.channels_first ? 1 : at.size() - 1]);
        if (layer.weight_rank > 0) {
            const std::int64_t channels = layer.output_shape[layer.channels_first ? 1 : layer.rank - 1];
            const std::size_t group = channel / static_cast<std::size_t>(channels / plan().groups);
            std::size_t group_elements = 1;
            for (int i = 0; i < plan().kernel_rank; i++)
                group_elements *= static_cast<std::size_t>(plan().kernel_extent[i]);
            value *= kernel[group * group_elements];
        }
        if (layer.bias_count > 0) value += bias[channel];
        if (layer.scale_count > 0) value = value * scale[channel] + prelu[channel];
        return layer.has_add ? value + 1000.0f : value;
    }

    static std::size_t elements(const std::vector<std::int64_t> &shape) {
        std::int64_t count = 1;
        for (const std::int64_t size : shape)
            count *= size;
        return static_cast<std::size_t>(count);
    }

    static float element(const unstride_tensor &view, const std::vector<std::int64_t> &at) {
        std::int64_t offset = 0;
        for (std::size_t axis = 0; axis < at.size(); axis++)
            offset += at[axis] * view.stride[axis];
        return view.data[offset];
    }
};

// Runs one disabled test of this program in a fresh process, for what a process decides only once: the
// instruction set and the drivers. The test there has `environment` ("NAME=value") in addition. True if it
// passed.
inline bool passes_in_fresh_process(const std::string &test, const std::vector<std::string> &environment) {
    std::vector<std::string> words = {"/proc/self/exe", "--gtest_also_run_disabled_tests",
                                      "--gtest_filter=" + test, "--gtest_brief=1"};
    std::vector<char *> arguments;
    for (std::string &word : words)
        arguments.push_back(word.data());
    arguments.push_back(nullptr);
    std::vector<std::string> variables = environment;
    for (char **variable = environ; *variable != nullptr; variable++)
        variables.emplace_back(*variable);
    std::vector<char *> pointers;
    for (std::string &variable : variables)
        pointers.push_back(variable.data());
    pointers.push_back(nullptr);
    const pid_t child = fork();
    if (child == 0) {
        execve(arguments[0], arguments.data(), pointers.data());
        _exit(127);
    }
    int status = 1;
    waitpid(child, &status, 0);
    return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}
