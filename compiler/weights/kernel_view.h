// A weight tensor as its kernels: one for each pair of the first two sizes.
#pragma once

#include "compiler/language/layer.h"
#include "compiler/weights/tensor.h"

#include <cstddef>
#include <span>
#include <vector>

namespace unstride {

class KernelView {
public:
    // Refers to the tensor, which has at least one spatial size.
    explicit KernelView(const Tensor &tensor);

    std::int64_t first() const { return first_; }   // CI of transposed_conv, CO of conv
    std::int64_t second() const { return second_; } // the other channels of the group
    const PerAxis &sizes() const { return sizes_; }
    std::int64_t count() const { return first_ * second_; }
    std::span<const float> kernel(std::int64_t index) const {
        return values_.subspan(static_cast<std::size_t>(index) * elements_, elements_);
    }
    std::span<const float> kernel(std::int64_t a, std::int64_t b) const { return kernel(a * second_ + b); }
    std::size_t elements() const { return elements_; } // of one kernel

private:
    std::span<const float> values_;
    std::int64_t first_, second_;
    PerAxis sizes_;
    std::size_t elements_ = 1;
};

// The place of a kernel's element on each axis, slowest first.
PerAxis position_of(std::size_t element, const PerAxis &sizes);

// The bilinear filter of every axis multiplied, rounded to f32 once.
std::vector<float> bilinear_weights(const PerAxis &kernel);

} // namespace unstride
