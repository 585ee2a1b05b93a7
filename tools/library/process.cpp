// posix_spawn has no resource limits, so this is fork and exec, with pipes drained by poll.
#include "tools/library/process.h"

#include <fmt/format.h>

#include <csignal>
#include <cstdlib>
#include <cstring>
#include <fcntl.h>
#include <poll.h>
#include <sstream>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

namespace unstride {

namespace {

using Clock = std::chrono::steady_clock;

[[noreturn]] void become(const std::vector<char *> &arguments, const std::vector<std::string> &environment,
                         const ProcessLimits &limits, pid_t parent, int output, int errors) {
    setpgid(0, 0);
    // The limits are the parent's to keep, so the process ends with the thread that waits for it; by a signal
    // that lets compilers remove their temporary files.
    prctl(PR_SET_PDEATHSIG, SIGTERM);
    if (getppid() != parent) _exit(127);
    const int nothing = open("/dev/null", O_RDONLY);
    dup2(nothing, STDIN_FILENO);
    dup2(output, STDOUT_FILENO);
    dup2(errors, STDERR_FILENO);
    if (limits.memory_bytes > 0) {
        const auto bytes = static_cast<rlim_t>(limits.memory_bytes);
        const rlimit limit{bytes, bytes};
        setrlimit(RLIMIT_AS, &limit);
    }
    const rlimit no_core{0, 0};
    setrlimit(RLIMIT_CORE, &no_core);
    for (const std::string &setting : environment)
        putenv(const_cast<char *>(setting.c_str()));
    execvp(arguments[0], arguments.data());
    dprintf(STDERR_FILENO, "%s: %s", arguments[0], std::strerror(errno));
    _exit(127);
}

// Reads both pipes until they end or the time is over. Returns false in the latter case.
bool drain(int output, int errors, Clock::time_point deadline, ProcessResult *result) {
    pollfd pipes[2] = {{output, POLLIN, 0}, {errors, POLLIN, 0}};
    std::string *texts[2] = {&result->output, &result->errors};
    int open_pipes = 2;
    char buffer[16384];
    while (open_pipes > 0) {
        const auto left =
            std::chrono::duration_cast<std::chrono::milliseconds>(deadline - Clock::now()).count();
        if (left <= 0) return false;
        if (poll(pipes, 2, static_cast<int>(std::min<long long>(left, 1000))) < 0 && errno != EINTR)
            return true;
        for (int i = 0; i < 2; i++) {
            if (pipes[i].fd < 0 || (pipes[i].revents & (POLLIN | POLLHUP | POLLERR)) == 0) continue;
            const ssize_t count = read(pipes[i].fd, buffer, sizeof buffer);
            if (count > 0) {
                texts[i]->append(buffer, static_cast<std::size_t>(count));
            } else if (count == 0 || errno != EINTR) {
                pipes[i].fd = -1;
                open_pipes--;
            }
        }
    }
    return true;
}

} // namespace

ProcessResult run_process(const std::vector<std::string> &command, const ProcessLimits &limits,
                          const std::vector<std::string> &environment) {
    ProcessResult result;
    int output[2], errors[2];
    if (pipe2(output, O_CLOEXEC) != 0) {
        result.errors = fmt::format("cannot start {}: {}", command[0], std::strerror(errno));
        return result;
    }
    if (pipe2(errors, O_CLOEXEC) != 0) {
        result.errors = fmt::format("cannot start {}: {}", command[0], std::strerror(errno));
        close(output[0]);
        close(output[1]);
        return result;
    }
    std::vector<char *> arguments;
    for (const std::string &argument : command)
        arguments.push_back(const_cast<char *>(argument.c_str()));
    arguments.push_back(nullptr);

    const pid_t parent = getpid(), child = fork();
    if (child == 0) become(arguments, environment, limits, parent, output[1], errors[1]);
    close(output[1]);
    close(errors[1]);
    bool in_time = true;
    int status = 0;
    if (child > 0) {
        in_time = drain(output[0], errors[0], Clock::now() + limits.time, &result);
        if (!in_time) kill(-child, SIGKILL);
        rusage used{};
        while (wait4(child, &status, 0, &used) < 0 && errno == EINTR) {
        }
        result.peak_bytes = std::int64_t{used.ru_maxrss} * 1024;
    }
    close(output[0]);
    close(errors[0]);
    if (child < 0) {
        result.errors = fmt::format("cannot start {}: {}", command[0], std::strerror(errno));
    } else if (!in_time) {
        result.end = ProcessEnd::timeout;
        result.errors +=
            fmt::format("stopped after {:.0f} s", std::chrono::duration<double>(limits.time).count());
    } else if (WIFSIGNALED(status)) {
        result.end = ProcessEnd::signal;
        result.signal = WTERMSIG(status);
        result.errors += fmt::format("ended by signal {}, {}", result.signal, signal_name(result.signal));
    } else {
        result.end = ProcessEnd::exited;
        result.exit_code = WEXITSTATUS(status);
    }
    return result;
}

std::string signal_name(int signal) {
    const char *abbreviation = sigabbrev_np(signal), *description = sigdescr_np(signal);
    if (abbreviation == nullptr || description == nullptr) return fmt::format("signal {}", signal);
    return fmt::format("SIG{} ({})", abbreviation, description);
}

bool ran_out_of_memory(const ProcessResult &result) {
    if (result.end == ProcessEnd::signal && result.signal == SIGKILL) return true;
    if (result.ok() || result.end == ProcessEnd::timeout) return false;
    for (const char *words : {"bad_alloc", "out of memory", "Out of memory", "memory exhausted",
                              "failed to map segment", "Cannot allocate memory"}) {
        if (result.errors.find(words) != std::string::npos) return true;
    }
    return false;
}

bool program_exists(const std::string &program) {
    if (program.find('/') != std::string::npos) return access(program.c_str(), X_OK) == 0;
    const char *path = std::getenv("PATH");
    std::istringstream folders(path == nullptr ? "/usr/bin:/bin" : path);
    for (std::string folder; std::getline(folders, folder, ':');) {
        if (access((folder + "/" + program).c_str(), X_OK) == 0) return true;
    }
    return false;
}

} // namespace unstride
