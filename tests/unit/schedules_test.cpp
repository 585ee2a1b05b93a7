// Records, their constraints, and the default schedule over a grid of layers and every target.
#include "compiler/language/parser.h"
#include "schedules/analytic_default.h"
#include "schedules/record.h"

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

namespace unstride {
namespace {

PhaseConvolution lowered(const std::string &chain) {
    const ParseResult parsed = parse_layer(chain, "layer");
    EXPECT_TRUE(parsed.ok()) << chain;
    return std::get<PhaseConvolution>(lower(parsed.layers.at(0)));
}

TEST(Record, GoesThroughJsonUnchanged) {
    CpuDirect cpu;
    cpu.lanes = 16;
    cpu.vectors = 4;
    cpu.split_blocks = true;
    GpuDirect gpu;
    gpu.thread_x = 8;
    for (const ScheduleRecord &record : {ScheduleRecord{cpu}, ScheduleRecord{gpu}}) {
        std::string error;
        const auto read = record_from_json(to_json(record), &error);
        ASSERT_TRUE(read.has_value()) << error;
        EXPECT_EQ(*read, record);
    }
}

TEST(Record, RefusesBadJson) {
    const auto refused = [](const nlohmann::json &json) {
        std::string error;
        EXPECT_FALSE(record_from_json(json, &error).has_value()) << json;
        EXPECT_FALSE(error.empty());
    };
    refused(nlohmann::json::array());
    refused({{"lanes", 4}});
    refused({{"family", 3}});
    refused({{"family", "other"}});
    nlohmann::json json = to_json({CpuDirect{}});
    json["rows"] = "2";
    refused(json);
    json = to_json({CpuDirect{}});
    json.erase("rows");
    refused(json);
    json = to_json({CpuDirect{}});
    json["surplus"] = 1;
    refused(json);
}

TEST(Record, ConstraintsKnowTheRegisterFile) {
    const PhaseConvolution layer =
        lowered("input(f32, 1x64x64x64) | transposed_conv(64, kernel=4, stride=2, pad=1)");
    const TargetFacts &avx512 = find_target("x86-64")->instruction_sets[0];
    CpuDirect tile;
    tile.lanes = 16;
    tile.vectors = 4;
    tile.tile_x = 3;
    tile.tile_y = 2;
    EXPECT_FALSE(violated_constraint(layer, avx512, {tile}).has_value());
    tile.tile_x = 4; // 32 accumulators
    EXPECT_TRUE(violated_constraint(layer, avx512, {tile}).has_value());
    tile.tile_x = 3;
    tile.lanes = 32;
    EXPECT_TRUE(violated_constraint(layer, avx512, {tile}).has_value());
    EXPECT_TRUE(violated_constraint(layer, avx512, {GpuDirect{}}).has_value());
    EXPECT_TRUE(violated_constraint(layer, find_target("cuda")->instruction_sets[0], {tile}).has_value());
}

TEST(Record, StagedBytesFollowTheTask) {
    const PhaseConvolution layer =
        lowered("input(f32, 1x64x64x256) | transposed_conv(64, kernel=4, stride=2, pad=1)");
    CpuDirect tile;
    tile.tile_x = 3;
    tile.tile_y = 2;
    tile.rows = 2;
    // a row of 64 outputs of one phase in tiles of 3 is 66 wide; halo 2 on both axes
    EXPECT_EQ(staged_bytes(layer, tile), (66 + 2) * (4 + 2) * 256 * 4);
    tile.strip = 4;
    EXPECT_EQ(staged_bytes(layer, tile), (12 + 2) * (4 + 2) * 256 * 4);
}

TEST(AnalyticDefault, SatisfiesItsConstraintsEverywhere) {
    for (const char *channels_in : {"1", "3", "16", "33", "256", "1024"}) {
        for (const char *channels_out : {"1", "3", "5", "21", "64", "100", "512"}) {
            for (const char *sizes : {"1x1", "1x700", "8x8", "64x64", "?x?", "?x5"}) {
                for (const char *arguments :
                     {"kernel=4, stride=2, pad=1", "kernel=9, stride=2", "kernel=1, stride=3"}) {
                    const std::string chain = std::string("input(f32, 1x") + sizes + "x" + channels_in +
                                              ") | transposed_conv(" + channels_out + ", " + arguments + ")";
                    const PhaseConvolution layer = lowered(chain);
                    for (const Target &target : all_targets()) {
                        for (const TargetFacts &facts : target.instruction_sets) {
                            const ScheduleRecord record = analytic_default(layer, facts);
                            const auto violated = violated_constraint(layer, facts, record);
                            EXPECT_FALSE(violated.has_value())
                                << chain << " for " << facts.instruction_set << ": " << *violated;
                        }
                    }
                }
            }
        }
    }
}

TEST(Targets, HaveDistinctNamesAndInstructionSets) {
    EXPECT_EQ(find_target("x86-64")->instruction_sets.size(), 3u);
    EXPECT_EQ(find_target("aarch64")->instruction_sets[0].instruction_set, "neon");
    EXPECT_EQ(find_target("vax"), nullptr);
}

} // namespace
} // namespace unstride
