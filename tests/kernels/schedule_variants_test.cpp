// Schedules that searches find and hardly any default takes: minimal filtering whose vectors hold the
// channels of all phases and whose tasks take one block of channels each, and column sums whose vectors lie
// across the input channels. On every instruction set of this machine and on AArch64 under qemu, at odd sizes
// with several images.
#include "compiler/language/parser.h"
#include "schedules/record.h"
#include "schedules/target_facts.h"
#include "tools/library/host_machine.h"
#include "tools/library/installation.h"
#include "tools/library/process.h"
#include "tools/measure/runner.h"
#include "tools/tune/tuner.h"
#include "tools/tune/verify.h"

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <string>
#include <variant>
#include <vector>

namespace unstride {
namespace {

struct Filtering {
    FilterTile tile;
    int vectors = 0;    // of a block; 0 is as many as hold all phases
    bool split = false; // blocks among tasks
    bool apart = false; // phases
    int chain = 0;
};

// Across channels.
struct Columns {
    int vectors = 1, tile_x = 1, unroll = 1;
    bool blocks_outermost = false;
    int output_lanes = 1;
};

struct Case {
    const char *layer;
    std::variant<Filtering, Columns> schedule;
};

const Case cases[] = {
    {"input(f32, 2x17x19x24) | transposed_conv(3, kernel=4, stride=2, pad=1) | bias | leaky_relu(0.25)",
     Filtering{{3, 3}}},
    {"input(f32, 1x14x11x37) | conv(4, kernel=3, pad=1) | prelu | pixel_shuffle(2) | bias",
     Filtering{{2, 2}}},
    {"input(f32, 1x15x13x40) | relu | transposed_conv(2, kernel=4, stride=2) | scale | bias | crop(from=3x2, "
     "size=21x25)",
     Filtering{{3, 2}}},
    {"input(f32, 1x11x13x33) | transposed_conv(1, kernel=6, stride=3, pad=1) | bias | tanh",
     Filtering{{2, 3}}},
    {"input(f32, 1x12x9x48) | transposed_conv(4, kernel=4x2, stride=2, groups=2) | bias", Filtering{{1, 3}}},
    {"input(f32, 2x14x17x28) | transposed_conv(1, kernel=7, stride=3, pad=3, output_pad=2) | bias",
     Filtering{{2, 2}}},
    {"input(f32, 1x13x12x24) | transposed_conv(3, kernel=3, stride=2) | relu",
     Filtering{{2, 2}, 0, false, false, 8}},
    {"input(f32, 1x190x48) | transposed_conv(2, kernel=8, stride=4, pad=2) | bias", Filtering{{3, 1}}},
    {"input(f32, 2x57x36) | transposed_conv(1, kernel=160, stride=40) | bias | tanh", Filtering{{2, 1}, 1}},
    {"input(f32, 1x33x20) | transposed_conv(2, kernel=96, stride=48, pad=48) | scale | bias",
     Filtering{{2, 1}, 2}},
    {"input(f32, 2x53x24) | transposed_conv(1, kernel=192, stride=96) | bias", Filtering{{2, 1}, 1, true}},
    {"input(f32, 2x7x9x24) | transposed_conv(70, kernel=4, stride=2, pad=1) | bias | relu",
     Filtering{{3, 3}, 1, true, true}},
    {"input(f32, 2x8x7x36) | nearest_upsample(2) | conv(67, kernel=3, pad=1) | bias | add",
     Filtering{{3, 2}, 2, true, true, 12}},
    {"input(f32, 1x9x8x36, numeric=fast) | transposed_conv(90, kernel=3, stride=2, groups=2)",
     Filtering{{2, 2}, 1, true, true}},
    {"input(f32, 2x17x19x24) | transposed_conv(1, kernel=2, stride=2) | bias | sigmoid",
     Columns{4, 2, 2, false, 4}},
    {"input(f32, 1x14x11x48) | leaky_relu(0.125) | conv(2, kernel=2, pad=1) | prelu", Columns{4, 1, 3}},
    {"input(f32, 3x13x12x32) | conv(3, kernel=1) | bias | add", Columns{4, 2, 1}},
    {"input(f32, 1x9x17x64) | conv(1, kernel=1) | relu", Columns{1, 4, 4}},
    {"input(f32, 1x5x6x7x16) | transposed_conv(1, kernel=2, stride=2) | bias", Columns{4, 1, 1}},
    {"input(f32, 2x37x64) | transposed_conv(2, kernel=4, stride=2, pad=1) | bias", Columns{2, 4, 2, true}},
    {"input(f32, 1x9x8x32) | transposed_conv(4, kernel=2x1, stride=2, groups=2)", Columns{4, 2, 2, false, 4}},
};

// Tasks that end inside a row.
CpuFiltering schedule_of(const PhaseConvolution &layer, const TargetFacts &facts, const Filtering &one) {
    CpuFiltering record{one.tile};
    record.merge_phases = !one.apart;
    record.split_blocks = one.split;
    record.chain = one.chain;
    record.lanes = facts.vector_lanes;
    const auto channels = static_cast<int>(channels_of_blocks(layer, record));
    record.vectors = one.vectors > 0 ? one.vectors : (channels + record.lanes - 1) / record.lanes;
    record.tiles = 3;
    record.task_tiles = 12;
    if (facts.multiply_by_lane && layer.channels_per_output() % 4 == 0)
        record.stage_lanes = record.unroll = 4;
    return record;
}

// As many lanes as divide the channels, and tasks of rows that end inside the image.
CpuColumns schedule_of(const PhaseConvolution &layer, const TargetFacts &facts, const Columns &one) {
    CpuColumns record;
    record.across_channels = true;
    record.lanes = facts.vector_lanes;
    while (layer.channels_per_output() % record.lanes != 0)
        record.lanes /= 2;
    record.vectors = one.vectors;
    record.tile_x = one.tile_x;
    record.unroll = one.unroll;
    record.rows = 4;
    record.blocks_outermost = one.blocks_outermost;
    record.output_lanes = one.output_lanes;
    return record;
}

// On the first of the instruction sets and, in turn, one of the others.
void check(const Target &target, const std::vector<TargetFacts> &sets, const std::string &where) {
    const auto installation = find_installation();
    ASSERT_TRUE(installation.ok()) << installation.error();
    const auto runner = make_runner(where, target);
    ASSERT_TRUE(runner.ok()) << runner.error();
    std::size_t turn = 0;
    for (const Case &one : cases) {
        std::vector<TargetFacts> chosen = {sets[0]};
        if (sets.size() > 1) chosen.push_back(sets[1 + turn++ % (sets.size() - 1)]);
        const ParseResult parsed = parse_layers("layer = " + std::string(one.layer), "variants");
        ASSERT_TRUE(parsed.ok()) << one.layer;
        const Layer &layer = parsed.layers[0];
        const PhaseConvolution convolution = std::get<PhaseConvolution>(lower(layer));
        for (const TargetFacts &facts : chosen) {
            const ScheduleRecord schedule = std::visit(
                [&](const auto &variant) -> ScheduleRecord {
                    return {schedule_of(convolution, facts, variant)};
                },
                one.schedule);
            SCOPED_TRACE(facts.instruction_set + ": " + one.layer + ", " + to_json(schedule).dump());
            const auto violated = violated_constraint(convolution, facts, schedule);
            ASSERT_FALSE(violated.has_value()) << *violated;
            const auto failure = check_on_odd_sizes(layer, target, facts, schedule, *installation, **runner);
            EXPECT_FALSE(failure.has_value()) << failure->detail;
        }
    }
}

TEST(ScheduleVariants, AgreeWithTheReferenceHere) {
    check(host_target(), own_instruction_sets(), "local");
}

TEST(ScheduleVariants, AgreeWithTheReferenceOnAArch64) {
    if (!program_exists("qemu-aarch64") || !program_exists("aarch64-linux-gnu-gcc"))
        GTEST_SKIP() << "qemu-aarch64 or aarch64-linux-gnu-gcc is not installed";
    const Target &target = *find_target("aarch64");
    check(target, target.instruction_sets, "command:qemu-aarch64");
}

} // namespace
} // namespace unstride
