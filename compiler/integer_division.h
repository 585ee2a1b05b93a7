// Quotients of whole numbers that are rounded towards minus or plus infinity. The divisor is positive.
#pragma once

#include <cstdint>

namespace unstride {

constexpr std::int64_t floor_divide(std::int64_t numerator, std::int64_t divisor) {
    return numerator / divisor - (numerator % divisor < 0 ? 1 : 0);
}

constexpr std::int64_t ceil_divide(std::int64_t numerator, std::int64_t divisor) {
    return -floor_divide(-numerator, divisor);
}

} // namespace unstride
