// `unstride init`: the tensors it writes, its refusals, and what is left on the disk.
#include "compiler/weights/initialisers.h"
#include "tests/temporary_folder.h"
#include "tools/files.h"
#include "tools/library/process.h"
#include "tools/npy.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

namespace unstride {
namespace {

namespace fs = std::filesystem;

bool has(const std::string &text, const std::string &part) {
    return text.find(part) != std::string::npos;
}

class InitCommand : public TemporaryFolderTest {
protected:
    // Runs `init` on a file that holds the chain as its only layer, `up`.
    ProcessResult init(const std::string &chain, const std::vector<std::string> &more = {}) const {
        const auto written = write_file_atomically(path("net.layers"), "up = " + chain + "\n");
        EXPECT_TRUE(written.ok());
        std::vector<std::string> arguments = {
            UNSTRIDE_PROGRAM,      "init", path("net.layers").string(), "--layer", "up", "--output",
            path("w.npy").string()};
        arguments.insert(arguments.end(), more.begin(), more.end());
        return run_process(arguments, {}, {});
    }

    NpyArray array() const {
        const auto read = read_npy(path("w.npy"));
        EXPECT_TRUE(read.ok()) << (read.ok() ? "" : read.error());
        return read.ok() ? *read : NpyArray{};
    }
};

TEST_F(InitCommand, BilinearWritesTheTensorOfTheFrameworks) {
    const ProcessResult result = init(
        "input(f32, ?x?x?x3) | transposed_conv(3, kernel=4, stride=2, pad=1) | bias", {"--kind", "bilinear"});
    ASSERT_EQ(result.exit_code, 0) << result.errors;
    EXPECT_TRUE(has(result.output, "w.npy: bilinear weights of up, shape 3x3x4x4")) << result.output;
    EXPECT_EQ(result.errors, "");
    const Tensor expected = bilinear_kernel(3, 1, {4, 4});
    EXPECT_EQ(array(), (NpyArray{expected.shape, expected.values}));
}

TEST_F(InitCommand, BilinearWarnsOfAShiftedUpsampling) {
    const ProcessResult result =
        init("input(f32, 1x4x4x1) | transposed_conv(1, kernel=63, stride=32)", {"--kind", "bilinear"});
    EXPECT_EQ(result.exit_code, 0);
    EXPECT_TRUE(
        has(result.errors, "warning: layer up: height: kernel 63 with stride 32 is no bilinear upsampling"))
        << result.errors;
    EXPECT_TRUE(has(result.errors, "warning: layer up: width: ")) << result.errors;
}

TEST_F(InitCommand, IcnrFollowsTheShuffle) {
    const std::string conv = "input(f32, 1x4x4x2) | conv(12, kernel=3, pad=1) | bias | pixel_shuffle(2";
    ASSERT_EQ(init(conv + ")").exit_code, 0);
    const NpyArray crd = array();
    EXPECT_EQ(crd.shape, (std::vector<std::int64_t>{12, 2, 3, 3}));
    ASSERT_EQ(init(conv + ", order=dcr)", {"--kind", "icnr"}).exit_code, 0);
    const NpyArray dcr = array();
    for (std::size_t c = 0; c < 3; c++)
        for (std::size_t pixel = 0; pixel < 4; pixel++)
            for (std::size_t i = 0; i < 18; i++) {
                EXPECT_EQ(crd.values[(c * 4 + pixel) * 18 + i], crd.values[c * 4 * 18 + i]);
                EXPECT_EQ(dcr.values[(pixel * 3 + c) * 18 + i], crd.values[c * 4 * 18 + i]);
            }
    EXPECT_NE(crd.values[0], crd.values[4 * 18]);
}

TEST_F(InitCommand, TheSeedDecides) {
    const std::string chain = "input(f32, 1x4x4x2) | conv(3, kernel=3)";
    const auto values = [&](const std::string &seed) {
        const ProcessResult result = init(chain, {"--kind", "normal", "--seed", seed});
        EXPECT_EQ(result.exit_code, 0) << result.errors;
        return array().values;
    };
    EXPECT_EQ(values("1"), values("1"));
    EXPECT_NE(values("1"), values("2"));
    ASSERT_EQ(init(chain).exit_code, 0);
    EXPECT_EQ(array().values, values("0"));
}

TEST_F(InitCommand, RefusalsNameTheStageAndTheRemedyAndWriteNothing) {
    const auto refused = [&](const std::string &chain, const std::string &kind, const std::string &message) {
        const ProcessResult result = init(chain, {"--kind", kind});
        EXPECT_EQ(result.exit_code, 1);
        EXPECT_TRUE(has(result.errors, message)) << result.errors;
        EXPECT_FALSE(fs::exists(path("w.npy")));
    };
    refused("input(f32, 1x4x4x2) | conv(2, kernel=3)", "bilinear",
            "net.layers:1:28: conv: bilinear weights are for a transposed_conv; use --kind icnr or normal");
    refused("input(f32, 1x4x4x2) | transposed_conv(3, kernel=4, stride=2)", "bilinear",
            "bilinear weights need as many output as input channels, got 3 and 2; use --kind normal");
    refused("input(f32, 1x4x4x2) | conv(2, kernel=3)", "icnr",
            "icnr needs a pixel_shuffle after the convolution; use --kind normal");
    refused("input(f32, 1x4x4x2) | conv(4, kernel=3, groups=2) | pixel_shuffle(2)", "icnr",
            "icnr needs groups=1, got 2; use --kind normal");
    refused("input(f32, 1x4x4x2) | relu", "normal", "up has no convolution with learned weights");
    refused("input(f32, 1x4x4x2) | conv(2, kernel=0)", "normal", "kernel must be at least 1, got 0");
    refused("input(f32, 1x4x4x2000000) | conv(2000000, kernel=1)", "normal", "init writes at most");
}

TEST_F(InitCommand, WrongUsageExitsWithTwo) {
    const std::string chain = "input(f32, 1x4x4x2) | conv(2, kernel=3)";
    EXPECT_EQ(init(chain, {"--kind", "xavier"}).exit_code, 2);
    EXPECT_EQ(init(chain, {"--seed", "-1"}).exit_code, 2);
    EXPECT_EQ(init(chain, {"--seed", "many"}).exit_code, 2);
    EXPECT_EQ(run_process({UNSTRIDE_PROGRAM, "init"}, {}, {}).exit_code, 2);
    const ProcessResult help = run_process({UNSTRIDE_PROGRAM, "init", "--help"}, {}, {});
    EXPECT_EQ(help.exit_code, 0);
    for (const char *part : {"FILE.layers", "FILE.npy", "bilinear|icnr|normal", "--seed"})
        EXPECT_TRUE(has(help.output, part)) << help.output;
}

TEST_F(InitCommand, AFileThatCannotBeWrittenIsNamed) {
    const auto written =
        write_file_atomically(path("net.layers"), "up = input(f32, 1x4x2) | conv(2, kernel=3)\n");
    ASSERT_TRUE(written.ok());
    const ProcessResult failed = run_process({UNSTRIDE_PROGRAM, "init", path("net.layers").string(),
                                              "--layer", "up", "-o", path("no/w.npy").string()},
                                             {}, {});
    EXPECT_EQ(failed.exit_code, 1);
    EXPECT_TRUE(has(failed.errors, "no/w.npy: cannot")) << failed.errors;
    const ProcessResult unknown = run_process({UNSTRIDE_PROGRAM, "init", path("net.layers").string(),
                                               "--layer", "down", "-o", path("w.npy").string()},
                                              {}, {});
    EXPECT_EQ(unknown.exit_code, 1);
    EXPECT_TRUE(has(unknown.errors, "there is no layer 'down'; it has up")) << unknown.errors;
}

} // namespace
} // namespace unstride
