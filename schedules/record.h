// A schedule as data: the numbers that a schedule family turns into loops, and what they imply for memory.
#pragma once

#include "compiler/lowering/phase_convolution.h"
#include "schedules/target_facts.h"

#include <nlohmann/json_fwd.hpp>

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <variant>

namespace unstride {

// Direct phase convolution on a CPU. A register tile holds `vectors` vectors of output channels for tile_x *
// tile_y outputs of one phase; a task is `rows` tiles high and `strip` tiles wide and stages its zero-padded
// input once.
struct CpuDirect {
    int lanes = 4;   // float32 lanes of a vector
    int vectors = 1; // of output channels: lanes * vectors channels are a block
    int tile_x = 1;  // outputs of one phase in a register tile
    int tile_y = 1;
    int strip = 0;       // tiles along x in a task; 0 is the whole row
    int rows = 1;        // tiles along y in a task
    int unroll = 1;      // input channels in the innermost loop's body
    int stage_lanes = 1; // input channels loaded at once and multiplied by lane; 1 broadcasts from memory
    bool split_blocks = false; // one task computes one block of output channels instead of all
    bool operator==(const CpuDirect &) const = default;
};

// Direct phase convolution on a GPU. A thread block computes block_channels * block_x * block_y outputs of
// one phase; each thread thread_channels * thread_x of them in registers.
struct GpuDirect {
    int thread_channels = 4;
    int thread_x = 4;
    int block_channels = 32;
    int block_x = 32;
    int block_y = 1;
    int unroll = 4; // input channels in the innermost loop's body
    bool operator==(const GpuDirect &) const = default;
};

struct ScheduleRecord {
    std::variant<CpuDirect, GpuDirect> parameters;
    bool operator==(const ScheduleRecord &) const = default;
};

// {"family":"cpu_direct","lanes":16,…}, keys sorted; and back. Reading refuses unknown families and keys,
// missing keys, and values outside the family's space for this layer and target.
nlohmann::json to_json(const ScheduleRecord &record);
std::optional<ScheduleRecord> record_from_json(const nlohmann::json &json, std::string *error);

// Output channels of a block: what one vector row of the packed weights holds.
int block_channels(const ScheduleRecord &record);

// Packed weights, innermost first: channel in block, input channel of the group, tap x, tap y, phase x, phase
// y, block.
std::array<int, 7> packed_extents(const PhaseConvolution &layer, const ScheduleRecord &record);

// Bytes of zero-padded input that one task stages; dynamic sizes count as unbounded, so only a strip bounds
// them.
std::int64_t staged_bytes(const PhaseConvolution &layer, const CpuDirect &schedule);

// Why a record cannot be used for this layer and target, or nothing.
std::optional<std::string> violated_constraint(const PhaseConvolution &layer, const TargetFacts &target,
                                               const ScheduleRecord &record);

} // namespace unstride
