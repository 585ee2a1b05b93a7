// What a contender written in C++ implements; serve() does the rest of the protocol, see docs/benchmarks.md.
#pragma once

#include "bench/rivals/problem.h"

#include <cstddef>
#include <stdexcept>
#include <string>
#include <vector>

namespace unstride::bench {

// Thrown by load() for a layer that a rival cannot compute; the text says why.
struct Unsupported : std::runtime_error {
    using std::runtime_error::runtime_error;
};

struct Identity {
    std::string name, version;
    std::vector<std::string> variants = {""}; // ways to compute a layer that are timed apart
    std::string library;                      // file whose size is reported; empty: this program
};

class Rival {
public:
    virtual ~Rival() = default;

    virtual Identity identity() const = 0;

    // Prepares everything that a network does once: packed weights, compiled code, buffers. `variant` is one
    // of identity()'s. Throws Unsupported.
    virtual void load(const Problem &problem, const std::string &variant, int threads) = 0;

    // Which of its kernels the rival chose, where it tells.
    virtual std::string implementation() const { return {}; }

    // One call: what is timed. Input and output stay where they are.
    virtual void run() = 0;

    // The result of the last call, dense, in the layer's own layout.
    virtual std::vector<float> output() = 0;
};

int serve(Rival &rival);

// Memory aligned to 64 bytes, in large pages where it spans some and the system gives them.
class AlignedFloats {
public:
    AlignedFloats() = default;
    explicit AlignedFloats(std::size_t count);
    explicit AlignedFloats(const std::vector<float> &values);
    ~AlignedFloats();
    AlignedFloats(AlignedFloats &&other) noexcept;
    AlignedFloats &operator=(AlignedFloats &&other) noexcept;

    float *data() const { return data_; }
    std::size_t size() const { return size_; }

private:
    float *data_ = nullptr;
    std::size_t size_ = 0;
};

} // namespace unstride::bench
