// `unstride inspect`: the hottest loop of a layer's kernels, and what processor models say of it.
#include "tools/analysis/analysis.h"
#include "tools/commands.h"
#include "tools/library/kernel_compiler.h"
#include "tools/library/schedule_source.h"

#include "compiler/language/printer.h"

#include <CLI/CLI.hpp>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <nlohmann/json.hpp>

#include <memory>

namespace unstride {

namespace {

struct InspectOptions {
    std::string file, target = host_target().name, format = "text", database;
    std::vector<std::string> layers, instruction_sets;
};

// A kernel with what its object says.
struct InspectedKernel {
    std::string layer, instruction_set, grade;
    std::string source; // "FILE:LINE" of the schedule's record; empty for defaults
    KernelAnalysis analysis;
    std::vector<LoopModel> models;
};

Result<InspectedKernel> inspect_kernel(const Layer &layer, const Target &target, const TargetFacts &facts,
                                       const ScheduleSource &schedules, const Installation &installation) {
    const auto lowered = lower(layer);
    if (const auto *refusal = std::get_if<Diagnostic>(&lowered)) return Error{to_string(*refusal)};
    const PhaseConvolution &convolution = std::get<PhaseConvolution>(lowered);
    const LookupResult found = schedules.find(layer, convolution, target, facts);
    const KernelRequest request{print_chain(layer), facts, found.schedule, packs_weights(convolution)};
    const auto compiled = compile_kernel(request, installation, cache_folder());
    if (!compiled) return Error{"the kernel could not be generated: " + compiled.error()};
    auto analysis = analyse_object(compiled->compute_object, facts.instruction_set);
    if (!analysis) return Error{analysis.error()};
    InspectedKernel kernel{layer.name,   facts.instruction_set, to_string(found.grade),
                           found.source, std::move(*analysis),  {}};
    const Loop *hot = kernel.analysis.hottest();
    for (const std::string &processor : modelled_processors(facts.instruction_set)) {
        if (hot == nullptr) break;
        if (const auto model = model_loop(*hot, facts.instruction_set, processor))
            kernel.models.push_back(*model);
    }
    return kernel;
}

void print_counts(const LoopCounts &counts) {
    fmt::print(
        "    multiply-adds  {} of vectors, {} of single numbers: {:.0f} % of the instructions, {} numbers\n",
        counts.vector_multiply_adds, counts.scalar_multiply_adds, 100 * counts.multiply_add_share(),
        counts.multiply_add_lanes);
    fmt::print(
        "    memory         {} vector loads, {} broadcasts, {} vector stores: {:.2f} loads a multiply-add\n",
        counts.vector_loads, counts.broadcasts, counts.vector_stores, counts.loads_per_multiply_add());
    fmt::print("    stack          {} loads, {} stores\n", counts.stack_loads, counts.stack_stores);
    fmt::print("    lanes moved    {} gathers, {} shuffles\n", counts.gathers, counts.shuffles);
    fmt::print("    registers      {} vector, {} general\n", counts.vector_registers,
               counts.general_registers);
    if (counts.calls > 0) fmt::print("    calls          {}, which are not modelled\n", counts.calls);
}

void print_models(const std::vector<LoopModel> &models) {
    if (models.empty()) return;
    fmt::print("  modelled, not measured: as if all data lay in the first cache\n");
    for (const LoopModel &model : models) {
        fmt::print("    {:<16} {:7.2f} cycles an iteration, {:5.2f} multiply-adds a cycle; waits for units "
                   "{:.0f} %, "
                   "for results {:.0f} %\n",
                   model.processor, model.cycles, 1 / model.cycles_per_multiply_add,
                   100 * model.waits_for_units, 100 * model.waits_for_operands);
    }
}

void print_text(const InspectedKernel &kernel) {
    fmt::print("{} for {}: {} bytes of code, schedule: {}{}\n", kernel.layer, kernel.instruction_set,
               kernel.analysis.code_bytes, kernel.grade,
               kernel.source.empty() ? "" : fmt::format(" ({})", kernel.source));
    const Loop *hot = kernel.analysis.hottest();
    if (hot == nullptr) {
        fmt::print("  no loop multiplies\n");
        return;
    }
    fmt::print("  hottest of {} innermost loops, in {}: {} instructions, {} bytes, depth {}\n",
               kernel.analysis.loops.size(), hot->function, hot->counts.total, hot->counts.bytes, hot->depth);
    print_counts(hot->counts);
    print_models(kernel.models);
    for (const LoopInstruction &instruction : hot->instructions)
        fmt::print("    {:6x}  {}\n", instruction.address, instruction.text);
}

nlohmann::json to_json(const LoopCounts &counts) {
    return {{"total", counts.total},
            {"bytes", counts.bytes},
            {"vector_multiply_adds", counts.vector_multiply_adds},
            {"scalar_multiply_adds", counts.scalar_multiply_adds},
            {"multiply_add_lanes", counts.multiply_add_lanes},
            {"vector_loads", counts.vector_loads},
            {"broadcasts", counts.broadcasts},
            {"vector_stores", counts.vector_stores},
            {"result_stores", counts.result_stores},
            {"stack_loads", counts.stack_loads},
            {"stack_stores", counts.stack_stores},
            {"vector_stack_accesses", counts.vector_stack_accesses},
            {"gathers", counts.gathers},
            {"shuffles", counts.shuffles},
            {"branches", counts.branches},
            {"calls", counts.calls},
            {"vector_registers", counts.vector_registers},
            {"general_registers", counts.general_registers}};
}

nlohmann::json to_json(const Loop &loop) {
    auto instructions = nlohmann::json::array();
    for (const LoopInstruction &instruction : loop.instructions) {
        instructions.push_back({{"address", instruction.address},
                                {"bytes", fmt::format("{:02x}", fmt::join(instruction.bytes, ""))},
                                {"text", instruction.text}});
    }
    return {{"function", loop.function},
            {"depth", loop.depth},
            {"counts", to_json(loop.counts)},
            {"instructions", instructions}};
}

nlohmann::json to_json(const InspectedKernel &kernel) {
    const Loop *hot = kernel.analysis.hottest();
    auto models = nlohmann::json::array();
    for (const LoopModel &model : kernel.models) {
        models.push_back({{"processor", model.processor},
                          {"cycles", model.cycles},
                          {"cycles_per_multiply_add", model.cycles_per_multiply_add},
                          {"instructions_per_cycle", model.instructions_per_cycle},
                          {"waits_for_units", model.waits_for_units},
                          {"waits_for_operands", model.waits_for_operands},
                          {"dispatch_stalls", model.dispatch_stalls}});
    }
    return {{"layer", kernel.layer},
            {"instruction_set", kernel.instruction_set},
            {"schedule", {{"grade", kernel.grade}, {"source", kernel.source}}},
            {"code_bytes", kernel.analysis.code_bytes},
            {"innermost_loops", kernel.analysis.loops.size()},
            {"hot_loop", hot == nullptr ? nlohmann::json() : to_json(*hot)},
            {"modelled", models}};
}

int inspect(const InspectOptions &options) {
    const Target *target = find_target(options.target);
    if (target == nullptr) {
        print_error(fmt::format("unknown target '{}'; there are {}", options.target, target_names()));
        return 2;
    }
    const auto instruction_sets = options.instruction_sets.empty()
                                      ? Result(target->instruction_sets)
                                      : named_instruction_sets(*target, options.instruction_sets);
    if (!instruction_sets) {
        print_error(instruction_sets.error());
        return 2;
    }
    if (target->instruction_sets.front().device == Device::opencl) {
        print_error("the code of target opencl is made by its driver; there is nothing to inspect");
        return 2;
    }
    const auto layers = load_layers(options.file, options.layers);
    if (!layers) return 1;
    const Result<Installation> installation = find_installation();
    const Result<ScheduleSource> schedules = open_schedules(options.database);
    if (!installation || !schedules) {
        print_error(installation ? schedules.error() : installation.error());
        return 1;
    }
    int failures = 0;
    auto all = nlohmann::json::array();
    for (const Layer &layer : *layers) {
        for (const TargetFacts &facts : *instruction_sets) {
            const auto kernel = inspect_kernel(layer, *target, facts, *schedules, *installation);
            if (!kernel) {
                print_error(
                    fmt::format("layer {} for {}: {}", layer.name, facts.instruction_set, kernel.error()));
                failures++;
            } else if (options.format == "json") {
                all.push_back(to_json(*kernel));
            } else {
                print_text(*kernel);
            }
        }
    }
    if (options.format == "json" && failures == 0) fmt::print("{}\n", all.dump(1));
    return failures == 0 ? 0 : 1;
}

} // namespace

void add_inspect_command(CLI::App &app, int *exit_code) {
    auto options = std::make_shared<InspectOptions>();
    CLI::App *command = app.add_subcommand(
        "inspect", "Show the hottest loop of each layer's kernel: assembly, counts, modelled cycles");
    command->add_option("file", options->file, "File in the layer language")
        ->required()
        ->type_name("FILE.layers");
    command->add_option("--layer", options->layers, "Only this layer, may be given several times")
        ->allow_extra_args(false)
        ->type_name("LAYER");
    command
        ->add_option("--target,-t", options->target,
                     "Target: x86-64, aarch64 or cuda (default: this machine's)")
        ->type_name("TARGET");
    command
        ->add_option("--instruction-set", options->instruction_sets,
                     "Only this instruction set of the target, may be given several times")
        ->allow_extra_args(false)
        ->type_name("SET");
    add_database_option(command, &options->database);
    command->add_option("--format", options->format, "text or json (default: text)")
        ->check(CLI::IsMember({"text", "json"}))
        ->type_name("FORMAT");
    command->callback([options, exit_code] { *exit_code = inspect(*options); });
}

} // namespace unstride
