// Algebraic properties of built layers, which need no other implementation to compare with: adjoints, one-hot
// inputs, linearity, inverses, and layers of different stages that must compute the same.
// UNSTRIDE_RANDOM_SEED repeats a run.
#include "compiler/language/parser.h"
#include "compiler/language/printer.h"
#include "compiler/language/shapes.h"
#include "reference/random_data.h"
#include "reference/reference.h"
#include "tests/random/layer_library.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <numeric>
#include <random>
#include <stdexcept>

namespace unstride::chains {
namespace {

using reference::LayerData;
using reference::Random;
using Floats = std::vector<float>;

// What a test cannot go on without.
template<typename Value>
Value required(Result<Value> result) {
    if (!result) throw std::runtime_error(result.error());
    return *std::move(result);
}

LibraryBuilder &builder() {
    static LibraryBuilder only = required(LibraryBuilder::make());
    return only;
}

// A name in a text of several like layers.
std::string numbered(const char *name, std::size_t number) {
    return fmt::format("{}{}", name, number);
}

// The layers of a text in the layer language, built for this processor's best instruction set.
class Built {
public:
    explicit Built(const std::string &text)
        : layers(parsed(text)),
          library(required(LoadedLibrary::load(required(builder().build(layers, best_instruction_set()))))) {}

    const Layer &layer(const std::string &name) const {
        return *std::find_if(layers.begin(), layers.end(), [&](const Layer &l) { return l.name == name; });
    }
    Shape input_shape(const std::string &name) const { return infer_shapes(layer(name)).front(); }
    Shape output_shape(const std::string &name) const { return infer_shapes(layer(name)).back(); }

    Floats run(const std::string &name, const LayerData &data) const {
        const unstride_layer *found = library.find(name);
        if (found == nullptr) throw std::runtime_error("the library has no layer " + name);
        return required(library.run(*found, layer(name), data, 2));
    }

    // Integers from -3 to 3, so that sums are exact: results must be equal, not close.
    LayerData integer_data(const std::string &name, Random &random) const {
        const reference::DataSizes sizes = required(reference::data_sizes(layer(name)));
        const auto draw = [&](std::int64_t count) {
            Floats values(static_cast<std::size_t>(count));
            std::generate(values.begin(), values.end(),
                          [&] { return static_cast<float>(random.integer(-3, 3)); });
            return values;
        };
        return {draw(sizes.input), draw(sizes.weights), draw(sizes.bias),
                draw(sizes.scale), draw(sizes.prelu),   draw(sizes.add)};
    }

private:
    std::vector<Layer> layers;
    LoadedLibrary library;

    static std::vector<Layer> parsed(const std::string &text) {
        ParseResult result = parse_layers(text, "property_test");
        if (!result.ok()) throw std::runtime_error(to_string(result.errors[0]));
        return std::move(result.layers);
    }

    static std::string best_instruction_set() {
        static const std::string best = required(builder().usable_instruction_sets()).front();
        return best;
    }
};

// Seeds anew for each test and says so where it fails.
class Properties : public testing::Test {
protected:
    Properties()
        : seed(chosen_seed()), random(seed), trace(__FILE__, __LINE__, fmt::format("seed {}", seed)) {
        RecordProperty("seed", std::to_string(seed));
    }

private:
    static std::uint64_t chosen_seed() {
        const char *chosen = std::getenv("UNSTRIDE_RANDOM_SEED");
        return chosen != nullptr ? std::strtoull(chosen, nullptr, 10) : std::random_device{}();
    }
    const std::uint64_t seed;

protected:
    Random random;

private:
    testing::ScopedTrace trace;
};

double dot(const Floats &a, const Floats &b) {
    EXPECT_EQ(a.size(), b.size());
    return std::inner_product(a.begin(), a.end(), b.begin(), 0.0, std::plus<>(),
                              [](double x, double y) { return x * y; });
}

Floats plus(const Floats &a, const Floats &b) {
    Floats sum(a.size());
    std::transform(a.begin(), a.end(), b.begin(), sum.begin(), std::plus<>());
    return sum;
}

Floats times(float factor, Floats values) {
    for (float &value : values)
        value *= factor;
    return values;
}

// One channels-last image of two axes.
struct Image {
    std::int64_t height, width, channels;
    Floats values;

    Image(const Shape &shape, Floats values)
        : height(shape.spatial[0]), width(shape.spatial[1]), channels(shape.channels),
          values(std::move(values)) {
        this->values.resize(static_cast<std::size_t>(height * width * channels));
    }
    std::size_t index(std::int64_t y, std::int64_t x, std::int64_t c) const {
        return static_cast<std::size_t>((y * width + x) * channels + c);
    }
    float &at(std::int64_t y, std::int64_t x, std::int64_t c) { return values[index(y, x, c)]; }
    float at(std::int64_t y, std::int64_t x, std::int64_t c) const { return values[index(y, x, c)]; }
    bool holds(std::int64_t y, std::int64_t x) const { return y >= 0 && y < height && x >= 0 && x < width; }
};

// Calls visit(y, x, c) for every element.
template<typename Visit>
void for_each(const Image &image, Visit visit) {
    for (std::int64_t y = 0; y < image.height; y++)
        for (std::int64_t x = 0; x < image.width; x++)
            for (std::int64_t c = 0; c < image.channels; c++)
                visit(y, x, c);
}

Image repeated(const Image &image, std::int64_t factor_y, std::int64_t factor_x) {
    Image result({1, {image.height * factor_y, image.width * factor_x}, image.channels}, {});
    for_each(result,
             [&](auto y, auto x, auto c) { result.at(y, x, c) = image.at(y / factor_y, x / factor_x, c); });
    return result;
}

// <conv(a), b> = <a, transposed_conv(b)>: both read the same weights in the same order, and output_size gives
// back the rows that a stride leaves over.
TEST_F(Properties, TransposedConvolutionIsTheAdjointOfConvolution) {
    struct Case {
        const char *input, *output; // shapes of a and b
        std::int64_t input_channels, output_channels;
        const char *size, *arguments;
    };
    const std::vector<Case> cases = {
        {"1x9x8x5", "1x9x8x17", 5, 17, "9x8", "kernel=3, pad=1"},
        {"2x9x8x16", "2x5x4x3", 16, 3, "9x8", "kernel=3, stride=2, pad=1"},
        {"1x10x11x4", "1x3x3x18", 4, 18, "10x11", "kernel=4, stride=3, pad=0:1"},
        {"1x11x9x6", "1x7x4x8", 6, 8, "11x9", "kernel=3x4, dilation=2x1, pad=0x0:1, stride=1x2"},
        {"1x8x9x6", "1x4x5x4", 6, 4, "8x9", "kernel=3, stride=2, pad=1, groups=2"},
        {"1x8x9x21", "1x8x9x21", 21, 21, "8x9", "kernel=3, pad=1, groups=21"},
        {"1x23x7", "1x8x12", 7, 12, "23", "kernel=5, stride=3, pad=2"},
        {"1x5x4x6x3", "1x3x2x3x5", 3, 5, "5x4x6", "kernel=3, stride=2, pad=1"},
    };
    std::string text;
    for (std::size_t i = 0; i < cases.size(); i++) {
        const Case &c = cases[i];
        text += fmt::format("forward{} = input(f32, {}, numeric=exact) | conv({}, {})\n", i, c.input,
                            c.output_channels, c.arguments);
        text += fmt::format("adjoint{} = input(f32, {}, numeric=exact) | transposed_conv({}, {}, "
                            "output_size={})\n",
                            i, c.output, c.input_channels, c.arguments, c.size);
    }
    const Built built(text);
    for (std::size_t i = 0; i < cases.size(); i++) {
        SCOPED_TRACE(fmt::format("{} to {}, {}", cases[i].input, cases[i].output, cases[i].arguments));
        const std::string forward = numbered("forward", i), adjoint = numbered("adjoint", i);
        const LayerData a = built.integer_data(forward, random);
        LayerData b = built.integer_data(adjoint, random);
        b.weights = a.weights;
        EXPECT_EQ(dot(built.run(forward, a), b.input), dot(a.input, built.run(adjoint, b)));
    }
}

// A single one in the input: weight t of the pair of channels appears at stride * i + dilation * t - pad.
TEST_F(Properties, TransposedConvolutionOfOnePixelIsTheKernel) {
    const std::int64_t kernel = 4, stride = 3, dilation = 2, pad = 2, channels = 17;
    const Built built("placed = input(f32, 1x5x6x8, numeric=exact) | transposed_conv(17, kernel=4, stride=3, "
                      "dilation=2, pad=2)\n");
    LayerData data = reference::normal_data(built.layer("placed"), random.next());
    std::fill(data.input.begin(), data.input.end(), 0.0f);
    Image input(built.input_shape("placed"), data.input);
    const std::int64_t y = random.integer(0, 4), x = random.integer(0, 5), ci = random.integer(0, 7);
    input.at(y, x, ci) = 1;
    data.input = input.values;
    Image expected(built.output_shape("placed"), {});
    for (std::int64_t ty = 0; ty < kernel; ty++) {
        for (std::int64_t tx = 0; tx < kernel; tx++) {
            const std::int64_t to_y = stride * y + dilation * ty - pad,
                               to_x = stride * x + dilation * tx - pad;
            for (std::int64_t co = 0; co < channels && expected.holds(to_y, to_x); co++) {
                const std::int64_t at = ((ci * channels + co) * kernel + ty) * kernel + tx;
                expected.at(to_y, to_x, co) = data.weights[static_cast<std::size_t>(at)];
            }
        }
    }
    EXPECT_EQ(built.run("placed", data), expected.values);
}

// The output o that reads the pixel i with weight t is the one with stride * o + dilation * t - pad = i.
TEST_F(Properties, ConvolutionOfOnePixelIsTheKernelMirrored) {
    const std::int64_t kernel = 3, pad = 1, channels = 5;
    const Built built("placed = input(f32, 1x7x6x16, numeric=exact) | conv(5, kernel=3, pad=1)\n");
    LayerData data = reference::normal_data(built.layer("placed"), random.next());
    std::fill(data.input.begin(), data.input.end(), 0.0f);
    Image input(built.input_shape("placed"), data.input);
    const std::int64_t y = random.integer(0, 6), x = random.integer(0, 5), ci = random.integer(0, 15);
    input.at(y, x, ci) = 1;
    data.input = input.values;
    Image expected(built.output_shape("placed"), {});
    for (std::int64_t ty = 0; ty < kernel; ty++) {
        for (std::int64_t tx = 0; tx < kernel; tx++) {
            for (std::int64_t co = 0; co < channels && expected.holds(y + pad - ty, x + pad - tx); co++) {
                const std::int64_t at = ((co * 16 + ci) * kernel + ty) * kernel + tx;
                expected.at(y + pad - ty, x + pad - tx, co) = data.weights[static_cast<std::size_t>(at)];
            }
        }
    }
    EXPECT_EQ(built.run("placed", data), expected.values);
}

TEST_F(Properties, LayersAreLinearInInputAndWeights) {
    const std::vector<std::string> chains = {
        "input(f32, 2x6x5x9, numeric=exact) | transposed_conv(16, kernel=4, stride=2, pad=1)",
        "input(f32, 1x9x8x16, numeric=exact) | conv(3, kernel=3, stride=2, pad=same)",
        "input(f32, 1x5x6x4, numeric=exact) | nearest_upsample(2) | conv(17, kernel=3, pad=1)",
        "input(f32, 1x6x8x3, numeric=exact) | pixel_unshuffle(2) | conv(12, kernel=3, pad=1) | "
        "pixel_shuffle(2, order=dcr)",
        "input(f32, 1x6x5x9, numeric=exact) | conv(12, kernel=3, pad=1) | pixel_shuffle(2) | crop(from=1, "
        "size=10x7)",
        "input(f32, 1x6x5x9, numeric=exact) | bilinear_upsample(2)",
        "input(f32, 1x9x12, layout=nchw, numeric=exact) | transposed_conv(16, kernel=4, stride=2)",
    };
    std::string text;
    for (std::size_t i = 0; i < chains.size(); i++)
        text += fmt::format("linear{} = {}\n", i, chains[i]);
    const Built built(text);
    for (std::size_t i = 0; i < chains.size(); i++) {
        SCOPED_TRACE(chains[i]);
        const std::string linear = numbered("linear", i);
        const LayerData first = built.integer_data(linear, random);
        const LayerData second = built.integer_data(linear, random);
        const Floats output = built.run(linear, first);
        LayerData sum = first, other = first;
        sum.input = plus(first.input, times(3, second.input));
        other.input = second.input;
        EXPECT_EQ(built.run(linear, sum), plus(output, times(3, built.run(linear, other))));
        if (first.weights.empty()) continue;
        sum = other = first;
        sum.weights = plus(first.weights, times(-2, second.weights));
        other.weights = second.weights;
        EXPECT_EQ(built.run(linear, sum), plus(output, times(-2, built.run(linear, other))));
    }
}

TEST_F(Properties, UnshuffleUndoesShuffle) {
    struct Case {
        const char *shuffled, *image, *arguments, *layout;
    };
    const std::vector<Case> cases = {
        {"1x3x5x12", "1x6x10x3", "2", "nhwc"},
        {"1x3x5x12", "1x6x10x3", "2, order=dcr", "nhwc"},
        {"2x4x3x36", "2x12x9x4", "3", "nhwc"},
        {"2x4x3x36", "2x12x9x4", "3, order=dcr", "nhwc"},
        {"1x16x3x4", "1x4x6x8", "2", "nchw"},
        {"1x16x3x4", "1x4x6x8", "2, order=dcr", "nchw"},
        {"1x7x6", "1x21x2", "3", "nhwc"},
        {"1x2x3x2x40", "1x4x6x4x5", "2", "nhwc"},
        {"1x2x3x2x40", "1x4x6x4x5", "2, order=dcr", "nhwc"},
    };
    std::string text;
    for (std::size_t i = 0; i < cases.size(); i++) {
        const Case &c = cases[i];
        text += fmt::format("shuffle{} = input(f32, {}, layout={}) | pixel_shuffle({})\n", i, c.shuffled,
                            c.layout, c.arguments);
        text += fmt::format("unshuffle{} = input(f32, {}, layout={}) | pixel_unshuffle({})\n", i, c.image,
                            c.layout, c.arguments);
    }
    const Built built(text);
    for (std::size_t i = 0; i < cases.size(); i++) {
        SCOPED_TRACE(fmt::format("{} {} by {}", cases[i].layout, cases[i].shuffled, cases[i].arguments));
        const std::string shuffle = numbered("shuffle", i);
        const LayerData data = reference::normal_data(built.layer(shuffle), random.next());
        LayerData image;
        image.input = built.run(shuffle, data);
        EXPECT_NE(image.input, data.input);
        EXPECT_EQ(built.run(numbered("unshuffle", i), image), data.input);
    }
}

// With kernel = stride = f no two input pixels reach the same output: a 1x1 convolution makes all f * f
// pixels of a block, and the shuffle places them.
TEST_F(Properties, KernelOfTheStrideIsAShuffledPointwiseConvolution) {
    const std::int64_t factor = 3, inputs = 9, outputs = 4, block = factor * factor;
    for (const bool crd : {true, false}) {
        const Built built(
            fmt::format("transposed = input(f32, 1x5x4x9, numeric=exact) | transposed_conv(4, kernel=3, "
                        "stride=3) | bias\n"
                        "pointwise = input(f32, 1x5x4x9, numeric=exact) | conv(36, kernel=1) | "
                        "pixel_shuffle(3, order={}) | bias\n",
                        crd ? "crd" : "dcr"));
        LayerData data = built.integer_data("transposed", random);
        const Floats expected = built.run("transposed", data);
        Floats permuted(data.weights.size());
        for (std::int64_t ci = 0; ci < inputs; ci++) {
            for (std::int64_t co = 0; co < outputs; co++) {
                for (std::int64_t pixel = 0; pixel < block; pixel++) {
                    const std::int64_t channel = crd ? co * block + pixel : pixel * outputs + co;
                    permuted[static_cast<std::size_t>(channel * inputs + ci)] =
                        data.weights[static_cast<std::size_t>((ci * outputs + co) * block + pixel)];
                }
            }
        }
        data.weights = permuted;
        EXPECT_EQ(built.run("pointwise", data), expected);
    }
}

// The value of a line of pixels at a place between them, the border pixel beyond its ends.
struct Place {
    std::int64_t before, after;
    double share; // of `after`

    Place(double at, std::int64_t size)
        : before(static_cast<std::int64_t>(std::floor(at))), after(before + 1),
          share(at - static_cast<double>(before)) {
        before = std::clamp<std::int64_t>(before, 0, size - 1);
        after = std::clamp<std::int64_t>(after, 0, size - 1);
    }
};

double interpolated(const Image &image, double at_y, double at_x, std::int64_t c) {
    const Place y(at_y, image.height), x(at_x, image.width);
    const auto row = [&](std::int64_t line) {
        return (1 - x.share) * static_cast<double>(image.at(line, x.before, c)) +
               x.share * static_cast<double>(image.at(line, x.after, c));
    };
    return (1 - y.share) * row(y.before) + y.share * row(y.after);
}

// Where output o of an upsampling by f lies among the input's pixels.
double half_pixel(std::int64_t o, std::int64_t f) {
    return (static_cast<double>(o) + 0.5) / static_cast<double>(f) - 0.5;
}

constexpr double bilinear_tolerance = 6e-6; // 1e-6 of the largest number of normal_data

// Every output is the input's value at place(y, x).
template<typename PlaceOf>
void expect_resized(const Image &output, const Image &input, PlaceOf place) {
    for_each(output, [&](auto y, auto x, auto c) {
        const auto [at_y, at_x] = place(y, x);
        EXPECT_NEAR(output.at(y, x, c), interpolated(input, at_y, at_x, c), bilinear_tolerance)
            << y << " " << x << " " << c;
    });
}

TEST_F(Properties, BilinearUpsamplingIsHalfPixelResizing) {
    struct Case {
        std::int64_t factor_y, factor_x;
        const char *shape;
    };
    std::vector<Case> cases;
    std::string text;
    for (const auto &[factor_y, factor_x] : {std::pair{2, 2}, {3, 3}, {4, 1}, {2, 5}}) {
        for (const char *shape : {"1x5x7x3", "1x1x6x17", "1x4x1x16"}) {
            text += fmt::format("resized{} = input(f32, {}) | bilinear_upsample({}x{})\n", cases.size(),
                                shape, factor_y, factor_x);
            cases.push_back({factor_y, factor_x, shape});
        }
    }
    const Built built(text);
    for (std::size_t i = 0; i < cases.size(); i++) {
        const auto [factor_y, factor_x, shape] = cases[i];
        SCOPED_TRACE(fmt::format("{} by {}x{}", shape, factor_y, factor_x));
        const std::string resized = numbered("resized", i);
        const LayerData data = reference::normal_data(built.layer(resized), random.next());
        const Image input(built.input_shape(resized), data.input);
        const Image output(built.output_shape(resized), built.run(resized, data));
        ASSERT_EQ(output.height, input.height * factor_y);
        ASSERT_EQ(output.width, input.width * factor_x);
        expect_resized(output, input, [fy = factor_y, fx = factor_x](std::int64_t y, std::int64_t x) {
            return std::pair{half_pixel(y, fy), half_pixel(x, fx)};
        });
    }
}

TEST_F(Properties, AlignedBilinearUpsamplingIsAlignedCornersResizing) {
    const Built built("resized2 = input(f32, 1x5x7x6) | bilinear_upsample(2, corners=aligned)\n"
                      "resized3 = input(f32, 1x5x7x6) | bilinear_upsample(3, corners=aligned)\n"
                      "resized4 = input(f32, 1x1x7x6) | bilinear_upsample(4, corners=aligned)\n");
    for (const std::int64_t factor : {2, 3, 4}) {
        SCOPED_TRACE(factor);
        const std::string resized = numbered("resized", static_cast<std::size_t>(factor));
        const LayerData data = reference::normal_data(built.layer(resized), random.next());
        const Image input(built.input_shape(resized), data.input);
        const Image output(built.output_shape(resized), built.run(resized, data));
        ASSERT_EQ(output.height, (input.height - 1) * factor + 1);
        ASSERT_EQ(output.width, (input.width - 1) * factor + 1);
        expect_resized(output, input, [factor](std::int64_t y, std::int64_t x) {
            const auto f = static_cast<double>(factor);
            return std::pair{static_cast<double>(y) / f, static_cast<double>(x) / f};
        });
    }
}

// The recipe's transposed convolution takes what lies beyond the border as zero, so the outer floor(f / 2)
// rows and columns fade: the gain on a constant is (f + 1 + 2 i) / (2 f) in row i.
TEST_F(Properties, BilinearWeightsResizeAndFadeAtTheBorder) {
    const std::vector<std::int64_t> factors = {2, 3, 4, 5};
    std::string text;
    for (const std::int64_t factor : factors) {
        text +=
            fmt::format("transposed{1} = input(f32, 1x5x6x3) | transposed_conv(3, kernel={0}, stride={1}, "
                        "pad={2}, groups=3, weights=bilinear)\n"
                        "upsampled{1} = input(f32, 1x5x6x3) | bilinear_upsample({1}, edge=zero)\n",
                        2 * factor - factor % 2, factor, factor / 2);
    }
    const Built built(text);
    for (const std::int64_t factor : factors) {
        SCOPED_TRACE(factor);
        const std::string transposed = numbered("transposed", static_cast<std::size_t>(factor));
        const std::string upsampled = numbered("upsampled", static_cast<std::size_t>(factor));
        LayerData data = reference::normal_data(built.layer(transposed), random.next());
        const Image input(built.input_shape(transposed), data.input);
        const Shape shape = built.output_shape(transposed);
        ASSERT_EQ(shape.spatial, (PerAxis{input.height * factor, input.width * factor}));
        const Image output(shape, built.run(transposed, data)), same(shape, built.run(upsampled, data));
        std::fill(data.input.begin(), data.input.end(), 1.0f);
        const Image constant(shape, built.run(transposed, data));
        const auto gain = [&](std::int64_t o, std::int64_t size) {
            const std::int64_t i = std::min(o, size - 1 - o);
            return i >= factor / 2
                       ? 1.0
                       : static_cast<double>(factor + 1 + 2 * i) / static_cast<double>(2 * factor);
        };
        for_each(output, [&](auto y, auto x, auto c) {
            const double fade = gain(y, output.height) * gain(x, output.width);
            EXPECT_NEAR(constant.at(y, x, c), fade, 1e-6) << y << " " << x << " " << c;
            EXPECT_NEAR(output.at(y, x, c), same.at(y, x, c), bilinear_tolerance)
                << y << " " << x << " " << c;
            if (fade < 1) return;
            EXPECT_NEAR(output.at(y, x, c),
                        interpolated(input, half_pixel(y, factor), half_pixel(x, factor), c),
                        bilinear_tolerance)
                << y << " " << x << " " << c;
        });
    }
}

// ICNR: with each sub-kernel repeated for all pixels of a block, a shuffled convolution is nearest upsampling
// of the convolution.
TEST_F(Properties, RepeatedSubKernelsUpsampleToTheNearest) {
    const std::int64_t outputs = 5, block = 9, kernel_elements = 7 * 9;
    for (const bool crd : {true, false}) {
        const Built built(
            fmt::format("plain = input(f32, 1x4x6x7, numeric=exact) | conv(5, kernel=3, pad=1)\n"
                        "nearest = input(f32, 1x4x6x5) | nearest_upsample(3)\n"
                        "shuffled = input(f32, 1x4x6x7, numeric=exact) | conv(45, kernel=3, pad=1) | "
                        "pixel_shuffle(3, order={})\n",
                        crd ? "crd" : "dcr"));
        const LayerData plain = built.integer_data("plain", random);
        LayerData shuffled = plain;
        shuffled.weights.clear();
        for (std::int64_t channel = 0; channel < outputs * block; channel++) {
            const auto from =
                plain.weights.begin() + (crd ? channel / block : channel % outputs) * kernel_elements;
            shuffled.weights.insert(shuffled.weights.end(), from, from + kernel_elements);
        }
        LayerData convolved;
        convolved.input = built.run("plain", plain);
        const Image small(built.output_shape("plain"), convolved.input);
        const Floats expected = repeated(small, 3, 3).values;
        EXPECT_EQ(built.run("nearest", convolved), expected);
        EXPECT_EQ(built.run("shuffled", shuffled), expected);
    }
}

TEST_F(Properties, NearestUpsamplingThenConvolutionIsConvolutionOfTheUpsampled) {
    struct Case {
        const char *factor, *small, *large;
        std::int64_t factor_y, factor_x;
        const char *conv;
    };
    const std::vector<Case> cases = {
        {"2", "1x5x6x8", "1x10x12x8", 2, 2, "conv(17, kernel=3, pad=1)"},
        {"2", "1x5x6x3", "1x10x12x3", 2, 2, "conv(4, kernel=4, pad=1:2)"},
        {"3", "1x4x3x16", "1x12x9x16", 3, 3, "conv(3, kernel=5, pad=same)"},
        {"2x1", "1x5x6x4", "1x10x6x4", 2, 1, "conv(8, kernel=3, pad=3)"},
        {"4", "1x3x4x6", "1x12x16x6", 4, 4, "conv(6, kernel=3, stride=2, pad=1)"},
        {"3x2", "1x4x5x6", "1x12x10x6", 3, 2, "conv(9, kernel=3, stride=2x3, dilation=2, pad=2)"},
        {"2", "1x4x5x21", "1x8x10x21", 2, 2, "conv(21, kernel=3, pad=1, groups=21)"},
    };
    std::string text;
    for (std::size_t i = 0; i < cases.size(); i++) {
        const Case &c = cases[i];
        text += fmt::format("fused{} = input(f32, {}, numeric=exact) | nearest_upsample({}) | {} | bias\n", i,
                            c.small, c.factor, c.conv);
        text += fmt::format("plain{} = input(f32, {}, numeric=exact) | {} | bias\n", i, c.large, c.conv);
    }
    const Built built(text);
    for (std::size_t i = 0; i < cases.size(); i++) {
        const Case &c = cases[i];
        SCOPED_TRACE(fmt::format("{} by {}: {}", c.small, c.factor, c.conv));
        LayerData data = built.integer_data(numbered("fused", i), random);
        const Floats fused = built.run(numbered("fused", i), data);
        const Image small(built.input_shape(numbered("fused", i)), data.input);
        data.input = repeated(small, c.factor_y, c.factor_x).values;
        EXPECT_EQ(fused, built.run(numbered("plain", i), data));
    }
}

// Windows inside the whole and at its end.
TEST_F(Properties, CropIsAWindowOfTheWhole) {
    struct Case {
        const char *chain;
        std::int64_t from_y, from_x;
    };
    const std::vector<Case> cases = {
        {"transposed_conv(6, kernel=4, stride=2, pad=1) | bias", 3, 1},
        {"conv(24, kernel=3, pad=1) | pixel_shuffle(2)", 4, 3},
        {"bilinear_upsample(2)", 4, 3},
        {"nearest_upsample(2) | conv(9, kernel=3, pad=1)", 1, 3},
        {"nearest_upsample(3)", 10, 8},
    };
    std::string text;
    for (std::size_t i = 0; i < cases.size(); i++) {
        text += fmt::format("whole{0} = input(f32, 1x6x5x7, numeric=exact) | {1}\n"
                            "window{0} = input(f32, 1x6x5x7, numeric=exact) | {1} | crop(from={2}x{3}, "
                            "size=8x7)\n",
                            i, cases[i].chain, cases[i].from_y, cases[i].from_x);
    }
    const Built built(text);
    for (std::size_t i = 0; i < cases.size(); i++) {
        const auto &[chain, from_y, from_x] = cases[i];
        SCOPED_TRACE(chain);
        const std::string whole_name = numbered("whole", i), window_name = numbered("window", i);
        const LayerData data = built.integer_data(whole_name, random);
        const Image whole(built.output_shape(whole_name), built.run(whole_name, data));
        const Image window(built.output_shape(window_name), built.run(window_name, data));
        for_each(window, [&, from_y = from_y, from_x = from_x](auto y, auto x, auto c) {
            EXPECT_EQ(window.at(y, x, c), whole.at(y + from_y, x + from_x, c)) << y << " " << x << " " << c;
        });
    }
}

// The same numbers with the channels outside: what changes is only where they lie.
TEST_F(Properties, LayoutsComputeTheSame) {
    for (const char *chain :
         {"transposed_conv(17, kernel=3, stride=2, pad=1, output_pad=1) | bias | relu",
          "conv(8, kernel=3, pad=1) | prelu | pixel_shuffle(2)", "pixel_unshuffle(2) | conv(5, kernel=1)"}) {
        SCOPED_TRACE(chain);
        const Built built(fmt::format("last = input(f32, 1x6x4x5, numeric=exact) | {0}\n"
                                      "first = input(f32, 1x5x6x4, layout=nchw, numeric=exact) | {0}\n",
                                      chain));
        LayerData data = built.integer_data("last", random);
        const Image input(built.input_shape("last"), data.input);
        const Image output(built.output_shape("last"), built.run("last", data));
        const auto channels_first = [](const Image &image) {
            Floats moved(image.values.size());
            for_each(image, [&](auto y, auto x, auto c) {
                moved[static_cast<std::size_t>((c * image.height + y) * image.width + x)] = image.at(y, x, c);
            });
            return moved;
        };
        data.input = channels_first(input);
        EXPECT_EQ(built.run("first", data), channels_first(output));
    }
}

} // namespace
} // namespace unstride::chains
