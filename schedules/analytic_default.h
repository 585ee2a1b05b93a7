// The schedule that needs no measurement: derived from the layer's shape and the target's registers and
// caches.
#pragma once

#include "schedules/record.h"

namespace unstride {

// Always satisfies violated_constraint().
ScheduleRecord analytic_default(const PhaseConvolution &layer, const TargetFacts &target);

} // namespace unstride
