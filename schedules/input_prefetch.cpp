#include "schedules/input_prefetch.h"

#include "schedules/prefetch_line.h"

#include <cstdint>

namespace unstride {

using namespace Halide;
using namespace Halide::Internal;

namespace {

// Numbers between a tile and the one that is fetched meanwhile: a page, at whose end the caches' own
// prefetchers stop. Small tiles take less time than a line from beyond the second cache.
constexpr int least_ahead = 1024;

// Where a step of the innermost loop first loads from the input: of the tile's first pixel.
struct FirstLoad : IRGraphVisitor {
    explicit FirstLoad(const std::string &input) : input(input) {}

    Expr place; // undefined for none
    bool innermost = true;

    using IRGraphVisitor::visit;
    void visit(const Load *op) override {
        if (op->name == input && op->type.is_scalar() && !place.defined()) place = op->index;
        IRGraphVisitor::visit(op);
    }
    void visit(const For *) override { innermost = false; }
    void visit(const LetStmt *op) override {
        op->body.accept(this);
        if (place.defined()) place = substitute(op->name, op->value, place);
    }

private:
    const std::string &input;
};

} // namespace

StepFetch InputPrefetch::fetch_of(const Stmt &step) const {
    FirstLoad load(input);
    step.accept(&load);
    if (!load.place.defined() || !load.innermost) return {};
    const Expr first = by_loops(load.place);
    if (!expr_uses_var(first, loops.back()->name)) return {};

    // Step s of walk w over the tile fetches `share` numbers from place share * (s + steps * w) of one ahead.
    Expr index = 0, steps = 1;
    for (auto loop = loops.rbegin(); loop != loops.rend(); ++loop) {
        const bool walk = loop != loops.rbegin();
        if (walk && (expr_uses_var(first, (*loop)->name) || (*loop)->for_type != ForType::Serial)) break;
        index += steps * (Variable::make(Int(32), (*loop)->name) - (*loop)->min);
        steps *= (*loop)->extent;
    }
    const auto count = as_const_int(simplify(steps));
    if (!count || *count <= 0) return {};
    const int share = static_cast<int>((numbers + *count - 1) / *count);
    const Expr tile = substitute(loops.back()->name, loops.back()->min, load.place);
    const int ahead = (least_ahead + numbers - 1) / numbers * numbers;
    return {prefetch_lines(input, tile + ahead + index * share, share), {}};
}

} // namespace unstride
