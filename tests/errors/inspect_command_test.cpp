// `unstride inspect`: what it prints for a kernel, and what it refuses.
#include "tests/temporary_folder.h"
#include "tools/files.h"
#include "tools/library/process.h"

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

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

class InspectCommand : public TemporaryFolderTest {
protected:
    void SetUp() override {
        TemporaryFolderTest::SetUp();
        file_ = path("a.layers").string();
        const auto written = write_file_atomically(
            file_, "up = input(f32, 1x8x8x16) | transposed_conv(16, kernel=2, stride=2)\n"
                   "moved = input(f32, 1x8x8x16) | pixel_shuffle(2)\n");
        ASSERT_TRUE(written.ok()) << written.error();
    }

    ProcessResult inspect(const std::vector<std::string> &more) const {
        std::vector<std::string> arguments = {UNSTRIDE_PROGRAM, "inspect", file_};
        arguments.insert(arguments.end(), more.begin(), more.end());
        return run_process(arguments, {}, {"XDG_DATA_HOME=" + path("").string()});
    }

    std::string file_;
};

TEST_F(InspectCommand, ShowsTheHotLoopAndSaysThatCyclesAreModelled) {
    const ProcessResult shown =
        inspect({"--layer", "up", "--target", "aarch64", "--instruction-set", "neon"});
    ASSERT_TRUE(shown.ok()) << shown.errors;
    for (const char *part : {"up for neon", "analytic default", "multiply-adds", "modelled, not measured",
                             "cortex-a55", "neoverse-n1", "neoverse-v1", "fmla v"})
        EXPECT_TRUE(has(shown.output, part)) << part << "\n" << shown.output;
}

TEST_F(InspectCommand, WritesJson) {
    const ProcessResult shown = inspect({"--target", "aarch64", "--format", "json"});
    ASSERT_TRUE(shown.ok()) << shown.errors;
    const auto json = nlohmann::json::parse(shown.output);
    ASSERT_EQ(json.size(), 2u);
    const auto &loop = json[0]["hot_loop"];
    EXPECT_EQ(json[0]["layer"], "up");
    EXPECT_GT(loop["counts"]["vector_multiply_adds"], 0);
    EXPECT_EQ(json[0]["modelled"].size(), 3u);
    EXPECT_GT(json[0]["modelled"][0]["cycles"], 0);
    EXPECT_EQ(loop["instructions"][0]["bytes"].get<std::string>().size(), 8u);
    EXPECT_TRUE(json[1]["hot_loop"].is_null()) << "moving elements multiplies nothing";
    EXPECT_TRUE(json[1]["modelled"].empty());
}

TEST_F(InspectCommand, ReadsPtx) {
    const ProcessResult shown = inspect({"--layer", "up", "--target", "cuda"});
    ASSERT_TRUE(shown.ok()) << shown.errors;
    EXPECT_TRUE(has(shown.output, "fma.rn.f32")) << shown.output;
    EXPECT_FALSE(has(shown.output, "modelled")) << shown.output;
}

// Each takes one value, so that what follows is the file.
TEST_F(InspectCommand, OptionsMayStandBeforeTheFile) {
    for (const std::vector<std::string> &options :
         {std::vector<std::string>{"--instruction-set", "mmx"}, {"--layer", "up", "--layer", "none"}}) {
        std::vector<std::string> arguments = {UNSTRIDE_PROGRAM, "inspect"};
        arguments.insert(arguments.end(), options.begin(), options.end());
        arguments.push_back(file_);
        const ProcessResult refused = run_process(arguments, {}, {"XDG_DATA_HOME=" + path("").string()});
        EXPECT_TRUE(has(refused.errors, "'" + options.back() + "'")) << refused.errors;
    }
}

TEST_F(InspectCommand, RefusesWhatItCannotShow) {
    const auto expect_refusal = [&](const std::vector<std::string> &arguments, int code, const char *part) {
        const ProcessResult refused = inspect(arguments);
        EXPECT_EQ(refused.exit_code, code) << refused.errors;
        EXPECT_TRUE(has(refused.errors, part)) << refused.errors;
        EXPECT_EQ(refused.output, "");
    };
    expect_refusal({"--target", "vax"}, 2, "unknown target 'vax'; there are x86-64");
    expect_refusal({"--target", "aarch64", "--instruction-set", "avx2"}, 2,
                   "target aarch64 has no instruction set 'avx2'; it has neon");
    expect_refusal({"--target", "opencl"}, 2, "nothing to inspect");
    expect_refusal({"--format", "html"}, 2, "--format");
    expect_refusal({"--layer", "down"}, 1, "there is no layer 'down'; it has up, moved");
    expect_refusal({"--db", path("none").string()}, 1, "there is no such database");
}

} // namespace
} // namespace unstride
