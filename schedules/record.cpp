// Records to JSON and back, and the memory and register arithmetic that follows from one.
#include "schedules/record.h"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <tuple>

namespace unstride {

namespace {

// The fields of each family: the one list that JSON in both directions is made of.
constexpr auto cpu_direct_fields = std::tuple{std::pair{"lanes", &CpuDirect::lanes},
                                              std::pair{"vectors", &CpuDirect::vectors},
                                              std::pair{"tile_x", &CpuDirect::tile_x},
                                              std::pair{"tile_y", &CpuDirect::tile_y},
                                              std::pair{"strip", &CpuDirect::strip},
                                              std::pair{"rows", &CpuDirect::rows},
                                              std::pair{"unroll", &CpuDirect::unroll},
                                              std::pair{"stage_lanes", &CpuDirect::stage_lanes},
                                              std::pair{"split_blocks", &CpuDirect::split_blocks}};
constexpr auto cpu_planar_fields =
    std::tuple{std::pair{"lanes", &CpuPlanar::lanes},       std::pair{"vectors", &CpuPlanar::vectors},
               std::pair{"channels", &CpuPlanar::channels}, std::pair{"tile_y", &CpuPlanar::tile_y},
               std::pair{"strip", &CpuPlanar::strip},       std::pair{"rows", &CpuPlanar::rows},
               std::pair{"unroll", &CpuPlanar::unroll}};
constexpr auto cpu_columns_fields = std::tuple{std::pair{"lanes", &CpuColumns::lanes},
                                               std::pair{"vectors", &CpuColumns::vectors},
                                               std::pair{"tile_x", &CpuColumns::tile_x},
                                               std::pair{"strip", &CpuColumns::strip},
                                               std::pair{"rows", &CpuColumns::rows},
                                               std::pair{"unroll", &CpuColumns::unroll},
                                               std::pair{"blocks_outermost", &CpuColumns::blocks_outermost},
                                               std::pair{"output_lanes", &CpuColumns::output_lanes}};
constexpr auto cpu_filtering_fields = std::tuple{
    std::pair{"tile_x", &CpuFiltering::tile_x}, std::pair{"tile_y", &CpuFiltering::tile_y},
    std::pair{"lanes", &CpuFiltering::lanes},   std::pair{"vectors", &CpuFiltering::vectors},
    std::pair{"tiles", &CpuFiltering::tiles},   std::pair{"task_tiles", &CpuFiltering::task_tiles},
    std::pair{"unroll", &CpuFiltering::unroll}, std::pair{"stage_lanes", &CpuFiltering::stage_lanes}};
constexpr auto cpu_channelwise_fields = std::tuple{
    std::pair{"lanes", &CpuChannelwise::lanes}, std::pair{"lanes_along_x", &CpuChannelwise::lanes_along_x},
    std::pair{"unroll_phases", &CpuChannelwise::unroll_phases}, std::pair{"rows", &CpuChannelwise::rows}};
constexpr auto gpu_channelwise_fields =
    std::tuple{std::pair{"block_channels", &GpuChannelwise::block_channels},
               std::pair{"block_x", &GpuChannelwise::block_x}};
constexpr auto gpu_direct_fields = std::tuple{std::pair{"thread_channels", &GpuDirect::thread_channels},
                                              std::pair{"thread_x", &GpuDirect::thread_x},
                                              std::pair{"block_channels", &GpuDirect::block_channels},
                                              std::pair{"block_x", &GpuDirect::block_x},
                                              std::pair{"block_y", &GpuDirect::block_y},
                                              std::pair{"unroll", &GpuDirect::unroll}};
constexpr auto autoscheduled_fields = std::tuple{std::pair{"threads", &Autoscheduled::threads},
                                                 std::pair{"channelwise", &Autoscheduled::channelwise}};

// Beyond every sensible tile, and small enough that products of three fit 64 bits.
constexpr int largest_number = 1 << 16;

template<typename Record, typename Fields>
nlohmann::json write_fields(const char *family, const Record &record, const Fields &fields) {
    nlohmann::json json = {{"family", family}};
    std::apply([&](const auto &...field) { ((json[field.first] = record.*field.second), ...); }, fields);
    return json;
}

template<typename Record, typename Fields>
std::optional<ScheduleRecord> read_fields(const nlohmann::json &json, const Fields &fields,
                                          std::string *error) {
    Record record;
    std::size_t known = 1; // "family"
    const auto read = [&](const auto &field) {
        auto &value = record.*field.second;
        using Value = std::remove_reference_t<decltype(value)>;
        const auto found = json.find(field.first);
        const bool right_type =
            found != json.end() &&
            (std::is_same_v<Value, bool> ? found->is_boolean() : found->is_number_integer());
        if (!right_type) {
            *error = fmt::format("{} is missing or of the wrong type", field.first);
            return false;
        }
        if (!std::is_same_v<Value, bool> && (*found < 0 || *found > largest_number)) {
            *error = fmt::format("{} must be between 0 and {}, got {}", field.first, largest_number,
                                 found->dump());
            return false;
        }
        value = found->template get<Value>();
        known++;
        return true;
    };
    const bool complete = std::apply([&](const auto &...field) { return (read(field) && ...); }, fields);
    if (!complete) return std::nullopt;
    if (known != json.size()) {
        *error = "a key is not one of the family's";
        return std::nullopt;
    }
    return ScheduleRecord{record};
}

std::optional<std::string> violated_lanes(const TargetFacts &target, int lanes) {
    if (lanes >= 1 && lanes <= target.vector_lanes && (lanes & (lanes - 1)) == 0) return std::nullopt;
    return fmt::format("lanes must be a power of two up to {}, got {}", target.vector_lanes, lanes);
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

std::optional<std::string> violated(const PhaseConvolution &layer, const TargetFacts &target,
                                    const CpuFiltering &r) {
    if (target.device != Device::cpu) return "cpu_filtering is for CPUs";
    if (layer.depthwise()) return "cpu_filtering is for layers that sum over channels";
    if (layer.axes.size() != 2) return "cpu_filtering is for layers of one or two spatial axes";
    if (layer.numeric == NumericPolicy::exact) return "cpu_filtering does not sum the layer's own products";
    if (auto reason = violated_lanes(target, r.lanes)) return reason;
    if (r.tile_x < 1 || r.tile_y < 1 || r.vectors < 1 || r.tiles < 1 || r.task_tiles < 1 || r.unroll < 1)
        return "tile sizes must be at least 1";
    if (r.tile_x == 1 && r.tile_y == 1) return "tiles of one output save no products";
    if (r.unroll > 16) return fmt::format("unroll must be at most 16, got {}", r.unroll);
    if (r.task_tiles % r.tiles != 0) return "tiles must divide task_tiles";
    const std::int64_t staged = r.stage_lanes > 1 && r.unroll > r.stage_lanes ? 2 * r.tiles : r.tiles;
    const std::int64_t operands = r.stage_lanes > 1 ? staged : target.fused_multiply_add ? 1 : 3;
    const std::int64_t used = std::int64_t{r.vectors} * r.tiles + r.vectors + operands;
    if (used > target.vector_registers) {
        return fmt::format("the register tile needs {} of {} vector registers", used,
                           target.vector_registers);
    }
    FilteredAxes axes;
    for (std::size_t i = 0; i < axes.size(); i++) {
        const PhaseAxis *axis = i == 0 ? &layer.x() : &layer.y();
        const int tile = i == 0 ? r.tile_x : r.tile_y;
        std::shared_ptr<const FilteredAxis> filtered = filtered_axis(*axis, tile);
        if (!filtered)
            return fmt::format("an axis of {} taps and input stride {} has no tiles of {} outputs",
                               axis->max_taps(), axis->input_stride, tile);
        if (tile > 1 && filtered->gain() <= 1)
            return fmt::format("tiles of {} outputs of {} taps save no products", tile,
                               filtered->matrices.taps);
        axes[i] = std::move(filtered);
    }
    if (target.multiply_by_lane ? (r.stage_lanes != 1 && r.stage_lanes != 4) : r.stage_lanes != 1)
        return fmt::format("stage_lanes {} is not for this target", r.stage_lanes);
    if (layer.layout == Layout::nchw) {
        if (r.stage_lanes > 1) return "channels-first tensors are not transformed by vectors of channels";
        if (layer.x().output_size == dynamic_size)
            return "tasks of whole rows of tiles need a fixed row of channels-first tensors";
    }
    if (r.stage_lanes > 1 && (layer.channels_per_output() % r.unroll != 0 || r.unroll % r.stage_lanes != 0))
        return "stage_lanes must divide unroll, and unroll the input channels";
    // Each point of a task is used before the next: what is kept is one point's share of all this.
    const std::int64_t bytes = staged_bytes(layer, {r});
    if (bytes > 4 * target.l2_bytes && r.task_tiles > r.tiles)
        return fmt::format("a task stages {} bytes, more than four times the L2 cache's {}", bytes,
                           target.l2_bytes);
    const bool fast = layer.numeric == NumericPolicy::fast;
    // The transform of a window of 4x4 points is one register each; of more points it spills, which only
    // tiles that save so much more are worth.
    const std::int64_t window = axes[0]->matrices.points() * axes[1]->matrices.points();
    if (!fast && !axes[0]->direct() && !axes[1]->direct() && window > 16)
        return fmt::format("windows of {} points do not stay in registers while they are transformed",
                           window);
    if (const double error = relative_error(axes, layer.channels_per_output());
        error > (fast ? fast_relative_error : safe_relative_error))
        return fmt::format("tiles of {}x{} outputs make {:.2f} times the error of the layer's own products, "
                           "more than numeric={} allows",
                           r.tile_y, r.tile_x, error, fast ? "fast" : "safe");
    return std::nullopt;
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

// {"family":"autoscheduled","scheduler":NAME,"threads":2,"channelwise":false}
std::optional<ScheduleRecord> read_autoscheduled(nlohmann::json json, std::string *error) {
    if (!json.contains("scheduler") || !json["scheduler"].is_string()) {
        *error = "scheduler is missing or of the wrong type";
        return std::nullopt;
    }
    const std::string scheduler = json["scheduler"];
    json.erase("scheduler");
    auto record = read_fields<Autoscheduled>(json, autoscheduled_fields, error);
    if (record) std::get<Autoscheduled>(record->parameters).scheduler = scheduler;
    return record;
}

} // namespace

nlohmann::json to_json(const ScheduleRecord &record) {
    struct Write {
        nlohmann::json operator()(const CpuDirect &r) {
            return write_fields("cpu_direct", r, cpu_direct_fields);
        }
        nlohmann::json operator()(const CpuPlanar &r) {
            return write_fields("cpu_planar", r, cpu_planar_fields);
        }
        nlohmann::json operator()(const CpuColumns &r) {
            return write_fields("cpu_columns", r, cpu_columns_fields);
        }
        nlohmann::json operator()(const CpuFiltering &r) {
            return write_fields("cpu_filtering", r, cpu_filtering_fields);
        }
        nlohmann::json operator()(const CpuChannelwise &r) {
            return write_fields("cpu_channelwise", r, cpu_channelwise_fields);
        }
        nlohmann::json operator()(const GpuDirect &r) {
            return write_fields("gpu_direct", r, gpu_direct_fields);
        }
        nlohmann::json operator()(const GpuChannelwise &r) {
            return write_fields("gpu_channelwise", r, gpu_channelwise_fields);
        }
        nlohmann::json operator()(const Autoscheduled &r) {
            nlohmann::json json = write_fields("autoscheduled", r, autoscheduled_fields);
            json["scheduler"] = r.scheduler;
            return json;
        }
    };
    return std::visit(Write{}, record.parameters);
}

std::optional<ScheduleRecord> record_from_json(const nlohmann::json &json, std::string *error) {
    if (!json.is_object() || !json.contains("family") || !json["family"].is_string()) {
        *error = "a schedule is an object with a family";
        return std::nullopt;
    }
    const std::string family = json["family"];
    if (family == "cpu_direct") return read_fields<CpuDirect>(json, cpu_direct_fields, error);
    if (family == "cpu_planar") return read_fields<CpuPlanar>(json, cpu_planar_fields, error);
    if (family == "cpu_columns") return read_fields<CpuColumns>(json, cpu_columns_fields, error);
    if (family == "cpu_filtering") return read_fields<CpuFiltering>(json, cpu_filtering_fields, error);
    if (family == "cpu_channelwise") return read_fields<CpuChannelwise>(json, cpu_channelwise_fields, error);
    if (family == "gpu_direct") return read_fields<GpuDirect>(json, gpu_direct_fields, error);
    if (family == "gpu_channelwise") return read_fields<GpuChannelwise>(json, gpu_channelwise_fields, error);
    if (family == "autoscheduled") return read_autoscheduled(json, error);
    *error = "unknown family " + family;
    return std::nullopt;
}

const std::vector<std::string> &autoschedulers() {
    static const std::vector<std::string> names = {"adams2019", "mullapudi2016", "li2018", "anderson2021"};
    return names;
}

ScheduleRecord autoscheduled(const PhaseConvolution &layer, const std::string &scheduler, int threads) {
    return {Autoscheduled{scheduler, threads, layer.depthwise()}};
}

int block_channels(const ScheduleRecord &record) {
    if (const auto *cpu = std::get_if<CpuDirect>(&record.parameters)) return cpu->lanes * cpu->vectors;
    if (const auto *planar = std::get_if<CpuPlanar>(&record.parameters)) return planar->channels;
    if (const auto *filtering = std::get_if<CpuFiltering>(&record.parameters)) return filtering->block();
    // Of every vector's length a multiple.
    if (std::holds_alternative<Autoscheduled>(record.parameters)) return 16;
    return std::get<GpuDirect>(record.parameters).block_channels;
}

FilteredAxes filtered_axes(const PhaseConvolution &layer, const CpuFiltering &record) {
    return {filtered_axis(layer.x(), record.tile_x), filtered_axis(layer.y(), record.tile_y)};
}

namespace {

// Tiles of the last two axes, x first.
std::array<std::int64_t, 2> tiles_of_axes(const PhaseConvolution &layer, const CpuFiltering &record) {
    const FilteredAxes filtered = filtered_axes(layer, record);
    const auto tiles = [](const FilteredAxis &axis, const PhaseAxis &layer_axis) {
        const std::int64_t phases = layer_axis.phase_count();
        return axis.tiles(std::max<std::int64_t>(1, (layer_axis.output_size + phases - 1) / phases));
    };
    return {tiles(*filtered[0], layer.x()), tiles(*filtered[1], layer.y())};
}

} // namespace

FilteringTasks filtering_tasks(const PhaseConvolution &layer, const CpuFiltering &record) {
    const auto divide_up = [](std::int64_t a, std::int64_t b) { return (a + b - 1) / b; };
    const auto [in_row, in_column] = tiles_of_axes(layer, record);
    if (layer.layout == Layout::nhwc)
        return {divide_up(in_row * in_column * layer.batch, record.task_tiles), record.task_tiles,
                divide_up(record.task_tiles, record.tiles)};
    const std::int64_t rows = std::max<std::int64_t>(1, record.task_tiles / record.staged_row(in_row));
    return {divide_up(in_column, rows) * layer.batch, rows * in_row, rows * divide_up(in_row, record.tiles)};
}

double relative_error(const PhaseConvolution &layer, const ScheduleRecord &record) {
    const auto *filtering = std::get_if<CpuFiltering>(&record.parameters);
    if (filtering == nullptr) return 1;
    return relative_error(filtered_axes(layer, *filtering), layer.channels_per_output());
}

// The bound counts a rounding for every product of the layer, of which a point sums fewer; what the
// transforms round comes in addition, once a chain.
double error_factor(const PhaseConvolution &layer, const ScheduleRecord &record) {
    const auto *filtering = std::get_if<CpuFiltering>(&record.parameters);
    if (filtering == nullptr) return 1;
    double factor = 1, steps = static_cast<double>(layer.channels_per_output()), roundings = 1;
    for (const auto &axis : filtered_axes(layer, *filtering)) {
        factor *= axis->matrices.amplification();
        roundings += static_cast<double>(axis->matrices.roundings());
        if (axis->direct()) steps *= static_cast<double>(axis->matrices.taps);
    }
    return factor * (1 + roundings / steps);
}

PerAxis error_reach(const PhaseConvolution &layer, const ScheduleRecord &record) {
    const auto *filtering = std::get_if<CpuFiltering>(&record.parameters);
    if (filtering == nullptr) return {};
    PerAxis reach;
    for (const auto &axis : filtered_axes(layer, *filtering)) {
        const auto phases = static_cast<std::int64_t>(axis->shift.size());
        reach.insert(reach.begin(), axis->direct() ? 0 : phases * axis->matrices.points());
    }
    if (layer.spatial_axes == 1) reach.erase(reach.begin());
    return reach;
}

std::int64_t column_slots(const PhaseAxis &axis) {
    std::int64_t slots = 1;
    for (std::int64_t q = 0; q < axis.phase_count(); q++) {
        const auto taps = static_cast<std::int64_t>(axis.phases[static_cast<std::size_t>(q)].taps.size());
        if (taps > 0) slots = std::max(slots, (taps - 1) * axis.phase_count() + q + 1);
    }
    return slots;
}

std::int64_t column_count(const PhaseConvolution &layer) {
    std::int64_t columns = layer.kernel_output_channels();
    for (const PhaseAxis &axis : layer.axes)
        columns *= column_slots(axis);
    return columns;
}

const char *compute_generator(const ScheduleRecord &record) {
    struct Name {
        const char *operator()(const CpuDirect &) { return "phase_convolution"; }
        const char *operator()(const CpuPlanar &) { return "phase_convolution"; }
        const char *operator()(const GpuDirect &) { return "phase_convolution"; }
        const char *operator()(const CpuColumns &) { return "column_sum"; }
        const char *operator()(const CpuFiltering &) { return "minimal_filtering"; }
        const char *operator()(const CpuChannelwise &) { return "channelwise"; }
        const char *operator()(const GpuChannelwise &) { return "channelwise"; }
        const char *operator()(const Autoscheduled &r) {
            return r.channelwise ? "channelwise" : "phase_convolution";
        }
    };
    return std::visit(Name{}, record.parameters);
}

namespace {

int round_up(std::int64_t value, std::int64_t multiple) {
    return static_cast<int>((value + multiple - 1) / multiple * multiple);
}

// Channels as a kernel pads them.
int padded_channels(const PhaseConvolution &layer, const ScheduleRecord &record) {
    const std::int64_t channels = layer.kernel_output_channels();
    if (std::holds_alternative<CpuColumns>(record.parameters) ||
        std::holds_alternative<GpuChannelwise>(record.parameters))
        return static_cast<int>(channels);
    if (const auto *channelwise = std::get_if<CpuChannelwise>(&record.parameters))
        return channelwise->lanes_along_x ? static_cast<int>(channels)
                                          : round_up(channels, channelwise->lanes);
    return round_up(channels, block_channels(record));
}

} // namespace

std::vector<int> packed_extents(const PhaseConvolution &layer, const ScheduleRecord &record) {
    if (layer.weights != WeightSource::learned) return {1};
    if (const auto *columns = std::get_if<CpuColumns>(&record.parameters)) {
        const int blocks = round_up(column_count(layer), columns->block()) / columns->block();
        return {columns->block(), static_cast<int>(layer.channels_per_output()), blocks};
    }
    std::vector<int> taps, phases; // where weights are transformed, points instead of taps
    for (auto axis = layer.axes.rbegin(); axis != layer.axes.rend(); ++axis) {
        taps.push_back(static_cast<int>(std::max<std::int64_t>(axis->max_taps(), 1)));
        phases.push_back(static_cast<int>(axis->phase_count()));
    }
    if (const auto *filtering = std::get_if<CpuFiltering>(&record.parameters)) {
        const FilteredAxes axes = filtered_axes(layer, *filtering);
        for (std::size_t axis = 0; axis < axes.size(); axis++)
            taps[axis] = static_cast<int>(axes[axis]->matrices.points());
    }
    std::vector<int> extents;
    if (layer.depthwise()) {
        extents = {padded_channels(layer, record)};
    } else {
        extents = {block_channels(record), static_cast<int>(layer.channels_per_output())};
    }
    extents.insert(extents.end(), taps.begin(), taps.end());
    extents.insert(extents.end(), phases.begin(), phases.end());
    if (!layer.depthwise()) extents.push_back(padded_channels(layer, record) / block_channels(record));
    return extents;
}

std::array<int, 2> parameter_extents(const PhaseConvolution &layer, const ScheduleRecord &record) {
    const std::size_t rows = layer.channel_parameters().size();
    if (rows == 0) return {1, 1};
    const std::int64_t block = layer.parameters_before_shuffle() ? layer.shuffle_block() : 1;
    return {static_cast<int>(padded_channels(layer, record) * block), static_cast<int>(rows)};
}

bool packs_weights(const PhaseConvolution &layer) {
    return layer.weights == WeightSource::learned || !layer.channel_parameters().empty();
}

TaskShape task_shape(const ScheduleRecord &record) {
    struct Shape {
        TaskShape operator()(const CpuDirect &r) { return {r.tile_x, r.strip, r.tile_y, r.rows}; }
        TaskShape operator()(const CpuPlanar &r) { return {r.lanes * r.vectors, r.strip, r.tile_y, r.rows}; }
        TaskShape operator()(const CpuColumns &r) { return {1, r.strip, 1, r.rows}; }
        TaskShape operator()(const CpuFiltering &r) { return {r.tile_x, 0, r.tile_y, 1}; }
        TaskShape operator()(const CpuChannelwise &r) {
            return {r.lanes_along_x ? r.lanes : 1, 0, 1, r.rows};
        }
        TaskShape operator()(const GpuDirect &) { return {}; }
        TaskShape operator()(const GpuChannelwise &) { return {}; }
        TaskShape operator()(const Autoscheduled &) { return {}; }
    };
    return std::visit(Shape{}, record.parameters);
}

namespace {

// Zero-padded input of a task, x first.
Staging staged_input(const PhaseConvolution &layer, std::int64_t channels) {
    Staging staging;
    staging.channels = channels;
    for (std::size_t axis = 0; axis < layer.axes.size(); axis++) {
        const PhaseAxis &lowered = layer.axes[layer.axes.size() - 1 - axis];
        staging.scale[axis] = lowered.input_stride;
        staging.extra[axis] = lowered.halo();
    }
    return staging;
}

// Transformed inputs and products of the tiles of a task, whatever the image's size. Channels-first tasks are
// whole rows, and keep the products of all phases of a row.
std::vector<Staging> staged_products(const PhaseConvolution &layer, const CpuFiltering &record) {
    const FilteredAxes axes = filtered_axes(layer, record);
    std::int64_t points = 1, product_points = 1;
    for (const auto &axis : axes) {
        points *= axis->matrices.points();
        product_points *=
            axis->direct() ? 1 : axis->matrices.points(); // a direct axis is summed in registers
    }
    Staging transformed, products;
    transformed.channels = points * layer.kernel_input_channels();
    products.channels = product_points * record.block();
    std::int64_t tiles = record.task_tiles;
    if (layer.layout == Layout::nchw) {
        tiles = std::max(tiles, record.staged_row(tiles_of_axes(layer, record)[0]));
        products.channels *= layer.x().phase_count();
    }
    for (Staging *staging : {&transformed, &products}) {
        staging->scale = {0, 0, 0};
        staging->extra = {tiles, 1, 1};
    }
    return {transformed, products};
}

} // namespace

std::vector<Staging> stagings(const PhaseConvolution &layer, const ScheduleRecord &record) {
    if (const auto *filtering = std::get_if<CpuFiltering>(&record.parameters))
        return staged_products(layer, *filtering);
    if (std::holds_alternative<CpuDirect>(record.parameters))
        return {staged_input(layer, layer.kernel_input_channels())};
    if (const auto *planar = std::get_if<CpuPlanar>(&record.parameters)) {
        Staging staging = staged_input(layer, layer.kernel_input_channels());
        staging.extra[0] += planar->lanes - 1; // whole vectors
        return {staging};
    }
    if (const auto *columns = std::get_if<CpuColumns>(&record.parameters)) {
        // Rows slide through as many as one row of outputs reads, rounded up to a power of two.
        Staging staging = staged_input(layer, round_up(column_count(layer), columns->block()));
        staging.extra[0] += columns->tile_x - 1 + columns->lanes - 1; // whole tiles of whole vectors
        std::int64_t kept = 1;
        while (kept < layer.y().halo() + 1)
            kept *= 2;
        staging.scale[1] = 0;
        staging.extra[1] = kept;
        return {staging};
    }
    const auto *channelwise = std::get_if<CpuChannelwise>(&record.parameters);
    if (channelwise == nullptr || layer.weights == WeightSource::none) return {};
    const bool planes = channelwise->lanes_along_x;
    Staging staging = staged_input(layer, planes ? 1 : round_up(layer.input_channels, channelwise->lanes));
    if (planes) staging.extra[0] += channelwise->lanes - 1; // whole vectors
    if (layer.weights == WeightSource::filter) {
        staging.scale[1] = staging.scale[2] = 0; // one row of outputs
        staging.extra[1] = staging.extra[2] = 1;
    }
    return {staging};
}

std::int64_t staged_bytes(const PhaseConvolution &layer, const ScheduleRecord &record) {
    constexpr std::int64_t unbounded = std::int64_t{1} << 20;
    const TaskShape task = task_shape(record);
    const auto outputs_of_phase = [](const PhaseAxis &axis) {
        if (axis.output_size == dynamic_size) return unbounded;
        return (axis.output_size + axis.phase_count() - 1) / axis.phase_count();
    };
    const auto tiled = [](std::int64_t outputs, std::int64_t tile) {
        return (outputs + tile - 1) / tile * tile;
    };
    std::array<std::int64_t, 3> extent = {tiled(outputs_of_phase(layer.x()), task.tile_x),
                                          tiled(outputs_of_phase(layer.y()), task.tile_y), 1};
    if (task.strip > 0) extent[0] = std::min<std::int64_t>(extent[0], std::int64_t{task.strip} * task.tile_x);
    extent[1] = std::min<std::int64_t>(extent[1], std::int64_t{task.rows} * task.tile_y);
    std::int64_t bytes = 0;
    for (const Staging &staging : stagings(layer, record)) {
        std::int64_t elements = staging.channels;
        for (std::size_t axis = 0; axis < 3; axis++)
            elements *= staging.scale[axis] * extent[axis] + staging.extra[axis];
        bytes += elements * static_cast<std::int64_t>(sizeof(float));
    }
    return bytes;
}

bool streams_weights(const PhaseConvolution &layer, const TargetFacts &target) {
    std::int64_t weights = layer.channels_per_output() * layer.kernel_output_channels();
    for (const PhaseAxis &axis : layer.axes)
        weights *= axis.total_taps();
    return weights * static_cast<std::int64_t>(sizeof(float)) > 8 * target.l2_bytes;
}

std::optional<std::string> violated_constraint(const PhaseConvolution &layer, const TargetFacts &target,
                                               const ScheduleRecord &record) {
    return std::visit([&](const auto &parameters) { return violated(layer, target, parameters); },
                      record.parameters);
}

} // namespace unstride
