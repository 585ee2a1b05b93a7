// The analytic default among the CPU families that sum a layer's own products.
#pragma once

#include "schedules/default_model.h"

namespace unstride {

// Precondition: a CPU, and a layer that sums over channels.
ModelledSchedule best_of_own_products(const PhaseConvolution &layer, const TargetFacts &target);

} // namespace unstride
