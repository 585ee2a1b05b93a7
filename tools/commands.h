// The subcommands, and what they share: reading layers, naming targets, printing errors.
#pragma once

#include "compiler/language/layer.h"
#include "schedules/target_facts.h"
#include "tools/library/schedule_source.h"

#include <atomic>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

namespace CLI {
class App;
}

namespace unstride {

// Each adds its options to the app; when its subcommand is given, it runs and stores the exit code.
void add_build_command(CLI::App &app, int *exit_code);
void add_run_command(CLI::App &app, int *exit_code);
void add_compare_command(CLI::App &app, int *exit_code);
void add_describe_command(CLI::App &app, int *exit_code);
void add_init_command(CLI::App &app, int *exit_code);
void add_inspect_command(CLI::App &app, int *exit_code);
void add_tune_command(CLI::App &app, int *exit_code);
void add_tune_record_commands(CLI::App *tune, int *exit_code); // verify, carry, compact

// "unstride: error: TEXT" on standard error, `error` in red on a terminal.
void print_error(const std::string &text);
void print_warning(const std::string &text);

// The layers of a file, or those of the given names only. Prints every error and answers nothing if there is
// any.
std::optional<std::vector<Layer>> load_layers(const std::filesystem::path &file,
                                              const std::vector<std::string> &names);

// --db, for commands that look up schedules.
void add_database_option(CLI::App *command, std::string *database);

// The records that --db names, or the user's own, with the shipped ones; warns of every line that was
// skipped.
Result<ScheduleSource> open_schedules(const std::string &database);

// The records that --db names, which need not exist yet, or the user's own; with the shipped ones where they
// are wanted. Warns of every line that was skipped.
Database open_database(const std::string &path, const Installation *shipped);

// Set by the first SIGINT or SIGTERM from then on; the second one ends the process as usual.
const std::atomic<bool> &watch_interrupts();

// Of a command that was interrupted.
inline constexpr int interrupted_exit = 130;

// Of `compare` where it failed: its 1 is a regression.
inline constexpr int compare_failed_exit = 3;

// "x86-64, aarch64, cuda, opencl"
std::string target_names();

// The target's instruction sets of these names, in the order of the names and each once; `here`: only those
// that this processor has. An error names the first that is not among them, with those that are.
Result<std::vector<TargetFacts>>
named_instruction_sets(const Target &target, const std::vector<std::string> &names, bool here = false);

} // namespace unstride
