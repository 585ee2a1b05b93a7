// Kernels that fetch weights, pixels or lines of the output ahead: they compute what the reference does, and
// hold the prefetches that bring lines into the L2 cache or make them ready to be written, on the machine's
// own instruction set and, under qemu, on AArch64.
#include "compiler/language/parser.h"
#include "compiler/language/printer.h"
#include "schedules/record.h"
#include "schedules/target_facts.h"
#include "tests/temporary_folder.h"
#include "tools/analysis/object_code.h"
#include "tools/files.h"
#include "tools/library/host_machine.h"
#include "tools/library/installation.h"
#include "tools/library/kernel_compiler.h"
#include "tools/library/prefetch_hint.h"
#include "tools/library/process.h"
#include "tools/measure/candidate.h"
#include "tools/measure/runner.h"
#include "tools/tune/tuner.h"
#include "tools/tune/verify.h"

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <string>
#include <variant>
#include <vector>

namespace unstride {
namespace {

struct Case {
    const char *chain;
    // Lanes and what the instruction set asks for are filled in.
    std::variant<CpuDirect, CpuColumns, CpuFiltering, CpuChannelwise> schedule;
};

CpuDirect direct(int vectors, int tile_x, int tile_y, int strip, int rows) {
    CpuDirect record;
    record.vectors = vectors;
    record.tile_x = tile_x;
    record.tile_y = tile_y;
    record.strip = strip;
    record.rows = rows;
    return record;
}

CpuFiltering filtering(const FilterTile &tile, int strip = 0) {
    CpuFiltering record{tile};
    record.vectors = 2;
    record.tiles = 2;
    record.task_tiles = 12;
    record.strip = strip;
    return record;
}

CpuFiltering windows(const FilterTile &tile, int chain = 0) {
    CpuFiltering record = filtering(tile);
    record.merge_phases = record.prefetch_input = true;
    record.chain = chain;
    return record;
}

CpuFiltering split(const FilterTile &tile) {
    CpuFiltering record = filtering(tile);
    record.split_blocks = true;
    return record;
}

CpuColumns columns(int vectors, int tile_x, int rows) {
    CpuColumns record;
    record.vectors = vectors;
    record.tile_x = tile_x;
    record.rows = rows;
    record.unroll = 2;
    return record;
}

CpuChannelwise channelwise(bool lanes_along_x) {
    CpuChannelwise record;
    record.lanes_along_x = lanes_along_x;
    record.unroll_phases = 2;
    record.rows = 2;
    return record;
}

// Phases of as many taps and of different numbers, one and three axes, groups; both axes filtered and one,
// a block a task, and channels first, and windows of merged phases, also where these take unequal taps; one
// block of columns and several; moves, learned weights and filters, in vectors of channels, also overlapping
// ones, and of outputs.
const Case cases[] = {
    {"input(f32, 2x11x13x24) | transposed_conv(40, kernel=4, stride=2, pad=1) | bias", direct(2, 2, 1, 0, 2)},
    {"input(f32, 1x12x14x16) | transposed_conv(48, kernel=3, stride=2, groups=2) | relu",
     direct(1, 3, 1, 2, 3)},
    {"input(f32, 2x35x32) | leaky_relu(0.1) | transposed_conv(32, kernel=16, stride=8, pad=4)",
     direct(2, 4, 1, 0, 1)},
    {"input(f32, 1x5x6x7x16) | transposed_conv(32, kernel=2, stride=2) | bias", direct(2, 2, 1, 0, 2)},
    {"input(f32, 2x17x19x40) | transposed_conv(36, kernel=4, stride=2, pad=1) | bias", filtering({3, 2})},
    {"input(f32, 1x14x11x32) | conv(32, kernel=3x2, pad=1) | bias", filtering({1, 2})},
    {"input(f32, 2x12x13x24) | transposed_conv(72, kernel=4, stride=2, pad=1) | bias", split({3, 3})},
    {"input(f32, 1x32x21x34, layout=nchw) | conv(32, kernel=3, pad=1)", filtering({2, 2}, 16)},
    {"input(f32, 2x17x19x40) | transposed_conv(1, kernel=4, stride=2, pad=1) | bias", windows({3, 2})},
    {"input(f32, 1x14x11x36) | transposed_conv(2, kernel=3, stride=2)", windows({2, 2}, 12)},
    {"input(f32, 3x37x24) | conv(4, kernel=3, pad=1) | bias", windows({2, 1})},
    {"input(f32, 2x13x15x24) | transposed_conv(3, kernel=4, stride=2, pad=1) | bias", columns(3, 4, 4)},
    {"input(f32, 1x9x11x20) | transposed_conv(1, kernel=9, stride=2, pad=4, output_pad=1)", columns(1, 3, 5)},
    {"input(f32, 2x7x9x80) | pixel_shuffle(2) | relu", channelwise(false)},
    {"input(f32, 1x9x10x21) | transposed_conv(21, kernel=4, stride=2, groups=21)", channelwise(false)},
    {"input(f32, 1x6x11x13, layout=nchw) | bilinear_upsample(2)", channelwise(true)},
};

ScheduleRecord schedule_of(const Case &one, const PhaseConvolution &layer, const TargetFacts &facts) {
    return std::visit(
        [&](auto record) -> ScheduleRecord {
            record.lanes = facts.vector_lanes;
            record.prefetch = true;
            if constexpr (requires { record.prefetch_input; }) record.prefetch = !record.prefetch_input;
            if constexpr (requires { record.stage_lanes; })
                if (facts.multiply_by_lane && layer.layout == Layout::nhwc)
                    record.stage_lanes = record.unroll = 4;
            return {record};
        },
        one.schedule);
}

std::size_t count(const std::string &object, Architecture architecture, const std::string &text) {
    const auto functions = read_functions(object, architecture);
    EXPECT_TRUE(functions.ok()) << functions.error();
    const MachineCode code(architecture);
    std::size_t found = 0;
    for (const CodeFunction &function : *functions) {
        const auto *begin = reinterpret_cast<const std::uint8_t *>(function.bytes.data());
        for (std::size_t at = 0, size = 0; at < function.bytes.size(); at += size) {
            const auto decoded = code.decode({begin + at, function.bytes.size() - at}, function.address + at);
            if (!decoded) {
                ADD_FAILURE() << function.name << " holds what is no instruction";
                break;
            }
            size = decoded->size;
            found += decoded->text.starts_with(text) ? 1 : 0;
        }
    }
    return found;
}

void check(const Target &target, const TargetFacts &facts, const std::string &where) {
    const auto installation = find_installation();
    ASSERT_TRUE(installation.ok()) << installation.error();
    const auto runner = make_runner(where, target);
    ASSERT_TRUE(runner.ok()) << runner.error();
    const Architecture architecture = *architecture_of(facts.instruction_set);
    const bool x86 = architecture == Architecture::x86_64;
    for (const Case &one : cases) {
        const ParseResult parsed = parse_layers("layer = " + std::string(one.chain), "prefetch");
        ASSERT_TRUE(parsed.ok()) << one.chain;
        const Layer &layer = parsed.layers[0];
        const PhaseConvolution convolution = std::get<PhaseConvolution>(lower(layer));
        const ScheduleRecord schedule = schedule_of(one, convolution, facts);
        SCOPED_TRACE(facts.instruction_set + ": " + one.chain + ", " + to_json(schedule).dump());
        const auto violated = violated_constraint(convolution, facts, schedule);
        ASSERT_FALSE(violated.has_value()) << *violated;
        const auto failure = check_on_odd_sizes(layer, target, facts, schedule, *installation, **runner);
        EXPECT_FALSE(failure.has_value()) << failure->detail;

        const auto kernel = compile_kernel({print_chain(layer), facts, schedule, packs_weights(convolution)},
                                           *installation, cache_folder());
        ASSERT_TRUE(kernel.ok()) << kernel.error();
        const auto object = read_file(kernel->compute_object);
        ASSERT_TRUE(object.ok()) << object.error();
        const bool writes = std::holds_alternative<CpuChannelwise>(one.schedule);
        const char *const of_x86 = writes ? "prefetchw " : "prefetcht1 ";
        const char *const of_aarch64 = writes ? "prfm pstl1keep," : "prfm pldl2keep,";
        EXPECT_GT(count(*object, architecture, x86 ? of_x86 : of_aarch64), 0u);
        EXPECT_EQ(count(*object, architecture, x86 ? "prefetchnta " : "prfm pldl1strm,"), 0u);
    }
}

TEST(Prefetch, AgreesWithTheReferenceHere) {
    const auto sets = own_instruction_sets();
    check(host_target(), sets.front(), "local");
}

TEST(Prefetch, AgreesWithTheReferenceOnAArch64) {
    if (!program_exists("qemu-aarch64") || !program_exists("aarch64-linux-gnu-gcc"))
        GTEST_SKIP() << "qemu-aarch64 or aarch64-linux-gnu-gcc is not installed";
    const Target &target = *find_target("aarch64");
    check(target, target.instruction_sets.front(), "command:qemu-aarch64");
}

class HintOfPrefetches : public TemporaryFolderTest {};

TEST_F(HintOfPrefetches, OfWhatIsNoObjectIsAnError) {
    const auto hint = [&] {
        return set_prefetch_hint(path("kernel.o"), Architecture::x86_64, PrefetchHint::into_l2);
    };
    EXPECT_FALSE(hint().ok()) << "no file";
    write("kernel.o", "no object");
    const auto hinted = hint();
    ASSERT_FALSE(hinted.ok());
    EXPECT_NE(hinted.error().find("kernel.o: no ELF object file"), std::string::npos) << hinted.error();
    EXPECT_EQ(*read_file(path("kernel.o")), "no object");
}

} // namespace
} // namespace unstride
