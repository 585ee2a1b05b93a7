#include "schedules/step_prefetch.h"

namespace unstride {

using namespace Halide;
using namespace Halide::Internal;

namespace {

// Behind the names that the loop's body begins with.
Stmt begin_with(const Stmt &first, const Stmt &body) {
    const LetStmt *let = body.as<LetStmt>();
    if (let == nullptr) return Block::make(first, body);
    return LetStmt::make(let->name, let->value, begin_with(first, let->body));
}

} // namespace

Expr StepPrefetch::by_loops(Expr place) const {
    for (auto let = lets.rbegin(); let != lets.rend(); ++let)
        place = substitute((*let)->name, (*let)->value, place);
    return place;
}

Stmt StepPrefetch::visit(const For *op) {
    loops.push_back(op);
    Stmt body = mutate(op->body);
    const StepFetch fetch = op->for_type == ForType::Serial ? fetch_of(op->body) : StepFetch();
    loops.pop_back();
    if (fetch.stmt.defined()) body = begin_with(fetch.stmt, body);
    if (body.same_as(op->body)) return op;
    Stmt result =
        For::make(op->name, op->min, op->extent, op->for_type, op->partition_policy, op->device_api, body);
    for (auto name = fetch.before_loop.rbegin(); name != fetch.before_loop.rend(); ++name)
        result = LetStmt::make(name->first, name->second, result);
    return result;
}

Stmt StepPrefetch::visit(const LetStmt *op) {
    lets.push_back(op);
    const Stmt result = IRMutator::visit(op);
    lets.pop_back();
    return result;
}

} // namespace unstride
