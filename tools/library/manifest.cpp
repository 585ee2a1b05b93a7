// The manifest repeats what the library's tables say, for programs that read JSON and for people.
#include "tools/library/manifest.h"

#include "tools/library/form.h"

#include <nlohmann/json.hpp>

namespace unstride {

namespace {

// Of a layer whose weights were known when it was built; null otherwise.
nlohmann::ordered_json weights_json(const PlannedLayer &layer) {
    if (layer.known == nullptr || layer.known->sha256.empty()) return nullptr;
    const KnownWeights &known = *layer.known;
    return {{"sha256", known.sha256},
            {"exact", known.exact},
            {"given", known.given},
            {"found", known.findings},
            {"embedded", !layer.kernels.empty() && !layer.kernels[0].embedded.empty()}};
}

} // namespace

std::string write_manifest(const LibraryDescription &library, const Target &target,
                           const std::vector<PlannedLayer> &layers, const Installation &installation,
                           std::uintmax_t archive_bytes) {
    nlohmann::ordered_json json = {{"schema", 1},
                                   {"name", library.name},
                                   {"target", target.name},
                                   {"unstride", installation.compiler_version},
                                   {"halide", installation.halide_version},
                                   {"generators", installation.generator_sources},
                                   {"archive_bytes", archive_bytes},
                                   {"layers", nlohmann::ordered_json::array()}};
    for (std::size_t i = 0; i < layers.size(); i++) {
        const LibraryLayer &layer = library.layers[i];
        nlohmann::ordered_json kernels = nlohmann::ordered_json::array();
        for (std::size_t k = 0; k < layer.kernels.size(); k++) {
            const PlannedKernel &planned = layers[i].kernels[k];
            const KernelForm form = form_of(layers[i].convolution, planned.request.record);
            kernels.push_back({{"instruction_set", planned.request.target.instruction_set},
                               {"halide_target", planned.request.target.halide_target},
                               {"schedule", to_json(planned.request.record)},
                               {"schedule_grade", planned.grade},
                               {"object_bytes", planned.compiled.object_bytes},
                               {"packed_weight_bytes", form.packed_weight_bytes},
                               {"scratch_bytes_per_thread",
                                form.scratch_bytes ? nlohmann::ordered_json(*form.scratch_bytes) : nullptr},
                               {"form", to_json(form)}});
        }
        json["layers"].push_back({{"name", layer.name},
                                  {"text", layer.text},
                                  {"layout", layer.channels_first ? "nchw" : "nhwc"},
                                  {"input_shape", layer.input_shape},
                                  {"output_shape", layer.output_shape},
                                  {"weight_shape", layer.weight_shape},
                                  {"bias", layer.bias_count},
                                  {"scale", layer.scale_count},
                                  {"prelu", layer.prelu_count},
                                  {"add", layer.has_add},
                                  {"multiplications_per_output", layer.multiplications_per_output},
                                  {"known_weights", weights_json(layers[i])},
                                  {"kernels", kernels}});
    }
    return json.dump(2) + "\n";
}

} // namespace unstride
