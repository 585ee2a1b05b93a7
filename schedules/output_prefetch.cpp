#include "schedules/output_prefetch.h"

#include "schedules/prefetch_line.h"

namespace unstride {

using namespace Halide;
using namespace Halide::Internal;

namespace {

constexpr int distance = 8 * 1024 / static_cast<int>(sizeof(float));

} // namespace

Stmt OutputPrefetch::visit(const Store *op) {
    Stmt result = IRMutator::visit(op);
    const Ramp *ramp = op->index.as<Ramp>();
    if (op->name != output || ramp == nullptr || !is_const_one(ramp->stride)) return result;
    return Block::make(prefetch_lines(output, ramp->base + distance, ramp->lanes), result);
}

} // namespace unstride
