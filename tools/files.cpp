// Files through the system's own calls, so that every failure can be told apart and named.
#include "tools/files.h"

#include "tools/sha256.h"

#include <array>
#include <atomic>
#include <cerrno>
#include <cstdlib>
#include <fcntl.h>
#include <fmt/format.h>
#include <mutex>
#include <set>
#include <sys/file.h>
#include <sys/stat.h>
#include <system_error>
#include <unistd.h>
#include <utility>

namespace unstride {
namespace {

namespace fs = std::filesystem;

Error system_error(const fs::path &path, const char *action, int code) {
    return Error{
        fmt::format("{}: cannot {}: {}", path.string(), action, std::generic_category().message(code))};
}

// A descriptor that is closed when it goes.
class File {
public:
    explicit File(int descriptor) : descriptor_(descriptor) {}
    File(const File &) = delete;
    File &operator=(const File &) = delete;
    ~File() {
        if (descriptor_ >= 0) ::close(descriptor_);
    }
    int get() const { return descriptor_; }
    int release() { return std::exchange(descriptor_, -1); }

    // Closes and says whether the system accepted all that was written.
    bool close() { return ::close(std::exchange(descriptor_, -1)) == 0; }

private:
    int descriptor_;
};

// Calls receive(bytes) for each piece of a regular file.
template<typename Receive>
Result<void> read_pieces(const fs::path &path, Receive receive) {
    // Without O_NONBLOCK, opening a pipe would wait for its writer.
    const File file(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
    if (file.get() < 0) return system_error(path, "open", errno);
    struct stat status {};
    if (::fstat(file.get(), &status) != 0) return system_error(path, "open", errno);
    if (S_ISDIR(status.st_mode)) return Error{fmt::format("{}: is a folder, expected a file", path.string())};
    if (!S_ISREG(status.st_mode)) return Error{fmt::format("{}: is not a regular file", path.string())};

    std::array<char, 1 << 16> buffer;
    for (;;) {
        const ssize_t count = ::read(file.get(), buffer.data(), buffer.size());
        if (count == 0) return {};
        if (count > 0)
            receive(std::string_view(buffer.data(), static_cast<std::size_t>(count)));
        else if (errno != EINTR)
            return system_error(path, "read", errno);
    }
}

int write_all(int descriptor, std::string_view bytes) {
    while (!bytes.empty()) {
        const ssize_t count = ::write(descriptor, bytes.data(), bytes.size());
        if (count > 0)
            bytes.remove_prefix(static_cast<std::size_t>(count));
        else if (count == 0)
            return ENOSPC;
        else if (errno != EINTR)
            return errno;
    }
    return 0;
}

// Creates a file beside `target` under a name that nobody else uses, and sets `name` to it.
int create_beside(const fs::path &target, fs::path &name) {
    static std::atomic<unsigned> counter = 0;
    for (;;) {
        name = target.parent_path() / fmt::format(".unstride-{}-{}.tmp", ::getpid(), counter++);
        const int descriptor = ::open(name.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
        if (descriptor >= 0 || errno != EEXIST) return descriptor;
    }
}

// The file that writing to `path` replaces: links are followed.
Result<fs::path> file_to_replace(const fs::path &path) {
    std::error_code failure;
    fs::path target = path;
    if (fs::is_symlink(path, failure)) {
        target = fs::weakly_canonical(path, failure);
        if (failure) return system_error(path, "follow the link", failure.value());
    }
    if (fs::is_directory(target, failure))
        return Error{fmt::format("{}: is a folder, expected a file", path.string())};
    if (fs::exists(target, failure) && !fs::is_regular_file(target, failure))
        return Error{fmt::format("{}: is not a regular file", path.string())};
    return target;
}

} // namespace

Result<std::string> read_file(const fs::path &path) {
    std::string bytes;
    const Result<void> read = read_pieces(path, [&](std::string_view piece) { bytes += piece; });
    if (!read) return Error{read.error()};
    return bytes;
}

Result<std::string> sha256_of_file(const fs::path &path) {
    Sha256 hash;
    const Result<void> read = read_pieces(path, [&](std::string_view piece) { hash.add(piece); });
    if (!read) return Error{read.error()};
    return hash.hexadecimal();
}

Result<void> write_file_atomically(const fs::path &path, std::initializer_list<std::string_view> parts) {
    const Result<fs::path> target = file_to_replace(path);
    if (!target) return Error{target.error()};
    fs::path temporary;
    File file(create_beside(*target, temporary));
    if (file.get() < 0) return system_error(path, "create a file in its folder", errno);
    const auto fail = [&](const char *action, int code) {
        ::unlink(temporary.c_str());
        return system_error(path, action, code);
    };
    for (const std::string_view part : parts)
        if (const int code = write_all(file.get(), part); code != 0) return fail("write", code);
    struct stat before {};
    if (::stat(target->c_str(), &before) == 0 && ::fchmod(file.get(), before.st_mode & 07777) != 0)
        return fail("keep the permissions", errno);
    if (::fsync(file.get()) != 0) return fail("write", errno);
    if (!file.close()) return fail("write", errno);
    if (::rename(temporary.c_str(), target->c_str()) != 0) return fail("rename the finished file", errno);
    return {};
}

Result<void> write_file_atomically(const fs::path &path, std::string_view bytes) {
    return write_file_atomically(path, {bytes});
}

Result<void> check_writable(const fs::path &path) {
    const Result<fs::path> target = file_to_replace(path);
    if (!target) return Error{target.error()};
    fs::path temporary;
    const File file(create_beside(*target, temporary));
    if (file.get() < 0) return system_error(path, "create a file in its folder", errno);
    ::unlink(temporary.c_str());
    return {};
}

namespace {

constexpr std::size_t random_letters = 6; // as mkdtemp wants them

int open_folder(const fs::path &path) {
    return ::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
}

// Whether the path still names the folder that was opened, and it is this user's own.
bool is_own(int folder, const fs::path &path) {
    struct stat opened {};
    struct stat named {};
    return ::fstat(folder, &opened) == 0 && ::stat(path.c_str(), &named) == 0 &&
           opened.st_dev == named.st_dev && opened.st_ino == named.st_ino && opened.st_uid == ::geteuid();
}

// Removes the folders BASE/PREFIX.XXXXXX that no process uses, once for each of these names.
void remove_abandoned(const fs::path &base, const std::string &prefix) {
    static std::mutex mutex;
    static std::set<fs::path> looked;
    {
        const std::lock_guard lock(mutex);
        if (!looked.insert(base / prefix).second) return;
    }
    const std::string begin = prefix + ".";
    std::error_code error;
    for (fs::directory_iterator entry(base, error), end; !error && entry != end; entry.increment(error)) {
        const std::string name = entry->path().filename().string();
        if (name.size() != begin.size() + random_letters || !name.starts_with(begin)) continue;
        const File folder(open_folder(entry->path()));
        std::error_code ignored;
        if (folder.get() >= 0 && ::flock(folder.get(), LOCK_EX | LOCK_NB) == 0 &&
            is_own(folder.get(), entry->path()))
            fs::remove_all(entry->path(), ignored);
    }
}

} // namespace

Result<TemporaryFolder> make_temporary_folder(const std::string &prefix, const fs::path &parent) {
    fs::path base = parent;
    if (base.empty()) {
        const char *configured = std::getenv("TMPDIR");
        base = configured != nullptr && *configured != '\0' ? configured : "/tmp";
    }
    remove_abandoned(base, prefix);
    for (;;) {
        std::string name = (base / (prefix + "." + std::string(random_letters, 'X'))).string();
        if (::mkdtemp(name.data()) == nullptr) return system_error(base, "make a folder in it", errno);
        File folder(open_folder(name));
        const bool locked = folder.get() >= 0 && ::flock(folder.get(), LOCK_EX | LOCK_NB) == 0;
        // Before it is locked another process may take it for an abandoned one.
        if (locked && is_own(folder.get(), name)) return TemporaryFolder(name, folder.release());
        const bool lockable = locked || errno == EWOULDBLOCK || errno == ENOENT;
        if (!lockable) return TemporaryFolder(name, -1);
    }
}

TemporaryFolder::TemporaryFolder(TemporaryFolder &&other) noexcept
    : path_(std::exchange(other.path_, fs::path())), lock_(std::exchange(other.lock_, -1)) {}

TemporaryFolder &TemporaryFolder::operator=(TemporaryFolder &&other) noexcept {
    if (this != &other) {
        remove();
        path_ = std::exchange(other.path_, fs::path());
        lock_ = std::exchange(other.lock_, -1);
    }
    return *this;
}

TemporaryFolder::~TemporaryFolder() {
    remove();
}

void TemporaryFolder::remove() noexcept {
    std::error_code ignored;
    if (!path_.empty()) fs::remove_all(path_, ignored);
    if (lock_ >= 0) ::close(std::exchange(lock_, -1));
}

} // namespace unstride
