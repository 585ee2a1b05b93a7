// Nothing else runs while candidates are timed, and none is timed without the default beside it: machines
// change their speed in the course of a search, the quotient of two that take turns does not.
#include "tools/tune/strategies.h"

#include "tools/analysis/analysis.h"
#include "tools/measure/session.h"
#include "tools/tune/decision.h"

#include <fmt/format.h>

#include <algorithm>
#include <numeric>

namespace unstride {

namespace {

constexpr int fresh_processes = 3;      // in which the winner is timed beside the one in use
constexpr int most_fresh_processes = 6; // where the first do not decide
constexpr int most_drift_checks = 3;    // a disturbance may end

// Rounds and samples by what one call takes, so that even the slow ones take seconds, not minutes.
TimingProtocol protocol_for(double call_nanoseconds, std::size_t candidates, bool final) {
    TimingProtocol protocol;
    const bool slow = call_nanoseconds > 2e7, very_slow = call_nanoseconds > 3e8;
    protocol.rounds = final ? (very_slow ? 3 : slow ? 6 : 8) : (very_slow ? 2 : 4);
    protocol.samples = final ? (very_slow ? 1 : slow ? 3 : 5) : (slow ? 1 : 3);
    const double sample = std::max(call_nanoseconds, protocol.sample_milliseconds * 1e6);
    const double expected = sample * static_cast<double>(candidates) * protocol.rounds * protocol.samples;
    protocol.limit = std::chrono::seconds(30) + std::chrono::milliseconds(std::llround(expected * 1e-6 * 10));
    return protocol;
}

// One sample only tells how hopeless a candidate is.
TimingProtocol glance(double call_nanoseconds) {
    TimingProtocol protocol = protocol_for(call_nanoseconds, 2, false);
    protocol.rounds = protocol.samples = 1;
    return protocol;
}

double mean(const std::vector<double> &values) {
    return values.empty()
               ? 0
               : std::accumulate(values.begin(), values.end(), 0.0) / static_cast<double>(values.size());
}

void append_rounds(Rounds *rounds, const Rounds &more) {
    rounds->insert(rounds->end(), more.begin(), more.end());
}

// The steps of one run.
class TimedTuning {
public:
    TimedTuning(TuningRun &run, MeasuringSession session) : run_(run), session_(std::move(session)) {}

    Result<TuneResult> tune();

private:
    // A finalist: its rounds are those in which the others were timed too.
    struct Finalist {
        const Candidate *candidate;
        Rounds rounds;
    };
    struct Finals {
        std::vector<Finalist> finalists;
        ScheduleRecord in_use, leading;
        const Finalist *find(const ScheduleRecord &schedule) const;
    };
    struct Checked {
        const Candidate *candidate;
        CheckedCandidate found;
    };

    TuningRun &run_;
    MeasuringSession session_;
    const Candidate *baseline_ = nullptr; // null if the default cannot be used
    std::vector<Checked> checked_;
    double load_ = 0; // when something was timed last

    Result<void> time_default();
    Result<void> search();
    Result<void> measure(const Candidate &candidate);
    Result<bool> check(const Candidate &candidate);
    const CheckedCandidate &found(const Candidate &candidate) const;
    Result<BaselineTiming> baseline_timing();
    Result<void> time_together(std::vector<Finalist> *finalists, std::uint64_t seed);
    Result<std::vector<Finalist>> finals();
    Finals narrowed(std::vector<Finalist> finalists) const;
    bool leader_wins(const Finals &finals) const;
    Result<void> confirm(Finals *finals);
    Result<double> drift_since(const BaselineTiming &before);
    Result<std::string> instability(const BaselineTiming &before);
    Result<TuneResult> decide(std::vector<Finalist> finalists, const BaselineTiming &before);
    TuningRecord timed_record(const Candidate &candidate, const Rounds &rounds) const;
    double slowest_call(const std::vector<Finalist> &finalists) const;
};

const CheckedCandidate &TimedTuning::found(const Candidate &candidate) const {
    return std::find_if(checked_.begin(), checked_.end(),
                        [&](const Checked &checked) { return checked.candidate == &candidate; })
        ->found;
}

// False, and recorded, if the candidate does not compute the layer.
Result<bool> TimedTuning::check(const Candidate &candidate) {
    const bool known = std::any_of(checked_.begin(), checked_.end(),
                                   [&](const Checked &checked) { return checked.candidate == &candidate; });
    if (known) return true;
    auto outcome = session_.check(candidate);
    if (outcome) {
        checked_.push_back({&candidate, *outcome});
        return true;
    }
    if (auto concluded = run_.conclude(run_.record(candidate), outcome.failure()); !concluded)
        return Error{concluded.error()};
    return false;
}

TuningRecord TimedTuning::timed_record(const Candidate &candidate, const Rounds &rounds) const {
    TuningRecord record = run_.record(candidate);
    record.correctness = found(candidate).correctness;
    record.scratch_bytes = found(candidate).scratch_bytes;
    record.samples_ns = rounds;
    const Estimate figures = estimate(rounds);
    record.estimate_ns = figures.value;
    record.interval_ns = {figures.interval.low, figures.interval.high};
    record.load = load_;
    const auto analysis = analyse_object(candidate.compute_object, candidate.facts.instruction_set);
    if (analysis) {
        record.facts = static_facts(*analysis, {}, session_.operations() / 2);
        record.facts.code_bytes = candidate.code_bytes;
    }
    return record;
}

// The default first: all others are timed beside it.
Result<void> TimedTuning::time_default() {
    const auto candidate = run_.candidate(run_.default_schedule());
    if (!candidate) return Error{candidate.error()};
    if (*candidate == nullptr) return {};
    const auto right = check(**candidate);
    if (!right) return Error{right.error()};
    if (!*right) return {};
    baseline_ = *candidate;
    const auto timing =
        session_.time({baseline_}, protocol_for(found(*baseline_).call_nanoseconds, 1, false));
    if (!timing) return Error{timing.error()};
    load_ = mean(timing->load);
    const auto &rounds = timing->candidates[0];
    if (!rounds) {
        baseline_ = nullptr;
        return run_.conclude(run_.record(**candidate), rounds.failure());
    }
    if (run_.baseline_cost) return {}; // an earlier run recorded it
    return run_.conclude(timed_record(*baseline_, *rounds), estimate(*rounds).value);
}

Result<void> TimedTuning::measure(const Candidate &candidate) {
    run_.show("measuring");
    const auto duplicate = run_.is_duplicate(candidate);
    if (!duplicate) return Error{duplicate.error()};
    if (*duplicate) return {};
    const auto right = check(candidate);
    if (!right) return Error{right.error()};
    if (!*right) return {};

    const double call = found(candidate).call_nanoseconds;
    std::vector<const Candidate *> together = {&candidate};
    if (baseline_ != nullptr) together.push_back(baseline_);
    const bool hopeless = call > run_.search().hopeless();
    const auto timing =
        session_.time(together, hopeless ? glance(call) : protocol_for(call, together.size(), false));
    if (!timing) return Error{timing.error()};
    load_ = mean(timing->load);
    const auto &rounds = timing->candidates[0];
    if (!rounds) return run_.conclude(run_.record(candidate), rounds.failure());
    double cost = estimate(*rounds).value;
    if (baseline_ != nullptr && timing->candidates[1])
        cost = *run_.baseline_cost * paired_ratio(*timing->candidates[1], *rounds).value;
    return run_.conclude(timed_record(candidate, *rounds), cost);
}

Result<void> TimedTuning::search() {
    while (!run_.out_of_time()) {
        const auto batch = run_.next_batch();
        if (!batch) return Error{batch.error()};
        if (!*batch) return {};
        for (const Candidate *candidate : **batch) {
            if (run_.out_of_time()) return {};
            if (auto measured = measure(*candidate); !measured) return measured;
        }
    }
    return {};
}

double TimedTuning::slowest_call(const std::vector<Finalist> &finalists) const {
    double slowest = 0;
    for (const Finalist &finalist : finalists)
        slowest = std::max(slowest, found(*finalist.candidate).call_nanoseconds);
    return slowest;
}

// One more process; those that fail in it are recorded and leave.
Result<void> TimedTuning::time_together(std::vector<Finalist> *finalists, std::uint64_t seed) {
    std::vector<const Candidate *> candidates;
    for (const Finalist &finalist : *finalists)
        candidates.push_back(finalist.candidate);
    TimingProtocol protocol = protocol_for(slowest_call(*finalists), candidates.size(), true);
    protocol.seed = seed;
    const auto timing = session_.time(candidates, protocol);
    if (!timing) return Error{timing.error()};
    load_ = mean(timing->load);
    std::vector<Finalist> left;
    for (std::size_t i = 0; i < finalists->size(); i++) {
        Finalist &finalist = (*finalists)[i];
        const auto &rounds = timing->candidates[i];
        if (rounds) {
            append_rounds(&finalist.rounds, *rounds);
            left.push_back(std::move(finalist));
        } else if (auto told = run_.conclude(run_.record(*finalist.candidate), rounds.failure()); !told) {
            return told;
        }
    }
    *finalists = std::move(left);
    return {};
}

Result<std::vector<TimedTuning::Finalist>> TimedTuning::finals() {
    std::vector<Finalist> finalists;
    for (const ScheduleRecord &schedule : run_.search().finalists({run_.incumbent()})) {
        if (run_.interrupted()) return finalists;
        const auto candidate = run_.candidate(schedule);
        if (!candidate) return Error{candidate.error()};
        if (*candidate == nullptr) continue;
        const auto right = check(**candidate);
        if (!right) return Error{right.error()};
        if (*right) finalists.push_back({*candidate, {}});
    }
    run_.show("finals");
    if (finalists.empty() || run_.interrupted()) return finalists;
    if (auto timed = time_together(&finalists, run_.settings().seed); !timed) return Error{timed.error()};
    for (const Finalist &finalist : finalists) {
        if (auto kept = run_.append(timed_record(*finalist.candidate, finalist.rounds)); !kept)
            return Error{kept.error()};
    }
    return finalists;
}

Result<BaselineTiming> TimedTuning::baseline_timing() {
    const auto timing = session_.time({baseline_}, protocol_for(found(*baseline_).call_nanoseconds, 1, true));
    if (!timing) return Error{timing.error()};
    if (!timing->candidates[0]) return Error{timing->candidates[0].failure().detail};
    return BaselineTiming{*timing->candidates[0], timing->peak_gflops};
}

// The least drift of a few looks.
Result<double> TimedTuning::drift_since(const BaselineTiming &before) {
    double least = 0;
    for (int look = 0; look < most_drift_checks; look++) {
        const auto after = baseline_timing();
        if (!after) return Error{after.error()};
        const double drifted = drift(before, *after);
        if (look == 0 || std::abs(std::log(drifted)) < std::abs(std::log(least))) least = drifted;
        if (is_steady(least, run_.settings().most_drift)) break;
    }
    return least;
}

const TimedTuning::Finalist *TimedTuning::Finals::find(const ScheduleRecord &schedule) const {
    const auto found = std::find_if(finalists.begin(), finalists.end(), [&](const Finalist &finalist) {
        return finalist.candidate->schedule == schedule;
    });
    return found == finalists.end() ? nullptr : &*found;
}

// Only those that matter go on: the leader, what is in use, the default.
TimedTuning::Finals TimedTuning::narrowed(std::vector<Finalist> finalists) const {
    Finals finals{std::move(finalists), run_.incumbent(), {}};
    if (finals.find(finals.in_use) == nullptr) finals.in_use = run_.default_schedule();
    std::vector<Rounds> rounds;
    for (const Finalist &finalist : finals.finalists)
        rounds.push_back(finalist.rounds);
    // Where neither the one in use nor the default can be used, any that can is better.
    const Finalist *in_use = finals.find(finals.in_use);
    const auto place = in_use == nullptr ? 0 : static_cast<std::size_t>(in_use - finals.finalists.data());
    finals.leading = finals.finalists[leader(rounds, place)].candidate->schedule;
    std::erase_if(finals.finalists, [&](const Finalist &finalist) {
        const ScheduleRecord &schedule = finalist.candidate->schedule;
        return schedule != finals.leading && schedule != finals.in_use && schedule != run_.default_schedule();
    });
    for (Finalist &finalist : finals.finalists)
        finalist.rounds.clear();
    return finals;
}

bool TimedTuning::leader_wins(const Finals &finals) const {
    const Finalist *leading = finals.find(finals.leading), *in_use = finals.find(finals.in_use);
    if (finals.leading == finals.in_use || leading == nullptr) return false;
    return in_use == nullptr || verdict(paired_ratio(in_use->rounds, leading->rounds),
                                        run_.settings().threshold) == Verdict::faster;
}

Result<void> TimedTuning::confirm(Finals *finals) {
    run_.show("confirming");
    for (int process = 0; process < most_fresh_processes && !finals->finalists.empty(); process++) {
        const bool decided = finals->leading == finals->in_use || leader_wins(*finals);
        if (run_.interrupted() || (process >= fresh_processes && decided)) break;
        const std::uint64_t seed = run_.settings().seed + 1 + static_cast<std::uint64_t>(process);
        if (auto timed = time_together(&finals->finalists, seed); !timed) return timed;
    }
    return {};
}

// Why the figures of this run are not to be trusted, or nothing.
Result<std::string> TimedTuning::instability(const BaselineTiming &before) {
    if (baseline_ == nullptr) return std::string();
    const auto drifted = drift_since(before);
    if (!drifted) return Error{drifted.error()};
    if (is_steady(*drifted, run_.settings().most_drift)) return std::string();
    return fmt::format(
        "the default took {:.2f} times as long at the end of the run as at its begin, so nothing "
        "is chosen; tune again while the machine does nothing else, what was measured is kept",
        *drifted);
}

Result<TuneResult> TimedTuning::decide(std::vector<Finalist> finalists, const BaselineTiming &before) {
    Finals finals = narrowed(std::move(finalists));
    if (auto confirmed = confirm(&finals); !confirmed) return Error{confirmed.error()};
    if (run_.interrupted()) return run_.result(TuneEnd::interrupted, "interrupted");
    const Finalist *chosen = finals.find(leader_wins(finals) ? finals.leading : finals.in_use);
    if (chosen == nullptr) return run_.result(TuneEnd::failed, "no finalist ran to its end");
    const Finalist *base = finals.find(run_.default_schedule());
    if (base != nullptr && default_serves(chosen->rounds, base->rounds,
                                          run_.packed_bytes(base->candidate->schedule) <
                                              run_.packed_bytes(chosen->candidate->schedule),
                                          run_.settings().threshold))
        chosen = base;
    const bool changes = chosen->candidate->schedule != finals.in_use;

    const auto unstable = instability(before);
    if (!unstable) return Error{unstable.error()};
    const TuneEnd end = !unstable->empty() ? TuneEnd::unstable : changes ? TuneEnd::tuned : TuneEnd::kept;
    TuneResult result = run_.result(end, *unstable);
    if (base != nullptr) {
        result.default_cost = estimate(base->rounds).value;
        result.ratio = paired_ratio(base->rounds, chosen->rounds);
    }
    result.chosen_cost = estimate(chosen->rounds).value;
    result.chosen = chosen->candidate->schedule;
    if (end == TuneEnd::unstable) return result;
    TuningRecord record = timed_record(*chosen->candidate, chosen->rounds);
    record.chosen = true;
    if (auto kept = run_.append(record); !kept) return Error{kept.error()};
    return result;
}

Result<TuneResult> TimedTuning::tune() {
    run_.show("measuring");
    if (auto timed = time_default(); !timed) return Error{timed.error()};
    BaselineTiming before;
    if (baseline_ != nullptr) {
        auto timing = baseline_timing();
        if (!timing) return Error{timing.error()};
        before = std::move(*timing);
    }
    if (auto searched = search(); !searched) return Error{searched.error()};
    if (run_.interrupted()) return run_.result(TuneEnd::interrupted, "interrupted");
    auto finalists = finals();
    if (!finalists) return Error{finalists.error()};
    if (run_.interrupted()) return run_.result(TuneEnd::interrupted, "interrupted");
    if (finalists->empty()) return run_.result(TuneEnd::failed, "no candidate could be used");
    const bool complete = run_.search().finished();
    auto result = decide(std::move(*finalists), before);
    if (result && result->detail.empty())
        result->detail = complete ? "all candidates were tried" : "the budget was spent";
    return result;
}

} // namespace

Result<TuneResult> tune_by_time(TuningRun &run) {
    SessionOptions options;
    options.threads = run.settings().threads;
    options.seed = run.settings().seed;
    run.show("reference");
    auto session = MeasuringSession::open(run.layer(), run.target(), run.context().installation,
                                          run.context().runner, run.folder(), options);
    if (!session) return Error{session.error()};
    return TimedTuning(run, std::move(*session)).tune();
}

} // namespace unstride
