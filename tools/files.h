// Small helpers for files: whole-file reading, writing that leaves nothing half-written, temporary folders.
// Every error names the file, what was tried and the system's reason.
#pragma once

#include "compiler/result.h"

#include <filesystem>
#include <initializer_list>
#include <string>
#include <string_view>

namespace unstride {

// The bytes of a regular file. Refuses folders, devices and pipes.
Result<std::string> read_file(const std::filesystem::path &path);

// Writes the parts, one after the other, to a new file beside `path` and renames it to `path` when the disk
// holds all of it. So `path` holds either what it held before or all of the new bytes; on failure the new
// file is removed. A symbolic link is followed and the file it names is replaced; a link to nothing becomes
// the file. The permissions of a file that exists are kept.
Result<void> write_file_atomically(const std::filesystem::path &path,
                                   std::initializer_list<std::string_view> parts);
Result<void> write_file_atomically(const std::filesystem::path &path, std::string_view bytes);

// Whether write_file_atomically could begin: nothing of `path` changes and nothing stays beside it.
Result<void> check_writable(const std::filesystem::path &path);

// The SHA-256 of a regular file's bytes, as 64 hexadecimal digits; reads it piece by piece.
Result<std::string> sha256_of_file(const std::filesystem::path &path);

// A fresh folder, removed with all it holds when the object goes.
class TemporaryFolder {
public:
    TemporaryFolder(TemporaryFolder &&other) noexcept;
    TemporaryFolder &operator=(TemporaryFolder &&other) noexcept;
    TemporaryFolder(const TemporaryFolder &) = delete;
    TemporaryFolder &operator=(const TemporaryFolder &) = delete;
    ~TemporaryFolder();

    const std::filesystem::path &path() const { return path_; }

private:
    friend Result<TemporaryFolder> make_temporary_folder(const std::string &prefix,
                                                         const std::filesystem::path &parent);
    TemporaryFolder(std::filesystem::path path, int lock) : path_(std::move(path)), lock_(lock) {}
    void remove() noexcept;

    std::filesystem::path path_;
    int lock_ = -1; // a descriptor of the folder: its lock says that a process uses it, and ends with that
};

// Makes PARENT/PREFIX.XXXXXX, readable by its owner only; an empty parent stands for $TMPDIR, or /tmp. The
// first call for a prefix removes the folders that killed processes have left under it.
Result<TemporaryFolder> make_temporary_folder(const std::string &prefix,
                                              const std::filesystem::path &parent = {});

} // namespace unstride
