// `unstride tune verify`, `carry` and `compact`: what becomes of records that are there.
#include "compiler/language/printer.h"
#include "tools/commands.h"
#include "tools/library/host_machine.h"
#include "tools/library/schedule_source.h"
#include "tools/progress.h"
#include "tools/tune/carry.h"
#include "tools/tune/compact.h"
#include "tools/tune/tune_report.h"
#include "tools/tune/tuner.h"
#include "tools/tune/verify.h"

#include <CLI/CLI.hpp>
#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <cstdio>
#include <memory>

namespace unstride {

namespace {

namespace fs = std::filesystem;

// Prints what is wrong if --db names nothing.
bool database_exists(const std::string &path) {
    std::error_code ignored;
    if (path.empty() || fs::exists(path, ignored)) return true;
    print_error(fmt::format("{}: there is no such database; name a folder or a .jsonl file", path));
    return false;
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

// Without layers those are all of the user's records; of the shipped ones, only those of the layers.
std::vector<Subject> subjects_of(const Database &database, const std::optional<std::vector<Layer>> &layers) {
    std::vector<Subject> subjects;
    const std::vector<TargetFacts> sets = own_instruction_sets();
    for (const DatabaseEntry *entry : chosen_records(database)) {
        const auto facts = std::find_if(sets.begin(), sets.end(), [&](const TargetFacts &set) {
            return set.instruction_set == database.instruction_set(*entry);
        });
        if (facts == sets.end()) continue;
        if (!layers) {
            if (entry->origin == RecordOrigin::user)
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
    if (!database_exists(options.database)) return 1;
    const auto runner = make_runner("local", host_target());
    if (!runner) {
        print_error(runner.error());
        return 1;
    }
    const Database database = open_database(options.database, &*installation);
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
        return result.end != VerifyEnd::ok && result.end != VerifyEnd::untimed;
    });
}

// Options of `tune` itself, before the name of a command, would be dropped without a word.
void refuse_options_of_search(const CLI::App &tune, const std::string &command) {
    for (const CLI::Option *option : tune.get_options()) {
        if (option->count() == 0) continue;
        throw CLI::ValidationError(
            option->get_name(),
            fmt::format("stands before '{0}'; what is meant for '{0}' follows it", command));
    }
}

void add_verify_command(CLI::App *tune, int *exit_code) {
    auto options = std::make_shared<VerifyOptions>();
    CLI::App *command = tune->add_subcommand(
        "verify", "Check chosen schedules against the reference on odd sizes, and time them again");
    command->add_option("file", options->file, "Records of these layers, shipped ones too; else all of --db")
        ->type_name("FILE.layers");
    command->add_option("--layer", options->layers, "Only this layer of the file, may be given several times")
        ->allow_extra_args(false)
        ->type_name("LAYER");
    add_database_option(command, &options->database);
    command->add_option("--seed", options->seed, "Of the data")->capture_default_str();
    command->add_flag("--json", options->json, "One JSON object a record");
    command->footer(
        "Exit codes: 0 success, 1 a schedule is wrong, slower than another or could not be checked,\n"
        "2 wrong usage.");
    command->callback([options, exit_code, tune] {
        refuse_options_of_search(*tune, "verify");
        *exit_code = verify_records(*options);
    });
}

struct CarryOptions {
    std::string file, database;
    std::vector<std::string> layers;
    bool json = false, quiet = false;
};

void keep_layers(const Database &database, const std::vector<Layer> &layers,
                 std::vector<CarrySubject> *subjects) {
    std::erase_if(*subjects, [&](const CarrySubject &subject) {
        const std::string &text =
            database.layer_text(subject.chosen != nullptr ? *subject.chosen : *subject.baseline);
        return std::none_of(layers.begin(), layers.end(),
                            [&](const Layer &layer) { return print_chain(layer) == text; });
    });
}

int carry_records(const CarryOptions &options) {
    if (options.file.empty() && !options.layers.empty()) {
        print_error("--layer names layers of a file, so a FILE.layers is needed too");
        return 2;
    }
    if (!database_exists(options.database)) return 1;
    const auto installation = find_installation();
    if (!installation) {
        print_error(installation.error());
        return 1;
    }
    const Database database = open_database(options.database, nullptr);
    std::vector<CarrySubject> subjects = carry_subjects(database, tool_versions(*installation));
    if (!options.file.empty()) {
        const auto layers = load_layers(options.file, options.layers);
        if (!layers) return 1;
        keep_layers(database, *layers, &subjects);
    }
    std::size_t total = 0;
    for (const CarrySubject &subject : subjects)
        total += (subject.chosen != nullptr ? 1 : 0) + (subject.baseline != nullptr ? 1 : 0);
    const std::atomic<bool> &interrupted = watch_interrupts();
    std::vector<CarryResult> results;
    {
        Progress progress("carrying", total, options.quiet);
        CarrySettings settings;
        settings.interrupted = &interrupted;
        settings.on_result = [&](const CarryResult &result) {
            progress.advance(result.instruction_set);
            if (!options.json) return;
            fmt::print("{}\n", to_json(result).dump());
            std::fflush(stdout);
        };
        results = carry(database, subjects, *installation, settings);
    }
    if (!options.json && !interrupted && total == 0)
        fmt::print("nothing to carry: no chosen record of these layers is of another version\n");
    else if (!options.json)
        fmt::print("{}", carry_table(results));
    if (interrupted) {
        print_warning("interrupted: what was carried is recorded; the same command goes on from there");
        return interrupted_exit;
    }
    return std::any_of(results.begin(), results.end(),
                       [](const CarryResult &result) { return result.end != CarryEnd::carried; });
}

struct CompactOptions {
    std::string database;
    CompactSettings settings;
};

// The files of --db, or of the user's own folder.
std::vector<fs::path> record_files(const std::string &database) {
    const fs::path place = database.empty() ? user_database_folder() : fs::path(database);
    std::error_code error;
    if (!fs::is_directory(place, error))
        return fs::exists(place, error) ? std::vector{place} : std::vector<fs::path>{};
    std::vector<fs::path> files;
    for (fs::directory_iterator entry(place, error), end; !error && entry != end; entry.increment(error)) {
        if (entry->path().extension() == ".jsonl") files.push_back(entry->path());
    }
    std::sort(files.begin(), files.end());
    return files;
}

int compact_records(const CompactOptions &options) {
    if (!database_exists(options.database)) return 1;
    int exit_code = 0;
    for (const fs::path &file : record_files(options.database)) {
        const auto result = compact(file, options.settings);
        if (!result) {
            print_error(result.error());
            exit_code = 1;
            continue;
        }
        fmt::print("{}: {} of {} records in {:.1f} of {:.1f} KB\n", file.string(), result->kept,
                   result->records, static_cast<double>(result->kept_bytes) / 1e3,
                   static_cast<double>(result->bytes) / 1e3);
    }
    return exit_code;
}

void add_carry_command(CLI::App *tune, int *exit_code) {
    auto options = std::make_shared<CarryOptions>();
    CLI::App *command = tune->add_subcommand(
        "carry", "Make chosen records of other versions exact again where the code is still the same");
    command->add_option("file", options->file, "Only records of these layers")->type_name("FILE.layers");
    command->add_option("--layer", options->layers, "Only this layer of the file, may be given several times")
        ->allow_extra_args(false)
        ->type_name("LAYER");
    add_database_option(command, &options->database);
    command->add_flag("--json", options->json, "One JSON object a record");
    command->add_flag("--quiet,-q", options->quiet, "No progress");
    command->footer("Exit codes: 0 success, 1 some records could not be carried, 2 wrong usage, 130 "
                    "interrupted.");
    command->callback([options, exit_code, tune] {
        refuse_options_of_search(*tune, "carry");
        *exit_code = carry_records(*options);
    });
}

void add_compact_command(CLI::App *tune, int *exit_code) {
    auto options = std::make_shared<CompactOptions>();
    CLI::App *command = tune->add_subcommand(
        "compact", "Write files of records anew, without what was carried to other versions");
    add_database_option(command, &options->database);
    command
        ->add_option_function<std::size_t>(
            "--best", [options](const std::size_t &best) { options->settings.best = best; },
            "Of each search keep what was chosen, the default and so many of the other schedules")
        ->check(CLI::Range(0, 100'000))
        ->type_name("COUNT");
    command->footer("Exit codes: 0 success, 1 a file could not be read or written, 2 wrong usage.");
    command->callback([options, exit_code, tune] {
        refuse_options_of_search(*tune, "compact");
        *exit_code = compact_records(*options);
    });
}

} // namespace

void add_tune_record_commands(CLI::App *tune, int *exit_code) {
    add_verify_command(tune, exit_code);
    add_carry_command(tune, exit_code);
    add_compact_command(tune, exit_code);
}

} // namespace unstride
