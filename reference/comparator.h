// The one comparator: f32 results against the double-precision reference, with a bound derived from the
// layer's sums.
#pragma once

#include "compiler/language/layer.h"
#include "compiler/language/shapes.h"
#include "reference/reference.h"

#include <cstdint>
#include <optional>
#include <span>
#include <string>

namespace unstride::reference {

struct Tolerance {
    // Demands the reference's values rounded to f32 (and no difference else; +0 and -0 count as equal, since
    // which of the two an empty sum gives depends on its order). For data whose sums are exact, see
    // exact_data.
    bool exact = false;

    // Multiplies the bound, for forms whose intermediate values are larger than the layer's own.
    double factor = 1;

    // For forms that make neighbouring outputs from shared products, so that a small output carries the
    // rounding errors of a large one beside it: the magnitude of an output is the largest of its channel
    // within so many outputs, on each spatial axis. Empty: its own.
    PerAxis reach = {};
};

// One wrong element.
struct Mismatch {
    std::int64_t index = 0;  // in the layer's layout
    std::string coordinates; // "n=0 y=3 x=2 c=5"
    double expected = 0, got = 0, bound = 0;
};

struct Comparison {
    bool equal = false;
    std::int64_t elements = 0, wrong = 0;
    std::optional<Mismatch> first,
        worst;          // worst: the largest error in units of its bound, NaN before all others
    std::string report; // empty when equal; else all of the above and the layer's text
};

// How far the float at an index may be from what is expected there, see compare(). Not finite where no float
// is right.
double error_bound(const ReferenceResult &expected, std::size_t at, double factor = 1);

// The reference with every magnitude replaced as Tolerance::reach says. Precondition: as many numbers as
// spatial axes, none negative; values and magnitudes are of the shape.
ReferenceResult with_magnitudes_around(ReferenceResult expected, Layout layout, const PerAxis &reach);

// Compares element by element. An element is right when |got - expected| <= bound with
//     bound = factor * epsilon * terms * magnitude + the smallest normal float (flushed denormals)
// where a chain of zero terms, which only moves values, has bound 0. Wrong are also: NaN anywhere, an
// expected value that no float holds, a bound that is not finite, another shape, another element count.
Comparison compare(const Layer &layer, const ReferenceResult &expected, const Shape &got_shape,
                   std::span<const float> got, const Tolerance &tolerance = {});

} // namespace unstride::reference
