// Weights that follow from a kernel's size alone.
#pragma once

#include <cstdint>
#include <vector>

namespace unstride {

// The bilinear initialiser on one axis, the filler that Caffe and FCN define for kernel k: fc = ceil(k / 2),
// centre = (k - 1) / (2 fc), w[t] = 1 - |t / fc - centre|. Precondition: kernel >= 1.
std::vector<double> bilinear_filter(std::int64_t kernel);

} // namespace unstride
