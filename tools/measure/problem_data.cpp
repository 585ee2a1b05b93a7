// The files' key is the text of the layer with its sizes, the seed, and the version of what makes them.
#include "tools/measure/problem_data.h"

#include "compiler/language/printer.h"
#include "compiler/lowering/costs.h"
#include "reference/comparator.h"
#include "reference/random_data.h"
#include "reference/reference.h"
#include "tools/files.h"
#include "tools/sha256.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <span>
#include <string_view>
#include <vector>

namespace unstride {

namespace fs = std::filesystem;

namespace {

// To be raised with every change of the random numbers, the reference, the bound or the files.
constexpr int data_version = 1;

// Multiplications that the reference may take for a size of our own choice.
constexpr double most_multiplications = 1e9;

template<typename T>
std::string_view bytes_of(const std::vector<T> &values) {
    return {reinterpret_cast<const char *>(values.data()), values.size() * sizeof(T)};
}

struct DataFile {
    const char *name;
    std::int64_t bytes;
};

std::int64_t output_elements(const Layer &layer) {
    const Shape shape = infer_shapes(layer).back();
    std::int64_t elements = shape.batch * shape.channels;
    for (const std::int64_t size : shape.spatial)
        elements *= size;
    return elements;
}

std::vector<DataFile> files_of(const Layer &layer, const reference::DataSizes &sizes) {
    constexpr std::int64_t f32 = sizeof(float), f64 = sizeof(double);
    const std::int64_t outputs = output_elements(layer);
    return {{"input", sizes.input * f32}, {"weights", sizes.weights * f32}, {"bias", sizes.bias * f32},
            {"scale", sizes.scale * f32}, {"prelu", sizes.prelu * f32},     {"add", sizes.add * f32},
            {"expected", outputs * f64},  {"bound", outputs * f32}};
}

bool is_whole(const fs::path &folder, const std::vector<DataFile> &files) {
    return std::all_of(files.begin(), files.end(), [&](const DataFile &file) {
        std::error_code error;
        const std::uintmax_t bytes = fs::file_size(folder / file.name, error);
        return !error && bytes == static_cast<std::uintmax_t>(file.bytes);
    });
}

// The bounds as floats, never wider than they are.
std::vector<float> bounds_of(const reference::ReferenceResult &expected) {
    std::vector<float> bounds(expected.values.size());
    for (std::size_t i = 0; i < bounds.size(); i++) {
        const double bound = reference::error_bound(expected, i);
        bounds[i] = static_cast<float>(bound);
        if (std::isinf(bounds[i])) bounds[i] = std::numeric_limits<float>::quiet_NaN();
        if (static_cast<double>(bounds[i]) > bound) bounds[i] = std::nextafter(bounds[i], 0.0f);
    }
    return bounds;
}

Result<void> write_files(const Layer &layer, std::uint64_t seed, const fs::path &folder) {
    const reference::LayerData data = reference::normal_data(layer, seed);
    const auto expected = reference::evaluate(layer, data);
    if (!expected) return Error{expected.error()};
    const std::pair<const char *, std::string_view> inputs[] = {
        {"input", bytes_of(data.input)},         {"weights", bytes_of(data.weights)},
        {"bias", bytes_of(data.bias)},           {"scale", bytes_of(data.scale)},
        {"prelu", bytes_of(data.prelu)},         {"add", bytes_of(data.add)},
        {"expected", bytes_of(expected->values)}};
    for (const auto &[name, bytes] : inputs) {
        if (auto written = write_file_atomically(folder / name, bytes); !written) return written;
    }
    return write_file_atomically(folder / "bound", bytes_of(bounds_of(*expected)));
}

// The layer with all its dynamic sizes at or just above the wanted ones, as its stages allow.
Layer with_dynamic_sizes(const Layer &layer, std::int64_t batch, const PerAxis &wanted) {
    constexpr std::int64_t most_tries = 256;
    PerAxis spatial = wanted;
    for (std::int64_t &size : spatial) {
        const std::int64_t least = size;
        const auto accepted = [&] {
            const PerAxis same(wanted.size(), size);
            return reference::data_sizes(reference::with_sizes(layer, batch, same)).ok();
        };
        while (!accepted() && size < least + most_tries)
            size++;
    }
    return reference::with_sizes(layer, batch, spatial);
}

double multiplications_of(const Layer &layer) {
    const auto lowered = lower(layer);
    const auto *convolution = std::get_if<PhaseConvolution>(&lowered);
    if (convolution == nullptr) return 0;
    return costs(*convolution, layer.input.batch, layer.input.spatial).multiplications;
}

} // namespace

std::vector<Layer> measured_sizes(const Layer &layer) {
    const Input &input = layer.input;
    const std::size_t axes = input.spatial.size();
    const bool dynamic = input.batch == dynamic_size || std::ranges::count(input.spatial, dynamic_size) > 0;
    if (!dynamic) return {layer};
    const PerAxis odd = {13, 9, 17};
    const PerAxis odd_sizes(odd.end() - static_cast<std::ptrdiff_t>(axes), odd.end());
    std::int64_t large = axes == 1 ? 4096 : axes == 2 ? 64 : 16;
    const auto timed = [&] { return with_dynamic_sizes(layer, 1, PerAxis(axes, large)); };
    while (large > 8 && multiplications_of(timed()) > most_multiplications)
        large /= 2;
    return {with_dynamic_sizes(layer, 1, PerAxis(axes, 1)), with_dynamic_sizes(layer, 2, odd_sizes), timed()};
}

std::int64_t tensor_bytes(const Layer &layer) {
    const auto sizes = reference::data_sizes(layer);
    if (!sizes) return 0;
    return (sizes->input + sizes->weights + sizes->add + output_elements(layer)) *
           static_cast<std::int64_t>(sizeof(float));
}

Result<fs::path> make_problem_data(const Layer &layer, std::uint64_t seed, const fs::path &cache) {
    const auto sizes = reference::data_sizes(layer);
    if (!sizes) return Error{sizes.error()};
    const std::vector<std::string> parts = {print_chain(layer), std::to_string(seed),
                                            std::to_string(data_version)};
    const fs::path entry = cache / "references" / sha256_of_parts(parts).substr(0, 32);
    const std::vector<DataFile> files = files_of(layer, *sizes);
    if (is_whole(entry, files)) return entry;
    std::error_code error;
    fs::create_directories(entry.parent_path(), error);
    if (error)
        return Error{fmt::format("cannot create {}: {}", entry.parent_path().string(), error.message())};
    const auto folder = make_temporary_folder("evaluating", entry.parent_path());
    if (!folder) return Error{folder.error()};
    if (auto written = write_files(layer, seed, folder->path()); !written) return Error{written.error()};
    fs::rename(folder->path(), entry, error);
    if (error && !is_whole(entry, files)) { // what is there is damaged, and no other process's work
        fs::remove_all(entry, error);
        fs::rename(folder->path(), entry, error);
        if (error) return Error{fmt::format("cannot write {}: {}", entry.string(), error.message())};
    }
    return entry;
}

} // namespace unstride
