// The sizes at which a schedule is compared with the reference beside the layer's own.
#pragma once

#include "compiler/language/layer.h"
#include "schedules/record.h"
#include "schedules/target_facts.h"

#include <vector>

namespace unstride {

// Whether the schedule can be used for the layer at all.
bool suits(const Layer &layer, const TargetFacts &facts, const ScheduleRecord &schedule);

// The layer with open sizes if the schedule does for those, else two of small and odd sizes.
std::vector<Layer> odd_variants(const Layer &layer, const TargetFacts &facts, const ScheduleRecord &schedule);

// Whether the reference evaluates the layer in seconds.
bool is_moderate(const Layer &layer);

// The layer, or where an emulator would take minutes for a call, one of smaller images that the schedule does
// for: the kernel's loops are the same, only shorter.
Layer emulated_variant(const Layer &layer, const TargetFacts &facts, const ScheduleRecord &schedule);

} // namespace unstride
