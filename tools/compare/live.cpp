// A layer at a time: its data are made once, its schedules are built and checked one by one and then timed
// together.
#include "tools/compare/live.h"

#include "compiler/language/printer.h"
#include "compiler/lowering/phase_convolution.h"
#include "schedules/analytic_default.h"
#include "tools/analysis/analysis.h"
#include "tools/compare/database_results.h"
#include "tools/compare/loop_nest.h"
#include "tools/compare/machine_state.h"
#include "tools/compare/work.h"
#include "tools/files.h"
#include "tools/library/host_machine.h"
#include "tools/library/schedule_source.h"
#include "tools/progress.h"

#include <fmt/chrono.h>
#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <chrono>
#include <cstdlib>
#include <ctime>
#include <iterator>
#include <map>
#include <memory>
#include <optional>
#include <utility>

namespace unstride {

namespace {

namespace fs = std::filesystem;

// A clock that loses more than this of its multiply-adds makes a round doubtful.
constexpr double steady_share = 0.9;

// Five digits: finer than any clock and noise, and what a file of thousands of samples needs.
double significant(double sample) {
    return std::strtod(fmt::format("{:.5g}", sample).c_str(), nullptr);
}

struct RecordPlace {
    fs::path file;
    std::uint32_t line = 0;
};

// "FILE:LINE", also with "record " before it.
std::optional<RecordPlace> record_place(std::string_view text) {
    constexpr std::string_view word = "record ";
    if (text.substr(0, word.size()) == word) text.remove_prefix(word.size());
    const std::size_t colon = text.rfind(':');
    if (colon == std::string_view::npos || colon == 0) return std::nullopt;
    RecordPlace place{text.substr(0, colon), 0};
    const char *end = text.data() + text.size();
    const auto read = std::from_chars(text.data() + colon + 1, end, place.line);
    if (read.ec != std::errc() || read.ptr != end || place.line == 0) return std::nullopt;
    return place;
}

bool names_autoscheduler(const std::string &name) {
    return std::find(autoschedulers().begin(), autoschedulers().end(), name) != autoschedulers().end();
}

bool names_form(const std::string &name) {
    return name == "direct" || name == "filtering";
}

// The best schedule of a form by the model that the default is chosen by.
Outcome<ScheduleRecord> best_of_form(const std::string &form, const PhaseConvolution &convolution,
                                     const TargetFacts &facts) {
    const bool filters = form == "filtering";
    if (convolution.depthwise()) {
        if (!filters) return analytic_default(convolution, facts);
        return Failure{TuningStatus::constraint, "the layer does not sum over channels"};
    }
    const FormChoice choice = choose_form(convolution, facts);
    if (!filters) return choice.direct.schedule;
    if (!choice.filtering) return Failure{TuningStatus::constraint, choice.reason};
    return choice.filtering->schedule;
}

Outcome<ScheduleRecord> recorded_schedule(const RecordPlace &place) {
    Database database;
    database.add(place.file, RecordOrigin::user);
    for (const DatabaseEntry &entry : database.entries()) {
        if (entry.line == place.line) return database.schedule(entry);
    }
    for (const std::string &problem : database.problems()) {
        if (problem.find(fmt::format("{}:{}:", place.file.string(), place.line)) != std::string::npos)
            return Failure{TuningStatus::generator_error, problem};
    }
    return Failure{TuningStatus::generator_error,
                   fmt::format("{}: there is no record in line {}", place.file.string(), place.line)};
}

std::string bottleneck(const LoopModel &model) {
    const std::pair<double, const char *> waits[] = {{model.waits_for_units, "execution units"},
                                                     {model.waits_for_operands, "operands"},
                                                     {model.dispatch_stalls, "queues and registers"}};
    const auto longest = std::max_element(std::begin(waits), std::end(waits));
    return longest->first < 0.05
               ? "none stands out"
               : fmt::format("waits for {} in {:.0f} % of the cycles", longest->second, longest->first * 100);
}

HotLoop hot_loop_of(const Loop &loop, const std::string &instruction_set) {
    HotLoop result;
    for (const LoopInstruction &instruction : loop.instructions)
        result.assembly += instruction.text + "\n";
    const LoopCounts &counts = loop.counts;
    result.counts = {{"instructions", counts.total},
                     {"bytes", counts.bytes},
                     {"multiply_adds", counts.multiply_adds()},
                     {"vector_loads", counts.vector_loads},
                     {"broadcasts", counts.broadcasts},
                     {"vector_stores", counts.vector_stores},
                     {"stack_loads", counts.stack_loads},
                     {"stack_stores", counts.stack_stores},
                     {"vector_registers", counts.vector_registers},
                     {"general_registers", counts.general_registers}};
    for (const std::string &processor : modelled_processors(instruction_set)) {
        const Result<LoopModel> model = model_loop(loop, instruction_set, processor);
        if (!model) continue;
        result.modelled_cycles[processor] = model->cycles;
        if (result.bottleneck.empty())
            result.bottleneck = fmt::format("{}: {}", processor, bottleneck(*model));
    }
    return result;
}

// Measures all layers; holds what they share.
class LiveComparison {
public:
    LiveComparison(const LiveRequest &request, Installation installation, ScheduleSource schedules,
                   TemporaryFolder folder, std::unique_ptr<Runner> runner)
        : request_(request), installation_(std::move(installation)), schedules_(std::move(schedules)),
          folder_(std::move(folder)), runner_(std::move(runner)) {
        source_.name = "this run";
        source_.tools = tool_versions(installation_);
        source_.command = request.command;
        source_.date = fmt::format("{:%Y-%m-%dT%H:%M:%SZ}", fmt::gmtime(std::time(nullptr)));
        source_.protocol = {request.protocol.rounds,
                            request.protocol.samples,
                            request.protocol.sample_milliseconds * 1e-3,
                            true,
                            request.protocol.cold,
                            request.protocol.seed};
        if (runner_->here()) {
            source_.machine = host_machine();
            describe_state(&source_);
        } else if (const auto machine =
                       machine_of(*runner_, *request.target, installation_, folder_.path())) {
            source_.machine = *machine;
        }
    }

    Result<Results> run() {
        Progress progress("measured", request_.layers.size() * request_.instruction_sets.size(),
                          request_.quiet);
        std::string failure;
        for (const Layer &layer : request_.layers) {
            if (const std::optional<Failure> failed = run_layer(layer, &progress)) {
                if (failure.empty()) failure = failed->detail;
                add_failed_layer(layer, *failed);
            }
        }
        if (measured_ == 0 && !failure.empty()) return Error{failure};
        finish_source();
        results_.sources = {source_};
        add_searches();
        return std::move(results_);
    }

private:
    const LiveRequest &request_;
    Installation installation_;
    ScheduleSource schedules_;
    TemporaryFolder folder_;
    std::unique_ptr<Runner> runner_;
    ResultSource source_;
    Results results_;
    std::size_t measured_ = 0;
    std::map<std::string, std::vector<double>> peaks_; // by instruction set, of every round
    std::vector<double> loads_;
    int threads_ = 1;

    const TargetFacts &facts_of(const std::string &instruction_set) const {
        const auto &sets = request_.target->instruction_sets;
        return *std::find_if(sets.begin(), sets.end(), [&](const TargetFacts &facts) {
            return facts.instruction_set == instruction_set;
        });
    }

    // The one place where a schedule's name becomes code.
    Outcome<Candidate> make_candidate(const std::string &name, const Layer &layer,
                                      const PhaseConvolution &convolution, const TargetFacts &facts,
                                      Contender *contender) const {
        if (name == "tuned") {
            const LookupResult found = schedules_.find(layer, convolution, *request_.target, facts);
            contender->grade = to_string(found.grade);
            contender->record = fs::path(found.source).filename().string();
            contender->schedule = found.schedule;
        } else if (name == "default") {
            contender->schedule = analytic_default(convolution, facts);
        } else if (names_form(name)) {
            const Outcome<ScheduleRecord> best = best_of_form(name, convolution, facts);
            if (!best) return best.failure();
            contender->schedule = *best;
        } else if (names_autoscheduler(name)) {
            const int threads = request_.threads > 0 ? request_.threads : host_machine().threads;
            contender->schedule = autoscheduled(convolution, name, threads);
        } else {
            const Outcome<ScheduleRecord> recorded = recorded_schedule(record_place(name).value());
            if (!recorded) return recorded.failure();
            contender->schedule = *recorded;
        }
        return build_candidate(layer, *request_.target, facts, *contender->schedule, installation_,
                               folder_.path(), request_.limits);
    }

    ResultRow start_row(const Layer &layer, const std::string &instruction_set,
                        const std::string &schedule) const {
        ResultRow row;
        row.layer = layer.name;
        row.text = print_chain(layer);
        row.instruction_set = instruction_set;
        row.threads = request_.threads;
        row.contender.name = contender_name(schedule);
        row.reproduce =
            fmt::format("unstride compare FILE.layers --layer {} --target {} --instruction-set {} "
                        "--schedules {} --threads {}",
                        layer.name, request_.target->name, instruction_set,
                        record_place(schedule) ? "FILE.jsonl:LINE" : schedule, request_.threads);
        return row;
    }

    void add_failed_layer(const Layer &layer, const Failure &failure) {
        for (const std::string &instruction_set : request_.instruction_sets) {
            for (const std::string &schedule : request_.schedules) {
                ResultRow row = start_row(layer, instruction_set, schedule);
                row.status = failure.status;
                row.detail = failure.detail;
                const auto same = [&](const ResultRow &other) {
                    return other.text == row.text && other.instruction_set == instruction_set &&
                           other.contender.name == row.contender.name;
                };
                if (std::none_of(results_.rows.begin(), results_.rows.end(), same))
                    results_.rows.push_back(std::move(row));
            }
        }
    }

    std::optional<Failure> run_layer(const Layer &layer, Progress *progress) {
        const auto lowered = lower(layer);
        if (const auto *refusal = std::get_if<Diagnostic>(&lowered))
            return Failure{TuningStatus::constraint,
                           fmt::format("{}: {}: {}", layer.name, refusal->stage, refusal->message)};
        SessionOptions options;
        options.threads = request_.threads;
        const Result<MeasuringSession> session =
            MeasuringSession::open(layer, *request_.target, installation_, *runner_, folder_.path(), options);
        if (!session)
            return Failure{TuningStatus::resource_limit, fmt::format("{}: {}", layer.name, session.error())};
        for (const std::string &instruction_set : request_.instruction_sets) {
            auto failed = run_instruction_set(layer, std::get<PhaseConvolution>(lowered),
                                              facts_of(instruction_set), *session);
            if (failed) return failed;
            progress->advance(fmt::format("{} {}", layer.name, instruction_set));
        }
        return std::nullopt;
    }

    std::optional<Failure> run_instruction_set(const Layer &layer, const PhaseConvolution &convolution,
                                               const TargetFacts &facts, const MeasuringSession &session) {
        std::vector<ResultRow> rows;
        std::vector<Candidate> candidates;
        std::vector<std::size_t> row_of;  // each candidate
        std::vector<std::string> outputs; // of each row, none where it failed
        candidates.reserve(request_.schedules.size());
        for (const std::string &schedule : request_.schedules) {
            rows.push_back(start_row(layer, facts.instruction_set, schedule));
            if (auto candidate = try_schedule(schedule, layer, convolution, facts, session, &rows.back(),
                                              &outputs.emplace_back())) {
                candidates.push_back(std::move(*candidate));
                row_of.push_back(rows.size() - 1);
            }
        }
        compare_outputs(outputs, &rows);
        if (!candidates.empty()) {
            std::vector<const Candidate *> timed;
            for (const Candidate &candidate : candidates)
                timed.push_back(&candidate);
            timed.push_back(&candidates.front()); // against itself: the noise floor
            const Result<TimingRun> run = session.time(timed, request_.protocol);
            if (!run)
                return Failure{TuningStatus::link_error, fmt::format("{}: {}", layer.name, run.error())};
            for (std::size_t i = 0; i < candidates.size(); i++)
                take_times(run->candidates[i], &rows[row_of[i]]);
            take_run(*run, facts.instruction_set, &rows);
        }
        std::move(rows.begin(), rows.end(), std::back_inserter(results_.rows));
        return std::nullopt;
    }

    // Which rows give what the default gives, where that is among them.
    static void compare_outputs(const std::vector<std::string> &outputs, std::vector<ResultRow> *rows) {
        const auto usual = std::find_if(rows->begin(), rows->end(),
                                        [](const ResultRow &row) { return row.contender.name == "default"; });
        if (usual == rows->end()) return;
        const std::string &expected = outputs[static_cast<std::size_t>(usual - rows->begin())];
        for (std::size_t i = 0; i < rows->size() && !expected.empty(); i++) {
            if (!outputs[i].empty()) (*rows)[i].bit_exact = outputs[i] == expected;
        }
    }

    // A candidate that gives right answers; else the row says why there is none.
    std::optional<Candidate> try_schedule(const std::string &schedule, const Layer &layer,
                                          const PhaseConvolution &convolution, const TargetFacts &facts,
                                          const MeasuringSession &session, ResultRow *row,
                                          std::string *outputs) const {
        const LayerWork work = work_of(session.timed_layer());
        row->input_shape = work.input_shape;
        if (work.multiplications > 0) row->multiplications = work.multiplications;
        if (work.compulsory_bytes > 0) row->compulsory_bytes = work.compulsory_bytes;
        const auto refuse = [&](const Failure &failure) {
            row->status = failure.status;
            row->detail = failure.detail;
            return std::nullopt;
        };
        Outcome<Candidate> candidate = make_candidate(schedule, layer, convolution, facts, &row->contender);
        if (!candidate) return refuse(candidate.failure());
        row->facts.code_bytes = candidate->code_bytes;
        if (!candidate->from_cache) row->compile_seconds = candidate->compile_seconds;
        analyse(*candidate, work.multiplications * products_share(convolution, *row->contender.schedule),
                row);
        if (request_.loops) {
            const auto loops =
                loop_nest_of(*candidate, installation_, folder_.path(), request_.limits.generator);
            if (loops) row->contender.loops = *loops;
        }
        const Outcome<CheckedCandidate> checked = session.check(*candidate);
        if (!checked) return refuse(checked.failure());
        row->correctness = checked->correctness;
        row->scratch_bytes = checked->scratch_bytes;
        *outputs = checked->outputs;
        return std::move(*candidate);
    }

    void analyse(const Candidate &candidate, double multiplications, ResultRow *row) const {
        const std::string &set = candidate.facts.instruction_set;
        const Result<KernelAnalysis> analysis = analyse_object(candidate.compute_object, set);
        if (!analysis) return; // instruction sets without code to read
        row->facts = static_facts(*analysis, modelled_processors(set), multiplications);
        if (analysis->hottest() != nullptr) row->hot_loop = hot_loop_of(*analysis->hottest(), set);
    }

    void take_times(const Outcome<Rounds> &rounds, ResultRow *row) {
        if (!rounds || rounds->empty()) {
            row->status = rounds ? TuningStatus::run_timeout : rounds.failure().status;
            row->detail = rounds ? "no round was finished" : rounds.failure().detail;
            return;
        }
        row->samples_ns = *rounds;
        for (std::vector<double> &round : row->samples_ns) {
            for (double &sample : round)
                sample = significant(sample);
        }
        const Estimate estimated = estimate(row->samples_ns);
        row->estimate_ns = estimated.value;
        row->interval_ns = {estimated.interval.low, estimated.interval.high};
        measured_++;
    }

    // What a run says of the machine.
    void take_run(const TimingRun &run, const std::string &instruction_set, std::vector<ResultRow> *rows) {
        threads_ = run.threads;
        for (ResultRow &row : *rows)
            row.threads = run.threads;
        loads_.insert(loads_.end(), run.load.begin(), run.load.end());
        std::vector<double> &peaks = peaks_[instruction_set];
        for (const double peak : run.peak_gflops) {
            if (peak > 0) peaks.push_back(peak * 1e9);
        }
        const Outcome<Rounds> &first = run.candidates.front(), &again = run.candidates.back();
        if (first && again && first->size() > 1 && again->size() > 1) {
            const double noise = noise_floor(*first, *again);
            source_.noise_floor = std::max(source_.noise_floor.value_or(0), noise);
        }
    }

    // The log of tuning each layer, where the user's records hold one.
    void add_searches() {
        const fs::path database = request_.database.empty() ? user_database_folder() : request_.database;
        if (database.empty() || !runner_->here()) return;
        std::map<std::pair<std::string, std::string>, std::optional<std::size_t>> known;
        for (ResultRow &row : results_.rows) {
            const auto [place, fresh] = known.try_emplace({row.text, row.instruction_set});
            if (fresh) {
                SearchLog log = search_log_of(database, row.text, row.instruction_set, host_machine());
                if (log.trials.size() > 1) {
                    place->second = results_.searches.size();
                    results_.searches.push_back(std::move(log));
                }
            }
            row.search = place->second;
        }
    }

    void finish_source() {
        source_.machine.threads = threads_;
        for (auto &[instruction_set, peaks] : peaks_) {
            if (peaks.empty()) continue;
            const auto middle = peaks.begin() + static_cast<std::ptrdiff_t>(peaks.size() / 2);
            std::nth_element(peaks.begin(), middle, peaks.end());
            source_.peaks.push_back({instruction_set, threads_, *middle});
            const auto slow = std::count_if(peaks.begin(), peaks.end(),
                                            [&](double peak) { return peak < steady_share * *middle; });
            if (4 * static_cast<std::size_t>(slow) > peaks.size()) {
                source_.unsteady =
                    fmt::format("multiply-adds ran below {:.0f} % of their usual rate in {} of "
                                "{} rounds",
                                steady_share * 100, slow, peaks.size());
            }
        }
        if (runner_->here() && request_.target->name == host_target().name)
            source_.bandwidths = measure_bandwidths(source_.machine, threads_);
    }
};

} // namespace

std::string schedule_names() {
    return fmt::format("tuned, default, its two forms direct and filtering, FILE.jsonl:LINE, and of Halide's "
                       "autoschedulers {}",
                       fmt::join(autoschedulers(), ", "));
}

bool names_schedule(const std::string &text) {
    return text == "tuned" || text == "default" || names_form(text) || names_autoscheduler(text) ||
           record_place(text).has_value();
}

std::string contender_name(const std::string &schedule) {
    const auto place = record_place(schedule);
    return place ? fmt::format("record {}:{}", place->file.filename().string(), place->line) : schedule;
}

Result<Results> measure_schedules(const LiveRequest &request) {
    const Result<Installation> installation = find_installation();
    if (!installation) return Error{installation.error()};
    Result<ScheduleSource> schedules = ScheduleSource::open(*installation, request.database);
    if (!schedules) return Error{schedules.error()};
    Result<TemporaryFolder> folder = make_temporary_folder("unstride-compare");
    if (!folder) return Error{folder.error()};
    Result<std::unique_ptr<Runner>> runner = make_runner(request.runner, *request.target);
    if (!runner) return Error{runner.error()};
    LiveComparison comparison(request, *installation, std::move(*schedules), std::move(*folder),
                              std::move(*runner));
    return comparison.run();
}

} // namespace unstride
