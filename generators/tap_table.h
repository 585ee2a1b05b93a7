// Per-phase integers as Halide expressions.
#pragma once

#include <Halide.h>

#include <cstdint>
#include <vector>

namespace unstride {

// values[q] for a phase q in [0, values.size()): a constant or an affine expression where the values are one,
// else a chain of selects. It is evaluated once a phase, outside every loop over pixels.
inline Halide::Expr table(const std::vector<std::int64_t> &values, const Halide::Expr &q) {
    const int first = static_cast<int>(values[0]);
    const int step = values.size() > 1 ? static_cast<int>(values[1]) - first : 0;
    bool affine = true;
    for (std::size_t i = 0; i < values.size(); i++)
        affine &= values[i] == first + static_cast<int>(i) * step;
    if (affine) return step == 0 ? Halide::Expr(first) : first + q * step;
    Halide::Expr result = static_cast<int>(values.back());
    for (std::size_t i = values.size() - 1; i-- > 0;) {
        result = Halide::select(q == static_cast<int>(i), static_cast<int>(values[i]), result);
    }
    return result;
}

} // namespace unstride
