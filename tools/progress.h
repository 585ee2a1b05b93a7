// Progress of long work: one line that is rewritten on a terminal, plain lines elsewhere.
#pragma once

#include <chrono>
#include <cstddef>
#include <mutex>
#include <string>

namespace unstride {

class Progress {
public:
    // Writes to standard error. `quiet` writes nothing.
    Progress(std::string what, std::size_t total, bool quiet);
    ~Progress();
    Progress(const Progress &) = delete;
    Progress &operator=(const Progress &) = delete;

    // One more part is finished. May be called from several threads.
    void advance(const std::string &part);

private:
    void show(const std::string &part);

    const std::string what_;
    const std::size_t total_;
    const bool quiet_, terminal_;
    std::size_t done_ = 0;
    bool line_open_ = false;
    std::chrono::steady_clock::time_point last_shown_;
    std::mutex mutex_;
};

} // namespace unstride
