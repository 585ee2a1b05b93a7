// One enumeration for each family; it offers, the rules decide.
#include "schedules/search_space.h"

#include "schedules/analytic_default.h"
#include "schedules/default_model.h"
#include "schedules/filtering_default.h"

#include <nlohmann/json.hpp>

#include <algorithm>
#include <array>
#include <limits>
#include <set>
#include <tuple>

namespace unstride {

namespace {

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
    // Where fetching ahead may pay, schedules do: twice as many points would halve what a search sees
    // of all others. What a database knows is tried as it is.
    void offer(const ScheduleRecord &record) {
        if (!worthy(record)) return;
        const ScheduleRecord point = with_prefetch(record, [&](const auto &ahead) { return worthy(ahead); });
        if (point != first_) points_.push_back(point);
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
        record.strip = 0;
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
        return !unworthy(layer_, target_, {tile}, 1);
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
            for (int vectors = 1; vectors <= 8; vectors *= 2) {
                for (int tile_x = 1; tile_x <= 4; tile_x *= 2) {
                    const int steps = static_cast<int>(layer_.channels_per_output() / lanes);
                    for (const int unroll : {1, std::clamp(steps, 2, 16)})
                        offer_column_tasks({lanes, vectors, tile_x, 0, 64, unroll, false, 1, false, true});
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
                const bool low = useful(y, 8) < 8;
                for (tile.rows = low ? 1 : 4; tile.rows <= useful(y, 64); tile.rows *= low ? 2 : 4)
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

    // Whether a tile saves products on every axis that has any to save.
    bool filters_all_axes(const FilterTile &tile) const {
        return (tile.tile_x > 1 || !filters(layer_.x())) && (tile.tile_y > 1 || !filters(layer_.y()));
    }

    // Tiles that save nearly as many products as any, on every axis that has any to save.
    void filtering() {
        std::vector<CostedTile> tiles = filter_tiles(layer_, target_);
        std::erase_if(tiles, [&](const CostedTile &one) { return !filters_all_axes(one.tile); });
        double least_work = std::numeric_limits<double>::infinity();
        for (const CostedTile &one : tiles)
            least_work = std::min(least_work, one.work);
        for (const CostedTile &one : tiles) {
            if (one.work > 1.25 * least_work) continue;
            CpuFiltering tile = one.tile;
            for (const bool merge_phases : {false, true}) {
                tile.merge_phases = merge_phases;
                for (tile.vectors = 1; tile.vectors <= most_vectors; tile.vectors++)
                    offer_filtering(tile);
            }
        }
    }

    void offer_filtering(CpuFiltering tile) {
        for (tile.tiles = 1; tile.tiles <= 14; tile.tiles++) {
            for (const int strip : filtering_strips_of(tile)) {
                tile.strip = strip;
                for (const std::int64_t task : filtering_tasks_of(tile)) {
                    tile.task_tiles = static_cast<int>(divide_up(task, tile.tiles) * tile.tiles);
                    for (const bool split_blocks : {false, true}) {
                        tile.split_blocks = split_blocks;
                        if (!split_blocks || streams_) offer({tile});
                    }
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
        if (layer_.axes.size() != 2) return;
        for (int tile_y = 1; tile_y <= useful(outputs(layer_.y()), largest_filter_tile); tile_y++) {
            for (int tile_x = 1; tile_x <= useful(outputs(layer_.x()), largest_filter_tile); tile_x++) {
                if (filters_all_axes({tile_x, tile_y})) offer_gpu_filtering({tile_x, tile_y});
            }
        }
    }

    void offer_gpu_filtering(const FilterTile &tile) {
        for (int thread_channels = 1; thread_channels <= 8; thread_channels *= 2) {
            for (int block_channels = thread_channels; block_channels <= 128; block_channels *= 2) {
                for (int block_tiles = 1; block_tiles <= 64; block_tiles *= 2)
                    offer({GpuFiltering{tile, thread_channels, block_channels, block_tiles}});
            }
        }
    }

    void gpu_channelwise() {
        for (int block_channels = 1; block_channels <= 256; block_channels *= 2) {
            for (int block_x = 1; block_x <= 256; block_x *= 2) {
                if (block_channels * block_x <= 512) offer({GpuChannelwise{block_channels, block_x}});
            }
        }
    }
};

// Filter tiles with the chains of their sums, by the products that they save. They are one parameter: each
// tile has its own chains, and few of all tiles are worth trying.
using FilterForm = std::tuple<double, int, int, int>;

std::optional<FilterForm> filter_form(const PhaseConvolution &layer, const ScheduleRecord &record) {
    const auto *tile = std::get_if<CpuFiltering>(&record.parameters);
    if (tile == nullptr) return std::nullopt;
    return FilterForm{products_share(layer, record), tile->tile_y, tile->tile_x, tile->chain};
}

// Values of a record in the order of its fields' names, after the family's and the place of its filter form
// among `forms`; the whole row is the widest strip.
std::vector<std::int64_t> values_of(const ScheduleRecord &record, const std::optional<FilterForm> &form,
                                    const std::set<FilterForm> &forms) {
    std::vector<std::int64_t> values = {static_cast<std::int64_t>(record.parameters.index())};
    if (form) values.push_back(std::distance(forms.begin(), forms.find(*form)));
    const nlohmann::json json = to_json(record);
    for (const auto &[name, value] : json.items()) {
        if (value.is_string()) continue; // the family's name
        if (form && (name == "tile_x" || name == "tile_y" || name == "chain")) continue;
        const auto number = value.is_boolean() ? std::int64_t{value.get<bool>()} : value.get<std::int64_t>();
        values.push_back(name == "strip" && number == 0 ? std::numeric_limits<std::int64_t>::max() : number);
    }
    return values;
}

} // namespace

SearchSpace::SearchSpace(const PhaseConvolution &layer, const TargetFacts &target, int threads)
    : points_(Enumeration(layer, target, threads).all()) {
    std::set<FilterForm> forms;
    for (const ScheduleRecord &point : points_) {
        if (const auto form = filter_form(layer, point)) forms.insert(*form);
    }
    for (const ScheduleRecord &point : points_)
        parameters_.push_back(values_of(point, filter_form(layer, point), forms));
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
