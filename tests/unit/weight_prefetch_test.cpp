// Which weights the pass fetches, at which step of which tile: loops are written by hand and run through.
#include "schedules/weight_prefetch.h"

#include <gtest/gtest.h>

#include <map>
#include <set>
#include <string>

namespace unstride {
namespace {

using namespace Halide;
using namespace Halide::Internal;

Expr variable(const std::string &name) {
    return Variable::make(Int(32), name);
}

Stmt loop(const std::string &name, const Expr &extent, const Stmt &body, ForType type = ForType::Serial) {
    return For::make(name, 0, extent, type, Partition::Auto, DeviceAPI::None, body);
}

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

// The places that prefetches name while the loops run, by panel and tile.
struct Run : IRVisitor {
    std::map<int, std::map<int, std::multiset<std::int64_t>>> fetched;
    std::map<std::string, Expr> values;

    using IRVisitor::visit;
    void visit(const For *op) override {
        const std::int64_t extent = *as_const_int(simplify(substitute(values, op->extent)));
        for (int i = 0; i < extent; i++) {
            values[op->name] = i;
            op->body.accept(this);
        }
    }
    void visit(const LetStmt *op) override {
        values[op->name] = simplify(substitute(values, op->value));
        op->body.accept(this);
    }
    void visit(const Call *op) override {
        ASSERT_TRUE(op->is_intrinsic(Call::prefetch));
        EXPECT_EQ(op->args[0].as<Variable>()->name, "weights");
        const auto number = [&](const char *name) {
            return static_cast<int>(*as_const_int(values.at(name)));
        };
        fetched[number("panel")][number("tile")].insert(
            *as_const_int(simplify(substitute(values, op->args[1]))));
    }
};

// Expects all lines of the next panel of `numbers` to be fetched while one is walked over, an equal share by
// each of the tiles.
void expect_next_panels(const Stmt &stmt, int panels, int tiles, int numbers) {
    Run run;
    stmt.accept(&run);
    ASSERT_EQ(run.fetched.size(), static_cast<std::size_t>(panels));
    for (const auto &[panel, by_tile] : run.fetched) {
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
