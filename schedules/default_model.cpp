// The model counts cycles of the innermost loop. A step takes one input channel: it loads some vectors,
// broadcasts some numbers, and multiplies each with each. It costs the largest of
//   - two multiply-adds a cycle;
//   - 1.33 loads a cycle: of 118 GFLOP/s that a Zen 4 core has, AVX2 tiles of 12 accumulators reached 109
//     with 8 loads a step (2x3x2) and 75 with 13 (1x6x2), and one of 8 accumulators 104 with 6 loads (2x2x2);
//   - 4.75 cycles from one multiply-add to the next on the same accumulator: 4, and what loads are late (81
//     for 2x1x4).
// Tiles that overhang the ends of rows or columns do the work of whole tiles.
#include "schedules/default_model.h"

#include <algorithm>

namespace unstride {

namespace {

// What a dynamic size is planned as. Small, since a tile that wastes nothing on small images wastes nothing
// on large ones.
constexpr std::int64_t planned_size = 8;

} // namespace

std::int64_t planned_outputs(const PhaseAxis &axis) {
    const std::int64_t size =
        axis.output_size == dynamic_size ? axis.output_for(planned_size) : axis.output_size;
    return std::max<std::int64_t>(1, divide_up(size, axis.phase_count()));
}

std::int64_t planned_batch(const PhaseConvolution &layer) {
    return layer.batch == dynamic_size ? 1 : std::max<std::int64_t>(1, layer.batch);
}

std::int64_t planes(const PhaseConvolution &layer) {
    return layer.axes.size() > 2 ? planned_outputs(layer.axes[0]) : 1;
}

std::int64_t phase_count(const PhaseConvolution &layer) {
    std::int64_t count = 1;
    for (const PhaseAxis &axis : layer.axes)
        count *= axis.phase_count();
    return count;
}

double taps_of_all_phases(const PhaseConvolution &layer) {
    double taps = 1;
    for (const PhaseAxis &axis : layer.axes)
        taps *= static_cast<double>(axis.total_taps());
    return taps;
}

double multiplications_per_image(const PhaseConvolution &layer) {
    return taps_of_all_phases(layer) *
           static_cast<double>(planned_outputs(layer.x()) * planned_outputs(layer.y()) * planes(layer) *
                               layer.channels_per_output() * layer.kernel_output_channels());
}

bool has_dynamic_size(const PhaseConvolution &layer) {
    return layer.batch == dynamic_size ||
           std::any_of(layer.axes.begin(), layer.axes.end(),
                       [](const PhaseAxis &axis) { return axis.output_size == dynamic_size; });
}

PhaseConvolution with_sizes(PhaseConvolution layer, std::int64_t size) {
    if (layer.batch == dynamic_size) layer.batch = 1;
    for (PhaseAxis &axis : layer.axes) {
        if (axis.output_size != dynamic_size) continue;
        axis.input_size = size;
        axis.output_size = axis.output_for(size);
    }
    return layer;
}

double step_cycles(const TargetFacts &target, double vectors, double broadcasts) {
    // SSE has no broadcasting load, a shuffle follows each; and it multiplies and adds apart.
    const double operations = target.fused_multiply_add ? 1 : 2;
    const double multiplies = vectors * broadcasts * operations;
    const double loads = vectors + broadcasts * operations;
    const double latency = 4.75 * operations;
    // The share added for loads ranks tiles that all keep the multipliers busy.
    return std::max({multiplies / 2, loads / 1.33, latency}) + 0.1 * loads;
}

// Loads and multiply-adds share the issue slots of narrow cores, so what loads take is lost.
double lane_step_cycles(double vectors, double pixels, int stage_lanes) {
    return vectors * pixels / 2 + (vectors + pixels / stage_lanes) / 2;
}

double tile_overhead(double accumulators) {
    return 20 + 2 * accumulators;
}

} // namespace unstride
