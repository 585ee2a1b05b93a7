// The generator runs as a process of its own, with limits, into a fresh folder that is renamed into the
// cache.
#include "tools/library/kernel_compiler.h"

#include "tools/files.h"
#include "tools/library/prefetch_hint.h"
#include "tools/library/process.h"
#include "tools/sha256.h"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <fstream>
#include <functional>
#include <string_view>

namespace unstride {

namespace fs = std::filesystem;

namespace {

// Bounds checks stay: the runtime refuses bad arguments first, these are the second line.
constexpr const char *kernel_features = "-no_runtime-user_context-no_bounds_query";

std::string versions(const Installation &installation) {
    return fmt::format("unstride {}, halide {}, generators {}", installation.compiler_version,
                       installation.halide_version, installation.generator_hash);
}

// The last lines of what a failed generator said, without its stack of file names.
std::string reason(const ProcessResult &process) {
    std::string text = process.errors;
    while (!text.empty() && text.back() == '\n')
        text.pop_back();
    constexpr std::size_t most = 600;
    return text.size() > most ? "…" + text.substr(text.size() - most) : text;
}

// False too for what a crash of the machine left empty or cut off at its begin.
bool is_object(const fs::path &file) {
    constexpr std::string_view elf = "\177ELF";
    std::ifstream stream(file, std::ios::binary);
    char begin[elf.size()] = {};
    stream.read(begin, sizeof begin);
    return stream && std::string_view(begin, sizeof begin) == elf;
}

// Runs the jobs with their output in a temporary folder beside `entry`, finishes what they wrote, then
// renames that folder to `entry`.
Result<void> fill_cache_entry(const fs::path &entry, const Installation &installation,
                              const std::function<nlohmann::json(const fs::path &folder)> &jobs_for,
                              const std::function<Result<void>(const fs::path &folder)> &finish,
                              const std::function<bool()> &is_complete, const ProcessLimits &limits = {},
                              ProcessResult *generator = nullptr) {
    std::error_code error;
    fs::create_directories(entry.parent_path(), error);
    if (error)
        return Error{fmt::format("cannot create {}: {}; UNSTRIDE_CACHE_DIR names another cache",
                                 entry.parent_path().string(), error.message())};
    Result<TemporaryFolder> folder = make_temporary_folder("building", entry.parent_path());
    if (!folder) return Error{folder.error()};
    if (auto made = run_generators(jobs_for(folder->path()), folder->path() / "jobs.json", installation,
                                   limits, generator);
        !made)
        return made;
    if (auto finished = finish(folder->path()); !finished) return finished;
    fs::rename(folder->path(), entry, error);
    // Another process may have filled the entry meanwhile, with the same content.
    if (error && !is_complete()) {
        std::error_code ignored;
        fs::remove_all(entry, ignored);
        fs::rename(folder->path(), entry, error);
    }
    if (error && !is_complete()) {
        return Error{fmt::format("cannot rename {} to {}: {}", folder->path().string(), entry.string(),
                                 error.message())};
    }
    return {};
}

// An object of another function of as long a name, which is how it is called in the folder. Halide numbers
// what it derives from a function by the name's hash, so that of another name the same code would not always
// be the same bytes.
Result<void> name_functions(const fs::path &folder, const std::string &function, const std::string &name) {
    const fs::path object = folder / (function + ".o");
    std::error_code error;
    if (!fs::exists(object, error)) return {}; // the caller looks for the named one
    auto bytes = read_file(object);
    if (!bytes) return Error{bytes.error()};
    for (std::size_t at = bytes->find(function); at != std::string::npos; at = bytes->find(function, at))
        bytes->replace(at, function.size(), name);
    if (auto written = write_file_atomically(folder / (name + ".o"), *bytes); !written) return written;
    fs::remove(object, error);
    if (error) return Error{fmt::format("cannot remove {}: {}", object.string(), error.message())};
    return {};
}

} // namespace

std::uint64_t CompiledKernel::identity() const {
    return std::stoull(key.substr(0, 16), nullptr, 16);
}

nlohmann::json generator_parameters(const KernelRequest &request) {
    return {{"layer", request.chain},
            {"schedule", to_json(request.record).dump()},
            {"instruction_set", request.target.instruction_set}};
}

Result<void> run_generators(const nlohmann::json &jobs, const fs::path &jobs_file,
                            const Installation &installation, const ProcessLimits &limits,
                            ProcessResult *generator) {
    if (auto written = write_file_atomically(jobs_file, jobs.dump(1)); !written) return written;
    const ProcessResult process = run_process({installation.generators.string(), jobs_file.string()}, limits);
    if (generator != nullptr) *generator = process;
    // Halide only warns of code whose own checks can never pass.
    const bool doomed = process.errors.find("guaranteed to fail") != std::string::npos;
    if (!process.ok() || doomed) return Error{reason(process)};
    return {};
}

std::string kernel_key(const KernelRequest &request, const Installation &installation) {
    const nlohmann::json json = {{"chain", request.chain},
                                 {"target", request.target.halide_target + kernel_features},
                                 {"packing", packing_features},
                                 {"instruction_set", request.target.instruction_set},
                                 {"schedule", to_json(request.record)},
                                 {"versions", versions(installation)}};
    return sha256(json.dump()).substr(0, 32);
}

Result<CompiledKernel> compile_kernel(const KernelRequest &request, const Installation &installation,
                                      const fs::path &cache, const ProcessLimits &limits,
                                      ProcessResult *generator) {
    CompiledKernel kernel;
    kernel.key = kernel_key(request, installation);
    const fs::path entry = cache / "kernels" / kernel.key;
    kernel.compute_object = entry / (kernel.compute_function() + ".o");
    if (request.packs) kernel.pack_object = entry / (kernel.pack_function() + ".o");
    const auto is_complete = [&] {
        return is_object(kernel.compute_object) && (!request.packs || is_object(kernel.pack_object));
    };
    kernel.from_cache = is_complete();
    if (!kernel.from_cache) {
        const CompiledKernel unnamed{std::string(kernel.key.size(), '0')};
        const std::string target = request.target.halide_target + kernel_features;
        const auto jobs_for = [&](const fs::path &folder) {
            const auto job = [&](const char *generator, const std::string &function,
                                 const std::string &job_target) {
                return nlohmann::json{
                    {"generator", generator},    {"function", function},
                    {"folder", folder.string()}, {"target", job_target},
                    {"emit", {"object"}},        {"parameters", generator_parameters(request)}};
            };
            auto jobs = nlohmann::json::array(
                {job(compute_generator(request.record), unnamed.compute_function(), target)});
            if (request.packs)
                jobs.push_back(job("weight_packing", unnamed.pack_function(), target + packing_features));
            return jobs;
        };
        const auto architecture = architecture_of(request.target.instruction_set);
        const auto finish = [&](const fs::path &folder) -> Result<void> {
            if (auto named = name_functions(folder, unnamed.compute_function(), kernel.compute_function());
                !named)
                return named;
            if (request.packs) {
                if (auto named = name_functions(folder, unnamed.pack_function(), kernel.pack_function());
                    !named)
                    return named;
            }
            if (!prefetches(request.record) || !architecture) return {};
            const bool writes = std::holds_alternative<CpuChannelwise>(request.record.parameters);
            return set_prefetch_hint(folder / kernel.compute_object.filename(), *architecture,
                                     writes ? PrefetchHint::for_writing : PrefetchHint::into_l2);
        };
        if (auto filled =
                fill_cache_entry(entry, installation, jobs_for, finish, is_complete, limits, generator);
            !filled)
            return Error{filled.error()};
        if (!is_complete()) return Error{fmt::format("the generator wrote no object to {}", entry.string())};
    }
    std::error_code error;
    kernel.object_bytes = fs::file_size(kernel.compute_object, error);
    if (!error && request.packs) kernel.object_bytes += fs::file_size(kernel.pack_object, error);
    if (error) return Error{fmt::format("{}: {}", entry.string(), error.message())};
    return kernel;
}

Result<fs::path> compile_halide_runtime(const Target &target, const Installation &installation,
                                        const fs::path &cache) {
    const std::string key = sha256(target.runtime_target + versions(installation)).substr(0, 32);
    const fs::path entry = cache / "runtimes" / key;
    const fs::path object = entry / "halide_runtime.o";
    const auto is_complete = [&] { return is_object(object); };
    if (is_complete()) return object;
    const auto jobs_for = [&](const fs::path &folder) {
        return nlohmann::json::array(
            {{{"runtime", (folder / "halide_runtime.o").string()}, {"target", target.runtime_target}}});
    };
    const auto nothing = [](const fs::path &) { return Result<void>(); };
    if (auto filled = fill_cache_entry(entry, installation, jobs_for, nothing, is_complete); !filled)
        return Error{filled.error()};
    return object;
}

} // namespace unstride
