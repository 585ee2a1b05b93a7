// Loading converts only what look-up compares, and that once for all lines that share it: 100,000 records
// are read in a fraction of a second.
#include "schedules/database.h"

#include "compiler/language/parser.h"
#include "compiler/language/printer.h"
#include "schedules/json_line.h"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstdlib>
#include <cstring>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>
#include <utility>

namespace unstride {

namespace fs = std::filesystem;

// Closes the file, which also gives back its lock.
class RecordsFile {
public:
    RecordsFile(const fs::path &path, int flags)
        : descriptor_(::open(path.c_str(), flags | O_CLOEXEC, 0644)) {}
    RecordsFile(const RecordsFile &) = delete;
    RecordsFile &operator=(const RecordsFile &) = delete;
    ~RecordsFile() {
        if (descriptor_ >= 0) ::close(descriptor_);
    }
    bool is_open() const { return descriptor_ >= 0; }
    int get() const { return descriptor_; }

private:
    int descriptor_;
};

namespace {

// Waits for the lock. False if there is none.
bool lock(int descriptor) {
    while (::flock(descriptor, LOCK_EX) != 0) {
        if (errno != EINTR) return false;
    }
    return true;
}

// Whether the path still names the file that was opened.
bool is_current(int descriptor, const fs::path &path) {
    struct stat opened {};
    struct stat named {};
    return ::fstat(descriptor, &opened) == 0 && ::stat(path.c_str(), &named) == 0 &&
           opened.st_dev == named.st_dev && opened.st_ino == named.st_ino;
}

std::string reason() {
    return std::strerror(errno);
}

// Reads what there is, up to `size` bytes: their number, 0 at the end of the file, -1 with errno.
ssize_t read_some(int descriptor, char *to, std::size_t size, std::uint64_t begin) {
    ssize_t got = -1;
    do {
        got = ::pread(descriptor, to, size, static_cast<off_t>(begin));
    } while (got < 0 && errno == EINTR);
    return got;
}

nlohmann::json parse_json(std::string_view text) {
    return nlohmann::json::parse(text, nullptr, false);
}

std::optional<std::string> string_from_json(const nlohmann::json &json, std::string *error) {
    if (json.is_string()) return json.get<std::string>();
    *error = "is no text";
    return std::nullopt;
}

// The text that equal values share, however their lines write them.
std::string canonical_text(const std::string &text) {
    return text;
}
template<typename Value>
std::string canonical_text(const Value &value) {
    return to_json(value).dump();
}

// The members that a look-up needs, by name; an absent one is empty.
struct Members {
    std::string_view schema, layer, target, machine, tool, schedule, status, estimate, facts, baseline,
        chosen;
};

Members named(const std::vector<JsonMember> &all) {
    Members members;
    const std::pair<std::string_view, std::string_view Members::*> names[] = {
        {"schema", &Members::schema},     {"layer", &Members::layer},     {"target", &Members::target},
        {"machine", &Members::machine},   {"tool", &Members::tool},       {"schedule", &Members::schedule},
        {"status", &Members::status},     {"est_ns", &Members::estimate}, {"static", &Members::facts},
        {"baseline", &Members::baseline}, {"chosen", &Members::chosen}};
    for (const JsonMember &member : all) {
        for (const auto &[name, field] : names) {
            if (member.key == name) members.*field = member.value;
        }
    }
    return members;
}

std::optional<double> number(std::string_view text) {
    double value = 0;
    const auto [end, failed] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (text.empty() || failed != std::errc{} || end != text.data() + text.size()) return std::nullopt;
    return value;
}

} // namespace

template<typename Value, typename Read>
std::optional<std::uint32_t> Database::intern(Table<Value> *table, std::string_view text, const Read &read) {
    if (const auto known = table->by_text.find(text); known != table->by_text.end()) return known->second;
    std::string canonical;
    std::optional<Value> value = read(parse_json(text), &canonical);
    if (!value) return std::nullopt;
    const auto next = static_cast<std::uint32_t>(table->values.size());
    const auto [place, is_new] = table->by_canonical.try_emplace(canonical, next);
    if (is_new) table->values.push_back(std::move(*value));
    table->by_text.emplace(text, place->second);
    return place->second;
}

std::optional<std::uint32_t> Database::intern_layer(std::string_view text, std::string *error) {
    return intern(&layers_, text,
                  [&](const nlohmann::json &json, std::string *canonical) -> std::optional<KnownLayer> {
                      const auto chain = string_from_json(json, error);
                      if (!chain) return std::nullopt;
                      ParseResult parsed = parse_layer(*chain, "layer");
                      if (!parsed.ok()) {
                          *error = to_string(parsed.errors[0]);
                          return std::nullopt;
                      }
                      *canonical = print_chain(parsed.layers[0]);
                      return KnownLayer{*canonical, std::move(parsed.layers[0])};
                  });
}

std::optional<DatabaseEntry> Database::read_line(std::string_view line, std::string *error) {
    const auto all = split_object(line, error);
    if (!all) return std::nullopt;
    const Members members = named(*all);
    DatabaseEntry entry;

    if (number(members.schema) != tuning_schema) {
        *error = fmt::format("schema {} is not the one that this version reads, {}",
                             members.schema.empty() ? "(none)" : members.schema, tuning_schema);
        return std::nullopt;
    }
    // Reads one member into the entry's number of it.
    const auto fill = [&](const char *key, std::optional<std::uint32_t> found, std::uint32_t *to) {
        if (found) {
            *to = *found;
        } else {
            *error = fmt::format("{}: {}", key, *error);
        }
        return found.has_value();
    };
    const auto shared = [&](auto *table, std::string_view text, const auto &from_json) {
        return intern(table, text, [&](const nlohmann::json &json, std::string *canonical) {
            auto value = from_json(json, error);
            if (value) *canonical = canonical_text(*value);
            return value;
        });
    };
    if (!fill("layer", intern_layer(members.layer, error), &entry.layer) ||
        !fill("target", shared(&instruction_sets_, members.target, string_from_json),
              &entry.instruction_set) ||
        !fill("machine", shared(&machines_, members.machine, machine_from_json), &entry.machine) ||
        !fill("tool", shared(&tools_, members.tool, tools_from_json), &entry.tools) ||
        !fill("schedule", shared(&schedules_, members.schedule, record_from_json), &entry.schedule)) {
        return std::nullopt;
    }

    const auto status = members.status.size() < 2
                            ? std::nullopt
                            : status_from_string(members.status.substr(1, members.status.size() - 2));
    if (!status) {
        *error = fmt::format("status {} is unknown", members.status.empty() ? "(none)" : members.status);
        return std::nullopt;
    }
    entry.status = *status;
    const std::pair<const char *, std::string_view Members::*> marks[] = {{"baseline", &Members::baseline},
                                                                          {"chosen", &Members::chosen}};
    for (const auto &[key, mark] : marks) {
        const std::string_view text = members.*mark;
        if (!text.empty() && text != "true" && text != "false") {
            *error = fmt::format("{} is neither true nor false", key);
            return std::nullopt;
        }
    }
    entry.baseline = members.baseline == "true";
    entry.chosen = members.chosen == "true";
    StaticFacts facts;
    if (*status == TuningStatus::modelled && !members.facts.empty()) {
        const auto read = facts_from_json(parse_json(members.facts), error);
        if (!read) return std::nullopt;
        facts = *read;
    }
    entry.cost = unstride::cost(*status, number(members.estimate), facts);
    if (!entry.cost && (*status == TuningStatus::ok || *status == TuningStatus::modelled)) {
        *error = *status == TuningStatus::ok ? "est_ns is missing or not positive"
                                             : "modelled_cycles is missing or not positive";
        return std::nullopt;
    }
    return entry;
}

void Database::add_line(std::string_view line, std::uint32_t number, std::uint64_t begin,
                        RecordOrigin origin) {
    if (line.find_first_not_of(" \t\r") == std::string_view::npos) return;
    std::string error;
    if (auto entry = read_line(line, &error)) {
        entry->origin = origin;
        entry->file = static_cast<std::uint32_t>(files_.size() - 1);
        entry->line = number;
        entry->begin = begin;
        entry->size = line.size();
        entries_.push_back(*entry);
    } else {
        problems_.push_back(fmt::format("{}:{}: {}", files_.back().path, number, error));
    }
}

// A piece at a time, which holds at least a line: memory is for what look-up needs of the lines.
void Database::add_file(const fs::path &path, RecordOrigin origin) {
    const auto file = std::make_shared<const RecordsFile>(path, O_RDONLY);
    const auto unreadable = [&] {
        problems_.push_back(fmt::format("{}: cannot be read: {}", path.string(), reason()));
    };
    if (!file->is_open()) return unreadable();
    files_.push_back({path.string(), file});
    std::vector<char> piece(std::size_t{1} << 20);
    std::size_t filled = 0;  // of the piece
    std::uint64_t begin = 0; // of the piece, in the file
    std::uint32_t line_number = 1;
    ssize_t got = 1;
    while (got > 0) {
        if (filled == piece.size()) piece.resize(2 * filled);
        got = read_some(file->get(), piece.data() + filled, piece.size() - filled, begin + filled);
        if (got < 0) return unreadable();
        filled += static_cast<std::size_t>(got);
        const std::string_view text(piece.data(), filled);
        std::size_t done = 0;
        for (std::size_t end = text.find('\n'); end != std::string_view::npos; end = text.find('\n', done)) {
            add_line(text.substr(done, end - done), line_number++, begin + done, origin);
            done = end + 1;
        }
        if (got == 0) add_line(text.substr(done), line_number, begin + done, origin);
        std::copy(text.begin() + static_cast<std::ptrdiff_t>(done), text.end(), piece.begin());
        filled -= done;
        begin += done;
    }
}

void Database::add(const fs::path &path, RecordOrigin origin) {
    std::error_code error;
    const fs::file_status status = fs::status(path, error);
    if (path.empty() || status.type() == fs::file_type::not_found) return;
    if (!fs::is_directory(status)) return add_file(path, origin);
    std::vector<fs::path> files;
    for (fs::directory_iterator file(path, error), end; !error && file != end; file.increment(error)) {
        if (file->path().extension() == ".jsonl") files.push_back(file->path());
    }
    if (error) problems_.push_back(fmt::format("{}: cannot be read: {}", path.string(), error.message()));
    std::sort(files.begin(), files.end());
    for (const fs::path &file : files)
        add_file(file, origin);
}

std::string Database::place(const DatabaseEntry &entry) const {
    return fmt::format("{}:{}", files_[entry.file].path, entry.line);
}

std::optional<TuningRecord> Database::read(const DatabaseEntry &entry, std::string *error) const {
    std::string line(entry.size, ' ');
    const ssize_t got = read_some(files_[entry.file].file->get(), line.data(), line.size(), entry.begin);
    if (got != static_cast<ssize_t>(line.size())) {
        *error =
            fmt::format("{}: cannot be read: {}", place(entry), got < 0 ? reason() : "the file has changed");
        return std::nullopt;
    }
    auto record = tuning_record_from_json(parse_json(line), error);
    if (!record) *error = fmt::format("{}: {}", place(entry), *error);
    return record;
}

fs::path database_file(const fs::path &folder, const std::string &instruction_set) {
    return folder / (instruction_set + ".jsonl");
}

RecordsLock::RecordsLock(const fs::path &file) : descriptor_(-1) {
    bool locked = true;
    while (locked) {
        descriptor_ = ::open(file.c_str(), O_RDONLY | O_CLOEXEC);
        if (descriptor_ < 0) return;
        locked = lock(descriptor_);
        if (locked && is_current(descriptor_, file)) return;
        ::close(std::exchange(descriptor_, -1));
    }
}

RecordsLock::~RecordsLock() {
    if (descriptor_ >= 0) ::close(descriptor_);
}

bool append_record(const fs::path &path, const TuningRecord &record, std::string *error) {
    std::string line = to_json(record).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace) + "\n";
    // What could not be read back, such as an estimate that is no number, must not be written.
    if (!tuning_record_from_json(parse_json(line), error)) {
        *error = "the record is incomplete: " + *error;
        return false;
    }
    const auto failed = [&](const char *what) {
        *error = fmt::format("{}: cannot {}: {}", path.string(), what, reason());
        return false;
    };
    std::error_code made;
    if (path.has_parent_path()) fs::create_directories(path.parent_path(), made);
    if (made) {
        *error = fmt::format("{}: cannot be created: {}", path.parent_path().string(), made.message());
        return false;
    }
    std::unique_ptr<const RecordsFile> opened;
    do { // a file that was compacted meanwhile is another one
        opened = std::make_unique<const RecordsFile>(path, O_RDWR | O_CREAT | O_APPEND);
        if (!opened->is_open()) return failed("open for writing");
        if (!lock(opened->get())) return failed("lock");
    } while (!is_current(opened->get(), path));
    const RecordsFile &file = *opened;
    const off_t size = ::lseek(file.get(), 0, SEEK_END);
    if (size < 0) return failed("find its end");
    char last = '\n';
    if (size > 0 && ::pread(file.get(), &last, 1, size - 1) != 1) return failed("read");
    if (last != '\n') line.insert(line.begin(), '\n');
    const ssize_t written = ::write(file.get(), line.data(), line.size());
    if (written == static_cast<ssize_t>(line.size())) return true;
    if (written >= 0) errno = ENOSPC;
    const int write_error = errno;
    // Under the lock nobody else has written behind it.
    if (written > 0 && ::ftruncate(file.get(), size) != 0) return failed("take back half a line");
    errno = write_error;
    return failed("write");
}

fs::path user_database_folder() {
    const auto variable = [](const char *name) -> fs::path {
        const char *value = std::getenv(name);
        return value == nullptr ? "" : value;
    };
    if (const fs::path data = variable("XDG_DATA_HOME"); !data.empty()) return data / "unstride";
    if (const fs::path home = variable("HOME"); !home.empty()) return home / ".local/share/unstride";
    return {};
}

} // namespace unstride
