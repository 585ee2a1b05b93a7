// Questions about a phase convolution that follow from its taps.
#include "compiler/lowering/phase_convolution.h"

#include <algorithm>

namespace unstride {

std::int64_t PhaseAxis::output_for(std::int64_t size) const {
    for (const SizeStep &step : sizes)
        size = step.rule.apply(size);
    return size;
}

bool PhaseAxis::whole_phases() const {
    if (output_size != dynamic_size) return output_size % phase_count() == 0;
    std::int64_t scale = 1, shift = 0; // the output's size by the input's, as long as nothing is divided
    for (const SizeStep &step : sizes) {
        if (step.rule.divisor != 1) return phase_count() == 1;
        scale *= step.rule.scale;
        shift = shift * step.rule.scale + step.rule.shift;
    }
    return scale % phase_count() == 0 && shift % phase_count() == 0;
}

std::int64_t PhaseAxis::max_taps() const {
    std::size_t most = 0;
    for (const Phase &phase : phases)
        most = std::max(most, phase.taps.size());
    return static_cast<std::int64_t>(most);
}

std::int64_t PhaseAxis::total_taps() const {
    std::int64_t total = 0;
    for (const Phase &phase : phases)
        total += static_cast<std::int64_t>(phase.taps.size());
    return total;
}

std::int64_t PhaseAxis::halo() const {
    const TapProgression taps = progression();
    const auto [least, most] =
        std::minmax_element(taps.first_input_offset.begin(), taps.first_input_offset.end());
    const std::int64_t walk = std::max<std::int64_t>(max_taps() - 1, 0) * taps.offset_step;
    return *most - *least + walk;
}

TapProgression PhaseAxis::progression() const {
    TapProgression result;
    std::int64_t free_offset = 0; // of the last phase with taps
    for (const Phase &phase : phases) {
        const std::vector<Tap> &taps = phase.taps;
        result.count.push_back(static_cast<std::int64_t>(taps.size()));
        result.first_input_offset.push_back(taps.empty() ? 0 : taps[0].input_offset);
        if (!taps.empty()) free_offset = taps[0].input_offset;
        if (taps.size() > 1) result.offset_step = taps[1].input_offset - taps[0].input_offset;
    }
    // The offset of a phase without taps is free: another's keeps the input that is staged small.
    for (std::size_t q = 0; q < phases.size(); q++)
        if (phases[q].taps.empty()) result.first_input_offset[q] = free_offset;
    return result;
}

std::int64_t PhaseAxis::taps_over(std::int64_t outputs) const {
    const std::int64_t count = phase_count();
    std::int64_t total = 0;
    for (std::int64_t q = 0; q < count; q++) {
        const std::int64_t outputs_of_phase = outputs > q ? (outputs - q + count - 1) / count : 0;
        total += outputs_of_phase * static_cast<std::int64_t>(phases[q].taps.size());
    }
    return total;
}

double PhaseAxis::share_inside() const {
    const std::int64_t count = phase_count();
    // The first output of a phase whose position, input_stride * u + offset, is `position` or beyond.
    const auto first_at = [&](std::int64_t position, const Tap &tap) {
        const std::int64_t distance = std::max<std::int64_t>(0, position - tap.input_offset);
        return (distance + input_stride - 1) / input_stride;
    };
    std::int64_t inside = 0;
    for (std::int64_t q = 0; q < std::min(count, output_size); q++) {
        const std::int64_t outputs = (output_size - q + count - 1) / count;
        for (const Tap &tap : phases[static_cast<std::size_t>(q)].taps)
            inside +=
                std::max<std::int64_t>(0, std::min(outputs, first_at(input_size, tap)) - first_at(0, tap));
    }
    const std::int64_t all = taps_over(output_size);
    return all == 0 ? 1 : static_cast<double>(inside) / static_cast<double>(all);
}

bool PhaseAxis::same_taps() const {
    const TapProgression taps = progression();
    const auto constant = [](const std::vector<std::int64_t> &values) {
        return std::all_of(values.begin(), values.end(),
                           [&](std::int64_t value) { return value == values[0]; });
    };
    return constant(taps.count) && constant(taps.first_input_offset);
}

double PhaseAxis::filter_weight(const Tap &tap) const {
    double sum = 0;
    for (std::int64_t i = 0; i < tap.kernel_count; i++)
        sum += filter[static_cast<std::size_t>(tap.kernel_begin + i)];
    return sum;
}

bool PhaseConvolution::depthwise() const {
    return weights != WeightSource::learned ||
           (groups == input_channels && groups == output_channels * shuffle_block() && groups > 1);
}

std::int64_t PhaseConvolution::shuffle_block() const {
    std::int64_t product = 1;
    for (const PhaseAxis &axis : axes)
        product *= axis.shuffle;
    return product;
}

std::int64_t PhaseConvolution::unshuffle_block() const {
    std::int64_t product = 1;
    for (const PhaseAxis &axis : axes)
        product *= axis.unshuffle;
    return product;
}

bool PhaseConvolution::has_add() const {
    return std::any_of(epilogue.begin(), epilogue.end(), [](const EpilogueStage &stage) {
        return std::holds_alternative<Add>(stage.operation);
    });
}

std::vector<EpilogueStage> PhaseConvolution::channel_parameters() const {
    std::vector<EpilogueStage> rows;
    bool folded_before_shuffle = false, folded_bias = false;
    for (const EpilogueStage &stage : folded) {
        folded_bias |= std::holds_alternative<Bias>(stage.operation);
        folded_before_shuffle |= stage.before_shuffle;
    }
    if (folded_bias) rows.push_back({Bias{}, folded_before_shuffle});
    for (const EpilogueStage &stage : epilogue) {
        if (std::holds_alternative<Bias>(stage.operation) || std::holds_alternative<Scale>(stage.operation) ||
            std::holds_alternative<Prelu>(stage.operation))
            rows.push_back(stage);
    }
    return rows;
}

bool PhaseConvolution::parameters_before_shuffle() const {
    if (shuffle_block() == 1) return false;
    const std::vector<EpilogueStage> rows = channel_parameters();
    return std::any_of(rows.begin(), rows.end(), [](const EpilogueStage &row) { return row.before_shuffle; });
}

} // namespace unstride
