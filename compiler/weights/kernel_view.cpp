// Indices of kernels and of elements within one.
#include "compiler/weights/kernel_view.h"

#include "compiler/lowering/filters.h"

namespace unstride {

KernelView::KernelView(const Tensor &tensor)
    : values_(tensor.values), first_(tensor.shape[0]), second_(tensor.shape[1]),
      sizes_(tensor.shape.begin() + 2, tensor.shape.end()) {
    for (const std::int64_t size : sizes_)
        elements_ *= static_cast<std::size_t>(size);
}

PerAxis position_of(std::size_t element, const PerAxis &sizes) {
    PerAxis position(sizes.size());
    for (std::size_t axis = sizes.size(); axis-- > 0;) {
        const auto size = static_cast<std::size_t>(sizes[axis]);
        position[axis] = static_cast<std::int64_t>(element % size);
        element /= size;
    }
    return position;
}

std::vector<float> bilinear_weights(const PerAxis &kernel) {
    std::vector<double> products = {1.0};
    for (const std::int64_t size : kernel) {
        const std::vector<double> filter = bilinear_filter(size);
        std::vector<double> longer;
        for (const double product : products) {
            for (const double weight : filter)
                longer.push_back(product * weight);
        }
        products = std::move(longer);
    }
    return {products.begin(), products.end()};
}

} // namespace unstride
