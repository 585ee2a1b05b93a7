// Windows that the next task transforms, fetched into cache while this one makes its products.
#pragma once

#include "schedules/step_prefetch.h"

#include <Halide.h>

#include <functional>
#include <string>

namespace unstride {

// What the tiles of a task read of the input, channels-last: rows of neighbouring pixels.
struct TaskWindows {
    int tiles = 0, register_tiles = 0; // of a task
    int rows = 0;                      // of a tile's window
    int numbers = 0;                   // of such a row up to where the next tile's window begins
    Halide::Expr row_stride;
    std::function<Halide::Expr(const Halide::Expr &)>
        place; // of a tile's window in the tensor, by its number
};

// A lowering pass for minimal filtering. A task first transforms its inputs, which is little work for what it
// reads, and then multiplies, which reads weights and transformed inputs alone: the first waits for memory
// that is idle during the second. With this pass the steps of products fetch the windows of the task behind,
// which most often is the same thread's next: walks over the channels share the tiles, the steps of a walk
// the lines of a tile.
//
// The loops are the innermost ones that load weights, and those around them up to the parallel one. A task
// of fewer walks than tiles is left as it is.
class WindowPrefetch : public StepPrefetch {
public:
    WindowPrefetch(std::string weights, std::string input, TaskWindows windows)
        : weights(std::move(weights)), input(std::move(input)), windows(std::move(windows)) {}

protected:
    StepFetch fetch_of(const Halide::Internal::Stmt &step) const override;

private:
    const std::string weights, input; // tensors
    const TaskWindows windows;
};

} // namespace unstride
