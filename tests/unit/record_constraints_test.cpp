// Which records are refused for a layer and a target, and why.
#include "schedules/record.h"
#include "tests/unit/lowered_layer.h"

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <functional>
#include <optional>

namespace unstride {
namespace {

// Expects a record that is fine but for one change, and the reason why the changed one is not.
template<typename Family>
class Violations {
public:
    Violations(const std::string &chain, const std::string &instruction_set, const Family &good)
        : layer(lowered(chain)), target(facts(instruction_set)), good(good) {
        const auto reason = violated_constraint(layer, target, {good});
        EXPECT_FALSE(reason.has_value()) << *reason;
    }

    void expect(const std::string &part, const std::function<void(Family &)> &change) const {
        Family changed = good;
        change(changed);
        expect_reason(part, violated_constraint(layer, target, {changed}), to_json({changed}).dump());
    }
    void expect_for(const std::string &chain, const std::string &part) const {
        expect_reason(part, violated_constraint(lowered(chain), target, {good}), chain);
    }
    void expect_on(const std::string &instruction_set, const std::string &part) const {
        expect_reason(part, violated_constraint(layer, facts(instruction_set), {good}), instruction_set);
    }

private:
    PhaseConvolution layer;
    const TargetFacts &target;
    Family good;

    static void expect_reason(const std::string &part, const std::optional<std::string> &reason,
                              const std::string &what) {
        ASSERT_TRUE(reason.has_value()) << what;
        EXPECT_NE(reason->find(part), std::string::npos) << what << ": " << *reason;
    }
};

constexpr const char *dense = "input(f32, 1x64x64x64) | transposed_conv(64, kernel=4, stride=2, pad=1)";
constexpr const char *depthwise = "input(f32, 1x64x64x64) | conv(64, kernel=3, groups=64)";

TEST(Constraints, CpuDirect) {
    CpuDirect tile;
    tile.lanes = 16;
    tile.vectors = 4;
    tile.tile_x = 3;
    tile.tile_y = 2;
    const Violations<CpuDirect> check(dense, "avx512", tile); // 24 sums, 4 weights, a broadcast: 29 of 32
    check.expect("needs 37 of 32", [](CpuDirect &r) { r.tile_x = 4; });
    check.expect("power of two up to 16, got 32", [](CpuDirect &r) { r.lanes = 32; });
    check.expect("power of two up to 16, got 12", [](CpuDirect &r) { r.lanes = 12; });
    check.expect("power of two up to 16, got 0", [](CpuDirect &r) { r.lanes = 0; });
    check.expect("at least 1", [](CpuDirect &r) { r.vectors = 0; });
    check.expect("at least 1", [](CpuDirect &r) { r.tile_x = 0; });
    check.expect("at least 1", [](CpuDirect &r) { r.tile_y = -1; });
    check.expect("at least 1", [](CpuDirect &r) { r.rows = 0; });
    check.expect("at least 1", [](CpuDirect &r) { r.strip = -1; });
    check.expect("at least 1", [](CpuDirect &r) { r.unroll = 0; });
    check.expect("unroll must be at most 16, got 17", [](CpuDirect &r) { r.unroll = 17; });
    check.expect("several tiles", [](CpuDirect &r) {
        r.strip = 1;
        r.prefetch = true;
    });
    check.expect("stage_lanes 4 is not for this target", [](CpuDirect &r) {
        r.tile_x = 2; // by lane, every pixel holds a register
        r.stage_lanes = 4;
    });
    check.expect("more than the L2 cache's", [](CpuDirect &r) { r.rows = 64; });
    check.expect_for(depthwise, "sum over channels");
    check.expect_on("cuda", "for CPUs");
    tile.vectors = 1;
    tile.lanes = 4;
    const Violations<CpuDirect> sse(dense, "sse41", tile); // 6 sums, a weight, three operands: 10 of 16
    sse.expect("needs 17 of 16", [](CpuDirect &r) { r.vectors = 2, r.tile_y = 2; });
}

TEST(Constraints, CpuDirectByLane) {
    CpuDirect tile;
    tile.vectors = 4;
    tile.tile_x = 4;
    tile.stage_lanes = tile.unroll = 4;
    const Violations<CpuDirect> check(dense, "neon", tile); // 16 sums, 4 weights, 4 pixels
    check.expect("needs 34 of 32", [](CpuDirect &r) { r.tile_x = 6; });
    check.expect("stage_lanes 2 is not", [](CpuDirect &r) { r.stage_lanes = 2; });
    check.expect("must divide unroll", [](CpuDirect &r) { r.unroll = 2; });
    check.expect("unroll the input channels", [](CpuDirect &r) { r.unroll = 12; });
    check.expect_for("input(f32, 1x64x64x6) | conv(64, kernel=3)", "unroll the input channels");
    check.expect_for("input(f32, 1x64x64x64) | conv(64, kernel=3, stride=2)", "neighbouring inputs");
    check.expect_for("input(f32, 1x64x64x64) | conv(64, kernel=3, stride=2x1)", "neighbouring inputs");
}

TEST(Constraints, CpuColumns) {
    CpuColumns tile;
    tile.lanes = 8;
    tile.vectors = 3;
    tile.tile_x = 4;
    const Violations<CpuColumns> check(
        "input(f32, 1x64x64x56) | transposed_conv(1, kernel=9, stride=2, pad=4)", "avx2",
        tile); // 12 sums, 3 weights, a broadcast: 16 of 16
    check.expect("needs 19 of 16", [](CpuColumns &r) { r.tile_x = 5; });
    check.expect("tile_x must be at most 8", [](CpuColumns &r) { r.tile_x = 9; });
    check.expect("power of two up to 8, got 16", [](CpuColumns &r) { r.lanes = 16; });
    check.expect("at least 1", [](CpuColumns &r) { r.vectors = 0; });
    check.expect("at least 1", [](CpuColumns &r) { r.tile_x = 0; });
    check.expect("at least 1", [](CpuColumns &r) { r.rows = 0; });
    check.expect("at least 1", [](CpuColumns &r) { r.strip = -1; });
    check.expect("at least 1", [](CpuColumns &r) { r.unroll = 0; });
    check.expect("at most 16, got 20", [](CpuColumns &r) { r.unroll = 20; });
    for (const int lanes : {0, 3, 16})
        check.expect("output_lanes must be a power of two",
                     [lanes](CpuColumns &r) { r.output_lanes = lanes; });
    check.expect_for(depthwise, "sum over channels");
    check.expect_for("input(f32, 1x64x64x8) | conv(17, kernel=3)", "up to 16 output channels");
    check.expect("up to 8 columns a pixel, the layer has 81",
                 [](CpuColumns &r) { r.across_channels = true; });
    check.expect_for("input(f32, 1x64x64x8) | conv(1, kernel=3, stride=1x2)", "every input pixel");
    check.expect_for("input(f32, 1x64x64x8) | pixel_unshuffle(2) | conv(1, kernel=3)", "every input pixel");
    check.expect_on("opencl", "for CPUs");
}

TEST(Constraints, CpuFiltering) {
    CpuFiltering tile;
    tile.tile_x = tile.tile_y = 3;
    tile.lanes = 16;
    tile.vectors = 4;
    tile.tiles = 6;
    tile.task_tiles = 84;
    const Violations<CpuFiltering> check(dense, "avx512", tile); // 24 sums, 4 weights, a broadcast: 29 of 32
    check.expect("lanes", [](CpuFiltering &r) { r.lanes = 32; });
    check.expect("at least 1", [](CpuFiltering &r) { r.tile_y = 0; });
    check.expect("at least 1", [](CpuFiltering &r) { r.unroll = 0; });
    check.expect("unroll must", [](CpuFiltering &r) { r.unroll = 17; });
    check.expect("tiles must divide", [](CpuFiltering &r) { r.task_tiles = 80; });
    check.expect("33 of 32", [](CpuFiltering &r) { r.tiles = r.task_tiles = 7; });
    check.expect("stage_lanes", [](CpuFiltering &r) {
        r.stage_lanes = 4;
        r.tiles = r.task_tiles = 5;
    });
    check.expect("save no products", [](CpuFiltering &r) { r.tile_x = r.tile_y = 1; });
    check.expect("tiles of 7", [](CpuFiltering &r) { r.tile_x = 7; });
    check.expect("chain must divide", [](CpuFiltering &r) { r.chain = 48; });
    check.expect("unroll the chain", [](CpuFiltering &r) {
        r.chain = 8;
        r.unroll = 16;
    });
    check.expect("tiles of 1x5 outputs make", [](CpuFiltering &r) {
        r.tile_x = 5;
        r.tile_y = 1;
    });
    check.expect("more than four times", [](CpuFiltering &r) { r.task_tiles = 1800; });
    check.expect_on("sse41", "lanes");
    check.expect_on("cuda", "CPUs");
    check.expect_for(depthwise, "sum over channels");
    check.expect_for("input(f32, 1x8x8x64) | conv(64, kernel=3, stride=2)", "input stride 2");
    check.expect_for("input(f32, 1x8x8x64) | conv(64, kernel=3, dilation=2)", "no tiles");
    check.expect_for("input(f32, 1x8x8x64) | conv(64, kernel=6)", "6 taps");
    check.expect_for("input(f32, 1x8x8x64) | conv(64, kernel=1)", "save no products");
    check.expect_for("input(f32, 1x8x64) | conv(64, kernel=2)", "3 outputs of 1 taps save no products");
    check.expect_for("input(f32, 1x8x8x8x64) | conv(64, kernel=2)", "two spatial axes");
    check.expect_for("input(f32, 1x64x8x?, layout=nchw) | conv(64, kernel=2)", "fixed row");
    check.expect_for("input(f32, 1x8x8x64, numeric=exact) | conv(64, kernel=2)", "own products");
    check.expect_for("input(f32, 1x8x8x1) | transposed_conv(64, kernel=4, stride=2)", "numeric=safe allows");

    const std::string three_taps = "input(f32, 1x32x32x64) | conv(64, kernel=3)";
    tile.tile_x = tile.tile_y = 4;
    const auto whole = violated_constraint(lowered(three_taps), facts("avx512"), {tile});
    EXPECT_NE(whole.value_or("").find("tiles of 4x4 outputs make 1.7"), std::string::npos) << *whole;
    tile.chain = 16; // four chains have less than half of one's roundings
    EXPECT_FALSE(violated_constraint(lowered(three_taps), facts("avx512"), {tile}).has_value());
    tile.chain = 0;

    tile.tile_x = 5;
    tile.tile_y = 3;
    const std::string fast = "input(f32, 1x8x8x64, numeric=fast) | transposed_conv(64, kernel=4, stride=2)";
    EXPECT_FALSE(violated_constraint(lowered(fast), facts("avx512"), {tile}).has_value());
    tile.tile_x = 3;
    tile.tile_y = 1; // direct on one axis
    EXPECT_FALSE(violated_constraint(lowered(dense), facts("avx512"), {tile}).has_value());
    EXPECT_FALSE(
        violated_constraint(lowered("input(f32, 1x8x64) | conv(64, kernel=2)"), facts("avx512"), {tile})
            .has_value());
    const CpuFiltering lanes{{3, 3}, 4, 4, 5, 35, 4, 4}; // 20 sums, 4 weights, 5 tiles: 29 of 32
    const Violations<CpuFiltering> neon(dense, "neon", lanes);
    neon.expect("stage_lanes must divide", [](CpuFiltering &r) {
        r.unroll = 6;
        r.tiles = r.task_tiles = 4;
    });
    neon.expect("34 of 32", [](CpuFiltering &r) { r.unroll = 8; });
}

TEST(Constraints, CpuFilteringInStrips) {
    const std::string chain = "input(f32, 1x64x8x?, layout=nchw) | conv(64, kernel=2)";
    const Violations<CpuFiltering> check(chain, "avx512", CpuFiltering{{3, 3}, 16, 4, 6, 84, 1, 1, 96});
    check.expect("whole vectors", [](CpuFiltering &r) { r.strip = 90; });
    check.expect("fixed row", [](CpuFiltering &r) { r.strip = 0; });
    check.expect("more than four times", [](CpuFiltering &r) { r.strip = 1 << 15; });
    check.expect_for(dense, "channels-first");
}

TEST(Constraints, CpuFilteringOfABlockATask) {
    const std::string chain = "input(f32, 1x8x8x64) | transposed_conv(96, kernel=4, stride=2, pad=1)";
    CpuFiltering tile{{3, 3}, 16, 2, 9, 9};
    tile.split_blocks = true;
    const Violations<CpuFiltering> check(chain, "avx512", tile);
    check.expect("one block of channels", [](CpuFiltering &r) {
        r.vectors = 6;
        r.tiles = r.task_tiles = 3;
    });
    check.expect_for("input(f32, 1x64x8x8, layout=nchw) | transposed_conv(96, kernel=4, stride=2)",
                     "channels-last");
}

TEST(Constraints, CpuFilteringOfMergedPhases) {
    const std::string chain = "input(f32, 1x32x32x64) | transposed_conv(3, kernel=4, stride=2, pad=1)";
    CpuFiltering tile{{3, 3}, 16, 1, 6, 84};
    tile.merge_phases = true;
    const Violations<CpuFiltering> check(chain, "avx512", tile);
    check.expect("does not hold the 12 of all phases", [](CpuFiltering &r) { r.lanes = 8; });
    check.expect_for("input(f32, 1x32x32x64) | transposed_conv(3, kernel=4, stride=2) | add", "added to");
    check.expect_for("input(f32, 1x64x32x32, layout=nchw) | transposed_conv(3, kernel=4, stride=2)",
                     "channels-last");
    check.expect("tasks of more walks", [](CpuFiltering &r) { // 3 points by 1 output
        r = {{2, 1}, 16, 1, 14, 84};
        r.merge_phases = r.prefetch_input = true;
    });
    const auto apart = [](const std::string &layer, bool split) {
        CpuFiltering record{{3, 3}, 16, 1, 6, 84};
        record.split_blocks = split;
        record.prefetch_input = true;
        return violated_constraint(lowered(layer), facts("avx512"), {record}).value_or("");
    };
    const std::string wide = "input(f32, 1x32x32x64) | transposed_conv(64, kernel=4, stride=2, pad=1";
    EXPECT_EQ(apart(wide + ")", false), "");
    EXPECT_NE(apart(wide + ")", true).find("tasks of all blocks"), std::string::npos);
    EXPECT_NE(apart(wide + ", groups=2)", false).find("one group"), std::string::npos);
    // Phases of fewer taps than others take part at every point.
    EXPECT_EQ(violated_constraint(lowered("input(f32, 1x32x32x64) | transposed_conv(3, kernel=3, stride=2)"),
                                  facts("avx512"), {tile}),
              std::nullopt);
    EXPECT_EQ(channels_of_blocks(lowered(chain), tile), 12);
    EXPECT_EQ(packed_extents(lowered(chain), {tile}), (std::vector<int>{16, 64, 4, 4, 1, 1, 1}));
}

TEST(Constraints, CpuFilteringOfMergedPhasesInSeveralBlocks) {
    const std::string chain = "input(f32, 1x224x1026) | transposed_conv(3, kernel=1024, stride=256)";
    CpuFiltering tile{{3, 1}, 16, 3, 5, 35};
    tile.merge_phases = true;
    const Violations<CpuFiltering> check(chain, "avx512", tile);
    check.expect("nor whole phases", [](CpuFiltering &r) { r.vectors = 2; });
    check.expect_for("input(f32, 1x224x1026) | transposed_conv(3, kernel=1024, stride=256, pad=128)",
                     "read the same inputs");
    EXPECT_EQ(packed_extents(lowered(chain), {tile}), (std::vector<int>{48, 1026, 6, 1, 1, 1, 16}));
}

TEST(Constraints, GpuFiltering) {
    const Violations<GpuFiltering> check(dense, "cuda", GpuFiltering{{3, 3}, 4, 32, 8});
    check.expect("at least 1", [](GpuFiltering &r) { r.tile_x = 0; });
    check.expect("at least 1", [](GpuFiltering &r) { r.thread_channels = 0; });
    check.expect("at least 1", [](GpuFiltering &r) { r.block_tiles = 0; });
    check.expect("thread_channels must divide", [](GpuFiltering &r) { r.thread_channels = 3; });
    check.expect("1032 threads, more than 1024", [](GpuFiltering &r) { r.block_tiles = 129; });
    check.expect("about 296 registers",
                 [](GpuFiltering &r) { r.thread_channels = 14, r.block_channels = 28; });
    check.expect("save no products", [](GpuFiltering &r) { r.tile_x = r.tile_y = 1; });
    check.expect("numeric=safe allows", [](GpuFiltering &r) { r.tile_x = 5; });
    check.expect_for(depthwise, "sum over channels");
    check.expect_for("input(f32, 1x8x8x64, numeric=exact) | conv(64, kernel=2)", "own products");
    check.expect_on("avx2", "for GPUs");
}

TEST(Constraints, CpuChannelwise) {
    CpuChannelwise record;
    record.lanes = 8;
    const Violations<CpuChannelwise> check(depthwise, "avx2", record);
    check.expect("power of two up to 8, got 16", [](CpuChannelwise &r) { r.lanes = 16; });
    check.expect("at least 1", [](CpuChannelwise &r) { r.unroll_phases = 0; });
    check.expect("at least 1", [](CpuChannelwise &r) { r.rows = 0; });
    check.expect("at most 16, got 17", [](CpuChannelwise &r) { r.unroll_phases = 17; });
    check.expect("contiguous in memory", [](CpuChannelwise &r) { r.lanes_along_x = true; });
    check.expect_for("input(f32, 1x64x64x64, layout=nchw) | relu", "contiguous in memory");
    check.expect_for("input(f32, 1x64x64x5) | bilinear_upsample(2)", "8 lanes are more than the 5 channels");
    check.expect_for(dense, "keep channels apart");
    check.expect_on("cuda", "for CPUs");
}

TEST(Constraints, GpuDirect) {
    const Violations<GpuDirect> check(dense, "cuda", GpuDirect{});
    check.expect("at least 1", [](GpuDirect &r) { r.thread_channels = 0; });
    check.expect("at least 1", [](GpuDirect &r) { r.thread_x = 0; });
    check.expect("at least 1", [](GpuDirect &r) { r.block_y = 0; });
    check.expect("at least 1", [](GpuDirect &r) { r.unroll = 0; });
    check.expect("at most 16, got 17", [](GpuDirect &r) { r.unroll = 17; });
    check.expect("thread_channels must divide", [](GpuDirect &r) { r.thread_channels = 3; });
    check.expect("thread_x must divide", [](GpuDirect &r) { r.thread_x = 5; });
    check.expect("1088 threads, more than 1024", [](GpuDirect &r) { r.block_y = 17; });
    check.expect("about 318 registers", [](GpuDirect &r) { r.thread_channels = r.thread_x = 16; });
    check.expect_for(depthwise, "sum over channels");
    check.expect_on("avx2", "for GPUs");
}

TEST(Constraints, GpuDirectHasBlocksOfAtLeastOne) {
    const Violations<GpuDirect> check(dense, "cuda", GpuDirect{});
    check.expect("at least 1", [](GpuDirect &r) { r.block_channels = 0; });
    check.expect("at least 1", [](GpuDirect &r) { r.block_x = 0; });
}

TEST(Constraints, GpuChannelwise) {
    const Violations<GpuChannelwise> check(depthwise, "opencl", GpuChannelwise{});
    check.expect("at least 1", [](GpuChannelwise &r) { r.block_channels = 0; });
    check.expect("at least 1", [](GpuChannelwise &r) { r.block_x = 0; });
    check.expect("1056 threads, more than 1024", [](GpuChannelwise &r) { r.block_x = 33; });
    check.expect_for(dense, "keep channels apart");
    check.expect_on("sse41", "for GPUs");
}

TEST(Constraints, CpuColumnsAcrossChannels) {
    CpuColumns tile;
    tile.lanes = 8;
    tile.vectors = 4;
    tile.tile_x = 2;
    tile.across_channels = true;
    const Violations<CpuColumns> check("input(f32, 1x64x64x24) | transposed_conv(1, kernel=2, stride=2)",
                                       "avx512", tile);
    check.expect("16 lanes do not divide 24 input channels", [](CpuColumns &r) { r.lanes = 16; });
    check.expect("at least 2 lanes", [](CpuColumns &r) { r.lanes = 1; });
    for (const int vectors : {3, 16})
        check.expect("1, 2, 4 or 8 vectors", [vectors](CpuColumns &r) { r.vectors = vectors; });
    check.expect("needs 37 of 32", [](CpuColumns &r) { r.tile_x = 8; });
    check.expect("fetches none ahead", [](CpuColumns &r) { r.prefetch = true; });
    check.expect_for("input(f32, 1x64x64x1024) | transposed_conv(1, kernel=2, stride=2)",
                     "less than 16 KB of weights, the layer has 16384");
    check.expect_for("input(f32, 1x24x64x64, layout=nchw) | transposed_conv(1, kernel=2, stride=2)",
                     "channels-last");
}

TEST(Constraints, HoldForSizesThatOverflowAnInt) {
    CpuColumns tile;
    tile.vectors = tile.tile_x = 1 << 16;
    EXPECT_TRUE(violated_constraint(lowered(dense), facts("avx512"), {tile}).has_value());
    EXPECT_TRUE(violated_constraint(lowered(depthwise), facts("cuda"), {GpuChannelwise{1 << 16, 1 << 16}})
                    .has_value());
}

} // namespace
} // namespace unstride
