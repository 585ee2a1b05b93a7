// Which weights the pass fetches, at which step of which tile.
#include "schedules/weight_prefetch.h"
#include "tests/unit/loops_by_hand.h"

#include <gtest/gtest.h>

#include <map>
#include <set>
#include <string>

namespace unstride {
namespace {

using namespace Halide;
using namespace Halide::Internal;

// A step that multiplies `vectors` vectors of 16 weights from `place` on.
Stmt step(const Expr &place, int vectors) {
    Stmt all;
    for (int vector = vectors - 1; vector >= 0; vector--) { // in any order
        const Expr weights = Load::make(Float(32, 16), "weights", Ramp::make(place + 16 * vector, 1, 16), {},
                                        {}, const_true(16), {});
        const Stmt one = Store::make("sums", weights, Ramp::make(16 * vector, 1, 16), {}, const_true(16), {});
        all = all.defined() ? Block::make(one, all) : one;
    }
    return all;
}

// Expects all lines of the next panel of `numbers` to be fetched while one is walked over, an equal share by
// each of the tiles.
void expect_next_panels(const Stmt &stmt, int panels, int tiles, int numbers) {
    std::map<std::int64_t, std::map<std::int64_t, std::multiset<std::int64_t>>> places_of;
    RunPrefetches run("weights", [&](std::int64_t place, const RunPrefetches &here) {
        places_of[here.value("panel")][here.value("tile")].insert(place);
    });
    stmt.accept(&run);
    ASSERT_EQ(places_of.size(), static_cast<std::size_t>(panels));
    for (const auto &[panel, by_tile] : places_of) {
        ASSERT_EQ(by_tile.size(), static_cast<std::size_t>(tiles));
        std::set<std::int64_t> lines;
        std::size_t most = 0, least = numbers;
        for (const auto &[tile, places] : by_tile) {
            std::set<std::int64_t> own;
            for (const std::int64_t place : places)
                own.insert(place / 16);
            most = std::max(most, own.size());
            least = std::min(least, own.size());
            lines.insert(own.begin(), own.end());
        }
        EXPECT_LE(most, least + 1);
        for (std::int64_t line = (panel + 1) * numbers / 16; line < (panel + 2) * numbers / 16; line++)
            EXPECT_EQ(lines.count(line), 1u) << "line " << line << " after panel " << panel;
        // Shares of so many tiles are a few numbers, and whole ones.
        EXPECT_LE(*lines.rbegin(), ((panel + 2) * numbers + numbers / 3) / 16) << "too far ahead";
    }
}

// Two taps of 24 input channels, two channels a step; panels are phases.
TEST(WeightPrefetch, SharesThePanelOfADirectLayerAmongTiles) {
    for (const int tiles : {2, 5, 16, 40}) {
        constexpr int vectors = 2, steps = 12, taps = 2, numbers = taps * steps * 2 * vectors * 16;
        const Expr place = variable("panel") * numbers +
                           (variable("tap") * steps + variable("channel")) * (2 * vectors * 16);
        Stmt stmt = step(place, 2 * vectors);
        for (const auto &[name, extent] :
             {std::pair{"channel", steps}, {"tap", taps}, {"tile", tiles}, {"panel", 3}})
            stmt = loop(name, extent, stmt);
        SCOPED_TRACE(tiles);
        expect_next_panels(WeightPrefetch("weights", {numbers, tiles}).mutate(stmt), 3, tiles, numbers);
    }
}

// The extent of the loop over tiles is known to the call only, and what does not change in a loop is computed
// before it, as lowering leaves it.
TEST(WeightPrefetch, SeesThroughNamesAndOpenExtents) {
    constexpr int vectors = 3, steps = 20, numbers = steps * vectors * 16, tiles = 7;
    Stmt stmt = step(variable("base") + variable("channel") * (vectors * 16), vectors);
    stmt = loop("tile", variable("count"), loop("channel", steps, stmt));
    stmt = loop("panel", 4, LetStmt::make("base", variable("panel") * numbers, stmt));
    stmt = LetStmt::make("count", tiles, stmt);
    expect_next_panels(WeightPrefetch("weights", {numbers, tiles}).mutate(stmt), 4, tiles, numbers);
}

TEST(WeightPrefetch, LeavesOtherLoopsAsTheyAre) {
    const auto unchanged = [](const Stmt &stmt) {
        return WeightPrefetch("weights", {1024, 4}).mutate(stmt).same_as(stmt);
    };
    const Expr place = variable("panel") * 1024 + variable("channel") * 16;
    EXPECT_TRUE(unchanged(loop("panel", 4, loop("channel", 64, step(place, 1))))) << "no tiles";
    EXPECT_TRUE(
        unchanged(loop("panel", 4, loop("task", 4, loop("channel", 64, step(place, 1)), ForType::Parallel))))
        << "tiles of different threads";
    EXPECT_TRUE(
        unchanged(loop("tile", 4, loop("channel", 64, step(variable("channel") * variable("stride"), 1)))))
        << "an unknown stride";
    EXPECT_FALSE(unchanged(loop("panel", 4, loop("tile", 4, loop("channel", 64, step(place, 1))))));
}

} // namespace
} // namespace unstride
