// Per-phase integers and taps as Halide expressions.
#pragma once

#include "compiler/lowering/phase_convolution.h"

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

// Whether phase q of the axis has tap `tap`, as a condition of a sum. Where no phase has more than one, it says
// something of q alone; were Halide to see that, it would take the sum to be asked for other phases than the
// one that it is computed for, and find it too small when it runs.
inline Halide::Expr has_tap(const PhaseAxis &axis, const Halide::Expr &q, const Halide::Expr &tap) {
    const Halide::Expr count = table(axis.progression().count, q);
    const bool of_phase_alone = axis.max_taps() == 1 && axis.phase_count() > 1;
    return tap < (of_phase_alone ? likely(count) : count);
}

} // namespace unstride
