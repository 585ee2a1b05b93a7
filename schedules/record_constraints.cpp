// What a schedule must satisfy to be compiled for a layer and a target: divisibility, registers, memory,
// error.
#include "schedules/record.h"

#include "compiler/integer_division.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

namespace unstride {

namespace {

std::optional<std::string> violated_lanes(const TargetFacts &target, int lanes) {
    if (lanes >= 1 && lanes <= target.vector_lanes && (lanes & (lanes - 1)) == 0) return std::nullopt;
    return fmt::format("lanes must be a power of two up to {}, got {}", target.vector_lanes, lanes);
}

std::optional<std::string> violated_prefetch(const PhaseConvolution &layer, const ScheduleRecord &record) {
    if (!prefetches(record) || std::holds_alternative<CpuChannelwise>(record.parameters)) return std::nullopt;
    if (const auto *columns = std::get_if<CpuColumns>(&record.parameters)) {
        // The caches' own prefetchers follow one stream of whole pixels: 0.95 to 1.03 times as fast.
        if (columns->across_channels) return "across_channels reads pixels in order and fetches none ahead";
        if (layer.layout == Layout::nhwc && layer.groups == 1) return std::nullopt;
        return "prefetch is for pixels that lie side by side: channels-last, one group";
    }
    if (const auto *filtering = std::get_if<CpuFiltering>(&record.parameters)) {
        if (filtering->prefetch_input) {
            if (layer.layout != Layout::nhwc || layer.groups != 1)
                return "prefetch_input is for pixels that lie side by side: channels-last, one group";
            if (filtering->split_blocks) return "prefetch_input is for tasks of all blocks";
            // Walks over the channels share the tiles (schedules/window_prefetch.h).
            std::int64_t walks = layer.channels_per_output() / chain_channels(layer, *filtering);
            for (const auto &axis : filtered_axes(layer, *filtering))
                walks *= axis->matrices.points();
            if (walks < filtering->tiles) return "prefetch_input is for tasks of more walks than tiles";
        }
        if (!filtering->prefetch) return std::nullopt;
    }
    if (weight_panel(layer, record).tiles > 1) return std::nullopt;
    return "prefetch is for tasks of several tiles, whose number is known";
}

std::optional<std::string> violated(const PhaseConvolution &layer, const TargetFacts &target,
                                    const CpuDirect &r) {
    if (target.device != Device::cpu) return "cpu_direct is for CPUs";
    if (layer.depthwise()) return "cpu_direct is for layers that sum over channels";
    if (auto reason = violated_lanes(target, r.lanes)) return reason;
    if (r.vectors < 1 || r.tile_x < 1 || r.tile_y < 1 || r.rows < 1 || r.strip < 0 || r.unroll < 1) {
        return "tile sizes must be at least 1";
    }
    if (r.unroll > 16) return fmt::format("unroll must be at most 16, got {}", r.unroll);
    const std::int64_t accumulators = std::int64_t{r.vectors} * r.tile_x * r.tile_y;
    // Without a fused multiply-add, a broadcast, a copy of it and the product take a register each;
    // multiplying by lane holds a register of input channels for each pixel, of the next channels too where
    // the body goes on with them.
    const std::int64_t pixels = std::int64_t{r.tile_x} * r.tile_y;
    const std::int64_t staged = r.stage_lanes > 1 && r.unroll > r.stage_lanes ? 2 * pixels : pixels;
    const std::int64_t operands = r.stage_lanes > 1 ? staged : target.fused_multiply_add ? 1 : 3;
    const std::int64_t used = accumulators + r.vectors + operands;
    if (used > target.vector_registers) {
        return fmt::format("the register tile needs {} of {} vector registers", used,
                           target.vector_registers);
    }
    if (target.multiply_by_lane ? (r.stage_lanes != 1 && r.stage_lanes != 4) : r.stage_lanes != 1) {
        return fmt::format("stage_lanes {} is not for this target", r.stage_lanes);
    }
    if (r.stage_lanes > 1 && (layer.channels_per_output() % r.unroll != 0 || r.unroll % r.stage_lanes != 0)) {
        return "stage_lanes must divide unroll, and unroll the input channels";
    }
    if (r.stage_lanes > 1 && (layer.x().input_stride > 1 || layer.y().input_stride > 1))
        return "stage_lanes is for layers whose neighbouring outputs read neighbouring inputs";
    const std::int64_t bytes = staged_bytes(layer, {r});
    if (bytes > target.l2_bytes && (r.strip != 1 || r.rows != 1)) {
        return fmt::format("a task stages {} bytes, more than the L2 cache's {}", bytes, target.l2_bytes);
    }
    return std::nullopt;
}

std::optional<std::string> violated(const PhaseConvolution &layer, const TargetFacts &target,
                                    const CpuPlanar &r) {
    if (target.device != Device::cpu) return "cpu_planar is for CPUs";
    if (layer.depthwise()) return "cpu_planar is for layers that sum over channels";
    if (layer.layout != Layout::nchw) return "cpu_planar is for channels-first tensors";
    if (layer.x().input_stride != 1) return "cpu_planar is for rows that are read without steps";
    if (layer.x().phase_count() > 8)
        return fmt::format("cpu_planar keeps up to 8 phases of a row, the layer has {}",
                           layer.x().phase_count());
    if (auto reason = violated_lanes(target, r.lanes)) return reason;
    if (r.lanes < 2) return "a vector has at least 2 lanes";
    if (r.vectors < 1 || r.channels < 1 || r.tile_y < 1 || r.rows < 1 || r.strip < 0 || r.unroll < 1)
        return "tile sizes must be at least 1";
    if (r.unroll > 16) return fmt::format("unroll must be at most 16, got {}", r.unroll);
    const std::int64_t inputs = std::int64_t{r.vectors} * r.tile_y;
    const std::int64_t used = inputs * r.channels + inputs + (target.fused_multiply_add ? 1 : 3);
    if (used > target.vector_registers) {
        return fmt::format("the register tile needs {} of {} vector registers", used,
                           target.vector_registers);
    }
    const std::int64_t bytes = staged_bytes(layer, {r});
    if (bytes > target.l2_bytes && (r.strip != 1 || r.rows != 1)) {
        return fmt::format("a task stages {} bytes, more than the L2 cache's {}", bytes, target.l2_bytes);
    }
    return std::nullopt;
}

std::optional<std::string> violated(const PhaseConvolution &layer, const TargetFacts &target,
                                    const CpuColumns &r) {
    if (target.device != Device::cpu) return "cpu_columns is for CPUs";
    if (layer.depthwise()) return "cpu_columns is for layers that sum over channels";
    for (const PhaseAxis &axis : layer.axes) {
        if (axis.input_stride != 1) return "cpu_columns is for layers that read every input pixel";
    }
    if (layer.unshuffle_block() != 1) return "cpu_columns is for layers that read every input pixel";
    if (layer.kernel_output_channels() > 16)
        return fmt::format("cpu_columns sums up to 16 output channels, the layer has {}",
                           layer.kernel_output_channels());
    if (layer.edge != EdgeRule::zero) return "cpu_columns is for zeros around the input";
    if (auto reason = violated_lanes(target, r.lanes)) return reason;
    if (r.vectors < 1 || r.tile_x < 1 || r.rows < 1 || r.strip < 0 || r.unroll < 1)
        return "tile sizes must be at least 1";
    if (r.unroll > 16) return fmt::format("unroll must be at most 16, got {}", r.unroll);
    if (r.output_lanes < 1 || r.output_lanes > target.vector_lanes ||
        (r.output_lanes & (r.output_lanes - 1)) != 0)
        return fmt::format("output_lanes must be a power of two up to {}, got {}", target.vector_lanes,
                           r.output_lanes);
    if (r.across_channels) {
        if (layer.layout != Layout::nhwc) return "across_channels is for channels-last tensors";
        if (column_count(layer) > 8)
            return fmt::format("across_channels is for up to 8 columns a pixel, the layer has {}",
                               column_count(layer));
        if (r.lanes < 2) return "a vector has at least 2 lanes";
        if (layer.channels_per_output() % r.lanes != 0)
            return fmt::format("vectors of {} lanes do not divide {} input channels", r.lanes,
                               layer.channels_per_output());
        if (r.vectors > 8 || (r.vectors & (r.vectors - 1)) != 0)
            return fmt::format("across_channels takes 1, 2, 4 or 8 vectors, got {}", r.vectors);
        // Kernels hold them on the stack, where Halide puts less than 16 KB, and in the L1 cache.
        const std::int64_t weights = ceil_divide(column_count(layer), std::int64_t{r.vectors}) * r.vectors *
                                     layer.channels_per_output() * static_cast<std::int64_t>(sizeof(float));
        if (weights >= 16 * 1024)
            return fmt::format("across_channels holds less than 16 KB of weights, the layer has {} bytes",
                               weights);
    }
    // Each pixel, clamped to the image, has an address of its own: more of them spill (9 pixels of 3 vectors
    // ran at half the speed of 7).
    if (r.tile_x > 8) return fmt::format("tile_x must be at most 8, got {}", r.tile_x);
    const std::int64_t used =
        std::int64_t{r.vectors} * r.tile_x + r.vectors + (target.fused_multiply_add ? 1 : 3);
    if (used > target.vector_registers) {
        return fmt::format("the register tile needs {} of {} vector registers", used,
                           target.vector_registers);
    }
    return std::nullopt;
}

// Both filtering families; `axes` are to be filled in.
std::optional<std::string> violated_tile(const PhaseConvolution &layer, const FilterTile &tile,
                                         FilteredAxes *axes) {
    if (layer.depthwise()) return "minimal filtering is for layers that sum over channels";
    if (layer.axes.size() != 2) return "minimal filtering is for layers of one or two spatial axes";
    if (layer.numeric == NumericPolicy::exact)
        return "minimal filtering does not sum the layer's own products";
    if (tile.tile_x < 1 || tile.tile_y < 1) return "tile sizes must be at least 1";
    if (tile.tile_x == 1 && tile.tile_y == 1) return "tiles of one output save no products";
    for (std::size_t i = 0; i < axes->size(); i++) {
        const PhaseAxis *axis = i == 0 ? &layer.x() : &layer.y();
        const int outputs = i == 0 ? tile.tile_x : tile.tile_y;
        std::shared_ptr<const FilteredAxis> filtered = filtered_axis(*axis, outputs);
        if (!filtered)
            return fmt::format("an axis of {} taps and input stride {} has no tiles of {} outputs",
                               axis->max_taps(), axis->input_stride, outputs);
        if (outputs > 1 && filtered->gain() <= 1)
            return fmt::format("tiles of {} outputs of {} taps save no products", outputs,
                               filtered->matrices.taps);
        (*axes)[i] = std::move(filtered);
    }
    return std::nullopt;
}

std::optional<std::string> violated_error(const PhaseConvolution &layer, const FilterTile &tile,
                                          const FilteredAxes &axes, std::int64_t chain) {
    const bool fast = layer.numeric == NumericPolicy::fast;
    const double error = relative_error(axes, layer.channels_per_output(), chain);
    if (error <= (fast ? fast_relative_error : safe_relative_error)) return std::nullopt;
    return fmt::format("tiles of {}x{} outputs make {:.2f} times the error of the layer's own products, "
                       "more than numeric={} allows",
                       tile.tile_y, tile.tile_x, error, fast ? "fast" : "safe");
}

std::optional<std::string> violated(const PhaseConvolution &layer, const TargetFacts &target,
                                    const CpuFiltering &r) {
    if (target.device != Device::cpu) return "cpu_filtering is for CPUs";
    if (auto reason = violated_lanes(target, r.lanes)) return reason;
    if (r.vectors < 1 || r.tiles < 1 || r.task_tiles < 1 || r.unroll < 1 || r.strip < 0)
        return "tile sizes must be at least 1";
    FilteredAxes axes;
    if (auto reason = violated_tile(layer, r, &axes)) return reason;
    if (r.unroll > 16) return fmt::format("unroll must be at most 16, got {}", r.unroll);
    if (r.task_tiles % r.tiles != 0) return "tiles must divide task_tiles";
    if (r.chain != 0 &&
        (r.chain < 0 || layer.channels_per_output() % r.chain != 0 || r.chain % r.unroll != 0))
        return "chain must divide the input channels, and unroll the chain";
    const std::int64_t staged = r.stage_lanes > 1 && r.unroll > r.stage_lanes ? 2 * r.tiles : r.tiles;
    const std::int64_t operands = r.stage_lanes > 1 ? staged : target.fused_multiply_add ? 1 : 3;
    const std::int64_t used = std::int64_t{r.vectors} * r.tiles + r.vectors + operands;
    if (used > target.vector_registers) {
        return fmt::format("the register tile needs {} of {} vector registers", used,
                           target.vector_registers);
    }
    if (target.multiply_by_lane ? (r.stage_lanes != 1 && r.stage_lanes != 4) : r.stage_lanes != 1)
        return fmt::format("stage_lanes {} is not for this target", r.stage_lanes);
    if (layer.layout == Layout::nchw) {
        if (r.stage_lanes > 1) return "channels-first tensors are not transformed by vectors of channels";
        if (r.strip % r.lanes != 0) return "a strip is whole vectors of outputs";
        if (r.strip == 0 && layer.x().output_size == dynamic_size)
            return "tasks of whole rows of tiles need a fixed row of channels-first tensors";
    } else if (r.strip != 0) {
        return "strips are for channels-first tensors";
    }
    if (r.split_blocks) {
        if (layer.layout == Layout::nchw) return "blocks are split in channels-last tensors";
        if (channels_of_blocks(layer, r) <= r.block()) return "there is one block of channels";
    }
    if (r.merge_phases) {
        if (layer.layout == Layout::nchw) return "phases are merged in channels-last tensors";
        if (layer.has_add()) return "phases that a tensor is added to are not merged";
        const std::int64_t channels = channels_of_blocks(layer, r);
        const bool whole_phases = layer.y().phase_count() == 1 && axes[0]->largest_shift() == 0 &&
                                  r.block() % layer.kernel_output_channels() == 0;
        if (channels > r.block() && !whole_phases)
            return fmt::format(
                "a block of {} channels does not hold the {} of all phases, nor whole phases of "
                "a single axis that all read the same inputs",
                r.block(), channels);
    }
    if (r.stage_lanes > 1 && (layer.channels_per_output() % r.unroll != 0 || r.unroll % r.stage_lanes != 0))
        return "stage_lanes must divide unroll, and unroll the input channels";
    // Each point of a task is used before the next: what is kept is one point's share of all this.
    const std::int64_t bytes = staged_bytes(layer, {r});
    if (bytes > 4 * target.l2_bytes && r.task_tiles > r.tiles)
        return fmt::format("a task stages {} bytes, more than four times the L2 cache's {}", bytes,
                           target.l2_bytes);
    return violated_error(layer, r, axes, chain_channels(layer, r));
}

std::optional<std::string> violated(const PhaseConvolution &layer, const TargetFacts &target,
                                    const CpuChannelwise &r) {
    if (target.device != Device::cpu) return "cpu_channelwise is for CPUs";
    if (!layer.depthwise()) return "cpu_channelwise is for layers that keep channels apart";
    if (auto reason = violated_lanes(target, r.lanes)) return reason;
    if (r.unroll_phases < 1 || r.rows < 1) return "tile sizes must be at least 1";
    if (r.unroll_phases > 16) return fmt::format("unroll_phases must be at most 16, got {}", r.unroll_phases);
    if (r.lanes_along_x != (layer.layout == Layout::nchw && r.lanes > 1) && r.lanes > 1)
        return "vectors lie along the axis that is contiguous in memory";
    if (!r.lanes_along_x && r.lanes > layer.output_channels)
        return fmt::format("{} lanes are more than the {} channels", r.lanes, layer.output_channels);
    return std::nullopt;
}

std::optional<std::string> violated(const PhaseConvolution &layer, const TargetFacts &target,
                                    const GpuChannelwise &r) {
    if (target.device == Device::cpu) return "gpu_channelwise is for GPUs";
    if (!layer.depthwise()) return "gpu_channelwise is for layers that keep channels apart";
    if (r.block_channels < 1 || r.block_x < 1) return "tile sizes must be at least 1";
    const std::int64_t threads = std::int64_t{r.block_channels} * r.block_x;
    if (threads > 1024) return fmt::format("a block has {} threads, more than 1024", threads);
    return std::nullopt;
}

std::optional<std::string> violated(const PhaseConvolution &layer, const TargetFacts &target,
                                    const GpuDirect &r) {
    if (target.device == Device::cpu) return "gpu_direct is for GPUs";
    if (layer.depthwise()) return "gpu_direct is for layers that sum over channels";
    if (r.thread_channels < 1 || r.thread_x < 1 || r.block_channels < 1 || r.block_x < 1 || r.block_y < 1 ||
        r.unroll < 1)
        return "tile sizes must be at least 1";
    if (r.unroll > 16) return fmt::format("unroll must be at most 16, got {}", r.unroll);
    if (r.block_channels % r.thread_channels != 0) return "thread_channels must divide block_channels";
    if (r.block_x % r.thread_x != 0) return "thread_x must divide block_x";
    const std::int64_t threads =
        std::int64_t{r.block_channels / r.thread_channels} * (r.block_x / r.thread_x) * r.block_y;
    if (threads > 1024) return fmt::format("a block has {} threads, more than 1024", threads);
    // Accumulators, one row of weights, the input values and about 30 for addresses.
    const std::int64_t registers =
        std::int64_t{r.thread_channels} * r.thread_x + r.thread_channels + r.thread_x + 30;
    if (registers > target.vector_registers || registers * threads > 65536) {
        return fmt::format("a thread needs about {} registers, {} threads a block", registers, threads);
    }
    return std::nullopt;
}

std::optional<std::string> violated(const PhaseConvolution &layer, const TargetFacts &target,
                                    const GpuFiltering &r) {
    if (target.device == Device::cpu) return "gpu_filtering is for GPUs";
    if (r.thread_channels < 1 || r.block_channels < 1 || r.block_tiles < 1)
        return "tile sizes must be at least 1";
    FilteredAxes axes;
    if (auto reason = violated_tile(layer, r, &axes)) return reason;
    if (r.block_channels % r.thread_channels != 0) return "thread_channels must divide block_channels";
    const std::int64_t threads = std::int64_t{r.block_channels / r.thread_channels} * r.block_tiles;
    if (threads > 1024) return fmt::format("a block has {} threads, more than 1024", threads);
    // Products, the transformed window and as many numbers on their way to it, and about 40 for addresses.
    std::int64_t window = 1;
    for (const auto &axis : axes) {
        if (!axis->direct()) window *= axis->matrices.points();
    }
    const std::int64_t registers = (r.thread_channels + 2) * window + 40;
    if (registers > target.vector_registers || registers * threads > 65536)
        return fmt::format("a thread needs about {} registers, {} threads a block", registers, threads);
    return violated_error(layer, r, axes, layer.channels_per_output());
}

std::optional<std::string> violated(const PhaseConvolution &layer, const TargetFacts &target,
                                    const Autoscheduled &r) {
    const auto &known = autoschedulers();
    if (std::find(known.begin(), known.end(), r.scheduler) == known.end())
        return fmt::format("there is no autoscheduler {}", r.scheduler);
    if ((r.scheduler == "anderson2021") != (target.device != Device::cpu))
        return r.scheduler + " does not schedule for this target";
    if (r.threads < 1) return "threads must be at least 1";
    if (r.channelwise != layer.depthwise()) return "channelwise must say whether outputs read one channel";
    return std::nullopt;
}

} // namespace

std::optional<std::string> violated_constraint(const PhaseConvolution &layer, const TargetFacts &target,
                                               const ScheduleRecord &record) {
    auto reason = std::visit([&](const auto &parameters) { return violated(layer, target, parameters); },
                             record.parameters);
    return reason ? reason : violated_prefetch(layer, record);
}

} // namespace unstride
