// Pixels that the next register tile multiplies, fetched into cache while this one computes.
#pragma once

#include <Halide.h>

#include <string>
#include <vector>

namespace unstride {

// A lowering pass for loops that sum over all channels of a tile of pixels, which lie side by side in memory
// as do those of the next tile. A tile reads some channels of each of its pixels at a step, and the caches'
// own prefetchers follow few such streams well: with this pass every step fetches an equal share of the next
// tile, so that its first steps do not wait.
//
// The loops are the innermost ones that load from the input; those around them on which the place does not
// depend walk over the same pixels again. A loop of another shape is left as it is.
class InputPrefetch : public Halide::Internal::IRMutator {
public:
    // `numbers`: of a tile, all channels of its pixels.
    InputPrefetch(std::string input, int numbers) : input(std::move(input)), numbers(numbers) {}

protected:
    using IRMutator::visit;
    Halide::Internal::Stmt visit(const Halide::Internal::For *op) override;
    Halide::Internal::Stmt visit(const Halide::Internal::LetStmt *op) override;

private:
    const std::string input; // the tensor
    const int numbers;
    std::vector<const Halide::Internal::For *> loops;    // around this place, the innermost last
    std::vector<const Halide::Internal::LetStmt *> lets; // the same

    // What a step of the innermost loop is to fetch; undefined for nothing.
    Halide::Internal::Stmt fetch_of(const Halide::Internal::Stmt &step) const;
};

} // namespace unstride
