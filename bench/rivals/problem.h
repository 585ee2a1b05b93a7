// One layer with its data, as the support program prepared it for all contenders.
#pragma once

#include "compiler/language/layer.h"
#include "compiler/language/shapes.h"
#include "reference/reference.h"

#include <nlohmann/json.hpp>

#include <filesystem>
#include <span>
#include <string>
#include <vector>

namespace unstride::bench {

struct Problem {
    Layer layer;
    std::vector<Shape> shapes;       // before and after each stage
    reference::LayerData data;       // in the frameworks' order, as in the files
    std::vector<std::int64_t> input; // sizes in the layer's layout
    std::vector<std::int64_t> output;
};

// The sizes of a shape in a layout's order.
std::vector<std::int64_t> sizes_in(const Shape &shape, Layout layout);

// The problem of a file that `prepare` wrote, in one of its forms. Throws std::runtime_error.
Problem read_problem(const std::filesystem::path &file, std::size_t form);

// The same with the layer in the other layout and its tensors moved, where that is not `layout`.
Problem in_layout(Problem problem, Layout layout);

// A tensor from one layout to the other. `shape` is in terms of names, not of order.
std::vector<float> moved(std::span<const float> values, const Shape &shape, Layout from, Layout to);

} // namespace unstride::bench
