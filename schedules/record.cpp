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
constexpr auto gpu_direct_fields = std::tuple{std::pair{"thread_channels", &GpuDirect::thread_channels},
                                              std::pair{"thread_x", &GpuDirect::thread_x},
                                              std::pair{"block_channels", &GpuDirect::block_channels},
                                              std::pair{"block_x", &GpuDirect::block_x},
                                              std::pair{"block_y", &GpuDirect::block_y},
                                              std::pair{"unroll", &GpuDirect::unroll}};

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
        const bool fits = found != json.end() &&
                          (std::is_same_v<Value, bool> ? found->is_boolean() : found->is_number_integer());
        if (!fits) {
            *error = fmt::format("{} is missing or of the wrong type", field.first);
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

std::optional<std::string> violated(const PhaseConvolution &layer, const TargetFacts &target,
                                    const CpuDirect &r) {
    if (target.device != Device::cpu) return "cpu_direct is for CPUs";
    if (r.lanes < 1 || r.lanes > target.vector_lanes || (r.lanes & (r.lanes - 1)) != 0) {
        return fmt::format("lanes must be a power of two up to {}, got {}", target.vector_lanes, r.lanes);
    }
    if (r.vectors < 1 || r.tile_x < 1 || r.tile_y < 1 || r.rows < 1 || r.strip < 0 || r.unroll < 1) {
        return "tile sizes must be at least 1";
    }
    if (r.unroll > 16) return fmt::format("unroll must be at most 16, got {}", r.unroll);
    const int accumulators = r.vectors * r.tile_x * r.tile_y;
    // Without a fused multiply-add, a broadcast, a copy of it and the product take a register each;
    // multiplying by lane holds a register of input channels for each pixel.
    const int operands = r.stage_lanes > 1 ? r.tile_x * r.tile_y : target.fused_multiply_add ? 1 : 3;
    const int used = accumulators + r.vectors + operands;
    if (used > target.vector_registers) {
        return fmt::format("the register tile needs {} of {} vector registers", used,
                           target.vector_registers);
    }
    if (target.multiply_by_lane ? (r.stage_lanes != 1 && r.stage_lanes != 4) : r.stage_lanes != 1) {
        return fmt::format("stage_lanes {} is not for this target", r.stage_lanes);
    }
    if (r.stage_lanes > 1 && (layer.channels_per_group() % r.unroll != 0 || r.unroll % r.stage_lanes != 0)) {
        return "stage_lanes must divide unroll, and unroll the input channels";
    }
    const std::int64_t bytes = staged_bytes(layer, r);
    if (bytes > target.l2_bytes && (r.strip != 1 || r.rows != 1)) {
        return fmt::format("a task stages {} bytes, more than the L2 cache's {}", bytes, target.l2_bytes);
    }
    return std::nullopt;
}

std::optional<std::string> violated(const PhaseConvolution &layer, const TargetFacts &target,
                                    const GpuDirect &r) {
    if (target.device == Device::cpu) return "gpu_direct is for GPUs";
    (void)layer;
    if (r.thread_channels < 1 || r.thread_x < 1 || r.block_y < 1 || r.unroll < 1)
        return "tile sizes must be at least 1";
    if (r.block_channels % r.thread_channels != 0) return "thread_channels must divide block_channels";
    if (r.block_x % r.thread_x != 0) return "thread_x must divide block_x";
    const int threads = (r.block_channels / r.thread_channels) * (r.block_x / r.thread_x) * r.block_y;
    if (threads > 1024) return fmt::format("a block has {} threads, more than 1024", threads);
    // Accumulators, one row of weights, the input values and about 30 for addresses.
    const int registers = r.thread_channels * r.thread_x + r.thread_channels + r.thread_x + 30;
    if (registers > target.vector_registers || registers * threads > 65536) {
        return fmt::format("a thread needs about {} registers, {} threads a block", registers, threads);
    }
    return std::nullopt;
}

} // namespace

nlohmann::json to_json(const ScheduleRecord &record) {
    if (const auto *cpu = std::get_if<CpuDirect>(&record.parameters)) {
        return write_fields("cpu_direct", *cpu, cpu_direct_fields);
    }
    return write_fields("gpu_direct", std::get<GpuDirect>(record.parameters), gpu_direct_fields);
}

std::optional<ScheduleRecord> record_from_json(const nlohmann::json &json, std::string *error) {
    if (!json.is_object() || !json.contains("family") || !json["family"].is_string()) {
        *error = "a schedule is an object with a family";
        return std::nullopt;
    }
    const std::string family = json["family"];
    if (family == "cpu_direct") return read_fields<CpuDirect>(json, cpu_direct_fields, error);
    if (family == "gpu_direct") return read_fields<GpuDirect>(json, gpu_direct_fields, error);
    *error = "unknown family " + family;
    return std::nullopt;
}

int block_channels(const ScheduleRecord &record) {
    if (const auto *cpu = std::get_if<CpuDirect>(&record.parameters)) return cpu->lanes * cpu->vectors;
    return std::get<GpuDirect>(record.parameters).block_channels;
}

std::array<int, 7> packed_extents(const PhaseConvolution &layer, const ScheduleRecord &record) {
    const PhaseAxis &y = layer.axes[0], &x = layer.axes[1];
    const int block = block_channels(record);
    const auto at_least_one = [](std::int64_t value) {
        return static_cast<int>(std::max<std::int64_t>(value, 1));
    };
    return {block,
            static_cast<int>(layer.channels_per_group()),
            at_least_one(x.max_taps()),
            at_least_one(y.max_taps()),
            static_cast<int>(x.phases.size()),
            static_cast<int>(y.phases.size()),
            static_cast<int>((layer.output_channels + block - 1) / block)};
}

std::int64_t staged_bytes(const PhaseConvolution &layer, const CpuDirect &schedule) {
    const PhaseAxis &y = layer.axes[0], &x = layer.axes[1];
    constexpr std::int64_t unbounded = std::int64_t{1} << 20;
    const auto outputs_of_phase = [](const PhaseAxis &axis) {
        const auto phases = static_cast<std::int64_t>(axis.phases.size());
        return axis.output_size == dynamic_size ? unbounded : (axis.output_size + phases - 1) / phases;
    };
    const auto tiled = [](std::int64_t outputs, std::int64_t tile) {
        return (outputs + tile - 1) / tile * tile;
    };
    std::int64_t width = tiled(outputs_of_phase(x), schedule.tile_x);
    if (schedule.strip > 0)
        width = std::min<std::int64_t>(width, std::int64_t{schedule.strip} * schedule.tile_x);
    const std::int64_t height =
        std::min(tiled(outputs_of_phase(y), schedule.tile_y), std::int64_t{schedule.rows} * schedule.tile_y);
    const std::int64_t block = schedule.lanes * schedule.vectors;
    const std::int64_t channels = layer.depthwise()
                                      ? (schedule.split_blocks ? block : tiled(layer.input_channels, block))
                                      : layer.input_channels;
    return (width + x.halo()) * (height + y.halo()) * channels * static_cast<std::int64_t>(sizeof(float));
}

std::optional<std::string> violated_constraint(const PhaseConvolution &layer, const TargetFacts &target,
                                               const ScheduleRecord &record) {
    return std::visit([&](const auto &parameters) { return violated(layer, target, parameters); },
                      record.parameters);
}

} // namespace unstride
