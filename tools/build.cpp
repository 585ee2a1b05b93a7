// `unstride build`: a file of layers into one library a target.
#include "tools/commands.h"
#include "tools/known_weights.h"
#include "tools/library/c_source.h"
#include "tools/library/library_builder.h"
#include "tools/library/schedule_source.h"
#include "tools/tune/tuner.h"
#include "tools/tune/verify.h"
#include "tools/weights.h"

#include <CLI/CLI.hpp>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <memory>
#include <optional>
#include <set>
#include <utility>

namespace unstride {

namespace {

struct BuildOptions {
    std::string file, name;
    std::vector<std::string> targets, layers, instruction_sets;
    std::string folder;
    std::optional<std::string> weights;
    std::string database;
    LookupGrade worst_grade = LookupGrade::analytic_default;
    std::optional<std::int64_t> most_weight_bytes;
    int jobs = 0;
    bool quiet = false, exact = false, tensorflow_filters = false, verify = false;
};

// The targets with these of their instruction sets only; an error where a target keeps none or a name is
// nobody's.
Result<std::vector<Target>> restricted(const std::vector<const Target *> &targets,
                                       const std::vector<std::string> &names) {
    std::vector<Target> kept;
    std::set<std::string> unused(names.begin(), names.end());
    for (const Target *target : targets) {
        std::vector<std::string> known;
        Target &only = kept.emplace_back(*target);
        std::erase_if(only.instruction_sets, [&](const TargetFacts &facts) {
            known.push_back(facts.instruction_set);
            unused.erase(facts.instruction_set);
            return std::find(names.begin(), names.end(), facts.instruction_set) == names.end();
        });
        if (only.instruction_sets.empty()) {
            return Error{fmt::format("target {} has no instruction set '{}'; it has {}", target->name,
                                     fmt::join(names, "' or '"), fmt::join(known, ", "))};
        }
    }
    if (!unused.empty())
        return Error{fmt::format("none of these targets has the instruction set '{}'", *unused.begin())};
    return kept;
}

// Puts what is to be built by the weights into the request; prints all errors.
bool take_weights(const BuildOptions &options, BuildRequest *request) {
    const FilterOrder order = options.tensorflow_filters ? FilterOrder::tensorflow : FilterOrder::framework;
    KnownWeightsResult known = know_weights(*options.weights, request->layers, order, options.exact);
    for (const std::string &error : known.errors)
        print_error(error);
    if (!known.ok()) return false;
    request->layers = std::move(known.layers);
    request->weights = std::move(known.weights);
    return true;
}

void print_findings(const BuildRequest &request) {
    for (std::size_t i = 0; i < request.weights.size(); i++) {
        for (const std::string &finding : request.weights[i].findings)
            fmt::print("{}: {}\n", request.layers[i].name, finding);
    }
}

// Each layer with the grade of its schedules, and where those that are no defaults come from.
void print_schedules(const BuiltLibrary &built) {
    std::string line;
    for (std::size_t i = 0; i < built.schedules.size(); i++) {
        const FoundSchedule &found = built.schedules[i];
        const bool first = i == 0 || built.schedules[i - 1].layer != found.layer;
        if (first && i > 0) fmt::print("{}\n", std::exchange(line, ""));
        line += fmt::format("{} {}: {}", first ? fmt::format("  {:<16}", found.layer) : ",",
                            found.instruction_set, found.grade);
        if (!found.source.empty()) line += fmt::format(" ({})", found.source);
    }
    fmt::print("{}\n", line);
}

void print_remarks(const BuiltLibrary &built) {
    for (const FoundSchedule &found : built.schedules) {
        if (!found.remark.empty())
            fmt::print("{} for {}: {}\n", found.layer, found.instruction_set, found.remark);
    }
}

// What minimal filtering adds to the weights, for each instruction set where it does.
void print_weights(const BuiltLibrary &built, bool held) {
    std::string line;
    for (const TargetFacts &facts : built.target->instruction_sets) {
        std::int64_t all = 0, extra = 0;
        for (const FoundSchedule &found : built.schedules) {
            if (found.instruction_set != facts.instruction_set) continue;
            all += found.packed_weight_bytes;
            extra += found.extra_weight_bytes;
        }
        if (extra == 0) continue;
        line += fmt::format("{}{} {} KiB, {} KiB of them for minimal filtering", line.empty() ? "" : "; ",
                            facts.instruction_set, (all + 1023) / 1024, (extra + 1023) / 1024);
    }
    if (!line.empty()) fmt::print("  packed weights{}: {}\n", held ? " in the library" : "", line);
}

// Compares what recorded schedules compute with the reference; prints all errors. Defaults are not checked,
// and neither is what no program here can run.
bool verify_schedules(const BuildRequest &request, const ScheduleSource &schedules) {
    const Result<Installation> installation = find_installation();
    if (!installation) {
        print_error(installation.error());
        return false;
    }
    bool right = true;
    for (const Target *target : request.targets) {
        const auto runner = make_runner(default_runner(*target), *target);
        for (const TargetFacts &facts : target->instruction_sets) {
            if (!runner || !runs_here(*target, facts)) {
                print_warning(fmt::format("--verify: code for {} does not run on this machine, its schedules "
                                          "are not checked",
                                          facts.instruction_set));
                continue;
            }
            for (const Layer &layer : request.layers) {
                const auto lowered = lower(layer);
                const auto *convolution = std::get_if<PhaseConvolution>(&lowered);
                if (convolution == nullptr) continue; // the build tells why
                const LookupResult found = schedules.find(layer, *convolution, *target, facts);
                if (found.source.empty()) continue;
                const auto failure =
                    check_on_odd_sizes(layer, *target, facts, found.schedule, *installation, **runner);
                if (!failure) continue;
                print_error(fmt::format(
                    "layer {} for {}: the schedule of {} {}: {}", layer.name, facts.instruction_set,
                    found.source, failure->wrong ? "is not right" : "could not be checked", failure->detail));
                right = false;
            }
        }
    }
    return right;
}

int build(const BuildOptions &options) {
    BuildRequest request;
    request.folder = options.folder;
    request.name = options.name.empty() ? std::filesystem::path(options.file).stem().string() : options.name;
    request.jobs = options.jobs;
    request.quiet = options.quiet;
    // First of all: what is removed on failure is named after it.
    if (auto named = check_library_name(request.name); !named) {
        print_error(named.error());
        return 1;
    }
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
    std::vector<Target> kept;
    if (!options.instruction_sets.empty()) {
        auto restriction = restricted(request.targets, options.instruction_sets);
        if (!restriction) {
            print_error(restriction.error());
            return 2;
        }
        kept = std::move(*restriction);
        std::transform(kept.begin(), kept.end(), request.targets.begin(),
                       [](const Target &target) { return &target; });
    }
    auto layers = load_layers(options.file, options.layers);
    if (!layers) {
        remove_outputs(request.folder, request.name, request.targets);
        return 1;
    }
    request.layers = std::move(*layers);
    if (options.weights && !take_weights(options, &request)) {
        remove_outputs(request.folder, request.name, request.targets);
        return 1;
    }
    const Result<ScheduleSource> schedules = open_schedules(options.database);
    if (!schedules) {
        print_error(schedules.error());
        remove_outputs(request.folder, request.name, request.targets);
        return 1;
    }
    if (options.verify && !verify_schedules(request, *schedules)) {
        remove_outputs(request.folder, request.name, request.targets);
        return 1;
    }
    request.schedules = &*schedules;
    request.worst_grade = options.worst_grade;
    request.most_weight_bytes = options.most_weight_bytes;
    const BuildOutcome outcome = build_libraries(request);
    for (const std::string &error : outcome.errors)
        print_error(error);
    if (!outcome.ok()) return 1;
    print_findings(request);
    for (const BuiltLibrary &built : outcome.libraries) {
        std::string grades;
        for (const auto &[grade, kernels] : built.grades) {
            grades += fmt::format("{}{} {}", grades.empty() ? "" : ", ", kernels, grade);
        }
        fmt::print("{:<8} {}  {} KiB, {} layers, {} kernels ({} from cache), schedules: {}\n",
                   built.target->name, built.archive.string(), (built.archive_bytes + 1023) / 1024,
                   request.layers.size(), built.kernels, built.kernels_from_cache, grades);
        print_remarks(built);
        if (!options.quiet) {
            print_schedules(built);
            print_weights(built, options.weights.has_value());
        }
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
        ->allow_extra_args(false)
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
    add_database_option(command, &options->database);
    command
        ->add_option_function<std::string>(
            "--require",
            [options](const std::string &text) {
                const auto grade = grade_from_option(text);
                if (!grade)
                    throw CLI::ValidationError("--require", "there are the grades " + grade_options());
                options->worst_grade = *grade;
            },
            "The least grade of a schedule to accept: " + grade_options())
        ->type_name("GRADE");
    command->add_flag("--verify", options->verify,
                      "Compare what every recorded schedule computes with the reference, on odd sizes too, "
                      "before building with it");
    command->add_option("--layer", options->layers, "Only this layer, may be given several times")
        ->allow_extra_args(false)
        ->type_name("LAYER");
    command
        ->add_option("--instruction-set", options->instruction_sets,
                     "Only this instruction set of the targets, may be given several times")
        ->allow_extra_args(false)
        ->type_name("SET");
    CLI::Option *weights =
        command
            ->add_option(
                "--weights", options->weights,
                "The layers' weights, for the library to hold: a folder of LAYER.weights.npy, "
                "LAYER.bias.npy, ..., or one .safetensors file. Layers are built as the cheaper ones "
                "that such weights allow")
            ->type_name("DIR|FILE.safetensors");
    command->add_flag("--exact", options->exact, "Build the layers as they are given, whatever the weights")
        ->needs(weights);
    command
        ->add_flag(
            tensorflow_order_option, options->tensorflow_filters,
            "Weights are in the order of TensorFlow's conv2d_transpose (spatial sizes, output channels, "
            "input channels), which only a transposed_conv has")
        ->needs(weights);
    command
        ->add_option(
            "--max-weight-bytes", options->most_weight_bytes,
            "The most bytes that the packed weights of a layer may take for one instruction set: where "
            "those of minimal filtering take more, the layer is built in its own products; an error "
            "where those do too")
        ->check(CLI::NonNegativeNumber)
        ->type_name("BYTES");
    command->add_option("--jobs,-j", options->jobs, "Kernels compiled at once (default: one a processor)")
        ->check(CLI::Range(1, 1024));
    command->add_flag("--quiet,-q", options->quiet, "No progress");
    command->callback([options, exit_code] { *exit_code = build(*options); });
}

} // namespace unstride
