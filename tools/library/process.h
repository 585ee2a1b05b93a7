// Other programs run as children with limits on time and memory, so that none can take this one down.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <vector>

namespace unstride {

struct ProcessLimits {
    std::chrono::milliseconds time{120'000};
    std::int64_t memory_bytes = std::int64_t{8} << 30; // of address space; 0 sets no limit
};

struct ProcessResult {
    int exit_code = -1; // -1: not started, or ended by a signal or a limit
    std::string output; // standard output
    std::string errors; // standard error; for a process that could not run to its end, the reason follows
    bool ok() const { return exit_code == 0; }
};

// Runs `command` (looked up in PATH) with the given environment additions ("NAME=value") and waits for it.
// Its standard input is empty. The child and its descendants are killed when the time is over.
ProcessResult run_process(const std::vector<std::string> &command, const ProcessLimits &limits = {},
                          const std::vector<std::string> &environment = {});

// True if `program` is found in PATH or is an executable file itself.
bool program_exists(const std::string &program);

} // namespace unstride
