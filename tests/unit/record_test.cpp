// What follows from a record: packed weights, tasks, the memory that they stage, and the error of its form.
#include "schedules/record.h"
#include "tests/unit/lowered_layer.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <array>

namespace unstride {
namespace {

// ---- Columns
// --------------------------------------------------------------------------------------------------

TEST(Columns, HaveASlotForEveryTapOfEveryPhase) {
    const auto slots = [](const std::string &stages) {
        return column_slots(lowered("input(f32, 1x12x8) | " + stages).x());
    };
    EXPECT_EQ(slots("transposed_conv(1, kernel=4, stride=2, pad=1)"), 4);
    EXPECT_EQ(slots("transposed_conv(1, kernel=9, stride=4, pad=4)"),
              9); // three taps of phase 0, two of others
    EXPECT_EQ(slots("transposed_conv(1, kernel=9, stride=4, pad=3)"), 10); // three of phase 1: slot 8 is free
    EXPECT_EQ(slots("transposed_conv(1, kernel=2, stride=3)"), 2);
    EXPECT_EQ(slots("transposed_conv(1, kernel=1, stride=3, pad=1, output_pad=2)"), 3); // the tap of phase 2
    EXPECT_EQ(slots("conv(1, kernel=5)"), 5);
    EXPECT_EQ(slots("nearest_upsample(2) | conv(1, kernel=3)"), 4);
    EXPECT_EQ(slots("conv(3, kernel=3) | pixel_shuffle(3)"), 9);
}

TEST(Columns, AreSlotsOfAllAxesForEachChannel) {
    EXPECT_EQ(column_count(lowered("input(f32, 1x9x9x8) | transposed_conv(3, kernel=4, stride=2, pad=1)")),
              48);
    EXPECT_EQ(column_count(lowered("input(f32, 1x9x9x8) | conv(6, kernel=3x5, groups=2)")), 45);
    EXPECT_EQ(column_count(lowered("input(f32, 1x9x8) | transposed_conv(1, kernel=16, stride=8, pad=4)")),
              16);
    EXPECT_EQ(column_count(lowered("input(f32, 1x9x9x9x8) | transposed_conv(2, kernel=2, stride=2)")), 16);
    EXPECT_EQ(column_count(lowered("input(f32, 1x9x9x8) | conv(9, kernel=3) | pixel_shuffle(3)")), 81);
}

// ---- Packed memory
// --------------------------------------------------------------------------------------------

ScheduleRecord direct(int lanes, int vectors) {
    CpuDirect record;
    record.lanes = lanes;
    record.vectors = vectors;
    return {record};
}

ScheduleRecord columns(int lanes, int vectors) {
    CpuColumns record;
    record.lanes = lanes;
    record.vectors = vectors;
    return {record};
}

ScheduleRecord channelwise(int lanes, bool along_x = false) {
    CpuChannelwise record;
    record.lanes = lanes;
    record.lanes_along_x = along_x;
    return {record};
}

constexpr const char *dense = "input(f32, 1x64x64x64) | transposed_conv(64, kernel=4, stride=2, pad=1)";
constexpr const char *depthwise = "input(f32, 1x64x64x64) | conv(64, kernel=3, groups=64)";

using Extents = std::vector<int>;

TEST(Packed, DirectWeightsAreBlocksOfChannels) {
    const auto extents = [](const std::string &chain) {
        return packed_extents(lowered(chain), direct(8, 3));
    };
    // (channel of a block, input channel, tap x, tap y, phase x, phase y, block)
    EXPECT_EQ(extents("input(f32, 1x6x5x24) | transposed_conv(100, kernel=5x4, stride=3x2)"),
              (Extents{24, 24, 2, 2, 2, 3, 5}));
    EXPECT_EQ(extents("input(f32, 1x6x5) | conv(24, kernel=3)"), (Extents{24, 5, 3, 1, 1, 1, 1}));
    EXPECT_EQ(extents("input(f32, 1x6x6x6x5) | transposed_conv(25, kernel=4x3x1, stride=2x1x2)"),
              (Extents{24, 5, 1, 3, 2, 2, 1, 2, 2}));
    EXPECT_EQ(extents("input(f32, 1x6x6x12) | conv(60, kernel=3, groups=2)"),
              (Extents{24, 6, 3, 3, 1, 1, 2}));
    EXPECT_EQ(extents("input(f32, 1x6x6x5) | pixel_unshuffle(2) | conv(20, kernel=3)"),
              (Extents{24, 5, 6, 6, 1, 1, 1}));
    EXPECT_EQ(extents("input(f32, 1x6x6x5) | conv(20, kernel=3) | pixel_shuffle(2)"),
              (Extents{24, 5, 3, 3, 2, 2, 1}));
    EXPECT_EQ(packed_extents(lowered("input(f32, 1x6x5x24) | transposed_conv(100, kernel=2, stride=2)"),
                             {GpuDirect{}}),
              (Extents{32, 24, 1, 1, 2, 2, 4}));
}

ScheduleRecord filtering(int tile_x, int tile_y) {
    CpuFiltering record;
    record.tile_x = tile_x;
    record.tile_y = tile_y;
    record.lanes = 8;
    record.vectors = 3;
    record.tiles = 2;
    record.task_tiles = 10;
    return {record};
}

TEST(Packed, FilteringWeightsHavePointsForTaps) {
    const std::string chain = "input(f32, 1x6x5x24) | transposed_conv(100, kernel=5x4, stride=3x2)";
    EXPECT_EQ(packed_extents(lowered(chain), filtering(3, 2)), (Extents{24, 24, 4, 3, 2, 3, 5}));
    EXPECT_EQ(packed_extents(lowered(chain), filtering(3, 1)), (Extents{24, 24, 4, 2, 2, 3, 5}));
    EXPECT_EQ(packed_extents(lowered("input(f32, 1x6x8) | conv(30, kernel=3, groups=2)"), filtering(2, 1)),
              (Extents{24, 4, 4, 1, 1, 1, 1}));
    EXPECT_EQ(parameter_extents(lowered(chain + " | bias"), filtering(3, 2)), (std::array<int, 2>{120, 1}));
    EXPECT_EQ(packed_extents(lowered(chain), {GpuFiltering{{3, 2}, 4, 32, 8}}),
              (Extents{32, 24, 4, 3, 2, 3, 4}));
}

TEST(Packed, ColumnWeightsAreBlocksOfColumns) {
    EXPECT_EQ(packed_extents(lowered("input(f32, 1x6x5x24) | transposed_conv(3, kernel=4, stride=2)"),
                             columns(8, 3)),
              (Extents{24, 24, 2}));
    EXPECT_EQ(packed_extents(lowered("input(f32, 1x6x5x10) | conv(4, kernel=3, groups=2)"), columns(16, 1)),
              (Extents{16, 5, 2}));
}

TEST(Packed, ChannelwiseWeightsArePaddedToVectorsOfChannels) {
    const std::string chain = "input(f32, 1x6x5x21) | transposed_conv(21, kernel=5x2, stride=3x2, groups=21)";
    EXPECT_EQ(packed_extents(lowered(chain), channelwise(8)), (Extents{24, 1, 2, 2, 3}));
    EXPECT_EQ(packed_extents(lowered(chain), channelwise(1)), (Extents{21, 1, 2, 2, 3}));
    EXPECT_EQ(packed_extents(lowered(chain), channelwise(8, true)), (Extents{21, 1, 2, 2, 3}));
    EXPECT_EQ(packed_extents(lowered(chain), {GpuChannelwise{}}), (Extents{21, 1, 2, 2, 3}));
}

TEST(Packed, NothingWhereNothingIsLearned) {
    for (const char *stages :
         {"bilinear_upsample(2)", "pixel_shuffle(2)", "transposed_conv(8, kernel=4, weights=bilinear)"}) {
        const PhaseConvolution layer = lowered(std::string("input(f32, 1x6x6x8) | ") + stages);
        EXPECT_EQ(packed_extents(layer, channelwise(4)), (Extents{1})) << stages;
        EXPECT_FALSE(packs_weights(layer)) << stages;
    }
    EXPECT_TRUE(packs_weights(lowered("input(f32, 1x6x6x8) | bilinear_upsample(2) | scale")));
    EXPECT_FALSE(packs_weights(lowered("input(f32, 1x6x6x8) | bilinear_upsample(2) | add | relu")));
    EXPECT_TRUE(packs_weights(lowered("input(f32, 1x6x6x8) | conv(8, kernel=1)")));
}

TEST(Packed, ParametersAreRowsOfPaddedChannels) {
    using Rows = std::array<int, 2>;
    const auto extents = [](const std::string &stages, const ScheduleRecord &record) {
        return parameter_extents(lowered("input(f32, 1x6x6x8) | " + stages), record);
    };
    EXPECT_EQ(extents("conv(20, kernel=1)", direct(8, 2)), (Rows{1, 1}));
    EXPECT_EQ(extents("conv(20, kernel=1) | scale", direct(8, 2)), (Rows{1, 1})); // folded into the weights
    EXPECT_EQ(extents("conv(20, kernel=1) | scale | bias", direct(8, 2)), (Rows{32, 1}));
    EXPECT_EQ(extents("conv(20, kernel=1) | bias | prelu | scale", direct(8, 2)), (Rows{32, 3}));
    EXPECT_EQ(extents("conv(20, kernel=1) | bias", {GpuDirect{}}), (Rows{32, 1}));
    EXPECT_EQ(extents("conv(20, kernel=1) | pixel_shuffle(2) | bias", direct(8, 1)), (Rows{8, 1}));
    EXPECT_EQ(extents("conv(20, kernel=1) | bias | pixel_shuffle(2)", direct(8, 1)), (Rows{32, 1}));
    EXPECT_EQ(extents("conv(40, kernel=1, groups=2) | bias", direct(8, 2)), (Rows{32, 1}));
    EXPECT_EQ(extents("conv(3, kernel=1) | bias", columns(8, 2)), (Rows{3, 1}));
    EXPECT_EQ(extents("conv(12, kernel=1) | prelu | pixel_shuffle(2) | bias", columns(8, 2)), (Rows{12, 2}));
    EXPECT_EQ(extents("pixel_unshuffle(3) | bias", channelwise(16)), (Rows{80, 1}));
    EXPECT_EQ(extents("bilinear_upsample(2) | bias", channelwise(8, true)), (Rows{8, 1}));
    EXPECT_EQ(extents("bilinear_upsample(2) | bias", {GpuChannelwise{}}), (Rows{8, 1}));
}

// ---- Staged memory
// --------------------------------------------------------------------------------------------

void expect_staging(const std::vector<Staging> &stagings, std::int64_t channels,
                    std::array<std::int64_t, 3> scale, std::array<std::int64_t, 3> extra) {
    ASSERT_EQ(stagings.size(), 1u);
    EXPECT_EQ(stagings[0].channels, channels);
    EXPECT_EQ(stagings[0].scale, scale);
    EXPECT_EQ(stagings[0].extra, extra);
}

TEST(Stagings, OfAFilteringTaskAreTransformedInputsAndProducts) {
    const PhaseConvolution layer = lowered("input(f32, 1x64x64x20) | conv(40, kernel=3, groups=2)");
    const std::vector<Staging> both = stagings(layer, filtering(2, 2));
    ASSERT_EQ(both.size(), 2u);
    EXPECT_EQ(both[0].channels, 16 * 10);
    EXPECT_EQ(both[1].channels, 16 * 24);
    const std::vector<Staging> mixed = stagings(layer, filtering(2, 1)); // taps of y are summed in registers
    EXPECT_EQ(mixed[0].channels, 4 * 3 * 10);
    EXPECT_EQ(mixed[1].channels, 4 * 24);
    for (const Staging &staging : both) {
        EXPECT_EQ(staging.scale, (std::array<std::int64_t, 3>{0, 0, 0}));
        EXPECT_EQ(staging.extra, (std::array<std::int64_t, 3>{10, 1, 1}));
    }
    EXPECT_EQ(staged_bytes(layer, filtering(2, 2)), 10 * 16 * (10 + 24) * 4);
}

// 97 outputs of each of two phases make tiles of three. The last of two vectors of a strip begins in tile 5
// and may end in tile 8, one further if strips begin inside a tile.
TEST(Stagings, OfAFilteringStripAreItsTiles) {
    const PhaseConvolution layer =
        lowered("input(f32, 1x20x97x97, layout=nchw) | transposed_conv(40, kernel=4, stride=2, pad=1)");
    CpuFiltering record{{3, 3}, 8, 3, 2, 10, 1, 1, 24};
    EXPECT_EQ(tiles_of_vector(layer, record), (7 + 1) / 3 + 2);
    EXPECT_EQ(tiles_of_strip(layer, record), 16 / 3 + 4);
    record.strip = 16;
    EXPECT_EQ(tiles_of_strip(layer, record), 8 / 3 + 1 + 4);
    EXPECT_EQ(stagings(layer, {record})[0].extra[0], 10); // seven, staged by eights, are less than a task's
    record.task_tiles = 2;
    EXPECT_EQ(stagings(layer, {record})[0].extra[0], 8);
    record.strip = 24;
    record.task_tiles = 32;
    const FilteringTasks tasks = filtering_tasks(layer, record);
    EXPECT_EQ(tasks.count, 17 * 5); // of two of 33 rows
    EXPECT_EQ(tasks.tiles, 2 * 9);
    EXPECT_EQ(tasks.register_tiles, 2 * 5);
}

// 17 x 17 tiles of two images in tasks of 40.
TEST(FilteringTasks, AreOfTilesOrOfTilesAndABlock) {
    const PhaseConvolution layer =
        lowered("input(f32, 2x50x50x20) | transposed_conv(70, kernel=4, stride=2, pad=1)");
    CpuFiltering record{{3, 3}, 8, 3, 4, 40};
    FilteringTasks tasks = filtering_tasks(layer, record);
    EXPECT_EQ(tasks.count, 15);
    EXPECT_EQ(tasks.blocks, 3);
    EXPECT_EQ(tasks.tiles, 40);
    EXPECT_EQ(tasks.register_tiles, 10);
    record.split_blocks = true;
    tasks = filtering_tasks(layer, record);
    EXPECT_EQ(tasks.count, 45);
    EXPECT_EQ(tasks.blocks, 1);
}

TEST(Padding, IsSkippedByTilesThatReadItAsOne) {
    const auto skips = [](const std::string &text, int tile_x, int tile_y, int strip = 0) {
        const PhaseConvolution layer = lowered(text);
        CpuDirect record;
        record.tile_x = tile_x;
        record.tile_y = tile_y;
        record.strip = strip;
        return std::pair{skips_padding(layer, record, 0), skips_padding(layer, record, 1)};
    };
    using Pair = std::pair<bool, bool>;
    const std::string small = "input(f32, 1x8x8x64) | transposed_conv(64, kernel=4, stride=2, pad=1)";
    EXPECT_EQ(skips(small, 8, 1), Pair(true, true));
    EXPECT_EQ(skips(small, 7, 1), Pair(false, true)); // two tiles: which columns are outside differs
    EXPECT_EQ(skips(small, 8, 2), Pair(true, false));
    EXPECT_EQ(skips(small, 8, 1, 2), Pair(false, true));
    EXPECT_EQ(skips("input(f32, 1x40x8x64) | conv(64, kernel=3, pad=1)", 8, 1),
              Pair(true, false)); // 78 of 80
    EXPECT_EQ(skips("input(f32, 1x8x?x64) | conv(64, kernel=3, pad=1)", 8, 1), Pair(false, true));
    EXPECT_EQ(skips("input(f32, 1x8x?x64) | conv(64, kernel=3, pad=1) | crop(from=0, size=8x8)", 8, 1),
              Pair(false, true)); // of an input of any width
    EXPECT_EQ(skips("input(f32, 1x8x8x64) | transposed_conv(64, kernel=2, stride=2)", 8, 1),
              Pair(false, false));
}

// F(3, 2) amplifies by 3 and rounds five times; a direct axis of two taps makes chains of twice the steps.
TEST(ErrorBound, IsOneWhereTheProductsAreTheLayersOwn) {
    EXPECT_EQ(error_factor(lowered(dense), direct(8, 3)), 1);
    EXPECT_EQ(relative_error(lowered(dense), direct(8, 3)), 1);
    EXPECT_TRUE(error_reach(lowered(dense), direct(8, 3)).empty());
    EXPECT_DOUBLE_EQ(error_factor(lowered(dense), filtering(3, 3)), 3 * 3 * (1 + 11.0 / 64));
    EXPECT_DOUBLE_EQ(error_factor(lowered(dense), filtering(3, 1)), 3 * (1 + 6.0 / 128));
}

TEST(ErrorBound, ReachesAsFarAsATileDoes) {
    EXPECT_EQ(error_reach(lowered(dense), filtering(3, 2)), (PerAxis{2 * 3, 2 * 4}));
    EXPECT_EQ(error_reach(lowered(dense), filtering(3, 1)), (PerAxis{0, 2 * 4}));
    EXPECT_EQ(error_reach(lowered("input(f32, 1x9x8) | conv(8, kernel=3)"), filtering(2, 1)), PerAxis{4});
}

TEST(RelativeError, GrowsWithFewerChannelsAndLargerTiles) {
    const auto error = [](int channels, int tile) {
        return relative_error(
            lowered(fmt::format("input(f32, 1x64x64x{}) | conv(64, kernel=3, pad=1)", channels)),
            filtering(tile, tile));
    };
    EXPECT_NEAR(error(32, 2), 0.64, 0.01);
    EXPECT_GT(error(4, 2), error(32, 2));
    EXPECT_GT(error(32, 3), error(32, 2));
    EXPECT_GT(error(32, 6), fast_relative_error);
}

TEST(Stagings, OfADirectTaskAreItsInput) {
    expect_staging(
        stagings(lowered("input(f32, 1x9x9x12) | conv(8, kernel=3x5, stride=2x1, groups=2)"), direct(8, 1)),
        6, {1, 2, 1}, {4, 2, 0});
    expect_staging(stagings(lowered("input(f32, 1x9x9x9x6) | transposed_conv(8, kernel=2x4x3, stride=2x2x1)"),
                            direct(8, 1)),
                   6, {1, 1, 1}, {2, 1, 0});
    expect_staging(stagings(lowered("input(f32, 1x9x6) | conv(8, kernel=3)"), direct(8, 1)), 6, {1, 1, 1},
                   {2, 0, 0});
    EXPECT_TRUE(stagings(lowered(dense), {GpuDirect{}}).empty());
}

TEST(Stagings, OfColumnsAreARingOfRows) {
    CpuColumns record;
    record.lanes = 8;
    record.vectors = 5;
    record.tile_x = 3;
    record.output_lanes = 8;
    // 48 columns in blocks of 40; a row of outputs reads 3 rows of pixels: 4 are kept; along the
    // row whole tiles of 3 and whole vectors of 8
    expect_staging(
        stagings(lowered("input(f32, 1x9x9x6) | transposed_conv(3, kernel=4, stride=2, pad=1)"), {record}),
        80, {1, 0, 1}, {2 + 2 + 7, 4, 0});
    expect_staging(stagings(lowered("input(f32, 1x9x9x6) | conv(1, kernel=5x3)"), {record}), 40, {1, 0, 1},
                   {2 + 2 + 7, 8, 0});
    expect_staging(stagings(lowered("input(f32, 1x9x6) | transposed_conv(1, kernel=8, stride=4)"), {record}),
                   40, {1, 0, 1}, {1 + 2 + 7, 1, 0});
}

TEST(Stagings, OfChannelwiseTasksAreInputOrFilteredRows) {
    expect_staging(
        stagings(lowered("input(f32, 1x9x9x21) | conv(21, kernel=3, stride=2, groups=21)"), channelwise(8)),
        24, {2, 2, 1}, {2, 2, 0});
    expect_staging(stagings(lowered("input(f32, 1x21x9x9, layout=nchw) | conv(21, kernel=3, groups=21)"),
                            channelwise(8, true)),
                   1, {1, 1, 1}, {2 + 7, 2, 0}); // one plane, whole vectors of it
    expect_staging(stagings(lowered("input(f32, 1x9x9x21) | bilinear_upsample(2)"), channelwise(4)), 24,
                   {1, 0, 0}, {2, 1, 1});
    EXPECT_TRUE(stagings(lowered("input(f32, 1x9x9x21) | nearest_upsample(2)"), channelwise(4)).empty());
    EXPECT_TRUE(stagings(lowered(depthwise), {GpuChannelwise{}}).empty());
}

TEST(StagedBytes, FollowTheTask) {
    const PhaseConvolution layer =
        lowered("input(f32, 1x64x64x256) | transposed_conv(64, kernel=4, stride=2, pad=1)");
    CpuDirect tile;
    tile.tile_x = 3;
    tile.tile_y = 2;
    tile.rows = 2;
    // a row of 64 outputs of one phase in tiles of 3 is 66 wide; halo 2 on both axes
    EXPECT_EQ(staged_bytes(layer, {tile}), (66 + 2) * (4 + 2) * 256 * 4);
    tile.strip = 4;
    EXPECT_EQ(staged_bytes(layer, {tile}), (12 + 2) * (4 + 2) * 256 * 4);
    // a strided convolution moves on by two inputs an output
    const PhaseConvolution strided = lowered("input(f32, 1x65x65x16) | conv(64, kernel=3, stride=2)");
    tile.rows = 1;
    EXPECT_EQ(staged_bytes(strided, {tile}), (2 * 12 + 2) * (2 * 2 + 2) * 16 * 4);
    // one output of depth a task
    const PhaseConvolution volume = lowered("input(f32, 1x9x9x9x16) | conv(64, kernel=3)");
    EXPECT_EQ(staged_bytes(volume, {tile}), (9 + 2) * (2 + 2) * (1 + 2) * 16 * 4);
}

TEST(StagedBytes, AreUnboundedForAWholeRowOfUnknownSize) {
    CpuDirect tile;
    const PhaseConvolution layer = lowered("input(f32, 1x?x?x16) | conv(64, kernel=3)");
    EXPECT_GT(staged_bytes(layer, {tile}), std::int64_t{1} << 24);
    tile.strip = 5;
    EXPECT_EQ(staged_bytes(layer, {tile}), (5 + 2) * (1 + 2) * 16 * 4);
}

TEST(StagedBytes, OfOtherFamilies) {
    CpuColumns record;
    record.lanes = 8;
    record.vectors = 2;
    record.tile_x = 3;
    record.rows = 16;
    record.output_lanes = 8;
    // 9 columns in a block of 16, 4 rows of them however many rows a task has
    EXPECT_EQ(staged_bytes(lowered("input(f32, 1x64x64x16) | conv(1, kernel=3)"), {record}),
              16 * (62 + 2 + 2 + 7) * 4 * 4);
    CpuChannelwise rows;
    rows.lanes = 8;
    rows.rows = 3;
    EXPECT_EQ(staged_bytes(lowered("input(f32, 1x20x20x12) | conv(12, kernel=3, groups=12)"), {rows}),
              16 * (18 + 2) * (3 + 2) * 4);
    EXPECT_EQ(staged_bytes(lowered("input(f32, 1x20x20x12) | bilinear_upsample(2)"), {rows}),
              16 * (20 + 2) * 1 * 4);
    EXPECT_EQ(staged_bytes(lowered("input(f32, 1x20x20x12) | pixel_unshuffle(2)"), {rows}), 0);
    rows.lanes_along_x = true;
    EXPECT_EQ(
        staged_bytes(lowered("input(f32, 1x12x20x20, layout=nchw) | conv(12, kernel=3, groups=12)"), {rows}),
        (24 + 2 + 7) * (3 + 2) * 4);
}

TEST(Record, NamesItsGeneratorAndTask) {
    EXPECT_STREQ(compute_generator({CpuDirect{}}), "phase_convolution");
    EXPECT_STREQ(compute_generator({GpuDirect{}}), "phase_convolution");
    EXPECT_STREQ(compute_generator({CpuColumns{}}), "column_sum");
    EXPECT_STREQ(compute_generator({CpuFiltering{}}), "minimal_filtering");
    EXPECT_STREQ(compute_generator({CpuChannelwise{}}), "channelwise");
    EXPECT_STREQ(compute_generator({GpuFiltering{}}), "minimal_filtering");
    EXPECT_STREQ(compute_generator({GpuChannelwise{}}), "channelwise");
    EXPECT_EQ(block_channels(direct(8, 3)), 24);
    EXPECT_EQ(block_channels({GpuDirect{}}), 32);
    EXPECT_EQ(block_channels({GpuFiltering{{3, 3}, 4, 64, 8}}), 64);
    const auto expect_task = [](const ScheduleRecord &record, int tile_x, int strip, int tile_y, int rows) {
        const TaskShape task = task_shape(record);
        EXPECT_EQ(task.tile_x, tile_x);
        EXPECT_EQ(task.strip, strip);
        EXPECT_EQ(task.tile_y, tile_y);
        EXPECT_EQ(task.rows, rows);
    };
    expect_task({CpuDirect{16, 4, 3, 2, 5, 6}}, 3, 5, 2, 6);
    expect_task({CpuColumns{8, 3, 2, 4, 5}}, 1, 4, 1, 5);
    expect_task({CpuFiltering{{3, 2}, 8, 5, 6, 7, 9, 4, 16}}, 3, 0, 2, 1);
    expect_task({CpuChannelwise{16, true, 3, 2}}, 16, 0, 1, 2);
}

std::string bounded_axes(const std::string &chain, const ScheduleRecord &record) {
    const PhaseConvolution layer = lowered(chain);
    std::string axes;
    for (std::size_t axis = 0; axis < layer.axes.size(); axis++)
        if (bounds_stores(layer, record, axis)) axes += "xyz"[axis];
    return axes;
}

TEST(BoundedStores, AreOfAxesThatMayEndInsideThePhases) {
    const auto of_sizes = [](const std::string &sizes, const std::string &up) {
        return bounded_axes("input(f32, 1x" + sizes + "x8) | transposed_conv(8, " + up + ")", direct(8, 1));
    };
    EXPECT_EQ(of_sizes("9x9", "kernel=4, stride=2, pad=1"), "");
    EXPECT_EQ(of_sizes("9x9", "kernel=3, stride=2, pad=1"), "xy");
    EXPECT_EQ(of_sizes("9x9", "kernel=3x4, stride=2, pad=1"), "y");
    EXPECT_EQ(of_sizes("9x9", "kernel=4x3, stride=2, pad=1"), "x");
    EXPECT_EQ(of_sizes("9x9", "kernel=3, stride=1"), "");
    EXPECT_EQ(of_sizes("?x?", "kernel=3, stride=2, pad=1"), "xy");
    EXPECT_EQ(of_sizes("?x?", "kernel=4, stride=2, pad=1"), "");
    EXPECT_EQ(of_sizes("9", "kernel=3, stride=2"), "x");
    EXPECT_EQ(of_sizes("9x9x9", "kernel=2x3x3, stride=2"), "xy");
    EXPECT_EQ(of_sizes("9x9x9", "kernel=3, stride=2"), "xyz");
}

TEST(BoundedStores, AreOfFamiliesWhosePhasesAreStoredOneByOne) {
    const std::string stages = " | transposed_conv(8, kernel=3, stride=2, pad=1)";
    const std::string nhwc = "input(f32, 1x9x9x8)" + stages,
                      nchw = "input(f32, 1x8x9x9, layout=nchw)" + stages;
    EXPECT_EQ(bounded_axes(nhwc, direct(8, 1)), "xy");
    EXPECT_EQ(bounded_axes(nchw, direct(8, 1)), "xy");
    EXPECT_EQ(bounded_axes(nchw, {CpuPlanar{}}), "y");
    EXPECT_EQ(bounded_axes(nhwc, filtering(3, 3)), "xy");
    EXPECT_EQ(bounded_axes(nchw, filtering(3, 3)), "y");
    EXPECT_EQ(bounded_axes(nhwc, columns(8, 1)), "");
    EXPECT_EQ(bounded_axes(nhwc, channelwise(8)), "");
    EXPECT_EQ(bounded_axes(nhwc, {GpuDirect{}}), "");
    EXPECT_EQ(bounded_axes(nhwc, {GpuFiltering{{3, 3}, 4, 64, 8}}), "");
}

} // namespace
} // namespace unstride
