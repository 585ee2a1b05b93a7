// Enumerates tiles and register tiles, makes tasks for each, and takes the one with the least modelled cost.
#include "schedules/filtering_default.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <utility>

namespace unstride {

namespace {

// The most tiles of a task: more read the transformed weights hardly less often (84 were best for F(3, 2) of
// 256 to 64 channels, 42 and 126 within 5 %).
constexpr std::int64_t most_task_tiles = 84;

// Tiles of a strip's outputs without those that its neighbours compute too: six vectors of outputs in tiles
// of three, of which the neighbours share the last.
constexpr std::int64_t tiles_across_strip = 32;

// Rows of channels-first tiles, as many as fit like below: the fewest tasks of those that leave two threads
// within a tenth of the least work.
std::int64_t filtering_rows(const PhaseConvolution &layer, const TargetFacts &target, CpuFiltering record) {
    const auto round_up = [](std::int64_t value, std::int64_t step) { return divide_up(value, step) * step; };
    std::int64_t across = filtered_axes(layer, record)[0]->tiles(planned_outputs(layer.x()));
    if (record.strip > 0) across = std::min(across, tiles_of_strip(layer, record));
    const std::int64_t in_row = record.staged_row(across);
    std::int64_t best = 0, least_work = std::numeric_limits<std::int64_t>::max();
    for (std::int64_t rows = 1; rows == 1 || rows * in_row <= most_task_tiles; rows++) {
        record.task_tiles = static_cast<int>(round_up(rows * in_row, record.tiles));
        if (rows > 1 && staged_bytes(layer, {record}) > target.l2_bytes * 3) break;
        const FilteringTasks tasks = filtering_tasks(layer, record);
        const std::int64_t work = round_up(tasks.count, 2) * tasks.tiles;
        if (work / 11 * 10 <= least_work) best = record.task_tiles;
        least_work = std::min(least_work, work);
    }
    return best;
}

} // namespace

// Tasks of as many tiles as the L2 cache holds, as many for each of two threads; where these would wait for
// weights, as half the cache again or four of it hold, since a point's share is used at a time, or of one
// block of channels.
CpuFiltering with_task(const PhaseConvolution &layer, const TargetFacts &target, CpuFiltering record,
                       bool open_rows) {
    record.task_tiles = record.tiles;
    if (layer.layout == Layout::nchw) {
        const std::int64_t in_row = filtered_axes(layer, record)[0]->tiles(planned_outputs(layer.x()));
        const bool strips = open_rows || record.staged_row(in_row) > most_task_tiles;
        record.strip =
            strips
                ? static_cast<int>(divide_up(tiles_across_strip * record.tile_x, record.lanes) * record.lanes)
                : 0;
        record.task_tiles = static_cast<int>(filtering_rows(layer, target, record));
        return record;
    }
    const FilteredAxes axes = filtered_axes(layer, record);
    const std::int64_t tiles = axes[0]->tiles(planned_outputs(layer.x())) *
                               axes[1]->tiles(planned_outputs(layer.y())) * planned_batch(layer);
    const std::int64_t bytes_a_tile = std::max<std::int64_t>(1, staged_bytes(layer, {record}) / record.tiles);
    const std::int64_t blocks = divide_up(channels_of_blocks(layer, record), record.block());
    // Rows of any length may be long, and every block transforms their inputs again.
    const bool splits = blocks > 1 && !open_rows && streams_weights(layer, target);
    Choice<CpuFiltering> best;
    for (const bool split_blocks : {false, true}) {
        if (split_blocks && !splits) break;
        record.split_blocks = split_blocks;
        const std::int64_t together = split_blocks && blocks % 2 == 0 ? 1 : 2; // tasks of the same tiles
        for (const std::int64_t bytes : {target.l2_bytes, target.l2_bytes * 3 / 2, target.l2_bytes * 4}) {
            const std::int64_t most =
                std::clamp<std::int64_t>(bytes / bytes_a_tile, record.tiles, most_task_tiles);
            const std::int64_t tasks = divide_up(divide_up(tiles, most), together) * together;
            const std::int64_t even = divide_up(divide_up(tiles, tasks), record.tiles) * record.tiles;
            record.task_tiles = static_cast<int>(std::clamp<std::int64_t>(
                even, record.tiles, std::max<std::int64_t>(most / record.tiles, 1) * record.tiles));
            best.offer(record, modelled_cycles(layer, target, record));
        }
    }
    return best.record;
}

bool merging_saves_vectors(const PhaseConvolution &layer, const CpuFiltering &record) {
    const std::int64_t apart = phase_count(layer) * divide_up(layer.kernel_output_channels(), record.lanes);
    return 4 * divide_up(channels_of_blocks(layer, record), record.lanes) < 3 * apart;
}

bool merges_on_wide_vectors(const PhaseConvolution &layer, const TargetFacts &target,
                            const CpuFiltering &record) {
    return record.merge_phases && target.vector_lanes >= 16 &&
           4 * channels_of_blocks(layer, record) >= 3 * std::int64_t{record.block()};
}

// What is idle at the end counts.
double modelled_cycles(const PhaseConvolution &layer, const TargetFacts &target, const CpuFiltering &record) {
    const FilteredAxes axes = filtered_axes(layer, record);
    double window = 1, points = 1, outputs = 1, products = 1;
    for (const auto &axis : axes) {
        window *= static_cast<double>(axis->matrices.points());
        points *= axis->direct() ? 1 : static_cast<double>(axis->matrices.points());
        outputs *= static_cast<double>(axis->matrices.outputs);
        products *= record.merge_phases ? static_cast<double>(axis->matrices.points())
                                        : static_cast<double>(axis->products());
    }
    const double lanes = record.lanes, channels = static_cast<double>(layer.kernel_input_channels());
    const double phases = record.merge_phases ? 1 : static_cast<double>(phase_count(layer));
    const FilteringTasks tasks = filtering_tasks(layer, record);
    const double blocks = static_cast<double>(tasks.blocks);
    const double step = record.stage_lanes > 1
                            ? lane_step_cycles(record.vectors, record.tiles, record.stage_lanes)
                            : step_cycles(target, record.vectors, record.tiles);
    // Every chain of every point of every phase enters its register tiles anew; direct axes only once.
    const double chains = static_cast<double>(layer.channels_per_output() / chain_channels(layer, record));
    const double register_tile = static_cast<double>(layer.channels_per_output()) * products * step +
                                 chains * phases * points * tile_overhead(record.vectors * record.tiles);
    // What is loaded, added and stored of each window and of each block of results.
    const bool planar = layer.layout == Layout::nchw;
    double forward = std::ceil(channels / (planar ? record.row_lanes() : lanes)) * 3 * window;
    // Channels-first results are turned, and those of tiles that two vectors of outputs share made twice.
    double back =
        phases * blocks * record.vectors * (planar ? 3 * points + 8 * outputs : 2 * (points + outputs));
    if (record.merge_phases) {
        // Few products wait for windows that many would have hidden (1900 cycles for 128 channels and 4x4
        // points), and results leave one by one.
        forward *= 4;
        back += 1.5 * outputs *
                std::min(static_cast<double>(channels_of_blocks(layer, record)), blocks * record.block());
    }
    // Every task reads all weights, or those of its block: from the L2 cache, the next one, or memory.
    const double weight_bytes = channels * products * blocks * record.block() * sizeof(float);
    const double all_bytes =
        weight_bytes / blocks *
        static_cast<double>(divide_up(channels_of_blocks(layer, record), record.block()));
    const double bytes_a_cycle = all_bytes <= static_cast<double>(target.l2_bytes) / 2 ? 16
                                 : all_bytes <= 24.0 * 1024 * 1024                     ? 5
                                                                                       : 4;
    // Every block of every phase reads the task's inputs, what the L2 cache does not hold of them from the
    // next one. With this the model's choice among the schedules of a search took 1.065 times as long as the
    // fastest on Sapphire Rapids (45 searches; 1.15 without), 1.036 on Zen 4 (23; the same without). Of
    // channels-first tensors and of targets that multiply by lane there are no such searches.
    const bool measured = !planar && !target.multiply_by_lane;
    const std::int64_t distant = measured ? staged_bytes(layer, {record}) - target.l2_bytes : 0;
    const double inputs = static_cast<double>(std::max<std::int64_t>(0, distant)) * blocks * phases / 8;
    const double task = std::max(blocks * static_cast<double>(tasks.register_tiles) * register_tile + inputs,
                                 weight_bytes / bytes_a_cycle) +
                        static_cast<double>(tasks.tiles) * (forward + back);
    const double cycles = static_cast<double>(divide_up(tasks.count, 2) * 2) * task;
    return merges_on_wide_vectors(layer, target, record) ? 0.6 * cycles : cycles;
}

namespace {

// A tile of so many vectors in register tiles of any size.
void offer_tasks(const PhaseConvolution &layer, const TargetFacts &target, CpuFiltering tile,
                 Choice<CpuFiltering> *best) {
    for (tile.tiles = 1; tile.tiles <= 14; tile.tiles++) {
        tile.task_tiles = tile.tiles;
        if (target.multiply_by_lane) {
            // Tiles are staged ahead.
            const int used = tile.vectors * tile.tiles + tile.vectors + 2 * tile.tiles;
            if (used > target.vector_registers) continue;
            // Four of five instructions multiply; the others load weights, in pairs, and inputs, and loop.
            const int multiplies = tile.vectors * tile.tiles * tile.unroll;
            const int others =
                tile.vectors * tile.unroll / 2 + tile.tiles * tile.unroll / tile.stage_lanes + 3;
            if (multiplies < 4 * others) continue;
        }
        if (violated_constraint(layer, target, {tile})) continue;
        tile = with_task(layer, target, tile, false);
        if (violated_constraint(layer, target, {tile})) continue;
        best->offer(tile, modelled_cycles(layer, target, tile) / static_cast<double>(planned_batch(layer)));
    }
}

} // namespace

int filtering_unroll(const PhaseConvolution &layer, const TargetFacts &target) {
    const std::int64_t channels = layer.channels_per_output();
    if (target.multiply_by_lane && channels % 4 == 0) return channels % 8 == 0 ? 8 : 4;
    return target.fused_multiply_add && channels % 2 == 0 ? 2 : 1;
}

std::optional<int> longest_chain(const PhaseConvolution &layer, const TargetFacts &target,
                                 CpuFiltering tile) {
    constexpr std::int64_t shortest = 8; // of shorter ones the sums of chains take longer than the chains
    const FilteredAxes axes = filtered_axes(layer, tile);
    if (layer.numeric == NumericPolicy::exact || !axes[0] || !axes[1]) return std::nullopt;
    const double most = layer.numeric == NumericPolicy::fast ? fast_relative_error : safe_relative_error;
    const std::int64_t channels = layer.channels_per_output();
    for (std::int64_t chains = 1; chains == 1 || channels / chains >= shortest; chains++) {
        if (channels % chains != 0 || relative_error(axes, channels, channels / chains) > most) continue;
        tile.chain = chains == 1 ? 0 : static_cast<int>(channels / chains);
        if (!violated_constraint(layer, target, {tile})) return tile.chain;
    }
    return std::nullopt;
}

// Targets that multiply by lane stage four input channels of a tile in a vector, twice, as the direct form
// does.
std::vector<CostedTile> filter_tiles(const PhaseConvolution &layer, const TargetFacts &target) {
    if (layer.axes.size() != 2 || !filters_well(layer, target)) return {};
    const std::array<std::int64_t, 2> outputs = {planned_outputs(layer.x()), planned_outputs(layer.y())};
    std::vector<CostedTile> tiles;
    CpuFiltering tile;
    tile.lanes = target.vector_lanes;
    tile.stage_lanes = target.multiply_by_lane ? 4 : 1;
    tile.unroll = filtering_unroll(layer, target);
    for (tile.tile_y = 1; tile.tile_y <= std::min<std::int64_t>(largest_filter_tile, outputs[1]);
         tile.tile_y++) {
        for (tile.tile_x = 1; tile.tile_x <= std::min<std::int64_t>(largest_filter_tile, outputs[0]);
             tile.tile_x++) {
            const std::optional<int> chain = longest_chain(layer, target, tile);
            if (!chain) continue;
            CostedTile &costed = tiles.emplace_back(CostedTile{tile});
            costed.tile.chain = *chain;
            const FilteredAxes axes = filtered_axes(layer, tile);
            for (std::size_t axis = 0; axis < axes.size(); axis++) {
                costed.work *= static_cast<double>(axes[axis]->tiles(outputs[axis]) * axes[axis]->products());
                costed.window *= static_cast<double>(axes[axis]->matrices.points());
            }
            costed.chains =
                static_cast<double>(layer.channels_per_output() / chain_channels(layer, costed.tile));
        }
    }
    std::vector<CostedTile> best;
    for (const CostedTile &one : tiles) {
        const bool beaten = std::any_of(tiles.begin(), tiles.end(), [&](const CostedTile &other) {
            return one.costs_no_less(other) && (!other.costs_no_less(one) || &other < &one);
        });
        if (!beaten) best.push_back(one);
    }
    return best;
}

Choice<CpuFiltering> best_filtering(const PhaseConvolution &layer, const TargetFacts &target) {
    Choice<CpuFiltering> best;
    for (const CostedTile &costed : filter_tiles(layer, target)) {
        CpuFiltering tile = costed.tile;
        for (const bool merge_phases : {false, true}) {
            tile.merge_phases = merge_phases;
            if (merge_phases && !merging_saves_vectors(layer, tile)) continue;
            for (tile.vectors = 1; tile.vectors <= 4; tile.vectors++)
                offer_tasks(layer, target, tile, &best);
        }
    }
    return best;
}

bool filters_well(const PhaseConvolution &layer, const TargetFacts &target) {
    return !target.multiply_by_lane || (layer.channels_per_output() % 4 == 0 && layer.layout == Layout::nhwc);
}

// The family's constraints know of the layer; the smallest tiles violate the fewest.
std::string no_filtering(const PhaseConvolution &layer, const TargetFacts &target) {
    if (layer.numeric == NumericPolicy::exact) return "numeric=exact";
    if (layer.axes.size() != 2) return "the layer has three spatial axes";
    if (!filters_well(layer, target))
        return fmt::format("on {} it takes channels-last tensors with input channels by fours",
                           target.instruction_set);
    std::string reason;
    for (const auto &[tile_x, tile_y] : {std::pair{2, 2}, std::pair{1, 2}, std::pair{2, 1}}) {
        CpuFiltering tile;
        tile.tile_x = tile_x;
        tile.tile_y = tile_y;
        if (const auto violated = violated_constraint(layer, target, {tile})) reason = *violated;
    }
    return reason.empty() ? "the image is too small for a tile" : reason;
}

} // namespace unstride
