// How the results of a form are compared with the reference: what it may add to the errors of the layer's own
// products, and for which data it adds none.
#pragma once

#include "reference/comparator.h"
#include "schedules/record.h"

#include <optional>

namespace unstride {

// For data that rounds.
inline reference::Tolerance tolerance_of(const PhaseConvolution &layer, const ScheduleRecord &record) {
    reference::Tolerance tolerance;
    tolerance.factor = error_factor(layer, record);
    tolerance.reach = error_reach(layer, record);
    return tolerance;
}

// The `spare_bits` that exact_data() needs for the form to be exact too: the transforms of two axes with four
// points each halve numbers and sum up to nine of them, twice. Nothing for those of more points, which divide
// by other numbers than powers of two.
inline std::optional<int> spare_bits_of(const PhaseConvolution &layer, const ScheduleRecord &record) {
    const FilterTile *tile = filter_tile(record);
    if (tile == nullptr) return 0;
    for (const auto &axis : filtered_axes(layer, *tile)) {
        if (!axis->direct() && axis->matrices.points() > 4) return std::nullopt;
    }
    return 8;
}

} // namespace unstride
