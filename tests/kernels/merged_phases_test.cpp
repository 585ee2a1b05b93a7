// Minimal filtering whose vectors hold the channels of all phases, which searches find and hardly any default
// takes: on every instruction set of this machine and on AArch64 under qemu, at odd sizes with several
// images.
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
#include <vector>

namespace unstride {
namespace {

struct Case {
    const char *chain;
    FilterTile tile;
    int vectors = 0; // of a block; 0 is as many as hold all phases
};

const Case cases[] = {
    {"input(f32, 2x17x19x24) | transposed_conv(3, kernel=4, stride=2, pad=1) | bias | leaky_relu(0.25)",
     {3, 3}},
    {"input(f32, 1x14x11x37) | conv(4, kernel=3, pad=1) | prelu | pixel_shuffle(2) | bias", {2, 2}},
    {"input(f32, 1x15x13x40) | relu | transposed_conv(2, kernel=4, stride=2) | scale | bias | crop(from=3x2, "
     "size=21x25)",
     {3, 2}},
    {"input(f32, 1x11x13x33) | transposed_conv(1, kernel=6, stride=3, pad=1) | bias | tanh", {2, 3}},
    {"input(f32, 1x12x9x48) | transposed_conv(4, kernel=4x2, stride=2, groups=2) | bias", {1, 3}},
    {"input(f32, 1x190x48) | transposed_conv(2, kernel=8, stride=4, pad=2) | bias", {3, 1}},
    {"input(f32, 2x57x36) | transposed_conv(1, kernel=160, stride=40) | bias | tanh", {2, 1}, 1},
    {"input(f32, 1x33x20) | transposed_conv(2, kernel=96, stride=48, pad=48) | scale | bias", {2, 1}, 2},
};

// Tasks that end inside a row.
CpuFiltering merged(const PhaseConvolution &layer, const TargetFacts &facts, const Case &one) {
    CpuFiltering record{one.tile};
    record.merge_phases = true;
    record.lanes = facts.vector_lanes;
    const auto channels = static_cast<int>(channels_of_blocks(layer, record));
    record.vectors = one.vectors > 0 ? one.vectors : (channels + record.lanes - 1) / record.lanes;
    record.tiles = 3;
    record.task_tiles = 12;
    if (facts.multiply_by_lane && layer.channels_per_output() % 4 == 0)
        record.stage_lanes = record.unroll = 4;
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
        const ParseResult parsed = parse_layers("layer = " + std::string(one.chain), "merged");
        ASSERT_TRUE(parsed.ok()) << one.chain;
        const Layer &layer = parsed.layers[0];
        const PhaseConvolution convolution = std::get<PhaseConvolution>(lower(layer));
        for (const TargetFacts &facts : chosen) {
            const ScheduleRecord schedule{merged(convolution, facts, one)};
            SCOPED_TRACE(facts.instruction_set + ": " + one.chain + ", " + to_json(schedule).dump());
            const auto violated = violated_constraint(convolution, facts, schedule);
            ASSERT_FALSE(violated.has_value()) << *violated;
            const auto failure = check_on_odd_sizes(layer, target, facts, schedule, *installation, **runner);
            EXPECT_FALSE(failure.has_value()) << failure->detail;
        }
    }
}

TEST(MergedPhases, AgreeWithTheReferenceHere) {
    check(host_target(), own_instruction_sets(), "local");
}

TEST(MergedPhases, AgreeWithTheReferenceOnAArch64) {
    if (!program_exists("qemu-aarch64") || !program_exists("aarch64-linux-gnu-gcc"))
        GTEST_SKIP() << "qemu-aarch64 or aarch64-linux-gnu-gcc is not installed";
    const Target &target = *find_target("aarch64");
    check(target, target.instruction_sets, "command:qemu-aarch64");
}

} // namespace
} // namespace unstride
