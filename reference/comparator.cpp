// Comparison of a result with the reference, and the report that lets a failure be replayed.
#include "reference/comparator.h"

#include "compiler/language/printer.h"

#include <algorithm>
#include <cmath>
#include <fmt/format.h>
#include <limits>

namespace unstride::reference {
namespace {

std::string coordinates_of(std::int64_t index, const Shape &shape, Layout layout) {
    const std::string spatial_names = std::string("zyx").substr(3 - shape.spatial.size());
    std::int64_t channel = 0;
    if (layout == Layout::nhwc) {
        channel = index % shape.channels;
        index /= shape.channels;
    }
    std::string spatial;
    for (std::size_t axis = shape.spatial.size(); axis-- > 0;) {
        spatial = fmt::format(" {}={}", spatial_names[axis], index % shape.spatial[axis]) + spatial;
        index /= shape.spatial[axis];
    }
    if (layout == Layout::nchw) {
        channel = index % shape.channels;
        index /= shape.channels;
    }
    return fmt::format("n={}{} c={}", index, spatial, channel);
}

std::string describe(const char *which, const Mismatch &mismatch) {
    return fmt::format("{} wrong element {} ({}): expected {:.9g}, got {:.9g}, error {:.3g}, bound {:.3g}\n",
                       which, mismatch.index, mismatch.coordinates, mismatch.expected, mismatch.got,
                       std::abs(mismatch.got - mismatch.expected), mismatch.bound);
}

} // namespace

double error_bound(const ReferenceResult &expected, std::size_t at, double factor) {
    if (!std::isfinite(static_cast<float>(expected.values[at])))
        return std::numeric_limits<double>::quiet_NaN();
    if (expected.terms == 0) return 0;
    return factor * std::numeric_limits<float>::epsilon() * static_cast<double>(expected.terms) *
               expected.magnitudes[at] +
           std::numeric_limits<float>::min();
}

// A box's maximum is that of its columns' maxima: one axis after the other.
ReferenceResult with_magnitudes_around(ReferenceResult expected, Layout layout, const PerAxis &reach) {
    const PerAxis &sizes = expected.shape.spatial;
    std::int64_t stride = layout == Layout::nhwc ? expected.shape.channels : 1; // between neighbours
    for (std::size_t axis = sizes.size(); axis-- > 0; stride *= sizes[axis]) {
        const std::vector<double> before = expected.magnitudes;
        for (std::int64_t at = 0; at < static_cast<std::int64_t>(before.size()); at++) {
            const std::int64_t position = at / stride % sizes[axis];
            const std::int64_t first = std::max<std::int64_t>(position - reach[axis], 0),
                               last = std::min(position + reach[axis], sizes[axis] - 1);
            double &largest = expected.magnitudes[static_cast<std::size_t>(at)];
            for (std::int64_t other = first; other <= last; other++)
                largest =
                    std::max(largest, before[static_cast<std::size_t>(at + (other - position) * stride)]);
        }
    }
    return expected;
}

Comparison compare(const Layer &layer, const ReferenceResult &expected, const Shape &got_shape,
                   std::span<const float> got, const Tolerance &tolerance) {
    const Layout layout = layer.input.layout;
    std::int64_t elements = expected.shape.batch * expected.shape.channels;
    for (const std::int64_t size : expected.shape.spatial)
        elements *= size;
    const auto count = static_cast<std::size_t>(elements);

    Comparison result;
    result.elements = elements;
    const std::string replay = "layer: " + print(layer) + "\n";
    if (got_shape != expected.shape) {
        result.report = fmt::format("expected shape {}, got {}\n", print(expected.shape, layout),
                                    print(got_shape, layout)) +
                        replay;
        return result;
    }
    if (expected.values.size() != count || expected.magnitudes.size() != count || got.size() != count) {
        result.report =
            fmt::format(
                "shape {} has {} elements, the reference {} values and {} magnitudes, the result {}\n",
                print(expected.shape, layout), count, expected.values.size(), expected.magnitudes.size(),
                got.size()) +
            replay;
        return result;
    }

    std::optional<ReferenceResult> around;
    if (!tolerance.reach.empty()) around = with_magnitudes_around(expected, layout, tolerance.reach);
    const ReferenceResult &bounding = around ? *around : expected;
    double worst_ratio = -1;
    for (std::size_t at = 0; at < count; ++at) {
        double want = expected.values[at], bound = error_bound(bounding, at, tolerance.factor);
        const bool holdable = std::isfinite(bound);
        if (tolerance.exact) {
            want = static_cast<double>(static_cast<float>(want));
            bound = 0;
        }
        const double error = std::abs(static_cast<double>(got[at]) - want);
        if (holdable && error <= bound) continue;

        const auto index = static_cast<std::int64_t>(at);
        const Mismatch mismatch{index, coordinates_of(index, expected.shape, layout), want, got[at], bound};
        const double ratio = holdable && std::isfinite(error)
                                 ? error / std::max<double>(bound, std::numeric_limits<float>::min())
                                 : std::numeric_limits<double>::infinity();
        ++result.wrong;
        if (!result.first) result.first = mismatch;
        if (ratio > worst_ratio) {
            worst_ratio = ratio;
            result.worst = mismatch;
        }
    }
    result.equal = result.wrong == 0;
    if (!result.equal)
        result.report =
            fmt::format("{} of {} elements are wrong ({})\n", result.wrong, elements,
                        tolerance.exact ? "every bit must agree" : fmt::format("{} terms", expected.terms)) +
            describe("first", *result.first) + describe("worst", *result.worst) + replay;
    return result;
}

} // namespace unstride::reference
