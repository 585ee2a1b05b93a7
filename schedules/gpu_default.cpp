// Blocks that fill warps; nothing here is modelled or timed.
#include "schedules/gpu_default.h"

#include "schedules/default_model.h"

#include <algorithm>

namespace unstride {

namespace {

// 64 channels by 32 outputs a block in threads of 4x8 hold 32 sums each, far below the register limit; few
// channels or narrow images shrink the block so that no thread idles.
GpuDirect gpu_direct_default(const PhaseConvolution &layer, const TargetFacts &target) {
    GpuDirect record;
    const std::int64_t channels = layer.kernel_output_channels();
    record.thread_channels = channels >= 4 ? 4 : 1;
    record.block_channels = record.thread_channels;
    while (record.block_channels < 64 && record.block_channels < channels)
        record.block_channels *= 2;
    const std::int64_t width = planned_outputs(layer.x());
    record.thread_x = width >= 8 ? 8 : width >= 4 ? 4 : 1;
    record.block_x = record.thread_x;
    while (record.block_x < 32 && record.block_x < width)
        record.block_x *= 2;
    const int threads = record.block_channels / record.thread_channels * (record.block_x / record.thread_x);
    const std::int64_t height = planned_outputs(layer.y());
    while (threads * record.block_y < 64 && record.block_y < 8 && record.block_y < height)
        record.block_y *= 2;
    // A driver's compiler is given text and may unroll it itself: written out for four channels it is twice
    // as long.
    const bool unrolls = target.device == Device::cuda && layer.channels_per_output() % 4 == 0;
    record.unroll = unrolls ? 4 : 1;
    return record;
}

} // namespace

ScheduleRecord gpu_default(const PhaseConvolution &layer, const TargetFacts &target) {
    if (!layer.depthwise()) return {gpu_direct_default(layer, target)};
    GpuChannelwise record;
    while (record.block_channels > layer.output_channels)
        record.block_channels /= 2;
    record.block_x = 128 / record.block_channels;
    return {record};
}

std::optional<GpuFiltering> gpu_filtering_default(const PhaseConvolution &layer, const TargetFacts &target) {
    std::optional<GpuFiltering> best;
    double least_products = 1;
    for (int tile_y = 1; tile_y <= largest_filter_tile; tile_y++) {
        for (int tile_x = 1; tile_x <= largest_filter_tile; tile_x++) {
            GpuFiltering tile{{tile_x, tile_y}};
            const std::int64_t channels = layer.kernel_output_channels();
            tile.thread_channels = channels >= 4 ? 4 : 1;
            tile.block_channels = tile.thread_channels;
            while (tile.block_channels < 32 && tile.block_channels < channels)
                tile.block_channels *= 2;
            tile.block_tiles = 64 / (tile.block_channels / tile.thread_channels);
            if (violated_constraint(layer, target, {tile})) continue;
            const double products = products_share(layer, {tile});
            if (products >= least_products) continue;
            best = tile;
            least_products = products;
        }
    }
    return best;
}

} // namespace unstride
