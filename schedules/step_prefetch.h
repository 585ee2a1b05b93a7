// Fetches at every step of the loops that multiply.
#pragma once

#include <Halide.h>

#include <string>
#include <utility>
#include <vector>

namespace unstride {

// What every step of a loop fetches.
struct StepFetch {
    Halide::Internal::Stmt stmt; // undefined for nothing
    // Names in it whose values are computed once, before the loop.
    std::vector<std::pair<std::string, Halide::Expr>> before_loop;
};

// A lowering pass that lets the steps of some serial loops begin with fetches.
class StepPrefetch : public Halide::Internal::IRMutator {
protected:
    std::vector<const Halide::Internal::For *> loops;    // around this place, the innermost last
    std::vector<const Halide::Internal::LetStmt *> lets; // the same

    // What a step of the innermost of the loops is to fetch.
    virtual StepFetch fetch_of(const Halide::Internal::Stmt &step) const = 0;

    // `place` in terms of the loops alone.
    Halide::Expr by_loops(Halide::Expr place) const;

    using IRMutator::visit;
    Halide::Internal::Stmt visit(const Halide::Internal::For *op) override;
    Halide::Internal::Stmt visit(const Halide::Internal::LetStmt *op) override;
};

} // namespace unstride
