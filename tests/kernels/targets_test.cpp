// Layers of networks and of grid.layers on targets that this machine does not run natively, through `unstride
// run` and NumPy files: aarch64 under qemu-aarch64, OpenCL on whatever device there is.
#include "compiler/language/parser.h"
#include "compiler/language/printer.h"
#include "reference/comparator.h"
#include "reference/random_data.h"
#include "reference/reference.h"
#include "schedules/analytic_default.h"
#include "schedules/tuning_record.h"
#include "tests/kernels/form_numerics.h"
#include "tools/files.h"
#include "tools/library/process.h"
#include "tools/npy.h"

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <iterator>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace unstride {
namespace {

namespace fs = std::filesystem;
using reference::LayerData;

// Of grid.layers: every form of kernel, every source of weights, rank and layout, sizes known and not.
const char *const grid_names[] = {
    "k2s3_holes", "o_size",   "any_k3",      "conv_s3d2", "any_conv_s2", "col_crop",    "col_groups",
    "col_nchw",   "near3x2",  "near_only",   "un_dcr",    "un_nchw",     "sh_dcr",      "sh_dcr_only",
    "bi2",        "bi3_zero", "dw_any_nchw", "dw_c21",    "group3_nchw", "nchw",        "d1",
    "d1_dw",      "d3_any",   "d3_crop",     "d3_moves",  "d3_dw",       "d3_bilinear", "before_gelu"};

// What else differs on a CPU: multiplications by lane or not, column sums, vectors along x and channels.
const char *const cpu_grid_names[] = {
    "k5s3",     "d4s6_shared", "p_same_gap",  "ci1",         "strips",       "conv3x5",    "col_any3",
    "col_d2s2", "col_shuffle", "col_nearest", "near_any",    "near_nchw",    "un_any",     "un_only",
    "sh_any",   "sh_dw",       "sh_bilinear", "bi4_aligned", "bi_nchw",      "dw_s2_nchw", "d1_any",
    "d1_col",   "d1_moves",    "d1_bilinear", "d3_col",      "d3_unshuffle", "late_bias",  "add_first"};

// Of all taps and strides that minimal filtering is for.
const char *const filtered_names[] = {"filter_k3",   "filter_k5s3",  "filter_conv", "filter_near",
                                      "filter_crop", "filter_mixed", "filter_1d",   "filter_groups",
                                      "filter_any",  "filter_nchw",  "filter_open"};

// A layer no larger than a few pixels an axis, and its windows cut to what there is.
Layer reduced(Layer layer) {
    constexpr std::int64_t largest_size = 4, largest_batch = 2;
    layer.input.batch = std::min(layer.input.batch, largest_batch);
    for (std::int64_t &size : layer.input.spatial)
        size = std::min(size, largest_size);
    for (std::size_t i = 0; i < layer.stages.size(); i++) {
        auto *crop = std::get_if<Crop>(&layer.stages[i].operation);
        if (crop == nullptr) continue;
        Layer before = layer;
        before.stages.resize(i);
        const Shape shape = infer_shapes(before).back();
        for (std::size_t axis = 0; axis < shape.spatial.size(); axis++) {
            crop->from[axis] = std::min(crop->from[axis], shape.spatial[axis] - 1);
            crop->size[axis] = std::min(crop->size[axis], shape.spatial[axis] - crop->from[axis]);
        }
    }
    return layer;
}

std::vector<Layer> read_layers(const fs::path &file) {
    const auto text = read_file(file);
    if (!text.ok()) ADD_FAILURE() << text.error();
    const ParseResult parsed = parse_layers(text.ok() ? *text : std::string(), file.string());
    for (const Diagnostic &error : parsed.errors)
        ADD_FAILURE() << to_string(error);
    return parsed.layers;
}

// Every layer of every network, or the last of each.
std::vector<Layer> network_layers(bool all) {
    const fs::path source_folder = fs::path(UNSTRIDE_GRID).parent_path().parent_path().parent_path();
    std::vector<fs::path> files;
    for (const auto &entry : fs::directory_iterator(source_folder / "bench" / "layers"))
        files.push_back(entry.path());
    std::sort(files.begin(), files.end());
    std::vector<Layer> result;
    for (const fs::path &file : files) {
        // Those of the other two differ from the networks' in size only.
        if (file.filename() == "dense.layers" || file.filename() == "forms.layers") continue;
        const std::vector<Layer> layers = read_layers(file);
        for (std::size_t i = all ? 0 : layers.size() - 1; i < layers.size(); i++)
            result.push_back(reduced(layers[i]));
    }
    return result;
}

enum class Data { rounding, exact };
enum class Form { by_default, filtering };

struct Run {
    const char *target;
    Data data;
    Form form;
};

// Minimal filtering of a layer on the target's only instruction set, where there is such a schedule.
std::optional<ScheduleRecord> filtering_of(const Layer &layer, const std::string &target) {
    const auto result = lower(layer);
    const auto *convolution = std::get_if<PhaseConvolution>(&result);
    if (convolution == nullptr || convolution->depthwise()) return std::nullopt;
    const auto choice = choose_form(*convolution, find_target(target)->instruction_sets.front());
    return choice.filtering ? std::optional(choice.filtering->schedule) : std::nullopt;
}

// Exact data adds nothing for the networks' layers: their kernels are the grid's. A driver takes seconds to
// compile one of them.
std::vector<Layer> layers_for(const std::string &target, bool exact, Form form) {
    const bool cpu = target == "aarch64";
    const std::vector<Layer> all = read_layers(UNSTRIDE_GRID);
    std::map<std::string, Layer> grid;
    for (const Layer &layer : all)
        grid[layer.name] = layer;
    std::vector<std::string> names(std::begin(grid_names), std::end(grid_names));
    if (cpu) names.insert(names.end(), std::begin(cpu_grid_names), std::end(cpu_grid_names));
    if (form == Form::filtering)
        names.insert(names.end(), std::begin(filtered_names), std::end(filtered_names));
    std::vector<Layer> result;
    if (!exact && form == Form::by_default) result = network_layers(cpu);
    for (const std::string &name : names) {
        if (grid.count(name) == 0) ADD_FAILURE() << "grid.layers has no " << name;
        if (form == Form::by_default || filtering_of(grid[name], target)) result.push_back(grid[name]);
    }
    return result;
}

// The sizes that a layer is run at.
Layer sized(const Layer &layer) {
    const PerAxis sizes = {4, 6, 12}; // of which a layer of fewer axes takes the last
    return reference::with_sizes(
        layer, 2, {sizes.end() - static_cast<std::ptrdiff_t>(layer.input.spatial.size()), sizes.end()});
}

std::vector<std::int64_t> flat(const Shape &shape, Layout layout) {
    std::vector<std::int64_t> sizes = {shape.batch};
    sizes.insert(sizes.end(), shape.spatial.begin(), shape.spatial.end());
    sizes.insert(layout == Layout::nchw ? sizes.begin() + 1 : sizes.end(), shape.channels);
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
    const auto write_channels = [&](const char *what, const std::vector<float> &values) {
        write(what, {static_cast<std::int64_t>(values.size())}, values);
    };
    write("input", flat(shapes.front(), layer.input.layout), data.input);
    write("add", flat(shapes.back(), layer.input.layout), data.add);
    write_channels("bias", data.bias);
    write_channels("scale", data.scale);
    write_channels("prelu", data.prelu);
    for (std::size_t i = 0; i < layer.stages.size(); i++) {
        const auto shape = weight_shape(layer.stages[i].operation, shapes[i].channels);
        if (!shape.empty()) write("weights", shape, data.weights);
    }
}

// Records that make these layers filtered.
std::string filtering_records(const std::vector<Layer> &layers, const std::string &target) {
    std::string records;
    for (const Layer &layer : layers) {
        TuningRecord record;
        record.layer = print_chain(layer);
        record.instruction_set = find_target(target)->instruction_sets.front().instruction_set;
        record.schedule = *filtering_of(layer, target);
        record.estimate_ns = 1000;
        record.date = "2026-03-01T12:00:00Z";
        records += to_json(record).dump() + "\n";
    }
    return records;
}

std::size_t count(const std::string &text, const std::string &word) {
    std::size_t found = 0;
    for (std::size_t at = text.find(word); at != std::string::npos; at = text.find(word, at + 1))
        found++;
    return found;
}

class Targets : public testing::TestWithParam<Run> {};

TEST_P(Targets, AgreeWithTheReference) {
    const auto [target, numbers, form] = GetParam();
    const bool exact = numbers == Data::exact, filters = form == Form::filtering;
    if (target == std::string("aarch64") &&
        (!program_exists("qemu-aarch64") || !program_exists("aarch64-linux-gnu-gcc"))) {
        GTEST_SKIP() << "qemu-aarch64 or aarch64-linux-gnu-gcc is not installed";
    }
    const auto folder = make_temporary_folder("unstride-targets");
    ASSERT_TRUE(folder.ok()) << folder.error();
    const fs::path data_folder = folder->path() / "data", out_folder = folder->path() / "out";
    const fs::path file = folder->path() / "chosen.layers", records = folder->path() / "forms.jsonl";
    fs::create_directories(data_folder);

    std::vector<Layer> layers;
    std::vector<LayerData> data;
    std::string text;
    for (const Layer &layer : layers_for(target, exact, form)) {
        const Layer concrete = sized(layer);
        const auto exact_data = reference::exact_data(concrete, 9);
        if (exact && reference::has_rounding_activation(concrete)) continue;
        ASSERT_TRUE(!exact || exact_data.has_value()) << concrete.name << ": its sums cannot be exact";
        layers.push_back(concrete);
        data.push_back(exact ? *exact_data : reference::normal_data(concrete, 8));
        write_data(data_folder, concrete, data.back());
        text += print(layer) + "\n";
    }
    ASSERT_TRUE(write_file_atomically(file, text).ok());
    const std::vector<Layer> chosen = read_layers(file);
    ASSERT_TRUE(write_file_atomically(records, filters ? filtering_records(chosen, target) : "").ok());
    ProcessLimits limits{std::chrono::minutes(15), 0};
    const ProcessResult run = run_process(
        {UNSTRIDE_PROGRAM, "run", file.string(), "--data", data_folder.string(), "--out", out_folder.string(),
         "--target", target, "--db", records.string(), "--threads", "2", "--json", "--quiet"},
        limits);
    if (run.errors.find("UNSTRIDE_NO_DRIVER") != std::string::npos ||
        run.errors.find("libOpenCL") != std::string::npos) {
        GTEST_SKIP() << "this machine has no driver for " << target << ": " << run.errors.substr(0, 200);
    }
    EXPECT_TRUE(run.ok()) << run.errors;
    if (filters) {
        EXPECT_EQ(count(run.output, "gpu_filtering"), layers.size()) << run.output;
    }
    for (std::size_t i = 0; i < layers.size(); i++) {
        const auto expected = reference::evaluate(layers[i], data[i]);
        ASSERT_TRUE(expected.ok()) << expected.error();
        const auto output = read_npy(out_folder / (layers[i].name + ".output.npy"),
                                     flat(expected->shape, layers[i].input.layout));
        EXPECT_TRUE(output.ok()) << output.error();
        if (!output.ok()) continue;
        reference::Tolerance tolerance;
        if (filters) {
            const PhaseConvolution convolution = std::get<PhaseConvolution>(lower(chosen[i]));
            tolerance = tolerance_of(convolution, *filtering_of(chosen[i], target));
        }
        tolerance.exact = exact;
        const auto comparison =
            reference::compare(layers[i], *expected, expected->shape, output->values, tolerance);
        EXPECT_TRUE(comparison.equal) << target << ": " << comparison.report;
    }
}

INSTANTIATE_TEST_SUITE_P(All, Targets,
                         testing::Values(Run{"aarch64", Data::rounding, Form::by_default},
                                         Run{"aarch64", Data::exact, Form::by_default},
                                         Run{"opencl", Data::rounding, Form::by_default},
                                         Run{"opencl", Data::exact, Form::by_default},
                                         Run{"opencl", Data::rounding, Form::filtering}),
                         [](const testing::TestParamInfo<Run> &info) {
                             return std::string(info.param.target) +
                                    (info.param.data == Data::exact ? "_exact" : "_rounding") +
                                    (info.param.form == Form::filtering ? "_filtering" : "");
                         });

} // namespace
} // namespace unstride
