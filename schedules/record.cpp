// What follows from a record: packed weights, tasks, the memory that they stage, and the error of its form.
#include "schedules/record.h"

#include "compiler/integer_division.h"

#include <algorithm>

namespace unstride {

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
    if (const auto *gpu = std::get_if<GpuFiltering>(&record.parameters)) return gpu->block_channels;
    // Of every vector's length a multiple.
    if (std::holds_alternative<Autoscheduled>(record.parameters)) return 16;
    return std::get<GpuDirect>(record.parameters).block_channels;
}

const FilterTile *filter_tile(const ScheduleRecord &record) {
    if (const auto *cpu = std::get_if<CpuFiltering>(&record.parameters)) return cpu;
    return std::get_if<GpuFiltering>(&record.parameters);
}

bool merges_phases(const ScheduleRecord &record) {
    const auto *cpu = std::get_if<CpuFiltering>(&record.parameters);
    return cpu != nullptr && cpu->merge_phases;
}

std::int64_t channels_of_blocks(const PhaseConvolution &layer, const CpuFiltering &record) {
    const std::int64_t phases = layer.x().phase_count() * layer.y().phase_count();
    return layer.kernel_output_channels() * (record.merge_phases ? phases : 1);
}

FilteredAxes filtered_axes(const PhaseConvolution &layer, const FilterTile &tile) {
    return {filtered_axis(layer.x(), tile.tile_x), filtered_axis(layer.y(), tile.tile_y)};
}

std::int64_t outputs_of_phase(const PhaseAxis &axis) {
    constexpr std::int64_t unbounded = std::int64_t{1} << 20;
    if (axis.output_size == dynamic_size) return unbounded;
    return std::max<std::int64_t>(1, ceil_divide(axis.output_size, axis.phase_count()));
}

namespace {

// Tiles of the last two axes, x first.
std::array<std::int64_t, 2> tiles_of_axes(const PhaseConvolution &layer, const CpuFiltering &record) {
    const FilteredAxes filtered = filtered_axes(layer, record);
    return {filtered[0]->tiles(outputs_of_phase(layer.x())), filtered[1]->tiles(outputs_of_phase(layer.y()))};
}

} // namespace

std::int64_t chain_channels(const PhaseConvolution &layer, const CpuFiltering &record) {
    return record.chain > 0 ? record.chain : layer.channels_per_output();
}

FilteringTasks filtering_tasks(const PhaseConvolution &layer, const CpuFiltering &record) {
    const auto [in_row, in_column] = tiles_of_axes(layer, record);
    const std::int64_t blocks = ceil_divide(channels_of_blocks(layer, record), record.block());
    if (layer.layout == Layout::nhwc)
        return {ceil_divide(in_row * in_column * layer.batch, record.task_tiles) *
                    (record.split_blocks ? blocks : 1),
                record.split_blocks ? 1 : blocks, record.task_tiles,
                ceil_divide(record.task_tiles, record.tiles)};
    const std::int64_t strips =
        record.strip == 0 ? 1 : ceil_divide(outputs_of_phase(layer.x()), record.strip);
    const std::int64_t across = record.strip == 0 ? in_row : std::min(in_row, tiles_of_strip(layer, record));
    const std::int64_t rows = std::max<std::int64_t>(1, record.task_tiles / record.staged_row(across));
    return {ceil_divide(in_column, rows) * strips * layer.batch, blocks, rows * across,
            rows * ceil_divide(across, record.tiles)};
}

std::int64_t tiles_of_vector(const PhaseConvolution &layer, const CpuFiltering &record) {
    const std::int64_t shift = filtered_axis(layer.x(), record.tile_x)->largest_shift();
    return (record.lanes - 1 + shift) / record.tile_x + 2;
}

std::int64_t tiles_of_strip(const PhaseConvolution &layer, const CpuFiltering &record) {
    const std::int64_t before_last = (record.strip - record.lanes) / record.tile_x;
    const std::int64_t begins_inside = record.strip % record.tile_x == 0 ? 0 : 1;
    return before_last + begins_inside + tiles_of_vector(layer, record);
}

double products_share(const PhaseConvolution &layer, const ScheduleRecord &record) {
    const FilterTile *tile = filter_tile(record);
    if (tile == nullptr) return 1;
    double share = 1;
    for (const auto &axis : filtered_axes(layer, *tile)) {
        share /= axis->gain();
        // Merged phases take part at every point, those of fewer taps too.
        if (merges_phases(record))
            share *=
                static_cast<double>(axis->matrices.points() * static_cast<std::int64_t>(axis->shift.size())) /
                static_cast<double>(axis->products());
    }
    return share;
}

double relative_error(const PhaseConvolution &layer, const ScheduleRecord &record) {
    const FilterTile *tile = filter_tile(record);
    if (tile == nullptr) return 1;
    const std::int64_t channels = layer.channels_per_output();
    const auto *filtering = std::get_if<CpuFiltering>(&record.parameters);
    return relative_error(filtered_axes(layer, *tile), channels,
                          filtering == nullptr ? channels : chain_channels(layer, *filtering));
}

// The bound counts a rounding for every product of the layer, of which a point sums fewer; what the
// transforms round comes in addition, once a chain.
double error_factor(const PhaseConvolution &layer, const ScheduleRecord &record) {
    const FilterTile *tile = filter_tile(record);
    if (tile == nullptr) return 1;
    double factor = 1, steps = static_cast<double>(layer.channels_per_output()), roundings = 1;
    for (const auto &axis : filtered_axes(layer, *tile)) {
        factor *= axis->matrices.amplification();
        roundings += static_cast<double>(axis->matrices.roundings());
        if (axis->direct()) steps *= static_cast<double>(axis->matrices.taps);
    }
    return factor * (1 + roundings / steps);
}

PerAxis error_reach(const PhaseConvolution &layer, const ScheduleRecord &record) {
    const FilterTile *tile = filter_tile(record);
    if (tile == nullptr) return {};
    PerAxis reach;
    for (const auto &axis : filtered_axes(layer, *tile)) {
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

bool bounds_stores(const PhaseConvolution &layer, const ScheduleRecord &record, std::size_t axis) {
    if ((layer.axes.rbegin() + static_cast<std::ptrdiff_t>(axis))->whole_phases()) return false;
    // The phases of x leave channels-first tensors interleaved, by whole vectors.
    if (std::holds_alternative<CpuPlanar>(record.parameters)) return axis > 0;
    if (std::holds_alternative<CpuFiltering>(record.parameters))
        return axis > 0 || layer.layout == Layout::nhwc;
    return std::holds_alternative<CpuDirect>(record.parameters);
}

bool skips_padding(const PhaseConvolution &layer, const CpuDirect &record, std::size_t axis) {
    constexpr double much = 0.03;            // of the multiplications
    constexpr std::int64_t most_bodies = 16; // each tap of each phase of x has an inner loop of its own
    const PhaseAxis &lowered = *(layer.axes.rbegin() + static_cast<std::ptrdiff_t>(axis));
    if (layer.edge != EdgeRule::zero || lowered.input_size == dynamic_size ||
        lowered.output_size == dynamic_size || lowered.share_inside() > 1 - much)
        return false;
    if (axis > 0) return axis > 1 || record.tile_y == 1;
    // Channels that are loaded ahead are of all columns.
    return record.stage_lanes == 1 && record.strip <= 1 && record.tile_x >= outputs_of_phase(lowered) &&
           lowered.phase_count() * lowered.max_taps() <= most_bodies;
}

const char *compute_generator(const ScheduleRecord &record) {
    struct Name {
        const char *operator()(const CpuDirect &) { return "phase_convolution"; }
        const char *operator()(const CpuPlanar &) { return "phase_convolution"; }
        const char *operator()(const GpuDirect &) { return "phase_convolution"; }
        const char *operator()(const CpuColumns &) { return "column_sum"; }
        const char *operator()(const CpuFiltering &) { return "minimal_filtering"; }
        const char *operator()(const GpuFiltering &) { return "minimal_filtering"; }
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

// Blocks of channels, of all phases where they are merged.
int weight_blocks(const PhaseConvolution &layer, const ScheduleRecord &record) {
    const auto *filtering = std::get_if<CpuFiltering>(&record.parameters);
    const std::int64_t channels =
        filtering != nullptr ? channels_of_blocks(layer, *filtering) : layer.kernel_output_channels();
    return round_up(channels, block_channels(record)) / block_channels(record);
}

} // namespace

std::vector<int> packed_extents(const PhaseConvolution &layer, const ScheduleRecord &record) {
    if (layer.weights != WeightSource::learned) return {1};
    if (const auto *columns = std::get_if<CpuColumns>(&record.parameters)) {
        const int blocks = round_up(column_count(layer), columns->block()) / columns->block();
        return {columns->block(), static_cast<int>(layer.channels_per_output()), blocks};
    }
    const bool merges = merges_phases(record);
    std::vector<int> taps, phases; // where weights are transformed, points instead of taps
    for (auto axis = layer.axes.rbegin(); axis != layer.axes.rend(); ++axis) {
        taps.push_back(static_cast<int>(std::max<std::int64_t>(axis->max_taps(), 1)));
        phases.push_back(merges ? 1 : static_cast<int>(axis->phase_count()));
    }
    if (const FilterTile *tile = filter_tile(record)) {
        const FilteredAxes axes = filtered_axes(layer, *tile);
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
    if (!layer.depthwise()) extents.push_back(weight_blocks(layer, record));
    return extents;
}

WeightPanel weight_panel(const PhaseConvolution &layer, const ScheduleRecord &record) {
    if (layer.weights != WeightSource::learned) return {};
    const std::vector<int> extents = packed_extents(layer, record);
    WeightPanel panel{extents[0] * extents[1], 0};
    if (const auto *filtering = std::get_if<CpuFiltering>(&record.parameters)) {
        const FilteredAxes axes = filtered_axes(layer, *filtering);
        if (filtering->chain > 0) {
            if (axes[0]->direct()) return {}; // a chain's weights lie apart, by taps
            panel.numbers = extents[0] * filtering->chain;
        }
        for (std::size_t axis = 0; axis < axes.size() && axes[axis]->direct(); axis++)
            panel.numbers *= extents[2 + axis];
        panel.tiles = filtering->task_tiles / filtering->tiles;
        return panel;
    }
    for (std::size_t axis = 0; axis < layer.axes.size(); axis++)
        panel.numbers *= extents[2 + axis];
    const auto &direct = std::get<CpuDirect>(record.parameters);
    const auto tiles_of = [](const PhaseAxis &axis, int tile, int most) {
        if (axis.output_size == dynamic_size) return most;
        const int tiles = static_cast<int>(ceil_divide(outputs_of_phase(axis), tile));
        return most == 0 ? tiles : std::min(most, tiles);
    };
    panel.tiles =
        tiles_of(layer.x(), direct.tile_x, direct.strip) * tiles_of(layer.y(), direct.tile_y, direct.rows);
    return panel;
}

namespace {

// What a family can fetch ahead.
std::vector<bool *> prefetches_of(ScheduleRecord &record) {
    return std::visit(
        [](auto &parameters) {
            std::vector<bool *> result;
            if constexpr (requires { parameters.prefetch; }) result.push_back(&parameters.prefetch);
            if constexpr (requires { parameters.prefetch_input; })
                result.push_back(&parameters.prefetch_input);
            return result;
        },
        record.parameters);
}

} // namespace

bool prefetches(const ScheduleRecord &record) {
    ScheduleRecord copy = record;
    const std::vector<bool *> all = prefetches_of(copy);
    return std::any_of(all.begin(), all.end(), [](const bool *fetches) { return *fetches; });
}

ScheduleRecord with_prefetch(ScheduleRecord record,
                             const std::function<bool(const ScheduleRecord &)> &accepts) {
    for (bool *fetches : prefetches_of(record)) {
        if (*fetches) continue;
        *fetches = true;
        *fetches = accepts(record);
    }
    return record;
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
        TaskShape operator()(const GpuFiltering &) { return {}; }
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
// rows or strips of them, and keep the products of all phases of a row.
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
        const std::int64_t across =
            record.strip > 0 ? tiles_of_strip(layer, record) : tiles_of_axes(layer, record)[0];
        // Narrower rows are more, and never more tiles than a task's.
        tiles = std::max(tiles, record.staged_row(across));
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
        staging.extra[0] += columns->tile_x - 1 + columns->output_lanes - 1; // whole tiles, whole vectors
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
    std::int64_t channels = round_up(layer.input_channels, channelwise->lanes);
    if (layer.has_add()) // then the last vector of a pixel is not shifted inwards
        channels =
            std::max(channels, round_up(layer.output_channels, channelwise->lanes) * layer.shuffle_block());
    Staging staging = staged_input(layer, planes ? 1 : channels);
    if (planes) staging.extra[0] += channelwise->lanes - 1; // whole vectors
    if (layer.weights == WeightSource::filter) {
        staging.scale[1] = staging.scale[2] = 0; // one row of outputs
        staging.extra[1] = staging.extra[2] = 1;
    }
    return {staging};
}

std::int64_t staged_bytes(const PhaseConvolution &layer, const ScheduleRecord &record) {
    const TaskShape task = task_shape(record);
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
    // Of 8 MB, where an L3 cache gives a core 20 GB/s, tasks that read them once took 0.54 of the time of
    // those that read them four times (4x4x512 to 256 channels, kernel 4), and of 2 MB 0.82.
    return weights * static_cast<std::int64_t>(sizeof(float)) >= 2 * target.l2_bytes;
}

namespace {

std::int64_t tensor_bytes(const PhaseConvolution &layer, bool output) {
    std::int64_t bytes = sizeof(float);
    bytes *= std::max<std::int64_t>(1, layer.batch); // a dynamic size may be as small
    bytes *= output ? layer.output_channels : layer.input_channels;
    for (const PhaseAxis &axis : layer.axes)
        bytes *= std::max<std::int64_t>(1, output ? axis.output_size : axis.input_size);
    return bytes;
}

// Of a layer whose panels take 2 MB each, a schedule that fetched them ahead took 1.1 times as long.
bool may_prefetch_weights(const PhaseConvolution &layer, const TargetFacts &target,
                          const ScheduleRecord &record) {
    std::int64_t bytes = sizeof(float);
    for (const int extent : packed_extents(layer, record))
        bytes *= extent;
    const std::int64_t panel =
        std::int64_t{weight_panel(layer, record).numbers} * std::int64_t{sizeof(float)};
    return bytes >= 2 * target.l2_bytes && 2 * panel <= target.l2_bytes;
}

} // namespace

// Tensors are fetched ahead where they are more than any L2 cache holds. Of filtering layers those do that
// have few products of a window: of 20 and 29 MB such took 0.68 and 0.90 of their time, of 8 MB as long, and
// layers of more products as long or up to 1.05 times.
bool may_prefetch(const PhaseConvolution &layer, const TargetFacts &target, const ScheduleRecord &record) {
    const bool output = std::holds_alternative<CpuChannelwise>(record.parameters);
    if (output || std::holds_alternative<CpuColumns>(record.parameters))
        return tensor_bytes(layer, output) >= 8 * target.l2_bytes;
    const auto *filtering = std::get_if<CpuFiltering>(&record.parameters);
    if (filtering == nullptr) return may_prefetch_weights(layer, target, record);
    return (!filtering->prefetch || may_prefetch_weights(layer, target, record)) &&
           (!filtering->prefetch_input ||
            (filtering->merge_phases && tensor_bytes(layer, false) >= 16 * target.l2_bytes));
}

} // namespace unstride
