// `unstride run`: layers on NumPy files, through the same library that `build` makes.
#include "tools/commands.h"
#include "tools/layer_runner.h"
#include "tools/library/parallel.h"
#include "tools/median.h"
#include "tools/progress.h"

#include <CLI/CLI.hpp>
#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <memory>

namespace unstride {

namespace {

struct RunOptions {
    std::string file, target = "host", database;
    std::vector<std::string> layers;
    RunSettings settings;
    bool json = false, quiet = false;
};

void print_result(const RunOptions &options, const Layer &layer, const RunResult &result) {
    const double middle = median(result.samples_ms),
                 least = *std::min_element(result.samples_ms.begin(), result.samples_ms.end());
    const double rate = 2e-6 * result.multiplications / middle;
    if (options.json) {
        const nlohmann::ordered_json json = {{"name", layer.name},
                                             {"status", "ok"},
                                             {"median_ms", middle},
                                             {"minimum_ms", least},
                                             {"samples", result.samples_ms.size()},
                                             {"gflops", rate},
                                             {"threads", result.threads},
                                             {"instruction_set", result.instruction_set},
                                             {"schedule", nlohmann::json::parse(result.schedule)},
                                             {"schedule_grade", result.grade}};
        fmt::print("{}\n", json.dump());
    } else {
        fmt::print("{:<16} {:>10.4f} ms  {:>8.1f} GFLOP/s  {} threads  {}  {}\n", layer.name, middle, rate,
                   result.threads, result.instruction_set, result.grade);
    }
    std::fflush(stdout);
}

void print_failure(const RunOptions &options, const Layer &layer, const std::string &error) {
    print_error(fmt::format("layer {}: {}", layer.name, error));
    if (options.json) {
        fmt::print(
            "{}\n",
            nlohmann::ordered_json{{"name", layer.name}, {"status", "error"}, {"error", error}}.dump());
    }
}

int run(RunOptions options) {
    const Target *target = options.target == "host" ? &host_target() : find_target(options.target);
    if (target == nullptr) {
        print_error(fmt::format("unknown target '{}'; there are host, {}", options.target, target_names()));
        return 2;
    }
    options.settings.target = target;
    const auto layers = load_layers(options.file, options.layers);
    if (!layers) return 1;

    const Result<ScheduleSource> schedules = open_schedules(options.database);
    if (!schedules) {
        print_error(schedules.error());
        return 1;
    }

    // All programs are made before the first is timed, so that no compilation disturbs a measurement.
    std::vector<std::optional<Result<std::filesystem::path>>> programs(layers->size());
    {
        Progress progress("building", layers->size(), options.quiet);
        const int jobs_inside = layers->size() > 1 ? 1 : 0;
        run_parallel(layers->size(), 0, [&](std::size_t i) {
            programs[i] = build_runner((*layers)[i], *target, *schedules, jobs_inside);
            progress.advance((*layers)[i].name);
        });
    }
    bool failed = false;
    for (std::size_t i = 0; i < layers->size(); i++) {
        const Layer &layer = (*layers)[i];
        const auto &program = *programs[i];
        const auto result = program ? run_layer(layer, *program, options.settings)
                                    : Result<RunResult>(Error{program.error()});
        if (result) {
            print_result(options, layer, *result);
        } else {
            print_failure(options, layer, result.error());
            failed = true;
        }
    }
    return failed ? 1 : 0;
}

} // namespace

void add_run_command(CLI::App &app, int *exit_code) {
    auto options = std::make_shared<RunOptions>();
    RunSettings &settings = options->settings;
    CLI::App *command = app.add_subcommand("run", "Run layers on NumPy files and time them");
    command->add_option("file", options->file, "File in the layer language")
        ->required()
        ->type_name("FILE.layers");
    command
        ->add_option("--data", settings.data,
                     "Folder with LAYER.input.npy and, where the layer has them, LAYER.weights.npy, "
                     "LAYER.bias.npy, LAYER.scale.npy, LAYER.prelu.npy and LAYER.add.npy: float32, C order")
        ->required()
        ->type_name("DIR");
    command->add_option("--out", settings.out, "Folder for LAYER.output.npy")->required()->type_name("DIR");
    command->add_option("--layer", options->layers, "Only this layer, may be given several times")
        ->allow_extra_args(false)
        ->type_name("LAYER");
    command
        ->add_option("--target,-t", options->target,
                     "host, " + target_names() + " (aarch64 runs under qemu-aarch64)")
        ->capture_default_str();
    add_database_option(command, &options->database);
    command->add_option("--threads", settings.threads, "Threads, 0 for all processors")
        ->check(CLI::Range(0, 1024));
    command->add_flag("--time", settings.until_stable, "Repeat until the time is stable");
    command->add_flag("--json", options->json, "One JSON object a layer");
    command->add_flag("--quiet,-q", options->quiet, "No progress");
    command->footer(
        "The instruction set can be forced with UNSTRIDE_INSTRUCTION_SET. Compiled layers are kept in\n"
        "UNSTRIDE_CACHE_DIR, else XDG_CACHE_HOME/unstride, else ~/.cache/unstride.");
    command->callback([options, exit_code] { *exit_code = run(*options); });
}

} // namespace unstride
