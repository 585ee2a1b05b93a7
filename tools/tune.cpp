// `unstride tune`: better schedules for layers, by trying them.
#include "tools/commands.h"
#include "tools/files.h"
#include "tools/library/host_machine.h"
#include "tools/measure/session.h"
#include "tools/tune/duration.h"
#include "tools/tune/tune_report.h"
#include "tools/tune/tuner.h"

#include <CLI/CLI.hpp>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <memory>

namespace unstride {

namespace {

struct TuneOptions {
    std::string file, target = "host", runner, database;
    std::vector<std::string> layers, instruction_sets;
    TuneSettings settings;
    bool json = false, quiet = false;
};

// The instruction sets to work on: those named, else all that programs can run with.
Result<std::vector<TargetFacts>> chosen_sets(const Target &target, const std::vector<std::string> &names,
                                             bool here) {
    const std::vector<TargetFacts> usable = here ? own_instruction_sets() : target.instruction_sets;
    if (names.empty() && usable.empty())
        return Error{
            fmt::format("this processor has none of the instruction sets of target {}", target.name)};
    if (names.empty()) return usable;
    return named_instruction_sets(target, names, here);
}

const Target *named_target(const std::string &name) {
    const Target *target = name == "host" ? &host_target() : find_target(name);
    if (target == nullptr)
        print_error(fmt::format("unknown target '{}'; there are host, {}", name, target_names()));
    return target;
}

// The runner of --runner, or what there is for the target.
Result<std::unique_ptr<Runner>> open_runner(const std::string &text, const Target &target) {
    auto runner = make_runner(text.empty() ? default_runner(target) : text, target);
    if (runner || !text.empty()) return runner;
    return Error{fmt::format("{}; programs of target {} need it on this machine, or --runner ssh:HOST",
                             runner.error(), target.name)};
}

Result<Machine> machine_of_runner(Runner &runner, const Target &target, const Installation &installation) {
    if (runner.here()) return host_machine();
    const auto folder = make_temporary_folder("unstride-tune");
    if (!folder) return Error{folder.error()};
    return machine_of(runner, target, installation, folder->path());
}

// That there is a place for the records, before any time is spent.
Result<void> check_database(const std::string &path, const std::vector<TargetFacts> &sets) {
    for (const TargetFacts &facts : sets) {
        const auto file = records_file(path, facts.instruction_set);
        if (!file) return Error{file.error()};
        if (auto appendable = check_appendable(*file); !appendable) return appendable;
    }
    return {};
}

// Waiting for a processor can double a time, for a whole round or for all.
void warn_of_load() {
    double load = 0;
    const int processors = host_machine().threads;
    if (getloadavg(&load, 1) != 1 || load <= 0.5 * processors) return;
    print_warning(
        fmt::format("this machine is busy (load {:.1f} on {} processors), so times will scatter; tune "
                    "while it does nothing else",
                    load, processors));
}

int exit_code_of(const std::vector<TuneResult> &results, bool interrupted) {
    if (interrupted) return interrupted_exit;
    return std::any_of(results.begin(), results.end(), [](const TuneResult &result) {
        return result.end == TuneEnd::failed || result.end == TuneEnd::unstable;
    });
}

int tune_layers(TuneOptions options) {
    const Target *target = named_target(options.target);
    if (target == nullptr) return 2;
    if (target->instruction_sets[0].device != Device::cpu) {
        print_error(fmt::format(
            "target {} cannot be tuned: schedules are timed by programs that run on processors, and no model "
            "ranks kernels of a device. `unstride build --target {}` compiles the layers with the schedules "
            "known, which checks them as far as that goes without a device",
            target->name, target->name));
        return 1;
    }
    const auto layers = load_layers(options.file, options.layers);
    if (!layers) return 1;
    const auto runner = open_runner(options.runner, *target);
    if (!runner) {
        print_error(runner.error());
        return 1;
    }
    const auto sets = chosen_sets(*target, options.instruction_sets, (*runner)->here());
    if (!sets) {
        print_error(sets.error());
        return 2;
    }
    if (auto ready = check_database(options.database, *sets); !ready) {
        print_error(ready.error());
        return 1;
    }
    const auto installation = find_installation();
    if (!installation) {
        print_error(installation.error());
        return 1;
    }
    const Database database = open_database(options.database, &*installation);
    const auto machine = machine_of_runner(**runner, *target, *installation);
    if (!machine) {
        print_error(machine.error());
        return 1;
    }
    const TuneContext context{*installation, database, options.database, **runner, *machine};

    if ((*runner)->here() && !(*runner)->emulated() && !options.quiet) warn_of_load();
    const std::atomic<bool> &interrupted = watch_interrupts();
    TuneProgressLine line(options.quiet);
    options.settings.interrupted = &interrupted;
    options.settings.on_progress = [&](const TuneProgress &progress) { line.show(progress); };
    std::vector<TuneResult> results;
    for (const Layer &layer : *layers) {
        for (const TargetFacts &facts : *sets) {
            if (interrupted || (!results.empty() && results.back().cannot_record)) break;
            results.push_back(tune(layer, *target, facts, context, options.settings));
            line.clear();
            if (!options.json) continue;
            fmt::print("{}\n", to_json(results.back()).dump());
            std::fflush(stdout);
        }
    }
    if (!options.json) fmt::print("{}", tune_table(results));
    for (const TuneResult &result : results) {
        if (result.end == TuneEnd::failed || result.end == TuneEnd::unstable)
            print_error(
                fmt::format("layer {} for {}: {}", result.layer, result.instruction_set, result.detail));
    }
    if (interrupted) {
        print_warning(
            "interrupted: what was tried is recorded, nothing more was chosen; the same command goes "
            "on from there");
    }
    return exit_code_of(results, interrupted);
}

} // namespace

void add_tune_command(CLI::App &app, int *exit_code) {
    auto options = std::make_shared<TuneOptions>();
    TuneSettings &settings = options->settings;
    CLI::App *command = app.add_subcommand("tune", "Find faster schedules for layers and record them");
    CLI::App *const tune = command;
    command->require_subcommand(0, 1);
    command->add_option("file", options->file, "File in the layer language")->type_name("FILE.layers");
    command->add_option("--layer", options->layers, "Only this layer, may be given several times")
        ->allow_extra_args(false)
        ->type_name("LAYER");
    command
        ->add_option("--target,-t", options->target,
                     "host, " + target_names() + " (aarch64 is modelled unless a runner names hardware)")
        ->capture_default_str();
    command
        ->add_option("--instruction-set", options->instruction_sets,
                     "Only this instruction set of the target, may be given several times")
        ->allow_extra_args(false)
        ->type_name("SET");
    command
        ->add_option_function<std::string>(
            "--budget",
            [options](const std::string &text) {
                const auto budget = parse_duration(text);
                if (!budget)
                    throw CLI::ValidationError(
                        "--budget",
                        fmt::format("'{}' is no duration: a number and s, m or h, as in 10m", text));
                options->settings.budget = *budget;
            },
            "Time for the search of each layer and instruction set, as in 30s, 10m, 1h [10m]")
        ->type_name("DURATION");
    command
        ->add_option("--candidates", settings.candidates,
                     "Schedules tried at most for each layer and instruction set")
        ->check(CLI::Range(1, 100'000))
        ->capture_default_str();
    command->add_option("--seed", settings.seed, "Of the data and of what is tried at random")
        ->capture_default_str();
    command->add_option("--threads", settings.threads, "Threads of a call, 0 for all processors")
        ->check(CLI::Range(0, 1024));
    command
        ->add_option("--runner", options->runner,
                     "Where candidates run: local, ssh:HOST, or command:PREFIX to start them with a command")
        ->type_name("RUNNER");
    command
        ->add_option(
            "--most-drift", settings.most_drift,
            "Nothing is chosen if the default's time changes by more than this fraction over the run")
        ->check(CLI::NonNegativeNumber)
        ->type_name("FRACTION")
        ->capture_default_str();
    add_database_option(command, &options->database);
    command->add_flag("--force", settings.force, "Search again where a search was finished");
    command->add_flag("--json", options->json, "One JSON object a layer and instruction set");
    command->add_flag("--quiet,-q", options->quiet, "No progress");
    command->footer("Exit codes: 0 success, 1 nothing could be chosen for a layer, 2 wrong usage, 130 "
                    "interrupted.\nAn interrupted run goes on where it was when it is started again.");
    add_tune_record_commands(command, exit_code);
    command->callback([options, exit_code, tune] {
        if (!tune->get_subcommands().empty()) return;
        if (options->file.empty()) throw CLI::RequiredError("FILE.layers");
        *exit_code = tune_layers(*options);
    });
}

} // namespace unstride
