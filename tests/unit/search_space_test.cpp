// The space of every benchmark layer and every layer of the kernel tests, on every target.
#include "compiler/language/parser.h"
#include "compiler/language/printer.h"
#include "schedules/analytic_default.h"
#include "schedules/search_space.h"
#include "tests/unit/lowered_layer.h"

#include <fmt/format.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <functional>
#include <set>
#include <sstream>

namespace unstride {
namespace {

namespace fs = std::filesystem;

std::vector<Layer> layers_of(const fs::path &file) {
    std::stringstream text;
    text << std::ifstream(file).rdbuf();
    ParseResult parsed = parse_layers(text.str(), file.string());
    EXPECT_TRUE(parsed.ok()) << file << (parsed.ok() ? "" : to_string(parsed.errors[0]));
    EXPECT_FALSE(parsed.layers.empty()) << file;
    return parsed.layers;
}

const std::vector<Layer> &all_layers() {
    static const std::vector<Layer> layers = [] {
        const fs::path root = UNSTRIDE_SOURCE_FOLDER;
        std::vector<fs::path> files = {root / "tests/kernels/grid.layers"};
        for (const auto &file : fs::directory_iterator(root / "bench/layers"))
            files.push_back(file.path());
        std::sort(files.begin(), files.end());
        std::vector<Layer> all;
        for (const fs::path &file : files) {
            for (Layer &layer : layers_of(file))
                all.push_back(std::move(layer));
        }
        return all;
    }();
    return layers;
}

using Check = std::function<void(const PhaseConvolution &, const TargetFacts &, const SearchSpace &)>;

void for_each_space(const Check &check) {
    int spaces = 0;
    for (const Layer &layer : all_layers()) {
        const auto lowered = lower(layer);
        ASSERT_TRUE(std::holds_alternative<PhaseConvolution>(lowered)) << print(layer);
        const PhaseConvolution &convolution = std::get<PhaseConvolution>(lowered);
        for (const Target &target : all_targets()) {
            for (const TargetFacts &facts : target.instruction_sets) {
                SCOPED_TRACE(fmt::format("{} for {}", print(layer), facts.instruction_set));
                check(convolution, facts, SearchSpace(convolution, facts));
                spaces++;
                if (testing::Test::HasFailure()) return;
            }
        }
    }
    EXPECT_GT(spaces, 300);
}

TEST(SearchSpace, BeginsWithTheAnalyticDefault) {
    for_each_space([](const PhaseConvolution &layer, const TargetFacts &target, const SearchSpace &space) {
        ASSERT_FALSE(space.points().empty());
        EXPECT_EQ(space.points()[0], analytic_default(layer, target));
        EXPECT_EQ(space.find(space.points()[0]), 0u);
    });
}

TEST(SearchSpace, HasNoPointTwiceAndNoneAgainstTheRules) {
    for_each_space([](const PhaseConvolution &layer, const TargetFacts &target, const SearchSpace &space) {
        std::set<std::string> texts;
        for (std::size_t i = 0; i < space.points().size(); i++) {
            const ScheduleRecord &point = space.points()[i];
            const std::string text = to_json(point).dump();
            EXPECT_TRUE(texts.insert(text).second) << text;
            const auto violated = violated_constraint(layer, target, point);
            EXPECT_FALSE(violated.has_value()) << text << ": " << *violated;
            const auto reason = unworthy(layer, target, point);
            EXPECT_TRUE(i == 0 || !reason) << text << ": " << *reason;
        }
    });
}

TEST(SearchSpace, HoldsHundredsOfPointsWhereThereIsWorkToArrange) {
    for_each_space([](const PhaseConvolution &layer, const TargetFacts &target, const SearchSpace &space) {
        EXPECT_LT(space.points().size(), 1200u);
        double outputs = static_cast<double>(std::max<std::int64_t>(layer.batch, 1));
        for (const PhaseAxis &axis : layer.axes)
            outputs *= axis.output_size == dynamic_size ? 64.0 : static_cast<double>(axis.output_size);
        const bool large = !layer.depthwise() && outputs >= 1024 && layer.kernel_output_channels() >= 16 &&
                           layer.channels_per_output() % 4 == 0;
        if (!large) return;
        // Short rows and columns or few channels leave fewer tiles, and so do registers for half the sums.
        const auto is_long = [](const PhaseAxis &axis) {
            return axis.output_size == dynamic_size || axis.output_size >= 16;
        };
        const bool rich = target.fused_multiply_add && is_long(layer.x()) && is_long(layer.y()) &&
                          layer.kernel_output_channels() >= 64;
        EXPECT_GE(space.points().size(), rich ? 100u : 20u);
    });
}

TEST(SearchSpace, IsTheSameEachTime) {
    const PhaseConvolution layer =
        lowered("input(f32, 1x64x64x64) | transposed_conv(64, kernel=4, stride=2, pad=1)");
    for (const char *set : {"avx512", "neon", "cuda"})
        EXPECT_EQ(SearchSpace(layer, facts(set)).points(), SearchSpace(layer, facts(set)).points()) << set;
}

TEST(SearchSpace, NeighboursDifferInOneParameterAndGoBothWays) {
    for (const char *chain : {"input(f32, 1x64x64x64) | transposed_conv(64, kernel=4, stride=2, pad=1)",
                              "input(f32, 1x32x?x?, layout=nchw) | transposed_conv(12, kernel=3, stride=2)",
                              "input(f32, 1x32x32x8) | transposed_conv(12, kernel=4, stride=2)",
                              "input(f32, 1x32x32x64) | bilinear_upsample(2)"}) {
        const PhaseConvolution layer = lowered(chain);
        for (const char *set : {"avx512", "avx2", "neon", "cuda"}) {
            SCOPED_TRACE(fmt::format("{} for {}", chain, set));
            const SearchSpace space(layer, facts(set));
            std::size_t lonely = 0;
            for (std::size_t i = 0; i < space.points().size(); i++) {
                const std::vector<std::size_t> neighbours = space.neighbours(i);
                lonely += neighbours.empty() ? 1 : 0;
                EXPECT_TRUE(std::is_sorted(neighbours.begin(), neighbours.end()));
                for (const std::size_t other : neighbours) {
                    ASSERT_LT(other, space.points().size());
                    const nlohmann::json difference =
                        nlohmann::json::diff(to_json(space.points()[i]), to_json(space.points()[other]));
                    // A filter tile and its chains are one parameter.
                    std::set<std::string> parameters;
                    for (const nlohmann::json &change : difference) {
                        const std::string path = change["path"];
                        const bool form =
                            std::holds_alternative<CpuFiltering>(space.points()[i].parameters) &&
                            (path == "/chain" || path.starts_with("/tile_"));
                        parameters.insert(form ? "form" : path);
                    }
                    EXPECT_EQ(parameters.size(), 1u) << difference;
                    const std::vector<std::size_t> back = space.neighbours(other);
                    EXPECT_TRUE(std::find(back.begin(), back.end(), i) != back.end());
                }
            }
            EXPECT_LE(lonely, space.points().size() / 4);
            EXPECT_GT(space.points().size(), 3u);
        }
    }
}

// Each rule has a point that it alone rules out.
TEST(SearchSpace, LeavesOutWhatArithmeticRulesOut) {
    const auto reason = [](const std::string &chain, const char *set, const ScheduleRecord &record,
                           int threads = 2) {
        return unworthy(lowered("input(f32, " + chain), facts(set), record, threads).value_or("");
    };
    const auto expect = [&](const std::string &part, const std::string &found) {
        EXPECT_NE(found.find(part), std::string::npos) << found;
    };
    const std::string dense = "1x64x64x64) | transposed_conv(64, kernel=4, stride=2, pad=1)";
    const CpuDirect good{16, 4, 6, 1, 0, 1, 2, 1, false};
    EXPECT_EQ(reason(dense, "avx512", {good}), "");
    const auto direct = [&](const std::string &chain, const std::function<void(CpuDirect &)> &change,
                            int threads = 2) {
        CpuDirect changed = good;
        change(changed);
        return reason(chain, "avx512", {changed}, threads);
    };
    expect("vector registers", direct(dense, [](CpuDirect &r) { r.tile_x = 7; }));
    expect("keep 0.50 of their work",
           direct("1x64x60x64) | transposed_conv(32, kernel=4, stride=2, pad=1)", [](CpuDirect &) {}));
    expect("16 lanes would do what 8 do", direct(dense, [](CpuDirect &r) { r.lanes = 8; }));
    expect("accumulators do not keep", direct(dense, [](CpuDirect &r) { r.tile_x = 1; }));
    expect("loads 1.08 times", direct(dense, [](CpuDirect &r) { r = {16, 1, 12, 1, 0, 1, 2, 1, false}; }));
    expect("no multiple of unroll 16",
           direct("1x64x64x24) | conv(64, kernel=3)", [](CpuDirect &r) { r.unroll = 16; }));
    expect("more than half of the L2",
           direct("1x64x64x1024) | conv(64, kernel=3)", [](CpuDirect &r) { r.strip = 1; }));
    expect("3/4 of the L2", direct("1x64x64x1024) | conv(64, kernel=1)", [](CpuDirect &r) { r.rows = 3; }));
    expect("tasks enough without", direct(dense, [](CpuDirect &r) { r = {16, 2, 12, 1, 0, 1, 2, 1, true}; }));
    expect("no whole blocks",
           direct("1x2x64x64) | conv(60, kernel=1)", [](CpuDirect &r) { r.split_blocks = true; }));
    // Where weights stream from memory, tasks of a block of channels may be as high as the image.
    EXPECT_EQ(direct("1x8x6x2048) | transposed_conv(256, kernel=4, stride=2, pad=1)",
                     [](CpuDirect &r) { r = {16, 4, 6, 1, 0, 8, 2, 1, true}; }),
              "");
    // The same 8 MB of weights are fetched ahead in panels of 256 KB; 1 MB stay in cache, and panels of 2 MB
    // do not.
    const std::string audio = "1x86x512) | transposed_conv(256, kernel=16, stride=8, pad=4)";
    const auto prefetching = [](CpuDirect &r) { r = {16, 4, 6, 1, 0, 8, 2, 1, true, true}; };
    EXPECT_EQ(direct(audio, prefetching), "");
    expect("fetched ahead", direct(dense, [](CpuDirect &r) { r.prefetch = true; }));
    expect("fetched ahead",
           direct("1x8x6x2048) | transposed_conv(256, kernel=4, stride=2, pad=1)", prefetching));
    // So are outputs and inputs of 16 MB; channels-first pixels do not lie side by side.
    CpuChannelwise moves{16, false, 2, 4};
    EXPECT_EQ(reason("1x128x128x64) | bilinear_upsample(2)", "avx512", {moves}), "");
    moves.prefetch = true;
    EXPECT_EQ(reason("1x128x128x64) | bilinear_upsample(2)", "avx512", {moves}), "");
    expect("fetched ahead", reason("1x32x32x64) | bilinear_upsample(2)", "avx512", {moves}));
    CpuColumns sums{16, 3, 8, 0, 16, 2};
    const std::string to_three = ") | transposed_conv(3, kernel=4, stride=2, pad=1)";
    EXPECT_EQ(reason("1x256x256x64" + to_three, "avx512", {sums}), "");
    sums.prefetch = true;
    EXPECT_EQ(reason("1x256x256x64" + to_three, "avx512", {sums}), "");
    expect("fetched ahead", reason("1x64x64x64" + to_three, "avx512", {sums}));
    expect("channels-last", reason("1x64x256x256, layout=nchw" + to_three, "avx512", {sums}));
    expect("of 2 threads idle", direct(dense, [](CpuDirect &r) { r.rows = 22; }));
    EXPECT_EQ(direct(
                  dense, [](CpuDirect &r) { r.rows = 22; }, 1),
              "");
    expect("of 24 threads idle", direct(
                                     dense, [](CpuDirect &r) { r.rows = 2; }, 24));

    const std::string planar = "1x64x64x64, layout=nchw) | conv(24, kernel=3)";
    expect("vector registers", reason(planar, "avx2", {CpuPlanar{8, 2, 8, 1, 1, 1, 1}}));
    expect("leaves no register", reason(planar, "avx2", {CpuPlanar{8, 1, 4, 3, 1, 1, 1}}));
    EXPECT_EQ(reason(planar, "avx2", {CpuPlanar{8, 2, 6, 1, 1, 1, 1}}), "");
    const CpuPlanar half_vectors{8, 3, 8, 1, 0, 1, 1};
    EXPECT_EQ(reason("1x128x92x120, layout=nchw) | conv(64, kernel=1)", "avx512", {half_vectors}), "");
    expect("16 lanes would do what 8 do",
           reason("1x128x92x144, layout=nchw) | conv(64, kernel=1)", "avx512", {half_vectors}));
    expect("leaves no register", reason(dense, "avx2", {CpuDirect{8, 3, 4, 1, 0, 1, 4, 1, false}}));
    EXPECT_EQ(reason(dense, "avx2", {CpuDirect{8, 4, 2, 1, 0, 1, 4, 1, false}}), "");
    expect("addresses", reason(dense, "neon", {CpuDirect{4, 2, 4, 2, 0, 1, 4, 4, false}}));
    expect("vector registers", reason(dense, "neon", {CpuDirect{4, 4, 5, 1, 0, 1, 8, 4, false}}));
    EXPECT_EQ(reason(dense, "neon", {CpuDirect{4, 4, 4, 1, 0, 1, 8, 4, false}}), "");

    const std::string few = "1x64x64x64) | transposed_conv(3, kernel=4, stride=2, pad=1)";
    EXPECT_EQ(reason(few, "avx2", {CpuColumns{8, 2, 4, 0, 8, 2, false}}), "");
    expect("stay in the cache", reason(few, "avx2", {CpuColumns{8, 2, 4, 0, 8, 2, true}}));
    expect("compute most rows several times",
           reason("1x64x64x64) | conv(3, kernel=9)", "avx2", {CpuColumns{8, 2, 4, 0, 4, 2, false}}));

    expect("there are 2 phases",
           reason("1x128x128x64) | bilinear_upsample(2)", "avx2", {CpuChannelwise{8, false, 4, 1}}));
    EXPECT_EQ(reason(dense, "cuda", {GpuDirect{4, 8, 64, 32, 1, 4}}), "");
    expect("no multiple of 32", reason(dense, "cuda", {GpuDirect{4, 8, 8, 32, 1, 4}}));
    expect("loads about as often", reason(dense, "cuda", {GpuDirect{1, 2, 32, 8, 1, 4}}));
    expect("too few threads on a multiprocessor", reason(dense, "cuda", {GpuDirect{12, 16, 120, 64, 4, 4}}));
    CpuColumns columns{4, 6, 4};
    columns.rows = 16;
    expect("34 registers", reason(few, "neon", {columns}));
    const CpuFiltering by_lane{{3, 3}, 4, 1, 8, 24, 8, 4};
    expect("a single vector by lane", reason(few, "neon", {by_lane}));
    CpuFiltering merged{{3, 3}, 16, 1, 12, 84};
    merged.merge_phases = true;
    const std::string three = "1x128x128x128) | transposed_conv(3, kernel=4, stride=2, pad=1)";
    EXPECT_EQ(reason(three, "avx512", {merged}), "");
    // Windows that stay in cache are not fetched ahead, nor those of many products.
    merged.prefetch_input = true;
    expect("fetched ahead", reason(three, "avx512", {merged}));
    EXPECT_EQ(reason("1x256x256x128) | transposed_conv(3, kernel=4, stride=2, pad=1)", "avx512", {merged}),
              "");
    const CpuFiltering apart{{3, 3}, 16, 4, 6, 84, 1, 1, 0, 0, false, false, false, true};
    expect("fetched ahead",
           reason("1x256x256x128) | transposed_conv(64, kernel=4, stride=2, pad=1)", "avx512", {apart}));
    merged.prefetch_input = false;
    merged.vectors = 3;
    merged.tiles = 6;
    expect("saves hardly any vectors",
           reason("1x64x64x64) | transposed_conv(12, kernel=4, stride=2)", "avx512", {merged}));
    CpuFiltering split{{3, 3}, 16, 2, 9, 9};
    split.split_blocks = true;
    EXPECT_EQ(reason("1x8x8x256) | transposed_conv(128, kernel=4, stride=2, pad=1)", "avx512", {split}), "");
    expect("need not share the weights",
           reason("1x32x32x256) | transposed_conv(128, kernel=4, stride=2, pad=1)", "avx512", {split}));
    expect("no multiple of 32", reason(dense, "cuda", {GpuFiltering{{3, 3}, 4, 32, 6}}));
    expect("transforms more than", reason(dense, "cuda", {GpuFiltering{{3, 3}, 1, 32, 4}}));
    EXPECT_EQ(reason(dense, "cuda", {GpuFiltering{{3, 3}, 4, 32, 8}}), "");
    expect("fill no warps", reason("1x128x128x64) | bilinear_upsample(2)", "cuda", {GpuChannelwise{8, 2}}));
}

TEST(SearchSpace, HoldsTasksThatReadTheirWeightsOnce) {
    const auto layer =
        lowered("input(f32, 1x8x6x2048, numeric=exact) | transposed_conv(256, kernel=4, stride=2, pad=1)");
    const SearchSpace space(layer, facts("avx512"));
    for (const int vectors : {2, 4})
        EXPECT_TRUE(space.find({CpuDirect{16, vectors, 6, 1, 0, 8, 2, 1, true}}).has_value()) << vectors;
}

TEST(SearchSpace, HoldsColumnsOfLowImages) {
    for (const char *height : {"3", "4"}) {
        const auto layer =
            lowered(fmt::format("input(f32, 1x{}x64x64) | transposed_conv(3, kernel=4, stride=2, "
                                "pad=1)",
                                height));
        const SearchSpace space(layer, facts("avx512"));
        EXPECT_GT(std::ranges::count_if(space.points(),
                                        [](const ScheduleRecord &record) {
                                            return std::holds_alternative<CpuColumns>(record.parameters);
                                        }),
                  1)
            << height;
    }
}

TEST(SearchSpace, HoldsVectorsAcrossChannelsOfFewColumns) {
    const auto across = [](const char *stages) {
        const auto layer = lowered(fmt::format("input(f32, 1x64x64x{}", stages));
        const SearchSpace space(layer, facts("avx512"));
        return std::ranges::count_if(space.points(), [](const ScheduleRecord &record) {
            const auto *columns = std::get_if<CpuColumns>(&record.parameters);
            return columns != nullptr && columns->across_channels;
        });
    };
    EXPECT_GT(across("24) | transposed_conv(1, kernel=2, stride=2)"), 1);
    EXPECT_EQ(across("23) | transposed_conv(1, kernel=2, stride=2)"), 0);
    EXPECT_EQ(across("24) | transposed_conv(1, kernel=3, stride=2)"), 0);
}

TEST(SearchSpace, FiltersByLaneOnlyWhatTheDefaultWould) {
    const auto filtered = [](const char *input) {
        const auto layer =
            lowered(fmt::format("input(f32, {}) | transposed_conv(64, kernel=4, stride=2, pad=1)", input));
        const SearchSpace space(layer, facts("neon"));
        return std::ranges::count_if(space.points(), [](const ScheduleRecord &record) {
            return std::holds_alternative<CpuFiltering>(record.parameters);
        });
    };
    EXPECT_GT(filtered("1x64x64x64"), 0);
    EXPECT_EQ(filtered("1x64x64x62"), 0);
    EXPECT_EQ(filtered("1x64x64x64, layout=nchw"), 0);
    EXPECT_EQ(filtered("1x62x64x64, layout=nchw"), 0);
}

TEST(Worthiness, PlanesOfChannelsFirstTensorsAreTasks) {
    const auto layer = lowered("input(f32, 1x64x8x32, layout=nchw) | bilinear_upsample(2)");
    EXPECT_EQ(unworthy(layer, facts("avx512"), {CpuChannelwise{16, true, 2, 8}}).value_or(""), "");
}

} // namespace
} // namespace unstride
