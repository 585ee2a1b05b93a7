// The middle of measured numbers.
#pragma once

#include <algorithm>
#include <cstddef>
#include <vector>

namespace unstride {

// Of an even count the mean of the two in the middle. Precondition: at least one.
inline double median(std::vector<double> values) {
    std::sort(values.begin(), values.end());
    const std::size_t half = values.size() / 2;
    return values.size() % 2 == 1 ? values[half] : (values[half - 1] + values[half]) / 2;
}

} // namespace unstride
