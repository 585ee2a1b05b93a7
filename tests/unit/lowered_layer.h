// What tests of lowering and schedules start from.
#pragma once

#include "compiler/language/parser.h"
#include "compiler/lowering/phase_convolution.h"
#include "schedules/target_facts.h"

#include <gtest/gtest.h>

#include <string>
#include <variant>

namespace unstride {

inline Layer parsed(const std::string &chain) {
    const ParseResult result = parse_layer(chain, "layer");
    EXPECT_TRUE(result.ok()) << chain << ": " << (result.ok() ? "" : to_string(result.errors[0]));
    return result.layers.at(0);
}

// Precondition of the test: the chain is a layer that is not refused.
inline PhaseConvolution lowered(const std::string &chain) {
    auto result = lower(parsed(chain));
    if (const auto *refusal = std::get_if<Diagnostic>(&result)) ADD_FAILURE() << to_string(*refusal);
    return std::get<PhaseConvolution>(std::move(result));
}

inline const TargetFacts &facts(const std::string &instruction_set) {
    for (const Target &target : all_targets()) {
        for (const TargetFacts &set : target.instruction_sets)
            if (set.instruction_set == instruction_set) return set;
    }
    ADD_FAILURE() << instruction_set;
    return all_targets()[0].instruction_sets[0];
}

} // namespace unstride
