// Memory between two pages that may not be touched, so that a read or write outside it ends the test.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <new>
#include <sys/mman.h>
#include <unistd.h>

namespace unstride {

// Where the bytes lie between the guards: the end flush with the one after, or the start with the one before.
enum class Flush { start, end };

class GuardedMemory {
public:
    // `bytes` begin at a multiple of `alignment`; flush with the end as closely as that allows. What is left
    // between the bytes and the guards holds a pattern, see surroundings_untouched().
    GuardedMemory(std::size_t bytes, Flush flush, std::size_t alignment) {
        const auto page = static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
        const std::size_t inside = (bytes + page - 1) / page * page + (bytes == 0 ? page : 0);
        size_ = inside + 2 * page;
        void *mapped = mmap(nullptr, size_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (mapped == MAP_FAILED) throw std::bad_alloc();
        base_ = static_cast<char *>(mapped);
        mprotect(base_, page, PROT_NONE);
        mprotect(base_ + page + inside, page, PROT_NONE);
        char *begin = base_ + page;
        if (flush == Flush::end) begin += (inside - bytes) / alignment * alignment;
        data_ = begin;
        bytes_ = bytes;
        inside_ = inside;
        std::memset(base_ + page, pattern, inside);
    }
    ~GuardedMemory() { munmap(base_, size_); }
    GuardedMemory(const GuardedMemory &) = delete;
    GuardedMemory &operator=(const GuardedMemory &) = delete;

    void *data() const { return data_; }
    float *floats() const { return reinterpret_cast<float *>(data_); }

    // True if nothing was written between the bytes and the guards, where alignment keeps them apart.
    bool surroundings_untouched() const {
        const char *first = base_ + (size_ - inside_) / 2, *last = first + inside_;
        const auto intact = [](char byte) { return byte == pattern; };
        return std::all_of(first, static_cast<const char *>(data_), intact) &&
               std::all_of(static_cast<const char *>(data_) + bytes_, last, intact);
    }

private:
    static constexpr char pattern = 0x5a;
    char *base_ = nullptr, *data_ = nullptr;
    std::size_t size_ = 0, bytes_ = 0, inside_ = 0;
};

} // namespace unstride
