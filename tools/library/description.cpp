// Every number of the tables is derived here from the lowering and the schedule record.
#include "tools/library/description.h"

#include "compiler/language/printer.h"
#include "compiler/lowering/costs.h"
#include "tools/library/form.h"
#include "tools/sha256.h"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <algorithm>

namespace unstride {

namespace {

// The bits UNSTRIDE_CPU_* of runtime/src/kernel_table.h that an instruction set needs.
std::uint32_t requirement(const TargetFacts &facts) {
    if (facts.instruction_set == "avx512") return 4;
    if (facts.instruction_set == "avx2") return 2;
    if (facts.instruction_set == "sse41") return 1;
    return 0;
}

LibraryAxis describe_axis(const PhaseAxis &axis) {
    LibraryAxis result;
    result.phases = axis.phase_count();
    for (const SizeStep &step : axis.sizes) {
        result.steps.push_back(
            {step.rule.scale, step.rule.shift, step.rule.divisor, step.least, step.multiple});
    }
    return result;
}

// The framework's weights of one group, innermost first; ones where nothing is learned.
std::vector<std::int64_t> kernel_extent(const PhaseConvolution &convolution) {
    const std::size_t axes = convolution.axes.size();
    const std::vector<std::int64_t> &shape = convolution.weight_shape;
    std::vector<std::int64_t> extent(axes + 2, 1);
    if (shape.empty()) return extent;
    std::copy(shape.rbegin(), shape.rend() - 2, extent.begin());
    extent[axes] = shape[1];
    extent[axes + 1] = shape[0] / convolution.kernel_groups();
    return extent;
}

LibraryKernel describe_kernel(const PlannedKernel &planned, const PhaseConvolution &convolution) {
    const ScheduleRecord &record = planned.request.record;
    LibraryKernel kernel;
    kernel.schedule = to_json(record).dump();
    kernel.grade = planned.grade;
    if (const KernelForm form = form_of(convolution, record); !form.filtered.empty())
        kernel.form = fmt::format("{}; rounding errors (root mean square) are {:.2f} times those of its own "
                                  "products",
                                  summary(form), form.relative_error);
    if (!planned.compiled.key.empty()) {
        kernel.identity = planned.compiled.identity();
        kernel.compute_function = planned.compiled.compute_function() + "_argv";
        if (planned.request.packs) kernel.pack_function = planned.compiled.pack_function() + "_argv";
    }
    kernel.weight_extent = packed_extents(convolution, record);
    kernel.parameter_extent = parameter_extents(convolution, record);
    const TaskShape task = task_shape(record);
    kernel.tile_x = task.tile_x;
    kernel.strip = task.strip;
    kernel.tile_y = task.tile_y;
    kernel.rows = task.rows;
    for (std::size_t axis = 0; axis < static_cast<std::size_t>(convolution.spatial_axes); axis++)
        kernel.bounds_stores[axis] = bounds_stores(convolution, record, axis) ? 1 : 0;
    for (const Staging &staging : stagings(convolution, record))
        kernel.stagings.push_back({staging.channels, staging.scale, staging.extra});
    return kernel;
}

LibraryLayer describe_layer(const PlannedLayer &planned) {
    const PhaseConvolution &convolution = planned.convolution;
    const std::vector<Shape> shapes = infer_shapes(planned.layer);
    LibraryLayer layer;
    layer.name = planned.layer.name;
    layer.text = print_chain(planned.layer);
    if (planned.known != nullptr && planned.known->given != layer.text) layer.given = planned.known->given;
    layer.channels_first = convolution.layout == Layout::nchw;
    layer.input_shape = sizes_in_order(shapes.front(), convolution.layout);
    layer.output_shape = sizes_in_order(shapes.back(), convolution.layout);
    layer.weight_shape = convolution.weight_shape;
    layer.bias_count = convolution.parameter_count<Bias>();
    layer.scale_count = convolution.parameter_count<Scale>();
    layer.prelu_count = convolution.parameter_count<Prelu>();
    layer.has_add = convolution.has_add();
    layer.multiplications_per_output = multiplications_per_output(convolution);
    layer.layer_hash = std::stoull(sha256(layer.text).substr(0, 16), nullptr, 16);
    for (std::int64_t i = 0; i < convolution.spatial_axes; i++)
        layer.axes.push_back(describe_axis(*(convolution.axes.rbegin() + i)));
    layer.groups = convolution.kernel_groups();
    layer.kernel_extent = kernel_extent(convolution);
    return layer;
}

} // namespace

LibraryDescription describe_library(const std::string &name, const Target &target,
                                    const std::vector<PlannedLayer> &layers,
                                    const Installation &installation) {
    LibraryDescription library;
    library.name = name;
    library.target = target.name;
    library.version = installation.compiler_version;
    const Device device = target.instruction_sets[0].device;
    library.device = device == Device::cuda     ? LibraryDevice::cuda
                     : device == Device::opencl ? LibraryDevice::opencl
                                                : LibraryDevice::none;
    for (const TargetFacts &facts : target.instruction_sets) {
        library.instruction_sets.push_back({facts.instruction_set, requirement(facts)});
    }
    for (const PlannedLayer &planned : layers) {
        LibraryLayer layer = describe_layer(planned);
        for (const PlannedKernel &kernel : planned.kernels) {
            layer.kernels.push_back(describe_kernel(kernel, planned.convolution));
            if (kernel.embedded.empty()) continue;
            const std::string symbol =
                fmt::format("unstride_packed_{}_{}", layer.name, kernel.request.target.instruction_set);
            layer.kernels.back().embedded_symbol = symbol;
            library.embedded.push_back({symbol, kernel.embedded});
        }
        library.layers.push_back(std::move(layer));
    }
    return library;
}

std::vector<std::int64_t> sizes_in_order(const Shape &shape, Layout layout) {
    std::vector<std::int64_t> sizes = {shape.batch};
    sizes.insert(sizes.end(), shape.spatial.begin(), shape.spatial.end());
    sizes.insert(layout == Layout::nchw ? sizes.begin() + 1 : sizes.end(), shape.channels);
    return sizes;
}

} // namespace unstride
