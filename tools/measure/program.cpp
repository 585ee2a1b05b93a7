// Compiled and linked by the target's own C compiler, as the libraries are.
#include "tools/measure/program.h"

#include "tools/files.h"
#include "tools/library/bundle.h"
#include "tools/library/process.h"
#include "tools/sha256.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>

namespace unstride {

namespace fs = std::filesystem;

namespace {

constexpr const char *sources[] = {"limits.c", "machine.c", "measure.c", "measure_memory.c"};
constexpr const char *headers[] = {"device.h", "limits.h", "machine.h", "measure_memory.h",
                                   "measure_table.h"};

// Changes with everything that goes into the objects.
Result<std::string> key_of(const Target &target, const Installation &installation) {
    std::vector<std::string> parts = {target.name, c_compiler(target)};
    const fs::path folder = installation.runtime / "runner";
    std::vector<fs::path> files = {installation.runtime / "include/unstride/unstride.h"};
    for (const char *source : sources)
        files.push_back(folder / source);
    for (const char *header : headers)
        files.push_back(folder / header);
    for (const fs::path &file : files) {
        auto text = read_file(file);
        if (!text) return Error{text.error()};
        parts.push_back(std::move(*text));
    }
    return sha256_of_parts(parts).substr(0, 32);
}

Result<void> run_compiler(const std::vector<std::string> &command) {
    const ProcessResult result = run_process(command);
    if (result.ok()) return {};
    return Error{fmt::format("{} failed: {}", command[0], result.errors)};
}

Result<void> compile_objects(const Target &target, const Installation &installation, const fs::path &folder) {
    for (const char *source : sources) {
        std::vector<std::string> command = {c_compiler(target),
                                            "-c",
                                            "-O2",
                                            "-std=gnu11",
                                            "-I",
                                            (installation.runtime / "include").string(),
                                            (installation.runtime / "runner" / source).string(),
                                            "-o",
                                            (folder / source).replace_extension(".o").string()};
        if (target.name == "cuda") command.insert(command.begin() + 1, "-DRUNNER_CUDA");
        if (auto compiled = run_compiler(command); !compiled) return compiled;
    }
    return {};
}

std::string table_source(const std::vector<const Candidate *> &candidates) {
    std::set<std::string> names;
    std::string declarations, entries;
    for (const Candidate *candidate : candidates) {
        if (names.insert(candidate->library).second)
            declarations += fmt::format("const unstride_library *{}_library(void);\n", candidate->library);
        entries += fmt::format("    {}_library,\n", candidate->library);
    }
    return fmt::format("#include \"measure_table.h\"\n\n{}\n"
                       "const unstride_library *(*const measured_libraries[])(void) = {{\n{}}};\n"
                       "const int measured_count = {};\n",
                       declarations, entries, candidates.size());
}

} // namespace

Result<MeasuringObjects> compile_measuring_objects(const Target &target, const Installation &installation,
                                                   const fs::path &cache) {
    const auto key = key_of(target, installation);
    if (!key) return Error{key.error()};
    const fs::path entry = cache / "measuring" / *key;
    MeasuringObjects made{&target, installation.runtime / "include", installation.runtime / "runner", {}};
    for (const char *source : sources)
        made.objects.push_back((entry / source).replace_extension(".o"));
    std::error_code error;
    if (std::ranges::all_of(made.objects, [&](const fs::path &object) { return fs::exists(object, error); }))
        return made;
    fs::create_directories(entry.parent_path(), error);
    if (error)
        return Error{fmt::format("cannot create {}: {}", entry.parent_path().string(), error.message())};
    const auto folder = make_temporary_folder("compiling", entry.parent_path());
    if (!folder) return Error{folder.error()};
    if (auto compiled = compile_objects(target, installation, folder->path()); !compiled)
        return Error{compiled.error()};
    fs::rename(folder->path(), entry, error);
    // Another process may have filled the entry meanwhile; its content is the same.
    std::error_code ignored;
    if (error && !fs::exists(made.objects[0], ignored))
        return Error{fmt::format("cannot write {}: {}", entry.string(), error.message())};
    return made;
}

Result<fs::path> link_measuring_program(const MeasuringObjects &common,
                                        const std::vector<const Candidate *> &candidates,
                                        const fs::path &folder) {
    const fs::path table = folder / "table.c", program = folder / "measure";
    if (auto written = write_file_atomically(table, table_source(candidates)); !written)
        return Error{written.error()};
    std::vector<std::string> command = {
        c_compiler(*common.target), "-std=gnu11",  "-I", common.include.string(), "-I",
        common.runner.string(),     table.string()};
    for (const fs::path &object : common.objects)
        command.push_back(object.string());
    std::set<std::string> archives;
    for (const Candidate *candidate : candidates)
        archives.insert(candidate->archive.string());
    command.insert(command.end(), archives.begin(), archives.end());
    if (common.target->instruction_sets[0].device == Device::cpu) command.push_back("-static");
    command.insert(command.end(), {"-lpthread", "-ldl", "-lm", "-o", program.string()});
    if (auto linked = run_compiler(command); !linked) return Error{linked.error()};
    return program;
}

} // namespace unstride
