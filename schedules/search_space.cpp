// One enumeration and one set of rules for each family; the enumeration offers, the rules decide.
//
// Numbers that several rules share: two multiply-adds a cycle of four cycles each ask for eight independent
// accumulators, and two loads a cycle for no more than about 0.85 loads a multiply-add (of AVX-512 tiles, 6x4
// reached 204 GFLOP/s, 12x2 190; of AVX2 tiles 6x2 114, while 7x2 spilled and reached 52). Where multiplying
// and adding are two instructions, fewer accumulators and more loads suffice.
#include "schedules/search_space.h"

#include "schedules/analytic_default.h"
#include "schedules/filtering_default.h"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <array>
#include <limits>

namespace unstride {

namespace {

constexpr double least_kept = 0.7;  // of a tile's work
constexpr double least_busy = 0.85; // of the threads' time
constexpr std::int64_t code_budget = 16 * 1024;
constexpr std::int64_t bytes_an_instruction = 8;
constexpr int most_tile_x = 12, most_tile_y = 4, most_vectors = 4;

using Reason = std::optional<std::string>;

// Outputs of one phase along an axis; nothing if known only at run time.
std::optional<std::int64_t> outputs(const PhaseAxis &axis) {
    if (axis.output_size == dynamic_size) return std::nullopt;
    return std::max<std::int64_t>(1, divide_up(axis.output_size, axis.phase_count()));
}

// The part of whole tiles that covers something.
double kept(std::int64_t extent, std::int64_t tile) {
    return static_cast<double>(extent) / static_cast<double>(divide_up(extent, tile) * tile);
}
double kept(std::optional<std::int64_t> extent, std::int64_t tile) {
    return extent ? kept(*extent, tile) : 1;
}

// Tiles that an axis can fill, of at most `limit`.
std::int64_t useful(std::optional<std::int64_t> extent, std::int64_t limit) {
    return extent ? std::min(*extent, limit) : limit;
}

Reason wasteful(double keeps, double narrowest_keeps) {
    if (keeps >= least_kept * narrowest_keeps) return std::nullopt;
    return fmt::format("the tiles keep {:.2f} of their work", keeps);
}

// Vectors of fewer lanes than the target has pay only where they overhang a good deal less.
Reason needlessly_narrow(std::optional<std::int64_t> extent, const TargetFacts &target, int lanes) {
    for (int wider = lanes * 2; wider <= target.vector_lanes; wider *= 2) {
        if (kept(extent, wider) >= 0.9 * kept(extent, lanes))
            return fmt::format("{} lanes would do what {} do", wider, lanes);
    }
    return std::nullopt;
}

double loads_a_multiply(double vectors, double broadcasts) {
    return (vectors + broadcasts) / (vectors * broadcasts);
}

// A register tile of `vectors` loaded vectors by `broadcasts` numbers, of at most so many.
Reason slow_tile(const TargetFacts &target, std::int64_t vectors, std::int64_t broadcasts,
                 std::int64_t useful_vectors, std::int64_t useful_broadcasts) {
    const std::int64_t operands = target.fused_multiply_add ? 1 : 3;
    std::int64_t most_sums = 1;
    double least_loads = std::numeric_limits<double>::infinity();
    for (std::int64_t v = 1; v <= useful_vectors; v++) {
        const std::int64_t b = std::min(useful_broadcasts, (target.vector_registers - operands - v) / v);
        if (b < 1) break;
        most_sums = std::max(most_sums, v * b);
        least_loads = std::min(least_loads, loads_a_multiply(static_cast<double>(v), static_cast<double>(b)));
    }
    const std::int64_t enough_sums = std::min<std::int64_t>(target.fused_multiply_add ? 8 : 6, most_sums);
    const double most_loads = target.fused_multiply_add ? 0.85 : 1.1; // for each multiply-add
    if (vectors * broadcasts < enough_sums)
        return fmt::format("{} accumulators do not keep the multipliers busy", vectors * broadcasts);
    const double loads = loads_a_multiply(static_cast<double>(vectors), static_cast<double>(broadcasts));
    if (loads > std::max(most_loads, 1.25 * least_loads))
        return fmt::format("the register tile loads {:.2f} times for each multiply-add", loads);
    return std::nullopt;
}

Reason long_body(const PhaseConvolution &layer, const TargetFacts &target, std::int64_t vectors,
                 std::int64_t broadcasts, std::int64_t copies, int unroll) {
    if (layer.channels_per_output() % unroll != 0)
        return fmt::format("{} channels are no multiple of unroll {}", layer.channels_per_output(), unroll);
    // Two-operand multiplies and adds need copies, each step its own.
    if (!target.fused_multiply_add && unroll > 1 &&
        vectors * broadcasts + unroll * (vectors + 3) >= target.vector_registers)
        return fmt::format("the target has no registers for {} steps at once", unroll);
    const std::int64_t multiplies = vectors * broadcasts * (target.fused_multiply_add ? 1 : 2);
    const std::int64_t bytes = bytes_an_instruction * copies * unroll * (multiplies + vectors + broadcasts);
    if (bytes <= code_budget) return std::nullopt;
    return fmt::format("the innermost loops take about {} bytes", bytes);
}

// Whether accumulators, vectors and a broadcast number leave no register. Then one more temporary spills: of
// a sample of generated loops, AVX2 tiles of 1x11 and 1x14 unrolled by 4 and planar ones of 3x4 did.
bool fills_registers(const TargetFacts &target, std::int64_t vectors, std::int64_t broadcasts) {
    return vectors * broadcasts + vectors + 1 >= target.vector_registers;
}

// Weights that the tiles of a task walk over: all input channels and taps of one phase and block.
Reason wide_panel(const PhaseConvolution &layer, const TargetFacts &target, std::int64_t channels,
                  bool narrowest) {
    std::int64_t bytes = channels * layer.channels_per_output() * static_cast<std::int64_t>(sizeof(float));
    for (const PhaseAxis &axis : layer.axes)
        bytes *= std::max<std::int64_t>(axis.max_taps(), 1);
    if (narrowest || bytes <= target.l2_bytes / 2) return std::nullopt;
    return fmt::format("a block's weights take {} bytes, more than half of the L2 cache", bytes);
}

// Tasks of one call; nothing where that is known only at run time.
std::optional<std::int64_t> task_count(const PhaseConvolution &layer, const TaskShape &task,
                                       std::int64_t blocks) {
    const auto x = outputs(layer.x()), y = outputs(layer.y());
    if (!x || (!y && task.rows > 0)) return std::nullopt;
    std::int64_t count = layer.batch == dynamic_size ? 1 : std::max<std::int64_t>(1, layer.batch);
    if (layer.axes.size() > 2) {
        const auto planes = outputs(layer.axes[0]);
        if (!planes) return std::nullopt;
        count *= *planes;
    }
    const std::int64_t strips = task.strip == 0 ? 1 : divide_up(divide_up(*x, task.tile_x), task.strip);
    return count * strips * divide_up(divide_up(*y, task.tile_y), task.rows) * blocks;
}

double busy(std::int64_t tasks, int threads) {
    return static_cast<double>(tasks) / static_cast<double>(divide_up(tasks, threads) * threads);
}

Reason idle_threads(const PhaseConvolution &layer, const TaskShape &task, std::int64_t blocks,
                    std::int64_t most_blocks, int threads) {
    const auto tasks = task_count(layer, task, blocks);
    if (!tasks || busy(*tasks, threads) >= least_busy) return std::nullopt;
    TaskShape smallest = task;
    smallest.strip = smallest.rows = 1;
    if (busy(*tasks, threads) >= busy(*task_count(layer, smallest, most_blocks), threads))
        return std::nullopt;
    return fmt::format("{} tasks leave some of {} threads idle", *tasks, threads);
}

Reason large_task(const PhaseConvolution &layer, const TargetFacts &target, const ScheduleRecord &record) {
    const TaskShape task = task_shape(record);
    const std::int64_t bytes = staged_bytes(layer, record);
    if ((task.strip == 1 && task.rows == 1) || bytes <= target.l2_bytes * 3 / 4) return std::nullopt;
    return fmt::format("a task stages {} bytes, more than 3/4 of the L2 cache", bytes);
}

// The first reason that there is.
template<typename... Rules>
Reason first_of(const Rules &...rules) {
    Reason reason;
    ((reason = rules(), reason.has_value()) || ...);
    return reason;
}

Reason unworthy_of(const PhaseConvolution &layer, const TargetFacts &target, const CpuDirect &r,
                   int threads) {
    const std::int64_t channels = layer.kernel_output_channels(), block = std::int64_t{r.lanes} * r.vectors;
    const std::int64_t blocks = divide_up(channels, block);
    const auto x = outputs(layer.x()), y = outputs(layer.y());
    const bool streams = r.split_blocks && r.strip == 0 && streams_weights(layer, target);
    return first_of(
        [&] {
            const double narrowest = kept(channels, std::min(4, target.vector_lanes));
            return wasteful(kept(channels, block) * kept(x, r.tile_x) * kept(y, r.tile_y), narrowest);
        },
        [&] { return needlessly_narrow(channels, target, r.lanes); },
        [&] {
            return slow_tile(target, r.vectors, std::int64_t{r.tile_x} * r.tile_y,
                             std::min<std::int64_t>(divide_up(channels, r.lanes), most_vectors),
                             useful(x, most_tile_x) * useful(y, most_tile_y));
        },
        [&] { return long_body(layer, target, r.vectors, std::int64_t{r.tile_x} * r.tile_y, 1, r.unroll); },
        [&]() -> Reason {
            const std::int64_t pixels = std::int64_t{r.tile_x} * r.tile_y;
            const bool many_registers = target.vector_registers >= 32;
            const bool full =
                pixels > (many_registers ? 10 : 9) || fills_registers(target, r.vectors, pixels);
            if (r.unroll > (many_registers ? 2 : 1) && r.stage_lanes == 1 && full)
                return "the unrolled register tile leaves no register";
            // Where numbers could be multiplied by lane but are loaded one by one, LLVM loads them far ahead.
            if (target.multiply_by_lane && r.stage_lanes == 1 &&
                r.vectors * pixels + r.vectors > target.vector_registers - 8)
                return "the register tile leaves few registers to load ahead";
            // An address each, and of 8 some spill.
            if (r.stage_lanes > 1 && pixels > 6) return "the pixels' addresses take too many registers";
            return std::nullopt;
        },
        [&] { return streams ? std::nullopt : wide_panel(layer, target, block, r.vectors <= 2); },
        [&] { return streams ? std::nullopt : large_task(layer, target, {r}); },
        [&]() -> Reason {
            if (!r.split_blocks) return std::nullopt;
            if (channels % block != 0 || blocks == 1) return "there are no whole blocks to split among tasks";
            if (streams) return std::nullopt;
            if (r.rows > 1) return "lower tasks would be more at less cost";
            const auto tasks = task_count(layer, task_shape({r}), 1);
            if (tasks && *tasks < 4 * std::int64_t{threads}) return std::nullopt;
            return "there are tasks enough without splitting blocks";
        },
        [&] {
            const std::int64_t most_blocks = channels % block == 0 ? blocks : 1;
            return idle_threads(layer, task_shape({r}), r.split_blocks ? blocks : 1, most_blocks, threads);
        });
}

Reason unworthy_of(const PhaseConvolution &layer, const TargetFacts &target, const CpuPlanar &r,
                   int threads) {
    const std::int64_t channels = layer.kernel_output_channels(), width = std::int64_t{r.lanes} * r.vectors;
    const std::int64_t inputs = std::int64_t{r.vectors} * r.tile_y;
    const auto x = outputs(layer.x()), y = outputs(layer.y());
    return first_of(
        [&] {
            const double narrowest = kept(x, std::min(4, target.vector_lanes));
            return wasteful(kept(channels, r.channels) * kept(x, width) * kept(y, r.tile_y), narrowest);
        },
        [&] { return needlessly_narrow(x, target, r.lanes); },
        [&] {
            const std::int64_t vectors =
                x ? std::min<std::int64_t>(divide_up(*x, r.lanes), most_vectors) : most_vectors;
            return slow_tile(target, inputs, r.channels, vectors * useful(y, most_tile_y), channels);
        },
        [&] { return long_body(layer, target, inputs, r.channels, layer.x().phase_count(), r.unroll); },
        [&]() -> Reason {
            // LLVM keeps the numbers of a step for the rows after the first, and on AArch64 keeps sums whose
            // phases are stored interleaved in pairs of registers, which costs it half of them.
            const bool kept = target.multiply_by_lane ? inputs > 1 : r.tile_y > 1;
            const std::int64_t used = inputs * r.channels + (kept ? r.channels : 0) + 1;
            const std::int64_t most =
                target.vector_registers * (target.multiply_by_lane && kept ? 9 : 16) / 16;
            if (!fills_registers(target, inputs, r.channels) && used <= most) return std::nullopt;
            return "the register tile leaves no register";
        },
        [&] { return wide_panel(layer, target, r.channels, r.channels <= 2); },
        [&] { return large_task(layer, target, {r}); },
        [&] { return idle_threads(layer, task_shape({r}), 1, 1, threads); });
}

Reason unworthy_of(const PhaseConvolution &layer, const TargetFacts &target, const CpuColumns &r,
                   int threads) {
    const std::int64_t columns = column_count(layer);
    const auto x = outputs(layer.x());
    return first_of(
        [&] {
            const double narrowest = kept(columns, std::min(4, target.vector_lanes));
            return wasteful(kept(columns, r.block()), narrowest);
        },
        [&] { return needlessly_narrow(columns, target, r.lanes); },
        [&] {
            return slow_tile(target, r.vectors, r.tile_x, divide_up(columns, r.lanes),
                             useful(x, most_tile_x) + layer.x().halo());
        },
        [&] { return long_body(layer, target, r.vectors, r.tile_x, 1, r.unroll); },
        [&]() -> Reason {
            const std::int64_t bytes =
                columns * layer.channels_per_output() * static_cast<std::int64_t>(sizeof(float));
            if (!r.blocks_outermost || bytes > target.l2_bytes / 8) return std::nullopt;
            return "the weights stay in the cache for every tile";
        },
        [&]() -> Reason {
            // Each task computes the rows around its own anew.
            const auto y = outputs(layer.y());
            if (2 * std::int64_t{r.rows} > layer.y().halo() || (y && r.rows >= *y)) return std::nullopt;
            return fmt::format("tasks of {} rows compute most rows several times", r.rows);
        },
        [&] { return idle_threads(layer, task_shape({r}), 1, 1, threads); });
}

Reason unworthy_of(const PhaseConvolution &, const TargetFacts &, const Autoscheduled &, int) {
    return "it is there to be compared with";
}

Reason unworthy_of(const PhaseConvolution &layer, const TargetFacts &target, const CpuFiltering &r,
                   int threads) {
    const std::int64_t channels = channels_of_blocks(layer, r);
    return first_of(
        [&] { return slow_tile(target, r.vectors, r.tiles, divide_up(channels, r.lanes), 14); },
        [&]() -> Reason {
            const int used = r.vectors * r.tiles + r.vectors + r.tiles + 6; // and what is loaded ahead
            if (r.stage_lanes == 1 || (used <= target.vector_registers && r.tiles <= 8)) return std::nullopt;
            return fmt::format("multiplying by lane leaves no registers to load ahead ({})", used);
        },
        [&]() -> Reason {
            const auto x = outputs(layer.x()), y = outputs(layer.y());
            if (!x || !y || layer.batch == dynamic_size) return std::nullopt;
            const FilteredAxes axes = filtered_axes(layer, r);
            const std::int64_t tiles = axes[0]->tiles(*x) * axes[1]->tiles(*y) * layer.batch;
            const FilteringTasks tasks = filtering_tasks(layer, r);
            const std::int64_t paid = divide_up(tasks.count, threads) * threads * tasks.tiles;
            const double keeps = static_cast<double>(tiles) / static_cast<double>(paid);
            if (keeps >= least_kept) return std::nullopt;
            return fmt::format("tasks of {} tiles keep {:.2f} of the threads' work", tasks.tiles, keeps);
        },
        [&] { return wasteful(kept(channels, r.block()), kept(channels, std::min(4, target.vector_lanes))); },
        [&] { return needlessly_narrow(channels, target, r.lanes); },
        [&]() -> Reason {
            if (!r.merge_phases || merging_saves_vectors(layer, r)) return std::nullopt;
            return "merging phases saves hardly any vectors";
        });
}

Reason unworthy_of(const PhaseConvolution &layer, const TargetFacts &target, const CpuChannelwise &r,
                   int threads) {
    const auto x = outputs(layer.x());
    const std::optional<std::int64_t> along = r.lanes_along_x ? x : std::optional(layer.output_channels);
    return first_of(
        [&] { return wasteful(kept(along, r.lanes), kept(along, std::min(4, target.vector_lanes))); },
        [&] { return needlessly_narrow(along, target, r.lanes); },
        [&]() -> Reason {
            if (r.unroll_phases <= layer.x().phase_count()) return std::nullopt;
            return fmt::format("there are {} phases to unroll", layer.x().phase_count());
        },
        [&] { return idle_threads(layer, task_shape({r}), 1, 1, threads); });
}

// Threads come in warps of 32, and a multiprocessor hides the latency of memory with 256 of them or more.
constexpr int warp = 32, most_threads = 256, resident_threads = 256;
constexpr double gpu_least_kept = 0.5; // blocks of powers of two overhang more

Reason uneven_warps(int threads) {
    if (threads % warp == 0 && threads <= most_threads) return std::nullopt;
    return fmt::format("a block has {} threads, which is no multiple of {} up to {}", threads, warp,
                       most_threads);
}

Reason unworthy_of(const PhaseConvolution &layer, const TargetFacts &, const GpuDirect &r, int) {
    const std::int64_t channels = layer.kernel_output_channels();
    const auto x = outputs(layer.x()), y = outputs(layer.y());
    const int threads = r.block_channels / r.thread_channels * (r.block_x / r.thread_x) * r.block_y;
    return first_of(
        [&] {
            return wasteful(kept(channels, r.block_channels) * kept(x, r.block_x) * kept(y, r.block_y),
                            gpu_least_kept / least_kept);
        },
        [&] { return uneven_warps(threads); },
        [&]() -> Reason {
            const int registers = r.thread_channels * r.thread_x + r.thread_channels + r.thread_x + 30;
            if (65536 / (registers * threads) * threads >= resident_threads) return std::nullopt;
            return fmt::format("{} registers a thread leave too few threads on a multiprocessor", registers);
        },
        [&]() -> Reason {
            const auto loads = [](std::int64_t channels, std::int64_t x) {
                return loads_a_multiply(static_cast<double>(channels), static_cast<double>(x));
            };
            const double least = loads(useful(channels, 8), useful(x, 8));
            if (loads(r.thread_channels, r.thread_x) <= std::max(0.75, 1.25 * least)) return std::nullopt;
            return "a thread loads about as often as it multiplies";
        },
        [&]() -> Reason {
            if (layer.channels_per_output() % r.unroll == 0) return std::nullopt;
            return fmt::format("{} channels are no multiple of unroll {}", layer.channels_per_output(),
                               r.unroll);
        });
}

Reason unworthy_of(const PhaseConvolution &layer, const TargetFacts &, const GpuFiltering &r, int) {
    const std::int64_t channels = layer.kernel_output_channels();
    const int threads = r.block_channels / r.thread_channels * r.block_tiles;
    return first_of([&] { return wasteful(kept(channels, r.block_channels), gpu_least_kept / least_kept); },
                    [&] { return uneven_warps(threads); },
                    [&]() -> Reason {
                        // Each channel of a thread multiplies a window once that took about twice as many
                        // operations.
                        if (r.thread_channels >= useful(channels, 2)) return std::nullopt;
                        return "a thread transforms more than it multiplies";
                    });
}

Reason unworthy_of(const PhaseConvolution &layer, const TargetFacts &, const GpuChannelwise &r, int) {
    const int threads = r.block_channels * r.block_x;
    if (threads % warp != 0) return fmt::format("{} threads of a block fill no warps", threads);
    return wasteful(kept(layer.output_channels, r.block_channels) * kept(outputs(layer.x()), r.block_x),
                    gpu_least_kept / least_kept);
}

// Offers the points of each family to a list that keeps the worthy ones.
class Enumeration {
public:
    Enumeration(const PhaseConvolution &layer, const TargetFacts &target, int threads)
        : layer_(layer), target_(target), threads_(threads),
          streams_(outputs(layer.y()) && streams_weights(layer, target)),
          first_{analytic_default(layer, target)}, points_{first_} {}

    std::vector<ScheduleRecord> all() && {
        direct();
        planar();
        columns();
        filtering();
        cpu_channelwise();
        gpu_direct();
        gpu_filtering();
        gpu_channelwise();
        return std::move(points_);
    }

private:
    const PhaseConvolution &layer_;
    const TargetFacts &target_;
    const int threads_;
    const bool streams_;
    const ScheduleRecord first_;
    std::vector<ScheduleRecord> points_;

    bool worthy(const ScheduleRecord &record) const { return !unworthy(layer_, target_, record, threads_); }
    void offer(const ScheduleRecord &record) {
        if (record != first_ && worthy(record)) points_.push_back(record);
    }

    template<typename Function>
    void for_each_lanes(const Function &function) const {
        for (int lanes = target_.vector_lanes; lanes >= std::min(4, target_.vector_lanes); lanes /= 2)
            function(lanes);
    }

    // Offers a register tile in tasks of several shapes: whole rows where they fit the cache and make tasks
    // enough, else strips of them, the widest that fit.
    template<typename Record>
    void offer_tasks(Record record) {
        const TaskShape tile = task_shape({record});
        const auto x = outputs(layer_.x()), y = outputs(layer_.y());
        const auto fits = [&](int strip, int rows) {
            record.strip = strip;
            record.rows = rows;
            return !large_task(layer_, target_, {record});
        };
        const auto enough_rows = task_count(layer_, {tile.tile_x, 0, tile.tile_y, 1}, 1);
        const std::int64_t tiles_x = x ? divide_up(*x, tile.tile_x) : 64;
        for (int rows = 1; rows <= 4; rows *= 2) {
            if (y && rows > 1 && rows * tile.tile_y > *y) break;
            if (fits(0, rows) && (!enough_rows || *enough_rows >= 4 * threads_)) {
                offer_splits(record);
                continue;
            }
            int widest = 1;
            while (widest * 2 < tiles_x && fits(widest * 2, rows))
                widest *= 2;
            // Of a single row strips are the only tasks.
            const int narrowest = std::max(1, widest / (y == 1 ? 16 : 2));
            for (int strip = widest; strip >= narrowest; strip /= 2) {
                if (fits(strip, rows)) offer_splits(record);
            }
            if (fits(0, rows)) offer_splits(record);
        }
    }

    void offer_splits(const CpuPlanar &record) { offer({record}); }
    void offer_splits(CpuDirect record) {
        offer({record});
        if (streams_) return;
        record.split_blocks = true;
        offer({record});
    }

    // Tasks that take the image in few parts, and one block of channels each.
    void offer_streaming_tasks(CpuDirect record) {
        const std::int64_t tiles = divide_up(outputs(layer_.y()).value_or(1), record.tile_y);
        record.split_blocks = true;
        for (const std::int64_t parts : {1, 2, 4}) {
            if (parts > tiles) break;
            record.rows = static_cast<int>(divide_up(tiles, parts));
            offer({record});
        }
    }

    void direct() {
        for_each_lanes([&](int lanes) {
            for (int vectors = 1; vectors <= most_vectors; vectors++) {
                for (int tile_y = 1; tile_y <= most_tile_y; tile_y++) {
                    for (int tile_x = 1; tile_x <= most_tile_x; tile_x++)
                        offer_unrolled({lanes, vectors, tile_x, tile_y, 1, 1, 1, 1, false});
                }
            }
        });
    }

    void offer_unrolled(CpuDirect tile) {
        if (!worthy_tile(tile)) return;
        for (const int stage_lanes : {1, 4}) {
            tile.stage_lanes = stage_lanes;
            // One value will do where another family or another way of loading is likelier to win.
            const bool unlikely =
                layer_.layout == Layout::nchw || (stage_lanes == 1 && target_.multiply_by_lane);
            const int longest = unlikely ? stage_lanes : stage_lanes > 1 ? 8 : 4;
            for (int unroll = stage_lanes; unroll <= longest; unroll *= 2) {
                tile.unroll = unroll;
                if (!worthy_tile(tile)) continue;
                offer_tasks(tile);
                if (streams_) offer_streaming_tasks(tile);
            }
        }
    }

    // Whether any task of the tile can be worthy: the smallest one is, but for what it splits.
    template<typename Record>
    bool worthy_tile(const Record &tile) const {
        return !violated_constraint(layer_, target_, {tile}) && !unworthy_of(layer_, target_, tile, 1);
    }

    void planar() {
        for_each_lanes([&](int lanes) {
            for (int vectors = 1; vectors <= most_vectors; vectors++) {
                for (int tile_y = 1; tile_y <= most_tile_y; tile_y++) {
                    for (int channels = 1; channels <= 24; channels++) {
                        for (int unroll = 1; unroll <= 2; unroll++) {
                            const CpuPlanar tile{lanes, vectors, channels, tile_y, 1, 1, unroll};
                            if (worthy_tile(tile)) offer_tasks(tile);
                        }
                    }
                }
            }
        });
    }

    void columns() {
        // Where channels fill vectors, products need no columns.
        const bool few_channels = layer_.kernel_output_channels() <= target_.vector_lanes;
        if (!few_channels && !std::holds_alternative<CpuColumns>(first_.parameters)) return;
        for_each_lanes([&](int lanes) {
            for (int vectors = 1; vectors <= 6; vectors++) {
                for (int tile_x = 1; tile_x <= most_tile_x; tile_x++) {
                    for (int unroll = 1; unroll <= 2; unroll++)
                        offer_column_tasks({lanes, vectors, tile_x, 0, 64, unroll, false, 1});
                }
            }
        });
    }

    void offer_column_tasks(CpuColumns tile) {
        if (!worthy_tile(tile)) return;
        const auto y = outputs(layer_.y());
        const int widest =
            column_count(layer_) <= 4 ? std::min(8, target_.vector_lanes) : target_.vector_lanes;
        for (const bool blocks_outermost : {false, true}) {
            for (const int output_lanes : {1, widest}) {
                tile.blocks_outermost = blocks_outermost;
                tile.output_lanes = output_lanes;
                if (y == 1) {
                    tile.rows = 1;
                    for (tile.strip = 32; tile.strip <= 256; tile.strip *= 2)
                        offer({tile});
                    continue;
                }
                tile.strip = 0;
                for (tile.rows = 4; tile.rows <= useful(y, 64); tile.rows *= 4)
                    offer({tile});
            }
        }
    }

    // Whether minimal filtering has anything to save along an axis.
    static bool filters(const PhaseAxis &axis) {
        const auto filtered = filtered_axis(axis, 2);
        return filtered && filtered->gain() > 1;
    }

    // Whole rows and two widths of strips, of channels-first tensors.
    std::vector<int> filtering_strips_of(const CpuFiltering &tile) const {
        const auto x = outputs(layer_.x());
        std::vector<int> strips;
        if (layer_.layout == Layout::nhwc || x) strips.push_back(0);
        for (const int vectors : {2, 4}) {
            const int strip = tile.lanes * vectors * tile.tile_x;
            if (layer_.layout == Layout::nchw && (!x || *x > strip)) strips.push_back(strip);
        }
        return strips;
    }

    // Tiles of a task; of channels-first tensors in whole rows or strips. Images of unknown size may be
    // small.
    std::vector<std::int64_t> filtering_tasks_of(const CpuFiltering &tile) const {
        if (layer_.layout == Layout::nhwc) {
            if (!outputs(layer_.x()) || !outputs(layer_.y())) return {24, 42};
            return {12, 24, 42, 84};
        }
        const std::int64_t in_row =
            tile.staged_row(tile.strip > 0 ? tiles_of_strip(layer_, tile)
                                           : filtered_axes(layer_, tile)[0]->tiles(*outputs(layer_.x())));
        std::vector<std::int64_t> tasks = {in_row};
        for (const std::int64_t rows : {2, 3, 4, 6, 8})
            if (rows * in_row <= 96) tasks.push_back(rows * in_row);
        return tasks;
    }

    // Tiles that save products on every axis that has any to save.
    template<typename Function>
    void for_each_filter_tile(const Function &function) const {
        if (layer_.axes.size() != 2) return;
        const bool filters_x = filters(layer_.x()), filters_y = filters(layer_.y());
        for (int tile_y = 1; tile_y <= useful(outputs(layer_.y()), largest_filter_tile); tile_y++) {
            for (int tile_x = 1; tile_x <= useful(outputs(layer_.x()), largest_filter_tile); tile_x++) {
                if ((tile_x > 1 || !filters_x) && (tile_y > 1 || !filters_y))
                    function(FilterTile{tile_x, tile_y});
            }
        }
    }

    void filtering() {
        const bool by_lane = target_.multiply_by_lane && layer_.channels_per_output() % 4 == 0;
        for_each_filter_tile([&](const FilterTile &filter_tile) {
            CpuFiltering tile{filter_tile};
            if (violated_constraint(layer_, target_, {tile})) return;
            tile.lanes = target_.vector_lanes;
            tile.stage_lanes = by_lane ? 4 : 1;
            tile.unroll = !by_lane ? 1 : layer_.channels_per_output() % 8 == 0 ? 8 : 4;
            for (const bool merge_phases : {false, true}) {
                tile.merge_phases = merge_phases;
                for (tile.vectors = 1; tile.vectors <= most_vectors; tile.vectors++)
                    offer_filtering(tile);
            }
        });
    }

    void offer_filtering(CpuFiltering tile) {
        for (tile.tiles = 1; tile.tiles <= 14; tile.tiles++) {
            for (const int strip : filtering_strips_of(tile)) {
                tile.strip = strip;
                for (const std::int64_t task : filtering_tasks_of(tile)) {
                    tile.task_tiles = static_cast<int>(divide_up(task, tile.tiles) * tile.tiles);
                    offer({tile});
                }
            }
        }
    }

    void cpu_channelwise() {
        const bool along_x = layer_.layout == Layout::nchw;
        for (int lanes = target_.vector_lanes; lanes >= 1; lanes /= 2) {
            for (int phases = 1; phases <= 16; phases++) {
                if (layer_.x().phase_count() % phases != 0) continue;
                for (int rows = 1; rows <= useful(outputs(layer_.y()), 32); rows *= 2)
                    offer({CpuChannelwise{lanes, along_x && lanes > 1, phases, rows}});
            }
        }
    }

    void gpu_direct() {
        for (int thread_channels = 1; thread_channels <= 8; thread_channels *= 2) {
            for (int thread_x = 1; thread_x <= 8; thread_x *= 2) {
                for (int block_channels = thread_channels; block_channels <= 128; block_channels *= 2) {
                    for (int block_x = thread_x; block_x <= 128; block_x *= 2) {
                        for (int block_y = 1; block_y <= 4; block_y *= 2) {
                            for (int unroll = 1; unroll <= 4; unroll *= 4) {
                                offer({GpuDirect{thread_channels, thread_x, block_channels, block_x, block_y,
                                                 unroll}});
                            }
                        }
                    }
                }
            }
        }
    }

    void gpu_filtering() {
        for_each_filter_tile([&](const FilterTile &tile) {
            for (int thread_channels = 1; thread_channels <= 8; thread_channels *= 2) {
                for (int block_channels = thread_channels; block_channels <= 128; block_channels *= 2) {
                    for (int block_tiles = 1; block_tiles <= 64; block_tiles *= 2)
                        offer({GpuFiltering{tile, thread_channels, block_channels, block_tiles}});
                }
            }
        });
    }

    void gpu_channelwise() {
        for (int block_channels = 1; block_channels <= 256; block_channels *= 2) {
            for (int block_x = 1; block_x <= 256; block_x *= 2) {
                if (block_channels * block_x <= 512) offer({GpuChannelwise{block_channels, block_x}});
            }
        }
    }
};

// Values of a record in the order of its fields' names, after the family's; the whole row is the widest
// strip.
std::vector<std::int64_t> values_of(const ScheduleRecord &record) {
    std::vector<std::int64_t> values = {static_cast<std::int64_t>(record.parameters.index())};
    const nlohmann::json json = to_json(record);
    for (const auto &[name, value] : json.items()) {
        if (value.is_string()) continue; // the family's name
        const auto number = value.is_boolean() ? std::int64_t{value.get<bool>()} : value.get<std::int64_t>();
        values.push_back(name == "strip" && number == 0 ? std::numeric_limits<std::int64_t>::max() : number);
    }
    return values;
}

} // namespace

std::optional<std::string> unworthy(const PhaseConvolution &layer, const TargetFacts &target,
                                    const ScheduleRecord &record, int threads) {
    if (auto reason = violated_constraint(layer, target, record)) return reason;
    return std::visit([&](const auto &parameters) { return unworthy_of(layer, target, parameters, threads); },
                      record.parameters);
}

SearchSpace::SearchSpace(const PhaseConvolution &layer, const TargetFacts &target, int threads)
    : points_(Enumeration(layer, target, threads).all()) {
    for (const ScheduleRecord &point : points_)
        parameters_.push_back(values_of(point));
}

std::optional<std::size_t> SearchSpace::find(const ScheduleRecord &record) const {
    const auto found = std::find(points_.begin(), points_.end(), record);
    if (found == points_.end()) return std::nullopt;
    return static_cast<std::size_t>(found - points_.begin());
}

std::vector<std::size_t> SearchSpace::neighbours(std::size_t point) const {
    const std::vector<std::int64_t> &own = parameters_[point];
    // For each parameter the nearest point below and above.
    std::vector<std::optional<std::size_t>> below(own.size()), above(own.size());
    for (std::size_t other = 0; other < points_.size(); other++) {
        const std::vector<std::int64_t> &values = parameters_[other];
        if (values[0] != own[0]) continue;
        const auto [first, unused] = std::mismatch(own.begin(), own.end(), values.begin());
        if (first == own.end()) continue;
        const auto axis = static_cast<std::size_t>(first - own.begin());
        if (!std::equal(first + 1, own.end(), values.begin() + static_cast<std::ptrdiff_t>(axis) + 1))
            continue;
        auto &side = values[axis] < own[axis] ? below[axis] : above[axis];
        const auto nearer = [&](std::size_t a, std::size_t b) {
            return std::abs(parameters_[a][axis] - own[axis]) < std::abs(parameters_[b][axis] - own[axis]);
        };
        if (!side || nearer(other, *side)) side = other;
    }
    std::vector<std::size_t> result;
    for (const auto *sides : {&below, &above}) {
        for (const auto &side : *sides) {
            if (side) result.push_back(*side);
        }
    }
    std::sort(result.begin(), result.end());
    return result;
}

} // namespace unstride
