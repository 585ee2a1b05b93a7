// The steps of `unstride build` for one kernel, each failure with its status.
#include "tools/measure/candidate.h"

#include "compiler/language/printer.h"
#include "tools/files.h"
#include "tools/library/bundle.h"
#include "tools/library/description.h"
#include "tools/library/kernel_compiler.h"
#include "tools/sha256.h"

#include <fmt/format.h>

#include <chrono>
#include <cstring>
#include <elf.h>
#include <optional>

namespace unstride {

namespace fs = std::filesystem;

namespace {

constexpr const char *grade = "candidate";

TuningStatus generator_status(const ProcessResult &generator) {
    if (generator.end == ProcessEnd::timeout) return TuningStatus::compile_timeout;
    if (ran_out_of_memory(generator)) return TuningStatus::resource_limit;
    // One that claims success left no object.
    return generator.ok() ? TuningStatus::compile_error : TuningStatus::generator_error;
}

// The object without symbols that nothing refers to, and with zeros in place of the kernel's key, which is
// part of its functions' names: it depends on the schedule even where the code does not.
Result<std::string> hash_of_code(const CompiledKernel &kernel, const Target &target, const fs::path &folder) {
    const fs::path stripped = folder / "stripped.o";
    const ProcessResult copied = run_process({binary_utility(target, "objcopy"), "--strip-unneeded",
                                              kernel.compute_object.string(), stripped.string()});
    if (!copied.ok()) return Error{fmt::format("objcopy failed: {}", copied.errors)};
    auto bytes = read_file(stripped);
    if (!bytes) return bytes;
    for (std::size_t at = bytes->find(kernel.key); at != std::string::npos; at = bytes->find(kernel.key, at))
        bytes->replace(at, kernel.key.size(), kernel.key.size(), '0');
    return "sha256:" + sha256(*bytes);
}

// Bytes of an ELF object's executable sections.
Result<std::int64_t> code_bytes(const fs::path &object) {
    const auto bytes = read_file(object);
    if (!bytes) return Error{bytes.error()};
    const Error damaged{fmt::format("{} is no 64-bit ELF object", object.string())};
    Elf64_Ehdr header;
    if (bytes->size() < sizeof header) return damaged;
    std::memcpy(&header, bytes->data(), sizeof header);
    if (std::memcmp(header.e_ident, ELFMAG, SELFMAG) != 0 || header.e_ident[EI_CLASS] != ELFCLASS64 ||
        header.e_shentsize != sizeof(Elf64_Shdr))
        return damaged;
    std::int64_t sum = 0;
    for (std::size_t i = 0; i < header.e_shnum; i++) {
        Elf64_Shdr section;
        const std::size_t at = header.e_shoff + i * sizeof section;
        if (at + sizeof section > bytes->size()) return damaged;
        std::memcpy(&section, bytes->data() + at, sizeof section);
        if ((section.sh_flags & SHF_EXECINSTR) != 0) sum += static_cast<std::int64_t>(section.sh_size);
    }
    return sum;
}

// The layer for a target of that instruction set alone.
struct Plan {
    Target target;
    std::vector<PlannedLayer> layers;

    PlannedKernel &kernel() { return layers[0].kernels[0]; }
};

Outcome<Plan> plan_candidate(const Layer &layer, const Target &target, const TargetFacts &facts,
                             const ScheduleRecord &schedule) {
    auto lowered = lower(layer);
    if (const auto *refusal = std::get_if<Diagnostic>(&lowered))
        return Failure{TuningStatus::constraint, to_string(*refusal)};
    const PhaseConvolution &convolution = std::get<PhaseConvolution>(lowered);
    if (const auto violated = violated_constraint(convolution, facts, schedule))
        return Failure{TuningStatus::constraint, *violated};
    Plan plan{target, {PlannedLayer{layer, convolution, nullptr, {}}}};
    plan.target.instruction_sets = {facts};
    PlannedKernel kernel;
    kernel.request = {print_chain(layer), facts, schedule, packs_weights(convolution)};
    kernel.grade = grade;
    plan.layers[0].kernels.push_back(std::move(kernel));
    return plan;
}

std::optional<Failure> compile_candidate(PlannedKernel *kernel, const Installation &installation,
                                         const ProcessLimits &limits, Candidate *candidate) {
    ProcessResult generator;
    const auto start = std::chrono::steady_clock::now();
    auto compiled = compile_kernel(kernel->request, installation, cache_folder(), limits, &generator);
    if (!compiled)
        return Failure{generator_status(generator), compiled.error(),
                       generator.end == ProcessEnd::not_started};
    const std::chrono::duration<double> elapsed = std::chrono::steady_clock::now() - start;
    kernel->compiled = *compiled;
    candidate->from_cache = compiled->from_cache;
    candidate->compile_seconds = compiled->from_cache ? 0 : elapsed.count();
    candidate->compute_object = compiled->compute_object;
    candidate->library = "c" + compiled->key;
    return std::nullopt;
}

// The archive, made in a folder of its own so that several threads can make the same one.
std::optional<Failure> bundle_candidate(const Plan &plan, const Installation &installation,
                                        const fs::path &folder, Candidate *candidate) {
    const auto failed = [](const std::string &text, bool of_environment) {
        return Failure{TuningStatus::compile_error, text, of_environment};
    };
    std::error_code error;
    fs::create_directories(folder, error);
    const auto own = make_temporary_folder("bundling", folder);
    if (!own) return failed(own.error(), true);
    auto runtime = compile_halide_runtime(plan.target, installation, cache_folder());
    if (!runtime) return failed(runtime.error(), true);
    const LibraryDescription description =
        describe_library(candidate->library, plan.target, plan.layers, installation);
    const BundleRequest request{candidate->library, plan.target, description, plan.layers, *runtime};
    if (auto bundled = bundle_library(request, installation, own->path()); !bundled) {
        // The linker may refuse a kernel; the other tools do the same for all kernels.
        const bool linker = bundled.error().starts_with(binary_utility(plan.target, "ld") + " failed");
        const bool full = bundled.error().find("No space left on device") != std::string::npos;
        return Failure{linker ? TuningStatus::link_error : TuningStatus::compile_error, bundled.error(),
                       !linker || full};
    }
    auto hash = hash_of_code(plan.layers[0].kernels[0].compiled, plan.target, own->path());
    if (!hash) return failed(hash.error(), false);
    candidate->object = *hash;
    const auto bytes = code_bytes(candidate->compute_object);
    if (!bytes) return failed(bytes.error(), false);
    candidate->code_bytes = *bytes;
    const std::string name = fmt::format("lib{}.a", candidate->library);
    candidate->archive = folder / name;
    fs::rename(own->path() / name, candidate->archive, error);
    if (error)
        return failed(fmt::format("cannot write {}: {}", candidate->archive.string(), error.message()), true);
    return std::nullopt;
}

} // namespace

Outcome<Candidate> build_candidate(const Layer &layer, const Target &target, const TargetFacts &facts,
                                   const ScheduleRecord &schedule, const Installation &installation,
                                   const fs::path &folder, const CandidateLimits &limits) {
    Candidate candidate;
    candidate.layer = layer;
    candidate.facts = facts;
    candidate.schedule = schedule;
    auto plan = plan_candidate(layer, target, facts, schedule);
    if (!plan) return plan.failure();
    if (auto failure = compile_candidate(&plan->kernel(), installation, limits.generator, &candidate))
        return *failure;
    if (auto failure = bundle_candidate(*plan, installation, folder, &candidate)) return *failure;
    return candidate;
}

Outcome<std::string> hash_of_candidate(const Layer &layer, const Target &target, const TargetFacts &facts,
                                       const ScheduleRecord &schedule, const Installation &installation,
                                       const CandidateLimits &limits) {
    Candidate candidate;
    auto plan = plan_candidate(layer, target, facts, schedule);
    if (!plan) return plan.failure();
    if (auto failure = compile_candidate(&plan->kernel(), installation, limits.generator, &candidate))
        return *failure;
    const auto folder = make_temporary_folder("unstride-hash");
    if (!folder) return Failure{TuningStatus::compile_error, folder.error(), true};
    auto hash = hash_of_code(plan->kernel().compiled, target, folder->path());
    if (!hash) return Failure{TuningStatus::compile_error, hash.error()};
    return *std::move(hash);
}

} // namespace unstride
