#include "schedules/weight_prefetch.h"

#include "schedules/prefetch_line.h"

#include <algorithm>
#include <cstdint>
#include <optional>

namespace unstride {

using namespace Halide;
using namespace Halide::Internal;

namespace {

// Where a step of the innermost loop loads weights.
struct WeightLoads : IRGraphVisitor {
    explicit WeightLoads(const std::string &weights) : weights(weights) {}

    std::vector<Expr> places; // of the first lane each
    int lanes = 1;
    bool innermost = true;

    using IRGraphVisitor::visit;
    void visit(const Load *op) override {
        if (op->name == weights) {
            const Ramp *ramp = op->index.as<Ramp>();
            places.push_back(ramp == nullptr ? op->index : ramp->base);
            lanes = std::max(lanes, op->index.type().lanes());
        }
        IRGraphVisitor::visit(op);
    }
    void visit(const For *) override { innermost = false; }

private:
    const std::string &weights;
};

// How far `place` moves when the variable of a loop grows by one; nothing where that is no constant.
std::optional<std::int64_t> stride_of(const Expr &place, const For &loop) {
    const Expr next = Variable::make(Int(32), loop.name) + 1;
    return as_const_int(simplify(substitute(loop.name, next, place) - place));
}

} // namespace

StepFetch WeightPrefetch::fetch_of(const Stmt &step) const {
    WeightLoads loads(weights);
    step.accept(&loads);
    if (loads.places.empty() || !loads.innermost) return {};

    // One step reads neighbouring numbers: so many from the first.
    Expr first = loads.places[0];
    std::int64_t lowest = 0, highest = 0;
    for (const Expr &place : loads.places) {
        const auto distance = as_const_int(simplify(place - loads.places[0]));
        if (!distance) return {};
        if (*distance < lowest) first = place;
        lowest = std::min(lowest, *distance);
        highest = std::max(highest, *distance);
    }
    const int loaded = static_cast<int>(highest - lowest) + loads.lanes;
    first = by_loops(first);

    // Step s of tile t fetches `share` numbers from place share * (s + steps * t) of the next panel. What it
    // loads itself lies at place loaded * s of this one.
    const int steps = panel.numbers / loaded;
    if (steps == 0) return {};
    const int share = (panel.numbers + steps * panel.tiles - 1) / (steps * panel.tiles);
    Expr place = first + panel.numbers;
    auto loop = loops.rbegin();
    for (; loop != loops.rend() && expr_uses_var(first, (*loop)->name); ++loop) {
        const auto stride = stride_of(first, **loop);
        if (!stride || *stride % loaded != 0) return {};
        const Expr index = Variable::make(Int(32), (*loop)->name) - (*loop)->min;
        place += index * static_cast<int>(*stride / loaded * (share - loaded));
    }
    Expr tile = 0, tiles = 1;
    for (; loop != loops.rend() && !expr_uses_var(first, (*loop)->name); ++loop) {
        if ((*loop)->for_type != ForType::Serial) break;
        tile += tiles * (Variable::make(Int(32), (*loop)->name) - (*loop)->min);
        tiles *= (*loop)->extent;
    }
    if (is_const_one(simplify(tiles))) return {};
    place += tile * (share * steps);
    return {prefetch_lines(weights, place, share), {}};
}

} // namespace unstride
