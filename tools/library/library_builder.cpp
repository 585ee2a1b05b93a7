// The steps of a build: lower and choose schedules, compile in parallel, describe, bundle, publish by rename.
#include "tools/library/library_builder.h"

#include "compiler/language/printer.h"
#include "compiler/language/shapes.h"
#include "compiler/lowering/phase_convolution.h"
#include "schedules/analytic_default.h"
#include "tools/files.h"
#include "tools/library/bundle.h"
#include "tools/library/description.h"
#include "tools/library/form.h"
#include "tools/library/installation.h"
#include "tools/library/kernel_compiler.h"
#include "tools/library/manifest.h"
#include "tools/library/parallel.h"
#include "tools/library/schedule_source.h"
#include "tools/library/weight_packer.h"
#include "tools/progress.h"

#include <fmt/format.h>

#include <algorithm>
#include <functional>
#include <limits>
#include <mutex>

namespace unstride {

namespace fs = std::filesystem;

namespace {

// A target's library while it is made.
struct TargetBuild {
    const Target *target = nullptr;
    std::vector<PlannedLayer> layers;
    fs::path halide_runtime;
};

LookupResult best_schedule(const BuildRequest &request, const Layer &layer,
                           const PhaseConvolution &convolution, const Target &target,
                           const TargetFacts &facts) {
    if (request.schedules != nullptr) return request.schedules->find(layer, convolution, target, facts);
    LookupResult found;
    found.schedule = analytic_default(convolution, facts);
    return found;
}

PhaseConvolution in_own_products(PhaseConvolution convolution) {
    convolution.numeric = NumericPolicy::exact;
    return convolution;
}

// A schedule and why it is not the best known.
struct ChosenSchedule {
    LookupResult found;
    std::string remark;
};

// The best schedule known whose packed weights are not too many: transformed ones give way to the layer's
// own. An error if there is none, or it is not good enough.
ChosenSchedule choose_schedule(const BuildRequest &request, const PlannedLayer &plan, const Target &target,
                               const TargetFacts &facts, std::vector<std::string> *errors) {
    ChosenSchedule chosen{best_schedule(request, plan.layer, plan.convolution, target, facts), {}};
    LookupResult &found = chosen.found;
    const auto bytes = [&] { return packed_weight_bytes(plan.convolution, found.schedule); };
    const std::int64_t most = request.most_weight_bytes.value_or(std::numeric_limits<std::int64_t>::max());
    if (bytes() > most && filter_tile(found.schedule) != nullptr) {
        chosen.remark =
            fmt::format("no minimal filtering, whose packed weights would take {} bytes", bytes());
        found = best_schedule(request, plan.layer, in_own_products(plan.convolution), target, facts);
    }
    if (bytes() > most) {
        errors->push_back(fmt::format("layer {} for {}: its packed weights take {} bytes, more than "
                                      "--max-weight-bytes {}; allow as many, or leave the layer out",
                                      plan.layer.name, facts.instruction_set, bytes(), most));
    }
    if (found.grade > request.worst_grade) {
        errors->push_back(fmt::format(
            "layer {} for {}: the best schedule known is of grade '{}', required is "
            "'{}'; add a better record to the database, or require less",
            plan.layer.name, facts.instruction_set, to_string(found.grade), to_string(request.worst_grade)));
    }
    return chosen;
}

// Lowers every layer and chooses its schedule for every instruction set; all refusals are collected.
std::vector<PlannedLayer> plan_layers(const BuildRequest &request, const Target &target,
                                      std::vector<std::string> *errors) {
    std::vector<PlannedLayer> planned;
    for (std::size_t i = 0; i < request.layers.size(); i++) {
        const Layer &layer = request.layers[i];
        auto lowered = lower(layer);
        if (const auto *refusal = std::get_if<Diagnostic>(&lowered)) {
            errors->push_back(fmt::format("{} (layer {})", to_string(*refusal), layer.name));
            continue;
        }
        PlannedLayer plan;
        plan.layer = layer;
        plan.known = request.weights.empty() ? nullptr : &request.weights[i];
        plan.convolution = std::get<PhaseConvolution>(std::move(lowered));
        for (const TargetFacts &facts : target.instruction_sets) {
            PlannedKernel kernel;
            const auto [found, remark] = choose_schedule(request, plan, target, facts, errors);
            kernel.request = {print_chain(layer), facts, found.schedule, packs_weights(plan.convolution)};
            kernel.grade = to_string(found.grade);
            kernel.schedule_source = found.source;
            kernel.remark = remark;
            plan.kernels.push_back(std::move(kernel));
        }
        planned.push_back(std::move(plan));
    }
    return planned;
}

// Compiles every kernel and runtime that the builds need, `jobs` at a time.
void compile_all(std::vector<TargetBuild> *builds, const BuildRequest &request,
                 const Installation &installation, std::vector<std::string> *errors) {
    const fs::path cache = cache_folder();
    std::mutex mutex;
    std::vector<std::function<std::string()>> tasks; // each answers what it made, for the progress line
    const auto failed = [&](const std::string &error) {
        const std::lock_guard lock(mutex);
        errors->push_back(error);
    };
    for (TargetBuild &build : *builds) {
        for (PlannedLayer &layer : build.layers) {
            for (PlannedKernel &kernel : layer.kernels) {
                tasks.push_back([&] {
                    const std::string what =
                        fmt::format("{} for {}", layer.layer.name, kernel.request.target.instruction_set);
                    auto compiled = compile_kernel(kernel.request, installation, cache);
                    if (compiled) {
                        kernel.compiled = *compiled;
                    } else {
                        failed(fmt::format("{}: layer {}: the kernel could not be generated: {}", what,
                                           layer.layer.name, compiled.error()));
                    }
                    return what;
                });
            }
        }
        tasks.push_back([&] {
            const std::string what = fmt::format("runtime for {}", build.target->name);
            auto runtime = compile_halide_runtime(*build.target, installation, cache);
            if (runtime) {
                build.halide_runtime = *runtime;
            } else {
                failed(fmt::format("{}: {}", what, runtime.error()));
            }
            return what;
        });
    }
    Progress progress("compiling", tasks.size(), request.quiet);
    run_parallel(tasks.size(), request.jobs, [&](std::size_t i) { progress.advance(tasks[i]()); });
    std::sort(errors->begin(), errors->end());
}

// Packs the known weights of every kernel into files of the folder, which `embedded` then names.
void pack_all(std::vector<TargetBuild> *builds, const BuildRequest &request, const Installation &installation,
              const fs::path &folder, std::vector<std::string> *errors) {
    std::vector<std::function<Result<void>()>> tasks;
    for (TargetBuild &build : *builds) {
        const LibraryDescription description =
            describe_library(request.name, *build.target, build.layers, installation);
        for (std::size_t i = 0; i < build.layers.size(); i++) {
            const KnownWeights *known = build.layers[i].known;
            for (std::size_t k = 0; known != nullptr && k < build.layers[i].kernels.size(); k++) {
                PlannedKernel &kernel = build.layers[i].kernels[k];
                if (!kernel.request.packs) continue;
                const LibraryLayer &layer = description.layers[i];
                kernel.embedded = folder / fmt::format("{}.{}.{}", build.target->name, layer.name,
                                                       kernel.request.target.instruction_set);
                tasks.push_back([&, layer, k, known] {
                    return write_packed_weights(layer, layer.kernels[k], kernel.request, known->weights,
                                                installation, kernel.embedded);
                });
            }
        }
    }
    std::vector<Result<void>> results(tasks.size());
    run_parallel(tasks.size(), request.jobs, [&](std::size_t i) { results[i] = tasks[i](); });
    for (const Result<void> &result : results) {
        if (!result) errors->push_back(result.error());
    }
}

FoundSchedule found_schedule(const PlannedLayer &layer, const PlannedKernel &kernel) {
    const ScheduleRecord &schedule = kernel.request.record;
    const TargetFacts &facts = kernel.request.target;
    FoundSchedule found{layer.layer.name,
                        facts.instruction_set,
                        kernel.grade,
                        kernel.schedule_source,
                        kernel.remark,
                        packed_weight_bytes(layer.convolution, schedule),
                        0};
    if (filter_tile(schedule) != nullptr) {
        const ScheduleRecord own = analytic_default(in_own_products(layer.convolution), facts);
        found.extra_weight_bytes = found.packed_weight_bytes - packed_weight_bytes(layer.convolution, own);
    }
    return found;
}

// Renames the three files from the staging folder to where users look for them.
Result<BuiltLibrary> publish(const fs::path &staging, const BuildRequest &request, const TargetBuild &build) {
    const fs::path folder = request.folder / build.target->name;
    std::error_code error;
    fs::create_directories(folder, error);
    BuiltLibrary built;
    built.target = build.target;
    built.archive = folder / fmt::format("lib{}.a", request.name);
    built.header = folder / fmt::format("{}.h", request.name);
    built.manifest = folder / "manifest.json";
    for (const fs::path &file : {built.header, built.manifest, built.archive}) {
        if (!error) fs::rename(staging / file.filename(), file, error);
        if (error) return Error{fmt::format("cannot write {}: {}", file.string(), error.message())};
    }
    built.archive_bytes = fs::file_size(built.archive);
    for (const PlannedLayer &layer : build.layers) {
        for (const PlannedKernel &kernel : layer.kernels) {
            built.kernels++;
            built.grades[kernel.grade]++;
            built.schedules.push_back(found_schedule(layer, kernel));
            built.kernels_from_cache += kernel.compiled.from_cache ? 1 : 0;
        }
    }
    return built;
}

Result<void> assemble(const fs::path &staging, const BuildRequest &request, const TargetBuild &build,
                      const Installation &installation) {
    const LibraryDescription description =
        describe_library(request.name, *build.target, build.layers, installation);
    const BundleRequest bundle{request.name, *build.target, description, build.layers, build.halide_runtime};
    if (auto bundled = bundle_library(bundle, installation, staging); !bundled) return bundled;
    const fs::path archive = staging / fmt::format("lib{}.a", request.name);
    return write_file_atomically(
        staging / "manifest.json",
        write_manifest(description, *build.target, build.layers, installation, fs::file_size(archive)));
}

} // namespace

void remove_outputs(const fs::path &folder, const std::string &name,
                    const std::vector<const Target *> &targets) {
    std::error_code ignored;
    for (const Target *target : targets) {
        for (const std::string &file :
             {fmt::format("lib{}.a", name), name + ".h", std::string("manifest.json")}) {
            fs::remove(folder / target->name / file, ignored);
        }
    }
}

BuildOutcome build_libraries(const BuildRequest &request) {
    BuildOutcome outcome;
    const auto fail = [&](const std::string &error) {
        outcome.errors.push_back(error);
        return outcome;
    };
    const Result<Installation> installation = find_installation();
    if (!installation) return fail(installation.error());
    remove_outputs(request.folder, request.name, request.targets);

    std::vector<TargetBuild> builds;
    for (const Target *target : request.targets) {
        builds.push_back({target, plan_layers(request, *target, &outcome.errors), {}});
        if (!outcome.ok()) return outcome; // a refusal is the same for every target
    }
    if (auto tools = check_target_tools(request.targets); !tools) return fail(tools.error());
    const LibraryDescription names =
        describe_library(request.name, *request.targets[0], builds[0].layers, *installation);
    if (auto checked = check_names(names, *installation); !checked) return fail(checked.error());

    compile_all(&builds, request, *installation, &outcome.errors);
    if (!outcome.ok()) return outcome;

    std::error_code error;
    fs::create_directories(request.folder, error);
    if (error) return fail(fmt::format("cannot create {}: {}", request.folder.string(), error.message()));
    const Result<TemporaryFolder> staging = make_temporary_folder("." + request.name, request.folder);
    if (!staging) return fail(staging.error());
    pack_all(&builds, request, *installation, fs::absolute(staging->path()), &outcome.errors);
    if (!outcome.ok()) return outcome;
    std::vector<std::string> failures(builds.size());
    run_parallel(builds.size(), request.jobs, [&](std::size_t i) {
        const fs::path folder = staging->path() / builds[i].target->name;
        fs::create_directories(folder);
        auto assembled = assemble(folder, request, builds[i], *installation);
        if (!assembled) failures[i] = fmt::format("target {}: {}", builds[i].target->name, assembled.error());
    });
    for (const std::string &failure : failures) {
        if (!failure.empty()) outcome.errors.push_back(failure);
    }
    if (!outcome.ok()) return outcome;
    for (const TargetBuild &build : builds) {
        auto built = publish(staging->path() / build.target->name, request, build);
        if (!built) {
            remove_outputs(request.folder, request.name, request.targets);
            outcome.libraries.clear();
            return fail(built.error());
        }
        outcome.libraries.push_back(*built);
    }
    return outcome;
}

} // namespace unstride
