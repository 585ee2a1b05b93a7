// Enumerates the small space of register tiles and task shapes of each family that can compute a layer, and
// takes the one with the least modelled cost. Tiles that overhang the ends of rows or columns do the work of
// whole tiles.
#include "schedules/direct_default.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <type_traits>

namespace unstride {

namespace {

// Steps that a tile of every phase takes, all phases together.
double steps_of_all_phases(const PhaseConvolution &layer) {
    return std::max(static_cast<double>(phase_count(layer)), taps_of_all_phases(layer)) *
           static_cast<double>(layer.channels_per_output());
}

bool divides_channels(const PhaseConvolution &layer, const CpuDirect &tile) {
    return layer.kernel_output_channels() % (tile.lanes * tile.vectors) == 0;
}

// The share of the taps that a tile makes of all, whose others read nothing but padding.
double share_of_taps(const PhaseConvolution &layer, const CpuDirect &tile) {
    double share = 1;
    for (std::size_t axis = 0; axis < layer.axes.size(); axis++) {
        if (skips_padding(layer, tile, axis))
            share *= layer.axes[layer.axes.size() - 1 - axis].share_inside();
    }
    return share;
}

double modelled_cycles(const PhaseConvolution &layer, const TargetFacts &target, const CpuDirect &tile) {
    const double pixels = tile.tile_x * tile.tile_y;
    const double tiles =
        static_cast<double>(planes(layer) * divide_up(planned_outputs(layer.x()), tile.tile_x) *
                            divide_up(planned_outputs(layer.y()), tile.tile_y));
    // Of the last block of channels only the vectors that are stored remain: the others are dead code.
    const std::int64_t channel_vectors = divide_up(layer.kernel_output_channels(), tile.lanes);
    const double whole_blocks = static_cast<double>(channel_vectors / tile.vectors);
    const double last_vectors = static_cast<double>(channel_vectors % tile.vectors);
    const double steps = steps_of_all_phases(layer) * share_of_taps(layer, tile);
    const auto block = [&](double vectors) {
        const double step = tile.stage_lanes > 1 ? lane_step_cycles(vectors, pixels, tile.stage_lanes)
                                                 : step_cycles(target, vectors, pixels);
        return steps * step + static_cast<double>(phase_count(layer)) * tile_overhead(vectors * pixels);
    };
    // A guarded last block keeps its loops in two versions and cannot be shared among tasks.
    const double guard = divides_channels(layer, tile) ? 1 : 1.15;
    double cycles =
        guard * tiles * (whole_blocks * block(tile.vectors) + (last_vectors > 0 ? block(last_vectors) : 0));
    if (layer.layout == Layout::nchw) {
        // Elements go in and out one by one.
        const double positions =
            static_cast<double>(planes(layer) * planned_outputs(layer.x()) * planned_outputs(layer.y()));
        cycles += positions * 2.5 *
                  static_cast<double>(phase_count(layer) * layer.kernel_output_channels() +
                                      layer.kernel_input_channels());
    }
    return cycles;
}

Choice<CpuDirect> best_direct(const PhaseConvolution &layer, const TargetFacts &target) {
    Choice<CpuDirect> best;
    const bool by_lane = target.multiply_by_lane && layer.channels_per_output() % 4 == 0 &&
                         layer.x().input_stride == 1 && layer.y().input_stride == 1;
    // Ties go to more lanes, then fewer vectors (smaller weight panels), then lower tiles, of which more
    // tasks can be made.
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
                    tile.stage_lanes = by_lane ? 4 : 1;
                    // Twice the staged channels, so that the addresses of both loads are computed once.
                    if (by_lane) tile.unroll = layer.channels_per_output() % 8 == 0 ? 8 : 4;
                    if (!violated_constraint(layer, target, {tile}))
                        best.offer(tile, modelled_cycles(layer, target, tile));
                }
            }
        }
    }
    return best;
}

Choice<CpuPlanar> best_planar(const PhaseConvolution &layer, const TargetFacts &target) {
    Choice<CpuPlanar> best;
    for (int lanes = target.vector_lanes; lanes >= 4; lanes /= 2) {
        // More than one row pays only where channels are too few to fill a tile.
        for (int tile_y = 1; tile_y <= (layer.kernel_output_channels() < 4 ? 4 : 1); tile_y++) {
            for (int vectors = 1; vectors <= 4; vectors++) {
                for (int channels = 1; channels <= 24; channels++) {
                    CpuPlanar tile;
                    tile.lanes = lanes;
                    tile.vectors = vectors;
                    tile.channels = channels;
                    tile.tile_y = tile_y;
                    tile.strip = 1;
                    if (violated_constraint(layer, target, {tile})) continue;
                    const double inputs = vectors * tile_y;
                    const double tiles = static_cast<double>(
                        planes(layer) * divide_up(planned_outputs(layer.x()), lanes * vectors) *
                        divide_up(planned_outputs(layer.y()), tile_y) *
                        divide_up(layer.kernel_output_channels(), channels));
                    const double cost =
                        tiles * (steps_of_all_phases(layer) * step_cycles(target, inputs, channels) +
                                 static_cast<double>(phase_count(layer)) * tile_overhead(inputs * channels));
                    best.offer(tile, cost);
                }
            }
        }
    }
    return best;
}

// Grows a task until it stages three quarters of the L2 cache or tasks become too few to share among threads.
template<typename Record>
void choose_task(const PhaseConvolution &layer, const TargetFacts &target, Record *record) {
    // Eight tasks leave two threads no more than 1/8 of idle time at the end. Rows that have no halo to share
    // lose nothing as tasks of their own: of 92x120 inputs and 256 to 128 channels, kernel and stride 2, they
    // took 13.6 ms, four at a time 14.1.
    const std::int64_t enough_tasks = layer.y().halo() > 0 ? 8 : 64;
    const std::int64_t budget = target.l2_bytes * 3 / 4; // the rest holds weights and results
    const TaskShape tile = task_shape({*record});
    const std::int64_t tiles_x = divide_up(planned_outputs(layer.x()), tile.tile_x);
    const std::int64_t tiles_y = divide_up(planned_outputs(layer.y()), tile.tile_y);
    const auto fits = [&](int strip, int rows) {
        Record tried = *record;
        tried.strip = strip;
        tried.rows = rows;
        return staged_bytes(layer, {tried}) <= budget;
    };
    const auto tasks = [&] {
        const std::int64_t strips = record->strip == 0 ? 1 : divide_up(tiles_x, record->strip);
        return planned_batch(layer) * planes(layer) * strips * divide_up(tiles_y, record->rows);
    };

    record->rows = 1;
    record->strip = 0;
    if constexpr (std::is_same_v<Record, CpuDirect>) {
        // Every task reads all weights it computes with. Where they are many and the image is small, a task
        // takes half of the image or all of it and one block of channels, so that each weight is read once or
        // twice.
        const std::int64_t blocks =
            divide_up(layer.kernel_output_channels(), record->lanes * record->vectors);
        const bool fixed = layer.y().output_size != dynamic_size && layer.x().output_size != dynamic_size;
        if (fixed && blocks >= 4 && streams_weights(layer, target) && divides_channels(layer, *record)) {
            Record split = *record;
            split.split_blocks = true;
            for (const std::int64_t parts : {1, 2}) {
                split.rows = static_cast<int>(divide_up(tiles_y, parts));
                if (violated_constraint(layer, target, {split})) continue;
                *record = split;
                return;
            }
        }
    }
    if (!fits(0, 1)) {
        record->strip = 1;
        while (fits(record->strip * 2, 1))
            record->strip *= 2;
        // As many strips of equal width: a short last one would leave a thread idle.
        if (layer.x().output_size != dynamic_size)
            record->strip = static_cast<int>(divide_up(tiles_x, divide_up(tiles_x, record->strip)));
    }
    // Each further row of tiles shares the halo with the one above; four rows leave little of it to save. An
    // image of unknown height may be small: two rows of outputs make enough tasks of it.
    if (layer.y().output_size == dynamic_size) {
        if (tile.tile_y == 1 && fits(record->strip, 2)) record->rows = 2;
        return;
    }
    while (record->rows < 4 && fits(record->strip, record->rows * 2)) {
        record->rows *= 2;
        if (tasks() < enough_tasks) {
            record->rows /= 2;
            break;
        }
    }
    if constexpr (std::is_same_v<Record, CpuDirect>) {
        // Every task of a split stages the input again (12 % of an 8x8 layer with 256 channels): only where
        // two threads would idle.
        const std::int64_t blocks =
            divide_up(layer.kernel_output_channels(), record->lanes * record->vectors);
        record->split_blocks = tasks() < 4 && blocks > 1 && divides_channels(layer, *record);
    }
}

// Input channels of a step's body. Two-operand multiplies and adds need copies: of two steps at once some
// would spill.
int unrolled_channels(const PhaseConvolution &layer, const TargetFacts &target) {
    return layer.channels_per_output() % 2 == 0 && target.fused_multiply_add ? 2 : 1;
}

CpuDirect finished(const PhaseConvolution &layer, const TargetFacts &target, CpuDirect record) {
    choose_task(layer, target, &record);
    if (record.stage_lanes == 1) record.unroll = unrolled_channels(layer, target);
    return record;
}

CpuPlanar finished(const PhaseConvolution &layer, const TargetFacts &target, CpuPlanar record) {
    choose_task(layer, target, &record);
    return record;
}

// Functions of so many operations that they are worth bringing results into vectors for.
bool has_long_activation(const PhaseConvolution &layer) {
    return std::any_of(layer.epilogue.begin(), layer.epilogue.end(), [](const EpilogueStage &stage) {
        const auto *activation = std::get_if<Activation>(&stage.operation);
        return activation != nullptr && activation->kind != ActivationKind::relu &&
               activation->kind != ActivationKind::leaky_relu && activation->kind != ActivationKind::clamp;
    });
}

// All vectors of a pixel's channels, where they are few enough for a step's body.
int unrolled_vectors(const PhaseConvolution &layer, int lanes) {
    const std::int64_t steps = layer.channels_per_output() / lanes;
    return steps >= 1 && steps <= 16 ? static_cast<int>(steps) : 1;
}

// Of a register tile across channels. Tiles follow each other without a loop between them, so that none waits
// for its own sums; halving the lanes of two sums takes two shuffles and an addition.
double across_channels_cycles(double sums, double loads, double steps, int lanes) {
    const double halvings = sums * (lanes - 1) / lanes;
    return steps * std::max(sums / 2, loads / 1.33) + 1.5 * halvings + 4;
}

Choice<CpuColumns> best_columns(const PhaseConvolution &layer, const TargetFacts &target) {
    Choice<CpuColumns> best;
    const double channels = static_cast<double>(layer.channels_per_output());
    const double width = static_cast<double>(planned_outputs(layer.x()) + layer.x().halo());
    const std::int64_t height = planned_outputs(layer.y());

    CpuColumns task;
    task.unroll = unrolled_channels(layer, target);
    const std::int64_t weight_bytes =
        column_count(layer) * layer.channels_per_output() * static_cast<std::int64_t>(sizeof(float));
    task.blocks_outermost = weight_bytes > target.l2_bytes / 4;
    // Of more than four columns a pixel the sums themselves are no vectors, only what is done to them.
    if (column_count(layer) <= 4) {
        task.output_lanes = std::min(8, target.vector_lanes);
    } else if (has_long_activation(layer)) {
        task.output_lanes = target.vector_lanes;
    }
    // Long tasks: each computes the rows of columns around it anew.
    if (layer.y().output_size == dynamic_size) {
        task.rows = 16;
    } else if (height > 1) {
        const std::int64_t least = divide_up(height, 8), most = divide_up(height, 2);
        task.rows = static_cast<int>(std::clamp(16 * layer.y().halo(), least, most));
    } else if (layer.x().output_size != dynamic_size) {
        task.strip = static_cast<int>(std::max<std::int64_t>(divide_up(planned_outputs(layer.x()), 4), 8));
    } else {
        task.strip = 64;
    }
    const double rows =
        static_cast<double>(height) * (task.rows + static_cast<double>(layer.y().halo())) / task.rows;
    const double volume = static_cast<double>(planes(layer)) *
                          (layer.axes.size() > 2 ? 1 + static_cast<double>(layer.axes[0].halo()) : 1);
    const double sums = static_cast<double>(planes(layer) * planned_outputs(layer.x()) * height) *
                        static_cast<double>(layer.kernel_output_channels()) * taps_of_all_phases(layer);

    const auto offer = [&](const CpuColumns &tile, double cycles) {
        const double tiles = static_cast<double>(divide_up(column_count(layer), tile.block())) *
                             std::ceil(width / tile.tile_x) * rows * volume;
        best.offer(tile, tiles * cycles + 0.7 * sums);
    };
    // Ties go to fewer lanes: of few columns a narrow vector computes as many.
    for (int lanes = std::min(4, target.vector_lanes); lanes <= target.vector_lanes; lanes *= 2) {
        for (int tile_x = 1; tile_x <= 12; tile_x++) {
            for (int vectors = 1; vectors <= 6; vectors++) {
                CpuColumns tile = task;
                tile.lanes = lanes;
                tile.vectors = vectors;
                tile.tile_x = tile_x;
                if (violated_constraint(layer, target, {tile})) continue;
                offer(tile,
                      channels * step_cycles(target, vectors, tile_x) + tile_overhead(2 * vectors * tile_x));
            }
        }
        for (int tile_x = 1; tile_x <= 4; tile_x *= 2) {
            for (int vectors = 1; vectors <= 8; vectors *= 2) {
                CpuColumns tile = task;
                tile.across_channels = true;
                tile.lanes = lanes;
                tile.vectors = vectors;
                tile.tile_x = tile_x;
                tile.unroll = unrolled_vectors(layer, lanes);
                if (violated_constraint(layer, target, {tile})) continue;
                offer(tile,
                      across_channels_cycles(vectors * tile_x, vectors + tile_x, channels / lanes, lanes));
            }
        }
    }
    return best;
}

} // namespace

ModelledSchedule best_of_own_products(const PhaseConvolution &layer, const TargetFacts &target) {
    const Choice<CpuDirect> direct = best_direct(layer, target);
    const Choice<CpuPlanar> planar = best_planar(layer, target);
    const Choice<CpuColumns> columns = best_columns(layer, target);
    if (columns.cycles < std::min(direct.cycles, planar.cycles)) return {{columns.record}, columns.cycles};
    if (planar.cycles < direct.cycles) return {{finished(layer, target, planar.record)}, planar.cycles};
    return {{finished(layer, target, direct.record)}, direct.cycles};
}

} // namespace unstride
