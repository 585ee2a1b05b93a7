// Random mutations of layer texts: the parser never crashes, and what it accepts prints and parses back
// unchanged. UNSTRIDE_FUZZ_SECONDS sets the time (2 by default), UNSTRIDE_FUZZ_SEED repeats a run.
#include "compiler/language/parser.h"
#include "compiler/language/printer.h"
#include "compiler/language/shapes.h"
#include "compiler/lowering/phase_convolution.h"

#include <gtest/gtest.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <random>
#include <variant>

namespace unstride {
namespace {

const std::vector<std::string> valid_texts = {
    "a = input(f32, 1x64x64x256) | transposed_conv(64, kernel=4, stride=2, pad=1) | bias | relu\n",
    "a = input(f32, ?x?x?x56) | transposed_conv(1, kernel=9, stride=2, pad=4, output_pad=1) | bias # any\r\n",
    "a = input(f16, 1x688x256, numeric=fast) | leaky_relu(0.1) | transposed_conv(128, kernel=16, stride=8, "
    "pad=4)\n",
    "a = input(f32, 1x8x8x4, layout=nchw) | conv(4, kernel=3x2, stride=2x1, pad=1:0x2, dilation=1x2, "
    "groups=2)\n",
    "a = input(f32, 1x9x8x4) | transposed_conv(4, kernel=3, stride=2, pad=same, output_size=17x16)\n",
    "a = input(f32, 1x9x8x4) | conv(9, kernel=3, pad=same_lower) | pixel_shuffle(3, order=dcr) | clamp(-1e3, "
    "6)\n",
    "a = input(f32, 1x8x8x4) | bilinear_upsample(2, edge=zero, pad=0) | add | crop(from=1, size=4x5)\n",
    "a = input(i8, 2x8x8x8x4) | pixel_unshuffle(2) | nearest_upsample(2x1x3) | scale | prelu | gelu\n",
    "a = input(f32, 1x5x4) | relu\nb = input(f32, 1x5x4) | bilinear_upsample(3, corners=aligned)\n",
};

const std::vector<std::string> tokens = {"|",
                                         "(",
                                         ")",
                                         ",",
                                         "=",
                                         "x",
                                         ":",
                                         "?",
                                         "#",
                                         "-",
                                         "\n",
                                         "\r\n",
                                         "\t",
                                         "0",
                                         "1",
                                         "2",
                                         "3",
                                         "7",
                                         "2147483647",
                                         "9223372036854775808",
                                         "1e308",
                                         "1e-400",
                                         "nan",
                                         "inf",
                                         "input",
                                         "conv",
                                         "transposed_conv",
                                         "pixel_shuffle",
                                         "pixel_unshuffle",
                                         "bilinear_upsample",
                                         "kernel=",
                                         "stride=",
                                         "pad=",
                                         "dilation=",
                                         "groups=",
                                         "output_pad=",
                                         "output_size=",
                                         "weights=bilinear",
                                         "edge=zero",
                                         "corners=aligned",
                                         "layout=nchw",
                                         "same",
                                         "same_lower",
                                         "valid",
                                         "| relu",
                                         "| crop(from=0, size=1)",
                                         std::string(1, '\0'),
                                         "\xFF",
                                         "\xC3\xA9"};

class Mutator {
public:
    explicit Mutator(std::uint64_t seed) : random(seed) {}

    std::string text() {
        std::string text = pick(valid_texts);
        for (std::size_t count = 1 + below(4); count > 0; count--)
            mutate(text);
        return text;
    }

private:
    std::mt19937_64 random;

    std::size_t below(std::size_t limit) { return random() % limit; }
    const std::string &pick(const std::vector<std::string> &from) { return from[below(from.size())]; }

    void mutate(std::string &text) {
        const std::size_t at = below(text.size() + 1);
        const std::size_t length = below(8);
        switch (below(6)) {
        case 0:
            text.insert(at, pick(tokens));
            break;
        case 1:
            text.replace(at, length, pick(tokens));
            break;
        case 2:
            text.erase(at, length);
            break;
        case 3:
            text.insert(at, text.substr(below(text.size() + 1), 2 * length));
            break;
        case 4:
            text.insert(at, 1, static_cast<char>(below(256)));
            break;
        default:
            replace_digit(text, at);
            break;
        }
    }

    // Changes the next digit, which keeps most texts valid.
    void replace_digit(std::string &text, std::size_t from) {
        const std::size_t at = text.find_first_of("0123456789", from);
        if (at != text.npos) text[at] = static_cast<char>('0' + below(10));
    }
};

void check(const std::string &text) {
    const ParseResult chain = parse_layer(text, "chain");
    EXPECT_EQ(chain.layers.size(), chain.ok() ? 1u : 0u);
    const ParseResult result = parse_layers(text, "fuzz");
    for (const Diagnostic &error : result.errors) {
        EXPECT_GE(error.position.line, 1);
        EXPECT_GE(error.position.column, 1);
        EXPECT_FALSE(error.message.empty());
    }
    EXPECT_TRUE(!result.layers.empty() || !result.errors.empty());
    for (const Layer &layer : result.layers) {
        const std::string printed = print(layer);
        const ParseResult again = parse_layers(printed, "printed");
        ASSERT_TRUE(again.ok()) << printed << "\n" << to_string(again.errors[0]);
        ASSERT_EQ(again.layers.size(), 1u);
        EXPECT_EQ(again.layers[0], layer) << printed;
        EXPECT_EQ(print(again.layers[0]), printed);
        const std::vector<Shape> shapes = infer_shapes(layer);
        for (std::size_t i = 0; i < layer.stages.size(); i++)
            explain_sizes(layer.stages[i].operation, shapes[i]);
        const auto lowered = lower(layer);
        const auto *refusal = std::get_if<Diagnostic>(&lowered);
        EXPECT_TRUE(refusal == nullptr || !refusal->message.empty()) << printed;
    }
}

double environment_number(const char *name, double otherwise) {
    const char *value = std::getenv(name);
    return value ? std::atof(value) : otherwise;
}

TEST(LanguageFuzz, NeverCrashesAndRoundTrips) {
    const auto seed =
        static_cast<std::uint32_t>(environment_number("UNSTRIDE_FUZZ_SEED", std::random_device{}()));
    const std::chrono::duration<double> budget(environment_number("UNSTRIDE_FUZZ_SECONDS", 2));
    const auto start = std::chrono::steady_clock::now();
    std::printf("seed %u\n", seed);
    std::fflush(stdout);

    Mutator mutator(seed);
    std::size_t cases = 0;
    do {
        const std::string text = mutator.text();
        check(text);
        ASSERT_FALSE(HasFailure()) << "seed " << seed << ", case " << cases << ", text:\n" << text;
        cases++;
    } while (std::chrono::steady_clock::now() - start < budget);
    std::printf("%zu cases\n", cases);
}

} // namespace
} // namespace unstride
