// Chooses between timing and modelling; the steps of either are in strategies.h.
#include "tools/tune/tuner.h"

#include "tools/tune/strategies.h"

#include <fmt/format.h>

#include <cerrno>
#include <cstring>
#include <unistd.h>

namespace unstride {

namespace fs = std::filesystem;

namespace {

TuneResult failed(const Layer &layer, const TargetFacts &facts, std::string why) {
    TuneResult result;
    result.layer = layer.name;
    result.instruction_set = facts.instruction_set;
    result.detail = std::move(why);
    return result;
}

#if defined(__x86_64__)
bool processor_has(const std::string &instruction_set) {
    if (instruction_set == "sse41") return __builtin_cpu_supports("sse4.1") != 0;
    const bool avx2 = __builtin_cpu_supports("avx2") != 0 && __builtin_cpu_supports("fma") != 0;
    if (instruction_set == "avx2") return avx2;
    return instruction_set == "avx512" && avx2 && __builtin_cpu_supports("avx512f") != 0 &&
           __builtin_cpu_supports("avx512cd") != 0 && __builtin_cpu_supports("avx512bw") != 0 &&
           __builtin_cpu_supports("avx512dq") != 0 && __builtin_cpu_supports("avx512vl") != 0;
}
#else
bool processor_has(const std::string &) {
    return true; // every AArch64 processor has NEON
}
#endif

} // namespace

const char *to_string(TuneEnd end) {
    switch (end) {
    case TuneEnd::tuned:
        return "tuned";
    case TuneEnd::kept:
        return "kept";
    case TuneEnd::skipped:
        return "skipped";
    case TuneEnd::unstable:
        return "unstable";
    case TuneEnd::failed:
        return "failed";
    case TuneEnd::interrupted:
        return "interrupted";
    }
    return "";
}

TuneResult tune(const Layer &layer, const Target &target, const TargetFacts &facts,
                const TuneContext &context, const TuneSettings &settings) {
    Machine machine = context.machine;
    if (settings.threads > 0 && machine != Machine{}) machine.threads = settings.threads;
    auto run = TuningRun::start(layer, target, facts, context, settings, machine);
    if (!run) return failed(layer, facts, run.error());
    if ((*run)->known().finished && !settings.force) {
        return (*run)->result(TuneEnd::skipped, "the database holds what an earlier search chose; --force "
                                                "searches again");
    }
    const auto result = context.runner.emulated() ? tune_by_model(**run) : tune_by_time(**run);
    return result ? *result : (*run)->result(TuneEnd::failed, result.error());
}

Result<fs::path> records_file(const fs::path &database, const std::string &instruction_set) {
    if (database.extension() == ".jsonl") return database;
    const fs::path folder = database.empty() ? user_database_folder() : database;
    if (folder.empty())
        return Error{"there is no folder for records: set HOME or XDG_DATA_HOME, or name one with --db"};
    return database_file(folder, instruction_set);
}

Result<void> check_appendable(const fs::path &file) {
    std::error_code error;
    const fs::path folder = file.has_parent_path() ? file.parent_path() : fs::path(".");
    fs::create_directories(folder, error);
    if (error) {
        return Error{fmt::format("cannot make the folder {} for records: {}; name another with --db",
                                 folder.string(), error.message())};
    }
    const bool exists = fs::exists(file, error);
    const fs::path &asked = exists ? file : folder;
    if (exists && !fs::is_regular_file(file, error))
        return Error{
            fmt::format("{} is no file that records can be added to; name another with --db", file.string())};
    if (::access(asked.c_str(), W_OK) == 0) return {};
    return Error{fmt::format("cannot write records to {}: {}; name another place with --db", asked.string(),
                             std::strerror(errno))};
}

bool runs_here(const Target &target, const TargetFacts &facts) {
    if (facts.device != Device::cpu) return false;
    return target.name != host_target().name || processor_has(facts.instruction_set);
}

std::vector<TargetFacts> own_instruction_sets() {
    std::vector<TargetFacts> own;
    for (const TargetFacts &facts : host_target().instruction_sets) {
        if (processor_has(facts.instruction_set)) own.push_back(facts);
    }
    return own;
}

std::string default_runner(const Target &target) {
    if (target.name == host_target().name) return "local";
    return fmt::format("command:qemu-{} -L /usr/{}-linux-gnu", target.name, target.name);
}

} // namespace unstride
