// The `unstride` command on good and bad input: exit codes, messages, and what is left on the disk.
#include "tests/temporary_folder.h"
#include "tools/files.h"
#include "tools/library/process.h"
#include "tools/npy.h"

#include <fmt/format.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <chrono>
#include <filesystem>
#include <optional>
#include <sstream>
#include <string>
#include <vector>

namespace unstride {
namespace {

namespace fs = std::filesystem;

class Command : public TemporaryFolderTest {
protected:
    void write_array(const std::string &name, const std::vector<std::int64_t> &shape, float value) const {
        std::size_t count = 1;
        for (const std::int64_t size : shape)
            count *= static_cast<std::size_t>(size);
        const auto written = write_npy(path(name), shape, std::vector<float>(count, value));
        ASSERT_TRUE(written.ok()) << written.error();
    }

    ProcessResult unstride(std::vector<std::string> arguments,
                           const std::vector<std::string> &environment = {}) const {
        arguments.insert(arguments.begin(), UNSTRIDE_PROGRAM);
        return run_process(arguments, {}, environment);
    }

    ProcessResult build(const std::string &file, const std::vector<std::string> &more = {}) const {
        std::vector<std::string> arguments = {"build", path(file).string(),  "--target", "x86-64",
                                              "-o",    path("out").string(), "--quiet"};
        arguments.insert(arguments.end(), more.begin(), more.end());
        return unstride(arguments);
    }

    ProcessResult run(const std::string &file, const std::vector<std::string> &more = {}) const {
        std::vector<std::string> arguments = {"run",   path(file).string(),  "--data", path("").string(),
                                              "--out", path("out").string(), "--quiet"};
        arguments.insert(arguments.end(), more.begin(), more.end());
        return unstride(arguments);
    }
};

bool has(const std::string &text, const std::string &part) {
    return text.find(part) != std::string::npos;
}

constexpr const char *good_layer =
    "up = input(f32, 1x2x3x4) | transposed_conv(8, kernel=4, stride=2, pad=1) | bias\n";

TEST_F(Command, WrongUsageExitsWithTwo) {
    for (const std::vector<std::string> &arguments :
         std::vector<std::vector<std::string>>{{},
                                               {"nonsense"},
                                               {"build"},
                                               {"build", "a.layers"},
                                               {"run", "a.layers"},
                                               {"describe"},
                                               {"describe", "a", "--x"}}) {
        const ProcessResult result = unstride(arguments);
        EXPECT_EQ(result.exit_code, 2) << result.output << result.errors;
    }
    write("a.layers", good_layer);
    const ProcessResult target =
        unstride({"build", path("a.layers").string(), "--target", "vax", "-o", path("out").string()});
    EXPECT_EQ(target.exit_code, 2);
    EXPECT_TRUE(has(target.errors, "unknown target 'vax'; there are x86-64, aarch64, cuda, opencl"))
        << target.errors;
}

TEST_F(Command, HelpAndVersionSucceed) {
    for (const char *command : {"build", "run", "describe"}) {
        const ProcessResult help = unstride({command, "--help"});
        EXPECT_EQ(help.exit_code, 0);
        EXPECT_TRUE(has(help.output, "FILE.layers")) << help.output;
    }
    EXPECT_TRUE(has(unstride({"--version"}).output, "Halide 21"));
}

TEST_F(Command, LostOutputIsAFailure) {
    write("net.layers", good_layer);
    const std::string program = UNSTRIDE_PROGRAM;
    for (const std::string &arguments : {"describe " + path("net.layers").string(),
                                         std::string("describe --help"), std::string("--version")}) {
        const ProcessResult full =
            run_process({"/bin/sh", "-c", "exec " + program + " " + arguments + " > /dev/full"});
        EXPECT_EQ(full.exit_code, 1) << arguments;
        EXPECT_TRUE(has(full.errors, "error: ")) << full.errors;
        const ProcessResult closed =
            run_process({"/bin/sh", "-c", "exec " + program + " " + arguments + " >&-"});
        EXPECT_EQ(closed.exit_code, 1) << arguments;
    }
    // a failure keeps its own code
    const ProcessResult usage = run_process({"/bin/sh", "-c", "exec " + program + " describe > /dev/full"});
    EXPECT_EQ(usage.exit_code, 2);
}

// Each takes one value, so that what follows is the file.
TEST_F(Command, OptionsMayStandBeforeTheFile) {
    write("net.layers", std::string(good_layer) + "again = input(f32, 1x2x3x4) | conv(8, kernel=1)\n");
    const std::string file = path("net.layers").string();
    const ProcessResult both = unstride({"describe", "--layer", "up", "--layer", "again", file});
    EXPECT_EQ(both.exit_code, 0) << both.errors;
    EXPECT_TRUE(has(both.output, "up = ") && has(both.output, "again = ")) << both.output;
    const ProcessResult run = unstride(
        {"run", "--data", path("").string(), "--out", path("out").string(), "--layer", "down", file});
    EXPECT_EQ(run.exit_code, 1);
    EXPECT_TRUE(has(run.errors, "there is no layer 'down'")) << run.errors;
}

TEST_F(Command, AllErrorsOfAFileAreReportedAndNothingStaleStays) {
    write("net.layers", good_layer);
    ASSERT_EQ(build("net.layers").exit_code, 0);
    ASSERT_TRUE(fs::exists(path("out/x86-64/libnet.a")));
    write("net.layers", "a = input(f32, 1x2x3x4) | transposed_conv(8, kernel=0)\nb = input(f32, 1x2x3x4) | "
                        "conf(8, kernel=1)\n");
    const ProcessResult broken = build("net.layers");
    EXPECT_EQ(broken.exit_code, 1);
    EXPECT_TRUE(has(broken.errors, "net.layers:1:53: transposed_conv: kernel must be at least 1, got 0"))
        << broken.errors;
    EXPECT_TRUE(has(broken.errors, "net.layers:2:")) << broken.errors;
    EXPECT_FALSE(fs::exists(path("out/x86-64/libnet.a")));
    EXPECT_FALSE(fs::exists(path("out/x86-64/net.h")));
    EXPECT_FALSE(fs::exists(path("out/x86-64/manifest.json")));
}

TEST_F(Command, WhatCannotBeCompiledIsRefusedByName) {
    write("net.layers",
          std::string(good_layer) +
              "two = input(f32, 1x2x3x4) | conv(4, kernel=1) | conv(4, kernel=1)\n"
              "near = input(f32, 1x2x3x4) | nearest_upsample(2) | transposed_conv(4, kernel=2)\n");
    const ProcessResult refused = build("net.layers");
    EXPECT_EQ(refused.exit_code, 1);
    EXPECT_TRUE(has(refused.errors, "cannot follow a convolution or bilinear_upsample in one kernel; begin a "
                                    "second layer here (layer two)"))
        << refused.errors;
    EXPECT_TRUE(has(refused.errors, "net.layers:3:52: transposed_conv: cannot follow nearest_upsample in one "
                                    "kernel; begin a second layer here (layer near)"))
        << refused.errors;
    EXPECT_FALSE(fs::exists(path("out/x86-64/libnet.a")));
    EXPECT_EQ(build("net.layers", {"--layer", "up"}).exit_code, 0);
    const ProcessResult unknown = build("net.layers", {"--layer", "down"});
    EXPECT_EQ(unknown.exit_code, 1);
    EXPECT_TRUE(has(unknown.errors, "there is no layer 'down'; it has up, two, near")) << unknown.errors;
}

TEST_F(Command, NamesMustBeIdentifiers) {
    write("net.layers", "run = input(f32, 1x2x3x4) | conv(4, kernel=1)\n");
    EXPECT_TRUE(has(build("net.layers").errors, "net_run is a function of the library"));
    write("net.layers", good_layer);
    EXPECT_EQ(build("net.layers", {"--name", "two words"}).exit_code, 1);
    EXPECT_EQ(build("net.layers", {"--name", "while"}).exit_code, 1);
    write("victim.h", "");
    const ProcessResult outside = build("net.layers", {"--name", "../../victim"});
    EXPECT_EQ(outside.exit_code, 1);
    EXPECT_TRUE(has(outside.errors, "a C identifier is needed")) << outside.errors;
    EXPECT_TRUE(fs::exists(path("victim.h")));
}

TEST_F(Command, FileMayFollowOptionsThatRepeat) {
    write("net.layers", good_layer);
    const ProcessResult result =
        unstride({"build", "-q", "-o", path("out").string(), "--layer", "up", "--instruction-set", "avx2",
                  "--target", "x86-64", path("net.layers").string()});
    EXPECT_EQ(result.exit_code, 0) << result.errors;
}

TEST_F(Command, DamagedCacheEntriesAreMadeAnew) {
    write("net.layers", good_layer);
    const std::vector<std::string> cache = {"UNSTRIDE_CACHE_DIR=" + path("cache").string()};
    const std::vector<std::string> arguments = {"build", "-q",     path("net.layers").string(),
                                                "-t",    "x86-64", "--instruction-set",
                                                "avx2",  "-o",     path("out").string()};
    ASSERT_EQ(unstride(arguments, cache).exit_code, 0);
    for (const char *part : {"_compute.o", "_pack.o", "halide_runtime.o"}) {
        fs::path object;
        for (const auto &entry : fs::recursive_directory_iterator(path("cache"))) {
            if (entry.path().string().ends_with(part)) object = entry.path();
        }
        ASSERT_FALSE(object.empty()) << part;
        fs::resize_file(object, 0);
        const ProcessResult again = unstride(arguments, cache);
        EXPECT_EQ(again.exit_code, 0) << again.errors;
        EXPECT_GT(fs::file_size(object), 0u) << part;
    }
}

TEST_F(Command, UnreadableAndUnwritablePlacesAreErrors) {
    EXPECT_EQ(build("missing.layers").exit_code, 1);
    write("net.layers", good_layer);
    write("out", "a file where the folder should be");
    const ProcessResult blocked = build("net.layers");
    EXPECT_EQ(blocked.exit_code, 1);
    EXPECT_TRUE(has(blocked.errors, "out")) << blocked.errors;
    fs::create_symlink("loop", path("loop"));
    const ProcessResult cacheless =
        unstride({"build", path("net.layers").string(), "-t", "x86-64", "-q", "-o", path("other").string()},
                 {"UNSTRIDE_CACHE_DIR=" + path("loop").string()});
    EXPECT_EQ(cacheless.exit_code, 1);
    EXPECT_TRUE(has(cacheless.errors, "UNSTRIDE_CACHE_DIR names another cache")) << cacheless.errors;
}

TEST_F(Command, ManifestTellsWhatIsInside) {
    write("net.layers", good_layer);
    const ProcessResult built = build("net.layers", {"--name", "mine"});
    ASSERT_EQ(built.exit_code, 0) << built.errors;
    EXPECT_TRUE(has(built.output, "analytic default"));
    const auto text = read_file(path("out/x86-64/manifest.json"));
    ASSERT_TRUE(text.ok()) << text.error();
    const auto manifest = nlohmann::json::parse(*text);
    EXPECT_EQ(manifest["name"], "mine");
    EXPECT_EQ(manifest["target"], "x86-64");
    EXPECT_EQ(manifest["layers"][0]["text"],
              "input(f32, 1x2x3x4) | transposed_conv(8, kernel=4, stride=2, pad=1) | bias");
    EXPECT_EQ(manifest["layers"][0]["output_shape"], (std::vector<int>{1, 4, 6, 8}));
    ASSERT_EQ(manifest["layers"][0]["kernels"].size(), 3u);
    EXPECT_EQ(manifest["layers"][0]["kernels"][1]["instruction_set"], "avx2");
    EXPECT_EQ(manifest["layers"][0]["kernels"][1]["schedule_grade"], "analytic default");
    EXPECT_GT(manifest["layers"][0]["kernels"][1]["object_bytes"], 0);
    EXPECT_EQ(manifest["archive_bytes"], fs::file_size(path("out/x86-64/libmine.a")));
    EXPECT_FALSE(has(*text, path("").string())) << "a path of this machine is in the manifest";
    // a second build makes the same manifest, from the cache
    const ProcessResult again = build("net.layers", {"--name", "mine"});
    EXPECT_TRUE(has(again.output, "3 kernels (3 from cache)")) << again.output;
    EXPECT_EQ(*read_file(path("out/x86-64/manifest.json")), *text);
}

constexpr const char *filtered_layer =
    "up = input(f32, 1x16x16x128) | transposed_conv(64, kernel=4, stride=2, pad=1) | bias\n";

TEST_F(Command, ManifestAndHeaderTellTheForm) {
    write("net.layers", std::string(filtered_layer) +
                            "own = input(f32, 1x16x16x128, numeric=exact) | transposed_conv(64, kernel=4, "
                            "stride=2, pad=1)\n"
                            "three = input(f32, 1x128x128x128) | conv(128, kernel=3, pad=1)\n");
    const ProcessResult built = build("net.layers", {"--instruction-set", "avx2"});
    ASSERT_EQ(built.exit_code, 0) << built.errors;
    const auto manifest = nlohmann::json::parse(*read_file(path("out/x86-64/manifest.json")));
    const nlohmann::json &kernel = manifest["layers"][0]["kernels"][0];
    const nlohmann::json &form = kernel["form"];
    EXPECT_EQ(form["name"], "minimal_filtering");
    ASSERT_EQ(form["axes"].size(), 2u) << form;
    EXPECT_EQ(
        form["axes"][0],
        nlohmann::json(
            {{"axis", "height"}, {"outputs", 3}, {"taps", 2}, {"points", {"0", "1", "-1", "infinity"}}}));
    EXPECT_NEAR(form["multiplications_per_output"], 128 * 16.0 / 9, 0.01);
    EXPECT_NEAR(form["relative_error"], 0.87, 0.01);
    EXPECT_NEAR(form["error_factor"], 9 * (1 + 11.0 / 128), 0.01);
    EXPECT_EQ(kernel["packed_weight_bytes"], (4 * 16 * 128 + 1) * 64 * 4);
    EXPECT_GT(kernel["scratch_bytes_per_thread"], 0);
    const nlohmann::json &own = manifest["layers"][1]["kernels"][0];
    EXPECT_EQ(own["form"]["name"], "direct");
    EXPECT_EQ(own["form"]["axes"].size(), 0u);
    EXPECT_EQ(own["form"]["relative_error"], 1);
    EXPECT_EQ(own["packed_weight_bytes"], (16 * 128 * 64 + 1) * 4);
    EXPECT_EQ(form["chain"], 0);
    const nlohmann::json &three = manifest["layers"][2]["kernels"][0]["form"];
    EXPECT_EQ(three["axes"][0]["outputs"], 4);
    EXPECT_GT(three["chain"], 0); // without, such tiles are none of numeric=safe
    EXPECT_LT(three["relative_error"], 1.2);
    const std::string header = *read_file(path("out/x86-64/net.h"));
    EXPECT_TRUE(
        has(header, fmt::format("infinity, {} channels a chain; rounding", three["chain"].get<int>())));
    const std::string line = "On avx2: minimal filtering, F(3, 2) on height and width, points 0, 1, -1, "
                             "infinity; rounding errors (root mean square) are 0.87 times";
    EXPECT_TRUE(has(header, line)) << header.substr(header.find("/* input"));
    const std::size_t first = header.find("minimal filtering");
    EXPECT_EQ(header.find("minimal filtering", first + 1),
              header.rfind("minimal filtering")); // of two layers
}

TEST_F(Command, WeightBytesCanBeBounded) {
    write("net.layers", filtered_layer);
    const std::vector<std::string> avx2 = {
        "build", path("net.layers").string(), "--target",          "x86-64",
        "-o",    path("out").string(),        "--instruction-set", "avx2"};
    const auto bounded = [&](const char *bytes) {
        std::vector<std::string> arguments = avx2;
        arguments.insert(arguments.end(), {"--max-weight-bytes", bytes});
        return unstride(arguments);
    };
    const ProcessResult free = unstride(avx2);
    EXPECT_TRUE(has(free.output, "packed weights: avx2 2049 KiB, 1536 KiB of them for minimal filtering"))
        << free.output;
    const ProcessResult enough = bounded("2097408");
    EXPECT_FALSE(has(enough.output, "no minimal filtering")) << enough.output;
    const ProcessResult direct = bounded("2097407");
    ASSERT_EQ(direct.exit_code, 0) << direct.errors;
    EXPECT_TRUE(has(direct.output,
                    "up for avx2: no minimal filtering, whose packed weights would take 2097408 "
                    "bytes"))
        << direct.output;
    const auto manifest = nlohmann::json::parse(*read_file(path("out/x86-64/manifest.json")));
    EXPECT_EQ(manifest["layers"][0]["kernels"][0]["form"]["name"], "direct");
    const ProcessResult none = bounded("1000");
    EXPECT_EQ(none.exit_code, 1);
    EXPECT_TRUE(has(none.errors, "layer up for avx2: its packed weights take 524544 bytes, more than "
                                 "--max-weight-bytes 1000"))
        << none.errors;
    EXPECT_FALSE(fs::exists(path("out/x86-64/libnet.a")));
    EXPECT_EQ(bounded("-1").exit_code, 2);
}

TEST_F(Command, RunComputesAndReportsAsJson) {
    write("net.layers", "ones = input(f32, 1x?x?x2) | transposed_conv(3, kernel=2, stride=2) | bias\n");
    write_array("ones.input.npy", {1, 2, 3, 2}, 1);
    write_array("ones.weights.npy", {2, 3, 2, 2}, 0.5f);
    write_array("ones.bias.npy", {3}, 0.25f);
    const ProcessResult result = run("net.layers", {"--json", "--threads", "1"});
    ASSERT_EQ(result.exit_code, 0) << result.errors;
    const auto json = nlohmann::json::parse(result.output);
    for (const char *key : {"name", "median_ms", "minimum_ms", "samples", "gflops", "threads",
                            "instruction_set", "schedule", "schedule_grade"}) {
        EXPECT_TRUE(json.contains(key)) << key;
    }
    EXPECT_EQ(json["threads"], 1);
    const auto output = read_npy(path("out/ones.output.npy"), std::vector<std::int64_t>{1, 4, 6, 3});
    ASSERT_TRUE(output.ok()) << output.error();
    for (const float value : output->values)
        EXPECT_EQ(value, 1.25f);
}

TEST_F(Command, RunTakesScaleAndPreluInAnyRankAndLayout) {
    write("net.layers",
          "line = input(f32, 1x2x?, layout=nchw) | transposed_conv(3, kernel=2, stride=2) | bias | "
          "relu | scale | prelu\n"
          "volume = input(f32, 1x2x1x?x2) | conv(4, kernel=1, groups=2) | scale | prelu\n"
          "moved = input(f32, 1x4x2x?, layout=nchw) | pixel_shuffle(2)\n");
    write_array("line.input.npy", {1, 2, 5}, 1);
    write_array("line.weights.npy", {2, 3, 2}, 0.5f);
    write_array("line.bias.npy", {3}, 1);
    write_array("line.scale.npy", {3}, -3);
    write_array("line.prelu.npy", {3}, 0.25f);
    write_array("volume.input.npy", {1, 2, 1, 3, 2}, 2);
    write_array("volume.weights.npy", {4, 1, 1, 1, 1}, -3);
    write_array("volume.scale.npy", {4}, 4);
    write_array("volume.prelu.npy", {4}, 0.5f);
    write_array("moved.input.npy", {1, 4, 2, 3}, 7);
    const ProcessResult result = run("net.layers");
    ASSERT_EQ(result.exit_code, 0) << result.errors;
    const auto expect = [&](const char *file, const std::vector<std::int64_t> &shape, float wanted) {
        const auto output = read_npy(path(file), shape);
        ASSERT_TRUE(output.ok()) << output.error();
        for (const float value : output->values)
            EXPECT_EQ(value, wanted) << file;
    };
    expect("out/line.output.npy", {1, 3, 10}, -1.5f);
    expect("out/volume.output.npy", {1, 2, 1, 3, 4}, -12);
    expect("out/moved.output.npy", {1, 1, 4, 6}, 7);
    write_array("line.prelu.npy", {2}, 0.25f);
    const ProcessResult refused = run("net.layers", {"--layer", "line"});
    EXPECT_EQ(refused.exit_code, 1);
    EXPECT_TRUE(has(refused.errors, "line.prelu.npy: shape must be 3, got 2")) << refused.errors;
}

TEST_F(Command, OneLayersFailureDoesNotStopTheOthers) {
    write("net.layers",
          "bad = input(f32, 1x2x2x1) | conv(1, kernel=1)\ngood = input(f32, 1x2x2x1) | conv(1, kernel=1)\n"
          "never = input(f32, 1x2x2x1) | conv(1, kernel=1) | conv(1, kernel=1)\n");
    write_array("bad.input.npy", {1, 2, 3, 1}, 1);
    write_array("bad.weights.npy", {1, 1, 1, 1}, 2);
    write_array("good.input.npy", {1, 2, 2, 1}, 1);
    write_array("good.weights.npy", {1, 1, 1, 1}, 2);
    const ProcessResult result = run("net.layers");
    EXPECT_EQ(result.exit_code, 1);
    EXPECT_TRUE(has(result.errors, "layer bad: ")) << result.errors;
    EXPECT_TRUE(has(result.errors, "shape must be 1x2x2x1, got 1x2x3x1")) << result.errors;
    EXPECT_TRUE(has(result.errors, "layer never: ")) << result.errors;
    EXPECT_TRUE(has(result.errors, "begin a second layer here")) << result.errors;
    EXPECT_TRUE(has(result.output, "good")) << result.output;
    EXPECT_TRUE(fs::exists(path("out/good.output.npy")));
    EXPECT_FALSE(fs::exists(path("out/bad.output.npy")));
}

TEST_F(Command, DamagedArraysAreErrors) {
    write("net.layers", "up = input(f32, 1x2x2x1) | conv(1, kernel=1)\n");
    write_array("up.weights.npy", {1, 1, 1, 1}, 2);
    EXPECT_TRUE(has(run("net.layers").errors, "up.input.npy"));
    write("up.input.npy", "not an array");
    EXPECT_EQ(run("net.layers").exit_code, 1);
    write_array("up.input.npy", {1, 2, 2, 1}, 1);
    const auto whole = read_file(path("up.input.npy"));
    write("up.input.npy", whole->substr(0, whole->size() - 2));
    const ProcessResult truncated = run("net.layers");
    EXPECT_EQ(truncated.exit_code, 1);
    EXPECT_TRUE(has(truncated.errors, "up.input.npy")) << truncated.errors;
}

TEST_F(Command, AForcedInstructionSetIsUsedOrRefused) {
    write("net.layers", "up = input(f32, 1x2x2x1) | conv(1, kernel=1)\n");
    write_array("up.input.npy", {1, 2, 2, 1}, 1);
    write_array("up.weights.npy", {1, 1, 1, 1}, 2);
    const std::vector<std::string> arguments = {"run",      path("net.layers").string(),
                                                "--data",   path("").string(),
                                                "--out",    path("out").string(),
                                                "--json",   "--quiet",
                                                "--target", "x86-64"};
    const ProcessResult forced = unstride(arguments, {"UNSTRIDE_INSTRUCTION_SET=sse41"});
    EXPECT_TRUE(has(forced.output, "\"instruction_set\":\"sse41\"")) << forced.output << forced.errors;
    const ProcessResult unknown = unstride(arguments, {"UNSTRIDE_INSTRUCTION_SET=mmx"});
    EXPECT_EQ(unknown.exit_code, 1);
    EXPECT_TRUE(has(unknown.errors, "UNSTRIDE_INSTRUCTION_SET names no variant")) << unknown.errors;
}

TEST_F(Command, CudaWithoutADriverSaysSo) {
    write("net.layers", "up = input(f32, 1x2x2x1) | conv(1, kernel=1)\n");
    write_array("up.input.npy", {1, 2, 2, 1}, 1);
    write_array("up.weights.npy", {1, 1, 1, 1}, 2);
    const ProcessResult result = run("net.layers", {"--target", "cuda"});
    if (result.exit_code == 0) GTEST_SKIP() << "this machine has a CUDA device";
    EXPECT_EQ(result.exit_code, 1);
    EXPECT_TRUE(has(result.errors, "UNSTRIDE_NO_D")) << result.errors;
}

TEST_F(Command, DescribeCountsNineTapsForKernelThreeStrideTwo) {
    write("net.layers",
          "up = input(f32, 1x64x64x256) | transposed_conv(128, kernel=3, stride=2, pad=1, output_pad=1)\n"
          "later = input(f32, 1x8x8) | conv(4, kernel=1) | conv(4, kernel=1)\n");
    const ProcessResult result = unstride({"describe", path("net.layers").string()});
    ASSERT_EQ(result.exit_code, 0) << result.errors;
    EXPECT_TRUE(has(result.output, "9 taps over 4 phases of an input position")) << result.output;
    EXPECT_TRUE(has(result.output, "2·(64−1) + 1·(3−1) + 1 − 1 − 1 + 1 = 128")) << result.output;
    EXPECT_TRUE(has(result.output, "by zero insertion: 4.832 G (4.00x)")) << result.output;
    EXPECT_TRUE(has(result.output, "  not compiled: conv: ")) << result.output;
}

// Millions of phases, most of them without a tap, and as many with two each.
TEST_F(Command, DescribeOfManyPhasesIsQuick) {
    write("net.layers", "holes = input(f32, 1x2x2x16) | transposed_conv(16, kernel=4, stride=4000)\n"
                        "dense = input(f32, 1x8x8x16) | transposed_conv(16, kernel=2048, stride=1024)\n");
    const auto begin = std::chrono::steady_clock::now();
    const ProcessResult result = unstride({"describe", path("net.layers").string()});
    EXPECT_EQ(result.exit_code, 0) << result.errors;
    EXPECT_TRUE(has(result.output, "16 taps over 16000000 phases")) << result.output;
    EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds(10));
}

TEST_F(Command, DescribeTellsTheFormAndWhy) {
    write(
        "net.layers",
        std::string(filtered_layer) +
            "own = input(f32, 1x16x16x128, numeric=exact) | transposed_conv(64, kernel=4, stride=2, pad=1)\n"
            "open = input(f32, 1x?x?x128) | transposed_conv(64, kernel=4, stride=2, pad=1)\n"
            "small = input(f32, 1x8x8x16) | transposed_conv(16, kernel=4, stride=2, pad=1)\n"
            "one = input(f32, 1x16x16x128) | conv(64, kernel=1)\n"
            "volume = input(f32, 1x8x8x8x64) | conv(64, kernel=3)\n"
            "kept = input(f32, 1x16x16x8) | bilinear_upsample(2)\n");
    const ProcessResult result =
        unstride({"describe", path("net.layers").string(), "--instruction-set", "avx2"});
    ASSERT_EQ(result.exit_code, 0) << result.errors;
    for (const char *part :
         {"form for avx2: minimal filtering (filtering is modelled at 0.",
          "own products                512.0 a "
          "value   524544 bytes",
          "minimal filtering           227.6 a value  2.097 M bytes",
          "filtering is F(3, 2) on height and width, points 0, 1, -1, infinity",
          "form for avx2: the layer's own products (numeric=exact); packed weights 524292 bytes",
          "of the direct form's cycles for 32x32 inputs)",
          "products (an image takes less than 4 million multiplications)", "save no products)",
          "products (the layer has three spatial axes)"}) {
        EXPECT_TRUE(has(result.output, part)) << part << " is not in\n" << result.output;
    }
    const ProcessResult neon =
        unstride({"describe", path("net.layers").string(), "--layer", "up", "--instruction-set", "neon"});
    EXPECT_TRUE(has(neon.output, "form for neon: minimal filtering")) << neon.output;
    const ProcessResult unknown =
        unstride({"describe", path("net.layers").string(), "--instruction-set", "mmx"});
    EXPECT_EQ(unknown.exit_code, 2);
    EXPECT_TRUE(has(unknown.errors, "unknown instruction set 'mmx'; there are avx512, avx2, sse41, neon"))
        << unknown.errors;
}

TEST_F(Command, DescribeTellsWhatIsSummedFoldedAndMoved) {
    write("net.layers",
          "near = input(f32, ?x?x?x8) | leaky_relu(0.1) | nearest_upsample(2) | conv(8, kernel=3, pad=1) | "
          "bias | scale | relu | prelu\n"
          "groups = input(f32, 1x8x4x4x4, layout=nchw) | conv(4, kernel=1, groups=2)\n"
          "depthwise = input(f32, 1x8x8) | conv(8, kernel=3, groups=8)\n"
          "filter = input(f32, 1x?x?x3) | bilinear_upsample(2) | crop(from=1, size=6)\n"
          "moved = input(f32, 1x?x?x4) | pixel_shuffle(2)\n"
          "halved = input(f32, 1x?x?x1) | pixel_unshuffle(2) | conv(4, kernel=1)\n");
    const ProcessResult result = unstride({"describe", path("net.layers").string()});
    ASSERT_EQ(result.exit_code, 0) << result.errors;
    for (const char *part :
         {"phase 0: 2 taps: w[0]·in[u−1], (w[1]+w[2])·in[u]",
          "the taps sum 36 kernel elements: 2.25x fewer multiplications than unfolded",
          "on the input: leaky_relu", "folded into the weights: bias, scale", "on the output: relu, prelu",
          "  depth: size in; 1 phase", "2 groups, each 4 to 2 channels in a run of the kernel",
          "depthwise: every output channel reads one input channel",
          "depthwise, with a filter known to the compiler", "0.75·in[u], 0.25·in[u+1]",
          "outside the image stands its nearest pixel", "size 2·in, then 6 (in at least 7); 2 phases",
          "moves elements: no weights, no sums", "phase 1 (shuffle pixel 1): 1 tap: in[u]",
          "no multiplications; ", "size floor(in / 2) (in a multiple of 2)", "w[0]·in[2u+1]"}) {
        EXPECT_TRUE(has(result.output, part)) << part << " is not in\n" << result.output;
    }
}

} // namespace
} // namespace unstride
