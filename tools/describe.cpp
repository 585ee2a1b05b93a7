// `unstride describe`: what a layer's arithmetic is, before anything is compiled.
#include "tools/commands.h"

#include "compiler/language/printer.h"
#include "compiler/language/shapes.h"
#include "compiler/lowering/costs.h"
#include "schedules/analytic_default.h"
#include "tools/library/form.h"
#include "tools/tune/tuner.h"

#include <CLI/CLI.hpp>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cstdlib>
#include <memory>
#include <string_view>

namespace unstride {

namespace {

// Sizes that costs are given for where the layer leaves them open.
constexpr std::int64_t assumed_size = 64;

std::string count(double value) {
    if (value >= 1e9) return fmt::format("{:.3f} G", value / 1e9);
    if (value >= 1e6) return fmt::format("{:.3f} M", value / 1e6);
    return fmt::format("{:.0f}", value);
}

std::string plural(double number, const char *what) {
    return fmt::format("{} {}{}", number, what, number == 1 ? "" : "s");
}

std::string offset_text(std::int64_t offset) {
    return offset == 0 ? "" : fmt::format("{}{}", offset < 0 ? "−" : "+", std::abs(offset));
}

// "w[2]·in[u+1]"; the known number where weights are a filter, nothing where elements are moved.
std::string tap_text(const PhaseConvolution &layer, const PhaseAxis &axis, const Tap &tap) {
    const std::string stride = axis.input_stride == 1 ? "" : fmt::format("{}", axis.input_stride);
    const std::string input = fmt::format("in[{}u{}]", stride, offset_text(tap.input_offset));
    if (layer.weights == WeightSource::none) return input;
    if (layer.weights == WeightSource::filter)
        return fmt::format("{:.6g}·{}", axis.filter_weight(tap), input);
    std::string weight = tap.kernel_count == 0 ? "0" : fmt::format("w[{}]", tap.kernel_begin);
    if (tap.kernel_count > 1) {
        weight = fmt::format("(w[{}]{}w[{}])", tap.kernel_begin, tap.kernel_count == 2 ? "+" : "+…+",
                             tap.kernel_begin + tap.kernel_count - 1);
    }
    return fmt::format("{}·{}", weight, input);
}

std::string size_text(const SizeStep &step) {
    std::string text = fmt::format("{}", step.rule.shift);
    if (step.rule.scale != 0) {
        text = (step.rule.scale == 1 ? "in" : fmt::format("{}·in", step.rule.scale)) +
               offset_text(step.rule.shift);
    }
    if (step.rule.divisor > 1) {
        if (text != "in") text = fmt::format("({})", text);
        text = fmt::format("floor({} / {})", text, step.rule.divisor);
    }
    if (step.least > 1) text += fmt::format(" (in at least {})", step.least);
    if (step.multiple > 1) text += fmt::format(" (in a multiple of {})", step.multiple);
    return text;
}

void describe_axis(const PhaseConvolution &layer, const PhaseAxis &axis, std::string_view name) {
    std::string sizes;
    for (const SizeStep &step : axis.sizes)
        sizes += (sizes.empty() ? "" : ", then ") + size_text(step);
    fmt::print("  {}: size {}; {}\n", name, sizes.empty() ? "in" : sizes,
               plural(static_cast<double>(axis.phases.size()), "phase"));
    constexpr std::size_t most = 8;
    for (std::size_t q = 0; q < std::min(axis.phases.size(), most); q++) {
        const Phase &phase = axis.phases[q];
        std::string taps;
        for (const Tap &tap : phase.taps)
            taps += (taps.empty() ? ": " : ", ") + tap_text(layer, axis, tap);
        const std::string pixel =
            axis.shuffle > 1 ? fmt::format(" (shuffle pixel {})", phase.shuffle_index) : "";
        fmt::print("    phase {}{}: {}{}\n", q, pixel, plural(static_cast<double>(phase.taps.size()), "tap"),
                   taps);
    }
    if (axis.phases.size() > most) fmt::print("    … {} more\n", axis.phases.size() - most);
}

// A layer of one spatial axis has a first axis of size 1, which is none of its own.
std::size_t first_axis(const PhaseConvolution &layer) {
    return layer.axes.size() - static_cast<std::size_t>(layer.spatial_axes);
}

void describe_phases(const PhaseConvolution &layer) {
    double taps = 1, elements = 1, phases = 1;
    for (std::size_t i = first_axis(layer); i < layer.axes.size(); i++) {
        const PhaseAxis &axis = layer.axes[i];
        describe_axis(layer, axis, axis_name(i, layer.axes.size()));
        std::int64_t summed = 0;
        for (const Phase &phase : axis.phases) {
            for (const Tap &tap : phase.taps)
                summed += tap.kernel_count;
        }
        taps *= static_cast<double>(axis.total_taps());
        elements *= static_cast<double>(summed);
        phases *= static_cast<double>(axis.phases.size());
    }
    fmt::print("  {} over {} of an input position\n", plural(taps, "tap"), plural(phases, "phase"));
    if (layer.weights == WeightSource::learned && elements > taps) {
        fmt::print("  the taps sum {} kernel elements: {:.2f}x fewer multiplications than unfolded\n",
                   elements, elements / taps);
    }
}

void describe_weights(const PhaseConvolution &layer) {
    if (layer.weights == WeightSource::none) {
        fmt::print("  moves elements: no weights, no sums\n");
    } else if (layer.weights == WeightSource::filter) {
        fmt::print("  depthwise, with a filter known to the compiler: no weights to give\n");
    } else if (layer.depthwise()) {
        fmt::print("  depthwise: every output channel reads one input channel\n");
    } else if (layer.kernel_groups() > 1) {
        fmt::print("  {} groups, each {} to {} channels in a run of the kernel\n", layer.kernel_groups(),
                   layer.kernel_input_channels(), layer.kernel_output_channels());
    }
    if (layer.edge == EdgeRule::replicate) fmt::print("  outside the image stands its nearest pixel\n");
}

void describe_stages(const char *where, const std::vector<std::string> &names) {
    if (!names.empty()) fmt::print("  {}: {}\n", where, fmt::join(names, ", "));
}

void describe_stages(const PhaseConvolution &layer) {
    const auto names_of = [](const std::vector<EpilogueStage> &stages) {
        std::vector<std::string> names;
        for (const EpilogueStage &stage : stages) {
            names.push_back(stage_name(stage.operation));
            if (stage.before_shuffle) names.back() += " (before the shuffle)";
        }
        return names;
    };
    std::vector<std::string> prologue;
    for (const Activation &activation : layer.prologue)
        prologue.push_back(stage_name(activation));
    describe_stages("on the input", prologue);
    describe_stages("folded into the weights", names_of(layer.folded));
    describe_stages("on the output", names_of(layer.epilogue));
}

void describe_costs(const PhaseConvolution &layer) {
    PerAxis sizes;
    bool assumed = layer.batch == dynamic_size;
    for (std::size_t i = first_axis(layer); i < layer.axes.size(); i++) {
        const std::int64_t size = layer.axes[i].input_size;
        assumed |= size == dynamic_size;
        sizes.push_back(size == dynamic_size ? assumed_size : size);
    }
    const Costs cost = costs(layer, layer.batch == dynamic_size ? 1 : layer.batch, sizes);
    if (assumed) fmt::print("  for batch 1 and {} where a size is `?`:\n", assumed_size);
    if (cost.multiplications == 0) {
        fmt::print("  no multiplications; {} bytes of tensors\n", count(cost.tensor_bytes));
        return;
    }
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

std::string bytes_text(const std::optional<std::int64_t> &bytes) {
    return bytes ? count(static_cast<double>(*bytes)) : "with the row";
}

// The form that a layer takes by default, why, and what the other one would cost.
void describe_form(const PhaseConvolution &layer, const TargetFacts &facts) {
    if (layer.depthwise()) return;
    const FormChoice choice = choose_form(layer, facts);
    const KernelForm own = form_of(layer, choice.direct.schedule);
    if (!choice.filtering) {
        fmt::print(
            "  form for {}: the layer's own products ({}); packed weights {} bytes, scratch of a thread "
            "{} bytes\n",
            facts.instruction_set, choice.reason, count(static_cast<double>(own.packed_weight_bytes)),
            bytes_text(own.scratch_bytes));
        return;
    }
    const KernelForm filtered = form_of(layer, choice.filtering->schedule);
    fmt::print("  form for {}: {} ({})\n", facts.instruction_set,
               choice.filters ? "minimal filtering" : "the layer's own products", choice.reason);
    fmt::print("    {:<24} {:>14} {:>14} {:>14} {:>14} {:>8}\n", "", "multiplications", "packed weights",
               "thread scratch", "model cycles", "error");
    const auto row = [&](const char *name, const KernelForm &form, double cycles) {
        const bool modelled = facts.device == Device::cpu;
        fmt::print("    {:<24} {:>8.1f} a value {:>8} bytes {:>8} bytes {:>14} {:>8.2f}\n", name,
                   form.multiplications_per_output, count(static_cast<double>(form.packed_weight_bytes)),
                   bytes_text(form.scratch_bytes), modelled ? count(cycles) : "not modelled",
                   form.relative_error);
    };
    row("own products", own, choice.direct.cycles);
    row("minimal filtering", filtered, choice.filtering->cycles);
    fmt::print("    filtering is {}\n", summary(filtered));
}

// Null where there is none of that name.
const TargetFacts *find_instruction_set(const std::string &name) {
    for (const Target &target : all_targets()) {
        for (const TargetFacts &facts : target.instruction_sets)
            if (facts.instruction_set == name) return &facts;
    }
    return nullptr;
}

std::string default_instruction_set() {
    const std::vector<TargetFacts> own = own_instruction_sets();
    return (own.empty() ? host_target().instruction_sets.back() : own.front()).instruction_set;
}

std::string instruction_set_names() {
    std::string names;
    for (const Target &target : all_targets()) {
        for (const TargetFacts &facts : target.instruction_sets)
            names += (names.empty() ? "" : ", ") + facts.instruction_set;
    }
    return names;
}

int describe(const std::string &file, const std::vector<std::string> &names,
             const std::string &instruction_set) {
    const TargetFacts *facts = find_instruction_set(instruction_set);
    if (facts == nullptr) {
        print_error(fmt::format("unknown instruction set '{}'; there are {}", instruction_set,
                                instruction_set_names()));
        return 2;
    }
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
            const PhaseConvolution &convolution = std::get<PhaseConvolution>(lowered);
            describe_phases(convolution);
            describe_weights(convolution);
            describe_stages(convolution);
            describe_costs(convolution);
            describe_form(convolution, *facts);
        }
    }
    return 0;
}

} // namespace

void add_describe_command(CLI::App &app, int *exit_code) {
    struct Options {
        std::string file;
        std::vector<std::string> layers;
        std::string instruction_set = default_instruction_set();
    };
    auto options = std::make_shared<Options>();
    CLI::App *command = app.add_subcommand(
        "describe", "Show each layer's shapes, phases, taps, multiplications, bytes and form");
    command->add_option("file", options->file, "File in the layer language")
        ->required()
        ->type_name("FILE.layers");
    command->add_option("--layer", options->layers, "Only this layer, may be given several times")
        ->allow_extra_args(false)
        ->type_name("LAYER");
    command
        ->add_option("--instruction-set", options->instruction_set,
                     "The instruction set whose default form is shown, with what the other one would cost; "
                     "recorded schedules may differ (default: this machine's best)")
        ->type_name("SET");
    command->callback([options, exit_code] {
        *exit_code = describe(options->file, options->layers, options->instruction_set);
    });
}

} // namespace unstride
