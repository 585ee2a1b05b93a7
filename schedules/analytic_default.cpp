// Enumerates the small space of register tiles and task shapes and takes the one with the least modelled
// cost.
//
// The model counts cycles of the innermost loop. A step multiplies one input channel of a tile: `vectors`
// weight loads, one broadcast for each pixel, vectors * pixels multiply-adds. It costs the largest of
//   - two multiply-adds a cycle;
//   - 1.33 loads a cycle: of 118 GFLOP/s that a Zen 4 core has, AVX2 tiles of 12 accumulators reached 109
//   with
//     8 loads a step (2x3x2) and 75 with 13 (1x6x2), and one of 8 accumulators 104 with 6 loads (2x2x2);
//   - 4.75 cycles from one multiply-add to the next on the same accumulator: 4, and what loads are late (81
//   for
//     2x1x4).
// Tiles that overhang the ends of rows or columns do the work of whole tiles; of the last block of channels
// only the vectors that are stored remain (the others are dead code).
#include "schedules/analytic_default.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace unstride {

namespace {

// What a dynamic size is planned as. Small, since a tile that wastes nothing on small images wastes nothing
// on large ones.
constexpr std::int64_t planned_size = 8;

std::int64_t divide_up(std::int64_t a, std::int64_t b) {
    return (a + b - 1) / b;
}

std::int64_t outputs_of_phase(const PhaseAxis &axis) {
    const std::int64_t size =
        axis.output_size == dynamic_size ? axis.size.apply(planned_size) : axis.output_size;
    return std::max<std::int64_t>(1, divide_up(size, static_cast<std::int64_t>(axis.phases.size())));
}

bool divides_channels(const PhaseConvolution &layer, const CpuDirect &tile) {
    return layer.output_channels % (tile.lanes * tile.vectors) == 0;
}

// Cycles of one step of a register tile that computes `vectors` of its vectors.
double step_cycles(const PhaseConvolution &layer, const TargetFacts &target, const CpuDirect &tile,
                   double vectors) {
    const double pixels = tile.tile_x * tile.tile_y;
    const double multiplies = vectors * pixels * (target.fused_multiply_add ? 1 : 2);
    // SSE has no broadcasting load: a shuffle follows each.
    double loads = vectors + pixels * (target.fused_multiply_add ? 1 : 2);
    if (layer.depthwise()) loads = vectors + vectors * pixels; // every input value is a vector
    // By lane, loads and multiply-adds share the issue slots of narrow cores: what loads take is lost. A
    // pixel costs its load and its address, and more than a handful of addresses spill.
    if (tile.stage_lanes > 1) return multiplies / 2 + (vectors + 3 * pixels / tile.stage_lanes) / 2;
    const double latency = 4.75 * (target.fused_multiply_add ? 1 : 2);
    // The share added for loads ranks tiles that all keep the multipliers busy.
    return std::max({multiplies / 2, loads / 1.33, latency}) + 0.05 * loads;
}

// Modelled cycles of the whole layer with this tile, up to a factor that all tiles share.
double tile_cost(const PhaseConvolution &layer, const TargetFacts &target, const CpuDirect &tile) {
    const std::int64_t tiles = divide_up(outputs_of_phase(layer.axes[1]), tile.tile_x) *
                               divide_up(outputs_of_phase(layer.axes[0]), tile.tile_y);
    const std::int64_t channel_vectors = divide_up(layer.output_channels, tile.lanes);
    const double whole_blocks = static_cast<double>(channel_vectors / tile.vectors);
    const double last_vectors = static_cast<double>(channel_vectors % tile.vectors);
    // Entering and leaving a tile loads the bias, computes addresses and stores the results.
    const double taps = static_cast<double>(layer.axes[0].total_taps() * layer.axes[1].total_taps()) /
                        static_cast<double>(layer.axes[0].phases.size() * layer.axes[1].phases.size());
    const double steps = std::max(1.0, taps) * static_cast<double>(layer.channels_per_group());
    const auto block = [&](double vectors) {
        return steps * step_cycles(layer, target, tile, vectors) + 20 +
               2.0 * vectors * tile.tile_x * tile.tile_y;
    };
    // A guarded last block keeps its loops in two versions and cannot be shared among tasks.
    const double guard = divides_channels(layer, tile) ? 1 : 1.15;
    return guard * static_cast<double>(tiles) *
           (whole_blocks * block(tile.vectors) + (last_vectors > 0 ? block(last_vectors) : 0));
}

CpuDirect best_tile(const PhaseConvolution &layer, const TargetFacts &target) {
    CpuDirect best;
    double best_cost = std::numeric_limits<double>::infinity();
    for (int lanes = target.vector_lanes; lanes >= std::min(4, target.vector_lanes); lanes /= 2) {
        for (int vectors = 1; vectors <= 4; vectors++) {
            for (int tile_y = 1; tile_y <= 4; tile_y++) {
                for (int tile_x = 1; tile_x <= 12; tile_x++) {
                    CpuDirect tile;
                    tile.lanes = lanes;
                    tile.vectors = vectors;
                    tile.tile_x = tile_x;
                    tile.tile_y = tile_y;
                    tile.strip = 1;
                    const bool by_lane =
                        target.multiply_by_lane && !layer.depthwise() && layer.channels_per_group() % 4 == 0;
                    tile.stage_lanes = by_lane ? 4 : 1;
                    tile.unroll = tile.stage_lanes;
                    if (violated_constraint(layer, target, {tile})) continue;
                    // Ties go to the tile found first: more lanes, then fewer vectors (smaller weight
                    // panels), then lower tiles, of which more tasks can be made.
                    const double cost = tile_cost(layer, target, tile);
                    if (cost >= best_cost * 0.999) continue;
                    best = tile;
                    best_cost = cost;
                }
            }
        }
    }
    return best;
}

// Grows a task until it stages three quarters of the L2 cache or tasks become too few to share among threads.
void choose_task(const PhaseConvolution &layer, const TargetFacts &target, CpuDirect *record) {
    constexpr std::int64_t enough_tasks = 8; // for two threads with no more than 1/8 of idle time at the end
    const std::int64_t budget = target.l2_bytes * 3 / 4; // the rest holds weights and results
    const std::int64_t tiles_x = divide_up(outputs_of_phase(layer.axes[1]), record->tile_x);
    const std::int64_t tiles_y = divide_up(outputs_of_phase(layer.axes[0]), record->tile_y);
    const std::int64_t batch = layer.batch == dynamic_size ? 1 : std::max<std::int64_t>(1, layer.batch);
    const std::int64_t blocks = divide_up(layer.output_channels, record->lanes * record->vectors);
    const auto fits = [&](int strip, int rows) {
        CpuDirect tried = *record;
        tried.strip = strip;
        tried.rows = rows;
        return staged_bytes(layer, tried) <= budget;
    };
    const auto tasks = [&] {
        const std::int64_t strips = record->strip == 0 ? 1 : divide_up(tiles_x, record->strip);
        return batch * strips * divide_up(tiles_y, record->rows) * (record->split_blocks ? blocks : 1);
    };

    record->rows = 1;
    record->strip = 0;
    if (!fits(0, 1)) {
        record->strip = 1;
        while (fits(record->strip * 2, 1))
            record->strip *= 2;
    }
    // Each further row of tiles shares the halo with the one above; four rows leave little of it to save. An
    // image of unknown height may be small: two rows of outputs make enough tasks of it.
    if (layer.axes[0].output_size == dynamic_size) {
        if (record->tile_y == 1 && fits(record->strip, 2)) record->rows = 2;
        return;
    }
    while (record->rows < 4 && fits(record->strip, record->rows * 2)) {
        record->rows *= 2;
        if (tasks() < enough_tasks) {
            record->rows /= 2;
            break;
        }
    }
    // Every task of a split stages the input again (12 % of an 8x8 layer with 256 channels): only where two
    // threads would idle.
    if (tasks() < 4 && blocks > 1 && divides_channels(layer, *record)) record->split_blocks = true;
}

CpuDirect cpu_default(const PhaseConvolution &layer, const TargetFacts &target) {
    CpuDirect record = best_tile(layer, target);
    choose_task(layer, target, &record);
    if (!layer.depthwise()) {
        const std::int64_t channels = layer.channels_per_group();
        // Two-operand multiplies and adds need copies: of two steps at once some would spill.
        record.unroll = channels % 2 == 0 && target.fused_multiply_add ? 2 : 1;
        // Twice the staged channels, so that the addresses of both loads are computed once.
        if (record.stage_lanes > 1)
            record.unroll = record.stage_lanes * (channels % (2 * record.stage_lanes) == 0 ? 2 : 1);
    }
    return record;
}

// 64 channels by 32 outputs a block in threads of 4x8 hold 32 sums each, far below the register limit; few
// channels or narrow images shrink the block so that no thread idles.
GpuDirect gpu_default(const PhaseConvolution &layer) {
    GpuDirect record;
    const std::int64_t channels = layer.output_channels;
    record.thread_channels = channels >= 4 ? 4 : 1;
    record.block_channels = record.thread_channels;
    while (record.block_channels < 64 && record.block_channels < channels)
        record.block_channels *= 2;
    const std::int64_t width = outputs_of_phase(layer.axes[1]);
    record.thread_x = width >= 8 ? 8 : width >= 4 ? 4 : 1;
    record.block_x = record.thread_x;
    while (record.block_x < 32 && record.block_x < width)
        record.block_x *= 2;
    const int threads = record.block_channels / record.thread_channels * (record.block_x / record.thread_x);
    const std::int64_t height = outputs_of_phase(layer.axes[0]);
    while (threads * record.block_y < 64 && record.block_y < 8 && record.block_y < height)
        record.block_y *= 2;
    record.unroll = layer.channels_per_group() % 4 == 0 ? 4 : 1;
    return record;
}

} // namespace

ScheduleRecord analytic_default(const PhaseConvolution &layer, const TargetFacts &target) {
    if (target.device != Device::cpu) return {gpu_default(layer)};
    return {cpu_default(layer, target)};
}

} // namespace unstride
