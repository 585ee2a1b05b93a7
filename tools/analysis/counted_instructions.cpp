// The plugin prints its counts to a log of the emulator's, as lines "NAME COUNT".
#include "tools/analysis/counted_instructions.h"

#include "tools/files.h"
#include "tools/library/process.h"

#include <fmt/format.h>

#include <sstream>

namespace unstride {

namespace fs = std::filesystem;

namespace {

constexpr const char *line_prefix = "unstride-count ";

Result<std::map<std::string, std::int64_t>> parse_counts(const std::string &log) {
    std::map<std::string, std::int64_t> counts;
    std::istringstream lines(log);
    for (std::string line; std::getline(lines, line);) {
        if (!line.starts_with(line_prefix)) continue;
        std::istringstream fields(line.substr(std::string(line_prefix).size()));
        std::string kind;
        std::int64_t count = 0;
        if (fields >> kind >> count) counts[kind] = count;
    }
    if (counts.empty()) return Error{"the counting plugin reported nothing"};
    return counts;
}

} // namespace

fs::path installed_counting_plugin() {
    std::error_code error;
    const fs::path self = fs::read_symlink("/proc/self/exe", error);
    return self.parent_path().parent_path() / "libexec/unstride/count_instructions.so";
}

std::optional<InstructionCounter> find_instruction_counter(const fs::path &plugin) {
    const std::string emulator = "qemu-aarch64";
    std::error_code error;
    if (!fs::exists(plugin, error) || !program_exists(emulator)) return std::nullopt;
    // An emulator without plugins, or with another interface for them, says so before it looks at the
    // program.
    const ProcessResult probe = run_process({emulator, "-plugin", plugin.string(), "/dev/null"});
    if ((probe.errors + probe.output).find("plugin") != std::string::npos) return std::nullopt;
    return InstructionCounter{emulator, plugin};
}

Result<std::map<std::string, std::int64_t>> count_instructions(const InstructionCounter &counter,
                                                               const fs::path &program,
                                                               const std::vector<std::string> &arguments) {
    const auto folder = make_temporary_folder("unstride-count");
    if (!folder) return Error{folder.error()};
    const fs::path log = folder->path() / "log";
    std::vector<std::string> command = {
        counter.emulator, "-plugin",       counter.plugin.string(), "-d", "plugin", "-D",
        log.string(),     program.string()};
    command.insert(command.end(), arguments.begin(), arguments.end());
    const ProcessResult run = run_process(command, {.memory_bytes = 0});
    if (!run.ok()) {
        return Error{fmt::format("{} failed in {} (exit code {}): {}", program.string(), counter.emulator,
                                 run.exit_code, run.errors)};
    }
    const Result<std::string> text = read_file(log);
    if (!text) return Error{text.error()};
    return parse_counts(*text);
}

} // namespace unstride
