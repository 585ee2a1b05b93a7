// Which lines of the next task's windows the pass fetches.
#include "schedules/window_prefetch.h"
#include "tests/unit/loops_by_hand.h"

#include <gtest/gtest.h>

#include <map>
#include <set>

namespace unstride {
namespace {

using namespace Halide;
using namespace Halide::Internal;

constexpr int row_stride = 100'000, tile_stride = 10'000'000;

Stmt step() {
    const Expr weight = Load::make(Float(32), "weights", variable("channel"), {}, {}, const_true(), {});
    return Store::make("sums", weight, 0, {}, const_true(), {});
}

// A pass for tiles that lie far apart, so that a place tells its tile, row and number.
Stmt with_windows(const Stmt &stmt, int tiles, int register_tiles, int rows, int numbers) {
    const auto place = [](const Expr &tile) { return tile * tile_stride; };
    return WindowPrefetch("weights", "input", {tiles, register_tiles, rows, numbers, row_stride, place})
        .mutate(stmt);
}

Stmt task_of(const Expr &points, const Expr &groups, int steps) {
    const Stmt walks = loop("point", points, loop("group", groups, loop("channel", steps, step())));
    return loop("task", 2, walks, ForType::Parallel);
}

// Tiles of as many walks as there are and of several, with lines for every step, for some and for more.
TEST(WindowPrefetch, FetchesAllWindowsOfTheNextTaskOnce) {
    constexpr int tiles = 6, groups = 2, rows = 3;
    for (const int points : {3, 9, 20}) {
        for (const int steps : {1, 8, 64}) {
            for (const int numbers : {48, 224, 1024}) {
                SCOPED_TRACE(testing::Message() << points << " points of " << steps << ", " << numbers);
                std::map<std::int64_t, std::multiset<std::int64_t>> places_of_task;
                RunPrefetches run("input", [&](std::int64_t place, const RunPrefetches &here) {
                    places_of_task[here.value("task")].insert(place);
                });
                // The number of register tiles is known to the call only.
                const Stmt stmt =
                    with_windows(task_of(points, variable("groups"), steps), tiles, groups, rows, numbers);
                LetStmt::make("groups", groups, stmt).accept(&run);
                ASSERT_EQ(places_of_task.size(), 2u);
                for (const auto &[task, places] : places_of_task) {
                    for (int tile = 0; tile < tiles; tile++) {
                        for (int row = 0; row < rows; row++) {
                            const std::int64_t first =
                                ((task + 1) * tiles + tile) * std::int64_t{tile_stride} + row * row_stride;
                            for (int number = 0; number < numbers; number += 16)
                                EXPECT_EQ(places.count(first + number), 1u)
                                    << "task " << task << " tile " << tile << " row " << row;
                        }
                    }
                    // A tile's last steps may go past its last row, by less than a walk of them.
                    const std::size_t lines = std::size_t{tiles} * rows * ((numbers + 15) / 16);
                    EXPECT_LE(places.size(), lines + tiles * (lines / tiles + steps));
                }
            }
        }
    }
}

TEST(WindowPrefetch, LeavesOtherLoopsAsTheyAre) {
    const auto unchanged = [](const Stmt &stmt) { return with_windows(stmt, 6, 2, 3, 48).same_as(stmt); };
    EXPECT_TRUE(unchanged(task_of(1, 2, 8))) << "fewer walks than tiles";
    EXPECT_TRUE(unchanged(loop("point", 9, loop("channel", 8, step())))) << "no task";
    EXPECT_TRUE(unchanged(
        loop("task", 2, loop("point", 9, loop("channel", variable("count"), step())), ForType::Parallel)))
        << "steps that are not known";
    const Stmt other = Store::make("sums", 1.0f, 0, {}, const_true(), {});
    EXPECT_TRUE(unchanged(loop("task", 2, loop("point", 9, loop("channel", 8, other)), ForType::Parallel)))
        << "no weights";
    EXPECT_FALSE(unchanged(task_of(3, 2, 8)));
}

} // namespace
} // namespace unstride
