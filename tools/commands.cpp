// What the subcommands share.
#include "tools/commands.h"

#include "compiler/language/parser.h"
#include "tools/files.h"
#include "tools/tune/tuner.h"

#include <CLI/CLI.hpp>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <csignal>
#include <cstdio>
#include <unistd.h>

namespace unstride {

namespace {

void print_line(const char *what, const char *colour, const std::string &text) {
    const bool terminal = isatty(STDERR_FILENO) != 0;
    std::fputs(
        fmt::format("unstride: {}{}:{} {}\n", terminal ? colour : "", what, terminal ? "\033[0m" : "", text)
            .c_str(),
        stderr);
}

std::atomic<bool> interrupted = false;

void on_interrupt(int signal) {
    interrupted = true;
    std::signal(signal, SIG_DFL);
}

} // namespace

const std::atomic<bool> &watch_interrupts() {
    std::signal(SIGINT, on_interrupt);
    std::signal(SIGTERM, on_interrupt);
    return interrupted;
}

void print_error(const std::string &text) {
    print_line("error", "\033[31m", text);
}

void print_warning(const std::string &text) {
    print_line("warning", "\033[33m", text);
}

void add_database_option(CLI::App *command, std::string *database) {
    command
        ->add_option("--db", *database,
                     "Folder or .jsonl file of tuning records, instead of XDG_DATA_HOME/unstride, else "
                     "~/.local/share/unstride. They win over the shipped ones")
        ->type_name("PATH");
}

Database open_database(const std::string &path, const Installation *shipped) {
    Database database;
    if (shipped != nullptr) database.add(shipped->schedules, RecordOrigin::shipped);
    database.add(path.empty() ? user_database_folder() : std::filesystem::path(path), RecordOrigin::user);
    for (const std::string &problem : database.problems())
        print_warning(problem + "; the line is skipped");
    return database;
}

Result<ScheduleSource> open_schedules(const std::string &database) {
    const Result<Installation> installation = find_installation();
    if (!installation) return Error{installation.error()};
    Result<ScheduleSource> source = ScheduleSource::open(*installation, database);
    if (!source) return source;
    for (const std::string &problem : source->problems())
        print_warning(problem + "; the line is skipped");
    return source;
}

std::optional<std::vector<Layer>> load_layers(const std::filesystem::path &file,
                                              const std::vector<std::string> &names) {
    const Result<std::string> text = read_file(file);
    if (!text) {
        print_error(text.error());
        return std::nullopt;
    }
    ParseResult parsed = parse_layers(*text, file.string());
    for (const Diagnostic &error : parsed.errors)
        print_error(to_string(error));
    if (!parsed.ok()) return std::nullopt;
    if (names.empty()) return std::move(parsed.layers);

    std::vector<Layer> chosen;
    for (const std::string &name : names) {
        const auto found = std::find_if(parsed.layers.begin(), parsed.layers.end(),
                                        [&](const Layer &layer) { return layer.name == name; });
        if (found == parsed.layers.end()) {
            std::string known;
            for (const Layer &layer : parsed.layers)
                known += (known.empty() ? "" : ", ") + layer.name;
            print_error(fmt::format("{}: there is no layer '{}'; it has {}", file.string(), name, known));
            return std::nullopt;
        }
        chosen.push_back(*found);
    }
    return chosen;
}

std::string target_names() {
    std::string names;
    for (const Target &target : all_targets())
        names += (names.empty() ? "" : ", ") + target.name;
    return names;
}

Result<std::vector<TargetFacts>> named_instruction_sets(const Target &target,
                                                        const std::vector<std::string> &names, bool here) {
    const std::vector<TargetFacts> known = here ? own_instruction_sets() : target.instruction_sets;
    std::vector<TargetFacts> chosen;
    for (const std::string &name : names) {
        const auto is_it = [&](const TargetFacts &facts) { return facts.instruction_set == name; };
        const auto found = std::find_if(known.begin(), known.end(), is_it);
        if (found == known.end()) {
            std::vector<std::string> there;
            for (const TargetFacts &facts : known)
                there.push_back(facts.instruction_set);
            return Error{fmt::format("target {} has no instruction set '{}'{}; it has {}", target.name, name,
                                     here ? " on this processor" : "", fmt::join(there, ", "))};
        }
        if (std::none_of(chosen.begin(), chosen.end(), is_it)) chosen.push_back(*found);
    }
    return chosen;
}

} // namespace unstride
