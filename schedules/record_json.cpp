// Schedule records to JSON and back: one list of fields for each family serves both directions.
#include "schedules/record.h"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

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
                                              std::pair{"split_blocks", &CpuDirect::split_blocks},
                                              std::pair{"prefetch", &CpuDirect::prefetch}};
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
                                               std::pair{"output_lanes", &CpuColumns::output_lanes},
                                               std::pair{"prefetch", &CpuColumns::prefetch},
                                               std::pair{"across_channels", &CpuColumns::across_channels}};
constexpr auto cpu_filtering_fields = std::tuple{std::pair{"tile_x", &CpuFiltering::tile_x},
                                                 std::pair{"tile_y", &CpuFiltering::tile_y},
                                                 std::pair{"lanes", &CpuFiltering::lanes},
                                                 std::pair{"vectors", &CpuFiltering::vectors},
                                                 std::pair{"tiles", &CpuFiltering::tiles},
                                                 std::pair{"task_tiles", &CpuFiltering::task_tiles},
                                                 std::pair{"unroll", &CpuFiltering::unroll},
                                                 std::pair{"stage_lanes", &CpuFiltering::stage_lanes},
                                                 std::pair{"strip", &CpuFiltering::strip},
                                                 std::pair{"chain", &CpuFiltering::chain},
                                                 std::pair{"merge_phases", &CpuFiltering::merge_phases},
                                                 std::pair{"split_blocks", &CpuFiltering::split_blocks},
                                                 std::pair{"prefetch", &CpuFiltering::prefetch},
                                                 std::pair{"prefetch_input", &CpuFiltering::prefetch_input}};
constexpr auto cpu_channelwise_fields = std::tuple{
    std::pair{"lanes", &CpuChannelwise::lanes}, std::pair{"lanes_along_x", &CpuChannelwise::lanes_along_x},
    std::pair{"unroll_phases", &CpuChannelwise::unroll_phases}, std::pair{"rows", &CpuChannelwise::rows},
    std::pair{"prefetch", &CpuChannelwise::prefetch}};
constexpr auto gpu_channelwise_fields =
    std::tuple{std::pair{"block_channels", &GpuChannelwise::block_channels},
               std::pair{"block_x", &GpuChannelwise::block_x}};
constexpr auto gpu_direct_fields = std::tuple{std::pair{"thread_channels", &GpuDirect::thread_channels},
                                              std::pair{"thread_x", &GpuDirect::thread_x},
                                              std::pair{"block_channels", &GpuDirect::block_channels},
                                              std::pair{"block_x", &GpuDirect::block_x},
                                              std::pair{"block_y", &GpuDirect::block_y},
                                              std::pair{"unroll", &GpuDirect::unroll}};
constexpr auto gpu_filtering_fields =
    std::tuple{std::pair{"tile_x", &GpuFiltering::tile_x}, std::pair{"tile_y", &GpuFiltering::tile_y},
               std::pair{"thread_channels", &GpuFiltering::thread_channels},
               std::pair{"block_channels", &GpuFiltering::block_channels},
               std::pair{"block_tiles", &GpuFiltering::block_tiles}};
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
        // Records from before there was a field are of schedules that do without.
        if (value == Value{} && found == json.end()) return true;
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
        nlohmann::json operator()(const GpuFiltering &r) {
            return write_fields("gpu_filtering", r, gpu_filtering_fields);
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
    if (family == "gpu_filtering") return read_fields<GpuFiltering>(json, gpu_filtering_fields, error);
    if (family == "gpu_channelwise") return read_fields<GpuChannelwise>(json, gpu_channelwise_fields, error);
    if (family == "autoscheduled") return read_autoscheduled(json, error);
    *error = "unknown family " + family;
    return std::nullopt;
}

} // namespace unstride
