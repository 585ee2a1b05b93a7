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

enum class ProcessEnd { not_started, exited, signal, timeout };

struct ProcessResult {
    int exit_code = -1; // -1: not started, or ended by a signal or a limit
    ProcessEnd end = ProcessEnd::not_started;
    int signal = 0;              // that ended it, for ProcessEnd::signal
    std::int64_t peak_bytes = 0; // of memory that it held at once
    std::string output;          // standard output
    std::string errors; // standard error; for a process that could not run to its end, the reason follows
    bool ok() const { return exit_code == 0; }
};

// Runs `command` (looked up in PATH) with the given environment additions ("NAME=value") and waits for it.
// Its standard input is empty. The child and its descendants are killed when the time is over.
ProcessResult run_process(const std::vector<std::string> &command, const ProcessLimits &limits = {},
                          const std::vector<std::string> &environment = {});

// "SIGSEGV (Segmentation fault)".
std::string signal_name(int signal);

// True if a process that failed ran out of memory, by what it wrote and how it ended: allocations that failed
// because of a limit on the address space, or the system's choice of what to end when memory is short.
bool ran_out_of_memory(const ProcessResult &result);

// True if `program` is found in PATH or is an executable file itself.
bool program_exists(const std::string &program);

} // namespace unstride
