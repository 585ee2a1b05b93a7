// One hash of code a record; the generators' cache makes those that were built lately cheap.
#include "tools/tune/carry.h"

#include "schedules/analytic_default.h"
#include "tools/library/parallel.h"
#include "tools/library/schedule_source.h"
#include "tools/measure/candidate.h"

#include <fmt/format.h>

#include <map>
#include <mutex>
#include <optional>
#include <tuple>
#include <utility>

namespace unstride {

namespace {

struct Place {
    const Target *target = nullptr;
    const TargetFacts *facts = nullptr;
};

// Of an instruction set; null for a name that this version does not know.
Place find_place(const std::string &instruction_set) {
    for (const Target &target : all_targets()) {
        for (const TargetFacts &facts : target.instruction_sets) {
            if (facts.instruction_set == instruction_set) return {&target, &facts};
        }
    }
    return {};
}

std::optional<ScheduleRecord> default_of(const Database &database, const DatabaseEntry &entry) {
    const Place place = find_place(database.instruction_set(entry));
    if (place.facts == nullptr) return std::nullopt;
    const auto lowered = lower(database.layer(entry));
    const auto *convolution = std::get_if<PhaseConvolution>(&lowered);
    if (convolution == nullptr) return std::nullopt;
    return analytic_default(*convolution, *place.facts);
}

// The records of one layer, instruction set and machine that matter here.
struct Decided {
    const DatabaseEntry *chosen = nullptr, *baseline = nullptr; // the last ones
    bool own_baseline = false;                                  // there is one with these tools
};

class Carrying {
public:
    Carrying(const Database &database, const Installation &installation, const CarrySettings &settings)
        : database_(database), installation_(installation), tools_(tool_versions(installation)),
          settings_(settings) {}

    std::vector<CarryResult> carry(const CarrySubject &subject);

private:
    const Database &database_;
    const Installation &installation_;
    const ToolVersions tools_;
    const CarrySettings &settings_;
    std::mutex mutex_;

    bool interrupted() const { return settings_.interrupted != nullptr && *settings_.interrupted; }
    CarryResult carry(const DatabaseEntry &entry, bool baseline);
    void find_end(const DatabaseEntry &entry, CarryResult *result) const;
};

void Carrying::find_end(const DatabaseEntry &entry, CarryResult *result) const {
    const auto end = [&](CarryEnd how, std::string detail) {
        result->end = how;
        result->detail = std::move(detail);
    };
    std::string error;
    auto record = database_.read(entry, &error);
    if (!record) return end(CarryEnd::unbuilt, error);
    if (record->object.empty()) return end(CarryEnd::unknown, "the record holds no hash of its code");
    const Place place = find_place(record->instruction_set);
    if (place.target == nullptr) return end(CarryEnd::unbuilt, "this version has no such instruction set");
    const auto hash = hash_of_candidate(database_.layer(entry), *place.target, *place.facts, record->schedule,
                                        installation_);
    if (!hash) {
        const Failure &failure = hash.failure();
        return end(CarryEnd::unbuilt, fmt::format("{}: {}", to_string(failure.status), failure.detail));
    }
    if (*hash != record->object) return end(CarryEnd::changed, "");
    record->tools = tools_;
    record->baseline = default_of(database_, entry) == record->schedule;
    if (!append_record(database_.file(entry), *record, &error)) return end(CarryEnd::unwritten, error);
    end(CarryEnd::carried, "");
}

CarryResult Carrying::carry(const DatabaseEntry &entry, bool baseline) {
    CarryResult result;
    result.layer = database_.layer_text(entry);
    result.instruction_set = database_.instruction_set(entry);
    result.machine = database_.machine(entry);
    result.place = database_.place(entry);
    result.baseline = baseline;
    find_end(entry, &result);
    const std::lock_guard lock(mutex_);
    if (settings_.on_result) settings_.on_result(result);
    return result;
}

std::vector<CarryResult> Carrying::carry(const CarrySubject &subject) {
    std::vector<CarryResult> results;
    if (subject.baseline != nullptr && !interrupted()) results.push_back(carry(*subject.baseline, true));
    if (subject.chosen != nullptr && !interrupted()) results.push_back(carry(*subject.chosen, false));
    return results;
}

} // namespace

const char *to_string(CarryEnd end) {
    switch (end) {
    case CarryEnd::carried:
        return "carried";
    case CarryEnd::changed:
        return "changed";
    case CarryEnd::unknown:
        return "unknown";
    case CarryEnd::unbuilt:
        return "unbuilt";
    case CarryEnd::unwritten:
        return "unwritten";
    }
    return "";
}

std::vector<CarrySubject> carry_subjects(const Database &database, const ToolVersions &tools) {
    std::map<std::tuple<std::uint32_t, std::uint32_t, std::uint32_t>, Decided> all;
    for (const DatabaseEntry &entry : database.entries()) {
        Decided &decided = all[{entry.layer, entry.instruction_set, entry.machine}];
        if (entry.chosen) decided.chosen = &entry;
        if (!entry.baseline || !entry.cost) continue;
        decided.baseline = &entry;
        decided.own_baseline = decided.own_baseline || database.tools(entry) == tools;
    }
    std::vector<CarrySubject> subjects;
    for (const auto &[key, decided] : all) {
        if (decided.chosen == nullptr) continue;
        CarrySubject subject;
        if (database.tools(*decided.chosen) != tools) subject.chosen = decided.chosen;
        if (decided.baseline != nullptr && !decided.own_baseline) {
            const ScheduleRecord &schedule = database.schedule(*decided.baseline);
            const bool twice = subject.chosen != nullptr && database.schedule(*subject.chosen) == schedule;
            if (!twice && default_of(database, *decided.baseline) == schedule)
                subject.baseline = decided.baseline;
        }
        if (subject.chosen != nullptr || subject.baseline != nullptr) subjects.push_back(subject);
    }
    return subjects;
}

std::vector<CarryResult> carry(const Database &database, const std::vector<CarrySubject> &subjects,
                               const Installation &installation, const CarrySettings &settings) {
    Carrying carrying(database, installation, settings);
    std::vector<std::vector<CarryResult>> parts(subjects.size());
    run_parallel(subjects.size(), settings.jobs,
                 [&](std::size_t i) { parts[i] = carrying.carry(subjects[i]); });
    std::vector<CarryResult> results;
    for (std::vector<CarryResult> &part : parts)
        results.insert(results.end(), std::make_move_iterator(part.begin()),
                       std::make_move_iterator(part.end()));
    return results;
}

} // namespace unstride
