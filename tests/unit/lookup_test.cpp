// The ladder of grades: what answers for what, who wins, what is passed over, and that answers never change.
#include "schedules/analytic_default.h"
#include "schedules/lookup.h"
#include "schedules/search_space.h"
#include "tests/unit/lowered_layer.h"
#include "tests/unit/tuning_records.h"

#include <fmt/format.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <chrono>
#include <fstream>
#include <functional>
#include <random>

namespace unstride {
namespace {

using Change = std::function<void(TuningRecord &)>;

// A database of made-up records, and look-ups in it.
class Ladder : public testing::Test {
protected:
    TuningRecord &shipped(const std::string &chain = example_chain, double estimate_ns = 1000) {
        return shipped_.emplace_back(example_record(chain, estimate_ns));
    }
    TuningRecord &user(const std::string &chain = example_chain, double estimate_ns = 1000) {
        return user_.emplace_back(example_record(chain, estimate_ns));
    }

    LookupResult find(const std::string &chain = example_chain, const char *set = "avx512") {
        write("shipped.jsonl", shipped_);
        write("user.jsonl", user_);
        Database database;
        database.add(folder_.path() / "shipped.jsonl", RecordOrigin::shipped);
        database.add(folder_.path() / "user.jsonl", RecordOrigin::user);
        EXPECT_TRUE(database.problems().empty()) << database.problems()[0];
        EXPECT_EQ(database.entries().size(), shipped_.size() + user_.size());
        LookupResult found =
            ScheduleLookup(database).find(canonical(chain), lowered(chain), facts(set), context_);
        const auto violated = violated_constraint(lowered(chain), facts(set), found.schedule);
        EXPECT_FALSE(violated.has_value()) << *violated;
        const bool of_record = found.grade < LookupGrade::family_default;
        EXPECT_EQ(found.source.empty(), !of_record) << found.source;
        return found;
    }

    // The line of the file that the answer came from: "user.jsonl:1".
    std::string source(const std::string &chain = example_chain, const char *set = "avx512") {
        const std::string place = find(chain, set).source;
        return place.substr(place.rfind('/') + 1);
    }
    LookupGrade grade(const std::string &chain = example_chain, const char *set = "avx512") {
        return find(chain, set).grade;
    }

    LookupContext context_{example_machine(), example_tools()};
    std::vector<TuningRecord> shipped_, user_;
    ScratchFolder folder_;

private:
    void write(const char *name, const std::vector<TuningRecord> &records) {
        std::ofstream file(folder_.path() / name, std::ios::trunc);
        for (const TuningRecord &record : records)
            file << to_json(record).dump() << "\n";
    }
};

ScheduleRecord tile(int vectors, int tile_x, int rows = 1) {
    return {CpuDirect{16, vectors, tile_x, 1, 0, rows, 2, 1, false}};
}

constexpr const char *twice_as_wide =
    "input(f32, 1x64x128x64) | transposed_conv(64, kernel=4, stride=2, pad=1) | bias | relu";
constexpr const char *other_class = "input(f32, 1x64x64x64) | conv(64, kernel=3, pad=1)";

TEST_F(Ladder, OptionsNameEveryGrade) {
    EXPECT_EQ(grade_options(), "exact, near-shape, near-machine, family-default, analytic-default");
    for (const LookupGrade grade : {LookupGrade::exact, LookupGrade::near_shape, LookupGrade::near_machine,
                                    LookupGrade::family_default, LookupGrade::analytic_default}) {
        std::string option = to_string(grade);
        std::replace(option.begin(), option.end(), ' ', '-');
        EXPECT_EQ(grade_from_option(option), grade);
    }
    EXPECT_FALSE(grade_from_option("near shape").has_value());
    EXPECT_FALSE(grade_from_option("").has_value());
}

TEST_F(Ladder, AnEmptyDatabaseAnswersTheAnalyticDefault) {
    for (const char *set : {"avx512", "avx2", "sse41", "neon", "cuda", "opencl"}) {
        const LookupResult found = find(example_chain, set);
        EXPECT_EQ(found.grade, LookupGrade::analytic_default);
        EXPECT_EQ(found.schedule, analytic_default(lowered(example_chain), facts(set)));
    }
}

TEST_F(Ladder, ExactIsTheSameLayerMachineAndTools) {
    shipped();
    const LookupResult found = find();
    EXPECT_EQ(found.grade, LookupGrade::exact);
    EXPECT_EQ(found.distance, 0);
    EXPECT_EQ(found.schedule, shipped_[0].schedule);
    EXPECT_EQ(source(), "shipped.jsonl:1");
    EXPECT_EQ(grade(example_chain, "avx2"), LookupGrade::analytic_default);
}

TEST_F(Ladder, OtherToolsMakeANearMatch) {
    for (const Change &change : std::vector<Change>{
             [](auto &r) { r.tools.generators = "sha256:9"; }, [](auto &r) { r.tools.halide = "22.0.0"; },
             [](auto &r) { r.tools.unstride = "0.2.0"; }, [](auto &r) { r.tools.space = 2; }}) {
        shipped_.clear();
        change(shipped());
        EXPECT_EQ(grade(), LookupGrade::near_shape);
        EXPECT_EQ(find().distance, 0);
    }
    // the same tools answer first, wherever they stand
    shipped(example_chain, 2000).schedule = tile(4, 5);
    EXPECT_EQ(source(), "shipped.jsonl:2");
    EXPECT_EQ(grade(), LookupGrade::exact);
}

TEST_F(Ladder, OtherMachinesMakeANearMachine) {
    for (const Change &change : std::vector<Change>{
             [](auto &r) { r.machine.model = "Example 9001"; },
             [](auto &r) { r.machine.vendor = "GenuineIntel"; }, [](auto &r) { r.machine.threads = 64; },
             [](auto &r) { r.machine.l2_bytes = 524288; }, [](auto &r) { r.machine = {}; }}) {
        shipped_.clear();
        change(shipped());
        EXPECT_EQ(grade(), LookupGrade::near_machine);
    }
}

TEST_F(Ladder, TheNearestMachineAnswers) {
    shipped().machine.vendor = "GenuineIntel";
    shipped().machine.l2_bytes *= 4;
    shipped().machine.threads = 3;
    shipped().machine = {};
    EXPECT_EQ(source(), "shipped.jsonl:3");
    EXPECT_NEAR(find().distance, std::log2(1.5), 1e-9);
    shipped_.erase(shipped_.begin() + 2);
    EXPECT_EQ(source(), "shipped.jsonl:1");
}

TEST_F(Ladder, NearShapesDifferInSizesChannelsAndEpilogue) {
    shipped();
    const auto layer = [](int h, int w, int ci, int co, const char *rest) {
        return fmt::format("input(f32, 1x{}x{}x{}) | transposed_conv({}, kernel=4, stride=2, {}", h, w, ci,
                           co, rest);
    };
    EXPECT_NEAR(find(twice_as_wide).distance, 1, 1e-9);
    EXPECT_NEAR(find(layer(64, 64, 128, 128, "pad=1) | bias | relu")).distance, 2, 1e-9);
    EXPECT_NEAR(find(layer(64, 64, 64, 64, "pad=1) | bias")).distance, 0.25, 1e-9);
    for (const std::string &near :
         {layer(48, 80, 96, 64, "pad=1) | bias | relu"), layer(64, 64, 64, 64, "pad=1) | scale | prelu"),
          layer(64, 64, 64, 64, "pad=0) | bias | relu")}) {
        EXPECT_EQ(grade(near), LookupGrade::near_shape) << near;
        EXPECT_EQ(find(near).schedule, shipped_[0].schedule);
    }
    for (const std::string &far :
         {layer(256, 256, 64, 64, "pad=1) | bias | relu"), layer(64, 64, 1024, 64, "pad=1) | bias | relu")})
        EXPECT_EQ(grade(far), LookupGrade::analytic_default) << far;
    for (const char *other :
         {other_class, "input(f32, 1x64x64x64) | transposed_conv(64, kernel=3, stride=2, pad=1)",
          "input(f32, 1x64x64x64) | transposed_conv(64, kernel=4, stride=1, pad=1)",
          "input(f32, 1x64x64x64, layout=nchw) | transposed_conv(64, kernel=4, stride=2, pad=1)",
          "input(f32, 1x64x64x64) | transposed_conv(64, kernel=4, stride=2, pad=1, groups=64)",
          "input(f32, 1x64x64x64x64) | transposed_conv(64, kernel=4, stride=2, pad=1)"})
        EXPECT_EQ(grade(other), LookupGrade::analytic_default) << other;
}

TEST_F(Ladder, UnknownSizesAreNearUnknownSizes) {
    const char *any = "input(f32, 1x?x?x64) | transposed_conv(64, kernel=4, stride=2, pad=1) | bias | relu";
    const char *any_wider =
        "input(f32, 1x?x?x96) | transposed_conv(64, kernel=4, stride=2, pad=1) | bias | relu";
    shipped().schedule = tile(4, 5);
    EXPECT_EQ(find(any_wider).grade, LookupGrade::analytic_default); // 2 + log2(1.5) and whole rows
    shipped(any).schedule = {CpuDirect{16, 4, 6, 1, 4, 1, 2, 1, false}};
    EXPECT_EQ(grade(any), LookupGrade::exact);
    EXPECT_EQ(grade(any_wider), LookupGrade::near_shape);
    EXPECT_NEAR(find(any_wider).distance, std::log2(1.5), 1e-9);
}

TEST_F(Ladder, TheNearestShapeAnswers) {
    shipped(twice_as_wide).schedule = tile(4, 4);
    shipped("input(f32, 1x64x80x64) | transposed_conv(64, kernel=4, stride=2, pad=1) | bias | relu")
        .schedule = tile(4, 5);
    EXPECT_EQ(find().schedule, tile(4, 5));
    shipped().tools.halide = "22.0.0";
    EXPECT_EQ(find().schedule, tile(4, 6));
}

TEST_F(Ladder, GradesGoBeforeDistances) {
    shipped(twice_as_wide).schedule = tile(4, 4); // this machine
    shipped().machine.threads = 3;                // this layer
    EXPECT_EQ(source(), "shipped.jsonl:1");
    EXPECT_EQ(grade(), LookupGrade::near_shape);
}

TEST_F(Ladder, TheUsersRecordsWin) {
    shipped(example_chain, 500).chosen = true;
    user(example_chain, 900).schedule = tile(4, 5);
    EXPECT_EQ(source(), "user.jsonl:1");
    user(example_chain, 800).schedule = tile(3, 7);
    EXPECT_EQ(source(), "user.jsonl:2");
    // but not with a farther layer
    user_.clear();
    user(twice_as_wide).schedule = tile(4, 5);
    EXPECT_EQ(source(), "shipped.jsonl:1");
    // at the same distance, with another one
    shipped_.clear();
    shipped("input(f32, 1x64x32x64) | transposed_conv(64, kernel=4, stride=2, pad=1) | bias | relu");
    EXPECT_EQ(source(), "user.jsonl:1");
    shipped_.clear();
    shipped();
    // or the same one
    shipped_[0].tools.halide = "22.0.0";
    user().tools.halide = "22.0.0";
    EXPECT_EQ(source(), "user.jsonl:2");
}

TEST_F(Ladder, TheLatestChoiceAnswersElseTheFastest) {
    shipped(example_chain, 900).schedule = tile(4, 5);
    shipped(example_chain, 800).schedule = tile(4, 4);
    shipped(example_chain, 850).schedule = tile(3, 8);
    EXPECT_EQ(source(), "shipped.jsonl:2");
    shipped_[2].chosen = true;
    EXPECT_EQ(source(), "shipped.jsonl:3");
    shipped_[0].chosen = true;
    EXPECT_EQ(source(), "shipped.jsonl:3");
    std::swap(shipped_[0], shipped_[2]);
    EXPECT_EQ(find().schedule, tile(4, 5));
}

TEST_F(Ladder, AChoiceHoldsThoughTheScheduleWasTimedAgain) {
    shipped(example_chain, 1000);
    shipped(example_chain, 950).schedule = tile(4, 5);
    shipped(example_chain, 1000).chosen = true;
    shipped(example_chain, 1010);
    EXPECT_EQ(source(), "shipped.jsonl:4");
    // until another one is chosen
    shipped(example_chain, 960).schedule = tile(4, 5);
    shipped_.back().chosen = true;
    shipped(example_chain, 940);
    EXPECT_EQ(source(), "shipped.jsonl:5");
}

TEST_F(Ladder, ChannelsCountByGroup) {
    shipped("input(f32, 1x64x64x64) | conv(64, kernel=3, pad=1)");
    EXPECT_NEAR(find("input(f32, 1x64x64x128) | conv(128, kernel=3, pad=1, groups=2)").distance, 0, 1e-9);
    EXPECT_NEAR(find("input(f32, 1x64x64x128) | conv(256, kernel=3, pad=1, groups=2)").distance, 1, 1e-9);
    EXPECT_EQ(grade("input(f32, 1x64x64x128) | conv(256, kernel=3, pad=1, groups=2)"),
              LookupGrade::near_shape);
}

TEST_F(Ladder, AutoschedulersNeverAnswer) {
    shipped().schedule = {Autoscheduled{"adams2019", 2}};
    EXPECT_EQ(grade(), LookupGrade::analytic_default);
}

TEST_F(Ladder, AChoiceAnswersForItsNeighboursWhateverALuckyTimingSays) {
    shipped(twice_as_wide, 900).schedule = tile(4, 5);
    shipped(twice_as_wide, 500).schedule = tile(4, 4);
    EXPECT_EQ(source(), "shipped.jsonl:2");
    shipped_[0].chosen = true;
    EXPECT_EQ(source(), "shipped.jsonl:1");
    EXPECT_EQ(grade(), LookupGrade::near_shape);
}

TEST_F(Ladder, FailuresNeverAnswer) {
    for (const TuningStatus status :
         {TuningStatus::constraint, TuningStatus::generator_error, TuningStatus::compile_error,
          TuningStatus::compile_timeout, TuningStatus::link_error, TuningStatus::run_crash,
          TuningStatus::run_timeout, TuningStatus::wrong_answer, TuningStatus::resource_limit,
          TuningStatus::duplicate}) {
        shipped_.clear();
        shipped().status = status;
        EXPECT_EQ(grade(), LookupGrade::analytic_default);
    }
}

TEST_F(Ladder, ALaterFailureTakesAScheduleOut) {
    shipped(example_chain, 500).chosen = true;
    shipped(example_chain, 900).schedule = tile(4, 5);
    EXPECT_EQ(source(), "shipped.jsonl:1");
    user().status = TuningStatus::wrong_answer;
    EXPECT_EQ(source(), "shipped.jsonl:2");
    user(example_chain, 700); // and a later success brings it back
    EXPECT_EQ(source(), "user.jsonl:2");
}

TEST_F(Ladder, ModelledRecordsAnswerWhereNothingWasTimed) {
    const auto modelled = [&](double cycles) -> TuningRecord & {
        TuningRecord &record = shipped();
        record.status = TuningStatus::modelled;
        record.estimate_ns.reset();
        record.facts.modelled_cycles = {{"neoverse-n1", cycles}};
        return record;
    };
    modelled(200).schedule = tile(4, 5);
    modelled(100).schedule = tile(4, 4);
    EXPECT_EQ(source(), "shipped.jsonl:2");
    EXPECT_EQ(grade(), LookupGrade::exact);
    shipped(example_chain, 1e9).schedule = tile(3, 8);
    EXPECT_EQ(source(), "shipped.jsonl:3");
}

TEST_F(Ladder, ModelledRecordsAnswerForTheirOwnLayerOnly) {
    TuningRecord &modelled = shipped(twice_as_wide);
    modelled.status = TuningStatus::modelled;
    modelled.estimate_ns.reset();
    modelled.facts.modelled_cycles = {{"neoverse-n1", 100}};
    EXPECT_EQ(grade(twice_as_wide), LookupGrade::exact);
    EXPECT_EQ(grade(), LookupGrade::analytic_default);
}

TEST_F(Ladder, WhereTheDefaultComesFirstNeighboursHaveTheirs) {
    shipped(twice_as_wide, 900).schedule = tile(4, 5);
    shipped(twice_as_wide, 950).schedule = tile(4, 4);
    shipped_.back().baseline = true;
    EXPECT_EQ(find().schedule, tile(4, 5));
    EXPECT_EQ(find(twice_as_wide).schedule, tile(4, 5));
    shipped_.back().chosen = true;
    EXPECT_EQ(source(), "shipped.jsonl:2");
    EXPECT_EQ(grade(), LookupGrade::near_shape);
    EXPECT_EQ(find().schedule, analytic_default(lowered(example_chain), facts("avx512")));
    EXPECT_EQ(find(twice_as_wide).schedule, tile(4, 4));
}

TEST_F(Ladder, ABuildForAnUnnamedMachineTakesTimedRecordsOfAny) {
    context_.machine = {};
    TuningRecord &modelled = shipped();
    modelled.machine = {};
    modelled.status = TuningStatus::modelled;
    modelled.estimate_ns.reset();
    modelled.facts.modelled_cycles = {{"neoverse-n1", 100}};
    EXPECT_EQ(source(), "shipped.jsonl:1");
    EXPECT_EQ(grade(), LookupGrade::exact);
    shipped().schedule = tile(4, 5);
    EXPECT_EQ(source(), "shipped.jsonl:2");
    EXPECT_EQ(grade(), LookupGrade::exact);
}

TEST_F(Ladder, PassesOverWhatDoesNotFit) {
    // Whole rows of a wide image are more than the cache holds.
    const char *wide =
        "input(f32, 1x64x200x256) | transposed_conv(64, kernel=4, stride=2, pad=1) | bias | relu";
    const char *wider =
        "input(f32, 1x64x800x256) | transposed_conv(64, kernel=4, stride=2, pad=1) | bias | relu";
    shipped(wide, 500).schedule = tile(4, 5);
    shipped(wide, 600).schedule = {CpuDirect{16, 4, 5, 1, 8, 1, 2, 1, false}};
    ASSERT_TRUE(violated_constraint(lowered(wider), facts("avx512"), tile(4, 5)).has_value());
    EXPECT_EQ(source(wide), "shipped.jsonl:1");
    EXPECT_EQ(source(wider), "shipped.jsonl:2");
    EXPECT_EQ(grade(wider), LookupGrade::near_shape);
    // What was slow on its own layer is no answer for another.
    shipped_[1].estimate_ns = 700;
    EXPECT_EQ(grade(wider), LookupGrade::analytic_default);
    // An exact record that the target cannot hold is passed over, too.
    shipped(wider).schedule = tile(4, 5);
    EXPECT_NE(grade(wider), LookupGrade::exact);
}

TEST_F(Ladder, PassesOverWhatWouldWasteAnotherLayersWork) {
    const char *fewer =
        "input(f32, 1x64x64x64) | transposed_conv(32, kernel=4, stride=2, pad=1) | bias | relu";
    shipped();
    ASSERT_FALSE(violated_constraint(lowered(fewer), facts("avx512"), shipped_[0].schedule).has_value());
    ASSERT_TRUE(unworthy(lowered(fewer), facts("avx512"), shipped_[0].schedule).has_value());
    EXPECT_EQ(grade(fewer), LookupGrade::analytic_default);
    shipped(example_chain, 1100).schedule = tile(2, 10);
    EXPECT_EQ(source(fewer), "shipped.jsonl:2");
}

TEST_F(Ladder, TheFamilyDefaultIsWhatDidBestEverywhere) {
    const char *second = "input(f32, 1x32x32x64) | conv(64, kernel=3, pad=1)";
    const char *third = "input(f32, 1x32x32x64) | conv(64, kernel=1)";
    // tile(4, 6) is best once, tile(4, 5) good everywhere
    for (const char *chain : {example_chain, second, third}) {
        shipped(chain, 1100).schedule = tile(4, 5);
        shipped(chain, 2000).schedule = tile(4, 4);
        shipped_.back().baseline = true;
    }
    shipped(third, 1000);
    const char *unknown = "input(f32, 1x32x32x64) | conv(64, kernel=5, pad=2)";
    EXPECT_EQ(grade(unknown), LookupGrade::family_default);
    EXPECT_EQ(find(unknown).schedule, tile(4, 5));
    // other kinds have none
    EXPECT_EQ(grade("input(f32, 1x32x32x64, layout=nchw) | conv(64, kernel=5, pad=2)"),
              LookupGrade::analytic_default);
    EXPECT_EQ(grade("input(f32, 1x32x32x64) | bilinear_upsample(2)"), LookupGrade::analytic_default);
    EXPECT_EQ(grade(unknown, "avx2"), LookupGrade::analytic_default);
    // nor is there one where the analytic default did better
    for (TuningRecord &record : shipped_) {
        if (record.baseline) record.estimate_ns = 500;
    }
    EXPECT_EQ(grade(unknown), LookupGrade::analytic_default);
}

TEST_F(Ladder, OneLayerMakesNoFamilyDefault) {
    shipped();
    EXPECT_EQ(grade("input(f32, 1x32x32x64) | conv(64, kernel=5, pad=2)"), LookupGrade::analytic_default);
}

TEST_F(Ladder, AnswersDependOnTheRecordsOnly) {
    for (int w = 40; w < 90; w += 5) {
        for (int vectors = 3; vectors <= 4; vectors++) {
            TuningRecord &record = shipped(
                fmt::format("input(f32, 1x64x{}x64) | transposed_conv(64, kernel=4, stride=2, pad=1)", w),
                1000);
            record.schedule = tile(vectors, 5);
            record.machine.threads = 1 + w % 3;
        }
    }
    const LookupResult first = find();
    EXPECT_NE(first.grade, LookupGrade::analytic_default);
    std::mt19937 random(1);
    for (int i = 0; i < 10; i++) {
        const LookupResult again = find();
        EXPECT_EQ(again.source, first.source);
        // Groups of records of different layers do not depend on their order.
        std::vector<TuningRecord> shuffled = shipped_;
        std::rotate(shuffled.begin(), shuffled.begin() + 2 * (1 + std::int64_t(random() % 9)),
                    shuffled.end());
        std::swap(shipped_, shuffled);
        const LookupResult other = find();
        EXPECT_EQ(other.grade, first.grade);
        EXPECT_EQ(other.distance, first.distance);
        EXPECT_EQ(other.schedule, first.schedule);
        std::swap(shipped_, shuffled);
    }
}

TEST_F(Ladder, LayersThatThisVersionCannotLowerAreLeftOut) {
    shipped();
    shipped("input(f16, 1x64x64x64) | conv(64, kernel=3)");
    EXPECT_EQ(grade(), LookupGrade::exact);
}

} // namespace
} // namespace unstride
