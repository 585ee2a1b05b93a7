// Files of records that are thinned out, and what is carried to other tools.
#include "tools/tune/compact.h"

#include "schedules/analytic_default.h"
#include "tests/temporary_folder.h"
#include "tests/unit/tuning_records.h"
#include "tools/tune/carry.h"

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <thread>

namespace unstride {
namespace {

class Compact : public TemporaryFolderTest {
protected:
    TuningRecord &add(double estimate_ns, int tile_x = 6) {
        TuningRecord &record = records_.emplace_back(example_record(example_chain, estimate_ns));
        std::get<CpuDirect>(record.schedule.parameters).tile_x = tile_x;
        return record;
    }

    void write_records(const std::string &more = "") const {
        std::string text;
        for (const TuningRecord &record : records_)
            text += to_json(record).dump() + "\n";
        write("a.jsonl", text + more);
    }

    // The estimates of the records that are left.
    std::vector<double> compacted(const CompactSettings &settings = {}) {
        write_records();
        const auto result = compact(path("a.jsonl"), settings);
        EXPECT_TRUE(result.ok()) << result.error();
        std::vector<double> left;
        for (const TuningRecord &record : read())
            left.push_back(*record.estimate_ns);
        EXPECT_EQ(result->records, records_.size());
        EXPECT_EQ(result->kept, left.size());
        EXPECT_EQ(result->kept_bytes, read_file(path("a.jsonl"))->size());
        return left;
    }

    std::vector<TuningRecord> read() const {
        Database database;
        database.add(path("a.jsonl"), RecordOrigin::user);
        std::vector<TuningRecord> all;
        std::string error;
        for (const DatabaseEntry &entry : database.entries())
            all.push_back(*database.read(entry, &error));
        return all;
    }

    std::vector<TuningRecord> records_;
};

using Estimates = std::vector<double>;

TEST_F(Compact, ToolsWhoseRecordsWereAllCarriedGo) {
    add(100).chosen = true;
    add(200, 5).baseline = true;
    for (int i = 0; i < 2; i++) {
        records_.push_back(records_[static_cast<std::size_t>(i)]);
        records_.back().tools.generators = "sha256:new";
    }
    EXPECT_EQ(compacted(), (Estimates{100, 200}));
    EXPECT_EQ(read()[0].tools.generators, "sha256:new");
    // One that was not carried keeps the others of its search.
    records_.insert(records_.begin(), records_[0]);
    records_[0].estimate_ns = 300;
    EXPECT_EQ(compacted(), (Estimates{300, 100, 200, 100, 200}));
    // Measured again is not carried.
    records_ = {records_[1], records_[1]};
    records_[1].tools.generators = "sha256:new";
    records_[1].date = "2026-04-01T12:00:00Z";
    EXPECT_EQ(compacted(), (Estimates{100, 100}));
}

TEST_F(Compact, TheBestOfASearchStay) {
    add(500, 5).baseline = true;
    add(100, 4);
    add(90, 3);
    add(80, 2).status = TuningStatus::ok;
    add(110, 1).chosen = true;
    add(120, 4); // the last one of a schedule counts
    records_.push_back(example_record());
    records_.back().status = TuningStatus::wrong_answer;
    records_.back().estimate_ns = 1;
    EXPECT_EQ(compacted({1}), (Estimates{500, 80, 110}));
    EXPECT_EQ(compacted({0}), (Estimates{500, 110}));
    EXPECT_EQ(compacted({7}), (Estimates{500, 90, 80, 110, 120}));
    EXPECT_EQ(compacted(), (Estimates{500, 100, 90, 80, 110, 120, 1}));
}

TEST_F(Compact, WhatIsNoRecordStaysAsItIs) {
    add(100);
    const std::string strange = "{\"schema\":9}\n\nnonsense\n";
    write_records(strange);
    const auto result = compact(path("a.jsonl"), {0});
    ASSERT_TRUE(result.ok()) << result.error();
    EXPECT_EQ(*read_file(path("a.jsonl")), strange);
    nlohmann::json json = to_json(records_[0]);
    json["colour"] = "green";
    write("a.jsonl", json.dump() + "\n");
    ASSERT_TRUE(compact(path("a.jsonl")).ok());
    EXPECT_EQ(nlohmann::json::parse(*read_file(path("a.jsonl"))), json);
    EXPECT_FALSE(compact(path("none.jsonl")).ok());
}

TEST_F(Compact, NoRecordIsLostThatIsAddedMeanwhile) {
    add(100);
    write_records();
    constexpr int added = 200;
    std::thread writer([this, record = records_[0]] {
        std::string error;
        for (int i = 0; i < added; i++)
            EXPECT_TRUE(append_record(path("a.jsonl"), record, &error)) << error;
    });
    for (int i = 0; i < 50; i++) {
        add(1); // so that there is something to replace
        std::string error;
        EXPECT_TRUE(append_record(path("a.jsonl"), records_.back(), &error)) << error;
        records_.pop_back();
        EXPECT_TRUE(compact(path("a.jsonl")).ok());
    }
    writer.join();
    EXPECT_EQ(read().size(), static_cast<std::size_t>(1 + added + 50));
}

TEST_F(Compact, OnlyDecisionsOfOtherToolsAreCarried) {
    const auto subjects = [&] {
        write_records();
        Database database;
        database.add(path("a.jsonl"), RecordOrigin::user);
        std::vector<std::pair<int, int>> lines;
        for (const CarrySubject &subject : carry_subjects(database, {"0.1.0", "21.0.0", "sha256:new", 1}))
            lines.emplace_back(subject.baseline == nullptr ? 0 : subject.baseline->line,
                               subject.chosen == nullptr ? 0 : subject.chosen->line);
        return lines;
    };
    using Lines = std::vector<std::pair<int, int>>;
    const auto lowered = lower(parse_layer(example_chain, "up").layers.at(0));
    const ScheduleRecord standard =
        analytic_default(std::get<PhaseConvolution>(lowered), find_target("x86-64")->instruction_sets.at(0));
    add(100);
    EXPECT_EQ(subjects(), Lines{});
    add(90, 5).chosen = true;
    EXPECT_EQ(subjects(), (Lines{{0, 2}}));
    add(200, 1).baseline = true; // the default no more
    EXPECT_EQ(subjects(), (Lines{{0, 2}}));
    add(300).baseline = true;
    records_.back().schedule = standard;
    EXPECT_EQ(subjects(), (Lines{{4, 2}}));
    records_.push_back(records_[1]);
    records_.back().tools.generators = "sha256:new";
    EXPECT_EQ(subjects(), (Lines{{4, 0}}));
    records_.push_back(records_[3]);
    records_.back().tools.generators = "sha256:new";
    EXPECT_EQ(subjects(), Lines{});
    records_.back().chosen = true;
    records_.back().tools.generators = "sha256:newer"; // a chosen default is carried once
    EXPECT_EQ(subjects(), (Lines{{0, 6}}));
}

} // namespace
} // namespace unstride
