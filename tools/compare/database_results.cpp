// Records are grouped by what they are about, then by who measured them.
#include "tools/compare/database_results.h"

#include "compiler/lowering/phase_convolution.h"
#include "schedules/database.h"
#include "schedules/search_space.h"
#include "schedules/target_facts.h"
#include "tools/compare/work.h"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <map>
#include <optional>
#include <set>
#include <tuple>
#include <variant>

namespace unstride {

namespace {

using Entries = std::vector<const DatabaseEntry *>; // in the order of the log

// The contenders of one layer among records of the same tools.
struct Choice {
    const DatabaseEntry *best = nullptr, *standard = nullptr;
};

Choice choose(const Entries &entries) {
    Choice choice;
    const auto better = [](const DatabaseEntry &a, const DatabaseEntry &b) {
        if (a.chosen || b.chosen) return a.chosen; // the later one wins
        if ((a.status == TuningStatus::ok) != (b.status == TuningStatus::ok))
            return a.status == TuningStatus::ok;
        return *a.cost < *b.cost;
    };
    for (const DatabaseEntry *entry : entries) {
        if (!entry->cost) continue;
        if (choice.best == nullptr || better(*entry, *choice.best)) choice.best = entry;
        if (entry->baseline) choice.standard = entry;
    }
    return choice;
}

std::optional<ResultRow> row_of(const Database &database, const DatabaseEntry &entry, const char *contender,
                                std::size_t source) {
    std::string error;
    auto record = database.read(entry, &error);
    if (!record) return std::nullopt;
    const LayerWork work = work_of(database.layer(entry));
    ResultRow row;
    row.source = source;
    row.layer = row.text = record->layer;
    row.input_shape = work.input_shape;
    row.instruction_set = record->instruction_set;
    row.threads = std::max(record->machine.threads, 1);
    row.contender.name = contender;
    row.contender.schedule = record->schedule;
    const std::filesystem::path place = database.place(entry);
    row.contender.record = place.filename().string();
    row.status = record->status;
    row.detail = record->detail;
    row.samples_ns = std::move(record->samples_ns);
    row.estimate_ns = record->estimate_ns;
    row.interval_ns = record->interval_ns;
    if (work.multiplications > 0) row.multiplications = work.multiplications;
    if (work.compulsory_bytes > 0) row.compulsory_bytes = work.compulsory_bytes;
    row.correctness = record->correctness;
    row.facts = record->facts;
    row.compile_seconds = record->compile_seconds;
    row.scratch_bytes = record->scratch_bytes;
    return row;
}

const TargetFacts *facts_of(const std::string &instruction_set) {
    for (const Target &target : all_targets()) {
        for (const TargetFacts &facts : target.instruction_sets) {
            if (facts.instruction_set == instruction_set) return &facts;
        }
    }
    return nullptr;
}

// How much of the space a search covers, where its schedules mean what this version's do.
void describe_space(const Layer &layer, const Machine &machine, const ToolVersions &tools,
                    SearchLog *search) {
    const TargetFacts *facts = facts_of(search->instruction_set);
    const auto lowered = lower(layer);
    const auto *convolution = std::get_if<PhaseConvolution>(&lowered);
    if (facts == nullptr || convolution == nullptr || tools.space != search_space_version) return;
    const SearchSpace space(*convolution, *facts, machine.threads > 0 ? machine.threads : planned_threads);
    std::set<std::size_t> tried;
    for (const Trial &trial : search->trials) {
        const auto point = trial.schedule ? space.find(*trial.schedule) : std::nullopt;
        if (point) tried.insert(*point);
    }
    search->space = static_cast<std::int64_t>(space.points().size());
    search->space_tried = static_cast<std::int64_t>(tried.size());
}

SearchLog log_of(const Database &database, const Entries &entries) {
    SearchLog search;
    search.layer = database.layer_text(*entries.front());
    search.instruction_set = database.instruction_set(*entries.front());
    const std::string place = std::filesystem::path(database.place(*entries.front())).filename().string();
    search.log = place.substr(0, place.rfind(':'));
    for (const DatabaseEntry *entry : entries) {
        std::string error;
        auto record = database.read(*entry, &error);
        if (!record) continue;
        Trial trial;
        trial.status = record->status;
        trial.detail = std::move(record->detail);
        trial.estimate_ns = record->estimate_ns;
        trial.schedule = record->schedule;
        trial.date = std::move(record->date);
        search.trials.push_back(std::move(trial));
    }
    const DatabaseEntry &any = *entries.front();
    describe_space(database.layer(any), database.machine(any), database.tools(any), &search);
    return search;
}

// Those by the same tools as the last one.
Entries latest_tools(const Entries &entries) {
    Entries latest;
    for (const DatabaseEntry *entry : entries) {
        if (entry->tools == entries.back()->tools) latest.push_back(entry);
    }
    return latest;
}

std::string source_name(const std::filesystem::path &path, const Machine &machine, bool only_one) {
    const std::filesystem::path name = path.has_filename() ? path.filename() : path.parent_path().filename();
    if (only_one) return name.string();
    return fmt::format("{} [{}, {} threads]", name.string(),
                       machine.model.empty() ? "unnamed" : machine.model, machine.threads);
}

} // namespace

Result<Results> read_database_results(const std::filesystem::path &path, std::vector<std::string> *problems) {
    Database database;
    database.add(path, RecordOrigin::user);
    *problems = database.problems();
    std::map<std::uint32_t, std::size_t> sources;                                    // by machine
    std::map<std::tuple<std::size_t, std::uint32_t, std::uint32_t>, Entries> groups; // source, layer, set
    Results results;
    for (const DatabaseEntry &entry : database.entries()) {
        const auto [source, fresh] = sources.try_emplace(entry.machine, sources.size());
        if (fresh) results.sources.emplace_back().machine = database.machine(entry);
        groups[{source->second, entry.layer, entry.instruction_set}].push_back(&entry);
    }
    for (ResultSource &source : results.sources)
        source.name = source_name(path, source.machine, results.sources.size() == 1);
    for (const auto &[key, all] : groups) {
        const std::size_t source = std::get<0>(key);
        const Entries entries = latest_tools(all);
        const Choice choice = choose(entries);
        results.sources[source].tools = database.tools(*entries.back());
        const std::size_t search = results.searches.size();
        results.searches.push_back(log_of(database, entries));
        if (!results.searches.back().trials.empty())
            results.sources[source].date = results.searches.back().trials.back().date;
        for (const auto &[entry, name] :
             {std::pair(choice.best, "best"), std::pair(choice.standard, "default")}) {
            if (entry == nullptr) continue;
            if (auto row = row_of(database, *entry, name, source)) {
                row->search = search;
                results.rows.push_back(std::move(*row));
            }
        }
    }
    if (results.rows.empty())
        return Error{fmt::format("{}: no record of a schedule that worked", path.string())};
    return results;
}

SearchLog search_log_of(const std::filesystem::path &path, const std::string &layer_text,
                        const std::string &instruction_set, const Machine &machine) {
    Database database;
    database.add(path, RecordOrigin::user);
    Entries entries;
    for (const DatabaseEntry &entry : database.entries()) {
        if (database.layer_text(entry) == layer_text && database.instruction_set(entry) == instruction_set &&
            database.machine(entry) == machine)
            entries.push_back(&entry);
    }
    return entries.empty() ? SearchLog{} : log_of(database, latest_tools(entries));
}

} // namespace unstride
