// Every layer of grid.layers on a target that this machine does not run natively, through `unstride run` and
// NumPy files: aarch64 under qemu-aarch64, OpenCL on whatever device there is.
#include "compiler/language/parser.h"
#include "tests/reference/comparator.h"
#include "tests/reference/random_data.h"
#include "tests/reference/reference.h"
#include "tools/files.h"
#include "tools/library/process.h"
#include "tools/npy.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <string>
#include <vector>

namespace unstride {
namespace {

namespace fs = std::filesystem;
using reference::LayerData;

std::vector<std::int64_t> flat(const Shape &shape) {
    std::vector<std::int64_t> sizes = {shape.batch};
    sizes.insert(sizes.end(), shape.spatial.begin(), shape.spatial.end());
    sizes.push_back(shape.channels);
    return sizes;
}

void write_data(const fs::path &folder, const Layer &layer, const LayerData &data) {
    const std::vector<Shape> shapes = infer_shapes(layer);
    const auto write = [&](const char *what, const std::vector<std::int64_t> &shape,
                           const std::vector<float> &values) {
        if (values.empty()) return;
        const auto written = write_npy(folder / (layer.name + "." + what + ".npy"), shape, values);
        ASSERT_TRUE(written.ok()) << written.error();
    };
    write("input", flat(shapes.front()), data.input);
    write("add", flat(shapes.back()), data.add);
    write("bias", {static_cast<std::int64_t>(data.bias.size())}, data.bias);
    for (const Stage &stage : layer.stages) {
        const auto shape = weight_shape(stage.operation, layer.input.channels);
        if (!shape.empty()) write("weights", shape, data.weights);
    }
}

struct Run {
    const char *target;
    bool exact;
};

class Targets : public testing::TestWithParam<Run> {};

TEST_P(Targets, AgreeWithTheReference) {
    const auto [target, exact] = GetParam();
    if (target == std::string("aarch64") &&
        (!program_exists("qemu-aarch64") || !program_exists("aarch64-linux-gnu-gcc"))) {
        GTEST_SKIP() << "qemu-aarch64 or aarch64-linux-gnu-gcc is not installed";
    }
    const auto text = read_file(UNSTRIDE_GRID);
    ASSERT_TRUE(text.ok()) << text.error();
    const ParseResult parsed = parse_layers(*text, UNSTRIDE_GRID);
    ASSERT_TRUE(parsed.ok());
    const auto folder = make_temporary_folder("unstride-targets");
    ASSERT_TRUE(folder.ok()) << folder.error();
    const fs::path data_folder = folder->path() / "data", out_folder = folder->path() / "out";
    fs::create_directories(data_folder);

    std::vector<Layer> layers;
    std::vector<LayerData> data;
    for (const Layer &layer : parsed.layers) {
        layers.push_back(reference::with_sizes(layer, 2, {7, 10}));
        data.push_back(exact ? *reference::exact_data(layers.back(), 9)
                             : reference::normal_data(layers.back(), 8));
        write_data(data_folder, layers.back(), data.back());
    }
    ProcessLimits limits{std::chrono::minutes(15), 0};
    const ProcessResult run =
        run_process({UNSTRIDE_PROGRAM, "run", UNSTRIDE_GRID, "--data", data_folder.string(), "--out",
                     out_folder.string(), "--target", target, "--threads", "2", "--json", "--quiet"},
                    limits);
    if (run.errors.find("UNSTRIDE_NO_DRIVER") != std::string::npos ||
        run.errors.find("libOpenCL") != std::string::npos) {
        GTEST_SKIP() << "this machine has no driver for " << target << ": " << run.errors.substr(0, 200);
    }
    ASSERT_TRUE(run.ok()) << run.errors;
    reference::Tolerance tolerance;
    tolerance.exact = exact;
    for (std::size_t i = 0; i < layers.size(); i++) {
        const auto expected = reference::evaluate(layers[i], data[i]);
        ASSERT_TRUE(expected.ok()) << expected.error();
        const auto output = read_npy(out_folder / (layers[i].name + ".output.npy"), flat(expected->shape));
        ASSERT_TRUE(output.ok()) << output.error();
        const auto comparison =
            reference::compare(layers[i], *expected, expected->shape, output->values, tolerance);
        EXPECT_TRUE(comparison.equal) << target << ": " << comparison.report;
    }
}

INSTANTIATE_TEST_SUITE_P(All, Targets,
                         testing::Values(Run{"aarch64", false}, Run{"aarch64", true}, Run{"opencl", false},
                                         Run{"opencl", true}),
                         [](const testing::TestParamInfo<Run> &info) {
                             return std::string(info.param.target) +
                                    (info.param.exact ? "_exact" : "_rounding");
                         });

} // namespace
} // namespace unstride
