// The same candidates and sessions as tuning, for schedules that are in use.
#include "tools/tune/verify.h"

#include "compiler/language/parser.h"
#include "compiler/language/printer.h"
#include "schedules/analytic_default.h"
#include "tools/files.h"
#include "tools/measure/problem_data.h"
#include "tools/measure/session.h"
#include "tools/tune/checked_sizes.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <tuple>

namespace unstride {

namespace fs = std::filesystem;

namespace {

constexpr std::size_t rivals = 2; // next to the chosen one and the default

// What a busy or incomplete machine can cause says nothing about the schedule.
bool is_wrong(const Failure &failure) {
    const TuningStatus statuses[] = {TuningStatus::constraint, TuningStatus::generator_error,
                                     TuningStatus::run_crash, TuningStatus::wrong_answer};
    return !failure.of_environment &&
           std::count(std::begin(statuses), std::end(statuses), failure.status) > 0;
}

CheckFailure told(const Failure &failure) {
    return {is_wrong(failure), fmt::format("{}: {}", to_string(failure.status), failure.detail)};
}

CheckFailure unknown(const std::string &why) {
    return {false, why};
}

// Where and with what a schedule is tried.
struct Workplace {
    const Target &target;
    const TargetFacts &facts;
    const Installation &installation;
    Runner &runner;
    fs::path folder;
    std::uint64_t seed;

    Outcome<Candidate> build(const Layer &layer, const ScheduleRecord &schedule) const {
        return build_candidate(layer, target, facts, schedule, installation, folder);
    }
    Result<MeasuringSession> session(const Layer &layer) const {
        SessionOptions options;
        options.seed = seed;
        return MeasuringSession::open(layer, target, installation, runner, folder, options);
    }
    std::optional<CheckFailure> check(const Layer &layer, const ScheduleRecord &schedule) const {
        const auto candidate = build(layer, schedule);
        if (!candidate) return told(candidate.failure());
        const auto opened = session(layer);
        if (!opened) return unknown(opened.error());
        const auto checked = opened->check(*candidate);
        if (checked) return std::nullopt;
        CheckFailure failure = told(checked.failure());
        failure.detail += "\n  in " + print_chain(layer);
        return failure;
    }
    std::optional<CheckFailure> check_odd(const Layer &layer, const ScheduleRecord &schedule) const {
        for (const Layer &variant : odd_variants(layer, facts, schedule)) {
            if (auto failure = check(variant, schedule)) return failure;
        }
        return std::nullopt;
    }
};

// The chosen schedule, the analytic default and the cheapest others of the same layer, machine and kind.
std::vector<ScheduleRecord> contenders(const Database &database, const DatabaseEntry &chosen,
                                       const ScheduleRecord &base) {
    std::vector<std::pair<double, ScheduleRecord>> others;
    for (const DatabaseEntry &entry : database.entries()) {
        if (entry.layer == chosen.layer && entry.instruction_set == chosen.instruction_set &&
            entry.machine == chosen.machine && entry.status == TuningStatus::ok && entry.cost)
            others.emplace_back(*entry.cost, database.schedule(entry));
    }
    std::stable_sort(others.begin(), others.end(),
                     [](const auto &a, const auto &b) { return a.first < b.first; });
    std::vector<ScheduleRecord> result = {database.schedule(chosen)};
    const auto add = [&](const ScheduleRecord &schedule) {
        if (std::find(result.begin(), result.end(), schedule) == result.end()) result.push_back(schedule);
    };
    add(base);
    const std::size_t most = result.size() + rivals;
    for (const auto &[cost, schedule] : others) {
        if (result.size() < most) add(schedule);
    }
    return result;
}

// Times the chosen schedule beside what could be faster.
std::optional<CheckFailure> time_again(const Database &database, const DatabaseEntry &entry,
                                       const Layer &layer, const Workplace &place, VerifyResult *result) {
    const auto session = place.session(layer);
    if (!session) return unknown(session.error());
    const auto lowered = lower(layer);
    const ScheduleRecord base = analytic_default(std::get<PhaseConvolution>(lowered), place.facts);
    std::vector<Candidate> candidates;
    for (const ScheduleRecord &schedule : contenders(database, entry, base)) {
        auto built = place.build(layer, schedule);
        const bool chosen = schedule == database.schedule(entry);
        if (!built && chosen) return told(built.failure());
        if (!built) continue; // not in use
        const auto checked = session->check(*built);
        if (!checked && chosen) return told(checked.failure());
        if (checked) candidates.push_back(*std::move(built));
    }
    std::vector<const Candidate *> together;
    for (const Candidate &candidate : candidates)
        together.push_back(&candidate);
    TimingProtocol protocol;
    protocol.seed = place.seed;
    const auto timing = session->time(together, protocol);
    if (!timing) return unknown(timing.error());
    const auto &own = timing->candidates[0];
    if (!own) return told(own.failure());
    for (std::size_t i = 1; i < candidates.size(); i++) {
        if (!timing->candidates[i]) continue;
        const Rounds &other = *timing->candidates[i];
        const bool is_base = candidates[i].schedule == base;
        if (is_base) result->ratio = paired_ratio(other, *own);
        const Ratio slower = paired_ratio(other, *own);
        if (verdict(slower) != Verdict::slower || result->end == VerifyEnd::stale) continue;
        result->end = VerifyEnd::stale;
        result->detail =
            fmt::format("{} takes {:.3f} of its time; tune the layer again with --force",
                        is_base ? "the analytic default" : "another recorded schedule", 1 / slower.value);
    }
    return std::nullopt;
}

} // namespace

const char *to_string(VerifyEnd end) {
    switch (end) {
    case VerifyEnd::ok:
        return "ok";
    case VerifyEnd::stale:
        return "stale";
    case VerifyEnd::wrong:
        return "wrong";
    case VerifyEnd::untimed:
        return "right, not timed";
    case VerifyEnd::unknown:
        return "unknown";
    }
    return "";
}

std::optional<CheckFailure> check_on_odd_sizes(const Layer &layer, const Target &target,
                                               const TargetFacts &facts, const ScheduleRecord &schedule,
                                               const Installation &installation, Runner &runner,
                                               std::uint64_t seed) {
    const auto folder = make_temporary_folder("unstride-verify");
    if (!folder) return unknown(folder.error());
    const Workplace place{target, facts, installation, runner, folder->path(), seed};
    if (is_moderate(layer)) {
        if (auto failure = place.check(layer, schedule)) return failure;
    }
    return place.check_odd(layer, schedule);
}

std::vector<const DatabaseEntry *> chosen_records(const Database &database) {
    std::map<std::tuple<std::uint32_t, std::uint32_t, std::uint32_t>, const DatabaseEntry *> last;
    for (const DatabaseEntry &entry : database.entries()) {
        if (entry.chosen) last[{entry.layer, entry.instruction_set, entry.machine}] = &entry;
    }
    std::vector<const DatabaseEntry *> result;
    for (const auto &[key, entry] : last)
        result.push_back(entry);
    return result;
}

VerifyResult verify(const Database &database, const DatabaseEntry &entry, const Layer &layer,
                    const Target &target, const TargetFacts &facts, const Installation &installation,
                    Runner &runner, const Machine &machine, std::uint64_t seed) {
    VerifyResult result;
    result.layer = layer.name;
    result.instruction_set = facts.instruction_set;
    result.place = database.place(entry);
    const auto failed = [&](const CheckFailure &failure) {
        result.end = failure.wrong ? VerifyEnd::wrong : VerifyEnd::unknown;
        result.detail = failure.detail;
        return result;
    };
    const ScheduleRecord &schedule = database.schedule(entry);
    if (!suits(layer, facts, schedule)) return failed({true, "the schedule does not fit the layer any more"});
    const auto folder = make_temporary_folder("unstride-verify");
    if (!folder) return failed(unknown(folder.error()));
    const Workplace place{target, facts, installation, runner, folder->path(), seed};
    if (const auto failure = place.check_odd(layer, schedule)) return failed(*failure);

    const bool timed = entry.status == TuningStatus::ok && database.machine(entry) == machine &&
                       runner.here() && !runner.emulated();
    if (!timed) {
        const Layer checked = runner.emulated() ? emulated_variant(layer, facts, schedule) : layer;
        if (const auto failure = place.check(checked, schedule)) return failed(*failure);
        result.end = VerifyEnd::untimed;
        return result;
    }
    if (const auto failure = time_again(database, entry, layer, place, &result)) return failed(*failure);
    return result;
}

} // namespace unstride
