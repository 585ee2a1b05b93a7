// The decisions of a tuning run: the search over made-up cost surfaces on the spaces of the benchmark layers,
// leaders, drift, modelled ranks, and what a database says before it begins.
#include "compiler/language/parser.h"
#include "compiler/language/printer.h"
#include "reference/random_data.h"
#include "tests/unit/tuning_records.h"
#include "tools/tune/decision.h"
#include "tools/tune/duration.h"
#include "tools/tune/known_records.h"
#include "tools/tune/search.h"

#include <fmt/format.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <functional>
#include <limits>
#include <map>
#include <sstream>

namespace unstride {
namespace {

namespace fs = std::filesystem;

PhaseConvolution lowered(const Layer &layer) {
    return std::get<PhaseConvolution>(lower(layer));
}

SearchSpace space_of(const std::string &chain, const std::string &instruction_set = "avx2") {
    const ParseResult parsed = parse_layer(chain, "layer");
    EXPECT_TRUE(parsed.ok()) << chain;
    for (const TargetFacts &facts : find_target("x86-64")->instruction_sets) {
        if (facts.instruction_set == instruction_set) return SearchSpace(lowered(parsed.layers.at(0)), facts);
    }
    ADD_FAILURE() << instruction_set;
    return SearchSpace(lowered(parsed.layers.at(0)), find_target("x86-64")->instruction_sets[0]);
}

constexpr const char *chain = "input(f32, 1x32x32x64) | transposed_conv(64, kernel=4, stride=2, pad=1)";

using Cost = std::function<std::optional<double>(const ScheduleRecord &)>;

// A bowl over the logarithms of a schedule's numbers around one point of the space, with a valley of its own
// for each family and a hundredth of roughness: smooth as register tiles are, but no plane.
Cost bowl(const SearchSpace &space, std::uint64_t seed) {
    reference::Random random(seed);
    const auto numbers = [](const ScheduleRecord &schedule) {
        std::map<std::string, double> result;
        const nlohmann::json json = to_json(schedule);
        for (const auto &[name, value] : json.items()) {
            if (value.is_boolean()) result[name] = value.get<bool>() ? 1 : 0;
            if (value.is_number()) {
                const bool whole = (name == "strip" || name == "chain") && value.get<int>() == 0;
                result[name] = whole ? 7 : std::log2(value.get<double>() + 1);
            }
        }
        return result;
    };
    const auto last = static_cast<std::int64_t>(space.points().size()) - 1;
    const ScheduleRecord &middle = space.points()[static_cast<std::size_t>(random.integer(0, last))];
    std::map<std::string, double> weights;
    for (const auto &[name, value] : numbers(middle))
        weights[name] = 0.05 + 0.3 * random.uniform();
    return [=](const ScheduleRecord &schedule) -> std::optional<double> {
        const bool same_family = schedule.parameters.index() == middle.parameters.index();
        const auto own = numbers(schedule), best = numbers(middle);
        double cost = same_family ? 1000 : 1400;
        for (const auto &[name, value] : own) {
            const auto other = best.find(name);
            const double away = same_family && other != best.end() ? value - other->second : value / 8;
            const auto weight = weights.find(name);
            cost *= 1 + (weight == weights.end() ? 0.1 : weight->second) * away * away / 4;
        }
        reference::Random rough(seed ^ std::hash<std::string>{}(to_json(schedule).dump()));
        return cost * (1 + 0.02 * rough.uniform()) * (rough.integer(1, 12) == 1 ? 2 : 1);
    };
}

// Runs a search to its end and answers what was asked, in order.
std::vector<ScheduleRecord> run(Search *search, const Cost &cost, std::size_t batch = 8) {
    std::vector<ScheduleRecord> asked;
    while (!search->finished()) {
        const std::vector<ScheduleRecord> some = search->ask(batch);
        if (some.empty()) break;
        for (const ScheduleRecord &schedule : some) {
            asked.push_back(schedule);
            search->tell(schedule, cost(schedule));
        }
    }
    EXPECT_TRUE(search->finished());
    return asked;
}

double least(const SearchSpace &space, const Cost &cost) {
    double result = std::numeric_limits<double>::infinity();
    for (const ScheduleRecord &point : space.points())
        result = std::min(result, *cost(point));
    return result;
}

bool contains(const std::vector<ScheduleRecord> &schedules, const ScheduleRecord &schedule) {
    return std::find(schedules.begin(), schedules.end(), schedule) != schedules.end();
}

std::vector<Layer> zoo() {
    std::vector<fs::path> files;
    for (const auto &file : fs::directory_iterator(fs::path(UNSTRIDE_SOURCE_FOLDER) / "bench/layers"))
        files.push_back(file.path());
    std::sort(files.begin(), files.end());
    std::vector<Layer> layers;
    for (const fs::path &file : files) {
        std::stringstream text;
        text << std::ifstream(file).rdbuf();
        for (Layer &layer : parse_layers(text.str(), file.string()).layers)
            layers.push_back(std::move(layer));
    }
    return layers;
}

TEST(Search, FindsPointsNearTheBestOfTheSpace) {
    int surfaces = 0, near = 0;
    const TargetFacts &facts = find_target("x86-64")->instruction_sets[1];
    for (const Layer &layer : zoo()) {
        if (surfaces == 200) break;
        const SearchSpace space(lowered(layer), facts);
        if (space.points().size() < 100) continue;
        for (std::uint64_t seed = 1; seed <= 10; seed++) {
            const Cost cost = bowl(space, seed);
            Search search(space, {}, {.seed = seed, .candidates = 64});
            EXPECT_LE(run(&search, cost).size(), 64u);
            const double lost = *search.best() / least(space, cost) - 1;
            surfaces++;
            near += lost <= 0.03 ? 1 : 0;
            RecordProperty(fmt::format("lost_{}_{}", layer.name, seed), fmt::format("{:.4f}", lost));
        }
    }
    EXPECT_EQ(surfaces, 200);
    EXPECT_GE(near, 180);
}

TEST(Search, TriesTheDefaultAndWhatIsKnownFirst) {
    const SearchSpace space = space_of(chain);
    const ScheduleRecord outside{CpuDirect{}};
    ASSERT_FALSE(space.find(outside));
    Search search(space, {outside, space.points()[0], space.points().back()});
    const std::vector<ScheduleRecord> first = search.ask(3);
    ASSERT_EQ(first.size(), 3u);
    EXPECT_EQ(first[0], space.points()[0]);
    EXPECT_EQ(first[1], outside);
    EXPECT_EQ(first[2], space.points().back());
}

TEST(Search, AsksForNothingTwice) {
    const SearchSpace space = space_of(chain);
    Search search(space, {}, {.seed = 5, .candidates = 100});
    const std::vector<ScheduleRecord> asked = run(&search, bowl(space, 5), 7);
    EXPECT_EQ(asked.size(), 100u);
    for (std::size_t i = 0; i < asked.size(); i++)
        EXPECT_EQ(std::count(asked.begin(), asked.end(), asked[i]), 1) << i;
}

TEST(Search, ASmallSpaceIsTriedAsAWhole) {
    const SearchSpace space = space_of("input(f32, 1x4x4x4) | conv(4, kernel=1)", "sse41");
    ASSERT_LT(space.points().size(), 500u);
    Search search(space, {}, {.seed = 1, .candidates = 1000});
    const std::vector<ScheduleRecord> asked = run(&search, [](const ScheduleRecord &) { return 1.0; });
    EXPECT_EQ(asked.size(), space.points().size());
    EXPECT_TRUE(search.ask(1).empty());
}

TEST(Search, SeedsDecideWhatIsTried) {
    const SearchSpace space = space_of(chain);
    const Cost cost = bowl(space, 3);
    const auto asked = [&](std::uint64_t seed) {
        Search search(space, {}, {.seed = seed, .candidates = 40});
        return run(&search, cost);
    };
    EXPECT_EQ(asked(1), asked(1));
    EXPECT_NE(asked(1), asked(2));
}

// However the first search was interrupted, in a batch or between two.
TEST(Search, ResumesAsIfItHadNotBeenInterrupted) {
    const SearchSpace space = space_of(chain);
    const Cost cost = bowl(space, 11);
    Search whole(space, {}, {.seed = 11});
    const std::vector<ScheduleRecord> all = run(&whole, cost);
    for (std::size_t heard = 0; heard <= all.size(); heard += 9) {
        Search resumed(space, {}, {.seed = 11});
        for (std::size_t i = 0; i < heard; i++)
            resumed.tell(all[i], cost(all[i]));
        const std::vector<ScheduleRecord> rest = run(&resumed, cost);
        std::vector<ScheduleRecord> together(all.begin(), all.begin() + static_cast<std::ptrdiff_t>(heard));
        together.insert(together.end(), rest.begin(), rest.end());
        EXPECT_EQ(together, all) << heard;
        EXPECT_EQ(resumed.finalists({}), whole.finalists({})) << heard;
    }
}

TEST(Search, AnswersNobodyAskedForTakePartInTheFinals) {
    const SearchSpace space = space_of(chain);
    Search search(space, {}, {.seed = 1, .candidates = 2});
    const ScheduleRecord &other = space.points().back();
    search.tell(other, 1);
    run(&search, [](const ScheduleRecord &) { return 2.0; });
    ASSERT_FALSE(search.finalists({}).empty());
    EXPECT_EQ(search.finalists({})[0], other);
}

TEST(Search, FailuresEverywhereEndIt) {
    const SearchSpace space = space_of(chain);
    Search search(space, {}, {.seed = 1, .candidates = 50});
    EXPECT_EQ(run(&search, [](const ScheduleRecord &) { return std::nullopt; }).size(), 50u);
    EXPECT_FALSE(search.best());
    EXPECT_TRUE(search.finalists({space.points()[0]}).empty());
    EXPECT_EQ(search.hopeless(), std::numeric_limits<double>::infinity());
}

TEST(Search, FinalistsHoldTheDefaultAndTheIncumbent) {
    const SearchSpace space = space_of(chain);
    const ScheduleRecord &incumbent = space.points().back();
    Search search(space, {incumbent}, {.seed = 1, .candidates = 40});
    double next = 1;
    run(&search, [&](const ScheduleRecord &schedule) {
        return schedule == space.points()[0] || schedule == incumbent ? 1000 : next++;
    });
    const std::vector<ScheduleRecord> finalists = search.finalists({incumbent}, 8);
    EXPECT_EQ(finalists.size(), 8u);
    EXPECT_TRUE(contains(finalists, space.points()[0]));
    EXPECT_TRUE(contains(finalists, incumbent));
    EXPECT_EQ(search.hopeless(), 3);
}

// Of equal costs what was tried first comes first.
TEST(Search, TiesKeepTheOrder) {
    const SearchSpace space = space_of(chain);
    Search search(space, {}, {.seed = 1, .candidates = 30});
    const std::vector<ScheduleRecord> asked = run(&search, [](const ScheduleRecord &) { return 5.0; });
    const std::vector<ScheduleRecord> finalists = search.finalists({}, 4);
    EXPECT_EQ(finalists, std::vector<ScheduleRecord>(asked.begin(), asked.begin() + 4));
}

Rounds rounds_of(double nanoseconds, int count = 8) {
    Rounds rounds;
    for (int i = 0; i < count; i++)
        rounds.push_back({nanoseconds * (1 + 0.001 * (i % 3)), nanoseconds * 1.1});
    return rounds;
}

TEST(Decision, TheFastestBesideTheIncumbentLeads) {
    const std::vector<Rounds> finalists = {rounds_of(100), rounds_of(90), {}, rounds_of(80), rounds_of(120)};
    EXPECT_EQ(leader(finalists, 0), 3u);
    EXPECT_EQ(leader({rounds_of(100), rounds_of(100), rounds_of(130)}, 1), 1u);
    EXPECT_EQ(leader({rounds_of(100)}, 0), 0u);
}

TEST(Decision, TheDefaultServesWhereItIsFasterOrSmallerAndNoSlower) {
    const Rounds chosen = rounds_of(100);
    for (const bool packs_less : {false, true}) {
        EXPECT_TRUE(default_serves(chosen, rounds_of(95), packs_less, 0.02));
        EXPECT_EQ(default_serves(chosen, rounds_of(101), packs_less, 0.02), packs_less);
        EXPECT_EQ(default_serves(chosen, rounds_of(99), packs_less, 0.02), packs_less);
        EXPECT_FALSE(default_serves(chosen, rounds_of(105), packs_less, 0.02));
    }
}

// Frequencies change; what counts is the time in units of what the processor could do at that time.
TEST(Decision, DriftIsRelativeToThePeak) {
    const BaselineTiming before{rounds_of(100), std::vector<double>(8, 60)};
    const BaselineTiming slower_clock{rounds_of(200), std::vector<double>(8, 30)};
    EXPECT_NEAR(drift(before, slower_clock), 1, 1e-9);
    const BaselineTiming disturbed{rounds_of(150), std::vector<double>(8, 60)};
    EXPECT_NEAR(drift(before, disturbed), 1.5, 1e-9);
    EXPECT_NEAR(drift({rounds_of(100), {}}, {rounds_of(80), {}}), 0.8, 1e-9);
    EXPECT_NEAR(drift(before, {rounds_of(120), {}}), 1.2, 1e-9);
}

TEST(Decision, SteadyIsWithinTheThresholdBothWays) {
    EXPECT_TRUE(is_steady(1, 0.1));
    EXPECT_TRUE(is_steady(1.09, 0.1));
    EXPECT_TRUE(is_steady(0.92, 0.1));
    EXPECT_FALSE(is_steady(1.11, 0.1));
    EXPECT_FALSE(is_steady(0.9, 0.1));
    EXPECT_FALSE(is_steady(std::numeric_limits<double>::quiet_NaN(), 0.1));
}

StaticFacts modelled(double small, double large, std::int64_t loads = 10, std::int64_t bytes = 1000) {
    StaticFacts facts;
    facts.modelled_cycles = {{"cortex-a55", small}, {"neoverse-n1", large}};
    facts.multiply_adds = 20;
    facts.vector_loads_stores = loads;
    facts.code_bytes = bytes;
    return facts;
}

TEST(Decision, TheLeastWorstLossIsBest) {
    // The first is best on one processor, the second on the other, the third bad on none.
    const std::vector<StaticFacts> schedules = {modelled(100, 200), modelled(180, 100), modelled(120, 120)};
    EXPECT_EQ(worst_losses(schedules), (std::vector<double>{2, 1.8, 1.2}));
    EXPECT_EQ(ranked_by_model(schedules), (std::vector<std::size_t>{2, 1, 0}));
}

TEST(Decision, TiesGoToFewerLoadsThenToSmallerCode) {
    const std::vector<StaticFacts> schedules = {
        modelled(100, 100, 12, 100), modelled(100.1, 100, 10, 900), modelled(100, 100.1, 10, 800), {}};
    EXPECT_EQ(ranked_by_model(schedules), (std::vector<std::size_t>{2, 1, 0, 3}));
}

TEST(Duration, HasANumberAndAUnit) {
    using namespace std::chrono_literals;
    EXPECT_EQ(parse_duration("30s"), 30s);
    EXPECT_EQ(parse_duration("10m"), 10min);
    EXPECT_EQ(parse_duration("1h"), 1h);
    EXPECT_EQ(parse_duration("1.5m"), 90s);
    for (const char *bad : {"", "s", "10", "10 m", "m10", "-1m", "0s", "1d", "1ms", "nan", "inf", "infs",
                            "nans", "1e3s", "2000h", "99999999999999999999h", "1m30s"})
        EXPECT_FALSE(parse_duration(bad)) << bad;
}

class KnownRecordsTest : public testing::Test {
protected:
    TuningRecord record(const ScheduleRecord &schedule, bool chosen = false) const {
        TuningRecord made = example_record();
        made.schedule = schedule;
        made.chosen = chosen;
        return made;
    }
    void add(const TuningRecord &record) const {
        std::string error;
        ASSERT_TRUE(append_record(folder_.path() / "a.jsonl", record, &error)) << error;
    }
    KnownRecords known(bool modelled = false) const {
        Database database;
        database.add(folder_.path(), RecordOrigin::user);
        EXPECT_TRUE(database.problems().empty());
        return known_records(
            database, {canonical(example_chain), "avx512", example_machine(), example_tools(), modelled});
    }
    const ScheduleRecord a_{CpuDirect{16, 4, 6, 1, 0, 1, 2, 1, false}};
    const ScheduleRecord b_{CpuDirect{16, 4, 5, 1, 0, 1, 2, 1, false}};
    const ScheduleRecord c_{CpuDirect{16, 4, 4, 1, 0, 1, 2, 1, false}};
    ScratchFolder folder_;
};

TEST_F(KnownRecordsTest, AnEmptyDatabaseKnowsNothing) {
    const KnownRecords nothing = known();
    EXPECT_FALSE(nothing.incumbent);
    EXPECT_FALSE(nothing.finished);
    EXPECT_TRUE(nothing.unfinished.empty());
    EXPECT_TRUE(nothing.of_other_layers.empty());
}

TEST_F(KnownRecordsTest, OnlyWhatFollowsTheLastFinishedSearchIsUnfinished) {
    add(record(a_));
    EXPECT_EQ(known().unfinished.size(), 1u);
    EXPECT_FALSE(known().finished);
    add(record(b_, true));
    EXPECT_TRUE(known().unfinished.empty());
    EXPECT_TRUE(known().finished);
    EXPECT_EQ(known().incumbent, b_);
    add(record(c_));
    ASSERT_EQ(known().unfinished.size(), 1u);
    EXPECT_EQ(known().unfinished[0].schedule, c_);
    EXPECT_EQ(known().incumbent, b_);
}

TEST_F(KnownRecordsTest, OtherToolsGiveTheIncumbentAndNoMore) {
    TuningRecord old = record(a_, true);
    old.tools.generators = "sha256:old";
    add(old);
    old.chosen = false;
    add(old);
    EXPECT_EQ(known().incumbent, a_);
    EXPECT_FALSE(known().finished);
    EXPECT_TRUE(known().unfinished.empty());
}

TEST_F(KnownRecordsTest, OtherMachinesAndInstructionSetsGiveNothing) {
    TuningRecord other = record(a_, true);
    other.machine.threads = 8;
    add(other);
    other = record(a_, true);
    other.instruction_set = "avx2";
    add(other);
    EXPECT_FALSE(known().incumbent);
}

TEST_F(KnownRecordsTest, OtherLayersGiveWhatWasChosenForThem) {
    TuningRecord other = record(a_, true);
    other.layer = canonical("input(f32, 1x8x8x64) | conv(64, kernel=3, pad=1)");
    add(other);
    other.schedule = b_;
    add(other);
    other.schedule = a_;
    add(other);
    other.schedule = c_;
    other.chosen = false;
    add(other);
    EXPECT_EQ(known().of_other_layers, (std::vector<ScheduleRecord>{a_, b_}));
    EXPECT_FALSE(known().incumbent);
}

// Hardware that turns up later is worth a new search.
TEST_F(KnownRecordsTest, AModelledSearchIsNoTimedOne) {
    TuningRecord modelled = record(a_, true);
    modelled.status = TuningStatus::modelled;
    modelled.estimate_ns.reset();
    modelled.facts.modelled_cycles = {{"neoverse-n1", 1000}};
    add(modelled);
    EXPECT_FALSE(known(false).finished);
    EXPECT_EQ(known(false).incumbent, a_);
    EXPECT_TRUE(known(true).finished);
}

} // namespace
} // namespace unstride
