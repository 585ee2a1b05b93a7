// Fetches at every step of the loops that multiply.
#pragma once

#include <Halide.h>

#include <vector>

namespace unstride {

// A lowering pass that lets the steps of some serial loops begin with fetches.
class StepPrefetch : public Halide::Internal::IRMutator {
protected:
    std::vector<const Halide::Internal::For *> loops;    // around this place, the innermost last
    std::vector<const Halide::Internal::LetStmt *> lets; // the same

    // What a step of the innermost of the loops is to fetch; undefined for nothing.
    virtual Halide::Internal::Stmt fetch_of(const Halide::Internal::Stmt &step) const = 0;

    // `place` in terms of the loops alone.
    Halide::Expr by_loops(Halide::Expr place) const;

    using IRMutator::visit;
    Halide::Internal::Stmt visit(const Halide::Internal::For *op) override;
    Halide::Internal::Stmt visit(const Halide::Internal::LetStmt *op) override;
};

} // namespace unstride
