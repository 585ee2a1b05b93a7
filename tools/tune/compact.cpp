// A file is read, thinned out and replaced under its lock.
#include "tools/tune/compact.h"

#include "schedules/database.h"
#include "tools/files.h"

#include <nlohmann/json.hpp>

#include <algorithm>
#include <map>
#include <string>
#include <tuple>
#include <vector>

namespace unstride {

namespace fs = std::filesystem;

namespace {

// By number in the database's order.
using Entries = std::vector<std::size_t>;

class Thinning {
public:
    Thinning(const Database &database, std::vector<TuningRecord> records)
        : database_(database), records_(std::move(records)), kept_(records_.size(), true) {}

    void drop_carried();
    void keep_best(std::size_t best);
    bool kept(std::size_t entry) const { return kept_[entry]; }

private:
    using Key = std::tuple<std::uint32_t, std::uint32_t, std::uint32_t>; // layer, instruction set, machine

    const Database &database_;
    const std::vector<TuningRecord> records_;
    std::vector<bool> kept_;

    std::map<Key, std::map<std::uint32_t, Entries>> groups() const; // by tools; what is kept
    bool is_carried(std::size_t entry, const Entries &others) const;
};

std::map<Thinning::Key, std::map<std::uint32_t, Entries>> Thinning::groups() const {
    std::map<Key, std::map<std::uint32_t, Entries>> groups;
    const std::vector<DatabaseEntry> &all = database_.entries();
    for (std::size_t i = 0; i < all.size(); i++) {
        if (kept_[i])
            groups[{all[i].layer, all[i].instruction_set, all[i].machine}][all[i].tools].push_back(i);
    }
    return groups;
}

// Whether a later one of the others is the same but for its tools, and what the default is for these.
bool Thinning::is_carried(std::size_t entry, const Entries &others) const {
    return std::any_of(others.begin(), others.end(), [&](std::size_t other) {
        if (other < entry) return false;
        TuningRecord record = records_[other];
        record.tools = records_[entry].tools;
        record.baseline = records_[entry].baseline;
        return to_json(record) == to_json(records_[entry]); // as far as it was written
    });
}

void Thinning::drop_carried() {
    for (const auto &[key, by_tools] : groups()) {
        for (const auto &[tools, entries] : by_tools) {
            const auto carried_by = [&](const auto &other) {
                return other.first != tools &&
                       std::all_of(entries.begin(), entries.end(),
                                   [&](std::size_t entry) { return is_carried(entry, other.second); });
            };
            if (std::none_of(by_tools.begin(), by_tools.end(), carried_by)) continue;
            for (const std::size_t entry : entries)
                kept_[entry] = false;
        }
    }
}

void Thinning::keep_best(std::size_t best) {
    const std::vector<DatabaseEntry> &all = database_.entries();
    for (const auto &[key, by_tools] : groups()) {
        for (const auto &[tools, entries] : by_tools) {
            std::map<std::uint32_t, std::size_t> latest; // of each schedule, as look-up sees it
            std::optional<std::size_t> chosen;
            for (const std::size_t entry : entries) {
                latest[all[entry].schedule] = entry;
                if (all[entry].chosen) chosen = entry;
                kept_[entry] = false;
            }
            std::vector<std::pair<double, std::size_t>> others;
            for (const auto &[schedule, entry] : latest) {
                if (!all[entry].cost || entry == chosen) continue;
                if (all[entry].baseline) {
                    kept_[entry] = true;
                } else {
                    others.emplace_back(*all[entry].cost, entry);
                }
            }
            if (chosen) kept_[*chosen] = true;
            std::sort(others.begin(), others.end());
            for (std::size_t i = 0; i < std::min(best, others.size()); i++)
                kept_[others[i].second] = true;
        }
    }
}

// The line with the figures that this version writes; what it does not know of stays.
std::string rewritten(std::string_view line, const TuningRecord &record) {
    nlohmann::json json = nlohmann::json::parse(line, nullptr, false);
    json.update(to_json(record));
    return json.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

} // namespace

Result<CompactResult> compact(const fs::path &file, const CompactSettings &settings) {
    const RecordsLock lock(file);
    const auto text = read_file(file);
    if (!text) return Error{text.error()};
    Database database;
    database.add(file, RecordOrigin::user);
    std::vector<TuningRecord> records;
    std::map<std::uint32_t, std::size_t> by_line;
    for (const DatabaseEntry &entry : database.entries()) {
        std::string error;
        auto record = database.read(entry, &error);
        if (!record) return Error{error};
        by_line[entry.line] = records.size();
        records.push_back(std::move(*record));
    }
    Thinning thinning(database, records);
    thinning.drop_carried();
    if (settings.best) thinning.keep_best(*settings.best);

    CompactResult result;
    result.records = records.size();
    result.bytes = text->size();
    std::string kept;
    std::string_view rest = *text;
    for (std::uint32_t number = 1; !rest.empty(); number++) {
        const std::size_t end = rest.find('\n');
        const std::string_view line = rest.substr(0, end);
        rest.remove_prefix(end == std::string_view::npos ? rest.size() : end + 1);
        const auto entry = by_line.find(number);
        if (entry != by_line.end() && !thinning.kept(entry->second)) continue;
        kept += entry == by_line.end() ? std::string(line) : rewritten(line, records[entry->second]);
        kept += '\n';
        result.kept += entry == by_line.end() ? 0 : 1;
    }
    result.kept_bytes = kept.size();
    if (kept == *text) return result;
    if (auto written = write_file_atomically(file, kept); !written) return Error{written.error()};
    return result;
}

} // namespace unstride
