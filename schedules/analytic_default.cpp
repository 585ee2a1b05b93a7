// Enumerates the small space of register tiles and task shapes of each family that can compute a layer, and
// takes the one with the least modelled cost.
//
// The model counts cycles of the innermost loop. A step takes one input channel: it loads some vectors,
// broadcasts some numbers, and multiplies each with each. It costs the largest of
//   - two multiply-adds a cycle;
//   - 1.33 loads a cycle: of 118 GFLOP/s that a Zen 4 core has, AVX2 tiles of 12 accumulators reached 109
//     with 8 loads a step (2x3x2) and 75 with 13 (1x6x2), and one of 8 accumulators 104 with 6 loads (2x2x2);
//   - 4.75 cycles from one multiply-add to the next on the same accumulator: 4, and what loads are late (81
//     for 2x1x4).
// Tiles that overhang the ends of rows or columns do the work of whole tiles.
#include "schedules/analytic_default.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <type_traits>

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
        axis.output_size == dynamic_size ? axis.output_for(planned_size) : axis.output_size;
    return std::max<std::int64_t>(1, divide_up(size, axis.phase_count()));
}

std::int64_t planned_batch(const PhaseConvolution &layer) {
    return layer.batch == dynamic_size ? 1 : std::max<std::int64_t>(1, layer.batch);
}

// Planes of a volume; 1 for images.
std::int64_t planes(const PhaseConvolution &layer) {
    return layer.axes.size() > 2 ? outputs_of_phase(layer.axes[0]) : 1;
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

// Cycles of a step that multiplies each of `vectors` loaded vectors with each of `broadcasts` numbers.
double step_cycles(const TargetFacts &target, double vectors, double broadcasts) {
    // SSE has no broadcasting load, a shuffle follows each; and it multiplies and adds apart.
    const double operations = target.fused_multiply_add ? 1 : 2;
    const double multiplies = vectors * broadcasts * operations;
    const double loads = vectors + broadcasts * operations;
    const double latency = 4.75 * operations;
    // The share added for loads ranks tiles that all keep the multipliers busy.
    return std::max({multiplies / 2, loads / 1.33, latency}) + 0.1 * loads;
}

// A step that multiplies by lane: loads and multiply-adds share the issue slots of narrow cores, so what
// loads take is lost.
double lane_step_cycles(double vectors, double pixels, int stage_lanes) {
    return vectors * pixels / 2 + (vectors + pixels / stage_lanes) / 2;
}

// Entering and leaving a register tile: the bias, addresses, results.
double tile_overhead(double accumulators) {
    return 20 + 2 * accumulators;
}

// Steps that a tile of every phase takes, all phases together.
double steps_of_all_phases(const PhaseConvolution &layer) {
    return std::max(static_cast<double>(phase_count(layer)), taps_of_all_phases(layer)) *
           static_cast<double>(layer.channels_per_output());
}

// A schedule with its modelled cycles for one image.
template<typename Record>
struct Choice {
    Record record;
    double cycles = std::numeric_limits<double>::infinity();

    // Ties stay with the one found first.
    void offer(const Record &other, double cost) {
        if (cost >= cycles * 0.999) return;
        record = other;
        cycles = cost;
    }
};

bool divides_channels(const PhaseConvolution &layer, const CpuDirect &tile) {
    return layer.kernel_output_channels() % (tile.lanes * tile.vectors) == 0;
}

double modelled_cycles(const PhaseConvolution &layer, const TargetFacts &target, const CpuDirect &tile) {
    const double pixels = tile.tile_x * tile.tile_y;
    const double tiles =
        static_cast<double>(planes(layer) * divide_up(outputs_of_phase(layer.x()), tile.tile_x) *
                            divide_up(outputs_of_phase(layer.y()), tile.tile_y));
    // Of the last block of channels only the vectors that are stored remain: the others are dead code.
    const std::int64_t channel_vectors = divide_up(layer.kernel_output_channels(), tile.lanes);
    const double whole_blocks = static_cast<double>(channel_vectors / tile.vectors);
    const double last_vectors = static_cast<double>(channel_vectors % tile.vectors);
    const auto block = [&](double vectors) {
        const double step = tile.stage_lanes > 1 ? lane_step_cycles(vectors, pixels, tile.stage_lanes)
                                                 : step_cycles(target, vectors, pixels);
        return steps_of_all_phases(layer) * step +
               static_cast<double>(phase_count(layer)) * tile_overhead(vectors * pixels);
    };
    // A guarded last block keeps its loops in two versions and cannot be shared among tasks.
    const double guard = divides_channels(layer, tile) ? 1 : 1.15;
    double cycles =
        guard * tiles * (whole_blocks * block(tile.vectors) + (last_vectors > 0 ? block(last_vectors) : 0));
    if (layer.layout == Layout::nchw) {
        // Elements go in and out one by one.
        const double positions =
            static_cast<double>(planes(layer) * outputs_of_phase(layer.x()) * outputs_of_phase(layer.y()));
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
                        planes(layer) * divide_up(outputs_of_phase(layer.x()), lanes * vectors) *
                        divide_up(outputs_of_phase(layer.y()), tile_y) *
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
    constexpr std::int64_t enough_tasks = 8; // for two threads with no more than 1/8 of idle time at the end
    const std::int64_t budget = target.l2_bytes * 3 / 4; // the rest holds weights and results
    const TaskShape tile = task_shape({*record});
    const std::int64_t tiles_x = divide_up(outputs_of_phase(layer.x()), tile.tile_x);
    const std::int64_t tiles_y = divide_up(outputs_of_phase(layer.y()), tile.tile_y);
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

Choice<CpuColumns> best_columns(const PhaseConvolution &layer, const TargetFacts &target) {
    Choice<CpuColumns> best;
    const double channels = static_cast<double>(layer.channels_per_output());
    const double width = static_cast<double>(outputs_of_phase(layer.x()) + layer.x().halo());
    const std::int64_t height = outputs_of_phase(layer.y());

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
        task.strip = static_cast<int>(std::max<std::int64_t>(divide_up(outputs_of_phase(layer.x()), 4), 8));
    } else {
        task.strip = 64;
    }
    const double rows =
        static_cast<double>(height) * (task.rows + static_cast<double>(layer.y().halo())) / task.rows;
    const double volume = static_cast<double>(planes(layer)) *
                          (layer.axes.size() > 2 ? 1 + static_cast<double>(layer.axes[0].halo()) : 1);
    const double sums = static_cast<double>(planes(layer) * outputs_of_phase(layer.x()) * height) *
                        static_cast<double>(layer.kernel_output_channels()) * taps_of_all_phases(layer);

    // Ties go to fewer lanes: of few columns a narrow vector computes as many.
    for (int lanes = std::min(4, target.vector_lanes); lanes <= target.vector_lanes; lanes *= 2) {
        for (int vectors = 1; vectors <= 6; vectors++) {
            for (int tile_x = 1; tile_x <= 12; tile_x++) {
                CpuColumns tile = task;
                tile.lanes = lanes;
                tile.vectors = vectors;
                tile.tile_x = tile_x;
                if (violated_constraint(layer, target, {tile})) continue;
                const double blocks = static_cast<double>(divide_up(column_count(layer), tile.block()));
                const double products =
                    blocks * std::ceil(width / tile_x) * rows * volume *
                    (channels * step_cycles(target, vectors, tile_x) + tile_overhead(2 * vectors * tile_x));
                best.offer(tile, products + 0.7 * sums);
            }
        }
    }
    return best;
}

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
    const std::int64_t height = outputs_of_phase(layer.y());
    record.rows = static_cast<int>(record.lanes_along_x && layer.output_channels >= 8
                                       ? std::min<std::int64_t>(height, 256)
                                       : std::clamp<std::int64_t>(height / 8, 1, 8));
    return record;
}

// Below this a call is over before transforming pays, and small layers keep the plain sum's error bound.
constexpr double least_filtered_multiplications = 4e6;

double multiplications_per_image(const PhaseConvolution &layer) {
    return taps_of_all_phases(layer) *
           static_cast<double>(outputs_of_phase(layer.x()) * outputs_of_phase(layer.y()) * planes(layer) *
                               layer.channels_per_output() * layer.kernel_output_channels());
}

// The most tiles of a task: more read the transformed weights hardly less often (84 were best for F(3, 2) of
// 256 to 64 channels, 42 and 126 within 5 %).
constexpr std::int64_t most_task_tiles = 84;

// Whole rows of channels-first tiles, as many as fit like below: the fewest tasks of those that leave two
// threads within a tenth of the least work.
std::int64_t filtering_rows(const PhaseConvolution &layer, const TargetFacts &target, CpuFiltering record) {
    const auto round_up = [](std::int64_t value, std::int64_t step) { return divide_up(value, step) * step; };
    const std::int64_t in_row =
        record.staged_row(filtered_axes(layer, record)[0]->tiles(outputs_of_phase(layer.x())));
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

// Tasks of as many tiles as half the cache again as the L2 holds, as many for each of two threads.
std::int64_t filtering_task(const PhaseConvolution &layer, const TargetFacts &target, CpuFiltering record,
                            std::int64_t tiles) {
    record.task_tiles = record.tiles;
    if (layer.layout == Layout::nchw) return filtering_rows(layer, target, record);
    const std::int64_t bytes_a_tile = std::max<std::int64_t>(1, staged_bytes(layer, {record}) / record.tiles);
    const std::int64_t most =
        std::clamp<std::int64_t>(target.l2_bytes * 3 / 2 / bytes_a_tile, record.tiles, most_task_tiles);
    const std::int64_t tasks = divide_up(divide_up(tiles, most), 2) * 2;
    const std::int64_t even = divide_up(divide_up(tiles, tasks), record.tiles) * record.tiles;
    return std::clamp<std::int64_t>(even, record.tiles,
                                    std::max<std::int64_t>(most / record.tiles, 1) * record.tiles);
}

// Cycles of one thread of two, times two: what is idle at the end counts.
double modelled_cycles(const PhaseConvolution &layer, const TargetFacts &target, const CpuFiltering &record,
                       const FilteredAxes &axes) {
    double window = 1, points = 1, outputs = 1, products = 1;
    for (const auto &axis : axes) {
        window *= static_cast<double>(axis->matrices.points());
        points *= axis->direct() ? 1 : static_cast<double>(axis->matrices.points());
        outputs *= static_cast<double>(axis->matrices.outputs);
        products *= static_cast<double>(axis->products());
    }
    const double lanes = record.lanes, channels = static_cast<double>(layer.kernel_input_channels());
    const double phases = static_cast<double>(phase_count(layer));
    const double blocks = static_cast<double>(divide_up(layer.kernel_output_channels(), record.block()));
    const double step = record.stage_lanes > 1
                            ? lane_step_cycles(record.vectors, record.tiles, record.stage_lanes)
                            : step_cycles(target, record.vectors, record.tiles);
    // Every point of every phase enters its register tiles anew; direct axes only once.
    const double register_tile = static_cast<double>(layer.channels_per_output()) * products * step +
                                 phases * points * tile_overhead(record.vectors * record.tiles);
    // What is loaded, added and stored of each window and of each block of results.
    const bool planar = layer.layout == Layout::nchw;
    const double forward = std::ceil(channels / (planar ? record.row_lanes() : lanes)) * 3 * window;
    // Channels-first results are turned, and those of tiles that two vectors of outputs share made twice.
    const double back =
        phases * blocks * record.vectors * (planar ? 3 * points + 8 * outputs : 2 * (points + outputs));
    // Every task reads all weights: from the L2 cache, the next one, or memory.
    const double weight_bytes = channels * products * blocks * record.block() * sizeof(float);
    const double bytes_a_cycle = weight_bytes <= static_cast<double>(target.l2_bytes) / 2 ? 16
                                 : weight_bytes <= 24.0 * 1024 * 1024                     ? 5
                                                                                          : 1.5;
    const FilteringTasks tasks = filtering_tasks(layer, record);
    const double task = std::max(blocks * static_cast<double>(tasks.register_tiles) * register_tile,
                                 weight_bytes / bytes_a_cycle) +
                        static_cast<double>(tasks.tiles) * (forward + back);
    return static_cast<double>(divide_up(tasks.count, 2) * 2) * task;
}

// Targets that multiply by lane stage four input channels of a tile in a vector, twice, as the direct form
// does. The cycles are those of one image, as of the other families. Precondition: fixed sizes.
Choice<CpuFiltering> best_filtering(const PhaseConvolution &layer, const TargetFacts &target) {
    Choice<CpuFiltering> best;
    const std::int64_t channels = layer.channels_per_output();
    const bool by_lane = target.multiply_by_lane;
    if (layer.axes.size() != 2 || (by_lane && (channels % 4 != 0 || layer.layout == Layout::nchw)))
        return best;
    const std::int64_t outputs_x = outputs_of_phase(layer.x()), outputs_y = outputs_of_phase(layer.y());
    for (int tile_y = 1; tile_y <= std::min<std::int64_t>(largest_filter_tile, outputs_y); tile_y++) {
        for (int tile_x = 1; tile_x <= std::min<std::int64_t>(largest_filter_tile, outputs_x); tile_x++) {
            CpuFiltering tile;
            tile.tile_x = tile_x;
            tile.tile_y = tile_y;
            if (violated_constraint(layer, target, {tile})) continue;
            const FilteredAxes axes = filtered_axes(layer, tile);
            const std::int64_t tiles = axes[0]->tiles(outputs_x) * axes[1]->tiles(outputs_y) * layer.batch;
            tile.lanes = target.vector_lanes;
            if (by_lane) {
                tile.stage_lanes = 4;
                tile.unroll = channels % 8 == 0 ? 8 : 4;
            }
            for (tile.vectors = 1; tile.vectors <= 4; tile.vectors++) {
                for (tile.tiles = 1; tile.tiles <= 14; tile.tiles++) {
                    tile.task_tiles = tile.tiles;
                    // Tiles are staged ahead.
                    const int used = tile.vectors * tile.tiles + tile.vectors + 2 * tile.tiles;
                    if (by_lane && used > target.vector_registers) continue;
                    if (violated_constraint(layer, target, {tile})) continue;
                    tile.task_tiles = static_cast<int>(filtering_task(layer, target, tile, tiles));
                    if (violated_constraint(layer, target, {tile})) continue;
                    best.offer(tile, modelled_cycles(layer, target, tile, axes) /
                                         static_cast<double>(std::max<std::int64_t>(layer.batch, 1)));
                }
            }
        }
    }
    return best;
}

ModelledSchedule best_of_own_products(const PhaseConvolution &layer, const TargetFacts &target) {
    const Choice<CpuDirect> direct = best_direct(layer, target);
    const Choice<CpuPlanar> planar = best_planar(layer, target);
    const Choice<CpuColumns> columns = best_columns(layer, target);
    if (columns.cycles < std::min(direct.cycles, planar.cycles)) return {{columns.record}, columns.cycles};
    if (planar.cycles < direct.cycles) return {{finished(layer, target, planar.record)}, planar.cycles};
    return {{finished(layer, target, direct.record)}, direct.cycles};
}

// Why there is no filtering schedule. The family's constraints know of the layer; the smallest tiles violate
// the fewest.
std::string no_filtering(const PhaseConvolution &layer, const TargetFacts &target) {
    if (layer.numeric == NumericPolicy::exact) return "numeric=exact";
    if (layer.axes.size() != 2) return "the layer has three spatial axes";
    if (target.multiply_by_lane && (layer.channels_per_output() % 4 != 0 || layer.layout == Layout::nchw))
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

bool has_dynamic_size(const PhaseConvolution &layer) {
    return layer.batch == dynamic_size ||
           std::any_of(layer.axes.begin(), layer.axes.end(),
                       [](const PhaseAxis &axis) { return axis.output_size == dynamic_size; });
}

// The same layer for one image of that size, where sizes are dynamic.
PhaseConvolution with_sizes(PhaseConvolution layer, std::int64_t size) {
    if (layer.batch == dynamic_size) layer.batch = 1;
    for (PhaseAxis &axis : layer.axes) {
        if (axis.output_size != dynamic_size) continue;
        axis.input_size = size;
        axis.output_size = axis.output_for(size);
    }
    return layer;
}

ScheduleRecord cpu_default(const PhaseConvolution &layer, const TargetFacts &target) {
    if (layer.depthwise()) return {channelwise_default(layer, target)};
    return choose_form(layer, target).chosen().schedule;
}

// 64 channels by 32 outputs a block in threads of 4x8 hold 32 sums each, far below the register limit; few
// channels or narrow images shrink the block so that no thread idles.
GpuDirect gpu_default(const PhaseConvolution &layer) {
    GpuDirect record;
    const std::int64_t channels = layer.kernel_output_channels();
    record.thread_channels = channels >= 4 ? 4 : 1;
    record.block_channels = record.thread_channels;
    while (record.block_channels < 64 && record.block_channels < channels)
        record.block_channels *= 2;
    const std::int64_t width = outputs_of_phase(layer.x());
    record.thread_x = width >= 8 ? 8 : width >= 4 ? 4 : 1;
    record.block_x = record.thread_x;
    while (record.block_x < 32 && record.block_x < width)
        record.block_x *= 2;
    const int threads = record.block_channels / record.thread_channels * (record.block_x / record.thread_x);
    const std::int64_t height = outputs_of_phase(layer.y());
    while (threads * record.block_y < 64 && record.block_y < 8 && record.block_y < height)
        record.block_y *= 2;
    record.unroll = layer.channels_per_output() % 4 == 0 ? 4 : 1;
    return record;
}

} // namespace

ScheduleRecord analytic_default(const PhaseConvolution &layer, const TargetFacts &target) {
    if (target.device == Device::cpu) return cpu_default(layer, target);
    if (!layer.depthwise()) return {gpu_default(layer)};
    GpuChannelwise record;
    while (record.block_channels > layer.output_channels)
        record.block_channels /= 2;
    record.block_x = 128 / record.block_channels;
    return {record};
}

// Filtering must pay well: its weights take more memory, and what is not finite spreads over a tile. Where
// sizes are dynamic, tiles are made for a middle image, which must gain, and tasks for a small one, which
// must not lose.
FormChoice choose_form(const PhaseConvolution &layer, const TargetFacts &target) {
    constexpr double pays = 0.85;
    constexpr std::int64_t small_image = 16, middle_image = 32;
    const bool dynamic = has_dynamic_size(layer);
    const PhaseConvolution small = dynamic ? with_sizes(layer, small_image) : layer;
    const PhaseConvolution planned = dynamic ? with_sizes(layer, middle_image) : layer;
    FormChoice choice;
    choice.direct = best_of_own_products(layer, target);
    if (dynamic) choice.direct.cycles = best_of_own_products(planned, target).cycles;
    Choice<CpuFiltering> filtering = best_filtering(planned, target);
    if (!std::isfinite(filtering.cycles)) {
        choice.reason = no_filtering(layer, target);
        return choice;
    }
    double small_share = 0;
    if (dynamic) {
        CpuFiltering &record = filtering.record;
        const FilteredAxes axes = filtered_axes(layer, record);
        const std::int64_t tiles =
            axes[0]->tiles(outputs_of_phase(small.x())) * axes[1]->tiles(outputs_of_phase(small.y()));
        record.task_tiles = static_cast<int>(filtering_task(small, target, record, tiles));
        if (auto violated = violated_constraint(layer, target, {record})) {
            choice.reason = *std::move(violated);
            return choice;
        }
        small_share =
            modelled_cycles(small, target, record, axes) / best_of_own_products(small, target).cycles;
        filtering.cycles = modelled_cycles(planned, target, record, axes);
    }
    choice.filtering = {{filtering.record}, filtering.cycles};
    const double share = filtering.cycles / choice.direct.cycles;
    const std::string modelled =
        fmt::format("filtering is modelled at {:.2f} of the direct form's cycles{}", share,
                    dynamic ? fmt::format(" for {}x{} inputs", middle_image, middle_image) : "");
    if (share < pays && small_share > 1) {
        choice.reason =
            fmt::format("{}, but at {:.2f} for {}x{}", modelled, small_share, small_image, small_image);
    } else if (multiplications_per_image(planned) < least_filtered_multiplications) {
        choice.reason = fmt::format("an image takes less than {:.0f} million multiplications",
                                    least_filtered_multiplications / 1e6);
    } else if (share < pays) {
        choice.filters = true;
        choice.reason = modelled;
    } else {
        choice.reason = fmt::format("{}, not below {}", modelled, pays);
    }
    return choice;
}

} // namespace unstride
