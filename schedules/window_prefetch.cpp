#include "schedules/window_prefetch.h"

#include "schedules/prefetch_line.h"

#include <algorithm>
#include <cstdint>

namespace unstride {

using namespace Halide;
using namespace Halide::Internal;

namespace {

// Whether a step of the innermost loop loads weights.
struct LoadsWeights : IRGraphVisitor {
    explicit LoadsWeights(const std::string &weights) : weights(weights) {}

    bool loads = false, innermost = true;

    using IRGraphVisitor::visit;
    void visit(const Load *op) override {
        loads |= op->name == weights;
        IRGraphVisitor::visit(op);
    }
    void visit(const For *) override { innermost = false; }

private:
    const std::string &weights;
};

} // namespace

StepFetch WindowPrefetch::fetch_of(const Stmt &step) const {
    LoadsWeights found(weights);
    step.accept(&found);
    if (!found.loads || !found.innermost) return {};

    // Walk w of the task, and the number of them.
    Expr walk = 0;
    int walks = 1;
    auto loop = loops.rbegin() + 1;
    for (; loop != loops.rend() && (*loop)->for_type != ForType::Parallel; ++loop) {
        walk += walks * (Variable::make(Int(32), (*loop)->name) - (*loop)->min);
        // Register tiles are fewer in the last task only.
        const auto count = as_const_int(simplify((*loop)->extent));
        walks *= count ? static_cast<int>(*count) : windows.register_tiles;
    }
    const auto steps = as_const_int(simplify(loops.back()->extent));
    if (loop == loops.rend() || !steps) return {};
    const int walks_of_tile = walks / windows.tiles;
    if (walks_of_tile < 1) return {};

    // Every step fetches `share` of a tile's lines until there are no more.
    const int lines_of_row = (windows.numbers + numbers_of_line - 1) / numbers_of_line;
    const int lines = windows.rows * lines_of_row;
    const int steps_of_walk = static_cast<int>(*steps), steps_of_tile = walks_of_tile * steps_of_walk;
    const int share = (lines + steps_of_tile - 1) / steps_of_tile;

    const Expr task = Variable::make(Int(32), (*loop)->name);
    const Expr tile = (task + 1) * windows.tiles + walk / walks_of_tile;
    const std::string &step_name = loops.back()->name, window = step_name + ".window",
                      line = step_name + ".line";
    StepFetch fetch;
    fetch.before_loop = {{window, simplify(windows.place(tile))},
                         {line, simplify(walk % walks_of_tile * (steps_of_walk * share))}};
    for (int i = 0; i < share; i++) {
        const Expr number = Variable::make(Int(32), step_name) - loops.back()->min;
        const Expr at = Variable::make(Int(32), line) + number * share + i;
        const Expr place = Variable::make(Int(32), window) + at / lines_of_row * windows.row_stride +
                           at % lines_of_row * numbers_of_line;
        const Stmt one = prefetch_line(input, place);
        fetch.stmt = i == 0 ? one : Block::make(fetch.stmt, one);
    }
    // What is left over are whole walks.
    const int busy = (lines + steps_of_walk * share - 1) / (steps_of_walk * share);
    if (busy < walks_of_tile)
        fetch.stmt =
            IfThenElse::make(Variable::make(Int(32), line) < busy * steps_of_walk * share, fetch.stmt);
    return fetch;
}

} // namespace unstride
