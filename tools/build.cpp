// `unstride build`: a file of layers into one library a target.
#include "tools/commands.h"
#include "tools/library/library_builder.h"

#include <CLI/CLI.hpp>
#include <fmt/format.h>

#include <memory>

namespace unstride {

namespace {

struct BuildOptions {
    std::string file, name;
    std::vector<std::string> targets, layers;
    std::string folder;
    int jobs = 0;
    bool quiet = false;
};

int build(const BuildOptions &options) {
    BuildRequest request;
    request.folder = options.folder;
    request.name = options.name.empty() ? std::filesystem::path(options.file).stem().string() : options.name;
    request.jobs = options.jobs;
    request.quiet = options.quiet;
    for (const std::string &name : options.targets) {
        const Target *target = find_target(name);
        if (target == nullptr) {
            print_error(fmt::format("unknown target '{}'; there are {}", name, target_names()));
            return 2;
        }
        if (std::find(request.targets.begin(), request.targets.end(), target) == request.targets.end()) {
            request.targets.push_back(target);
        }
    }
    auto layers = load_layers(options.file, options.layers);
    if (!layers) {
        remove_outputs(request.folder, request.name, request.targets);
        return 1;
    }
    request.layers = std::move(*layers);
    const BuildOutcome outcome = build_libraries(request);
    for (const std::string &error : outcome.errors)
        print_error(error);
    if (!outcome.ok()) return 1;
    for (const BuiltLibrary &built : outcome.libraries) {
        std::string grades;
        for (const auto &[grade, kernels] : built.grades) {
            grades += fmt::format("{}{} {}", grades.empty() ? "" : ", ", kernels, grade);
        }
        fmt::print("{:<8} {}  {} KiB, {} layers, {} kernels ({} from cache), schedules: {}\n",
                   built.target->name, built.archive.string(), (built.archive_bytes + 1023) / 1024,
                   request.layers.size(), built.kernels, built.kernels_from_cache, grades);
    }
    return 0;
}

} // namespace

void add_build_command(CLI::App &app, int *exit_code) {
    auto options = std::make_shared<BuildOptions>();
    CLI::App *command =
        app.add_subcommand("build", "Compile a file of layers into a static library for each target");
    command->add_option("file", options->file, "File in the layer language")
        ->required()
        ->type_name("FILE.layers");
    command
        ->add_option("--target,-t", options->targets, "Target, may be given several times: " + target_names())
        ->required()
        ->type_name("TARGET");
    command
        ->add_option("-o,--out", options->folder,
                     "Folder; DIR/TARGET/ gets libNAME.a, NAME.h and manifest.json")
        ->required()
        ->type_name("DIR");
    command
        ->add_option("--name", options->name,
                     "Library name, prefix of every symbol (default: the file's stem)")
        ->type_name("NAME");
    command->add_option("--layer", options->layers, "Only this layer, may be given several times")
        ->type_name("LAYER");
    command->add_option("--jobs,-j", options->jobs, "Kernels compiled at once (default: one a processor)")
        ->check(CLI::Range(1, 1024));
    command->add_flag("--quiet,-q", options->quiet, "No progress");
    command->callback([options, exit_code] { *exit_code = build(*options); });
}

} // namespace unstride
