// No processor at hand, so no time: the schedule that loses least on the processor where it loses most.
#include "tools/tune/strategies.h"

#include "compiler/language/printer.h"
#include "compiler/lowering/costs.h"
#include "tools/analysis/analysis.h"
#include "tools/measure/problem_data.h"
#include "tools/measure/session.h"
#include "tools/tune/checked_sizes.h"
#include "tools/tune/decision.h"

#include <fmt/format.h>

#include <algorithm>

namespace unstride {

namespace {

constexpr std::size_t most_checks = 4; // of the best, until one is right

struct Modelled {
    ScheduleRecord schedule;
    StaticFacts facts;
};

class ModelTuning {
public:
    explicit ModelTuning(TuningRun &run);
    Result<TuneResult> tune();

private:
    TuningRun &run_;
    double multiplications_ = 1; // of one call; where no size is known cycles are those of one
    std::vector<Modelled> modelled_;
    std::optional<MeasuringSession> session_; // of the layer that was checked last
    std::string session_chain_;

    Result<void> search();
    Result<void> model(const Candidate &candidate);
    Outcome<CheckedCandidate> check(const Candidate &candidate);
    Result<std::optional<TuningRecord>> checked_record(const Modelled &modelled);
    Result<TuneResult> decide();
};

// The time of a filtering kernel over that of its products, whose loop alone is modelled: 1.11 for F(3, 2) on
// two axes and 256 channels, 1.25 and more for larger tiles and few channels, measured on x86-64.
constexpr double filtering_transforms = 1.15;

ModelTuning::ModelTuning(TuningRun &run) : run_(run) {
    if (const std::vector<Layer> sizes = measured_sizes(run.layer()); !sizes.empty()) {
        const Input &timed = sizes.back().input;
        multiplications_ = costs(run.convolution(), timed.batch, timed.spatial).multiplications;
    }
    for (const TuningRecord &record : run.known().unfinished) {
        if (record.status == TuningStatus::modelled) modelled_.push_back({record.schedule, record.facts});
    }
}

Result<void> ModelTuning::model(const Candidate &candidate) {
    const auto duplicate = run_.is_duplicate(candidate);
    if (!duplicate) return Error{duplicate.error()};
    if (*duplicate) return {};
    const std::string &instruction_set = candidate.facts.instruction_set;
    TuningRecord record = run_.record(candidate);
    const auto analysis = analyse_object(candidate.compute_object, instruction_set);
    if (!analysis) return run_.conclude(record, {TuningStatus::compile_error, analysis.error()});
    const double share = products_share(run_.convolution(), candidate.schedule);
    record.facts = static_facts(*analysis, modelled_processors(instruction_set),
                                multiplications_ * share * (share < 1 ? filtering_transforms : 1));
    record.facts.code_bytes = candidate.code_bytes;
    if (record.facts.modelled_cycles.empty())
        return run_.conclude(record, {TuningStatus::compile_error, "it has no loop that can be modelled"});
    record.status = TuningStatus::modelled;
    modelled_.push_back({candidate.schedule, record.facts});
    return run_.conclude(record, cost(record.status, std::nullopt, record.facts));
}

Result<void> ModelTuning::search() {
    while (!run_.out_of_time()) {
        const auto batch = run_.next_batch();
        if (!batch) return Error{batch.error()};
        if (!*batch) return {};
        for (const Candidate *candidate : **batch) {
            if (auto done = model(*candidate); !done) return done;
        }
        run_.show("modelling");
    }
    return {};
}

// On the layer, or where that is large, on a smaller one of the same loops.
Outcome<CheckedCandidate> ModelTuning::check(const Candidate &candidate) {
    const Layer layer = emulated_variant(run_.layer(), run_.facts(), candidate.schedule);
    const std::string chain = print_chain(layer);
    const Installation &installation = run_.context().installation;
    if (!session_ || chain != session_chain_) {
        SessionOptions options;
        options.threads = run_.settings().threads;
        options.seed = run_.settings().seed;
        options.check_limit = std::chrono::minutes(5); // of an emulator
        auto opened = MeasuringSession::open(layer, run_.target(), installation, run_.context().runner,
                                             run_.folder(), options);
        if (!opened) return Failure{TuningStatus::resource_limit, opened.error(), true};
        session_.emplace(std::move(*opened));
        session_chain_ = chain;
    }
    if (chain == print_chain(run_.layer())) return session_->check(candidate);
    const auto smaller =
        build_candidate(layer, run_.target(), run_.facts(), candidate.schedule, installation, run_.folder());
    if (!smaller) return smaller.failure();
    return session_->check(*smaller);
}

// The record of a schedule that computes the layer; nothing, and a record of the failure, for another.
Result<std::optional<TuningRecord>> ModelTuning::checked_record(const Modelled &modelled) {
    const auto candidate = run_.candidate(modelled.schedule);
    if (!candidate) return Error{candidate.error()};
    if (*candidate == nullptr) return std::optional<TuningRecord>{};
    run_.show("checking");
    const auto checked = check(**candidate);
    TuningRecord record = run_.record(**candidate);
    record.facts = modelled.facts;
    if (!checked) {
        if (auto told = run_.conclude(record, checked.failure()); !told) return Error{told.error()};
        return std::optional<TuningRecord>{};
    }
    record.status = TuningStatus::modelled;
    record.correctness = checked->correctness;
    if (session_chain_ == print_chain(run_.layer())) record.scratch_bytes = checked->scratch_bytes;
    return std::optional(std::move(record));
}

Result<TuneResult> ModelTuning::decide() {
    std::vector<StaticFacts> facts;
    std::optional<std::size_t> incumbent, base;
    for (std::size_t i = 0; i < modelled_.size(); i++) {
        facts.push_back(modelled_[i].facts);
        if (modelled_[i].schedule == run_.incumbent()) incumbent = i;
        if (modelled_[i].schedule == run_.default_schedule()) base = i;
    }
    if (!incumbent) incumbent = base;
    const std::vector<double> losses = worst_losses(facts);
    std::vector<std::size_t> order = ranked_by_model(facts);
    const auto beats = [&](std::size_t i) {
        return !incumbent || losses[*incumbent] >= losses[i] * (1 + run_.settings().threshold);
    };
    std::erase_if(order, [&](std::size_t i) { return i != incumbent && !beats(i); });
    if (order.size() > most_checks) order.resize(most_checks);
    if (incumbent && std::find(order.begin(), order.end(), *incumbent) == order.end())
        order.push_back(*incumbent);
    for (const std::size_t i : order) {
        if (run_.interrupted()) return run_.result(TuneEnd::interrupted, "interrupted in the checks");
        auto record = checked_record(modelled_[i]);
        if (!record) return Error{record.error()};
        if (!*record) continue;
        (*record)->chosen = true;
        if (auto kept = run_.append(**record); !kept) return Error{kept.error()};
        TuneResult result = run_.result(i == incumbent ? TuneEnd::kept : TuneEnd::tuned, "");
        result.chosen = modelled_[i].schedule;
        result.chosen_cost = cost(TuningStatus::modelled, std::nullopt, facts[i]);
        if (base) {
            result.default_cost = cost(TuningStatus::modelled, std::nullopt, facts[*base]);
            const double ratio = losses[i] / losses[*base];
            result.ratio = Ratio{ratio, {ratio, ratio}, 1, 0};
        }
        return result;
    }
    return run_.result(TuneEnd::failed, "no candidate could be used");
}

Result<TuneResult> ModelTuning::tune() {
    if (auto searched = search(); !searched) return Error{searched.error()};
    if (run_.interrupted()) return run_.result(TuneEnd::interrupted, "interrupted");
    const bool complete = run_.search().finished();
    auto result = decide();
    if (result && result->detail.empty())
        result->detail = complete ? "all candidates were tried" : "the budget was spent";
    return result;
}

} // namespace

Result<TuneResult> tune_by_model(TuningRun &run) {
    return ModelTuning(run).tune();
}

} // namespace unstride
