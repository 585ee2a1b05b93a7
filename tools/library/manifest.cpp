// The manifest repeats what the library's tables say, for programs that read JSON and for people.
#include "tools/library/manifest.h"

#include <nlohmann/json.hpp>

namespace unstride {

std::string write_manifest(const LibraryDescription &library, const Target &target,
                           const std::vector<PlannedLayer> &layers, const Installation &installation,
                           std::uintmax_t archive_bytes) {
    nlohmann::ordered_json json = {{"schema", 1},
                                   {"name", library.name},
                                   {"target", target.name},
                                   {"unstride", installation.compiler_version},
                                   {"halide", installation.halide_version},
                                   {"generators", "sha256:" + installation.generator_hash},
                                   {"archive_bytes", archive_bytes},
                                   {"layers", nlohmann::ordered_json::array()}};
    for (std::size_t i = 0; i < layers.size(); i++) {
        const LibraryLayer &layer = library.layers[i];
        nlohmann::ordered_json kernels = nlohmann::ordered_json::array();
        for (std::size_t k = 0; k < layer.kernels.size(); k++) {
            const PlannedKernel &planned = layers[i].kernels[k];
            kernels.push_back({{"instruction_set", planned.request.target.instruction_set},
                               {"halide_target", planned.request.target.halide_target},
                               {"schedule", to_json(planned.request.record)},
                               {"schedule_grade", planned.grade},
                               {"object_bytes", planned.compiled.object_bytes},
                               {"packed_weight_bytes", packed_weight_bytes(layer.kernels[k])}});
        }
        json["layers"].push_back({{"name", layer.name},
                                  {"text", layer.text},
                                  {"input_shape", layer.input_shape},
                                  {"output_shape", layer.output_shape},
                                  {"weight_shape", layer.weight_shape},
                                  {"bias", layer.bias_count},
                                  {"add", layer.has_add},
                                  {"multiplications_per_output", layer.multiplications_per_output},
                                  {"kernels", kernels}});
    }
    return json.dump(2) + "\n";
}

} // namespace unstride
