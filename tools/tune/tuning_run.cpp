// Candidates are compiled in batches of a few for each processor, so that between two batches the machine is
// idle but for what is timed.
#include "tools/tune/tuning_run.h"

#include "compiler/language/printer.h"
#include "schedules/analytic_default.h"
#include "tools/library/form.h"
#include "tools/library/parallel.h"
#include "tools/library/schedule_source.h"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <ctime>
#include <thread>

namespace unstride {

namespace fs = std::filesystem;
using Clock = std::chrono::steady_clock;

namespace {

constexpr std::size_t most_of_other_layers = 4;
constexpr std::size_t longest_detail = 600;

std::size_t batch_size() {
    return std::clamp<std::size_t>(2 * std::max(1u, std::thread::hardware_concurrency()), 4, 16);
}

// "2026-03-01T12:00:00Z"
std::string date_now() {
    const std::time_t now = std::time(nullptr);
    std::tm parts{};
    ::gmtime_r(&now, &parts);
    char text[32];
    const std::size_t length = std::strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", &parts);
    return {text, length};
}

// What to try first: what is in use, the same with what it can fetch ahead, the best of the form that the
// default does not have, and what was chosen for other layers as far as it suits this one.
std::vector<ScheduleRecord> schedules_to_begin_with(const KnownRecords &known, const PhaseConvolution &layer,
                                                    const TargetFacts &facts, int threads) {
    std::vector<ScheduleRecord> first;
    if (known.incumbent && !violated_constraint(layer, facts, *known.incumbent)) {
        first.push_back(*known.incumbent);
        const ScheduleRecord ahead = with_prefetch(*known.incumbent, [&](const ScheduleRecord &record) {
            return !unworthy(layer, facts, record, threads);
        });
        if (ahead != *known.incumbent) first.push_back(ahead);
    }
    if (!layer.depthwise()) {
        const FormChoice choice = choose_form(layer, facts);
        if (choice.filters) first.push_back(choice.direct.schedule);
        if (!choice.filters && choice.filtering) first.push_back(choice.filtering->schedule);
    }
    std::size_t others = 0;
    for (const ScheduleRecord &other : known.of_other_layers) {
        if (others == most_of_other_layers) break;
        if (unworthy(layer, facts, other, threads)) continue;
        first.push_back(other);
        others++;
    }
    return first;
}

int planned_threads_of(const Machine &machine) {
    return machine.threads > 0 ? machine.threads : planned_threads;
}

bool is_failure(TuningStatus status) {
    return status != TuningStatus::ok && status != TuningStatus::modelled;
}

} // namespace

Result<std::unique_ptr<TuningRun>> TuningRun::start(const Layer &layer, const Target &target,
                                                    const TargetFacts &facts, const TuneContext &context,
                                                    const TuneSettings &settings, const Machine &machine) {
    auto lowered = lower(layer);
    if (const auto *refusal = std::get_if<Diagnostic>(&lowered)) return Error{to_string(*refusal)};
    const auto file = records_file(context.database_path, facts.instruction_set);
    if (!file) return Error{file.error()};
    if (auto appendable = check_appendable(*file); !appendable) return Error{appendable.error()};
    auto folder = make_temporary_folder("unstride-tune");
    if (!folder) return Error{folder.error()};
    TuningIdentity identity{print_chain(layer), facts.instruction_set, machine,
                            tool_versions(context.installation), context.runner.emulated()};
    return std::unique_ptr<TuningRun>(new TuningRun(layer, target, facts, context, settings,
                                                    std::get<PhaseConvolution>(std::move(lowered)),
                                                    std::move(identity), *file, std::move(*folder)));
}

TuningRun::TuningRun(const Layer &layer, const Target &target, const TargetFacts &facts,
                     const TuneContext &context, const TuneSettings &settings, PhaseConvolution convolution,
                     TuningIdentity identity, fs::path file, TemporaryFolder folder)
    : layer_(layer), target_(target), facts_(facts), context_(context), settings_(settings),
      convolution_(std::move(convolution)), identity_(std::move(identity)), file_(std::move(file)),
      folder_(std::move(folder)), space_(convolution_, facts_, planned_threads_of(identity_.machine)),
      known_(known_records(context.database, identity_)),
      search_(space_,
              schedules_to_begin_with(known_, convolution_, facts_, planned_threads_of(identity_.machine)),
              {settings.seed, settings.candidates}),
      start_(Clock::now()) {
    resume();
}

const ScheduleRecord &TuningRun::incumbent() const {
    const bool usable = known_.incumbent && !violated_constraint(convolution_, facts_, *known_.incumbent);
    return usable ? *known_.incumbent : default_schedule();
}

// Tells the search what an unfinished run has found; times and modelled cycles do not mix.
void TuningRun::resume() {
    const TuningStatus other = context_.runner.emulated() ? TuningStatus::ok : TuningStatus::modelled;
    for (const TuningRecord &record : known_.unfinished) {
        if (record.status == other) continue;
        const auto figure =
            is_failure(record.status) ? std::nullopt : cost(record.status, record.estimate_ns, record.facts);
        search_.tell(record.schedule, figure);
        if (record.schedule == default_schedule()) baseline_cost = figure;
        count(record);
    }
    resumed_ = fates_.size();
}

void TuningRun::count(const TuningRecord &record) {
    if (!is_failure(record.status) && !record.object.empty())
        by_object_.try_emplace(record.object, record.schedule);
    const auto known = std::find_if(fates_.begin(), fates_.end(),
                                    [&](const Fate &fate) { return fate.schedule == record.schedule; });
    Fate &fate = known == fates_.end() ? fates_.emplace_back() : *known;
    fate = {record.schedule, record.status, record.detail};
}

bool TuningRun::interrupted() const {
    return settings_.interrupted != nullptr && *settings_.interrupted;
}

bool TuningRun::out_of_time() const {
    return interrupted() || Clock::now() >= deadline();
}

Outcome<Candidate> TuningRun::build(const ScheduleRecord &schedule) const {
    return build_candidate(layer_, target_, facts_, schedule, context_.installation, folder_.path());
}

const Candidate *TuningRun::find(const ScheduleRecord &schedule) const {
    const auto found = std::find_if(candidates_.begin(), candidates_.end(), [&](const Candidate &candidate) {
        return candidate.schedule == schedule;
    });
    return found == candidates_.end() ? nullptr : &*found;
}

Result<std::optional<std::vector<const Candidate *>>> TuningRun::next_batch() {
    if (search_.finished()) return std::optional<std::vector<const Candidate *>>{};
    const std::vector<ScheduleRecord> asked = search_.ask(batch_size());
    if (asked.empty()) return std::optional<std::vector<const Candidate *>>{};
    show("compiling");
    std::vector<std::optional<Outcome<Candidate>>> built(asked.size());
    run_parallel(asked.size(), 0, [&](std::size_t i) {
        if (!out_of_time()) built[i] = build(asked[i]);
    });
    std::vector<const Candidate *> batch;
    for (std::size_t i = 0; i < asked.size(); i++) {
        if (!built[i]) continue;
        if (*built[i]) {
            candidates_.push_back(**std::move(built[i]));
            batch.push_back(&candidates_.back());
        } else if (auto concluded = conclude(record(asked[i]), built[i]->failure()); !concluded) {
            return Error{concluded.error()};
        }
    }
    return std::optional(std::move(batch));
}

Result<const Candidate *> TuningRun::candidate(const ScheduleRecord &schedule) {
    if (const Candidate *known = find(schedule); known != nullptr) return known;
    show("compiling");
    Outcome<Candidate> built = build(schedule);
    if (!built) {
        if (auto concluded = conclude(record(schedule), built.failure()); !concluded)
            return Error{concluded.error()};
        return static_cast<const Candidate *>(nullptr);
    }
    candidates_.push_back(*std::move(built));
    return static_cast<const Candidate *>(&candidates_.back());
}

Result<bool> TuningRun::is_duplicate(const Candidate &candidate) {
    const auto known = by_object_.find(candidate.object);
    if (known == by_object_.end() || known->second == candidate.schedule) return false;
    const Failure failure{TuningStatus::duplicate,
                          fmt::format("the code of {}", to_json(known->second).dump())};
    if (auto concluded = conclude(record(candidate), failure); !concluded) return Error{concluded.error()};
    return true;
}

TuningRecord TuningRun::record(const ScheduleRecord &schedule) const {
    TuningRecord record;
    record.layer = identity_.layer;
    record.instruction_set = identity_.instruction_set;
    record.machine = identity_.machine;
    record.tools = identity_.tools;
    record.schedule = schedule;
    record.baseline = schedule == default_schedule();
    record.seed = settings_.seed;
    record.date = date_now();
    return record;
}

TuningRecord TuningRun::record(const Candidate &candidate) const {
    TuningRecord result = record(candidate.schedule);
    result.object = candidate.object;
    result.facts.code_bytes = candidate.code_bytes;
    if (!candidate.from_cache) result.compile_seconds = candidate.compile_seconds;
    return result;
}

Result<void> TuningRun::append(const TuningRecord &record) {
    std::string error;
    if (append_record(file_, record, &error)) return {};
    cannot_record_ = true;
    return Error{fmt::format("no more records can be kept: {}; what was recorded so far stays, and the same "
                             "command goes on from there",
                             error)};
}

Result<void> TuningRun::conclude(const TuningRecord &record, std::optional<double> cost) {
    search_.tell(record.schedule, cost);
    if (record.baseline) baseline_cost = cost;
    count(record);
    return append(record);
}

Result<void> TuningRun::conclude(TuningRecord record, const Failure &failure) {
    if (failure.of_environment) return Error{failure.detail};
    record.status = failure.status;
    record.detail = failure.detail.substr(0, longest_detail);
    return conclude(record, std::optional<double>{});
}

void TuningRun::show(const char *step) {
    if (!settings_.on_progress) return;
    TuneProgress progress;
    progress.layer = layer_.name;
    progress.instruction_set = facts_.instruction_set;
    progress.step = step;
    progress.tried = fates_.size();
    progress.candidates = std::min(settings_.candidates, std::max(space_.points().size(), fates_.size()));
    progress.failed = static_cast<std::size_t>(std::count_if(
        fates_.begin(), fates_.end(), [](const Fate &fate) { return is_failure(fate.status); }));
    progress.best = search_.best();
    progress.baseline = baseline_cost;
    const auto left = std::chrono::duration_cast<std::chrono::seconds>(deadline() - Clock::now());
    progress.left = std::max(left, std::chrono::seconds(0));
    settings_.on_progress(progress);
}

std::int64_t TuningRun::packed_bytes(const ScheduleRecord &schedule) const {
    return packed_weight_bytes(convolution_, schedule);
}

TuneResult TuningRun::result(TuneEnd end, std::string detail) const {
    TuneResult result;
    result.layer = layer_.name;
    result.instruction_set = facts_.instruction_set;
    result.end = end;
    result.detail = std::move(detail);
    result.modelled = context_.runner.emulated();
    result.default_cost = baseline_cost;
    result.tried = fates_.size();
    result.resumed = resumed_;
    for (const Fate &fate : fates_) {
        if (!is_failure(fate.status)) continue;
        FailureTally &tally = result.failures[fate.status];
        if (tally.count++ == 0) tally.first = fate.detail;
    }
    result.cannot_record = cannot_record_;
    result.seconds = std::chrono::duration<double>(Clock::now() - start_).count();
    return result;
}

} // namespace unstride
