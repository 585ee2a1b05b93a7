// What the random tests stand on: drawn layers, their simplifications, and a check that finds every way in
// which a built layer can be wrong.
#include "compiler/language/parser.h"
#include "compiler/language/printer.h"
#include "compiler/language/shapes.h"
#include "schedules/target_facts.h"
#include "tests/random/chain_generator.h"
#include "tests/random/layer_check.h"
#include "tests/random/layer_library.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <set>

namespace unstride::chains {
namespace {

using reference::Random;

TEST(ChainGenerator, DrawsTheSameLayersForTheSameSeed) {
    Random first(7), second(7);
    for (int i = 0; i < 50; i++)
        EXPECT_EQ(print(draw_layer(first, "layer")), print(draw_layer(second, "layer")));
}

TEST(ChainGenerator, DrawsEveryStageAndEveryNumberOfAxesInBothLayouts) {
    Random random(1);
    std::set<std::string> drawn;
    for (int i = 0; i < 1000; i++) {
        const Layer layer = draw_layer(random, "layer");
        if (!check_shapes(layer).empty()) continue;
        for (const Stage &stage : layer.stages)
            drawn.insert(stage_name(stage.operation));
        drawn.insert(std::string(layer.input.layout == Layout::nhwc ? "nhwc" : "nchw") +
                     std::to_string(layer.input.spatial.size()));
    }
    const std::set<std::string> expected = {"add",
                                            "bias",
                                            "bilinear_upsample",
                                            "clamp",
                                            "conv",
                                            "crop",
                                            "gelu",
                                            "leaky_relu",
                                            "nchw1",
                                            "nchw2",
                                            "nchw3",
                                            "nearest_upsample",
                                            "nhwc1",
                                            "nhwc2",
                                            "nhwc3",
                                            "pixel_shuffle",
                                            "pixel_unshuffle",
                                            "prelu",
                                            "relu",
                                            "scale",
                                            "sigmoid",
                                            "silu",
                                            "tanh",
                                            "transposed_conv"};
    EXPECT_EQ(drawn, expected);
}

TEST(Simplifications, EndAtTheSimplestLayerThatStillFails) {
    const auto fails = [](const Layer &layer) {
        return check_shapes(layer).empty() && std::ranges::any_of(layer.stages, [](const Stage &stage) {
                   return std::holds_alternative<TransposedConv>(stage.operation);
               });
    };
    Random random(3);
    for (int found = 0; found < 20;) {
        Layer layer = draw_layer(random, "layer");
        if (!fails(layer) || layer.input.channels % 2 == 0) continue;
        found++;
        std::vector<Layer> simpler = simplifications(layer);
        for (std::size_t i = 0; i < simpler.size(); i++) {
            EXPECT_NE(simpler[i], layer);
            if (!fails(simpler[i])) continue;
            layer = simpler[i];
            simpler = simplifications(layer);
            i = static_cast<std::size_t>(-1);
        }
        EXPECT_EQ(layer.stages.size(), 1u) << print(layer);
        EXPECT_EQ(layer.input.spatial, PerAxis{1}) << print(layer);
    }
}

TEST(LibraryBuilder, BuildsForOneInstructionSet) {
    auto builder = LibraryBuilder::make();
    ASSERT_TRUE(builder.ok()) << builder.error();
    const std::vector<Layer> layers =
        parse_layers("a = input(f32, 1x4x5x3) | conv(2, kernel=1)\n", "test").layers;
    const std::string last = host_target().instruction_sets.back().instruction_set;
    const auto shared = builder->build(layers, last);
    ASSERT_TRUE(shared.ok()) << shared.error();
    const auto library = LoadedLibrary::load(*shared);
    ASSERT_TRUE(library.ok()) << library.error();
    EXPECT_EQ(library->functions().instruction_set_at(0), last);
    EXPECT_EQ(library->functions().instruction_set_at(1), nullptr);
    EXPECT_NE(library->find("a"), nullptr);
    const auto refused = builder->build(layers, "sse5");
    ASSERT_FALSE(refused.ok());
    EXPECT_NE(refused.error().find("has no instruction set 'sse5'; it has "), std::string::npos)
        << refused.error();
}

// Empty where the layer of the broken library passes.
std::string finding(const std::string &name, const std::string &text = "input(f32, 1x4x5x3) | relu") {
    const auto checked = check_layer_in_child(BROKEN_LIBRARY, parse_layer(text, name).layers.at(0), 5);
    return checked ? std::string() : checked.error();
}

struct Defect {
    const char *layer, *found;
};

class LayerCheck : public testing::TestWithParam<Defect> {};

TEST_P(LayerCheck, FindsADefect) {
    EXPECT_NE(finding(GetParam().layer).find(GetParam().found), std::string::npos)
        << finding(GetParam().layer);
}

INSTANTIATE_TEST_SUITE_P(All, LayerCheck,
                         testing::Values(Defect{"wrong_value", "1 of 60 elements are wrong"},
                                         Defect{"missing_value", "nan, error nan"},
                                         Defect{"by_threads", "three threads give other bits"},
                                         Defect{"beyond_the_end", "signal 11"},
                                         Defect{"before_the_start", "outside of the memory"},
                                         Defect{"changed_input", "changed what it may only read"},
                                         Defect{"answers_a_code", "run: UNSTRIDE_INTERNAL"},
                                         Defect{"crashes", "signal 6"}, Defect{"exits", "code 3"},
                                         Defect{"other_shape", "another shape"},
                                         Defect{"other_schedule", "schedule cannot be read"},
                                         Defect{"other_text", "the library's text is"},
                                         Defect{"wrong_counts", "bias 3"}, Defect{"absent", "no such layer"}),
                         [](const auto &info) { return std::string(info.param.layer); });

TEST(LayerCheckOfARightLayer, FindsNothing) {
    EXPECT_EQ(finding("right"), "");
}

// Its transforms round: exact data is for forms of the layer's own products.
TEST(LayerCheckOfAFilteringForm, AllowsWhatItsTransformsRound) {
    auto builder = LibraryBuilder::make();
    ASSERT_TRUE(builder.ok()) << builder.error();
    const Layer layer =
        parse_layers("a = input(f32, 1x?x?x64, numeric=fast) | conv(64, kernel=3, pad=1)\n", "test")
            .layers[0];
    const auto shared = builder->build({layer}, host_target().instruction_sets.back().instruction_set);
    ASSERT_TRUE(shared.ok()) << shared.error();
    const auto library = LoadedLibrary::load(*shared);
    ASSERT_TRUE(library.ok()) << library.error();
    const std::string schedule = library->functions().schedule(library->find("a"));
    ASSERT_NE(schedule.find("cpu_filtering"), std::string::npos) << schedule;
    for (std::uint64_t seed = 1; seed <= 3; seed++) {
        const auto checked = check_layer_in_child(*shared, layer, seed);
        ASSERT_TRUE(checked.ok()) << checked.error();
        EXPECT_EQ(*checked, 2); // one comparison for each of two choices of sizes
    }
}

TEST(LayerCheckOfDynamicSizes, WantsTheRefusalOfSizesThatDoNotFit) {
    const std::string found = finding("any_size", "input(f32, 1x?x?x4) | pixel_unshuffle(3)");
    EXPECT_NE(found.find("accepts sizes that the language refuses"), std::string::npos) << found;
}

} // namespace
} // namespace unstride::chains
