// Decoding of the parameters shared by all generators.
#include "generators/layer_parameters.h"

#include "compiler/language/parser.h"

#include <Halide.h>
#include <nlohmann/json.hpp>

namespace unstride {

LayerParameters decode_parameters(const std::string &layer, const std::string &schedule,
                                  const std::string &instruction_set) {
    LayerParameters result;
    const ParseResult parsed = parse_layer(layer, "layer");
    if (!parsed.ok()) throw Halide::CompileError(to_string(parsed.errors[0]));
    auto lowered = lower(parsed.layers[0]);
    if (const auto *refusal = std::get_if<Diagnostic>(&lowered))
        throw Halide::CompileError(to_string(*refusal));
    result.convolution = std::get<PhaseConvolution>(std::move(lowered));

    std::string error;
    const auto json = nlohmann::json::parse(schedule, nullptr, false);
    const auto record = record_from_json(json, &error);
    if (!record) throw Halide::CompileError("schedule: " + error);
    result.record = *record;

    bool found = false;
    for (const Target &target : all_targets()) {
        for (const TargetFacts &facts : target.instruction_sets) {
            if (facts.instruction_set != instruction_set) continue;
            result.target = facts;
            found = true;
        }
    }
    if (!found) throw Halide::CompileError("unknown instruction set " + instruction_set);

    return result;
}

} // namespace unstride
