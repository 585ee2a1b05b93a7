// Every number of the tables is derived here from the lowering and the schedule record.
#include "tools/library/description.h"

#include "compiler/language/printer.h"
#include "compiler/language/shapes.h"
#include "compiler/lowering/costs.h"
#include "tools/sha256.h"

#include <nlohmann/json.hpp>

namespace unstride {

namespace {

// The bits UNSTRIDE_CPU_* of runtime/src/kernel_table.h that an instruction set needs.
std::uint32_t requirement(const TargetFacts &facts) {
    if (facts.instruction_set == "avx512") return 4;
    if (facts.instruction_set == "avx2") return 2;
    if (facts.instruction_set == "sse41") return 1;
    return 0;
}

std::vector<std::int64_t> flat(const Shape &shape) {
    std::vector<std::int64_t> sizes = {shape.batch};
    sizes.insert(sizes.end(), shape.spatial.begin(), shape.spatial.end());
    sizes.push_back(shape.channels);
    return sizes;
}

// The weights that the layer takes; none for the bilinear initialiser, which the packing kernel computes
// itself.
std::vector<std::int64_t> weights_of(const Layer &layer) {
    for (const Stage &stage : layer.stages) {
        const auto *transposed = std::get_if<TransposedConv>(&stage.operation);
        if (transposed != nullptr && transposed->weights == WeightInitialiser::bilinear) return {};
        auto shape = weight_shape(stage.operation, layer.input.channels);
        if (!shape.empty()) return shape;
    }
    return {};
}

LibraryAxis describe_axis(const PhaseAxis &axis) {
    return {axis.size.scale, axis.size.shift, static_cast<std::int32_t>(axis.phases.size()),
            static_cast<std::int32_t>(axis.halo())};
}

LibraryKernel describe_kernel(const PlannedKernel &planned, const PhaseConvolution &convolution) {
    LibraryKernel kernel;
    kernel.schedule = to_json(planned.request.record).dump();
    kernel.grade = planned.grade;
    if (!planned.compiled.key.empty()) {
        kernel.identity = planned.compiled.identity();
        kernel.compute_function = planned.compiled.compute_function() + "_argv";
        kernel.pack_function = planned.compiled.pack_function() + "_argv";
    }
    kernel.weight_extent = packed_extents(convolution, planned.request.record);
    const int block = block_channels(planned.request.record);
    kernel.bias_extent = kernel.weight_extent[0] * kernel.weight_extent[6];
    if (const auto *cpu = std::get_if<CpuDirect>(&planned.request.record.parameters)) {
        kernel.tile_x = cpu->tile_x;
        kernel.tile_y = cpu->tile_y;
        kernel.strip = cpu->strip;
        kernel.rows = cpu->rows;
        // A depthwise task stages whole blocks of channels; one with a reduction stages every input channel,
        // and whole vectors of them where it multiplies by lane.
        kernel.staged_channels = static_cast<std::int32_t>(convolution.input_channels);
        if (convolution.depthwise()) kernel.staged_channels = cpu->split_blocks ? block : kernel.bias_extent;
    }
    return kernel;
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
        const PhaseConvolution &convolution = planned.convolution;
        const std::vector<Shape> shapes = infer_shapes(planned.layer);
        LibraryLayer layer;
        layer.name = planned.layer.name;
        layer.text = print_chain(planned.layer);
        layer.input_shape = flat(shapes.front());
        layer.output_shape = flat(shapes.back());
        layer.weight_shape = weights_of(planned.layer);
        layer.bias_count = convolution.has_bias() ? convolution.output_channels : 0;
        layer.has_add = convolution.has_add();
        layer.multiplications_per_output = multiplications_per_output(convolution);
        layer.layer_hash = std::stoull(sha256(layer.text).substr(0, 16), nullptr, 16);
        layer.axes = {describe_axis(convolution.axes[1]), describe_axis(convolution.axes[0])};
        if (!layer.weight_shape.empty()) {
            for (std::size_t i = 0; i < 4; i++) {
                layer.kernel_extent[i] = static_cast<std::int32_t>(layer.weight_shape[3 - i]);
            }
        }
        for (const PlannedKernel &kernel : planned.kernels) {
            layer.kernels.push_back(describe_kernel(kernel, convolution));
        }
        library.layers.push_back(std::move(layer));
    }
    return library;
}

std::int64_t packed_weight_bytes(const LibraryKernel &kernel) {
    std::int64_t elements = 1;
    for (const std::int32_t extent : kernel.weight_extent)
        elements *= extent;
    return (elements + kernel.bias_extent) * static_cast<std::int64_t>(sizeof(float));
}

} // namespace unstride
