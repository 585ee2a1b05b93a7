// Every answer of the runtime that does not come from threads or devices: arguments, packed weights, scratch
// memory, boxes, instruction sets, errors inside kernels. A refused call must leave the output alone.
#include "fake_call.h"

#include <cerrno>
#include <cstdint>
#include <cstring>
#include <fstream>
#include <limits>
#include <set>
#include <sstream>
#include <string>
#include <sys/mman.h>

namespace {

constexpr std::int64_t huge = std::int64_t{1} << 40;

// Spoils a right call and expects a code and a part of the text.
template<typename Spoil>
void expect_refused(const unstride_layer &layer, int code, const char *text, Spoil spoil) {
    FakeCall call(layer);
    spoil(call);
    EXPECT_STREQ(fake_status_name(call.run()), fake_status_name(code));
    EXPECT_NE(call.error().find(text), std::string::npos) << call.error();
    EXPECT_TRUE(call.untouched());
    EXPECT_EQ(fake.boxes, 0);
}

TEST_F(Runtime, EveryCodeHasANameAndASentence) {
    std::set<std::string> names, texts;
    for (int code = UNSTRIDE_OK; code <= UNSTRIDE_INTERNAL; code++) {
        EXPECT_EQ(std::strncmp(fake_status_name(code), "UNSTRIDE_", 9), 0);
        names.insert(fake_status_name(code));
        texts.insert(fake_status_text(code));
    }
    EXPECT_EQ(names.size(), UNSTRIDE_INTERNAL + 1u);
    EXPECT_EQ(texts.size(), UNSTRIDE_INTERNAL + 1u);
    for (const int unknown : {-1, UNSTRIDE_INTERNAL + 1, std::numeric_limits<int>::max()})
        EXPECT_STREQ(fake_status_name(unknown), "UNSTRIDE_UNKNOWN_STATUS");
}

TEST_F(Runtime, ComputesWholePhases) {
    FakeCall call(fake_up);
    ASSERT_EQ(call.run(), UNSTRIDE_OK) << call.error();
    EXPECT_TRUE(call.right());
    EXPECT_EQ(fake.boxes, 1);
}

TEST_F(Runtime, CoversOddSizesByFourBoxes) {
    FakeCall call(fake_odd);
    ASSERT_EQ(call.run(), UNSTRIDE_OK) << call.error();
    EXPECT_TRUE(call.right());
    EXPECT_EQ(fake.boxes, 4);
    EXPECT_EQ(fake.q_extent[0], 1);
    EXPECT_EQ(fake.u_min[0], 3);
    EXPECT_EQ(fake.u_extent[0], 1);
    EXPECT_EQ(fake.u_min[1], 4);
}

TEST_F(Runtime, KernelThatBoundsItsStoresIsGivenAllPhases) {
    FakeCall call(fake_bounded);
    ASSERT_EQ(call.output.shape[2], 7);
    ASSERT_EQ(call.run(), UNSTRIDE_OK) << call.error();
    EXPECT_TRUE(call.right());
    EXPECT_EQ(fake.boxes, 2); // on y
    EXPECT_EQ(fake.q_extent[0], 2);
    EXPECT_EQ(fake.u_min[0], 0);
    EXPECT_EQ(fake.u_extent[0], 4);
    EXPECT_EQ(fake.q_extent[1], 1);
    EXPECT_EQ(fake.u_min[1], 4);
}

TEST_F(Runtime, OutputSmallerThanThePhasesIsOneBox) {
    FakeCall call(fake_odd, fake_library(), 1, 1, 1);
    ASSERT_EQ(call.run(), UNSTRIDE_OK) << call.error();
    EXPECT_TRUE(call.right());
    EXPECT_EQ(fake.boxes, 1);
}

TEST_F(Runtime, ChannelsFirst) {
    FakeCall call(fake_chw);
    EXPECT_EQ(call.output.shape[1], 3);
    EXPECT_EQ(call.output.shape[2], 9);
    EXPECT_EQ(call.output.shape[3], 7);
    ASSERT_EQ(call.run(), UNSTRIDE_OK) << call.error();
    EXPECT_TRUE(call.right());
    EXPECT_EQ(fake.boxes, 4);
    FakeCall line(fake_line_chw);
    ASSERT_EQ(line.run(), UNSTRIDE_OK) << line.error();
    EXPECT_TRUE(line.right());
}

TEST_F(Runtime, ThreeSpatialAxesTakeUpToEightBoxes) {
    FakeCall call(fake_volume);
    EXPECT_EQ(call.output.shape[1], 5);
    ASSERT_EQ(call.run(), UNSTRIDE_OK) << call.error();
    EXPECT_TRUE(call.right());
    EXPECT_EQ(fake.boxes, 8);
    for (int axis = 0; axis < 3; axis++) {
        EXPECT_EQ(fake.q_extent[axis], 1);
        EXPECT_EQ(fake.u_extent[axis], 1);
        EXPECT_EQ(fake.u_min[axis], (axis == 0 ? 4 : axis == 1 ? 5 : 3) - 1);
    }
    EXPECT_EQ(fake.kernel_rank, 5);
}

TEST_F(Runtime, EveryGroupHasItsChannelsAndWeights) {
    for (const unstride_layer *layer : {&fake_grouped, &fake_grouped_chw}) {
        fake.boxes = fake.packs = 0;
        FakeCall call(*layer);
        EXPECT_EQ(fake.packs, 3);
        EXPECT_EQ(fake.kernel_rank, 4);
        EXPECT_EQ(fake.kernel_extent[2], 2);
        EXPECT_EQ(fake.kernel_extent[3], 2);
        for (const int count : fake.channel_values)
            EXPECT_EQ(count, 2);
        ASSERT_EQ(call.run(), UNSTRIDE_OK) << call.error();
        EXPECT_TRUE(call.right());
        EXPECT_EQ(fake.boxes, 3 * 4);
        EXPECT_EQ(call.packed.bytes(), 64u + 3 * 4 * 3 * 2 * 2 * 4 + 3 * 64);
    }
}

TEST_F(Runtime, PackingPassesOneZeroForWhatALayerHasNot) {
    const FakeCall call(fake_up);
    EXPECT_EQ(fake.packs, 1);
    EXPECT_EQ(fake.kernel_extent[3], 3);
    EXPECT_EQ(fake.channel_values[0], 3);
    EXPECT_EQ(fake.channel_values[1], 1);
    EXPECT_EQ(fake.channel_values[2], 1);
}

TEST_F(Runtime, SizesFollowTheirSteps) {
    const auto answer = [](std::int64_t height, std::int64_t width) {
        const std::int64_t shape[] = {1, height, width, 3};
        std::int64_t result[4];
        const int status = fake_output_shape(&fake_stepped, shape, result);
        EXPECT_TRUE(status != UNSTRIDE_OK || (result[1] == 4 && result[2] == 4));
        return status;
    };
    EXPECT_EQ(answer(10, 100), UNSTRIDE_OK);
    EXPECT_EQ(answer(10, 11), UNSTRIDE_WRONG_SHAPE);
    EXPECT_STREQ(fake_last_error(),
                 "stepped: input: size 11 on axis 2 (width): a stage asks for a multiple of 2, got 11");
    EXPECT_EQ(answer(8, 10), UNSTRIDE_WRONG_SHAPE);
    EXPECT_STREQ(fake_last_error(),
                 "stepped: input: size 8 on axis 1 (height): a stage asks for at least 6, got 5");
    EXPECT_EQ(answer(2, 10), UNSTRIDE_EMPTY_TENSOR);
    EXPECT_STREQ(fake_last_error(), "stepped: output: an input of 2 on axis 1 (height) leaves a size of -1");
}

TEST_F(Runtime, OneSpatialAxisWithoutWeights) {
    FakeCall call(fake_line);
    ASSERT_EQ(call.output.shape[1], 4 * 4 + 3);
    ASSERT_EQ(call.run(), UNSTRIDE_OK) << call.error();
    EXPECT_TRUE(call.right(4));
    EXPECT_EQ(fake.boxes, 2);
}

TEST_F(Runtime, WhereNothingIsPackedNoWeightsAreAskedFor) {
    FakeCall call(fake_line);
    EXPECT_EQ(fake_packed_bytes(&fake_line), 0u);
    EXPECT_EQ(call.arguments.packed, nullptr);
    unsigned char untouched[64];
    std::memset(untouched, 0x5a, sizeof untouched);
    EXPECT_EQ(fake_pack(&fake_line, nullptr, nullptr, 0), UNSTRIDE_OK);
    EXPECT_EQ(fake_pack(&fake_line, nullptr, untouched + 1, sizeof untouched - 1), UNSTRIDE_OK);
    for (const unsigned char byte : untouched)
        EXPECT_EQ(byte, 0x5a);
    EXPECT_EQ(fake.packs, 0);
    call.arguments.packed = untouched;
    ASSERT_EQ(call.run(), UNSTRIDE_OK) << call.error();
    EXPECT_TRUE(call.right(4));
    unstride_weights surplus{};
    surplus.bias = call.bias.data();
    EXPECT_EQ(fake_pack(&fake_line, &surplus, nullptr, 0), UNSTRIDE_WRONG_SHAPE);
}

TEST_F(Runtime, PackedWeightsOfTheLibrary) {
    FakeCall call(fake_held);
    call.arguments.packed = nullptr;
    std::memset(fake_held_weights, 0, sizeof fake_held_weights);
    EXPECT_EQ(call.run(), UNSTRIDE_NOT_PACKED);
    ASSERT_LE(call.packed.bytes(), sizeof fake_held_weights);
    std::memcpy(fake_held_weights, call.packed.data(), call.packed.bytes());
    ASSERT_EQ(call.run(), UNSTRIDE_OK) << call.error();
    EXPECT_TRUE(call.right());
    std::memset(call.packed.data(), 0, call.packed.bytes());
    EXPECT_EQ(fake_pack(&fake_held, nullptr, call.packed.data(), call.packed.bytes() - 1),
              UNSTRIDE_BUFFER_TOO_SMALL);
    EXPECT_EQ(fake_pack(&fake_held, nullptr, nullptr, call.packed.bytes()), UNSTRIDE_NULL_ARGUMENT);
    ASSERT_EQ(fake_pack(&fake_held, nullptr, call.packed.data(), call.packed.bytes()), UNSTRIDE_OK);
    EXPECT_EQ(std::memcmp(call.packed.data(), fake_held_weights, call.packed.bytes()), 0);
    ASSERT_EQ(fake_set_instruction_set("plain"), UNSTRIDE_OK);
    EXPECT_EQ(call.run(), UNSTRIDE_STALE_WEIGHTS);
    ASSERT_EQ(fake_set_instruction_set(nullptr), UNSTRIDE_OK);
    call.kernel[0] = 7;
    ASSERT_EQ(call.pack(), UNSTRIDE_OK);
    call.arguments.packed = call.packed.data();
    ASSERT_EQ(call.run(), UNSTRIDE_OK) << call.error();
    EXPECT_TRUE(call.right());
}

TEST_F(Runtime, WritesIntoAChannelSliceAndReadsFromItsNeighbour) {
    FakeCall call(fake_crop, fake_library(), 9, 8);
    std::vector<float> larger(2 * 9 * 8 * 10, FakeCall::unwritten);
    const auto slice = [&](unstride_tensor &view, int first) {
        view.data = larger.data() + first;
        view.stride[2] = 10;
        view.stride[1] = 80;
        view.stride[0] = 720;
    };
    slice(call.output, 6);
    slice(call.input, 1);
    ASSERT_EQ(call.run(), UNSTRIDE_OK) << call.error();
    EXPECT_TRUE(call.right(1));
    for (std::size_t i = 0; i < larger.size(); i++) {
        const std::size_t channel = i % 10, x = i / 10 % 8, y = i / 80 % 9;
        const bool written = channel >= 6 && channel < 9 && x < 4 && y < 5;
        EXPECT_EQ(larger[i] != FakeCall::unwritten, written) << i;
    }
    slice(call.output, 3);
    EXPECT_EQ(call.run(), UNSTRIDE_OVERLAP);
    slice(call.output, 9);
    EXPECT_EQ(call.run(), UNSTRIDE_OVERLAP);
}

// Channels-first slices of a batch interleave as whole blocks, windows as parts of rows.
TEST_F(Runtime, TellsChannelsFirstSlicesFromOverlap) {
    FakeCall call(fake_line_chw, fake_library(), 1, 4);
    std::vector<float> larger(2 * 7 * 8, FakeCall::unwritten);
    const auto slice = [&](unstride_tensor &view, int channel, int first) {
        view.data = larger.data() + channel * 8 + first;
        view.stride[1] = 8;
        view.stride[0] = 7 * 8;
    };
    slice(call.output, 4, 0);
    slice(call.input, 1, 2);
    std::copy(call.input_values.begin(), call.input_values.begin() + 12, larger.begin() + 8);
    ASSERT_EQ(call.run(), UNSTRIDE_OK) << call.error();
    EXPECT_TRUE(call.right());
    slice(call.input, 2, 2);
    EXPECT_EQ(call.run(), UNSTRIDE_OVERLAP);
    slice(call.input, 1, 1);
    call.input.stride[2] = 2;
    EXPECT_EQ(call.run(), UNSTRIDE_WRONG_STRIDE);
    EXPECT_EQ(call.error(), "line_chw: input: stride 2 on axis 2 (width), it must be 1");
}

TEST_F(Runtime, EmptyBatchWritesNothing) {
    FakeCall call(fake_up);
    call.input.shape[0] = call.output.shape[0] = 0;
    call.arguments.packed = nullptr;
    EXPECT_EQ(call.run(), UNSTRIDE_OK);
    EXPECT_TRUE(call.untouched());
    EXPECT_EQ(fake.boxes, 0);
    const std::int64_t shape[] = {0, 5, 4, 3};
    EXPECT_EQ(fake_scratch_bytes(&fake_up, shape, 1), 0u);
}

TEST_F(Runtime, RefusesNulls) {
    const unstride_layer &layer = fake_odd;
    expect_refused(layer, UNSTRIDE_NULL_ARGUMENT, "input is null",
                   [](FakeCall &c) { c.arguments.input = nullptr; });
    expect_refused(layer, UNSTRIDE_NULL_ARGUMENT, "output is null",
                   [](FakeCall &c) { c.arguments.output = nullptr; });
    expect_refused(layer, UNSTRIDE_NULL_ARGUMENT, "add is null",
                   [](FakeCall &c) { c.arguments.add = nullptr; });
    expect_refused(layer, UNSTRIDE_NULL_ARGUMENT, "packed is null",
                   [](FakeCall &c) { c.arguments.packed = nullptr; });
    expect_refused(layer, UNSTRIDE_NULL_ARGUMENT, "input: data", [](FakeCall &c) { c.input.data = nullptr; });
    expect_refused(layer, UNSTRIDE_NULL_ARGUMENT, "output: data",
                   [](FakeCall &c) { c.output.data = nullptr; });
    expect_refused(layer, UNSTRIDE_NULL_ARGUMENT, "add: data", [](FakeCall &c) { c.add.data = nullptr; });
    EXPECT_EQ(fake_run(nullptr, nullptr), UNSTRIDE_NULL_ARGUMENT);
    EXPECT_EQ(fake_run(&layer, nullptr), UNSTRIDE_NULL_ARGUMENT);
    std::int64_t shape[4] = {1, 1, 1, 3};
    EXPECT_EQ(fake_output_shape(&layer, nullptr, shape), UNSTRIDE_NULL_ARGUMENT);
    EXPECT_EQ(fake_output_shape(&layer, shape, nullptr), UNSTRIDE_NULL_ARGUMENT);
}

TEST_F(Runtime, RefusesForeignLayersAndVersions) {
    FakeCall call(fake_up);
    EXPECT_EQ(fake_run(&gpu_up, &call.arguments), UNSTRIDE_WRONG_LAYER);
    EXPECT_EQ(fake_packed_bytes(&gpu_up), 0u);
    EXPECT_EQ(fake_schedule(&gpu_up), nullptr);
    EXPECT_EQ(fake_run(&fake_old, &call.arguments), UNSTRIDE_WRONG_ABI);
    EXPECT_TRUE(call.untouched());
}

TEST_F(Runtime, RefusesRanksAndShapes) {
    expect_refused(fake_up, UNSTRIDE_WRONG_RANK, "up: input: rank 3, the layer's is 4",
                   [](FakeCall &c) { c.input.rank = 3; });
    expect_refused(fake_up, UNSTRIDE_WRONG_RANK, "output: rank 9", [](FakeCall &c) { c.output.rank = 9; });
    expect_refused(fake_odd, UNSTRIDE_WRONG_RANK, "add: rank -1", [](FakeCall &c) { c.add.rank = -1; });
    expect_refused(fake_up, UNSTRIDE_WRONG_SHAPE, "input: size 4 on axis 3 (channels), the layer asks for 3",
                   [](FakeCall &c) { c.input.shape[3] = 4; });
    expect_refused(fake_up, UNSTRIDE_WRONG_SHAPE,
                   "up: output: size 9 on axis 1 (height), the input's 5 asks for 10",
                   [](FakeCall &c) { c.output.shape[1] = 9; });
    expect_refused(fake_up, UNSTRIDE_WRONG_SHAPE, "output: size 7 on axis 2 (width)",
                   [](FakeCall &c) { c.output.shape[2] = 7; });
    expect_refused(fake_up, UNSTRIDE_WRONG_SHAPE, "output: size 3 on axis 0 (batch)",
                   [](FakeCall &c) { c.output.shape[0] = 3; });
    expect_refused(fake_up, UNSTRIDE_WRONG_SHAPE, "input: size -1 on axis 0",
                   [](FakeCall &c) { c.input.shape[0] = -1; });
    expect_refused(fake_odd, UNSTRIDE_WRONG_SHAPE, "add: size 2 on axis 3",
                   [](FakeCall &c) { c.add.shape[3] = 2; });
    expect_refused(fake_up, UNSTRIDE_WRONG_SHAPE, "adds no second tensor",
                   [](FakeCall &c) { c.arguments.add = &c.add; });
    expect_refused(fake_chw, UNSTRIDE_WRONG_SHAPE, "input: size 4 on axis 1 (channels), the layer asks for 3",
                   [](FakeCall &c) { c.input.shape[1] = 4; });
    expect_refused(fake_chw, UNSTRIDE_WRONG_SHAPE,
                   "output: size 2 on axis 1 (channels), the layer asks for 3",
                   [](FakeCall &c) { c.output.shape[1] = 2; });
    expect_refused(fake_chw, UNSTRIDE_WRONG_SHAPE,
                   "output: size 8 on axis 3 (width), the input's 4 asks for 7",
                   [](FakeCall &c) { c.output.shape[3] = 8; });
    expect_refused(fake_volume, UNSTRIDE_WRONG_SHAPE, "output: size 4 on axis 1 (depth)",
                   [](FakeCall &c) { c.output.shape[1] = 4; });
    expect_refused(fake_line, UNSTRIDE_WRONG_SHAPE, "the layer asks for 2",
                   [](FakeCall &c) { c.input.shape[0] = 1; });
}

TEST_F(Runtime, RefusesEmptyTensors) {
    expect_refused(fake_up, UNSTRIDE_EMPTY_TENSOR, "input: size 0 on axis 1",
                   [](FakeCall &c) { c.input.shape[1] = 0; });
    expect_refused(fake_up, UNSTRIDE_EMPTY_TENSOR, "input: size -5 on axis 2",
                   [](FakeCall &c) { c.input.shape[2] = -5; });
    expect_refused(fake_up, UNSTRIDE_EMPTY_TENSOR, "output: size 0",
                   [](FakeCall &c) { c.output.shape[2] = 0; });
    const std::int64_t shape[] = {1, 4, 9, 3};
    std::int64_t result[4];
    EXPECT_EQ(fake_output_shape(&fake_crop, shape, result), UNSTRIDE_EMPTY_TENSOR);
    EXPECT_STREQ(fake_last_error(), "crop: output: an input of 4 on axis 1 (height) leaves a size of 0");
}

TEST_F(Runtime, RefusesStrides) {
    expect_refused(fake_up, UNSTRIDE_WRONG_STRIDE, "input: stride 2 on axis 3 (channels), it must be 1",
                   [](FakeCall &c) { c.input.stride[3] = 2; });
    expect_refused(fake_up, UNSTRIDE_WRONG_STRIDE,
                   "output: stride 2 on axis 2 (width), the axes inside it span 3",
                   [](FakeCall &c) { c.output.stride[2] = 2; });
    expect_refused(fake_up, UNSTRIDE_WRONG_STRIDE, "output: stride -24",
                   [](FakeCall &c) { c.output.stride[1] = -24; });
    expect_refused(fake_up, UNSTRIDE_WRONG_STRIDE, "input: stride 0",
                   [](FakeCall &c) { c.input.stride[0] = 0; });
    expect_refused(fake_odd, UNSTRIDE_WRONG_STRIDE, "add: stride 1",
                   [](FakeCall &c) { c.add.stride[1] = 1; });
}

TEST_F(Runtime, IgnoresStridesOfSingleElements) {
    FakeCall call(fake_odd, fake_library(), 1, 1, 1);
    for (int axis = 0; axis < 3; axis++)
        call.input.stride[axis] = call.output.stride[axis] = call.add.stride[axis] = -huge;
    EXPECT_EQ(call.run(), UNSTRIDE_OK) << call.error();
}

TEST_F(Runtime, RefusesSizesBeyondTheKernels) {
    expect_refused(fake_up, UNSTRIDE_SIZE_OVERFLOW, "beyond 2^31 - 1",
                   [](FakeCall &c) { c.input.shape[1] = huge; });
    expect_refused(fake_up, UNSTRIDE_SIZE_OVERFLOW, "output: the size on axis 1",
                   [](FakeCall &c) { c.input.shape[1] = std::numeric_limits<std::int32_t>::max(); });
    expect_refused(fake_up, UNSTRIDE_SIZE_OVERFLOW, "more than 2^31 - 1 elements", [](FakeCall &c) {
        c.input.shape[1] = c.input.shape[2] = 1 << 16;
        c.output.shape[1] = c.output.shape[2] = 1 << 17;
        c.input.stride[1] = 3 << 16;
        c.input.stride[0] = huge;
    });
    expect_refused(fake_up, UNSTRIDE_SIZE_OVERFLOW, "size 2 times stride",
                   [](FakeCall &c) { c.output.stride[0] = huge; });
    expect_refused(fake_up, UNSTRIDE_SIZE_OVERFLOW, "size 10 times stride",
                   [](FakeCall &c) { c.output.stride[1] = std::numeric_limits<std::int64_t>::max() / 2; });
    for (unstride_tensor FakeCall::*view : {&FakeCall::output, &FakeCall::add}) {
        expect_refused(fake_bounded, UNSTRIDE_SIZE_OVERFLOW, "rounded up to a multiple of 2, times stride",
                       [view](FakeCall &c) {
                           c.input.shape[0] = c.output.shape[0] = c.add.shape[0] = 1;
                           unstride_tensor &changed = c.*view;
                           changed.stride[1] = std::numeric_limits<std::int32_t>::max() / changed.shape[1];
                       });
    }
}

TEST_F(Runtime, RefusesOverlap) {
    expect_refused(fake_up, UNSTRIDE_OVERLAP, "overlaps input", [](FakeCall &c) {
        c.output_values.resize(c.output_values.size() + c.input_values.size(), FakeCall::unwritten);
        c.output.data = c.output_values.data();
        c.input.data = c.output_values.data() + c.output_values.size() - c.input_values.size() - 1;
    });
    expect_refused(fake_odd, UNSTRIDE_OVERLAP, "overlaps add", [](FakeCall &c) {
        c.output_values.resize(c.output_values.size() + 8, FakeCall::unwritten);
        c.output.data = c.output_values.data();
        c.add.data = c.output_values.data() + 1;
    });
    expect_refused(fake_up, UNSTRIDE_OVERLAP, "overlaps the packed weights",
                   [](FakeCall &c) { c.output.data = static_cast<float *>(c.packed.data()) + 70; });
}

TEST_F(Runtime, AddMayBeTheOutputItself) {
    FakeCall call(fake_odd);
    call.output_values.assign(call.output_values.size(), 1000.0f);
    call.arguments.add = &call.output;
    ASSERT_EQ(call.run(), UNSTRIDE_OK) << call.error();
    EXPECT_TRUE(call.right());
}

TEST_F(Runtime, RefusesMisalignedPointers) {
    const auto shift = [](const void *pointer, int bytes) {
        return reinterpret_cast<float *>(reinterpret_cast<std::uintptr_t>(pointer) +
                                         static_cast<std::uintptr_t>(bytes));
    };
    expect_refused(fake_up, UNSTRIDE_MISALIGNED, "input: data",
                   [&](FakeCall &c) { c.input.data = shift(c.input.data, 1); });
    expect_refused(fake_up, UNSTRIDE_MISALIGNED, "output: data",
                   [&](FakeCall &c) { c.output.data = shift(c.output.data, 2); });
    expect_refused(fake_up, UNSTRIDE_MISALIGNED, "packed",
                   [&](FakeCall &c) { c.arguments.packed = shift(c.packed.data(), 32); });
    expect_refused(fake_up, UNSTRIDE_MISALIGNED, "scratch", [&](FakeCall &c) {
        c.arguments.scratch = shift(c.packed.data(), 4);
        c.arguments.scratch_bytes = 1 << 20;
    });
}

TEST_F(Runtime, TellsWhatIsWrongWithPackedWeights) {
    const auto corrupt = [](std::size_t offset) {
        return [offset](FakeCall &c) { static_cast<unsigned char *>(c.packed.data())[offset] ^= 1; };
    };
    expect_refused(fake_up, UNSTRIDE_NOT_PACKED, "begins with", corrupt(0));
    for (std::size_t offset = 8; offset < 64; offset++)
        expect_refused(fake_up, UNSTRIDE_NOT_PACKED, "checksum", corrupt(offset));
    expect_refused(fake_up, UNSTRIDE_FOREIGN_WEIGHTS, "packed: for the layer of hash", [](FakeCall &c) {
        unstride_weights weights{};
        weights.kernel = c.kernel.data();
        ASSERT_EQ(fake_pack(&fake_odd, &weights, c.packed.data(), c.packed.bytes()), UNSTRIDE_OK);
    });
    expect_refused(fake_up, UNSTRIDE_STALE_WEIGHTS, "packed: for the kernel of identity",
                   [](FakeCall &) { ASSERT_EQ(fake_set_instruction_set("plain"), UNSTRIDE_OK); });
}

// The header as the runtime lays it out, so that fields can be changed under a right checksum.
TEST_F(Runtime, TellsStaleWeightsUnderARightChecksum) {
    const auto change = [](std::size_t offset) {
        return [offset](FakeCall &c) {
            auto *bytes = static_cast<unsigned char *>(c.packed.data());
            bytes[offset] ^= 1;
            std::uint64_t hash = 14695981039346656037u;
            for (int i = 0; i < 56; i++)
                hash = (hash ^ bytes[i]) * 1099511628211u;
            std::memcpy(bytes + 56, &hash, sizeof hash);
        };
    };
    expect_refused(fake_up, UNSTRIDE_STALE_WEIGHTS, "interface version", change(8));
    expect_refused(fake_up, UNSTRIDE_STALE_WEIGHTS, "interface version", change(12));
    expect_refused(fake_up, UNSTRIDE_FOREIGN_WEIGHTS, "hash", change(16));
    expect_refused(fake_up, UNSTRIDE_STALE_WEIGHTS, "identity", change(24));
    expect_refused(fake_up, UNSTRIDE_STALE_WEIGHTS, "bytes of weights", change(32));
}

TEST_F(Runtime, ChecksTheArgumentsOfPack) {
    FakeCall call(fake_up);
    const auto pack = [&](const float *kernel, const float *bias, void *packed, std::size_t bytes) {
        unstride_weights weights{};
        weights.kernel = kernel;
        weights.bias = bias;
        return fake_pack(&fake_up, &weights, packed, bytes);
    };
    const float *kernel = call.kernel.data(), *bias = call.bias.data();
    void *packed = call.packed.data();
    const std::size_t bytes = call.packed.bytes();
    EXPECT_EQ(fake_pack(nullptr, nullptr, packed, bytes), UNSTRIDE_NULL_ARGUMENT);
    EXPECT_EQ(fake_pack(&fake_up, nullptr, packed, bytes), UNSTRIDE_NULL_ARGUMENT);
    EXPECT_EQ(pack(nullptr, bias, packed, bytes), UNSTRIDE_NULL_ARGUMENT);
    EXPECT_EQ(pack(kernel, nullptr, packed, bytes), UNSTRIDE_NULL_ARGUMENT);
    EXPECT_EQ(pack(kernel, bias, nullptr, bytes), UNSTRIDE_NULL_ARGUMENT);
    EXPECT_EQ(pack(kernel, bias, packed, bytes - 1), UNSTRIDE_BUFFER_TOO_SMALL);
    EXPECT_EQ(pack(kernel, bias, static_cast<char *>(packed) + 4, bytes), UNSTRIDE_MISALIGNED);
    EXPECT_EQ(pack(static_cast<float *>(packed) + 8, bias, packed, bytes), UNSTRIDE_OVERLAP);
    EXPECT_EQ(pack(kernel, static_cast<float *>(packed) + 8, packed, bytes), UNSTRIDE_OVERLAP);
    unstride_weights surplus = call.weights();
    EXPECT_EQ(fake_pack(&fake_odd, &surplus, packed, bytes), UNSTRIDE_WRONG_SHAPE);
    EXPECT_STREQ(fake_last_error(), "odd: weights: a bias is given, the layer has none");
    surplus.scale = bias;
    EXPECT_EQ(fake_pack(&fake_up, &surplus, packed, bytes), UNSTRIDE_WRONG_SHAPE);
    EXPECT_STREQ(fake_last_error(), "up: weights: a scale is given, the layer has none");
    surplus.scale = nullptr;
    surplus.prelu = bias;
    EXPECT_EQ(fake_pack(&fake_up, &surplus, packed, bytes), UNSTRIDE_WRONG_SHAPE);
    EXPECT_STREQ(fake_last_error(), "up: weights: a prelu is given, the layer has none");
    fake.fail_code = -22;
    fake.fail_text = "packing went wrong\n";
    EXPECT_EQ(pack(kernel, bias, packed, bytes), UNSTRIDE_INTERNAL);
    EXPECT_STREQ(fake_last_error(), "up: pack: packing went wrong (code -22)");
    EXPECT_EQ(call.run(), UNSTRIDE_NOT_PACKED);
}

#ifdef __linux__
// What the system notes of the memory that holds `address`: "rd wr ... hg ...".
std::string memory_flags(const void *address) {
    std::ifstream maps("/proc/self/smaps");
    bool here = false;
    for (std::string line; std::getline(maps, line);) {
        unsigned long long begin = 0, end = 0;
        char dash = 0;
        std::istringstream range(line);
        if (range >> std::hex >> begin >> dash >> end && dash == '-')
            here = begin <= reinterpret_cast<std::uintptr_t>(address) &&
                   reinterpret_cast<std::uintptr_t>(address) < end;
        if (here && line.starts_with("VmFlags:")) return line + " ";
    }
    return "";
}

TEST_F(Runtime, PackingAsksForLargePages) {
    if (!std::ifstream("/sys/kernel/mm/transparent_hugepage/enabled"))
        GTEST_SKIP() << "this system has no large pages to ask for";
    const std::size_t bytes = fake_packed_bytes(&fake_wide), margin = std::size_t{4} << 20;
    ASSERT_GT(bytes, margin);
    const FakeCall call(fake_wide);
    const unstride_weights weights = call.weights();
    auto *memory = static_cast<char *>(
        mmap(nullptr, bytes + 2 * margin, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    ASSERT_NE(memory, MAP_FAILED);
    char *packed = memory + margin;
    errno = ENOENT;
    ASSERT_EQ(fake_pack(&fake_wide, &weights, packed, bytes), UNSTRIDE_OK);
    EXPECT_EQ(errno, ENOENT);
    EXPECT_NE(memory_flags(packed + bytes / 2).find(" hg "), std::string::npos);
    EXPECT_EQ(memory_flags(memory).find(" hg "), std::string::npos);
    EXPECT_EQ(memory_flags(packed + bytes + margin / 2).find(" hg "), std::string::npos);
    munmap(memory, bytes + 2 * margin);
}
#endif

TEST_F(Runtime, ChecksScaleAndPreluInPack) {
    FakeCall call(fake_grouped);
    const auto pack = [&](const float *unstride_weights::*member, const float *value) {
        unstride_weights weights = call.weights();
        weights.*member = value;
        return fake_pack(&fake_grouped, &weights, call.packed.data(), call.packed.bytes());
    };
    const auto *misaligned = reinterpret_cast<const float *>(reinterpret_cast<const char *>(&call) + 1);
    const float *inside = static_cast<const float *>(call.packed.data()) + 8;
    for (const auto member : {&unstride_weights::bias, &unstride_weights::scale, &unstride_weights::prelu}) {
        EXPECT_EQ(pack(member, nullptr), UNSTRIDE_NULL_ARGUMENT);
        EXPECT_NE(call.error().find("is null, the layer has one of 6"), std::string::npos) << call.error();
        EXPECT_EQ(pack(member, misaligned), UNSTRIDE_MISALIGNED);
        EXPECT_EQ(pack(member, inside), UNSTRIDE_OVERLAP);
    }
}

TEST_F(Runtime, ScratchIsAskedForAndUsed) {
    FakeCall call(fake_up);
    fake.allocate = (4 * 2 + 2) * (2 + 2) * 3 * 4 + 64;
    const std::uint64_t misses = fake_scratch_misses();
    ASSERT_EQ(call.run(), UNSTRIDE_OK) << call.error();
    const std::size_t bytes = fake_scratch_bytes(&fake_up, call.input.shape, 3);
    EXPECT_EQ(bytes, 3 * fake_scratch_bytes(&fake_up, call.input.shape, 1));
    unstride::runtime::AlignedMemory scratch;
    ASSERT_TRUE(scratch.allocate(bytes));
    call.arguments.threads = 3;
    call.arguments.scratch = scratch.data();
    call.arguments.scratch_bytes = bytes;
    ASSERT_EQ(call.run(), UNSTRIDE_OK) << call.error();
    EXPECT_EQ(fake_scratch_misses(), misses);
    call.arguments.scratch_bytes = bytes - 1;
    EXPECT_EQ(call.run(), UNSTRIDE_BUFFER_TOO_SMALL);
    call.arguments.scratch_bytes = bytes;
    call.arguments.scratch = call.packed.data();
    EXPECT_EQ(call.run(), UNSTRIDE_OVERLAP);
    EXPECT_EQ(fake_scratch_bytes(&fake_up, call.input.shape, 2000), 0u);
    EXPECT_EQ(fake_scratch_bytes(&fake_up, nullptr, 1), 0u);
}

TEST_F(Runtime, EveryBufferOfATaskHasASlot) {
    FakeCall call(fake_grouped);
    fake.allocate = 2 * (2 * 8 + 1) * (2 * 2) * 4 + 64;
    fake.more_buffers = 1;
    call.arguments.threads = 3;
    const std::uint64_t misses = fake_scratch_misses();
    ASSERT_EQ(call.run(), UNSTRIDE_OK) << call.error();
    EXPECT_TRUE(call.right());
    EXPECT_EQ(fake_scratch_misses(), misses);
    const std::size_t slot = (608 + 2 * 64 + 63) / 64 * 64;
    EXPECT_EQ(fake.allocate, 608);
    EXPECT_EQ(fake_scratch_bytes(&fake_grouped, call.input.shape, 3), 3 * 2 * slot);
    fake.more_buffers = 2;
    call.arguments.threads = 1;
    ASSERT_EQ(call.run(), UNSTRIDE_OK) << call.error();
    EXPECT_GT(fake_scratch_misses(), misses);
}

TEST_F(Runtime, RequestsBeyondTheSlotComeFromTheHeap) {
    FakeCall call(fake_up);
    const std::uint64_t misses = fake_scratch_misses();
    fake.allocate = 1 << 20;
    ASSERT_EQ(call.run(), UNSTRIDE_OK) << call.error();
    EXPECT_TRUE(call.right());
    EXPECT_EQ(fake_scratch_misses(), misses + 5);
}

TEST_F(Runtime, ErrorsInsideKernelsBecomeCodesWithText) {
    FakeCall call(fake_up);
    fake.fail_code = -8;
    fake.fail_text = "Constraint violated: input.stride.0 (2) == 1 (1)\n";
    EXPECT_EQ(call.run(), UNSTRIDE_INTERNAL);
    EXPECT_EQ(call.error(), "up: run: Constraint violated: input.stride.0 (2) == 1 (1) (code -8)");
    fake.failing_task = 2;
    EXPECT_EQ(call.run(), UNSTRIDE_INTERNAL);
    EXPECT_NE(call.error().find("Constraint violated"), std::string::npos) << call.error();
    fake.failing_task = -1;
    fake.fail_text = nullptr;
    EXPECT_EQ(call.run(), UNSTRIDE_INTERNAL);
    EXPECT_EQ(call.error(), "up: run: no text was given (code -8)");
    fake.fail_code = -11;
    EXPECT_EQ(call.run(), UNSTRIDE_OUT_OF_MEMORY);
    const std::string endless(5000, 'x');
    fake.fail_text = endless.c_str();
    EXPECT_EQ(call.run(), UNSTRIDE_OUT_OF_MEMORY);
    EXPECT_LT(call.error().size(), 512u);
}

TEST_F(Runtime, PrintsNothing) {
    testing::internal::CaptureStdout();
    testing::internal::CaptureStderr();
    FakeCall call(fake_up);
    fake.prints = 1;
    const int printing = call.run();
    fake.fail_code = -1;
    fake.fail_text = "an error";
    const int failing = call.run();
    const int refused = fake_run(nullptr, nullptr);
    EXPECT_EQ(testing::internal::GetCapturedStdout(), "");
    EXPECT_EQ(testing::internal::GetCapturedStderr(), "");
    EXPECT_EQ(printing, UNSTRIDE_OK);
    EXPECT_EQ(failing, UNSTRIDE_INTERNAL);
    EXPECT_EQ(refused, UNSTRIDE_NULL_ARGUMENT);
}

TEST_F(Runtime, InstructionSetsCanBeAskedAndForced) {
    EXPECT_STREQ(fake_instruction_set(), "fast");
    EXPECT_STREQ(fake_instruction_set_at(0), "future");
    EXPECT_STREQ(fake_instruction_set_at(2), "plain");
    EXPECT_EQ(fake_instruction_set_at(3), nullptr);
    EXPECT_EQ(fake_instruction_set_at(-1), nullptr);
    EXPECT_STREQ(fake_schedule(&fake_up), "{\"fake\": 1}");
    ASSERT_EQ(fake_set_instruction_set("plain"), UNSTRIDE_OK);
    EXPECT_STREQ(fake_schedule(&fake_up), "{\"fake\": 2}");
    EXPECT_STREQ(fake_schedule_grade(&fake_up), "made by hand");
    EXPECT_EQ(fake_set_instruction_set("future"), UNSTRIDE_UNSUPPORTED_CPU);
    EXPECT_EQ(fake_set_instruction_set("avx1024"), UNSTRIDE_UNKNOWN_INSTRUCTION_SET);
    EXPECT_STREQ(fake_last_error(), "set_instruction_set: library fake_library has no variant 'avx1024'");
    EXPECT_STREQ(fake_instruction_set(), "plain");
    ASSERT_EQ(fake_set_instruction_set(nullptr), UNSTRIDE_OK);
    EXPECT_STREQ(fake_instruction_set(), "fast");
}

TEST(FreshProcess, DISABLED_ForcedPlain) {
    EXPECT_STREQ(fake_instruction_set(), "plain");
    EXPECT_STREQ(gpu_instruction_set(), "fast");
}

TEST(FreshProcess, DISABLED_ForcedUnusable) {
    unstride_arguments arguments{};
    unstride_tensor view{};
    std::vector<float> values(12);
    const std::int64_t in[] = {1, 1, 1, 3}, out[] = {1, 2, 2, 3};
    view = unstride_dense(values.data(), 4, in);
    unstride_tensor output = unstride_dense(values.data(), 4, out);
    arguments.input = &view;
    arguments.output = &output;
    EXPECT_EQ(fake_instruction_set(), nullptr);
    EXPECT_EQ(fake_packed_bytes(&fake_up), 0u);
    EXPECT_EQ(std::to_string(fake_run(&fake_up, &arguments)), std::getenv("EXPECTED_STATUS"));
    EXPECT_EQ(fake_set_instruction_set(nullptr), UNSTRIDE_OK);
    EXPECT_STREQ(fake_instruction_set(), "fast");
}

TEST_F(Runtime, TheEnvironmentForcesAnInstructionSet) {
    EXPECT_TRUE(
        passes_in_fresh_process("FreshProcess.DISABLED_ForcedPlain", {"UNSTRIDE_INSTRUCTION_SET=plain"}));
    const auto unusable = [](const char *name, int status) {
        return passes_in_fresh_process(
            "FreshProcess.DISABLED_ForcedUnusable",
            {std::string("UNSTRIDE_INSTRUCTION_SET=") + name, "EXPECTED_STATUS=" + std::to_string(status)});
    };
    EXPECT_TRUE(unusable("avx1024", UNSTRIDE_UNKNOWN_INSTRUCTION_SET));
    EXPECT_TRUE(unusable("future", UNSTRIDE_UNSUPPORTED_CPU));
}

TEST_F(Runtime, WrapperGivesStatusValues) {
    namespace api = unstride::runtime;
    const api::Library library(fake_library());
    ASSERT_TRUE(library.check());
    EXPECT_EQ(api::Library(nullptr).check().code(), UNSTRIDE_NULL_ARGUMENT);
    unstride_library newer = *fake_library();
    newer.abi_version++;
    EXPECT_EQ(api::Library(&newer).check().code(), UNSTRIDE_WRONG_ABI);
    EXPECT_EQ(library.find("nothing"), -1);
    EXPECT_EQ(library.instruction_sets(), (std::vector<std::string>{"future", "fast", "plain"}));
    const api::Layer layer = library.layer(library.find("up"));
    api::Shape shape;
    ASSERT_TRUE(layer.output_shape({1, 2, 3, 3}, shape));
    EXPECT_EQ(shape, (api::Shape{1, 4, 6, 3}));
    EXPECT_EQ(layer.output_shape({1, 2, 3}, shape).code(), UNSTRIDE_WRONG_RANK);
    const std::vector<float> kernel(9, 2.0f), bias(3, 1.0f), input(18, 5.0f);
    std::vector<float> output(72);
    api::AlignedMemory packed;
    ASSERT_TRUE(layer.pack(kernel.data(), bias.data(), packed));
    ASSERT_TRUE(
        layer.run(api::view(input.data(), {1, 2, 3, 3}), packed.data(), api::view(output.data(), shape)));
    EXPECT_EQ(output, std::vector<float>(72, 11.0f));
    const api::Status status =
        layer.run(api::view(input.data(), {1, 2, 3, 3}), packed.data(), api::view(output.data(), {1, 2}));
    EXPECT_STREQ(status.name(), "UNSTRIDE_WRONG_RANK");
    EXPECT_EQ(status.message(), "up: output: rank 2, the layer's is 4");

    const api::Layer grouped = library.layer(library.find("grouped"));
    EXPECT_EQ(grouped.pack(kernel.data(), bias.data(), packed).code(), UNSTRIDE_NULL_ARGUMENT);
    const FakeCall call(fake_grouped);
    ASSERT_TRUE(grouped.pack(call.weights(), packed));
    EXPECT_EQ(packed.bytes(), grouped.packed_bytes());
    ASSERT_TRUE(library.layer(library.find("line")).pack({}, packed));
    EXPECT_EQ(packed.data(), nullptr);
}

} // namespace
