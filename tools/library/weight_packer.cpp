// The generator program runs the packing kernel on this machine, whatever the library's target: the layout
// follows from the chain and the schedule alone, and packing is strict IEEE arithmetic everywhere.
#include "tools/library/weight_packer.h"

#include "runtime/include/unstride/unstride.h"
#include "runtime/src/packed_format.h"
#include "tools/files.h"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <string_view>
#include <utility>

namespace unstride {

namespace fs = std::filesystem;

namespace {

template<typename Extents>
std::size_t dense_bytes(const Extents &extents) {
    std::size_t bytes = sizeof(float);
    for (const auto extent : extents)
        bytes *= static_cast<std::size_t>(extent);
    return bytes;
}

fs::path beside(const fs::path &file, const char *extension) {
    return fs::path(file) += extension;
}

} // namespace

Result<void> write_packed_weights(const LibraryLayer &layer, const LibraryKernel &kernel,
                                  const KernelRequest &request, const LayerWeights &weights,
                                  const Installation &installation, const fs::path &file) {
    const fs::path payload_file = beside(file, ".payload");
    nlohmann::json job = {{"pack", payload_file.string()},
                          {"target_features", packing_features},
                          {"parameters", generator_parameters(request)},
                          {"groups", layer.groups},
                          {"alignment", PACKED_ALIGNMENT},
                          {"kernel_extent", layer.kernel_extent},
                          {"weight_extent", kernel.weight_extent},
                          {"parameter_extent", kernel.parameter_extent}};
    for (const auto &[name, tensor] :
         {std::pair("kernel", &weights.weights), std::pair("bias", &weights.bias),
          std::pair("scale", &weights.scale), std::pair("prelu", &weights.prelu)}) {
        if (!*tensor) continue;
        const std::vector<float> &values = (*tensor)->values;
        const fs::path raw = beside(file, ".") += name;
        const std::string_view bytes(reinterpret_cast<const char *>(values.data()),
                                     values.size() * sizeof(float));
        if (auto written = write_file_atomically(raw, bytes); !written) return written;
        job[name] = raw.string();
    }
    if (auto packed = run_generators(nlohmann::json::array({job}), beside(file, ".json"), installation);
        !packed) {
        return Error{fmt::format("layer {}: the weights could not be packed for {}: {}", layer.name,
                                 request.target.instruction_set, packed.error())};
    }
    const Result<std::string> payload = read_file(payload_file);
    if (!payload) return Error{payload.error()};
    const packed_layout layout =
        layout_packed_groups(static_cast<std::size_t>(layer.groups), dense_bytes(kernel.weight_extent),
                             dense_bytes(kernel.parameter_extent));
    if (sizeof(packed_header) + payload->size() != layout.total_bytes) {
        return Error{fmt::format("layer {}: packing made {} bytes instead of {}", layer.name, payload->size(),
                                 layout.total_bytes - sizeof(packed_header))};
    }
    const packed_header header =
        make_packed_header(UNSTRIDE_ABI_VERSION, layer.layer_hash, kernel.identity, layout.total_bytes);
    return write_file_atomically(
        file, {std::string_view(reinterpret_cast<const char *>(&header), sizeof header), *payload});
}

} // namespace unstride
