// The default schedule over a grid of layers and every target.
#include "compiler/language/parser.h"
#include "schedules/analytic_default.h"
#include "tests/unit/lowered_layer.h"

#include <fmt/format.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

namespace unstride {
namespace {

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

TEST(AnalyticDefault, TakesVectorsAcrossChannelsWhereColumnsAreFew) {
    const auto across = [](const std::string &stages, const char *cpu) {
        const ScheduleRecord record = analytic_default(lowered("input(f32, " + stages), facts(cpu));
        const auto *columns = std::get_if<CpuColumns>(&record.parameters);
        return columns != nullptr && columns->across_channels;
    };
    for (const char *cpu : {"avx512", "avx2", "neon"}) {
        EXPECT_TRUE(across("1x160x160x64) | transposed_conv(1, kernel=2, stride=2)", cpu)) << cpu;
        EXPECT_TRUE(across("1x?x?x24) | transposed_conv(1, kernel=2, stride=2) | sigmoid", cpu)) << cpu;
        EXPECT_FALSE(across("1x160x160x64) | transposed_conv(1, kernel=4, stride=2)", cpu)) << cpu;
        EXPECT_FALSE(across("1x160x160x63) | transposed_conv(1, kernel=2, stride=2)", cpu)) << cpu;
    }
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

TEST(AnalyticDefault, SplitsBlocksOfFilteringWhereFewTilesShareManyWeights) {
    const auto splits = [](const std::string &input) {
        const ScheduleRecord record = analytic_default(
            lowered("input(f32, " + input + ") | transposed_conv(128, kernel=4, stride=2, pad=1)"),
            facts("avx2"));
        const auto *filtering = std::get_if<CpuFiltering>(&record.parameters);
        EXPECT_NE(filtering, nullptr) << input;
        return filtering != nullptr && filtering->split_blocks;
    };
    EXPECT_TRUE(splits("1x8x8x256"));
    EXPECT_FALSE(splits("1x64x64x256")); // many tiles
    EXPECT_FALSE(splits("1x64x64x64"));  // few weights
    EXPECT_FALSE(splits("1x?x?x256"));
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
