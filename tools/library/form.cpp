// Everything follows from the lowered layer and its schedule.
#include "tools/library/form.h"

#include "compiler/lowering/costs.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <nlohmann/json.hpp>

#include <algorithm>

namespace unstride {

namespace {

std::string text_of(const Rational &value) {
    if (value.denominator() == 1) return fmt::format("{}", value.numerator());
    return fmt::format("{}/{}", value.numerator(), value.denominator());
}

FormAxis form_axis(const FilteredAxis &axis, const char *name) {
    FormAxis result{name, axis.matrices.outputs, axis.matrices.taps, {}};
    for (const Rational &point : filter_points(axis.matrices.points() - 1))
        result.points.push_back(text_of(point));
    result.points.push_back("infinity");
    return result;
}

bool stages_open_rows(const PhaseConvolution &layer, const ScheduleRecord &record) {
    const std::vector<Staging> staged = stagings(layer, record);
    return layer.x().output_size == dynamic_size && task_shape(record).strip == 0 &&
           std::any_of(staged.begin(), staged.end(),
                       [](const Staging &staging) { return staging.scale[0] != 0; });
}

} // namespace

std::int64_t packed_weight_bytes(const PhaseConvolution &layer, const ScheduleRecord &record) {
    if (!packs_weights(layer)) return 0;
    std::int64_t weights = 1;
    for (const int extent : packed_extents(layer, record))
        weights *= extent;
    const auto [channels, rows] = parameter_extents(layer, record);
    return layer.kernel_groups() * (weights + std::int64_t{channels} * rows) *
           static_cast<std::int64_t>(sizeof(float));
}

KernelForm form_of(const PhaseConvolution &layer, const ScheduleRecord &record) {
    KernelForm form;
    form.multiplications_per_output = multiplications_per_output(layer);
    form.relative_error = relative_error(layer, record);
    form.error_factor = error_factor(layer, record);
    form.packed_weight_bytes = packed_weight_bytes(layer, record);
    if (!stages_open_rows(layer, record)) form.scratch_bytes = staged_bytes(layer, record);
    const FilterTile *tile = filter_tile(record);
    if (tile == nullptr) return form;
    if (const auto *cpu = std::get_if<CpuFiltering>(&record.parameters)) form.chain = cpu->chain;
    const FilteredAxes axes = filtered_axes(layer, *tile);
    form.multiplications_per_output = static_cast<double>(layer.channels_per_output());
    for (const auto &axis : axes) {
        form.multiplications_per_output *=
            static_cast<double>(axis->products()) /
            static_cast<double>(axis->matrices.outputs * static_cast<std::int64_t>(axis->shift.size()));
    }
    if (!axes[1]->direct()) form.filtered.push_back(form_axis(*axes[1], "height"));
    if (!axes[0]->direct()) form.filtered.push_back(form_axis(*axes[0], "width"));
    return form;
}

std::string summary(const KernelForm &form) {
    if (form.filtered.empty()) return "the layer's own products";
    const auto tile = [](const FormAxis &axis) { return fmt::format("F({}, {})", axis.outputs, axis.taps); };
    const auto points = [](const FormAxis &axis) {
        return fmt::format("points {}", fmt::join(axis.points, ", "));
    };
    const std::string chain = form.chain > 0 ? fmt::format(", {} channels a chain", form.chain) : "";
    const FormAxis &first = form.filtered.front(), &last = form.filtered.back();
    if (first.outputs == last.outputs && first.taps == last.taps) {
        return fmt::format("{} on {}{}, {}{}", tile(first), first.name,
                           form.filtered.size() > 1 ? " and " + last.name : "", points(first), chain);
    }
    return fmt::format("{} on {}, {}; {} on {}, {}{}", tile(first), first.name, points(first), tile(last),
                       last.name, points(last), chain);
}

nlohmann::ordered_json to_json(const KernelForm &form) {
    auto axes = nlohmann::ordered_json::array();
    for (const FormAxis &axis : form.filtered) {
        axes.push_back(
            {{"axis", axis.name}, {"outputs", axis.outputs}, {"taps", axis.taps}, {"points", axis.points}});
    }
    return {{"name", form.filtered.empty() ? "direct" : "minimal_filtering"},
            {"axes", axes},
            {"chain", form.chain},
            {"multiplications_per_output", form.multiplications_per_output},
            {"relative_error", form.relative_error},
            {"error_factor", form.error_factor}};
}

} // namespace unstride
