// A schedule as data: the numbers that a schedule family turns into loops, and what they imply for memory.
#pragma once

#include "compiler/lowering/minimal_filtering.h"
#include "compiler/lowering/phase_convolution.h"
#include "schedules/target_facts.h"

#include <nlohmann/json_fwd.hpp>

#include <array>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <variant>
#include <vector>

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
    bool prefetch = false;     // tiles fetch the weights of the next phase or block into cache
    bool operator==(const CpuDirect &) const = default;
};

// Direct phase convolution on a CPU for channels-first tensors: a register tile holds `vectors` vectors of
// neighbouring outputs of one phase for `channels` output channels and tile_y rows.
struct CpuPlanar {
    int lanes = 4;
    int vectors = 1;
    int channels = 1;
    int tile_y = 1;
    int strip = 0; // tiles along x in a task; 0 is the whole row
    int rows = 1;  // tiles along y in a task
    int unroll = 1;
    bool operator==(const CpuPlanar &) const = default;
};

// Column sums on a CPU (few output channels): every pixel is multiplied into a column of products for all
// kernel positions, in register tiles of `vectors` vectors of columns by tile_x pixels; a task is `rows` rows
// of outputs of one phase high and `strip` of them wide, and slides down over the columns of its rows.
struct CpuColumns {
    int lanes = 4;
    int vectors = 1;
    int tile_x = 1;
    int strip = 0; // 0 is the whole row
    int rows = 1;
    int unroll = 1; // input channels in the innermost loop's body
    // A block of weights goes over a whole row, instead of all blocks over a tile.
    bool blocks_outermost = false;
    int output_lanes = 1;  // outputs of one phase whose sums and epilogue are computed as a vector
    bool prefetch = false; // register tiles fetch the next tile's pixels into cache
    // Vectors are of input channels, one for each column; their lanes are summed at the end of a tile.
    bool across_channels = false;
    bool operator==(const CpuColumns &) const = default;

    int block() const { return across_channels ? vectors : lanes * vectors; } // columns
};

// A tile of minimal filtering (compiler/lowering/minimal_filtering.h): outputs of every phase on the last two
// axes; 1 is direct on that axis.
struct FilterTile {
    int tile_x = 1;
    int tile_y = 1;
    bool operator==(const FilterTile &) const = default;
};

// Minimal filtering on a CPU. Few output channels fill blocks with those of all phases, which all have their
// products of the same transformed window. A task transforms the inputs of task_tiles tiles, and for each
// point multiplies them in register tiles of `tiles` tiles by `vectors` vectors of output channels.
struct CpuFiltering : FilterTile {
    int lanes = 4;
    int vectors = 1;
    int tiles = 1;
    int task_tiles = 1;
    int unroll = 1;      // input channels in the innermost loop's body
    int stage_lanes = 1; // input channels loaded at once and multiplied by lane; 1 broadcasts from memory
    int strip = 0; // of channels-first tensors: outputs of one phase along x in a task; 0 is the whole row
    // Input channels that are summed in registers and then added to the sum of those before; 0 is all of
    // them. Shorter chains have smaller errors, and their weights stay in the nearest cache.
    int chain = 0;
    // Blocks are of the output channels of all phases, x before y; several only where there is one axis,
    // whose phases all read the same inputs.
    bool merge_phases = false;
    // One task computes one block of output channels instead of all, and transforms its inputs for itself.
    bool split_blocks = false;
    bool prefetch = false;       // register tiles fetch the weights of the next point into cache
    bool prefetch_input = false; // and the windows that the next task transforms
    bool operator==(const CpuFiltering &) const = default;

    int block() const { return lanes * vectors; }

    // Of channels-first tensors rows of tiles are transformed by vectors of so many, and staged as whole
    // register tiles in whole vectors.
    int row_lanes() const { return lanes < 8 ? lanes : 8; }
    template<typename Count>
    Count staged_row(const Count &count) const {
        const Count whole_tiles = (count + tiles - 1) / tiles * tiles;
        return (whole_tiles + row_lanes() - 1) / row_lanes() * row_lanes();
    }
};

// Layers whose outputs each read one input channel, on a CPU.
struct CpuChannelwise {
    int lanes = 4;
    bool lanes_along_x = false; // vectors of outputs of one phase instead of channels
    int unroll_phases = 1;      // of x, computed side by side
    int rows = 1;               // outputs of one phase along y in a task
    bool prefetch = false;      // stores fetch the lines of the output that lie ahead into cache
    // Vectors of channels of a pixel are unrolled too where the body stays short.
    bool unrolls_vectors(std::int64_t channels) const {
        return (channels + lanes - 1) / lanes * unroll_phases <= 8;
    }
    bool operator==(const CpuChannelwise &) const = default;
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

// Minimal filtering on a GPU. A thread block computes block_channels channels of block_tiles tiles of one
// phase; each thread the products of thread_channels channels of one tile in registers.
struct GpuFiltering : FilterTile {
    int thread_channels = 4;
    int block_channels = 32;
    int block_tiles = 8;
    bool operator==(const GpuFiltering &) const = default;
};

// Layers whose outputs each read one input channel, on a GPU: a thread block of block_channels * block_x
// outputs of one phase.
struct GpuChannelwise {
    int block_channels = 32;
    int block_x = 4;
    bool operator==(const GpuChannelwise &) const = default;
};

// Loops left to one of Halide's autoschedulers, to compare with: no search offers it and no look-up answers
// with it. The algorithm is that of the direct schedules, or of channelwise ones.
struct Autoscheduled {
    std::string scheduler; // one of autoschedulers()
    int threads = 1;       // that it plans for
    bool channelwise = false;
    bool operator==(const Autoscheduled &) const = default;
};

struct ScheduleRecord {
    std::variant<CpuDirect, CpuPlanar, CpuColumns, CpuFiltering, CpuChannelwise, GpuDirect, GpuFiltering,
                 GpuChannelwise, Autoscheduled>
        parameters;
    bool operator==(const ScheduleRecord &) const = default;
};

// {"family":"cpu_direct","lanes":16,…}, keys sorted; and back. A field that is missing is off or 0 where
// that is its default. Reading refuses unknown families and keys, missing numbers, and values outside the
// family's space for this layer and target.
nlohmann::json to_json(const ScheduleRecord &record);
std::optional<ScheduleRecord> record_from_json(const nlohmann::json &json, std::string *error);

// Halide's autoschedulers as schedules name them, those for CPUs first: "adams2019", "mullapudi2016",
// "li2018"; "anderson2021" is for GPUs.
const std::vector<std::string> &autoschedulers();

// The schedule that an autoscheduler is to make for a layer.
ScheduleRecord autoscheduled(const PhaseConvolution &layer, const std::string &scheduler, int threads);

// Output channels of a block of a direct or filtering schedule: what one row of the packed weights holds.
int block_channels(const ScheduleRecord &record);

// Outputs of a phase along an axis, a million where that is not known.
std::int64_t outputs_of_phase(const PhaseAxis &axis);

// The tile of a filtering schedule; null for all others.
const FilterTile *filter_tile(const ScheduleRecord &record);

// Whether a block of packed weights holds the channels of all phases.
bool merges_phases(const ScheduleRecord &record);

// Output channels that blocks are filled with: of all phases where these are merged.
std::int64_t channels_of_blocks(const PhaseConvolution &layer, const CpuFiltering &record);

// Input channels that a filtering schedule sums before it adds them to the sum of others.
std::int64_t chain_channels(const PhaseConvolution &layer, const CpuFiltering &record);

// The last two axes of a layer in the tiles of a filtering schedule, x first. Precondition:
// violated_constraint has nothing against it.
FilteredAxes filtered_axes(const PhaseConvolution &layer, const FilterTile &tile);

// How a filtering schedule shares the tiles of a call among tasks. Channels-first tasks are whole rows of
// tiles or strips of them, as many as task_tiles hold as they are staged. Precondition: fixed sizes.
struct FilteringTasks {
    std::int64_t count = 0;          // of one call
    std::int64_t blocks = 0;         // of a task
    std::int64_t tiles = 0;          // of a whole task
    std::int64_t register_tiles = 0; // of a whole task, for each point and block of channels
};
FilteringTasks filtering_tasks(const PhaseConvolution &layer, const CpuFiltering &record);

// Tiles of a row that a vector of outputs of any phase comes from, at most, and those of a strip.
// Precondition of the latter: there are strips.
std::int64_t tiles_of_vector(const PhaseConvolution &layer, const CpuFiltering &record);
std::int64_t tiles_of_strip(const PhaseConvolution &layer, const CpuFiltering &record);

// The most that relative_error() of a filtering schedule may be for a layer of that policy; `exact` has none.
// What was measured of 33 forms was up to 5 % more than what is derived, so that `safe` keeps below 1.25
// times the direct form's error, and `fast` below 8 times.
inline constexpr double safe_relative_error = 1.19, fast_relative_error = 7.5;

// Products that a schedule makes for each one of the layer's own, padding and borders counted alike; 1 but
// for filtering.
double products_share(const PhaseConvolution &layer, const ScheduleRecord &record);

// Root mean square error in units of that of the layer's own products, for normal numbers; 1 but for
// filtering.
double relative_error(const PhaseConvolution &layer, const ScheduleRecord &record);

// What the bound of an f32 evaluation in the layer's own products is multiplied by for a form that makes
// others: 1 but for filtering, where it is the amplification of both axes, and more for few channels since
// the transforms round too. It bounds the error by the largest magnitude within error_reach() outputs, as if
// what padding crops were no larger: a tile's small outputs carry the error of its large ones.
double error_factor(const PhaseConvolution &layer, const ScheduleRecord &record);

// Outputs of the layer on each spatial axis that share an input or a weight with an output's tile; empty
// where an output is made of its own products.
PerAxis error_reach(const PhaseConvolution &layer, const ScheduleRecord &record);

// Places of one axis in a column: tap * phases + phase, as far as there are such taps.
std::int64_t column_slots(const PhaseAxis &axis);

// Columns of products of a pixel: a slot on each axis for each output channel.
std::int64_t column_count(const PhaseConvolution &layer);

// Whether a direct schedule leaves out the taps that read zeros around a small input along an axis (x is 0):
// as far as all outputs of a register tile do, so tiles of one output, and on x tiles of whole rows.
bool skips_padding(const PhaseConvolution &layer, const CpuDirect &record, std::size_t axis);

// The generator of a record's compute kernel.
const char *compute_generator(const ScheduleRecord &record);

// Whether the kernel is called once for all of an axis (x is 0) whose size may be no multiple of its phases,
// and stores only what lies inside. Of others it is called on boxes of as many outputs of every phase.
bool bounds_stores(const PhaseConvolution &layer, const ScheduleRecord &record, std::size_t axis);

// The packed weights that register tiles of products walk over before they need others, which lie behind
// them: of a phase and block, and where weights are transformed of a point of theirs.
struct WeightPanel {
    int numbers = 0;
    int tiles = 0; // of a task that walk over it; 0 where that is not known before the call
};
// Precondition: a direct or filtering schedule for CPUs. Empty where no weights are packed.
WeightPanel weight_panel(const PhaseConvolution &layer, const ScheduleRecord &record);

// Whether weights, pixels of the input or lines of the output are fetched ahead of their use, and the same
// schedule with all that its family fetches, as far as that is accepted.
bool prefetches(const ScheduleRecord &record);
ScheduleRecord with_prefetch(ScheduleRecord record,
                             const std::function<bool(const ScheduleRecord &)> &accepts);

// Packed weights of one group, innermost first; {1} where nothing is learned.
std::vector<int> packed_extents(const PhaseConvolution &layer, const ScheduleRecord &record);

// Packed per-channel numbers of one group: channels as the kernel pads them (times the shuffle block where a
// row differs inside it), rows; {1, 1} where there are none.
std::array<int, 2> parameter_extents(const PhaseConvolution &layer, const ScheduleRecord &record);

// True if anything is to be packed: learned weights or per-channel numbers.
bool packs_weights(const PhaseConvolution &layer);

// A task is tile_x * strip outputs (strip == 0: the whole row) by tile_y * rows outputs of one phase.
struct TaskShape {
    int tile_x = 1, strip = 1, tile_y = 1, rows = 1;
};
TaskShape task_shape(const ScheduleRecord &record);

// A buffer that every task allocates: channels times, over x, y and z, scale * t + extra elements for t
// outputs of one phase on that axis.
struct Staging {
    std::int64_t channels = 0;
    std::array<std::int64_t, 3> scale{1, 1, 1}, extra{0, 0, 0};
};
std::vector<Staging> stagings(const PhaseConvolution &layer, const ScheduleRecord &record);

// Bytes that one task stages; dynamic sizes count as unbounded, so only a strip bounds them.
std::int64_t staged_bytes(const PhaseConvolution &layer, const ScheduleRecord &record);

// Whether the weights are too many for the caches, so that every task reads those it computes with from
// memory.
bool streams_weights(const PhaseConvolution &layer, const TargetFacts &target);

// Whether all that the schedule fetches ahead can pay: the weights are too many for the L2 cache as it packs
// them, and two panels are not; the input or output is larger than any.
bool may_prefetch(const PhaseConvolution &layer, const TargetFacts &target, const ScheduleRecord &record);

// Why a record cannot be used for this layer and target, or nothing.
std::optional<std::string> violated_constraint(const PhaseConvolution &layer, const TargetFacts &target,
                                               const ScheduleRecord &record);

} // namespace unstride
