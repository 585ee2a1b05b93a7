// A call of a fake layer with right arguments, which tests then spoil one at a time, and the result to
// expect.
#pragma once

#include "fake_library.h"
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
        const std::vector<std::int64_t> shape = layer.rank == 4
                                                    ? std::vector<std::int64_t>{batch, height, width, 3}
                                                    : std::vector<std::int64_t>{2, width, 2};
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
        EXPECT_TRUE(packed.allocate(library->packed_bytes(&layer)));
        EXPECT_EQ(pack(), UNSTRIDE_OK) << library->last_error();
        arguments.input = &input;
        arguments.output = &output;
        arguments.add = layer.has_add ? &add : nullptr;
        arguments.packed = packed.data();
        arguments.packed_device = reinterpret_cast<std::uintptr_t>(packed.data());
    }

    int pack() {
        const unstride_weights weights = {kernel.data(), layer.bias_count > 0 ? bias.data() : nullptr};
        return library->pack(&layer, &weights, packed.data(), packed.bytes());
    }

    int run() { return library->run(&layer, &arguments); }
    std::string error() const { return library->last_error(); }

    // Whether every element of the output is the layer's; `phases` as the layer's plan has it.
    bool right(std::int64_t phases = 2) const {
        const int y = layer.rank - 3, x = layer.rank - 2, c = layer.rank - 1;
        const float weight = layer.weight_rank > 0 ? kernel[0] : 0.0f;
        for (std::int64_t n = 0; n < output.shape[0]; n++)
            for (std::int64_t row = 0; row < (layer.rank == 4 ? output.shape[y] : 1); row++)
                for (std::int64_t column = 0; column < output.shape[x]; column++)
                    for (std::int64_t channel = 0; channel < output.shape[c]; channel++) {
                        const std::int64_t from_row =
                            layer.rank == 4 ? std::min(row / phases, input.shape[y] - 1) : 0;
                        const std::int64_t from_column = std::min(column / phases, input.shape[x] - 1);
                        float wanted = weight * at(input, n, from_row, from_column, channel);
                        if (layer.bias_count > 0) wanted += bias[static_cast<std::size_t>(channel)];
                        if (layer.has_add) wanted += 1000.0f;
                        if (!(at(output, n, row, column, channel) == wanted)) return false;
                    }
        return true;
    }

    bool untouched() const {
        return std::all_of(output_values.begin(), output_values.end(),
                           [](float value) { return value == unwritten; });
    }

    static constexpr float unwritten = -77.0f;
    const unstride_layer &layer;
    const unstride_library *library;
    std::vector<float> kernel{3, 1, 4, 1, 5, 9, 2, 6, 5}, bias{0.5f, 1.5f, 2.5f};
    std::vector<float> input_values, output_values, add_values;
    unstride::runtime::AlignedMemory packed;
    unstride_tensor input{}, output{}, add{};
    unstride_arguments arguments{};

private:
    static std::size_t elements(const std::vector<std::int64_t> &shape) {
        std::int64_t count = 1;
        for (const std::int64_t size : shape)
            count *= size;
        return static_cast<std::size_t>(count);
    }

    static float at(const unstride_tensor &view, std::int64_t n, std::int64_t row, std::int64_t column,
                    std::int64_t channel) {
        const int x = view.rank - 2;
        std::int64_t offset = n * view.stride[0] + column * view.stride[x] + channel;
        if (view.rank == 4) offset += row * view.stride[1];
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
