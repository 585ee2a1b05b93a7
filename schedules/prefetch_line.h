// A prefetch, as the lowering passes put it into kernels.
#pragma once

#include <Halide.h>

#include <string>

namespace unstride {

constexpr int numbers_of_line = 16; // 64 bytes of cache

// Fetches the line of cache with number `place` of a tensor.
inline Halide::Internal::Stmt prefetch_line(const std::string &tensor, const Halide::Expr &place) {
    using namespace Halide::Internal;
    const std::vector<Halide::Expr> line = {Variable::make(Halide::Handle(), tensor), simplify(place), 1, 1};
    return Evaluate::make(Call::make(Halide::Float(32), Call::prefetch, line, Call::Intrinsic));
}

// Fetches the lines that hold `numbers` numbers from a place on.
inline Halide::Internal::Stmt prefetch_lines(const std::string &tensor, const Halide::Expr &place,
                                             int numbers) {
    Halide::Internal::Stmt result;
    for (int number = 0; number < numbers; number += numbers_of_line) {
        const Halide::Internal::Stmt fetch = prefetch_line(tensor, place + number);
        result = result.defined() ? Halide::Internal::Block::make(result, fetch) : fetch;
    }
    return result;
}

} // namespace unstride
