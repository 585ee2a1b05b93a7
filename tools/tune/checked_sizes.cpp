#include "tools/tune/checked_sizes.h"

#include "compiler/language/shapes.h"
#include "compiler/lowering/costs.h"
#include "compiler/lowering/phase_convolution.h"
#include "tools/measure/problem_data.h"

#include <algorithm>
#include <cstdint>
#include <limits>
#include <variant>

namespace unstride {

namespace {

constexpr double moderate = 1e9;          // multiplications of a call, which the reference does in seconds
constexpr double emulated = 2e8;          // that an emulator does in seconds
constexpr std::size_t fixed_variants = 2; // that stand for open sizes
constexpr std::int64_t smallest_image = 8;

Layer with_open_sizes(Layer layer) {
    layer.input.batch = dynamic_size;
    std::fill(layer.input.spatial.begin(), layer.input.spatial.end(), dynamic_size);
    return layer;
}

// Of a call at the size that is timed; unbounded where there is none.
double timed_multiplications(const Layer &layer) {
    const double unbounded = std::numeric_limits<double>::infinity();
    const std::vector<Layer> sizes = measured_sizes(layer);
    if (sizes.empty()) return unbounded;
    const Layer &timed = sizes.back();
    const auto lowered = lower(timed);
    const auto *convolution = std::get_if<PhaseConvolution>(&lowered);
    if (convolution == nullptr) return unbounded;
    return costs(*convolution, timed.input.batch, timed.input.spatial).multiplications;
}

} // namespace

bool suits(const Layer &layer, const TargetFacts &facts, const ScheduleRecord &schedule) {
    if (!check_shapes(layer).empty()) return false;
    const auto lowered = lower(layer);
    const auto *convolution = std::get_if<PhaseConvolution>(&lowered);
    return convolution != nullptr && !violated_constraint(*convolution, facts, schedule);
}

std::vector<Layer> odd_variants(const Layer &layer, const TargetFacts &facts,
                                const ScheduleRecord &schedule) {
    if (const Layer open = with_open_sizes(layer); suits(open, facts, schedule)) return {open};
    std::vector<Layer> variants;
    for (const std::int64_t size : {5, 11, 7, 17, 4, 12, 33, 64}) {
        Layer odd = layer;
        odd.input.batch = 2;
        std::int64_t next = size;
        for (std::int64_t &axis : odd.input.spatial) {
            axis = next;
            next += size % 2 == 1 ? 2 : size;
        }
        if (variants.size() < fixed_variants && suits(odd, facts, schedule)) variants.push_back(odd);
    }
    return variants;
}

bool is_moderate(const Layer &layer) {
    return timed_multiplications(layer) <= moderate;
}

Layer emulated_variant(const Layer &layer, const TargetFacts &facts, const ScheduleRecord &schedule) {
    Layer result = layer;
    while (timed_multiplications(result) > emulated) {
        Layer smaller = result;
        for (std::int64_t &axis : smaller.input.spatial) {
            if (axis > smallest_image) axis = (axis + 1) / 2;
        }
        if (smaller.input.spatial == result.input.spatial || !suits(smaller, facts, schedule)) break;
        result = smaller;
    }
    return result;
}

} // namespace unstride
