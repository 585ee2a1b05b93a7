// Files are raw float32 numbers in this machine's byte order.
#include "bench/rivals/problem.h"

#include "compiler/language/parser.h"

#include <fmt/format.h>

#include <fstream>
#include <stdexcept>

namespace unstride::bench {

namespace {

std::vector<float> read_floats(const nlohmann::json &files, const char *name) {
    if (!files.contains(name)) return {};
    const std::string path = files.at(name);
    std::ifstream file(path, std::ios::binary | std::ios::ate);
    const auto bytes = file ? static_cast<std::size_t>(file.tellg()) : 0;
    std::vector<float> values(bytes / sizeof(float));
    file.seekg(0);
    file.read(reinterpret_cast<char *>(values.data()), static_cast<std::streamsize>(bytes));
    if (!file) throw std::runtime_error(path + ": cannot be read");
    return values;
}

std::int64_t product(const PerAxis &sizes) {
    std::int64_t result = 1;
    for (const std::int64_t size : sizes)
        result *= size;
    return result;
}

} // namespace

std::vector<std::int64_t> sizes_in(const Shape &shape, Layout layout) {
    std::vector<std::int64_t> sizes = {shape.batch};
    if (layout == Layout::nchw) sizes.push_back(shape.channels);
    sizes.insert(sizes.end(), shape.spatial.begin(), shape.spatial.end());
    if (layout == Layout::nhwc) sizes.push_back(shape.channels);
    return sizes;
}

std::vector<float> moved(std::span<const float> values, const Shape &shape, Layout from, Layout to) {
    std::vector<float> result(values.begin(), values.end());
    if (from == to || values.empty()) return result;
    const std::int64_t pixels = product(shape.spatial);
    const std::int64_t rows = from == Layout::nhwc ? pixels : shape.channels;
    const std::int64_t columns = from == Layout::nhwc ? shape.channels : pixels;
    for (std::int64_t n = 0; n < shape.batch; n++) {
        const float *source = values.data() + n * rows * columns;
        float *target = result.data() + n * rows * columns;
        for (std::int64_t row = 0; row < rows; row++) {
            for (std::int64_t column = 0; column < columns; column++)
                target[column * rows + row] = source[row * columns + column];
        }
    }
    return result;
}

Problem read_problem(const std::filesystem::path &file, std::size_t form) {
    std::ifstream stream(file);
    if (!stream) throw std::runtime_error(file.string() + ": cannot be read");
    const nlohmann::json json = nlohmann::json::parse(stream);
    const nlohmann::json &chosen = json.at("forms").at(form);
    const ParseResult parsed = parse_layer(std::string(chosen.at("text")), json.at("name"));
    if (!parsed.ok()) throw std::runtime_error(parsed.errors.front().message);
    Problem problem;
    problem.layer = parsed.layers.at(0);
    problem.shapes = infer_shapes(problem.layer);
    problem.input = sizes_in(problem.shapes.front(), problem.layer.input.layout);
    problem.output = sizes_in(problem.shapes.back(), problem.layer.input.layout);
    const nlohmann::json &files = json.at("files");
    problem.data.input = read_floats(files, "input");
    problem.data.weights = read_floats(chosen, "weights");
    problem.data.bias = read_floats(files, "bias");
    problem.data.scale = read_floats(files, "scale");
    problem.data.prelu = read_floats(files, "prelu");
    problem.data.add = read_floats(files, "add");
    return problem;
}

Problem in_layout(Problem problem, Layout layout) {
    const Layout from = problem.layer.input.layout;
    if (from == layout) return problem;
    problem.data.input = moved(problem.data.input, problem.shapes.front(), from, layout);
    for (std::size_t i = 0; i < problem.layer.stages.size(); i++) {
        if (std::holds_alternative<Add>(problem.layer.stages[i].operation))
            problem.data.add = moved(problem.data.add, problem.shapes[i], from, layout);
    }
    problem.layer.input.layout = layout;
    problem.input = sizes_in(problem.shapes.front(), layout);
    problem.output = sizes_in(problem.shapes.back(), layout);
    return problem;
}

} // namespace unstride::bench
