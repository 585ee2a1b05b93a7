// What minimal filtering does to the numbers: the error of every form that numeric=safe and numeric=fast may
// choose beside that of the direct form on the same data, against the bounds that are stated for it; and
// which outputs an input that is not finite reaches.
#include "compiler/language/parser.h"
#include "compiler/language/printer.h"
#include "reference/comparator.h"
#include "reference/random_data.h"
#include "schedules/analytic_default.h"
#include "schedules/filtering_default.h"
#include "schedules/record.h"
#include "schedules/tuning_record.h"
#include "tests/kernels/form_numerics.h"
#include "tests/random/layer_library.h"
#include "tools/files.h"
#include "tools/tune/tuner.h"

#include <fmt/format.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace unstride {
namespace {

using chains::LibraryBuilder;
using chains::LoadedLibrary;
using reference::LayerData;
using reference::Random;

// Layers of two to five taps an axis, some of two phases; of more channels, whose sums are of several chains.
const std::vector<std::string> texts = {
    "two = input(f32, 1x24x25x32) | transposed_conv(16, kernel=4, stride=2, pad=1)",
    "three = input(f32, 1x24x25x32) | conv(16, kernel=3, pad=1)",
    "four = input(f32, 1x24x25x32) | conv(16, kernel=4, pad=2:1)",
    "five = input(f32, 1x24x25x32) | conv(16, kernel=5, pad=2)",
    "two_deep = input(f32, 1x24x25x256) | transposed_conv(32, kernel=4, stride=2, pad=1)",
    "three_deep = input(f32, 1x24x25x128) | conv(32, kernel=3, pad=1)"};

Layer layer_of(const std::string &text, NumericPolicy numeric) {
    const ParseResult parsed = parse_layers(text, "numerics");
    EXPECT_TRUE(parsed.ok()) << text;
    Layer layer = parsed.layers.at(0);
    layer.input.numeric = numeric;
    return layer;
}

PhaseConvolution lowered(const Layer &layer) {
    return std::get<PhaseConvolution>(lower(layer));
}

// A schedule of small tasks, so that a task ends within a row.
CpuFiltering filtering(const TargetFacts &facts, int tile_x, int tile_y) {
    CpuFiltering record;
    record.tile_x = tile_x;
    record.tile_y = tile_y;
    record.lanes = std::min(facts.vector_lanes, 16);
    record.tiles = 4;
    record.task_tiles = 12;
    return record;
}

// The forms of a layer: of `safe` all with at least as many outputs of a tile along x as along y, of `fast`
// the largest of both axes and of one; of deep layers those in several chains only.
std::vector<ScheduleRecord> forms_of(const Layer &layer, const TargetFacts &facts) {
    std::vector<ScheduleRecord> forms;
    const PhaseConvolution convolution = lowered(layer);
    PhaseConvolution safe = convolution;
    safe.numeric = NumericPolicy::safe;
    for (int tile_x = 2; tile_x <= largest_filter_tile; tile_x++) {
        for (int tile_y = 1; tile_y <= tile_x; tile_y++) {
            CpuFiltering form = filtering(facts, tile_x, tile_y);
            const std::optional<int> chain = longest_chain(safe, facts, form);
            form.chain = chain.value_or(0);
            if (violated_constraint(convolution, facts, {form})) continue;
            const bool fast = (tile_x == 4 && tile_y == 4) || (tile_x == 6 && tile_y == 1);
            const bool deep = convolution.channels_per_output() > 32;
            if (deep ? form.chain > 0 : fast || chain) forms.push_back({form});
        }
    }
    return forms;
}

struct Distribution {
    const char *name;
    double most_mean, most_largest;
    float (*element)(Random &random);
};

// Inputs and weights of a kind, and the most that a form's errors then are in units of the direct form's and
// of what is stated for normal numbers. Of positive numbers the direct sums grow with every term, while
// differences of them do not; where numbers are of many sizes, the largest of a tile is felt by all its
// outputs.
const Distribution distributions[] = {
    {"normal", 1.1, 2, [](Random &random) { return static_cast<float>(random.normal()); }},
    {"positive", 0.8, 1.3, [](Random &random) { return static_cast<float>(std::abs(random.normal())); }},
    {"range", 1.65, 4, // over 2^-12 to 2^12
     [](Random &random) {
         return static_cast<float>(std::ldexp(random.normal(), static_cast<int>(random.integer(-12, 12))));
     }},
};

LayerData data_of(const Layer &layer, const Distribution &distribution) {
    const auto sizes = reference::data_sizes(layer);
    EXPECT_TRUE(sizes.ok()) << sizes.error();
    LayerData data;
    Random random(21);
    for (auto [numbers, count] :
         {std::pair{&data.input, sizes->input}, std::pair{&data.weights, sizes->weights}}) {
        for (std::int64_t i = 0; i < count; i++)
            numbers->push_back(distribution.element(random));
    }
    return data;
}

// Inputs of which half have no full mantissa, the others just do; weights are normal.
LayerData denormal_data(const Layer &layer) {
    LayerData data = data_of(layer, distributions[0]);
    for (std::size_t i = 0; i < data.input.size(); i++)
        data.input[i] = std::ldexp(data.input[i], i % 2 == 0 ? -138 : -126);
    return data;
}

struct Error {
    double largest = 0, mean = 0; // mean: root mean square
};

Error error_of(const std::vector<float> &got, const std::vector<double> &expected) {
    Error error;
    for (std::size_t i = 0; i < got.size(); i++) {
        const double difference = std::abs(static_cast<double>(got[i]) - expected[i]);
        error.largest = std::max(error.largest, difference);
        error.mean += difference * difference / static_cast<double>(got.size());
    }
    error.mean = std::sqrt(error.mean);
    return error;
}

// The i-th form of every layer is built with the i-th forms of the others.
class Numerics : public testing::Test {
protected:
    struct Built {
        ScheduleRecord form;
        const unstride_layer *layer;
        std::size_t library;
    };

    static void SetUpTestSuite() {
        auto made = LibraryBuilder::make();
        ASSERT_TRUE(made.ok()) << made.error();
        builder = new LibraryBuilder(std::move(*made));
        facts = own_instruction_sets().front();
        for (const std::string &text : texts) {
            layers.push_back(layer_of(text, NumericPolicy::fast));
            forms.push_back(forms_of(layers.back(), facts));
        }
        build_direct();
        for (std::size_t round = 0; build_forms(round); round++) {
        }
    }
    static void TearDownTestSuite() { delete builder; }

    static void load(const std::vector<Layer> &built, const std::vector<std::string> &options) {
        const auto shared = builder->build(built, facts.instruction_set, options);
        ASSERT_TRUE(shared.ok()) << shared.error();
        auto loaded = LoadedLibrary::load(*shared);
        ASSERT_TRUE(loaded.ok()) << loaded.error();
        libraries.push_back(std::move(*loaded));
    }

    static void build_direct() {
        std::vector<Layer> exact = layers;
        for (Layer &layer : exact)
            layer.input.numeric = NumericPolicy::exact;
        load(exact, {});
        for (std::size_t i = 0; i < layers.size(); i++) {
            Layer exact_layer = exact[i];
            direct.push_back({analytic_default(lowered(exact_layer), facts),
                              libraries.back().find(exact_layer.name), libraries.size() - 1});
        }
    }

    // False if no layer has so many forms.
    static bool build_forms(std::size_t round) {
        std::vector<Layer> built;
        std::string records;
        for (std::size_t i = 0; i < layers.size(); i++) {
            if (round >= forms[i].size()) continue;
            TuningRecord record;
            record.layer = print_chain(layers[i]);
            record.instruction_set = facts.instruction_set;
            record.schedule = forms[i][round];
            record.estimate_ns = 1000;
            record.date = "2026-03-01T12:00:00Z";
            records += to_json(record).dump() + "\n";
            built.push_back(layers[i]);
        }
        if (built.empty()) return false;
        auto folder = make_temporary_folder("unstride-numerics");
        const std::filesystem::path file = folder->path() / "forms.jsonl";
        EXPECT_TRUE(write_file_atomically(file, records).ok());
        load(built, {"--db", file.string(), "--require", "near-machine"});
        if (HasFatalFailure()) return false;
        for (std::size_t i = 0; i < layers.size(); i++) {
            if (round < forms[i].size())
                filtered[i].push_back(
                    {forms[i][round], libraries.back().find(layers[i].name), libraries.size() - 1});
        }
        return true;
    }

    static std::vector<float> run(const Built &built, const Layer &layer, const LayerData &data) {
        const auto output = libraries[built.library].run(*built.layer, layer, data, 2);
        EXPECT_TRUE(output.ok()) << output.error();
        return output.ok() ? *output : std::vector<float>{};
    }

    static std::string name_of(const Layer &layer, const Built &built) {
        return fmt::format("{} by {}", layer.name, to_json(built.form).dump());
    }

    // Every element within the bound that is stated for the form.
    static void expect_bounded(std::size_t i, const Built &built, const std::vector<float> &got,
                               const reference::ReferenceResult &expected) {
        const auto comparison = reference::compare(layers[i], expected, expected.shape, got,
                                                   tolerance_of(lowered(layers[i]), built.form));
        EXPECT_TRUE(comparison.equal) << name_of(layers[i], built) << ": " << comparison.report;
    }

    static inline LibraryBuilder *builder;
    static inline TargetFacts facts;
    static inline std::vector<Layer> layers;
    static inline std::vector<std::vector<ScheduleRecord>> forms;
    static inline std::vector<LoadedLibrary> libraries;
    static inline std::vector<Built> direct;
    static inline std::map<std::size_t, std::vector<Built>> filtered;
};

TEST_F(Numerics, ErrorsAreAsStated) {
    for (std::size_t i = 0; i < layers.size(); i++) {
        for (const Distribution &distribution : distributions) {
            const LayerData data = data_of(layers[i], distribution);
            const auto expected = reference::evaluate(layers[i], data);
            ASSERT_TRUE(expected.ok()) << expected.error();
            const Error own = error_of(run(direct[i], layers[i], data), expected->values);
            for (const Built &built : filtered[i]) {
                SCOPED_TRACE(fmt::format("{} of {}", name_of(layers[i], built), distribution.name));
                const std::vector<float> got = run(built, layers[i], data);
                expect_bounded(i, built, got, *expected);
                const Error error = error_of(got, expected->values);
                const double stated = relative_error(lowered(layers[i]), built.form);
                EXPECT_LE(error.mean, distribution.most_mean * stated * own.mean);
                EXPECT_LE(error.largest, distribution.most_largest * stated * own.largest);
                RecordProperty(fmt::format("{} {}", name_of(layers[i], built), distribution.name),
                               fmt::format("{:.2f} {:.2f} {:.2f}", stated, error.mean / own.mean,
                                           error.largest / own.largest));
            }
        }
    }
}

// What the policies promise is measured, not derived.
TEST_F(Numerics, PoliciesKeepTheirPromise) {
    for (std::size_t i = 0; i < layers.size(); i++) {
        const LayerData data = data_of(layers[i], distributions[0]);
        const auto expected = reference::evaluate(layers[i], data);
        ASSERT_TRUE(expected.ok()) << expected.error();
        const Error own = error_of(run(direct[i], layers[i], data), expected->values);
        std::size_t safe_forms = 0;
        for (const Built &built : filtered[i]) {
            Layer layer = layers[i];
            layer.input.numeric = NumericPolicy::safe;
            const bool safe = !violated_constraint(lowered(layer), facts, built.form);
            safe_forms += safe ? 1 : 0;
            const Error error = error_of(run(built, layers[i], data), expected->values);
            EXPECT_LE(error.mean, (safe ? 1.25 : 8) * own.mean) << name_of(layers[i], built);
        }
        EXPECT_GT(safe_forms, 0u) << layers[i].name;
    }
}

// No form takes denormal numbers for zeros: what each rounding adds is of their spacing.
TEST_F(Numerics, DenormalsAreKept) {
    constexpr double spacing = std::numeric_limits<float>::denorm_min();
    for (std::size_t i = 0; i < layers.size(); i++) {
        const LayerData data = denormal_data(layers[i]);
        const auto expected = reference::evaluate(layers[i], data);
        ASSERT_TRUE(expected.ok()) << expected.error();
        const double largest = *std::max_element(expected->magnitudes.begin(), expected->magnitudes.end());
        const double rounding = std::numeric_limits<float>::epsilon() * largest + spacing;
        EXPECT_LT(error_of(run(direct[i], layers[i], data), expected->values).largest,
                  static_cast<double>(expected->terms) * rounding);
        for (const Built &built : filtered[i]) {
            const double factor = error_factor(lowered(layers[i]), built.form);
            EXPECT_LT(error_of(run(built, layers[i], data), expected->values).largest,
                      factor * static_cast<double>(expected->terms) * rounding)
                << name_of(layers[i], built);
        }
    }
}

// Whether the input at `input` is part of what output `at` of an axis is made of: the output's own taps.
bool reads(const PhaseAxis &axis, std::int64_t at, std::int64_t input) {
    const std::vector<Tap> &taps = axis.phases[static_cast<std::size_t>(at % axis.phase_count())].taps;
    return std::any_of(taps.begin(), taps.end(),
                       [&](const Tap &tap) { return at / axis.phase_count() + tap.input_offset == input; });
}

// The same of a filtered axis: the output's point products with a transformed input that is made of it.
bool reads(const FilteredAxis &axis, std::int64_t at, std::int64_t input) {
    const auto phases = static_cast<std::int64_t>(axis.shift.size());
    const std::int64_t q = at % phases, outputs = axis.matrices.outputs;
    const std::int64_t place = at / phases + axis.shift[static_cast<std::size_t>(q)];
    const std::int64_t k = input - place / outputs * outputs - axis.window_begin;
    if (k < 0 || k >= axis.matrices.points()) return false;
    const std::vector<Rational> &row = axis.matrices.output[static_cast<std::size_t>(place % outputs)];
    for (std::size_t p = 0; p < row.size(); p++) {
        if (row[p] != Rational(0) && axis.multiplies(q, static_cast<std::int64_t>(p)) &&
            axis.matrices.input[p][static_cast<std::size_t>(k)] != Rational(0))
            return true;
    }
    return false;
}

// Finite are exactly the outputs that are not made of the one input that is not, and they are what they were.
template<typename Axis>
void expect_spread(const std::vector<float> &got, const std::vector<float> &finite, const Shape &shape,
                   const Axis &x, const Axis &y, std::int64_t input_x, std::int64_t input_y) {
    std::size_t at = 0, wrong = 0;
    for (std::int64_t out_y = 0; out_y < shape.spatial[0]; out_y++) {
        for (std::int64_t out_x = 0; out_x < shape.spatial[1]; out_x++) {
            const bool reached = reads(y, out_y, input_y) && reads(x, out_x, input_x);
            for (std::int64_t c = 0; c < shape.channels; c++, at++)
                wrong += reached ? std::isfinite(got[at]) : got[at] != finite[at];
        }
    }
    EXPECT_EQ(wrong, 0u);
}

TEST_F(Numerics, WhatIsNotFiniteReachesWhatItsWindowsMake) {
    for (std::size_t i = 0; i < layers.size(); i++) {
        const LayerData data = data_of(layers[i], distributions[0]);
        const PhaseConvolution convolution = lowered(layers[i]);
        const Shape shape = infer_shapes(layers[i]).back();
        const Input &input = layers[i].input;
        for (const float bad :
             {std::numeric_limits<float>::quiet_NaN(), -std::numeric_limits<float>::infinity()}) {
            for (const auto &[x, y] : {std::pair{12, 11}, std::pair{0, 23}, std::pair{22, 1}}) {
                LayerData broken = data;
                broken.input[static_cast<std::size_t>((y * input.spatial[1] + x) * input.channels + 5)] = bad;
                SCOPED_TRACE(fmt::format("{} of {} at {}, {}", layers[i].name, bad, x, y));
                expect_spread(run(direct[i], layers[i], broken), run(direct[i], layers[i], data), shape,
                              convolution.x(), convolution.y(), x, y);
                for (const Built &built : filtered[i]) {
                    SCOPED_TRACE(name_of(layers[i], built));
                    const auto axes = filtered_axes(convolution, *filter_tile(built.form));
                    expect_spread(run(built, layers[i], broken), run(built, layers[i], data), shape, *axes[0],
                                  *axes[1], x, y);
                }
            }
        }
    }
}

} // namespace
} // namespace unstride
