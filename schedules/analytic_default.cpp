// The families' own defaults, and the choice between the two forms of a layer that sums over channels.
#include "schedules/analytic_default.h"

#include "schedules/direct_default.h"
#include "schedules/filtering_default.h"
#include "schedules/gpu_default.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <utility>

namespace unstride {

namespace {

CpuChannelwise channelwise_default(const PhaseConvolution &layer, const TargetFacts &target) {
    CpuChannelwise record;
    record.lanes = target.vector_lanes;
    record.lanes_along_x = layer.layout == Layout::nchw && record.lanes > 1;
    if (!record.lanes_along_x) {
        const auto covered = [&](int lanes) { return divide_up(layer.output_channels, lanes) * lanes; };
        while (record.lanes > layer.output_channels)
            record.lanes /= 2;
        // The last vector overlaps the one before it: narrower vectors waste less where it does by much.
        while (record.lanes > 4 && covered(record.lanes) > covered(record.lanes / 2))
            record.lanes /= 2;
    }
    const std::int64_t phases = layer.x().phase_count();
    record.unroll_phases = phases <= 8 ? static_cast<int>(phases) : 4;
    // A last vector that overlaps the one before it waits for it, unless all vectors of a pixel are unrolled.
    if (!record.lanes_along_x && layer.output_channels % record.lanes != 0) {
        while (record.unroll_phases > 1 && !record.unrolls_vectors(layer.output_channels))
            record.unroll_phases /= 2;
    }
    // Planes make tasks of their own.
    const std::int64_t height = planned_outputs(layer.y());
    record.rows = static_cast<int>(record.lanes_along_x && layer.output_channels >= 8
                                       ? std::min<std::int64_t>(height, 256)
                                       : std::clamp<std::int64_t>(height / 8, 1, 8));
    return record;
}

// What filtering must be below of the direct form's cycles, and the multiplications of an image below which a
// call is over before transforming pays and small layers keep the plain sum's error bound. Merged phases have
// few weights, and their model was fitted to small layers too.
struct Margin {
    double pays = 0.85, least_multiplications = 4e6;
};

Margin margin_of(const PhaseConvolution &layer, const TargetFacts &target, const CpuFiltering &record) {
    return merges_on_wide_vectors(layer, target, record) ? Margin{1, 2e6} : Margin{};
}

// With weights or tensors fetched ahead where that can pay: of weights of 8 to 16 MB, on a core that reads 20
// GB/s from its L3 cache, layers took 0.85 to 0.89 of their time, and of 2 MB 0.95. Not measured on AArch64.
ModelledSchedule fetching_ahead(const PhaseConvolution &layer, const TargetFacts &target,
                                const ModelledSchedule &modelled) {
    if (target.multiply_by_lane) return modelled;
    const auto pays = [&](const ScheduleRecord &ahead) {
        return may_prefetch(layer, target, ahead) && !violated_constraint(layer, target, ahead);
    };
    return {with_prefetch(modelled.schedule, pays), modelled.cycles};
}

// Filtering must pay well: its weights take more memory, and what is not finite spreads over a tile. Where
// sizes are dynamic, tiles are made for a middle image, which must gain, and tasks for a small one, which
// must not lose.
FormChoice choose_cpu_form(const PhaseConvolution &layer, const TargetFacts &target) {
    const bool dynamic = has_dynamic_size(layer), sequence = layer.spatial_axes == 1;
    const std::int64_t small_size = sequence ? 256 : 16, middle_size = sequence ? 1024 : 32;
    const PhaseConvolution small = dynamic ? with_sizes(layer, small_size) : layer;
    const PhaseConvolution planned = dynamic ? with_sizes(layer, middle_size) : layer;
    const auto inputs = [&](std::int64_t size) {
        return sequence ? fmt::format("{} inputs", size) : fmt::format("{0}x{0} inputs", size);
    };
    FormChoice choice;
    choice.direct = fetching_ahead(layer, target, best_of_own_products(layer, target));
    if (dynamic) choice.direct.cycles = best_of_own_products(planned, target).cycles;
    Choice<CpuFiltering> filtering = best_filtering(planned, target);
    if (!std::isfinite(filtering.cycles)) {
        choice.reason = no_filtering(layer, target);
        return choice;
    }
    double small_share = 0;
    if (dynamic) {
        CpuFiltering &record = filtering.record;
        record = with_task(small, target, record, layer.x().output_size == dynamic_size);
        if (auto violated = violated_constraint(layer, target, {record})) {
            choice.reason = *std::move(violated);
            return choice;
        }
        small_share = modelled_cycles(small, target, record) / best_of_own_products(small, target).cycles;
        filtering.cycles = modelled_cycles(planned, target, record);
    }
    choice.filtering = fetching_ahead(layer, target, {{filtering.record}, filtering.cycles});
    const auto [pays, least_multiplications] = margin_of(layer, target, filtering.record);
    const double share = filtering.cycles / choice.direct.cycles;
    const std::string modelled = fmt::format("filtering is modelled at {:.2f} of the direct form's cycles{}",
                                             share, dynamic ? " for " + inputs(middle_size) : "");
    if (share < pays && small_share > 1) {
        choice.reason = fmt::format("{}, but at {:.2f} for {}", modelled, small_share, inputs(small_size));
    } else if (multiplications_per_image(planned) < least_multiplications) {
        choice.reason = fmt::format("an image takes less than {:.0f} million multiplications",
                                    least_multiplications / 1e6);
    } else if (share < pays) {
        choice.filters = true;
        choice.reason = modelled;
    } else {
        choice.reason = fmt::format("{}, not below {}", modelled, pays);
    }
    return choice;
}

// Filtering is there to be chosen by name or by a measurement.
FormChoice choose_gpu_form(const PhaseConvolution &layer, const TargetFacts &target) {
    FormChoice choice;
    choice.direct.schedule = gpu_default(layer, target);
    choice.reason = "filtering has not been timed on GPUs";
    if (const auto filtering = gpu_filtering_default(layer, target)) choice.filtering = {{*filtering}, 0};
    return choice;
}

} // namespace

ScheduleRecord analytic_default(const PhaseConvolution &layer, const TargetFacts &target) {
    if (layer.depthwise())
        return target.device == Device::cpu
                   ? fetching_ahead(layer, target, {{channelwise_default(layer, target)}, 0}).schedule
                   : gpu_default(layer, target);
    return choose_form(layer, target).chosen().schedule;
}

FormChoice choose_form(const PhaseConvolution &layer, const TargetFacts &target) {
    return target.device == Device::cpu ? choose_cpu_form(layer, target) : choose_gpu_form(layer, target);
}

} // namespace unstride
