// Questions about a phase convolution that follow from its taps.
#include "compiler/lowering/phase_convolution.h"

#include <algorithm>
#include <cstdlib>

namespace unstride {

namespace {

template<typename Operation>
bool contains(const std::vector<StageOperation> &stages) {
    return std::any_of(stages.begin(), stages.end(),
                       [](const StageOperation &stage) { return std::holds_alternative<Operation>(stage); });
}

} // namespace

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
    const std::int64_t walk = std::max<std::int64_t>(max_taps() - 1, 0) * std::abs(taps.offset_step);
    return *most - *least + walk;
}

TapProgression PhaseAxis::progression() const {
    TapProgression result;
    for (const Phase &phase : phases) {
        const std::vector<Tap> &taps = phase.taps;
        result.count.push_back(static_cast<std::int64_t>(taps.size()));
        result.first_kernel_index.push_back(taps.empty() ? 0 : taps[0].kernel_index);
        result.first_input_offset.push_back(taps.empty() ? 0 : taps[0].input_offset);
        if (taps.size() > 1) {
            // Every lowering makes taps of one step; phases differ only in where they begin.
            result.kernel_step = taps[1].kernel_index - taps[0].kernel_index;
            result.offset_step = taps[1].input_offset - taps[0].input_offset;
        }
    }
    return result;
}

std::int64_t PhaseAxis::taps_over(std::int64_t outputs) const {
    const std::int64_t count = static_cast<std::int64_t>(phases.size());
    std::int64_t total = 0;
    for (std::int64_t q = 0; q < count; q++) {
        const std::int64_t outputs_of_phase = outputs > q ? (outputs - q + count - 1) / count : 0;
        total += outputs_of_phase * static_cast<std::int64_t>(phases[q].taps.size());
    }
    return total;
}

bool PhaseConvolution::has_bias() const {
    return contains<Bias>(epilogue);
}
bool PhaseConvolution::has_add() const {
    return contains<Add>(epilogue);
}

} // namespace unstride
