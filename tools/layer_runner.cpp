// The program is runner/runner.c linked with the layer's library: what runs is what a user would link.
#include "tools/layer_runner.h"

#include "compiler/language/printer.h"
#include "compiler/language/shapes.h"
#include "compiler/lowering/costs.h"
#include "tools/files.h"
#include "tools/library/bundle.h"
#include "tools/library/description.h"
#include "tools/library/installation.h"
#include "tools/library/kernel_compiler.h"
#include "tools/library/library_builder.h"
#include "tools/library/process.h"
#include "tools/npy.h"
#include "tools/sha256.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>
#include <sstream>

namespace unstride {

namespace fs = std::filesystem;

namespace {

constexpr const char *library_name = "runner_layer";

// Changes with everything that goes into the program.
Result<std::string> runner_key(const Layer &layer, const Target &target, const ScheduleSource &schedules,
                               const Installation &installation) {
    auto lowered = lower(layer);
    if (const auto *refusal = std::get_if<Diagnostic>(&lowered)) return Error{to_string(*refusal)};
    std::vector<std::string> parts = {print(layer), target.name};
    for (const TargetFacts &facts : target.instruction_sets) {
        const PhaseConvolution &convolution = std::get<PhaseConvolution>(lowered);
        const LookupResult found = schedules.find(layer, convolution, target, facts);
        parts.push_back(kernel_key({print_chain(layer), facts, found.schedule, packs_weights(convolution)},
                                   installation));
        parts.push_back(to_string(found.grade));
    }
    // The runtime's sources are part of the program too; their times change when an installation does.
    for (const fs::path &folder : {installation.runtime / "src", installation.runtime / "include/unstride",
                                   installation.runtime / "runner"}) {
        std::vector<std::string> files;
        for (const auto &file : fs::directory_iterator(folder)) {
            files.push_back(fmt::format("{} {} {}", file.path().filename().string(), file.file_size(),
                                        file.last_write_time().time_since_epoch().count()));
        }
        std::sort(files.begin(), files.end());
        parts.insert(parts.end(), files.begin(), files.end());
    }
    return sha256_of_parts(parts).substr(0, 32);
}

// A tensor of the layer from NAME.WHAT.npy, checked against a shape with dynamic sizes.
Result<NpyArray> read_tensor(const fs::path &data, const Layer &layer, const char *what,
                             const std::vector<std::int64_t> &shape) {
    const fs::path path = data / fmt::format("{}.{}.npy", layer.name, what);
    auto array = read_npy(path);
    if (!array) return array;
    bool fits = array->shape.size() == shape.size();
    for (std::size_t i = 0; fits && i < shape.size(); i++)
        fits = shape[i] == dynamic_size || array->shape[i] == shape[i];
    if (fits) return array;
    const auto text = [](const std::vector<std::int64_t> &sizes) {
        std::string result;
        for (const std::int64_t size : sizes) {
            result += (result.empty() ? "" : "x") + (size == dynamic_size ? "?" : std::to_string(size));
        }
        return result;
    };
    return Error{fmt::format("{}: shape must be {}, got {}", path.string(), text(shape), text(array->shape))};
}

std::string_view bytes_of(const std::vector<float> &values) {
    return {reinterpret_cast<const char *>(values.data()), values.size() * sizeof(float)};
}

// The layer with the input's sizes in place of `?`.
Result<Layer> with_input_sizes(const Layer &layer, const std::vector<std::int64_t> &sizes) {
    Layer sized = layer;
    const std::size_t first = layer.input.layout == Layout::nchw ? 2 : 1;
    sized.input.batch = sizes[0];
    for (std::size_t i = 0; i < sized.input.spatial.size(); i++)
        sized.input.spatial[i] = sizes[first + i];
    const auto errors = check_shapes(sized);
    if (!errors.empty()) return Error{to_string(errors[0])};
    return sized;
}

// What the program printed, or what it did not.
Result<RunResult> parse_output(const std::string &output) {
    RunResult result;
    std::istringstream lines(output);
    for (std::string line; std::getline(lines, line);) {
        const std::size_t space = line.find(' ');
        if (space == std::string::npos) continue;
        const std::string key = line.substr(0, space), value = line.substr(space + 1);
        if (key == "instruction_set") result.instruction_set = value;
        if (key == "threads") result.threads = std::stoi(value);
        if (key == "schedule") result.schedule = value;
        if (key == "grade") result.grade = value;
        if (key == "samples_ns") {
            std::istringstream numbers(value);
            for (double ns; numbers >> ns;)
                result.samples_ms.push_back(ns * 1e-6);
        }
    }
    if (result.samples_ms.empty()) return Error{"the layer's program printed no samples: " + output};
    return result;
}

// How a program of that target is started on this machine.
Result<std::vector<std::string>> launcher(const Target &target) {
    if (target.name != "aarch64" || host_target().name == "aarch64") return std::vector<std::string>{};
    if (!program_exists("qemu-aarch64")) {
        return Error{"aarch64 programs need qemu-aarch64 on this machine; install qemu-user"};
    }
    return std::vector<std::string>{"qemu-aarch64", "-L", "/usr/aarch64-linux-gnu"};
}

} // namespace

Result<fs::path> build_runner(const Layer &layer, const Target &target, const ScheduleSource &schedules,
                              int jobs) {
    const auto installation = find_installation();
    if (!installation) return Error{installation.error()};
    const auto key = runner_key(layer, target, schedules, *installation);
    if (!key) return Error{key.error()};
    const fs::path entry = cache_folder() / "runners" / *key;
    std::error_code error;
    if (fs::exists(entry / "runner", error)) return entry / "runner";
    fs::create_directories(entry.parent_path(), error);
    if (error)
        return Error{fmt::format("cannot create {}: {}", entry.parent_path().string(), error.message())};
    const auto folder = make_temporary_folder("building", entry.parent_path());
    if (!folder) return Error{folder.error()};
    BuildRequest request;
    request.layers = {layer};
    request.name = library_name;
    request.targets = {&target};
    request.folder = folder->path();
    request.schedules = &schedules;
    request.jobs = jobs;
    request.quiet = true;
    const BuildOutcome outcome = build_libraries(request);
    if (!outcome.ok()) return Error{outcome.errors[0]};

    const fs::path runner = installation->runtime / "runner";
    std::vector<std::string> command = {c_compiler(target),
                                        "-O2",
                                        "-std=gnu11",
                                        fmt::format("-DRUNNER_HEADER=\"{}.h\"", library_name),
                                        fmt::format("-DRUNNER_LIBRARY={}_library", library_name),
                                        "-I",
                                        (folder->path() / target.name).string(),
                                        (runner / "runner.c").string(),
                                        outcome.libraries[0].archive.string(),
                                        "-lpthread",
                                        "-ldl",
                                        "-lm",
                                        "-o",
                                        (folder->path() / "runner").string()};
    if (target.name == "cuda") command.insert(command.begin() + 1, "-DRUNNER_CUDA");
    const ProcessResult compiled = run_process(command);
    if (!compiled.ok()) return Error{fmt::format("{} failed: {}", command[0], compiled.errors)};
    fs::rename(folder->path(), entry, error);
    if (error && !fs::exists(entry / "runner")) {
        return Error{fmt::format("cannot write {}: {}", entry.string(), error.message())};
    }
    return entry / "runner";
}

Result<RunResult> run_layer(const Layer &layer, const fs::path &program, const RunSettings &settings) {
    auto lowered = lower(layer);
    if (const auto *refusal = std::get_if<Diagnostic>(&lowered)) return Error{to_string(*refusal)};
    const PhaseConvolution &convolution = std::get<PhaseConvolution>(lowered);
    const std::vector<Shape> open_shapes = infer_shapes(layer);
    const auto input =
        read_tensor(settings.data, layer, "input", sizes_in_order(open_shapes.front(), layer.input.layout));
    if (!input) return Error{input.error()};
    const auto sized = with_input_sizes(layer, input->shape);
    if (!sized) return Error{sized.error()};
    const std::vector<Shape> shapes = infer_shapes(*sized);
    const std::vector<std::int64_t> input_shape = sizes_in_order(shapes.front(), layer.input.layout);
    const std::vector<std::int64_t> output_shape = sizes_in_order(shapes.back(), layer.input.layout);

    const auto folder = make_temporary_folder("unstride-run");
    if (!folder) return Error{folder.error()};
    std::vector<std::string> command;
    const auto start = launcher(*settings.target);
    if (!start) return Error{start.error()};
    command = *start;
    const fs::path output = folder->path() / "output";
    command.insert(command.end(),
                   {program.string(), std::to_string(settings.threads), settings.until_stable ? "10" : "0"});
    // Gives the program a tensor as raw numbers, or "-" where the layer has none.
    const auto pass = [&](const char *what, const std::vector<std::int64_t> &shape) -> Result<void> {
        if (shape.empty()) {
            command.push_back("-");
            return {};
        }
        const auto array = read_tensor(settings.data, layer, what, shape);
        if (!array) return Error{array.error()};
        command.push_back((folder->path() / what).string());
        return write_file_atomically(command.back(), bytes_of(array->values));
    };
    const auto channels = [](std::int64_t count) {
        return count == 0 ? std::vector<std::int64_t>{} : std::vector<std::int64_t>{count};
    };
    for (const Result<void> &passed :
         {pass("input", input_shape), pass("weights", convolution.weight_shape),
          pass("bias", channels(convolution.parameter_count<Bias>())),
          pass("scale", channels(convolution.parameter_count<Scale>())),
          pass("prelu", channels(convolution.parameter_count<Prelu>())),
          pass("add", convolution.has_add() ? output_shape : std::vector<std::int64_t>{})}) {
        if (!passed) return Error{passed.error()};
    }
    command.push_back(output.string());
    for (const std::int64_t size : input->shape)
        command.push_back(std::to_string(size));

    const ProcessLimits limits{std::chrono::minutes(10), 0};
    const ProcessResult process = run_process(command, limits);
    if (!process.ok()) {
        std::string text = process.errors;
        while (!text.empty() && text.back() == '\n')
            text.pop_back();
        return Error{text.empty() ? "the layer's program failed" : text};
    }
    auto result = parse_output(process.output);
    if (!result) return result;
    const auto raw = read_file(output);
    if (!raw) return Error{raw.error()};
    std::vector<float> values(raw->size() / sizeof(float));
    std::copy(raw->begin(), raw->end(), reinterpret_cast<char *>(values.data()));
    std::error_code error;
    fs::create_directories(settings.out, error);
    if (error) return Error{fmt::format("cannot create {}: {}", settings.out.string(), error.message())};
    if (auto written = write_npy(settings.out / (layer.name + ".output.npy"), output_shape, values);
        !written) {
        return Error{written.error()};
    }
    result->multiplications = costs(convolution, input->shape[0], sized->input.spatial).multiplications;
    return result;
}

} // namespace unstride
