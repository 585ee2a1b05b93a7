// One set of rules for each family.
//
// Numbers that several rules share: two multiply-adds a cycle of four cycles each ask for eight independent
// accumulators, and two loads a cycle for no more than about 0.85 loads a multiply-add (of AVX-512 tiles, 6x4
// reached 204 GFLOP/s, 12x2 190; of AVX2 tiles 6x2 114, while 7x2 spilled and reached 52). Where multiplying
// and adding are two instructions, fewer accumulators and more loads suffice.
#include "schedules/search_rules.h"

#include "schedules/filtering_default.h"

#include <fmt/format.h>

#include <algorithm>
#include <limits>

namespace unstride {

std::optional<std::int64_t> outputs(const PhaseAxis &axis) {
    if (axis.output_size == dynamic_size) return std::nullopt;
    return std::max<std::int64_t>(1, divide_up(axis.output_size, axis.phase_count()));
}

std::int64_t useful(std::optional<std::int64_t> extent, std::int64_t limit) {
    return extent ? std::min(*extent, limit) : limit;
}

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

std::optional<std::string> large_task(const PhaseConvolution &layer, const TargetFacts &target,
                                      const ScheduleRecord &record) {
    const TaskShape task = task_shape(record);
    const std::int64_t bytes = staged_bytes(layer, record);
    if ((task.strip == 1 && task.rows == 1) || bytes <= target.l2_bytes * 3 / 4) return std::nullopt;
    return fmt::format("a task stages {} bytes, more than 3/4 of the L2 cache", bytes);
}

namespace {

constexpr double least_kept = 0.7;  // of a tile's work
constexpr double least_busy = 0.85; // of the threads' time
constexpr std::int64_t code_budget = 16 * 1024;
constexpr std::int64_t bytes_an_instruction = 8;

using Reason = std::optional<std::string>;

// The part of whole tiles that covers something.
double kept(std::int64_t extent, std::int64_t tile) {
    return static_cast<double>(extent) / static_cast<double>(divide_up(extent, tile) * tile);
}
double kept(std::optional<std::int64_t> extent, std::int64_t tile) {
    return extent ? kept(*extent, tile) : 1;
}

Reason wasteful(double keeps, double narrowest_keeps) {
    if (keeps >= least_kept * narrowest_keeps) return std::nullopt;
    return fmt::format("the tiles keep {:.2f} of their work", keeps);
}

// Vectors of fewer lanes than the target has pay only where they overhang a good deal less.
// Some processors with AVX-512 multiply vectors of half its length twice as often: there a little that is
// kept pays.
Reason needlessly_narrow(std::optional<std::int64_t> extent, const TargetFacts &target, int lanes) {
    const double nearly = target.vector_lanes == 16 && lanes == 8 ? 0.95 : 0.9;
    for (int wider = lanes * 2; wider <= target.vector_lanes; wider *= 2) {
        if (kept(extent, wider) >= nearly * kept(extent, lanes))
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
            const double narrowest = kept(columns, r.across_channels ? 1 : std::min(4, target.vector_lanes));
            return wasteful(kept(columns, r.block()), narrowest);
        },
        [&]() -> Reason {
            // Shorter vectors of channels have fewer lanes to sum.
            if (!r.across_channels) return needlessly_narrow(columns, target, r.lanes);
            const std::int64_t steps = layer.channels_per_output() / r.lanes;
            if (steps % r.unroll == 0) return std::nullopt;
            return fmt::format("{} vectors of channels are no multiple of unroll {}", steps, r.unroll);
        },
        [&] {
            const std::int64_t vectors = r.across_channels ? columns : divide_up(columns, r.lanes);
            return slow_tile(target, r.vectors, r.tile_x, vectors, useful(x, most_tile_x) + layer.x().halo());
        },
        [&] {
            return r.across_channels ? std::nullopt
                                     : long_body(layer, target, r.vectors, r.tile_x, 1, r.unroll);
        },
        [&]() -> Reason {
            const int used = r.vectors * r.tile_x + r.vectors + r.tile_x; // by lane, a pixel holds a register
            if (!target.multiply_by_lane || used <= target.vector_registers) return std::nullopt;
            return fmt::format("by lane the register tile needs {} registers", used);
        },
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
            if (r.stage_lanes == 1 || r.vectors > 1) return std::nullopt;
            return "a single vector by lane leaves a quarter of the instructions to loads, or spills";
        },
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
            if (r.split_blocks && divide_up(tiles, r.task_tiles) > 2)
                return "tasks of many tiles need not share the weights";
            const std::int64_t paid = divide_up(tasks.count, threads) * threads * tasks.tiles * tasks.blocks;
            const double keeps =
                static_cast<double>(tiles * divide_up(channels, r.block())) / static_cast<double>(paid);
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
    const std::int64_t planes = r.lanes_along_x ? layer.output_channels : 1; // tasks of their own
    return first_of(
        [&] { return wasteful(kept(along, r.lanes), kept(along, std::min(4, target.vector_lanes))); },
        [&] { return needlessly_narrow(along, target, r.lanes); },
        [&]() -> Reason {
            if (r.unroll_phases <= layer.x().phase_count()) return std::nullopt;
            return fmt::format("there are {} phases to unroll", layer.x().phase_count());
        },
        [&] { return idle_threads(layer, task_shape({r}), planes, planes, threads); });
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

} // namespace

std::optional<std::string> unworthy(const PhaseConvolution &layer, const TargetFacts &target,
                                    const ScheduleRecord &record, int threads) {
    if (auto reason = violated_constraint(layer, target, record)) return reason;
    if (prefetches(record) && !may_prefetch(layer, target, record))
        return "what is fetched ahead stays in cache, or is too much for it";
    return std::visit([&](const auto &parameters) { return unworthy_of(layer, target, parameters, threads); },
                      record.parameters);
}

} // namespace unstride
