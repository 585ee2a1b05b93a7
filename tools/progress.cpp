// A terminal sees every step; a log file sees a line every few seconds.
#include "tools/progress.h"

#include <cstdio>
#include <fmt/format.h>
#include <unistd.h>

namespace unstride {

Progress::Progress(std::string what, std::size_t total, bool quiet)
    : what_(std::move(what)), total_(total), quiet_(quiet), terminal_(isatty(STDERR_FILENO) != 0),
      last_shown_(std::chrono::steady_clock::now()) {}

Progress::~Progress() {
    if (line_open_) std::fputs("\r\033[K", stderr);
}

void Progress::advance(const std::string &part) {
    const std::lock_guard lock(mutex_);
    done_++;
    if (!quiet_) show(part);
}

void Progress::show(const std::string &part) {
    const auto now = std::chrono::steady_clock::now();
    if (terminal_) {
        const std::string line = fmt::format("\r\033[K{} {}/{} {}", what_, done_, total_, part);
        std::fputs(line.c_str(), stderr);
        std::fflush(stderr);
        line_open_ = true;
    } else if (now - last_shown_ >= std::chrono::seconds(3)) {
        std::fputs(fmt::format("{} {}/{} {}\n", what_, done_, total_, part).c_str(), stderr);
        last_shown_ = now;
    }
}

} // namespace unstride
