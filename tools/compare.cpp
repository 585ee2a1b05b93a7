// `unstride compare`: schedules against each other, or results against earlier ones.
#include "tools/commands.h"
#include "tools/compare/comparison.h"
#include "tools/compare/database_results.h"
#include "tools/compare/live.h"
#include "tools/compare/tables.h"
#include "tools/files.h"
#include "tools/report/report.h"
#include "tools/tune/duration.h"
#include "tools/tune/tuner.h"

#include <CLI/CLI.hpp>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <exception>
#include <memory>
#include <new>
#include <optional>
#include <set>
#include <unistd.h>

namespace unstride {

namespace {

namespace fs = std::filesystem;

// What the command answers; 2 is wrong usage, as everywhere.
enum ExitCode { exit_success = 0, exit_regression = 1, exit_usage = 2, exit_failed = compare_failed_exit };

struct CompareOptions {
    std::vector<std::string> inputs, layers, instruction_sets, schedules{"tuned", "default"};
    std::string target = host_target().name, runner = "local", database, baseline, format = "text", output;
    std::string fail_on, threshold = "2%";
    int threads = 0, rounds = TimingProtocol().rounds;
    std::chrono::milliseconds compile_limit = CandidateLimits().generator.time;
    int compile_gibibytes = static_cast<int>(CandidateLimits().generator.memory_bytes >> 30);
    bool cold = false, quiet = false, loops = false, across_machines = false;
};

int refuse(int code, const std::string &text) {
    print_error(text);
    return code;
}

// "2%" or "0.02" as a fraction.
std::optional<double> fraction(std::string text) {
    const bool percent = !text.empty() && text.back() == '%';
    if (percent) text.pop_back();
    std::size_t end = 0;
    double value = -1;
    try {
        value = std::stod(text, &end);
    } catch (const std::exception &) {
        return std::nullopt;
    }
    if (percent) value /= 100;
    return end == text.size() && value >= 0 && value < 1 ? std::optional(value) : std::nullopt;
}

bool is_layer_file(const std::string &path) {
    return fs::path(path).extension() == ".layers";
}

// The instruction sets to measure: those asked for, else the best that can run.
Result<std::vector<std::string>> instruction_sets(const CompareOptions &options, const Target &target) {
    const auto named = named_instruction_sets(target, options.instruction_sets);
    if (!named) return Error{named.error()};
    std::vector<std::string> names;
    for (const TargetFacts &facts : *named)
        names.push_back(facts.instruction_set);
    if (!names.empty()) return names;
    if (target.name != host_target().name)
        return std::vector{target.instruction_sets.front().instruction_set};
    const std::vector<TargetFacts> own = own_instruction_sets();
    if (own.empty()) return Error{"this processor has none of the instruction sets of " + target.name};
    return std::vector{own.front().instruction_set};
}

// The options and file names as they were given, without the folders of files.
std::string command_line(const CompareOptions &options, const std::vector<std::string> &sets) {
    std::string text = "unstride compare " + fs::path(options.inputs.front()).filename().string();
    for (const std::string &layer : options.layers)
        text += " --layer " + layer;
    text += " --target " + options.target;
    for (const std::string &set : sets)
        text += " --instruction-set " + set;
    std::vector<std::string> schedules;
    for (const std::string &schedule : options.schedules)
        schedules.push_back(fs::path(schedule).filename().string());
    text += fmt::format(" --schedules {}", fmt::join(schedules, ","));
    if (options.threads > 0) text += fmt::format(" --threads {}", options.threads);
    text += fmt::format(" --rounds {}", options.rounds);
    if (options.loops) text += " --loops";
    return options.cold ? text + " --cold" : text;
}

// Results, or the exit code of what prevented them.
struct Compared {
    std::optional<Results> results;
    int exit_code = exit_success;
};

Compared measure(const CompareOptions &options) {
    if (options.inputs.size() > 1)
        return {{}, refuse(exit_usage, "schedules are compared for one file of layers at a time")};
    const Target *target = find_target(options.target);
    if (target == nullptr)
        return {{},
                refuse(exit_usage,
                       fmt::format("unknown target '{}'; there are {}", options.target, target_names()))};
    const auto sets = instruction_sets(options, *target);
    if (!sets) return {{}, refuse(exit_usage, sets.error())};
    std::set<std::string> seen;
    std::vector<std::string> contenders;
    for (const std::string &schedule : options.schedules) {
        if (!names_schedule(schedule))
            return {{},
                    refuse(exit_usage,
                           fmt::format("unknown schedule '{}'; there are {}", schedule, schedule_names()))};
        if (!seen.insert(schedule).second)
            return {{}, refuse(exit_usage, fmt::format("schedule '{}' is given twice", schedule))};
        contenders.push_back(contender_name(schedule));
    }
    if (!options.baseline.empty()) {
        const std::string missing = missing_baseline(options.baseline, "contenders", contenders);
        if (!missing.empty()) return {{}, refuse(exit_usage, missing)};
    }
    const auto layers = load_layers(options.inputs.front(), options.layers);
    if (!layers) return {{}, exit_failed};
    LiveRequest request;
    request.layers = *layers;
    request.target = target;
    request.instruction_sets = *sets;
    request.schedules = options.schedules;
    request.runner = options.runner;
    request.database = options.database;
    request.threads = options.threads;
    request.protocol.rounds = options.rounds;
    request.protocol.cold = options.cold;
    request.limits.generator = {options.compile_limit, std::int64_t{options.compile_gibibytes} << 30};
    request.loops = options.loops;
    request.command = command_line(options, *sets);
    request.quiet = options.quiet;
    Result<Results> results = measure_schedules(request);
    if (!results) return {{}, refuse(exit_failed, results.error())};
    return {std::move(*results), exit_success};
}

// The results that a report carries.
Result<Results> read_report(const fs::path &path) {
    const Result<std::string> page = read_file(path);
    if (!page) return Error{page.error()};
    const auto json = json_of_report(*page);
    if (!json) return Error{path.string() + ": is no report that this program wrote"};
    return results_from_text(*json, path.string());
}

Result<Results> read_input(const CompareOptions &options, const fs::path &path) {
    if (path.extension() == ".json" || path.extension() == ".html") {
        Result<Results> results = path.extension() == ".html" ? read_report(path) : read_results(path);
        if (!results) return results;
        const std::string file = path.filename().string();
        const bool several = results->sources.size() > 1;
        for (ResultSource &source : results->sources) {
            if (!several)
                source.name = file;
            else if (options.inputs.size() > 1)
                source.name = fmt::format("{}: {}", file, source.name);
        }
        return results;
    }
    std::vector<std::string> problems;
    Result<Results> results = read_database_results(path, &problems);
    for (const std::string &problem : problems) {
        if (!options.quiet) print_warning(problem + "; the line is skipped");
    }
    return results;
}

Compared read_inputs(const CompareOptions &options) {
    Results all;
    for (const std::string &input : options.inputs) {
        const fs::path path = input;
        std::error_code ignored;
        if (!fs::exists(path, ignored))
            return {{}, refuse(exit_failed, input + ": there is no such file or folder")};
        const std::string extension = path.extension().string();
        if (!fs::is_directory(path, ignored) && extension != ".json" && extension != ".html" &&
            extension != ".jsonl") {
            return {{},
                    refuse(exit_usage, input +
                                           ": name results (.json, .html), records (.jsonl or a folder), or "
                                           "one file of layers (.layers)")};
        }
        Result<Results> results = read_input(options, path);
        if (!results) return {{}, refuse(exit_failed, results.error())};
        merge(&all, std::move(*results));
    }
    return {std::move(all), exit_success};
}

std::string rendered(const CompareOptions &options, const Comparison &comparison) {
    if (options.format == "json")
        return to_json(comparison).dump(1, ' ', false, nlohmann::json::error_handler_t::replace) + "\n";
    if (options.format == "md") return markdown_table(comparison);
    if (options.format == "html") return html_report(comparison);
    return text_table(comparison);
}

bool all_measured(const Comparison &comparison) {
    const auto &rows = comparison.results.rows;
    return std::all_of(rows.begin(), rows.end(),
                       [](const ResultRow &row) { return row.status == TuningStatus::ok; });
}

int run_compare(const CompareOptions &options) {
    const auto threshold = fraction(options.threshold);
    if (!threshold) {
        return refuse(exit_usage, fmt::format("--threshold: expected a share from 0 to 1 such as 2% or 0.02, "
                                              "got '{}'",
                                              options.threshold));
    }
    if (options.format == "html" && options.output.empty() && isatty(STDOUT_FILENO) != 0)
        return refuse(exit_usage, "--format html: name a file with -o, or redirect the output");
    if (!options.output.empty()) {
        const Result<void> writable = check_writable(options.output); // before any time is spent
        if (!writable) return refuse(exit_failed, writable.error());
    }
    const bool live = std::any_of(options.inputs.begin(), options.inputs.end(), is_layer_file);
    Compared input = live ? measure(options) : read_inputs(options);
    if (!input.results) return input.exit_code;
    ComparisonOptions settings;
    settings.baseline = options.baseline;
    settings.threshold = *threshold;
    settings.across_machines = options.across_machines;
    if (!live) {
        settings.layers = options.layers;
        settings.instruction_sets = options.instruction_sets;
    }
    const Result<Comparison> comparison = compare(std::move(*input.results), settings);
    if (!comparison) return refuse(exit_usage, comparison.error());
    const std::string text = rendered(options, *comparison);
    if (options.output.empty()) {
        if (std::fwrite(text.data(), 1, text.size(), stdout) != text.size() || std::fflush(stdout) != 0)
            return refuse(exit_failed, "standard output: cannot write");
    } else if (const Result<void> written = write_file_atomically(options.output, text); !written) {
        return refuse(exit_failed, written.error());
    }
    if (options.fail_on == "regression") {
        if (comparison->other_machines())
            return refuse(exit_usage,
                          "--fail-on=regression: results of different machines do not tell whether "
                          "anything became slower; measure both on one machine, or judge them all "
                          "the same with --across-machines");
        if (comparison->regression()) return exit_regression;
    }
    return live && !all_measured(*comparison) ? exit_failed : exit_success;
}

// Nothing that is thrown may look like a regression.
int run_compare_to_its_end(const CompareOptions &options) {
    try {
        return run_compare(options);
    } catch (const std::bad_alloc &) {
        return refuse(exit_failed, "out of memory");
    } catch (const std::exception &error) {
        return refuse(exit_failed, error.what());
    }
}

// Of the generator, for each schedule.
void add_limit_options(CLI::App *command, CompareOptions *options) {
    command
        ->add_option_function<std::string>(
            "--compile-limit",
            [options](const std::string &text) {
                const auto limit = parse_duration(text);
                if (!limit)
                    throw CLI::ValidationError("--compile-limit",
                                               "expected a duration such as 30s or 10m, got '" + text + "'");
                options->compile_limit = *limit;
            },
            "Time that generating a kernel may take, such as 10m (default: 2m); autoschedulers are what "
            "needs it")
        ->type_name("DURATION");
    command
        ->add_option("--compile-memory", options->compile_gibibytes,
                     "Memory that generating a kernel may take, in GiB")
        ->capture_default_str()
        ->check(CLI::Range(1, 1024))
        ->type_name("GIB");
}

} // namespace

void add_compare_command(CLI::App &app, int *exit_code) {
    auto options = std::make_shared<CompareOptions>();
    CLI::App *command = app.add_subcommand(
        "compare", "Measure schedules of layers side by side, or compare results with earlier ones");
    command
        ->add_option("inputs", options->inputs,
                     "One FILE.layers, whose schedules are measured; or results (.json, or a report) and "
                     "tuning records "
                     "(.jsonl or a folder)")
        ->required()
        ->type_name("INPUT");
    command->add_option("--layer", options->layers, "Only this layer, may be given several times")
        ->allow_extra_args(false)
        ->type_name("LAYER");
    command->add_option("--target,-t", options->target, "Target to measure on: " + target_names())
        ->capture_default_str()
        ->type_name("TARGET");
    command
        ->add_option("--instruction-set", options->instruction_sets,
                     "Only this instruction set, may be given several times (measuring: the best of this "
                     "processor)")
        ->allow_extra_args(false)
        ->type_name("SET");
    command->add_option("--schedules", options->schedules, "What to measure: " + schedule_names())
        ->delimiter(',')
        ->allow_extra_args(false)
        ->capture_default_str()
        ->type_name("LIST");
    add_database_option(command, &options->database);
    command->add_option("--runner", options->runner, "Where to measure: local, ssh:HOST or command:PREFIX")
        ->capture_default_str()
        ->type_name("RUNNER");
    command->add_option("--threads", options->threads, "Threads of a call (default: all processors)")
        ->check(CLI::Range(1, 1024));
    command->add_option("--rounds", options->rounds, "Interleaved rounds of measuring")
        ->capture_default_str()
        ->check(CLI::Range(2, 1000));
    command->add_flag("--cold", options->cold, "Empty the caches before each call");
    add_limit_options(command, options.get());
    command->add_flag("--loops", options->loops,
                      "Also the loop nest of every schedule, for which each is lowered once more");
    command
        ->add_option("--baseline", options->baseline,
                     "What all else is compared with: a schedule, or one of several files (default: "
                     "'default', or the first)")
        ->type_name("NAME");
    command
        ->add_option("--threshold", options->threshold,
                     "The least difference that counts, such as 2% or 0.02")
        ->capture_default_str()
        ->type_name("SHARE");
    command->add_option("--format", options->format, "text, json, md or html")
        ->capture_default_str()
        ->check(CLI::IsMember({"text", "json", "md", "html"}));
    command->add_option("-o,--out", options->output, "File to write instead of standard output")
        ->type_name("FILE");
    command
        ->add_option("--fail-on", options->fail_on,
                     "regression: exit code 1 if something is slower than the baseline, or fails where that "
                     "does not")
        ->check(CLI::IsMember({"regression"}));
    command->add_flag("--across-machines", options->across_machines,
                      "Verdicts on results of different machines, too, which compare the machines as well");
    command->add_flag("--quiet,-q", options->quiet, "No progress, no warnings of skipped lines");
    command->footer(
        "Exit codes: 0 success, 1 regression (with --fail-on), 2 wrong usage, also --fail-on for "
        "results of\ndifferent machines, 3 reading, measuring or writing failed, if only for one schedule.");
    command->callback([options, exit_code] { *exit_code = run_compare_to_its_end(*options); });
}

} // namespace unstride
