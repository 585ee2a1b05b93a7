// `unstride tune`: better schedules for layers, by trying them; and `unstride tune verify`, whether those in
// use still are.
#include "compiler/language/printer.h"
#include "tools/commands.h"
#include "tools/library/host_machine.h"
#include "tools/tune/duration.h"
#include "tools/tune/tune_report.h"
#include "tools/tune/tuner.h"
#include "tools/tune/verify.h"

#include <CLI/CLI.hpp>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <atomic>
#include <csignal>
#include <cstdlib>
#include <memory>

namespace unstride {

namespace {

constexpr int interrupted_exit = 130;

std::atomic<bool> interrupted = false;

// The second one ends the process as usual.
void on_interrupt(int signal) {
    interrupted = true;
    std::signal(signal, SIG_DFL);
}

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
    std::vector<TargetFacts> chosen;
    for (const std::string &name : names) {
        const auto is_it = [&](const TargetFacts &facts) { return facts.instruction_set == name; };
        const auto found = std::find_if(usable.begin(), usable.end(), is_it);
        if (found == usable.end()) {
            std::vector<std::string> known;
            for (const TargetFacts &facts : usable)
                known.push_back(facts.instruction_set);
            return Error{fmt::format("target {} has no instruction set '{}'{}; there are {}", target.name,
                                     name, here ? " on this processor" : "", fmt::join(known, ", "))};
        }
        chosen.push_back(*found);
    }
    return chosen;
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

// The records of the installation and of --db, which need not exist yet.
Database open_database(const Installation &installation, const std::string &path) {
    Database database;
    database.add(installation.schedules, RecordOrigin::shipped);
    database.add(path.empty() ? user_database_folder() : std::filesystem::path(path), RecordOrigin::user);
    for (const std::string &problem : database.problems())
        print_warning(problem + "; the line is skipped");
    return database;
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

int exit_code_of(const std::vector<TuneResult> &results) {
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
    const Database database = open_database(*installation, options.database);
    const TuneContext context{*installation, database, options.database, **runner};

    if ((*runner)->here() && !(*runner)->emulated() && !options.quiet) warn_of_load();
    std::signal(SIGINT, on_interrupt);
    std::signal(SIGTERM, on_interrupt);
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
    return exit_code_of(results);
}

struct VerifyOptions {
    std::string file, database;
    std::vector<std::string> layers;
    std::uint64_t seed = 1;
    bool json = false;
};

// What to verify: a chosen record, with the layer as the file or the record names it.
struct Subject {
    const DatabaseEntry *entry;
    Layer layer;
    TargetFacts facts;
};

std::vector<Subject> subjects_of(const Database &database, const std::optional<std::vector<Layer>> &layers) {
    std::vector<Subject> subjects;
    const std::vector<TargetFacts> sets = own_instruction_sets();
    for (const DatabaseEntry *entry : chosen_records(database)) {
        const auto facts = std::find_if(sets.begin(), sets.end(), [&](const TargetFacts &set) {
            return set.instruction_set == database.instruction_set(*entry);
        });
        if (facts == sets.end()) continue;
        if (!layers) {
            subjects.push_back({entry, database.layer(*entry), *facts});
            continue;
        }
        for (const Layer &layer : *layers) {
            if (print_chain(layer) == database.layer_text(*entry)) subjects.push_back({entry, layer, *facts});
        }
    }
    return subjects;
}

int verify_records(const VerifyOptions &options) {
    if (options.file.empty() && !options.layers.empty()) {
        print_error("--layer names layers of a file, so a FILE.layers is needed too");
        return 2;
    }
    std::optional<std::vector<Layer>> layers;
    if (!options.file.empty()) {
        layers = load_layers(options.file, options.layers);
        if (!layers) return 1;
    }
    const auto installation = find_installation();
    if (!installation) {
        print_error(installation.error());
        return 1;
    }
    std::error_code ignored;
    if (!options.database.empty() && !std::filesystem::exists(options.database, ignored)) {
        print_error(
            fmt::format("{}: there is no such database; name a folder or a .jsonl file", options.database));
        return 1;
    }
    const auto runner = make_runner("local", host_target());
    if (!runner) {
        print_error(runner.error());
        return 1;
    }
    const Database database = open_database(*installation, options.database);
    const Machine machine = host_machine();
    std::vector<VerifyResult> results;
    for (const Subject &subject : subjects_of(database, layers)) {
        results.push_back(verify(database, *subject.entry, subject.layer, host_target(), subject.facts,
                                 *installation, **runner, machine, options.seed));
        if (options.json) fmt::print("{}\n", to_json(results.back()).dump());
        std::fflush(stdout);
    }
    if (!options.json) fmt::print("{}", verify_table(results));
    if (results.empty())
        print_warning("no chosen record is for these layers and this machine's instruction sets");
    return std::any_of(results.begin(), results.end(), [](const VerifyResult &result) {
        return result.end == VerifyEnd::wrong || result.end == VerifyEnd::stale;
    });
}

void add_verify_command(CLI::App *tune, int *exit_code) {
    auto options = std::make_shared<VerifyOptions>();
    CLI::App *command = tune->add_subcommand(
        "verify", "Check chosen schedules against the reference on odd sizes, and time them again");
    command->add_option("file", options->file, "Only records of these layers")->type_name("FILE.layers");
    command->add_option("--layer", options->layers, "Only this layer of the file, may be given several times")
        ->type_name("LAYER");
    add_database_option(command, &options->database);
    command->add_option("--seed", options->seed, "Of the data")->capture_default_str();
    command->add_flag("--json", options->json, "One JSON object a record");
    command->callback([options, exit_code] { *exit_code = verify_records(*options); });
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
        ->type_name("LAYER");
    command
        ->add_option("--target,-t", options->target,
                     "host, " + target_names() + " (aarch64 is modelled unless a runner names hardware)")
        ->capture_default_str();
    command
        ->add_option("--instruction-set", options->instruction_sets,
                     "Only this instruction set of the target, may be given several times")
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
    add_verify_command(command, exit_code);
    command->callback([options, exit_code, tune] {
        if (!tune->get_subcommands().empty()) return;
        if (options->file.empty()) throw CLI::RequiredError("FILE.layers");
        *exit_code = tune_layers(*options);
    });
}

} // namespace unstride
