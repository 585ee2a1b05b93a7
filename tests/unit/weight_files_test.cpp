// The numbers of a layer from files: what is collected, and every way they can be missing or wrong.
#include "tools/weights.h"

#include "compiler/language/parser.h"
#include "tests/temporary_folder.h"
#include "tools/files.h"
#include "tools/npy.h"

#include <gtest/gtest.h>

#include <cmath>
#include <map>
#include <optional>

namespace unstride {
namespace {

namespace fs = std::filesystem;

Layer layer_of(const std::string &text) {
    const ParseResult parsed = parse_layer(text, "up");
    EXPECT_TRUE(parsed.ok()) << text << ": " << (parsed.ok() ? "" : to_string(parsed.errors[0]));
    return parsed.layers.empty() ? Layer{} : parsed.layers[0];
}

Tensor counting(std::vector<std::int64_t> shape, float first = 1) {
    std::size_t count = 1;
    for (const std::int64_t size : shape)
        count *= static_cast<std::size_t>(size);
    Tensor tensor{std::move(shape), {}};
    for (std::size_t i = 0; i < count; i++)
        tensor.values.push_back(first + static_cast<float>(i));
    return tensor;
}

class WeightFiles : public TemporaryFolderTest {
protected:
    void write(const std::string &name, const Tensor &tensor) const {
        const auto written = write_npy(path("up." + name + ".npy"), tensor.shape, tensor.values);
        ASSERT_TRUE(written.ok()) << written.error();
    }

    void write_safetensors(const std::map<std::string, Tensor> &tensors) const {
        std::string header = "{", data;
        for (const auto &[name, tensor] : tensors) {
            std::string shape;
            for (const std::int64_t size : tensor.shape)
                shape += (shape.empty() ? "" : ",") + std::to_string(size);
            const std::size_t begin = data.size();
            data.append(reinterpret_cast<const char *>(tensor.values.data()),
                        tensor.values.size() * sizeof(float));
            header += (header.size() == 1 ? "\"" : ",\"") + name + R"(":{"dtype":"F32","shape":[)" + shape +
                      R"(],"data_offsets":[)" + std::to_string(begin) + "," + std::to_string(data.size()) +
                      "]}";
        }
        header += "}";
        std::string length(8, '\0');
        for (std::size_t k = 0; k < 8; k++)
            length[k] = static_cast<char>(header.size() >> (8 * k));
        ASSERT_TRUE(write_file_atomically(path("w.safetensors"), {length, header, data}).ok());
    }

    // The weights of a layer that must be there, from the folder unless a file is named.
    LayerWeights good(const Layer &layer, const std::string &file = "",
                      FilterOrder order = FilterOrder::framework) const {
        LayerWeightsResult result = read_layer_weights(path(file), layer, order);
        for (const std::string &error : result.errors)
            ADD_FAILURE() << error;
        return std::move(result.weights);
    }

    // Each error, with the folder's own path taken out.
    std::vector<std::string> errors(const Layer &layer, const std::string &file = "",
                                    FilterOrder order = FilterOrder::framework) const {
        std::vector<std::string> found = read_layer_weights(path(file), layer, order).errors;
        const std::string folder = path("").string();
        for (std::string &error : found) {
            for (std::size_t at; (at = error.find(folder)) != std::string::npos;)
                error.erase(at, folder.size());
        }
        return found;
    }
};

using Errors = std::vector<std::string>;

const std::string plain = "input(f32, 1x4x4x2) | transposed_conv(3, kernel=4x2, stride=2) | bias | prelu";

TEST_F(WeightFiles, AFolderGivesWhatTheChainUses) {
    const Tensor weights = counting({2, 3, 4, 2}), bias = counting({3}), slopes = counting({3}, 0.5f);
    write("weights", weights);
    write("bias", bias);
    write("prelu", slopes);
    write("input", counting({1, 4, 4, 2}));
    const LayerWeights read = good(layer_of(plain));
    EXPECT_EQ(read.weights, weights);
    EXPECT_EQ(read.bias, bias);
    EXPECT_EQ(read.prelu, slopes);
    EXPECT_FALSE(read.scale.has_value());
}

TEST_F(WeightFiles, OneSafetensorsFileGivesTheSame) {
    const Tensor weights = counting({2, 3, 4, 2}), bias = counting({3}), slopes = counting({3}, 0.5f);
    write_safetensors({{"up.weight", weights},
                       {"up.bias", bias},
                       {"up.prelu.weight", slopes},
                       {"up.num_batches_tracked", counting({})},
                       {"other.weight", counting({7})}});
    const LayerWeights read = good(layer_of(plain), "w.safetensors");
    EXPECT_EQ(read.weights, weights);
    EXPECT_EQ(read.bias, bias);
    EXPECT_EQ(read.prelu, slopes);
}

TEST_F(WeightFiles, AllThatIsMissingIsListed) {
    EXPECT_EQ(errors(layer_of(plain)),
              (Errors{"up.weights.npy: missing; transposed_conv needs weights of the shape 2x3x4x2",
                      "up.bias.npy: missing; bias needs 3 numbers",
                      "up.prelu.npy: missing; prelu needs 3 numbers"}));
    write_safetensors({{"up.bias", counting({3})}});
    EXPECT_EQ(errors(layer_of(plain), "w.safetensors"),
              (Errors{"w.safetensors: up.weight: missing; transposed_conv needs weights of the shape 2x3x4x2",
                      "w.safetensors: up.prelu: missing; prelu needs 3 numbers"}));
}

TEST_F(WeightFiles, WrongShapesAreListed) {
    write("weights", counting({3, 2, 4, 2}));
    write("bias", counting({1, 3}));
    write("prelu", counting({1}));
    EXPECT_EQ(errors(layer_of(plain)),
              (Errors{"up.weights.npy: shape must be 2x3x4x2, got 3x2x4x2",
                      "up.bias.npy: shape must be 3, got 1x3", "up.prelu.npy: shape must be 3, got 1"}));
}

TEST_F(WeightFiles, WhatNothingUsesIsAnError) {
    const Layer layer =
        layer_of("input(f32, 1x4x4x2) | transposed_conv(2, kernel=4, stride=2, weights=bilinear)");
    EXPECT_TRUE(errors(layer).empty());
    write("weights", counting({2, 2, 4, 4}));
    write("bias", counting({2}));
    EXPECT_EQ(errors(layer),
              (Errors{"up.weights.npy: not used; up has no convolution with learned weights",
                      "up.bias.npy: not used; up has no `bias` stage; add `| bias` or remove the numbers"}));
}

TEST_F(WeightFiles, NumbersMustBeFinite) {
    Tensor weights = counting({2, 3, 4, 2});
    weights.values[5] = std::nanf("");
    write("weights", weights);
    EXPECT_EQ(errors(layer_of("input(f32, 1x4x4x2) | transposed_conv(3, kernel=4x2, stride=2)")),
              (Errors{"up.weights.npy: numbers must be finite, got nan at element 5"}));
}

TEST_F(WeightFiles, ChannelsAreThoseAtTheStage) {
    write("weights", counting({8, 2, 1, 1}));
    write("bias", counting({8}));
    write("prelu", counting({2}));
    EXPECT_TRUE(
        good(layer_of("input(f32, 1x4x4x2) | conv(8, kernel=1) | bias | pixel_shuffle(2) | prelu")).prelu);
}

TEST_F(WeightFiles, TensorFlowsOrderIsConvertedWhenNamed) {
    const Layer layer = layer_of("input(f32, 1x4x4x2) | transposed_conv(3, kernel=4x5, stride=2)");
    const Tensor filter = counting({4, 5, 3, 2}); // kh, kw, CO, CI
    write("weights", filter);
    const LayerWeights read = good(layer, "", FilterOrder::tensorflow);
    ASSERT_EQ(read.weights->shape, (std::vector<std::int64_t>{2, 3, 4, 5}));
    for (std::size_t ci = 0; ci < 2; ci++)
        for (std::size_t co = 0; co < 3; co++)
            for (std::size_t y = 0; y < 4; y++)
                for (std::size_t x = 0; x < 5; x++)
                    EXPECT_EQ(read.weights->values[((ci * 3 + co) * 4 + y) * 5 + x],
                              filter.values[((y * 5 + x) * 3 + co) * 2 + ci]);
    EXPECT_EQ(errors(layer),
              (Errors{"up.weights.npy: shape must be 2x3x4x5, got 4x5x3x2, which is TensorFlow's "
                      "filter order; convert it with --tensorflow-filters"}));
    write("weights", counting({2, 3, 4, 5}));
    EXPECT_EQ(
        errors(layer, "", FilterOrder::tensorflow),
        (Errors{
            "up.weights.npy: shape must be 4x5x3x2, got 2x3x4x5, which is the frameworks' order; leave out "
            "--tensorflow-filters"}));
    EXPECT_EQ(
        errors(layer_of("input(f32, 1x4x4x2) | conv(3, kernel=4x3)"), "", FilterOrder::tensorflow),
        (Errors{
            "up: TensorFlow's filter order is that of a transposed_conv with groups=1; give these weights in "
            "the frameworks' order"}));
}

TEST_F(WeightFiles, BatchNormalisationBecomesScaleAndBias) {
    const Layer layer = layer_of("input(f32, 1x4x4x2) | conv(2, kernel=1) | scale | bias | relu");
    write("weights", counting({2, 2, 1, 1}));
    write("bn_gamma", Tensor{{2}, {2, 3}});
    write("bn_beta", Tensor{{2}, {10, 20}});
    write("bn_mean", Tensor{{2}, {1, 2}});
    write("bn_variance", Tensor{{2}, {3.75f, 8.75f}});
    write("bn_eps", Tensor{{}, {0.25f}});
    EXPECT_EQ(good(layer).scale, (Tensor{{2}, {1, 1}}));
    EXPECT_EQ(good(layer).bias, (Tensor{{2}, {9, 18}}));
    write("bias", Tensor{{2}, {4, 8}});
    EXPECT_EQ(good(layer).bias, (Tensor{{2}, {13, 26}}));

    const Layer later = layer_of("input(f32, 1x4x4x2) | conv(2, kernel=1) | relu | scale | bias");
    EXPECT_EQ(errors(later),
              (Errors{"up.bias.npy: not used; with batch normalisation it is the convolution's own "
                      "bias, which only a `scale` directly after the convolution can take in"}));
    const Layer reversed = layer_of("input(f32, 1x4x4x2) | conv(2, kernel=1) | bias | scale");
    EXPECT_EQ(errors(reversed),
              (Errors{"up: batch normalisation is given, which computes `| scale | bias` side by "
                      "side; write them where it stands in the chain"}));
    fs::remove(path("up.bn_mean.npy"));
    write("bn_beta", counting({3}));
    write("scale", counting({2}));
    write("bn_eps", counting({2}));
    EXPECT_EQ(errors(layer),
              (Errors{"up.scale.npy: not used; batch normalisation gives the scale",
                      "up.bn_beta.npy: shape must be 2, got 3",
                      "up.bn_mean.npy: missing; batch normalisation needs gamma, beta, mean and variance",
                      "up.bn_eps.npy: must be one number, got shape 2"}));
}

TEST_F(WeightFiles, BatchNormalisationOfASafetensorsFile) {
    const Layer layer = layer_of("input(f32, 1x4x4x2) | conv(1, kernel=1) | scale | bias");
    std::map<std::string, Tensor> tensors = {{"up.weight", counting({1, 2, 1, 1})},
                                             {"up.bn.weight", Tensor{{1}, {6}}},
                                             {"up.bn.bias", Tensor{{1}, {1}}},
                                             {"up.running_mean", Tensor{{1}, {2}}},
                                             {"up.bn.running_var", Tensor{{1}, {9}}}};
    write_safetensors(tensors);
    const LayerWeights read = good(layer, "w.safetensors");
    EXPECT_NEAR(read.scale->values[0], 2, 1e-5); // eps is 1e-5 unless given
    EXPECT_LT(read.scale->values[0], 2);
    EXPECT_NEAR(read.bias->values[0], -3, 1e-5);
    tensors["up.bn.running_mean"] = tensors["up.running_mean"];
    write_safetensors(tensors);
    EXPECT_EQ(
        errors(layer, "w.safetensors"),
        (Errors{"w.safetensors: up.bn.running_mean and w.safetensors: up.running_mean name the same numbers; "
                "keep one"}));
}

TEST_F(WeightFiles, BrokenSourcesAreNamed) {
    const Layer layer = layer_of("input(f32, 1x4x4x2) | conv(1, kernel=1)");
    EXPECT_EQ(errors(layer, "missing"),
              (Errors{"missing: weights must be a folder of .npy files or one .safetensors file"}));
    EXPECT_EQ(errors(layer, "missing.safetensors"),
              (Errors{"missing.safetensors: cannot open: No such file or directory"}));
    ASSERT_TRUE(write_file_atomically(path("up.weights.npy"), "no").ok());
    EXPECT_EQ(errors(layer), (Errors{"up.weights.npy: not a .npy file"}));
}

} // namespace
} // namespace unstride
