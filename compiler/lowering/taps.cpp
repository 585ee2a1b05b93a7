// The rewrites that turn convolutions into phases.
#include "compiler/lowering/phase_convolution.h"

#include <algorithm>

namespace unstride {

// Plain sum, scattered: out[stride * i + dilation * t - pad] += w[t] * in[i]. Gathered, output o takes every
// t for which i = (o + pad - dilation * t) / stride is whole; testing each t costs kernel products an output,
// most of them with nothing. With o = stride * u + q the test depends on q alone:
//
//     i = u + (q + pad - dilation * t) / stride,   for the t that make (q + pad - dilation * t) divisible.
//
// Those t lie stride / gcd(stride, dilation) apart, so a phase has about kernel * gcd / stride taps, or none
// where gcd does not divide q + pad.
std::vector<Phase> transposed_conv_phases(std::int64_t kernel, std::int64_t stride, std::int64_t dilation,
                                          std::int64_t pad_begin) {
    std::vector<Phase> phases(static_cast<std::size_t>(stride));
    for (std::int64_t q = 0; q < stride; q++) {
        for (std::int64_t t = 0; t < kernel; t++) {
            const std::int64_t distance = q + pad_begin - dilation * t;
            if (distance % stride == 0) phases[q].taps.push_back({t, distance / stride});
        }
    }
    return phases;
}

std::vector<Phase> conv_phases(std::int64_t kernel, std::int64_t dilation, std::int64_t pad_begin) {
    std::vector<Phase> phases(1);
    for (std::int64_t t = 0; t < kernel; t++)
        phases[0].taps.push_back({t, dilation * t - pad_begin});
    return phases;
}

} // namespace unstride
