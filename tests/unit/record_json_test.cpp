// Schedule records as JSON.
#include "schedules/record.h"

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

namespace unstride {
namespace {

// One of each family, every field unlike its default.
const std::vector<ScheduleRecord> &unusual_records() {
    static const std::vector<ScheduleRecord> records = {
        {CpuDirect{16, 4, 3, 2, 5, 6, 7, 8, true, true}},
        {CpuColumns{8, 3, 2, 4, 5, 6, true, 4}},
        {CpuColumns{8, 4, 2, 4, 5, 6, false, 4, true, true}},
        {CpuFiltering{{3, 2}, 8, 5, 6, 7, 9, 4, 16, 12, true, true, true}},
        {CpuChannelwise{16, true, 3, 2}},
        {GpuDirect{2, 8, 64, 16, 3, 5}},
        {GpuFiltering{{3, 2}, 2, 64, 16}},
        {GpuChannelwise{16, 8}},
        {Autoscheduled{"li2018", 3, true}}};
    return records;
}

TEST(Record, GoesThroughJsonUnchanged) {
    for (const ScheduleRecord &record : unusual_records()) {
        std::string error;
        const auto read = record_from_json(nlohmann::json::parse(to_json(record).dump()), &error);
        ASSERT_TRUE(read.has_value()) << error;
        EXPECT_EQ(*read, record) << to_json(record);
    }
    EXPECT_EQ(to_json({GpuChannelwise{16, 8}}).dump(),
              R"({"block_channels":16,"block_x":8,"family":"gpu_channelwise"})");
}

std::string refusal_of(const nlohmann::json &json) {
    std::string error;
    EXPECT_FALSE(record_from_json(json, &error).has_value()) << json;
    return error;
}

TEST(Record, RefusesBadJson) {
    EXPECT_EQ(refusal_of(nlohmann::json::array()), "a schedule is an object with a family");
    EXPECT_EQ(refusal_of({{"lanes", 4}}), "a schedule is an object with a family");
    EXPECT_EQ(refusal_of({{"family", 3}}), "a schedule is an object with a family");
    EXPECT_EQ(refusal_of({{"family", "other"}}), "unknown family other");
    for (const ScheduleRecord &record : unusual_records()) {
        const nlohmann::json good = to_json(record);
        for (const auto &[key, value] : good.items()) {
            if (key == "family") continue;
            const std::string expected = key + " is missing or of the wrong type";
            nlohmann::json bad = good;
            bad.erase(key);
            if (!value.is_boolean() && key != "strip" && key != "chain") {
                EXPECT_EQ(refusal_of(bad), expected) << good;
            }
            if (!value.is_string()) {
                bad[key] = "2";
                EXPECT_EQ(refusal_of(bad), expected) << good;
            }
            bad[key] = value.is_boolean() ? nlohmann::json(1) : nlohmann::json(1.5);
            EXPECT_EQ(refusal_of(bad), expected) << good;
        }
        nlohmann::json surplus = good;
        surplus["surplus"] = 1;
        EXPECT_EQ(refusal_of(surplus), "a key is not one of the family's") << good;
    }
}

TEST(Record, ReadsAMissingFieldAsOff) {
    CpuFiltering record{{3, 2}, 8, 5, 6, 7, 9, 4, 16, 12, true, true, true, true};
    nlohmann::json json = to_json({record});
    json.erase("prefetch");
    json.erase("prefetch_input");
    json.erase("chain");
    json.erase("split_blocks");
    record.prefetch = record.prefetch_input = record.split_blocks = false;
    record.chain = 0;
    std::string error;
    EXPECT_EQ(record_from_json(json, &error), ScheduleRecord{record}) << error;
}

TEST(Record, RefusesNumbersBeyondAnInt) {
    nlohmann::json json = to_json({CpuDirect{}});
    json["lanes"] = (std::int64_t{1} << 32) + 4;
    EXPECT_NE(refusal_of(json).find("lanes"), std::string::npos);
}

} // namespace
} // namespace unstride
