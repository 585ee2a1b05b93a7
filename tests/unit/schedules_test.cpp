// Records, their constraints, the memory that follows from them, and the default schedule over a grid of
// layers and every target.
#include "compiler/language/parser.h"
#include "schedules/analytic_default.h"
#include "schedules/record.h"
#include "tests/unit/lowered_layer.h"

#include <fmt/format.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <array>
#include <functional>
#include <optional>

namespace unstride {
namespace {

// ---- JSON
// -----------------------------------------------------------------------------------------------------

// One of each family, every field unlike its default.
const std::vector<ScheduleRecord> &unusual_records() {
    static const std::vector<ScheduleRecord> records = {
        {CpuDirect{16, 4, 3, 2, 5, 6, 7, 8, true, true}},
        {CpuColumns{8, 3, 2, 4, 5, 6, true, 4}},
        {CpuFiltering{{3, 2}, 8, 5, 6, 7, 9, 4, 16, true, true}},
        {CpuChannelwise{16, true, 3, 2}},
        {GpuDirect{2, 8, 64, 16, 3, 5}},
        {GpuFiltering{{3, 2}, 2, 64, 16}},
        {GpuChannelwise{16, 8}},
        {Autoscheduled{"li2018", 3, true}}};
    return records;
}

TEST(Record, GoesThroughJsonUnchanged) {
    for (const ScheduleRecord &record : unusual_records()) {
        std::string error;
        const auto read = record_from_json(nlohmann::json::parse(to_json(record).dump()), &error);
        ASSERT_TRUE(read.has_value()) << error;
        EXPECT_EQ(*read, record) << to_json(record);
    }
    EXPECT_EQ(to_json({GpuChannelwise{16, 8}}).dump(),
              R"({"block_channels":16,"block_x":8,"family":"gpu_channelwise"})");
}

std::string refusal_of(const nlohmann::json &json) {
    std::string error;
    EXPECT_FALSE(record_from_json(json, &error).has_value()) << json;
    return error;
}

TEST(Record, RefusesBadJson) {
    EXPECT_EQ(refusal_of(nlohmann::json::array()), "a schedule is an object with a family");
    EXPECT_EQ(refusal_of({{"lanes", 4}}), "a schedule is an object with a family");
    EXPECT_EQ(refusal_of({{"family", 3}}), "a schedule is an object with a family");
    EXPECT_EQ(refusal_of({{"family", "other"}}), "unknown family other");
    for (const ScheduleRecord &record : unusual_records()) {
        const nlohmann::json good = to_json(record);
        for (const auto &[key, value] : good.items()) {
            if (key == "family") continue;
            const std::string expected = key + " is missing or of the wrong type";
            nlohmann::json bad = good;
            bad.erase(key);
            if (!value.is_boolean()) {
                EXPECT_EQ(refusal_of(bad), expected) << good;
            }
            if (!value.is_string()) {
                bad[key] = "2";
                EXPECT_EQ(refusal_of(bad), expected) << good;
            }
            bad[key] = value.is_boolean() ? nlohmann::json(1) : nlohmann::json(1.5);
            EXPECT_EQ(refusal_of(bad), expected) << good;
        }
        nlohmann::json surplus = good;
        surplus["surplus"] = 1;
        EXPECT_EQ(refusal_of(surplus), "a key is not one of the family's") << good;
    }
}

TEST(Record, ReadsAMissingSwitchAsOff) {
    CpuDirect record{16, 4, 3, 2, 5, 6, 7, 8, true, true};
    nlohmann::json json = to_json({record});
    json.erase("prefetch");
    record.prefetch = false;
    std::string error;
    EXPECT_EQ(record_from_json(json, &error), ScheduleRecord{record}) << error;
}

TEST(Record, RefusesNumbersBeyondAnInt) {
    nlohmann::json json = to_json({CpuDirect{}});
    json["lanes"] = (std::int64_t{1} << 32) + 4;
    EXPECT_NE(refusal_of(json).find("lanes"), std::string::npos);
}

// ---- Constraints
// ----------------------------------------------------------------------------------------------

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
    check.expect_for(depthwise, "sum over channels");
    check.expect_for("input(f32, 1x64x64x8) | conv(17, kernel=3)", "up to 16 output channels");
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
    check.expect("windows of 20 points", [](CpuFiltering &r) { r.tile_x = 4; });
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
    check.expect_for("input(f32, 1x8x8x64) | conv(64, kernel=3)", "windows of 25 points");
    check.expect_for("input(f32, 1x8x8x1) | transposed_conv(64, kernel=4, stride=2)", "numeric=safe allows");

    tile.tile_x = 5;
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

TEST(Constraints, CpuFilteringOfMergedPhases) {
    const std::string chain = "input(f32, 1x32x32x64) | transposed_conv(3, kernel=4, stride=2, pad=1)";
    CpuFiltering tile{{3, 3}, 16, 1, 6, 84};
    tile.merge_phases = true;
    const Violations<CpuFiltering> check(chain, "avx512", tile);
    check.expect("does not hold the 12 of all phases", [](CpuFiltering &r) { r.lanes = 8; });
    check.expect_for("input(f32, 1x32x32x64) | transposed_conv(3, kernel=3, stride=2)", "unequal windows");
    check.expect_for("input(f32, 1x32x32x64) | transposed_conv(3, kernel=4, stride=2) | add", "added to");
    check.expect_for("input(f32, 1x64x32x32, layout=nchw) | transposed_conv(3, kernel=4, stride=2)",
                     "channels-last");
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

TEST(Constraints, HoldForSizesThatOverflowAnInt) {
    CpuColumns tile;
    tile.vectors = tile.tile_x = 1 << 16;
    EXPECT_TRUE(violated_constraint(lowered(dense), facts("avx512"), {tile}).has_value());
    EXPECT_TRUE(violated_constraint(lowered(depthwise), facts("cuda"), {GpuChannelwise{1 << 16, 1 << 16}})
                    .has_value());
}

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
    expect_task(unusual_records()[0], 3, 5, 2, 6);
    expect_task(unusual_records()[1], 1, 4, 1, 5);
    expect_task(unusual_records()[2], 3, 0, 2, 1);
    expect_task(unusual_records()[3], 16, 0, 1, 2);
}

// ---- The default schedule
// -------------------------------------------------------------------------------------

void expect_default_holds(const std::string &chain) {
    const PhaseConvolution layer = lowered(chain);
    for (const Target &target : all_targets()) {
        for (const TargetFacts &set : target.instruction_sets) {
            const auto violated = violated_constraint(layer, set, analytic_default(layer, set));
            EXPECT_FALSE(violated.has_value())
                << chain << " for " << set.instruction_set << ": " << *violated;
        }
    }
}

TEST(AnalyticDefault, SatisfiesItsConstraintsForAllChannelsAndSizes) {
    for (const char *channels_in : {"1", "3", "16", "33", "256", "1024"}) {
        for (const char *channels_out : {"1", "3", "5", "21", "64", "100", "512"}) {
            for (const char *sizes : {"1x1", "1x700", "8x8", "64x64", "?x?", "?x5"}) {
                for (const char *arguments :
                     {"kernel=4, stride=2, pad=1", "kernel=9, stride=2", "kernel=1, stride=3"})
                    expect_default_holds(fmt::format("input(f32, 1x{}x{}) | transposed_conv({}, {})", sizes,
                                                     channels_in, channels_out, arguments));
            }
        }
    }
}

TEST(AnalyticDefault, SatisfiesItsConstraintsForAllForms) {
    for (const char *shape : {"1x{1}x{0}", "2x1x{1}x{0}", "1x{1}x{1}x{0}", "?x{1}x{1}x{1}x{0}"}) {
        for (const char *size : {"12", "72", "?"}) {
            for (const int channels : {1, 3, 16, 21, 64, 513}) {
                for (const char *stages :
                     {"conv({0}, kernel=3, pad=1)", "conv({0}, kernel=3, pad=1, stride=2)",
                      "conv(2, kernel=5, pad=4, stride=3)", "conv({0}, kernel=3, pad=1, groups={0})",
                      "nearest_upsample(2) | conv({0}, kernel=3, pad=1)", "nearest_upsample(3)",
                      "bilinear_upsample(4)", "bilinear_upsample(2) | prelu | add",
                      "transposed_conv({0}, kernel=16, stride=8, weights=bilinear)", "relu",
                      "crop(from=0, size=1)", "conv(512, kernel=3, pad=1) | bias | pixel_shuffle(2)",
                      "conv(27, kernel=3, pad=1) | pixel_shuffle(3)"}) {
                    std::string spatial = fmt::format(fmt::runtime(shape), channels, size);
                    const bool volume = std::count(spatial.begin(), spatial.end(), 'x') == 4;
                    if (volume && std::string(size) == "72") continue;
                    expect_default_holds("input(f32, " + spatial + ") | " +
                                         fmt::format(fmt::runtime(stages), channels));
                }
            }
        }
    }
}

TEST(AnalyticDefault, SatisfiesItsConstraintsChannelsFirst) {
    for (const char *stages :
         {"conv(16, kernel=3)", "conv(1, kernel=3)", "conv(6, kernel=3, groups=6)", "bilinear_upsample(2)",
          "nearest_upsample(2)", "pixel_unshuffle(2)", "pixel_unshuffle(2) | conv(8, kernel=3, pad=1)",
          "conv(12, kernel=3, groups=3)"}) {
        for (const char *sizes : {"8x8", "?x?", "8", "?", "4x4x4"})
            expect_default_holds(fmt::format("input(f32, 2x6x{}, layout=nchw) | {}", sizes, stages));
    }
}

TEST(AnalyticDefault, ChoosesTheFamilyByTheLayer) {
    const auto family = [](const std::string &stages, const std::string &instruction_set) -> std::string {
        return to_json(analytic_default(lowered("input(f32, 1x16x16x24) | " + stages),
                                        facts(instruction_set)))["family"];
    };
    for (const char *cpu : {"avx512", "avx2", "sse41", "neon"}) {
        EXPECT_EQ(family("transposed_conv(64, kernel=4, stride=2)", cpu), "cpu_filtering");
        EXPECT_EQ(family("transposed_conv(64, kernel=2, stride=2)", cpu), "cpu_direct"); // one tap
        EXPECT_EQ(family("transposed_conv(16, kernel=4, stride=2)", cpu), "cpu_direct"); // too small
        EXPECT_EQ(family("transposed_conv(1, kernel=9, stride=2)", cpu), "cpu_columns");
        EXPECT_EQ(family("conv(9, kernel=3) | pixel_shuffle(3)", cpu), "cpu_columns");
        EXPECT_EQ(family("conv(1, kernel=3, stride=2)", cpu), "cpu_direct");
        EXPECT_EQ(family("conv(24, kernel=3, groups=24)", cpu), "cpu_channelwise");
        EXPECT_EQ(family("bilinear_upsample(2)", cpu), "cpu_channelwise");
        EXPECT_EQ(family("pixel_unshuffle(2) | relu", cpu), "cpu_channelwise");
    }
    const char *exact = "input(f32, 1x16x16x24, numeric=exact) | transposed_conv(64, kernel=4, stride=2)";
    EXPECT_EQ(to_json(analytic_default(lowered(exact), facts("avx512")))["family"], "cpu_direct");
    for (const char *gpu : {"cuda", "opencl"}) {
        EXPECT_EQ(family("transposed_conv(1, kernel=9, stride=2)", gpu), "gpu_direct");
        EXPECT_EQ(family("conv(24, kernel=3, groups=24)", gpu), "gpu_channelwise");
        EXPECT_EQ(family("pixel_shuffle(2)", gpu), "gpu_channelwise");
    }
}

// A middle image must gain by filtering, and a small one not lose; tasks are small enough for two threads to
// share the small one.
TEST(AnalyticDefault, FiltersImagesOfUnknownSize) {
    for (const char *cpu : {"avx512", "avx2", "neon"}) {
        const ScheduleRecord record = analytic_default(
            lowered("input(f32, ?x?x?x64) | transposed_conv(64, kernel=4, stride=2, pad=1)"), facts(cpu));
        const auto *filtering = std::get_if<CpuFiltering>(&record.parameters);
        ASSERT_NE(filtering, nullptr) << cpu;
        EXPECT_LE(filtering->task_tiles, 32) << cpu; // of the 36 to 72 tiles of 16x16 inputs
        const nlohmann::json few = to_json(analytic_default(
            lowered("input(f32, ?x?x?x8) | transposed_conv(16, kernel=4, stride=2, pad=1)"), facts(cpu)));
        EXPECT_NE(few["family"], "cpu_filtering") << cpu;
    }
}

TEST(AnalyticDefault, MergesPhasesOfFewChannelsInWideVectors) {
    const auto merges = [](const char *chain, const char *set) {
        return merges_phases(analytic_default(lowered(chain), facts(set)));
    };
    const char *const three =
        "input(f32, 1x128x128x128) | transposed_conv(3, kernel=4, stride=2, pad=1) | bias";
    EXPECT_TRUE(merges(three, "avx512"));
    EXPECT_FALSE(merges(three, "avx2"));
    EXPECT_FALSE(merges("input(f32, 1x360x640x32) | conv(9, kernel=3, pad=1) | pixel_shuffle(3)", "avx512"));
    EXPECT_FALSE(merges("input(f32, 1x11008x64) | transposed_conv(32, kernel=4, stride=2, pad=1)", "avx512"));
    EXPECT_FALSE(merges("input(f32, 1x16x16x24) | transposed_conv(3, kernel=4, stride=2, pad=1)", "avx512"));
}

TEST(AnalyticDefault, FiltersRowsOfUnknownLengthInStrips) {
    const char *const chain = "input(f32, {}) | transposed_conv(64, kernel=4, stride=2, pad=1)";
    const auto strip = [&](const char *input) {
        const ScheduleRecord record =
            analytic_default(lowered(fmt::format(fmt::runtime(chain), input)), facts("avx512"));
        const auto *filtering = std::get_if<CpuFiltering>(&record.parameters);
        EXPECT_NE(filtering, nullptr) << input;
        return filtering == nullptr ? 0 : filtering->strip;
    };
    EXPECT_EQ(strip("1x64x?x?, layout=nchw"), 96); // of tiles of three
    EXPECT_EQ(strip("1x64x64x1024, layout=nchw"), 96);
    EXPECT_EQ(strip("1x64x64x64, layout=nchw"), 0);
    EXPECT_EQ(strip("1x?x?x64"), 0);
    EXPECT_EQ(strip("1x?x256"), 0);
}

// Nothing is timed there yet.
TEST(AnalyticDefault, OffersFilteringOnGpus) {
    const PhaseConvolution layer =
        lowered("input(f32, 1x64x64x64) | transposed_conv(64, kernel=4, stride=2, pad=1)");
    for (const char *gpu : {"cuda", "opencl"}) {
        const FormChoice choice = choose_form(layer, facts(gpu));
        EXPECT_FALSE(choice.filters);
        EXPECT_EQ(to_json(choice.chosen().schedule)["family"], "gpu_direct");
        ASSERT_TRUE(choice.filtering.has_value());
        const auto &record = std::get<GpuFiltering>(choice.filtering->schedule.parameters);
        EXPECT_EQ(record.tile_x, 3);
        EXPECT_EQ(record.tile_y, 3);
    }
    EXPECT_FALSE(choose_form(lowered("input(f32, 1x64x64x64) | conv(8, kernel=1)"), facts("cuda")).filtering);
}

TEST(AnalyticDefault, ReadsManyWeightsFewTimes) {
    const auto direct = [](const std::string &chain, const std::string &instruction_set) {
        return std::get<CpuDirect>(analytic_default(lowered(chain), facts(instruction_set)).parameters);
    };
    const std::string streams = "input(f32, 1x8x6x2048) | transposed_conv(256, kernel=4, stride=2, pad=1)";
    EXPECT_TRUE(streams_weights(lowered(streams), facts("avx2")));
    EXPECT_TRUE(direct(streams, "avx512").split_blocks);
    EXPECT_EQ(direct(streams, "avx512").rows, 8); // the whole image fits the L2 cache
    EXPECT_TRUE(direct(streams, "avx2").split_blocks);
    EXPECT_EQ(direct(streams, "avx2").rows, 4); // half of it does
    const std::string middle = "input(f32, 1x4x4x512) | transposed_conv(256, kernel=4, stride=2, pad=1)";
    EXPECT_TRUE(direct(middle, "avx512").split_blocks);
    EXPECT_EQ(direct(middle, "avx512").rows * direct(middle, "avx512").tile_y, 4);
    const std::string few = "input(f32, 1x8x6x2048) | transposed_conv(24, kernel=2, stride=2)";
    EXPECT_FALSE(streams_weights(lowered(few), facts("avx2")));
}

TEST(AnalyticDefault, FetchesManyWeightsAhead) {
    const std::string direct = "input(f32, 1x86x512) | transposed_conv(256, kernel=16, stride=8, pad=4)";
    const std::string filtering = "input(f32, 1x64x64x256) | transposed_conv(256, kernel=4, stride=2, pad=1)";
    const std::string few = "input(f32, 1x64x64x32) | transposed_conv(32, kernel=4, stride=2, pad=1)";
    for (const char *x86 : {"avx512", "avx2", "sse41"}) {
        EXPECT_TRUE(prefetches(analytic_default(lowered(filtering), facts(x86)))) << x86;
        EXPECT_FALSE(prefetches(analytic_default(lowered(few), facts(x86)))) << x86;
    }
    EXPECT_TRUE(prefetches(analytic_default(lowered(direct), facts("avx512"))));
    EXPECT_FALSE(prefetches(analytic_default(lowered(filtering), facts("neon"))));
}

TEST(AnalyticDefault, FetchesLargeTensorsAhead) {
    const auto fetches = [](const std::string &chain, const std::string &instruction_set) {
        return prefetches(analytic_default(lowered(chain), facts(instruction_set)));
    };
    for (const char *x86 : {"avx512", "avx2", "sse41"}) {
        EXPECT_TRUE(fetches("input(f32, 1x128x128x64) | bilinear_upsample(2)", x86))
            << x86; // 16 MB of output
        EXPECT_FALSE(fetches("input(f32, 1x16x16x64) | bilinear_upsample(2)", x86)) << x86;
        EXPECT_FALSE(fetches("input(f32, 1x?x?x64) | bilinear_upsample(2)", x86)) << "of unknown size";
        EXPECT_TRUE(fetches("input(f32, 1x540x960x56) | transposed_conv(1, kernel=9, stride=2, pad=4)", x86));
        EXPECT_FALSE(fetches("input(f32, 1x54x96x56) | transposed_conv(1, kernel=9, stride=2, pad=4)", x86));
    }
    EXPECT_FALSE(fetches("input(f32, 1x128x128x64) | bilinear_upsample(2)", "neon"));
}

TEST(AnalyticDefault, UnrollsVectorsOfChannelsThatOverlap) {
    for (const int factor : {2, 8, 32}) {
        const std::string chain = fmt::format("input(f32, 1x16x16x21) | transposed_conv(21, kernel={}, "
                                              "stride={}, weights=bilinear)",
                                              2 * factor, factor);
        const auto record =
            std::get<CpuChannelwise>(analytic_default(lowered(chain), facts("avx512")).parameters);
        EXPECT_GT(record.unroll_phases, 1) << chain;
        EXPECT_TRUE(record.unrolls_vectors(21)) << chain;
    }
}

TEST(Targets, HaveDistinctNamesAndInstructionSets) {
    EXPECT_EQ(find_target("x86-64")->instruction_sets.size(), 3u);
    EXPECT_EQ(find_target("aarch64")->instruction_sets[0].instruction_set, "neon");
    EXPECT_EQ(find_target("vax"), nullptr);
}

} // namespace
} // namespace unstride
