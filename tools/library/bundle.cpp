// Done with the target's own C compiler and binary utilities, which whoever links the library has.
#include "tools/library/bundle.h"

#include "tools/files.h"
#include "tools/library/process.h"

#include <fmt/format.h>

#include <set>

namespace unstride {

namespace fs = std::filesystem;

namespace {

// The texts of the runtime's public headers.
struct Interface {
    std::string types, functions;
};

Result<Interface> read_interface(const Installation &installation) {
    auto types = read_file(installation.runtime / "include/unstride/unstride.h");
    if (!types) return Error{types.error()};
    auto functions = read_file(installation.runtime / "include/unstride/library.h");
    if (!functions) return Error{functions.error()};
    return Interface{std::move(*types), std::move(*functions)};
}

Result<void> run_tool(const std::vector<std::string> &command) {
    const ProcessResult result = run_process(command);
    if (result.ok()) return {};
    std::string text = result.errors.empty() ? result.output : result.errors;
    while (!text.empty() && text.back() == '\n')
        text.pop_back();
    return Error{fmt::format("{} failed: {}", command[0], text)};
}

// Layers of the same chain share their kernels.
std::set<std::string> kernel_objects(const std::vector<PlannedLayer> &layers) {
    std::set<std::string> objects;
    for (const PlannedLayer &layer : layers) {
        for (const PlannedKernel &kernel : layer.kernels) {
            objects.insert(kernel.compiled.compute_object.string());
            if (kernel.request.packs) objects.insert(kernel.compiled.pack_object.string());
        }
    }
    return objects;
}

} // namespace

std::string c_compiler(const Target &target) {
    return target.tool_prefix.empty() || target.name == host_target().name ? "cc"
                                                                           : target.tool_prefix + "gcc";
}

std::string binary_utility(const Target &target, const std::string &name) {
    return c_compiler(target) == "cc" ? name : target.tool_prefix + name;
}

Result<void> check_target_tools(const std::vector<const Target *> &targets) {
    for (const Target *target : targets) {
        const bool native = c_compiler(*target) == "cc";
        for (const std::string &tool : {c_compiler(*target), binary_utility(*target, "ld"),
                                        binary_utility(*target, "objcopy"), binary_utility(*target, "ar")}) {
            if (program_exists(tool)) continue;
            return Error{
                fmt::format("target {} needs {}, which is not in PATH; install {}", target->name, tool,
                            native ? "gcc and binutils"
                                   : fmt::format("the packages gcc and binutils for {}", target->name))};
        }
    }
    return {};
}

Result<void> check_names(const LibraryDescription &description, const Installation &installation) {
    const auto interface = read_interface(installation);
    if (!interface) return Error{interface.error()};
    return check_library_names(description, interface->functions);
}

Result<void> bundle_library(const BundleRequest &request, const Installation &installation,
                            const fs::path &folder) {
    const auto interface = read_interface(installation);
    if (!interface) return Error{interface.error()};
    const auto header = write_library_header(request.description, interface->types, interface->functions);
    if (!header) return Error{header.error()};
    const auto source = write_library_source(request.description, interface->functions);
    if (!source) return Error{source.error()};
    const std::string &name = request.name;
    const fs::path source_file = folder / (name + ".c"), tables = folder / (name + ".tables.o");
    const fs::path embedding_file = folder / (name + ".embedded.s"),
                   embedded = folder / (name + ".embedded.o");
    const fs::path whole = folder / (name + ".o"), archive = folder / fmt::format("lib{}.a", name);
    if (auto written = write_file_atomically(folder / (name + ".h"), *header); !written) return written;
    if (auto written = write_file_atomically(source_file, *source); !written) return written;

    const std::string compiler = c_compiler(request.target);
    const auto utility = [&](const char *tool) { return binary_utility(request.target, tool); };
    if (auto compiled = run_tool(
            {compiler, "-c", "-O2", "-std=c11", "-fPIC", "-fvisibility=hidden", "-ffunction-sections",
             "-fdata-sections", "-I", folder.string(), "-I", (installation.runtime / "include").string(),
             "-I", (installation.runtime / "src").string(), source_file.string(), "-o", tables.string()});
        !compiled) {
        return compiled;
    }
    const std::string embedding = write_embedding_source(request.description);
    if (!embedding.empty()) {
        if (auto written = write_file_atomically(embedding_file, embedding); !written) return written;
        if (auto assembled = run_tool({compiler, "-c", embedding_file.string(), "-o", embedded.string()});
            !assembled) {
            return assembled;
        }
    }

    // Section groups are dissolved, or a second such archive in the same program would lose its copies of
    // them; what no public function reaches is dropped.
    std::vector<std::string> link = {utility("ld"),
                                     "-r",
                                     "--force-group-allocation",
                                     "--gc-sections",
                                     "-u",
                                     name + "_library",
                                     "-u",
                                     name + "_scratch_misses",
                                     "-o",
                                     whole.string(),
                                     tables.string()};
    const std::set<std::string> objects = kernel_objects(request.layers);
    link.insert(link.end(), objects.begin(), objects.end());
    link.push_back(request.halide_runtime.string());
    if (!embedding.empty()) link.push_back(embedded.string());
    if (auto linked = run_tool(link); !linked) return linked;
    if (auto localised = run_tool(
            {utility("objcopy"), "--wildcard", "--keep-global-symbol=" + name + "_*", whole.string()});
        !localised) {
        return localised;
    }
    return run_tool({utility("ar"), "rcsD", archive.string(), whole.string()});
}

} // namespace unstride
