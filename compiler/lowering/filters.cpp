#include "compiler/lowering/filters.h"

#include <cmath>

namespace unstride {

std::vector<double> bilinear_filter(std::int64_t kernel) {
    const double fc = std::ceil(static_cast<double>(kernel) / 2);
    const double centre = static_cast<double>(kernel - 1) / (2 * fc);
    std::vector<double> weights;
    for (std::int64_t t = 0; t < kernel; t++)
        weights.push_back(1 - std::abs(static_cast<double>(t) / fc - centre));
    return weights;
}

} // namespace unstride
