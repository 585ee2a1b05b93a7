// A thin C++17 layer over the C interface: libraries and layers as values, memory that frees itself, and
// failures as a Status value with its text. Nothing throws of its own accord; everything is inline, so there
// is nothing to link.
//
//     unstride::runtime::Library library(NAME_library());
//     unstride::runtime::Layer layer = library.layer(0);
//     unstride::runtime::AlignedMemory packed;
//     if (auto status = layer.pack(kernel, bias, packed); !status) return status.message();
//     auto status = layer.run(input, packed.data(), output);
#ifndef UNSTRIDE_HPP
#define UNSTRIDE_HPP

#ifndef UNSTRIDE_H
#include "unstride/unstride.h"
#endif

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <new>
#include <string>
#include <utility>
#include <vector>

namespace unstride::runtime {

// A code, its name, and the text that last_error gave right after the failure.
class [[nodiscard]] Status {
public:
    Status() = default;
    Status(int code, const char *name, std::string message)
        : code_(code), name_(name), message_(std::move(message)) {}

    bool ok() const { return code_ == UNSTRIDE_OK; }
    explicit operator bool() const { return ok(); }
    int code() const { return code_; }
    const char *name() const { return name_; }
    const std::string &message() const { return message_; }

private:
    int code_ = UNSTRIDE_OK;
    const char *name_ = "UNSTRIDE_OK";
    std::string message_;
};

// Memory as packed weights and scratch need it: aligned to 64 bytes, freed with its owner.
class AlignedMemory {
public:
    AlignedMemory() = default;

    // False, with no memory held, where there is none to be had.
    bool allocate(std::size_t bytes) {
        memory_.reset(static_cast<std::byte *>(::operator new (bytes, std::align_val_t{64}, std::nothrow)));
        bytes_ = memory_ ? bytes : 0;
        return memory_ != nullptr;
    }

    void *data() { return memory_.get(); }
    const void *data() const { return memory_.get(); }
    std::size_t bytes() const { return bytes_; }

private:
    struct Release {
        void operator()(std::byte *memory) const { ::operator delete (memory, std::align_val_t{64}); }
    };
    std::unique_ptr<std::byte, Release> memory_;
    std::size_t bytes_ = 0;
};

using Shape = std::vector<std::int64_t>;

// A view of a dense tensor, and one with strides in elements, for windows and channel slices. A rank beyond
// UNSTRIDE_MAX_RANK, or strides of another rank, give a view of rank -1, which every layer refuses with
// WRONG_RANK.
inline unstride_tensor view(const float *data, const Shape &shape) {
    unstride_tensor tensor{};
    tensor.rank = -1;
    return shape.size() > UNSTRIDE_MAX_RANK
               ? tensor
               : unstride_dense(data, static_cast<int>(shape.size()), shape.data());
}

inline unstride_tensor view(const float *data, const Shape &shape, const Shape &stride) {
    unstride_tensor tensor = view(data, shape);
    if (stride.size() != shape.size()) tensor.rank = -1;
    for (int axis = 0; axis < tensor.rank; axis++)
        tensor.stride[axis] = stride[static_cast<std::size_t>(axis)];
    return tensor;
}

// A layer of a library; copies are cheap and refer to the same layer.
class Layer {
public:
    Layer(const unstride_library *library, const unstride_layer *layer) : library_(library), layer_(layer) {}

    const unstride_layer *get() const { return layer_; }
    const char *name() const { return layer_->name; }
    const char *text() const { return layer_->text; }
    const char *schedule() const { return library_->schedule(layer_); }
    const char *schedule_grade() const { return library_->schedule_grade(layer_); }
    std::size_t packed_bytes() const { return library_->packed_bytes(layer_); }

    // `output` is set on success only.
    Status output_shape(const Shape &input, Shape &output) const {
        if (input.size() != static_cast<std::size_t>(layer_->rank)) {
            return Status(UNSTRIDE_WRONG_RANK, library_->status_name(UNSTRIDE_WRONG_RANK),
                          std::string(name()) + ": input: rank " + std::to_string(input.size()) +
                              ", the layer's is " + std::to_string(layer_->rank));
        }
        Shape result(input.size());
        Status status = status_of(library_->output_shape(layer_, input.data(), result.data()));
        if (status) output = std::move(result);
        return status;
    }

    // Allocates `packed` and packs the weights into it; nothing is allocated where the layer packs nothing.
    Status pack(const unstride_weights &weights, AlignedMemory &packed) const {
        const std::size_t bytes = packed_bytes();
        packed = AlignedMemory();
        if (bytes == 0) return status_of(library_->pack(layer_, &weights, nullptr, 0));
        if (!packed.allocate(bytes)) {
            return Status(UNSTRIDE_OUT_OF_MEMORY, library_->status_name(UNSTRIDE_OUT_OF_MEMORY),
                          std::string(name()) + ": no memory for " + std::to_string(bytes) +
                              " bytes of packed weights");
        }
        return status_of(library_->pack(layer_, &weights, packed.data(), bytes));
    }

    // The same for layers without scale and prelu; `bias` is null where the layer has none.
    Status pack(const float *kernel, const float *bias, AlignedMemory &packed) const {
        unstride_weights weights{};
        weights.kernel = kernel;
        weights.bias = bias;
        return pack(weights, packed);
    }

    // 0 where the call needs none, and on an error.
    std::size_t scratch_bytes(const Shape &input, int threads = 0) const {
        return input.size() == static_cast<std::size_t>(layer_->rank)
                   ? library_->scratch_bytes(layer_, input.data(), threads)
                   : 0;
    }

    Status run(const unstride_arguments &arguments) const {
        return status_of(library_->run(layer_, &arguments));
    }

    Status run(const unstride_tensor &input, const void *packed, const unstride_tensor &output,
               const unstride_tensor *add = nullptr, int threads = 0) const {
        unstride_arguments arguments{};
        arguments.input = &input;
        arguments.add = add;
        arguments.output = &output;
        arguments.packed = packed;
        arguments.threads = threads;
        return run(arguments);
    }

private:
    Status status_of(int code) const {
        return code == UNSTRIDE_OK ? Status()
                                   : Status(code, library_->status_name(code), library_->last_error());
    }

    const unstride_library *library_;
    const unstride_layer *layer_;
};

// A library, given as NAME_library(). Everything but check() needs a library that check() finds right.
class Library {
public:
    explicit Library(const unstride_library *library) : library_(library) {}

    // Whether there is a library and this header fits it.
    Status check() const {
        if (library_ == nullptr)
            return Status(UNSTRIDE_NULL_ARGUMENT, "UNSTRIDE_NULL_ARGUMENT", "the library is null");
        if (library_->abi_version == UNSTRIDE_ABI_VERSION) return Status();
        return Status(UNSTRIDE_WRONG_ABI, "UNSTRIDE_WRONG_ABI",
                      "the library is of interface version " + std::to_string(library_->abi_version) +
                          ", the header of " + std::to_string(UNSTRIDE_ABI_VERSION));
    }

    const unstride_library *get() const { return library_; }
    const char *name() const { return library_->name; }
    const char *target() const { return library_->target; }
    const char *version() const { return library_->version; }
    int size() const { return library_->layer_count; }
    Layer layer(int index) const { return Layer(library_, library_->layers[index]); }

    // The index of the layer of that name, or -1.
    int find(const char *name) const {
        for (int i = 0; i < size(); i++) {
            if (std::strcmp(library_->layers[i]->name, name) == 0) return i;
        }
        return -1;
    }

    int threads() const { return library_->threads(); }
    Status set_threads(int threads) const { return status_of(library_->set_threads(threads)); }
    Status set_parallel_for(const unstride_parallel *parallel) const {
        return status_of(library_->set_parallel_for(parallel));
    }

    // Null where this processor can run none of the variants.
    const char *instruction_set() const { return library_->instruction_set(); }
    Status set_instruction_set(const char *name) const {
        return status_of(library_->set_instruction_set(name));
    }
    std::vector<std::string> instruction_sets() const {
        std::vector<std::string> names;
        for (int i = 0; library_->instruction_set_at(i) != nullptr; i++)
            names.emplace_back(library_->instruction_set_at(i));
        return names;
    }

private:
    Status status_of(int code) const {
        return code == UNSTRIDE_OK ? Status()
                                   : Status(code, library_->status_name(code), library_->last_error());
    }

    const unstride_library *library_;
};

} // namespace unstride::runtime

#endif // UNSTRIDE_HPP
