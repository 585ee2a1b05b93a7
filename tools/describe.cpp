// `unstride describe`: what a layer's arithmetic is, before anything is compiled.
#include "tools/commands.h"

#include "compiler/language/printer.h"
#include "compiler/language/shapes.h"
#include "compiler/lowering/costs.h"

#include <CLI/CLI.hpp>
#include <fmt/format.h>

#include <memory>

namespace unstride {

namespace {

// Sizes that costs are given for where the layer leaves them open.
constexpr std::int64_t assumed_size = 64;

const char *axis_name(std::size_t axis, std::size_t axes) {
    static const char *const names[] = {"depth", "height", "width"};
    return names[3 - axes + axis];
}

std::string count(double value) {
    if (value >= 1e9) return fmt::format("{:.3f} G", value / 1e9);
    if (value >= 1e6) return fmt::format("{:.3f} M", value / 1e6);
    return fmt::format("{:.0f}", value);
}

void describe_phases(const PhaseConvolution &layer) {
    for (std::size_t axis = 0; axis < layer.axes.size(); axis++) {
        const std::vector<Phase> &phases = layer.axes[axis].phases;
        fmt::print("  {}: {} phase{}\n", axis_name(axis, layer.axes.size()), phases.size(),
                   phases.size() == 1 ? "" : "s");
        constexpr std::size_t most = 8;
        for (std::size_t q = 0; q < std::min(phases.size(), most); q++) {
            std::string taps;
            for (const Tap &tap : phases[q].taps) {
                if (!taps.empty()) taps += ", ";
                taps += fmt::format("w[{}]·in[u{:+}]", tap.kernel_index, tap.input_offset);
            }
            fmt::print("    phase {}: {} tap{}{}{}\n", q, phases[q].taps.size(),
                       phases[q].taps.size() == 1 ? "" : "s", taps.empty() ? "" : ": ",
                       taps.empty() ? "" : taps);
        }
        if (phases.size() > most) fmt::print("    … {} more\n", phases.size() - most);
    }
    double taps = 1, phases = 1;
    for (const PhaseAxis &axis : layer.axes) {
        taps *= static_cast<double>(axis.total_taps());
        phases *= static_cast<double>(axis.phases.size());
    }
    fmt::print("  {} taps over {} phases of an input position\n", taps, phases);
}

void describe_costs(const PhaseConvolution &layer) {
    PerAxis sizes;
    bool assumed = layer.batch == dynamic_size;
    for (const PhaseAxis &axis : layer.axes) {
        assumed |= axis.input_size == dynamic_size;
        sizes.push_back(axis.input_size == dynamic_size ? assumed_size : axis.input_size);
    }
    const Costs cost = costs(layer, layer.batch == dynamic_size ? 1 : layer.batch, sizes);
    if (assumed) fmt::print("  for batch 1 and {} where a size is `?`:\n", assumed_size);
    const auto ratio = [&](double other) { return other / cost.multiplications; };
    fmt::print("  multiplications: {}\n", count(cost.multiplications));
    fmt::print("    by zero insertion: {} ({:.2f}x)\n", count(cost.zero_insertion),
               ratio(cost.zero_insertion));
    fmt::print("    by matrix product and {}: {} ({:.2f}x) through a buffer of {} bytes\n",
               layer.input_channels_first ? "col2im" : "im2col", count(cost.matrix_product),
               ratio(cost.matrix_product), count(cost.column_buffer_bytes));
    fmt::print("  arithmetic intensity: {:.1f} operations a byte ({} bytes of tensors and weights)\n",
               cost.operations_per_byte(), count(cost.tensor_bytes));
}

int describe(const std::string &file, const std::vector<std::string> &names) {
    const auto layers = load_layers(file, names);
    if (!layers) return 1;
    for (const Layer &layer : *layers) {
        const std::vector<Shape> shapes = infer_shapes(layer);
        fmt::print("{}\n", print(layer));
        fmt::print("  input  {}\n", print(shapes.front(), layer.input.layout));
        for (std::size_t i = 0; i < layer.stages.size(); i++) {
            for (const std::string &line : explain_sizes(layer.stages[i].operation, shapes[i]))
                fmt::print("    {}\n", line);
        }
        fmt::print("  output {}\n", print(shapes.back(), layer.input.layout));
        const auto lowered = lower(layer);
        if (const auto *refusal = std::get_if<Diagnostic>(&lowered)) {
            fmt::print("  not compiled: {}: {}\n", refusal->stage, refusal->message);
        } else {
            describe_phases(std::get<PhaseConvolution>(lowered));
            describe_costs(std::get<PhaseConvolution>(lowered));
        }
    }
    return 0;
}

} // namespace

void add_describe_command(CLI::App &app, int *exit_code) {
    struct Options {
        std::string file;
        std::vector<std::string> layers;
    };
    auto options = std::make_shared<Options>();
    CLI::App *command =
        app.add_subcommand("describe", "Show each layer's shapes, phases, taps, multiplications and bytes");
    command->add_option("file", options->file, "File in the layer language")
        ->required()
        ->type_name("FILE.layers");
    command->add_option("--layer", options->layers, "Only this layer, may be given several times")
        ->type_name("LAYER");
    command->callback([options, exit_code] { *exit_code = describe(options->file, options->layers); });
}

} // namespace unstride
