// Tuning records on disk: JSON Lines files, one for each instruction set, that only grow.
//
// A line is a record (tuning_record.h). A line that is none is reported with its number and skipped, so a
// truncated or damaged file loses nothing but the lines concerned.
#pragma once

#include "compiler/language/layer.h"
#include "schedules/tuning_record.h"

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace unstride {

// Who wrote a file of records; the later one wins where both answer.
enum class RecordOrigin { shipped, user };

// A record as far as look-up reads it. Numbers name elements of the database's tables.
struct DatabaseEntry {
    std::uint32_t layer = 0, instruction_set = 0, machine = 0, tools = 0, schedule = 0;
    TuningStatus status = TuningStatus::ok;
    bool baseline = false, chosen = false;
    RecordOrigin origin = RecordOrigin::shipped;
    std::optional<double> cost;        // see cost()
    std::uint32_t file = 0, line = 0;  // lines count from 1
    std::uint64_t begin = 0, size = 0; // of the line in its file, bytes
};

class RecordsFile; // an open one

class Database {
public:
    Database() = default;
    Database(Database &&) = default;
    Database &operator=(Database &&) = default;

    // Adds every *.jsonl file of a folder in the order of their names, or one file. Nothing there is an empty
    // database. What cannot be read is a problem, never an error.
    void add(const std::filesystem::path &path, RecordOrigin origin);

    // "FILE:LINE: what is wrong with it", for every line that was skipped.
    const std::vector<std::string> &problems() const { return problems_; }

    // In the order they were added: within a file, a later record is a newer one.
    const std::vector<DatabaseEntry> &entries() const { return entries_; }

    const Layer &layer(const DatabaseEntry &entry) const { return layers_.values[entry.layer].layer; }
    const std::string &layer_text(const DatabaseEntry &entry) const {
        return layers_.values[entry.layer].text;
    }
    const std::string &instruction_set(const DatabaseEntry &entry) const {
        return instruction_sets_.values[entry.instruction_set];
    }
    const Machine &machine(const DatabaseEntry &entry) const { return machines_.values[entry.machine]; }
    const ToolVersions &tools(const DatabaseEntry &entry) const { return tools_.values[entry.tools]; }
    const ScheduleRecord &schedule(const DatabaseEntry &entry) const {
        return schedules_.values[entry.schedule];
    }
    const std::string &file(const DatabaseEntry &entry) const { return files_[entry.file].path; }
    // "FILE:LINE"
    std::string place(const DatabaseEntry &entry) const;

    // All of a record, which is read from its file again.
    std::optional<TuningRecord> read(const DatabaseEntry &entry, std::string *error) const;

private:
    struct KnownLayer {
        std::string text; // canonical
        Layer layer;
    };
    struct TextHash {
        using is_transparent = void;
        std::size_t operator()(std::string_view text) const { return std::hash<std::string_view>{}(text); }
    };
    using Numbers = std::unordered_map<std::string, std::uint32_t, TextHash, std::equal_to<>>;
    // Values that many lines share, read once for each way that they are written.
    template<typename Value>
    struct Table {
        std::vector<Value> values;
        Numbers by_text;      // as written in a line
        Numbers by_canonical; // as this version writes it
    };
    // Stays open: a file that another one has replaced still holds the records that were read.
    struct OpenFile {
        std::string path;
        std::shared_ptr<const RecordsFile> file;
    };

    std::vector<OpenFile> files_;
    std::vector<std::string> problems_;
    std::vector<DatabaseEntry> entries_;
    Table<KnownLayer> layers_;
    Table<std::string> instruction_sets_;
    Table<Machine> machines_;
    Table<ToolVersions> tools_;
    Table<ScheduleRecord> schedules_;

    void add_file(const std::filesystem::path &path, RecordOrigin origin);
    // A line of the newest file.
    void add_line(std::string_view line, std::uint32_t number, std::uint64_t begin, RecordOrigin origin);
    std::optional<DatabaseEntry> read_line(std::string_view line, std::string *error);
    template<typename Value, typename Read>
    std::optional<std::uint32_t> intern(Table<Value> *table, std::string_view text, const Read &read);
    std::optional<std::uint32_t> intern_layer(std::string_view text, std::string *error);
};

// FOLDER/INSTRUCTION_SET.jsonl
std::filesystem::path database_file(const std::filesystem::path &folder, const std::string &instruction_set);

// Adds a line at the end of a file, which is made with its folders if need be. Any number of processes may
// append to the same file; each record is there as a whole, or, where the disk is full, not at all. If the
// file ends amid a line, the record begins on a new one. False, with the reason, if nothing was written.
bool append_record(const std::filesystem::path &file, const TuningRecord &record, std::string *error);

// Keeps others from adding records to a file while it lives, so that the file can be replaced. A file that is
// not there, or cannot be opened, has no lock.
class RecordsLock {
public:
    explicit RecordsLock(const std::filesystem::path &file);
    RecordsLock(const RecordsLock &) = delete;
    RecordsLock &operator=(const RecordsLock &) = delete;
    ~RecordsLock();
    bool held() const { return descriptor_ >= 0; }

private:
    int descriptor_;
};

// The folder of the user's own records: XDG_DATA_HOME/unstride, else ~/.local/share/unstride. Empty if
// neither variable is set.
std::filesystem::path user_database_folder();

} // namespace unstride
