// `unstride build --weights`: what is found, what the library then computes, refusals, and what is left on
// the disk.
#include "compiler/language/parser.h"
#include "compiler/weights/initialisers.h"
#include "reference/comparator.h"
#include "reference/random_data.h"
#include "reference/reference.h"
#include "schedules/target_facts.h"
#include "tests/temporary_folder.h"
#include "tools/files.h"
#include "tools/library/process.h"
#include "tools/npy.h"

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <cmath>
#include <cstring>
#include <filesystem>
#include <limits>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace unstride {
namespace {

namespace fs = std::filesystem;
using reference::LayerData;
using reference::ReferenceResult;
using Shapes = std::vector<std::int64_t>;

bool has(const std::string &text, const std::string &part) {
    return text.find(part) != std::string::npos;
}

Layer parsed(const std::string &text) {
    const ParseResult result = parse_layers(text, "net.layers");
    for (const Diagnostic &error : result.errors)
        ADD_FAILURE() << to_string(error);
    return result.layers.at(0);
}

std::string_view bytes_of(const std::vector<float> &values) {
    return {reinterpret_cast<const char *>(values.data()), values.size() * sizeof(float)};
}

class WeightsCommand : public TemporaryFolderTest {
protected:
    void SetUp() override {
        TemporaryFolderTest::SetUp();
        fs::create_directory(path("weights"));
    }

    // weights/NAME.npy.
    void write_tensor(const std::string &name, const Shapes &shape, const std::vector<float> &values) const {
        const auto written = write_npy(path("weights/" + name + ".npy"), shape, values);
        ASSERT_TRUE(written.ok()) << written.error();
    }

    // The layer's weights as .npy, and all its data as raw numbers for the consumer.
    void write_data(const Layer &layer, const LayerData &data) const {
        Shapes weight_shape;
        for (std::size_t i = 0; i < layer.stages.size(); i++) {
            const std::int64_t channels = infer_shapes(layer)[i].channels;
            const auto take = [&](const auto &conv) {
                weight_shape = unstride::weight_shape(conv, channels);
            };
            if (const auto *conv = std::get_if<Conv>(&layer.stages[i].operation)) take(*conv);
            if (const auto *conv = std::get_if<TransposedConv>(&layer.stages[i].operation)) take(*conv);
        }
        if (!data.weights.empty()) write_tensor(layer.name + ".weights", weight_shape, data.weights);
        for (const auto &[name, values] : {std::pair("bias", &data.bias), std::pair("scale", &data.scale),
                                           std::pair("prelu", &data.prelu)}) {
            if (!values->empty())
                write_tensor(layer.name + "." + name, {static_cast<std::int64_t>(values->size())}, *values);
        }
        for (const auto &[name, values] :
             {std::pair("input", &data.input), std::pair("add", &data.add),
              std::pair("weights", &data.weights), std::pair("bias", &data.bias),
              std::pair("scale", &data.scale), std::pair("prelu", &data.prelu)}) {
            if (!values->empty()) write(layer.name + "." + name + ".raw", std::string(bytes_of(*values)));
        }
    }

    ProcessResult unstride(std::vector<std::string> arguments) const {
        arguments.insert(arguments.begin(), UNSTRIDE_PROGRAM);
        return run_process(arguments);
    }

    // Builds net.layers for this machine's most common instruction set, or as `more` says.
    ProcessResult build(const std::vector<std::string> &more = {},
                        const std::string &weights = "weights") const {
        std::vector<std::string> arguments = {
            "build",     path("net.layers").string(), "-o", path("out").string(), "--quiet",
            "--weights", path(weights).string()};
        arguments.insert(arguments.end(), more.begin(), more.end());
        if (std::find(more.begin(), more.end(), "--target") == more.end()) {
            const Target &host = host_target();
            arguments.insert(arguments.end(), {"--target", host.name, "--instruction-set",
                                               host.instruction_sets.back().instruction_set});
        }
        return unstride(arguments);
    }

    // Links the consumer with what was built and runs it.
    ProcessResult consume(const std::string &target, const std::vector<std::string> &more = {},
                          const std::string &compiler = "cc",
                          const std::vector<std::string> &launcher = {}) const {
        const fs::path built = path("out") / target;
        const ProcessResult linked =
            run_process({compiler, "-std=c11", "-Wall", "-Wextra", "-Werror", "-O1", "-I", built.string(),
                         UNSTRIDE_CONSUMER, (built / "libnet.a").string(), "-o", path("consumer").string(),
                         "-lpthread", "-ldl", "-lm"});
        EXPECT_TRUE(linked.ok()) << linked.errors;
        std::vector<std::string> command = launcher;
        command.insert(command.end(), {path("consumer").string(), path("").string()});
        command.insert(command.end(), more.begin(), more.end());
        return run_process(command);
    }

    void expect_output(const Layer &layer, const ReferenceResult &expected) const {
        const auto raw = read_file(path(layer.name + ".output.raw"));
        ASSERT_TRUE(raw.ok()) << raw.error();
        std::vector<float> output(raw->size() / sizeof(float));
        std::memcpy(output.data(), raw->data(), raw->size());
        const auto comparison = reference::compare(layer, expected, expected.shape, output);
        EXPECT_TRUE(comparison.equal) << comparison.report;
    }

    void expect_right(const Layer &layer, const LayerData &data) const {
        const ProcessResult ran = consume(host_target().name);
        ASSERT_TRUE(ran.ok()) << ran.output << ran.errors;
        const auto expected = reference::evaluate(layer, data);
        ASSERT_TRUE(expected.ok()) << expected.error();
        expect_output(layer, *expected);
    }

    nlohmann::json manifest_layer() const {
        const auto text = read_file(path("out/" + host_target().name + "/manifest.json"));
        EXPECT_TRUE(text.ok());
        return text.ok() ? nlohmann::json::parse(*text)["layers"][0] : nlohmann::json();
    }

    bool nothing_left() const {
        const fs::path folder = path("out/" + host_target().name);
        return !fs::exists(folder / "libnet.a") && !fs::exists(folder / "net.h") &&
               !fs::exists(folder / "manifest.json");
    }

    // Builds the layer by its weights and with --exact; both libraries must compute the layer as given.
    void expect_rewritten(const std::string &text, const LayerData &data, const std::string &finding,
                          const std::string &built) const {
        const Layer layer = parsed(text);
        write("net.layers", text + "\n");
        write_data(layer, data);
        const ProcessResult by_weights = build();
        ASSERT_EQ(by_weights.exit_code, 0) << by_weights.errors;
        EXPECT_TRUE(has(by_weights.output, finding)) << by_weights.output;
        EXPECT_EQ(manifest_layer()["text"], built);
        EXPECT_EQ(manifest_layer()["known_weights"]["exact"], false);
        const std::string hash = manifest_layer()["known_weights"]["sha256"];
        expect_right(layer, data);

        const ProcessResult exact = build({"--exact"});
        ASSERT_EQ(exact.exit_code, 0) << exact.errors;
        EXPECT_FALSE(has(exact.output, "multiplications")) << exact.output;
        EXPECT_EQ(manifest_layer()["text"], text.substr(text.find('=') + 2));
        EXPECT_EQ(manifest_layer()["known_weights"]["exact"], true);
        EXPECT_EQ(manifest_layer()["known_weights"]["sha256"], hash);
        expect_right(layer, data);
    }
};

TEST_F(WeightsCommand, BilinearDeconvolutionOfEveryChannelAloneNeedsNoWeights) {
    const std::string text = "score = input(f32, 1x5x6x21) | transposed_conv(21, kernel=4, stride=2, pad=1) "
                             "| crop(from=1, size=8)";
    LayerData data = reference::normal_data(parsed(text), 1);
    data.weights = bilinear_kernel(21, 1, {4, 4}).values;
    expect_rewritten(text, data, "score: bilinear: every kernel is the triangle filter",
                     "input(f32, 1x5x6x21) | transposed_conv(21, kernel=4, stride=2, pad=1, groups=21, "
                     "weights=bilinear) | crop(from=1, size=8)");
    EXPECT_EQ(build().exit_code, 0);
    EXPECT_EQ(manifest_layer()["weight_shape"], nlohmann::json::array());
    EXPECT_EQ(manifest_layer()["known_weights"]["embedded"], false);
    EXPECT_EQ(manifest_layer()["kernels"][0]["packed_weight_bytes"], 0);
    EXPECT_TRUE(has(*read_file(path("out/" + host_target().name + "/net.h")),
                    "stands, by its weights, for input(f32, 1x5x6x21) | transposed_conv(21, kernel=4, "
                    "stride=2, pad=1) | crop(from=1, size=8)."));
}

TEST_F(WeightsCommand, DiagonalWeightsAreComputedChannelByChannel) {
    const std::string text =
        "up = input(f32, 1x3x4x7) | transposed_conv(7, kernel=3, stride=2) | bias | relu";
    LayerData data = reference::normal_data(parsed(text), 2);
    for (std::size_t ci = 0; ci < 7; ci++) {
        for (std::size_t co = 0; co < 7; co++) {
            for (std::size_t k = 0; k < 9 && ci != co; k++)
                data.weights[(ci * 7 + co) * 9 + k] = 0;
        }
    }
    expect_rewritten(text, data, "up: diagonal: every channel reads itself alone",
                     "input(f32, 1x3x4x7) | transposed_conv(7, kernel=3, stride=2, groups=7) | bias | relu");
}

TEST_F(WeightsCommand, ARimOfZerosIsCutAndSeparableKernelsAreTold) {
    const std::string text =
        "up = input(f32, 1x4x3x3) | transposed_conv(5, kernel=6, stride=2, pad=2) | bias";
    LayerData data = reference::normal_data(parsed(text), 3);
    for (std::size_t k = 0; k < data.weights.size(); k++) {
        const std::size_t y = k / 6 % 6, x = k % 6;
        const float line[] = {0, 1, -2, 3, 0.5f, 0};
        data.weights[k] = line[y] * line[x] * static_cast<float>(k / 36 + 1);
    }
    expect_rewritten(text, data, "up: separable: every kernel is the outer product of one vector an axis",
                     "input(f32, 1x4x3x3) | transposed_conv(5, kernel=4, stride=2, pad=1) | bias");
    EXPECT_TRUE(has(build().output, "up: zero planes at the ends of the kernel: 1:1x1:1"));
}

TEST_F(WeightsCommand, ANumericPolicyOfExactIsKept) {
    const std::string text =
        "up = input(f32, 1x3x3x2, numeric=exact) | transposed_conv(2, kernel=4, stride=2, pad=1)";
    LayerData data = reference::normal_data(parsed(text), 4);
    data.weights = bilinear_kernel(2, 1, {4, 4}).values;
    write("net.layers", text + "\n");
    write_data(parsed(text), data);
    ASSERT_EQ(build().exit_code, 0);
    EXPECT_EQ(manifest_layer()["text"], text.substr(text.find('=') + 2));
    EXPECT_EQ(manifest_layer()["known_weights"]["exact"], true);
}

// Every kind of numbers, groups, both orders of channels, ranks one to three, a convolution, columns, and two
// layers of one kernel.
TEST_F(WeightsCommand, HeldWeightsAreTheBytesThatPackWrites) {
    const std::string layers[] = {
        "plain = input(f32, 1x3x4x5) | transposed_conv(9, kernel=3, stride=2) | bias | relu | scale | prelu",
        "folded = input(f32, 1x3x4x5) | transposed_conv(17, kernel=4, stride=2, pad=1) | scale | bias",
        "groups = input(f32, 1x6x3x4, layout=nchw) | conv(4, kernel=3, pad=1, groups=2) | bias | add",
        "near = input(f32, 1x5x4x3) | nearest_upsample(2) | conv(6, kernel=3, pad=1) | bias",
        "shuffled = input(f32, 1x3x4x3) | conv(8, kernel=3, pad=1) | bias | pixel_shuffle(2)",
        "line = input(f32, 1x5x2) | transposed_conv(3, kernel=4, stride=2, pad=1)",
        "volume = input(f32, 1x2x3x2x4) | transposed_conv(3, kernel=2, stride=2) | bias",
        "single = input(f32, 1x4x4x9) | transposed_conv(1, kernel=5, stride=2, pad=2) | bias",
        "twin = input(f32, 1x4x4x9) | transposed_conv(1, kernel=5, stride=2, pad=2) | bias"};
    std::string file;
    std::uint64_t seed = 0;
    std::map<std::string, LayerData> data;
    for (const std::string &text : layers) {
        file += text + "\n";
        data[text] = reference::normal_data(parsed(text), ++seed);
        write_data(parsed(text), data[text]);
    }
    write("net.layers", file);
    const std::string host = host_target().name;
    const ProcessResult built = build({"--target", host});
    ASSERT_EQ(built.exit_code, 0) << built.errors;
    const ProcessResult ran = consume(host, {"same"});
    ASSERT_TRUE(ran.ok()) << ran.output << ran.errors;
    for (const std::string &text : layers) {
        const auto expected = reference::evaluate(parsed(text), data[text]);
        ASSERT_TRUE(expected.ok()) << expected.error();
        expect_output(parsed(text), *expected);
        EXPECT_TRUE(has(ran.output, parsed(text).name + ": the same bytes on ")) << ran.output;
    }
    // The comparison sees a weight that differs in its last bit.
    LayerData other = data[layers[0]];
    other.weights[11] = std::nextafter(other.weights[11], 100.0f);
    write("plain.weights.raw", std::string(bytes_of(other.weights)));
    EXPECT_TRUE(has(consume(host, {"same"}).output, "plain: other bytes on "));
}

TEST_F(WeightsCommand, OtherTargetsHoldTheSameWeights) {
    const std::string text = "up = input(f32, 1x3x4x5) | transposed_conv(6, kernel=3, stride=2) | bias";
    const Layer layer = parsed(text);
    const LayerData data = reference::normal_data(layer, 5);
    write("net.layers", text + "\n");
    write_data(layer, data);
    const ProcessResult built = build({"--target", "aarch64", "--target", "cuda", "--target", "opencl"});
    ASSERT_EQ(built.exit_code, 0) << built.errors;
    for (const char *target : {"aarch64", "cuda", "opencl"}) {
        const auto header = read_file(path(std::string("out/") + target + "/net.h"));
        ASSERT_TRUE(header.ok()) << header.error();
        EXPECT_TRUE(has(*header, "The library holds its packed weights")) << target;
        EXPECT_EQ(has(*header, "a copy of what net_pack writes, at `packed_device`"),
                  std::string(target) == "cuda");
    }
    const bool native = host_target().name == "aarch64";
    const std::vector<std::string> emulator = {"qemu-aarch64", "-L", "/usr/aarch64-linux-gnu"};
    const ProcessResult ran = consume("aarch64", {"same"}, native ? "cc" : "aarch64-linux-gnu-gcc",
                                      native ? std::vector<std::string>{} : emulator);
    ASSERT_TRUE(ran.ok()) << ran.output << ran.errors;
    EXPECT_TRUE(has(ran.output, "up: the same bytes on 1 instruction sets")) << ran.output;
    expect_output(layer, *reference::evaluate(layer, data));
}

TEST_F(WeightsCommand, BatchNormalisationIsFolded) {
    const std::string convolution = "up = input(f32, 1x4x3x3) | transposed_conv(4, kernel=3, stride=2)";
    const std::string text = convolution + " | scale | bias";
    const Layer layer = parsed(text);
    LayerData data = reference::normal_data(parsed(convolution), 6);
    const std::vector<float> gamma = {1.5f, -0.25f, 2, 0.1f}, beta = {0.5f, 3, -1, 0},
                             mean = {-0.75f, 2, 0.125f, 10}, variance = {0.5f, 4, 0.01f, 3};
    write("net.layers", text + "\n");
    write_data(parsed(convolution), data);
    write_tensor("up.bn_gamma", {4}, gamma);
    write_tensor("up.bn_beta", {4}, beta);
    write_tensor("up.bn_mean", {4}, mean);
    write_tensor("up.bn_variance", {4}, variance);
    const ProcessResult built = build();
    ASSERT_EQ(built.exit_code, 0) << built.errors;
    const ProcessResult ran = consume(host_target().name);
    ASSERT_TRUE(ran.ok()) << ran.output << ran.errors;
    ReferenceResult expected = *reference::evaluate(parsed(convolution), data);
    for (std::size_t i = 0; i < expected.values.size(); i++) {
        const std::size_t c = i % 4;
        const double scale = gamma[c] / std::sqrt(variance[c] + 1e-5);
        expected.values[i] = (expected.values[i] - mean[c]) * scale + beta[c];
        expected.magnitudes[i] =
            (expected.magnitudes[i] + std::abs(mean[c])) * std::abs(scale) + std::abs(beta[c]);
    }
    expected.terms += 3;
    expect_output(layer, expected);
}

TEST_F(WeightsCommand, TensorflowFiltersAreTurned) {
    const std::string text = "up = input(f32, 1x3x3x2) | transposed_conv(3, kernel=2x4, stride=2)";
    const Layer layer = parsed(text);
    const LayerData data = reference::normal_data(layer, 7);
    write("net.layers", text + "\n");
    write_data(layer, data);
    const ProcessResult framework = build({"--tensorflow-filters"});
    EXPECT_EQ(framework.exit_code, 1);
    EXPECT_TRUE(has(framework.errors, "up.weights.npy: shape must be 2x4x3x2, got 2x3x2x4, which is the "
                                      "frameworks' order; leave out --tensorflow-filters"))
        << framework.errors;
    EXPECT_TRUE(nothing_left());

    std::vector<float> filter;
    for (std::size_t tap = 0; tap < 8; tap++) {
        for (std::size_t co = 0; co < 3; co++) {
            for (std::size_t ci = 0; ci < 2; ci++)
                filter.push_back(data.weights[(ci * 3 + co) * 8 + tap]);
        }
    }
    write_tensor("up.weights", {2, 4, 3, 2}, filter);
    const ProcessResult unnamed = build();
    EXPECT_EQ(unnamed.exit_code, 1);
    EXPECT_TRUE(has(unnamed.errors, "convert it with --tensorflow-filters")) << unnamed.errors;
    EXPECT_TRUE(nothing_left());
    const ProcessResult turned = build({"--tensorflow-filters"});
    ASSERT_EQ(turned.exit_code, 0) << turned.errors;
    expect_right(layer, data);
}

TEST_F(WeightsCommand, ASafetensorsFileHoldsAllLayers) {
    const std::string text = "up = input(f32, 1x3x3x2) | transposed_conv(3, kernel=2, stride=2) | bias";
    const Layer layer = parsed(text);
    const LayerData data = reference::normal_data(layer, 8);
    write("net.layers", text + "\nmoved = input(f32, 1x2x2x4) | pixel_shuffle(2)\n");
    write_data(layer, data);
    write("moved.input.raw", std::string(16 * sizeof(float), '\0'));
    const std::string header = R"({"up.weight":{"dtype":"F32","shape":[2,3,2,2],"data_offsets":[0,96]},)"
                               R"("up.bias":{"dtype":"F32","shape":[3],"data_offsets":[96,108]}})";
    std::string length(8, '\0');
    length[0] = static_cast<char>(header.size());
    write("net.safetensors",
          length + header + std::string(bytes_of(data.weights)) + std::string(bytes_of(data.bias)));
    const ProcessResult built = build({}, "net.safetensors");
    ASSERT_EQ(built.exit_code, 0) << built.errors;
    expect_right(layer, data);
    EXPECT_EQ(build({}, "other.safetensors").exit_code, 1);
    EXPECT_TRUE(nothing_left());
}

TEST_F(WeightsCommand, AllErrorsAreReportedAndNothingStaleStays) {
    write("net.layers", "a = input(f32, 1x3x3x2) | transposed_conv(2, kernel=2, stride=2) | bias\n"
                        "b = input(f32, 1x3x3x2) | conv(2, kernel=1)\n"
                        "c = input(f32, 1x3x3x2) | conv(2, kernel=1)\n");
    write_tensor("a.weights", {2, 2, 2, 2}, std::vector<float>(16, 1));
    write_tensor("a.bias", {2}, {1, 2});
    write_tensor("b.weights", {2, 2, 1, 1}, {1, 2, 3, 4});
    write_tensor("c.weights", {2, 2, 1, 1}, {1, 2, 3, 4});
    ASSERT_EQ(build().exit_code, 0);
    ASSERT_FALSE(nothing_left());

    write_tensor("a.bias", {3}, {1, 2, 3});
    write_tensor("b.weights", {2, 2, 1, 1}, {1, 2, std::numeric_limits<float>::quiet_NaN(), 4});
    fs::remove(path("weights/c.weights.npy"));
    write_tensor("c.scale", {2}, {1, 1});
    const ProcessResult refused = build();
    EXPECT_EQ(refused.exit_code, 1);
    for (const char *part :
         {"a.bias.npy: shape must be 2, got 3", "b.weights.npy: numbers must be finite, got nan at element 2",
          "c.weights.npy: missing; conv needs weights of the shape 2x2x1x1",
          "c.scale.npy: not used; c has no `scale` stage; add `| scale` or remove the numbers"}) {
        EXPECT_TRUE(has(refused.errors, part)) << part << " is not in\n" << refused.errors;
    }
    EXPECT_TRUE(nothing_left());

    const ProcessResult nowhere = build({}, "nowhere");
    EXPECT_EQ(nowhere.exit_code, 1);
    const std::string reason = "nowhere: weights must be a folder of .npy files or one .safetensors file";
    EXPECT_TRUE(has(nowhere.errors, reason)) << nowhere.errors;
    EXPECT_EQ(nowhere.errors.find(reason), nowhere.errors.rfind(reason)) << "told once a layer";
}

TEST_F(WeightsCommand, OptionsAboutWeightsNeedWeights) {
    write("net.layers", "a = input(f32, 1x3x3x2) | conv(2, kernel=1)\n");
    for (const char *option : {"--exact", "--tensorflow-filters"}) {
        const ProcessResult alone = unstride(
            {"build", path("net.layers").string(), "--target", "x86-64", "-o", path("out").string(), option});
        EXPECT_EQ(alone.exit_code, 2);
        EXPECT_TRUE(has(alone.errors, "requires --weights")) << alone.errors;
    }
}

} // namespace
} // namespace unstride
