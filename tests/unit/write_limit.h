// Lets writes fail as on a full disk: while the object lives, no file of this process can grow beyond a size.
#pragma once

#include <csignal>
#include <sys/resource.h>

namespace unstride {

class WriteLimit {
public:
    explicit WriteLimit(rlim_t bytes) {
        ::getrlimit(RLIMIT_FSIZE, &before_);
        // Without this the first write beyond the limit would end the process.
        handler_ = std::signal(SIGXFSZ, SIG_IGN);
        const rlimit limited{bytes, before_.rlim_max};
        ::setrlimit(RLIMIT_FSIZE, &limited);
    }
    WriteLimit(const WriteLimit &) = delete;
    WriteLimit &operator=(const WriteLimit &) = delete;
    ~WriteLimit() {
        ::setrlimit(RLIMIT_FSIZE, &before_);
        std::signal(SIGXFSZ, handler_);
    }

private:
    rlimit before_{};
    void (*handler_)(int) = SIG_DFL;
};

} // namespace unstride
