// Which numbers of the input and the output the passes fetch.
#include "schedules/input_prefetch.h"
#include "schedules/output_prefetch.h"
#include "tests/unit/loops_by_hand.h"

#include <gtest/gtest.h>

#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

namespace unstride {
namespace {

using namespace Halide;
using namespace Halide::Internal;

// The lines that are fetched, by the value of a loop's variable.
using Lines = std::map<std::int64_t, std::multiset<std::int64_t>>;

Lines fetched_lines(const Stmt &stmt, const std::string &tensor, const std::string &by) {
    Lines lines;
    RunPrefetches run(tensor, [&](std::int64_t place, const RunPrefetches &here) {
        lines[here.value(by)].insert(place / 16);
    });
    stmt.accept(&run);
    return lines;
}

// A step that multiplies one number of each of `pixels` pixels of `channels` channels.
Stmt step(const Expr &place, int pixels, int channels) {
    Stmt all;
    for (int pixel = pixels - 1; pixel >= 0; pixel--) {
        const Expr number =
            Load::make(Float(32), "input", place + pixel * channels, {}, {}, const_true(), {});
        const Stmt one = Store::make("products", number, pixel, {}, const_true(), {});
        all = all.defined() ? Block::make(one, all) : one;
    }
    return all;
}

// Tiles of 4 pixels: 16 lines of 64 channels, of which the fourth is a page ahead; or 128 of 512, two pages.
TEST(InputPrefetch, FetchesATileAPageAheadInEqualShares) {
    constexpr int pixels = 4, tiles = 3;
    for (const auto &[channels, tiles_ahead] : {std::pair(64, 4), std::pair(512, 1)}) {
        const int numbers = pixels * channels, lines_of_tile = numbers / 16;
        for (const int unroll : {1, 2, 4}) {
            for (const int blocks : {1, 2}) {
                SCOPED_TRACE(testing::Message() << channels << " channels by " << unroll << ", " << blocks);
                Stmt stmt = step(variable("base") + variable("channel") * unroll, pixels, channels);
                stmt = loop("channel", channels / unroll, stmt);
                if (blocks > 1) stmt = loop("block", blocks, stmt);
                stmt = LetStmt::make("base", variable("tile") * numbers, stmt);
                const Lines lines = fetched_lines(
                    InputPrefetch("input", numbers).mutate(loop("tile", tiles, stmt)), "input", "tile");
                ASSERT_EQ(lines.size(), static_cast<std::size_t>(tiles));
                for (const auto &[tile, of_tile] : lines) {
                    const std::int64_t first = (tile + tiles_ahead) * lines_of_tile;
                    for (std::int64_t line = first; line < first + lines_of_tile; line++)
                        EXPECT_GE(of_tile.count(line), 1u) << "line " << line << " in tile " << tile;
                    EXPECT_EQ(std::set<std::int64_t>(of_tile.begin(), of_tile.end()).size(),
                              static_cast<std::size_t>(lines_of_tile))
                        << "no others";
                    EXPECT_EQ(of_tile.size(), static_cast<std::size_t>(channels / unroll * blocks));
                }
            }
        }
    }
}

TEST(InputPrefetch, LeavesOtherLoopsAsTheyAre) {
    const auto unchanged = [](const Stmt &stmt) {
        return InputPrefetch("input", 256).mutate(stmt).same_as(stmt);
    };
    const Expr place = variable("tile") * 256 + variable("channel");
    EXPECT_TRUE(unchanged(loop("tile", 3, loop("channel", variable("count"), step(place, 4, 64)))))
        << "steps that are not known";
    EXPECT_TRUE(unchanged(loop("tile", 3, loop("channel", 64, step(place, 4, 64), ForType::Parallel))));
    EXPECT_TRUE(unchanged(loop("tile", 3, loop("channel", 64, step(variable("tile") * 256, 4, 64)))))
        << "a place that no step moves";
    EXPECT_FALSE(unchanged(loop("tile", 3, loop("channel", 64, step(place, 4, 64)))));
}

Stmt store(const std::string &tensor, const Expr &place, int stride, int lanes) {
    return Store::make(tensor, Broadcast::make(1.0f, lanes), Ramp::make(place, stride, lanes), {},
                       const_true(lanes), {});
}

TEST(OutputPrefetch, FetchesEveryLineThatIsStoredLater) {
    constexpr int ahead = 8 * 1024 / 64; // lines
    for (const int lanes : {8, 16, 32}) {
        SCOPED_TRACE(lanes);
        const Expr place = variable("row") * 1024 + variable("x") * lanes;
        const Stmt stmt = loop("row", 2, loop("x", 1024 / lanes, store("output", place, 1, lanes)));
        const Lines lines = fetched_lines(OutputPrefetch("output").mutate(stmt), "output", "row");
        ASSERT_EQ(lines.size(), 2u);
        for (const auto &[row, of_row] : lines)
            for (std::int64_t line = row * 64; line < (row + 1) * 64; line++)
                EXPECT_EQ(of_row.count(line + ahead), lanes == 8 ? 2u : 1u);
    }
}

TEST(OutputPrefetch, LeavesOtherStoresAsTheyAre) {
    const auto unchanged = [](const Stmt &stmt) {
        return OutputPrefetch("output").mutate(stmt).same_as(stmt);
    };
    EXPECT_TRUE(unchanged(store("staged", variable("x"), 1, 16)));
    EXPECT_TRUE(unchanged(store("output", variable("x"), 2, 16))) << "scattered";
    EXPECT_TRUE(unchanged(Store::make("output", 1.0f, variable("x"), {}, const_true(), {}))) << "one number";
    EXPECT_FALSE(unchanged(store("output", variable("x"), 1, 16)));
}

} // namespace
} // namespace unstride
