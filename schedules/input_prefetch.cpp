#include "schedules/input_prefetch.h"

#include "schedules/prefetch_line.h"

#include <cstdint>

namespace unstride {

using namespace Halide;
using namespace Halide::Internal;

namespace {

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

Stmt InputPrefetch::fetch_of(const Stmt &step) const {
    FirstLoad load(input);
    step.accept(&load);
    if (!load.place.defined() || !load.innermost) return {};
    Expr first = load.place; // in terms of the loops alone
    for (auto let = lets.rbegin(); let != lets.rend(); ++let)
        first = substitute((*let)->name, (*let)->value, first);

    if (!expr_uses_var(first, loops.back()->name)) return {};

    // Step s of walk w over the tile fetches `share` numbers from place share * (s + steps * w) of the next.
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
    Stmt result;
    for (int number = 0; number < share; number += numbers_of_line) {
        const Stmt fetch = prefetch_line(input, tile + numbers + index * share + number);
        result = result.defined() ? Block::make(result, fetch) : fetch;
    }
    return result;
}

Stmt InputPrefetch::visit(const For *op) {
    loops.push_back(op);
    Stmt body = mutate(op->body);
    const Stmt fetch = op->for_type == ForType::Serial ? fetch_of(op->body) : Stmt();
    loops.pop_back();
    if (fetch.defined()) body = Block::make(fetch, body);
    if (body.same_as(op->body)) return op;
    return For::make(op->name, op->min, op->extent, op->for_type, op->partition_policy, op->device_api, body);
}

Stmt InputPrefetch::visit(const LetStmt *op) {
    lets.push_back(op);
    const Stmt result = IRMutator::visit(op);
    lets.pop_back();
    return result;
}

} // namespace unstride
