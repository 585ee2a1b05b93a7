// The schedule that needs no measurement: derived from the layer's shape and the target's registers and
// caches.
#pragma once

#include "schedules/default_model.h"

#include <optional>
#include <string>

namespace unstride {

// Always satisfies violated_constraint().
ScheduleRecord analytic_default(const PhaseConvolution &layer, const TargetFacts &target);

// The forms that the default was chosen from: the layer's own products, and minimal filtering.
struct FormChoice {
    ModelledSchedule direct;
    std::optional<ModelledSchedule> filtering; // none where the layer or the target has no such schedule
    bool filters = false;                      // what the default is
    std::string reason;                        // why: "numeric=exact"

    const ModelledSchedule &chosen() const { return filters ? *filtering : direct; }
};

// No cycles are modelled of GPUs. Precondition: a layer that sums over channels.
FormChoice choose_form(const PhaseConvolution &layer, const TargetFacts &target);

} // namespace unstride
