// The same way that a user goes: a .layers file, `unstride build`, the archive linked, the library's table.
#include "tests/random/layer_library.h"

#include "compiler/language/printer.h"
#include "reference/random_data.h"
#include "schedules/target_facts.h"
#include "tests/kernels/guarded_memory.h"
#include "tools/library/process.h"

#include <dlfcn.h>
#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <numeric>
#include <optional>
#include <span>

namespace unstride::chains {

namespace fs = std::filesystem;

namespace {

constexpr const char *library_name = "chains";

Result<void> run_tool(const std::vector<std::string> &command,
                      const std::vector<std::string> &environment = {}) {
    const ProcessLimits limits{std::chrono::minutes(4), 0};
    const ProcessResult result = run_process(command, limits, environment);
    if (result.ok()) return {};
    return Error{fmt::format("{} failed: {}{}", command[0], result.errors, result.output)};
}

// Read-only numbers in guarded memory; null where there are none.
class GuardedNumbers {
public:
    explicit GuardedNumbers(const std::vector<float> &values) : values(values) {
        if (values.empty()) return;
        memory.emplace(values.size() * sizeof(float), Flush::end, alignof(float));
        std::copy(values.begin(), values.end(), memory->floats());
    }
    float *data() const { return memory ? memory->floats() : nullptr; }
    bool untouched() const {
        return !memory || (memory->surroundings_untouched() &&
                           std::memcmp(data(), values.data(), values.size() * sizeof(float)) == 0);
    }

private:
    const std::vector<float> &values;
    std::optional<GuardedMemory> memory;
};

} // namespace

std::vector<std::int64_t> in_layout(const Shape &shape, Layout layout) {
    std::vector<std::int64_t> sizes = shape.spatial;
    sizes.insert(layout == Layout::nhwc ? sizes.end() : sizes.begin(), shape.channels);
    sizes.insert(sizes.begin(), shape.batch);
    return sizes;
}

Result<LibraryBuilder> LibraryBuilder::make() {
    auto folder = make_temporary_folder("unstride-chains");
    if (!folder) return Error{folder.error()};
    return LibraryBuilder(std::move(*folder));
}

Result<fs::path> LibraryBuilder::build(const std::vector<Layer> &layers, const std::string &instruction_set,
                                       const std::vector<std::string> &options) {
    const fs::path place = folder.path() / std::to_string(built++), file = place / "chains.layers";
    std::error_code error;
    fs::create_directories(place, error);
    if (error) return Error{fmt::format("cannot create {}: {}", place.string(), error.message())};
    std::string text;
    for (const Layer &layer : layers)
        text += print(layer) + "\n";
    if (auto written = write_file_atomically(file, text); !written) return Error{written.error()};

    const std::string target = host_target().name;
    std::vector<std::string> command = {
        UNSTRIDE_PROGRAM, "build",  file.string(), "--target",          target,          "--out",
        place.string(),   "--name", library_name,  "--instruction-set", instruction_set, "--quiet"};
    command.insert(command.end(), options.begin(), options.end());
    if (auto done =
            run_tool(command, {fmt::format("UNSTRIDE_CACHE_DIR={}", (folder.path() / "cache").string())});
        !done)
        return Error{done.error()};
    const fs::path archive = place / target / fmt::format("lib{}.a", library_name);
    const fs::path shared = place / "chains.so";
    if (auto done = run_tool({"cc", "-shared", "-o", shared.string(), "-Wl,--whole-archive", archive.string(),
                              "-Wl,--no-whole-archive", "-lm", "-ldl", "-lpthread"});
        !done)
        return Error{done.error()};
    return shared;
}

Result<std::vector<std::string>> LibraryBuilder::usable_instruction_sets() {
    Layer probe;
    probe.name = "probe";
    probe.input.spatial = {1, 1};
    probe.stages = {{Conv{1, {1, 1}, {1, 1}, {1, 1}, {PaddingRule::stated, {0, 0}, {0, 0}}, 1}, {}}};
    std::vector<std::string> usable;
    for (const TargetFacts &facts : host_target().instruction_sets) {
        const auto shared = build({probe}, facts.instruction_set);
        if (!shared) return Error{shared.error()};
        const auto loaded = LoadedLibrary::load(*shared);
        if (!loaded) return Error{loaded.error()};
        const int status = loaded->functions().set_instruction_set(facts.instruction_set.c_str());
        if (status == UNSTRIDE_OK) usable.push_back(facts.instruction_set);
    }
    if (usable.empty()) return Error{"this processor has none of the instruction sets of its target"};
    return usable;
}

Result<LoadedLibrary> LoadedLibrary::load(const fs::path &shared_object) {
    void *handle = dlopen(shared_object.c_str(), RTLD_NOW | RTLD_LOCAL);
    if (handle == nullptr) return Error{dlerror()};
    void *symbol = dlsym(handle, fmt::format("{}_library", library_name).c_str());
    if (symbol == nullptr) return Error{dlerror()};
    return LoadedLibrary(reinterpret_cast<const unstride_library *(*)()>(symbol)());
}

const unstride_layer *LoadedLibrary::find(const std::string &name) const {
    for (const unstride_layer *layer : std::span(library->layers, library->layer_count)) {
        if (layer->name == name) return layer;
    }
    return nullptr;
}

bool LoadedLibrary::refuses(const unstride_layer &layer, const Layer &sized) const {
    const Input &input = sized.input;
    const auto sizes = in_layout({input.batch, input.spatial, input.channels}, input.layout);
    std::vector<std::int64_t> output(sizes.size());
    return library->output_shape(&layer, sizes.data(), output.data()) != UNSTRIDE_OK;
}

Result<std::vector<float>> LoadedLibrary::run(const unstride_layer &layer, const Layer &sized,
                                              const reference::LayerData &data, int threads) const {
    const auto failed = [&](const char *function, int status) {
        return Error{
            fmt::format("{}: {}: {}", function, library->status_name(status), library->last_error())};
    };
    const std::vector<Shape> shapes = infer_shapes(sized);
    const std::vector<std::int64_t> input_shape = in_layout(shapes.front(), sized.input.layout);
    const std::vector<std::int64_t> expected_shape = in_layout(shapes.back(), sized.input.layout);
    std::vector<std::int64_t> output_shape(input_shape.size());
    if (layer.rank != static_cast<int>(input_shape.size())) return Error{"the layer's rank is wrong"};
    if (int status = library->output_shape(&layer, input_shape.data(), output_shape.data()))
        return failed("output_shape", status);
    if (output_shape != expected_shape)
        return Error{"output_shape answers another shape than the language's"};

    const GuardedNumbers kernel(data.weights), bias(data.bias), scale(data.scale), prelu(data.prelu);
    unstride_weights weights = {};
    weights.kernel = kernel.data();
    weights.bias = bias.data();
    weights.scale = scale.data();
    weights.prelu = prelu.data();
    const std::size_t packed_bytes = library->packed_bytes(&layer);
    const GuardedMemory packed(packed_bytes, Flush::end, 64);
    void *const packed_data = packed_bytes > 0 ? packed.data() : nullptr;
    if (int status = library->pack(&layer, &weights, packed_data, packed_bytes))
        return failed("pack", status);

    const GuardedNumbers input(data.input), add(data.add);
    const int rank = layer.rank;
    const unstride_tensor input_view = unstride_dense(input.data(), rank, input_shape.data());
    const unstride_tensor add_view = unstride_dense(add.data(), rank, output_shape.data());
    std::vector<float> output(static_cast<std::size_t>(
        std::accumulate(output_shape.begin(), output_shape.end(), std::int64_t{1}, std::multiplies<>())));
    const GuardedMemory output_memory(output.size() * sizeof(float), Flush::end, alignof(float));
    reference::fill_with_nan({output_memory.floats(), output.size()}, 7);
    const unstride_tensor output_view = unstride_dense(output_memory.floats(), rank, output_shape.data());
    const std::size_t scratch_bytes = library->scratch_bytes(&layer, input_shape.data(), threads);
    const GuardedMemory scratch(scratch_bytes, Flush::end, 64);

    unstride_arguments arguments = {};
    arguments.input = &input_view;
    arguments.add = data.add.empty() ? nullptr : &add_view;
    arguments.output = &output_view;
    arguments.packed = packed_data;
    arguments.scratch = scratch_bytes > 0 ? scratch.data() : nullptr;
    arguments.scratch_bytes = scratch_bytes;
    arguments.threads = threads;
    if (int status = library->run(&layer, &arguments)) return failed("run", status);
    for (const GuardedNumbers *given : {&kernel, &bias, &scale, &prelu, &input, &add}) {
        if (!given->untouched()) return Error{"the call changed what it may only read"};
    }
    for (const GuardedMemory *given : {&packed, &scratch, &output_memory}) {
        if (!given->surroundings_untouched())
            return Error{"the call wrote outside of the memory it was given"};
    }
    std::copy_n(output_memory.floats(), output.size(), output.begin());
    return output;
}

} // namespace unstride::chains
