// How the CPU families share an output among threads.
#pragma once

#include <Halide.h>

#include <vector>

namespace unstride {

// Makes one parallel loop of `loops`, the outermost of those that store the output, innermost first, and
// returns its variable: a task, at which a family stages its input.
inline Halide::Var fuse_tasks(Halide::Stage stores, const std::vector<Halide::Var> &loops) {
    const Halide::Var task("task");
    Halide::Var fused = loops[0];
    for (std::size_t i = 1; i < loops.size(); i++) {
        stores.fuse(fused, loops[i], task);
        fused = task;
    }
    stores.parallel(fused);
    return fused;
}

} // namespace unstride
