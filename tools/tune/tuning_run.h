// One tuning run while it goes on: its search, its records and the candidates built so far.
#pragma once

#include "compiler/lowering/phase_convolution.h"
#include "schedules/search_space.h"
#include "tools/files.h"
#include "tools/measure/candidate.h"
#include "tools/tune/known_records.h"
#include "tools/tune/search.h"
#include "tools/tune/tuner.h"

#include <chrono>
#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace unstride {

class TuningRun {
public:
    static Result<std::unique_ptr<TuningRun>> start(const Layer &layer, const Target &target,
                                                    const TargetFacts &facts, const TuneContext &context,
                                                    const TuneSettings &settings, const Machine &machine);

    const Layer &layer() const { return layer_; }
    const Target &target() const { return target_; }
    const TargetFacts &facts() const { return facts_; }
    const TuneSettings &settings() const { return settings_; }
    const TuneContext &context() const { return context_; }
    const PhaseConvolution &convolution() const { return convolution_; }
    const std::filesystem::path &folder() const { return folder_.path(); }
    const KnownRecords &known() const { return known_; }
    const ScheduleRecord &default_schedule() const { return space_.points()[0]; }
    // What the winner must beat.
    const ScheduleRecord &incumbent() const;
    Search &search() { return search_; }

    bool interrupted() const;
    bool out_of_time() const; // also when interrupted

    // A batch of the search, built by all processors; nothing compiles any more when this returns. What could
    // not be built is recorded, told to the search and left out. Nothing at the end of the search; a batch of
    // which nothing could be built is empty.
    Result<std::optional<std::vector<const Candidate *>>> next_batch();

    // Whether a candidate is the same code as one before that counts; then that is recorded.
    Result<bool> is_duplicate(const Candidate &candidate);

    // A candidate by its schedule; built if it was not yet. Null, and recorded, if it cannot be built.
    Result<const Candidate *> candidate(const ScheduleRecord &schedule);

    // A record of a schedule with what every record of this run has in common.
    TuningRecord record(const ScheduleRecord &schedule) const;
    TuningRecord record(const Candidate &candidate) const;

    // Adds a record to the database and tells the search; `cost` as Search::tell takes it. A failure of the
    // environment is no record but an error.
    Result<void> conclude(const TuningRecord &record, std::optional<double> cost);
    Result<void> conclude(TuningRecord record, const Failure &failure);

    // Adds a record to the database that the search needs not know of.
    Result<void> append(const TuningRecord &record);

    void show(const char *step);

    // Bytes of weights that a schedule of the layer packs.
    std::int64_t packed_bytes(const ScheduleRecord &schedule) const;

    // What is known so far, for the caller to complete.
    TuneResult result(TuneEnd end, std::string detail) const;

    std::optional<double> baseline_cost; // of the default, once known

private:
    // How trying a schedule ended, as far as that is known.
    struct Fate {
        ScheduleRecord schedule;
        TuningStatus status;
        std::string detail;
    };

    TuningRun(const Layer &layer, const Target &target, const TargetFacts &facts, const TuneContext &context,
              const TuneSettings &settings, PhaseConvolution convolution, TuningIdentity identity,
              std::filesystem::path file, TemporaryFolder folder);

    const Layer layer_;
    const Target &target_;
    const TargetFacts facts_;
    const TuneContext &context_;
    const TuneSettings &settings_;
    const PhaseConvolution convolution_;
    const TuningIdentity identity_;
    const std::filesystem::path file_;
    const TemporaryFolder folder_;
    const SearchSpace space_;
    const KnownRecords known_;
    Search search_;
    const std::chrono::steady_clock::time_point start_;
    std::deque<Candidate> candidates_;                // that were built
    std::map<std::string, ScheduleRecord> by_object_; // candidates that count, by their code
    std::vector<Fate> fates_;                         // one a schedule, in the order they were tried
    std::size_t resumed_ = 0;
    bool cannot_record_ = false;

    void resume();
    void count(const TuningRecord &record);
    Outcome<Candidate> build(const ScheduleRecord &schedule) const;
    const Candidate *find(const ScheduleRecord &schedule) const;
    std::chrono::steady_clock::time_point deadline() const { return start_ + settings_.budget; }
};

} // namespace unstride
