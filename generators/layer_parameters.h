// The generator parameters that every generator of a layer takes, and what they decode to.
#pragma once

#include "compiler/lowering/phase_convolution.h"
#include "schedules/record.h"
#include "schedules/target_facts.h"

#include <string>

namespace unstride {

struct LayerParameters {
    PhaseConvolution convolution;
    ScheduleRecord record;
    TargetFacts target;
};

// Decodes `layer` (a chain in the layer language), `schedule` (a record as JSON) and `instruction_set` (a
// name from target_facts). Reports a user error through Halide where they do not fit: callers have validated
// them before.
LayerParameters decode_parameters(const std::string &layer, const std::string &schedule,
                                  const std::string &instruction_set);

} // namespace unstride
