// Whole-file reading, atomic writing and temporary folders, with the failures each must report and survive.
#include "tools/files.h"

#include "tests/unit/write_limit.h"
#include "tools/sha256.h"

#include <gtest/gtest.h>

#include <csignal>
#include <fstream>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

namespace unstride {
namespace {

namespace fs = std::filesystem;

bool contains(const std::string &text, const std::string &part) {
    return text.find(part) != std::string::npos;
}

template<typename T>
std::string error_of(const Result<T> &result) {
    return result.ok() ? "no error" : result.error();
}

class Files : public testing::Test {
protected:
    Result<TemporaryFolder> folder_ = make_temporary_folder("unstride-files-test");

    void SetUp() override { ASSERT_TRUE(folder_.ok()) << error_of(folder_); }
    fs::path path(const std::string &name) const { return folder_->path() / name; }
    std::ptrdiff_t entries() const {
        return std::distance(fs::directory_iterator(folder_->path()), fs::directory_iterator());
    }
};

TEST_F(Files, ReadsWhatWasWritten) {
    std::string bytes(200000, '\0');
    for (std::size_t k = 0; k < bytes.size(); ++k)
        bytes[k] = static_cast<char>(k * 7);
    for (const std::string &content : {std::string(), std::string("one\0two", 7), bytes}) {
        ASSERT_TRUE(write_file_atomically(path("file"), content).ok());
        EXPECT_EQ(*read_file(path("file")), content);
        EXPECT_EQ(*sha256_of_file(path("file")), sha256(content));
    }
    ASSERT_TRUE(write_file_atomically(path("file"), {"one ", "", "two"}).ok());
    EXPECT_EQ(*read_file(path("file")), "one two");
    EXPECT_EQ(entries(), 1);
}

TEST_F(Files, ReadingNamesWhatIsWrong) {
    EXPECT_EQ(error_of(read_file(path("missing"))),
              path("missing").string() + ": cannot open: No such file or directory");
    EXPECT_EQ(error_of(read_file(folder_->path())),
              folder_->path().string() + ": is a folder, expected a file");
    EXPECT_TRUE(contains(error_of(read_file("/dev/zero")), "is not a regular file"));
    ASSERT_EQ(::mkfifo(path("pipe").c_str(), 0600), 0);
    EXPECT_TRUE(contains(error_of(read_file(path("pipe"))), "is not a regular file"));
    EXPECT_TRUE(contains(error_of(sha256_of_file(path("missing"))), "cannot open"));
    // A file of this system that opens and then refuses to be read.
    EXPECT_TRUE(contains(error_of(read_file("/proc/self/mem")), "cannot read"));
}

TEST_F(Files, ReadingRefusesAFileWithoutPermission) {
    if (::geteuid() == 0) GTEST_SKIP() << "root may read everything";
    ASSERT_TRUE(write_file_atomically(path("secret"), "text").ok());
    fs::permissions(path("secret"), fs::perms::none);
    EXPECT_TRUE(contains(error_of(read_file(path("secret"))), "cannot open: Permission denied"));
}

TEST_F(Files, WritingNamesWhatIsWrong) {
    EXPECT_TRUE(contains(error_of(write_file_atomically(path("missing/file"), "text")),
                         "missing/file: cannot create a file in its folder: No such file or directory"));
    EXPECT_TRUE(
        contains(error_of(write_file_atomically(folder_->path(), "text")), "is a folder, expected a file"));
    EXPECT_TRUE(contains(error_of(write_file_atomically("/dev/null", "text")), "is not a regular file"));
    ASSERT_TRUE(write_file_atomically(path("file"), "text").ok());
    EXPECT_TRUE(contains(error_of(write_file_atomically(path("file/below"), "text")), "Not a directory"));
    EXPECT_TRUE(contains(error_of(write_file_atomically("/proc/unstride", "text")),
                         "cannot create a file in its folder"));
    EXPECT_EQ(entries(), 1);
}

TEST_F(Files, WhetherAPlaceCanBeWrittenIsToldWithoutATrace) {
    EXPECT_TRUE(check_writable(path("new")).ok());
    EXPECT_EQ(entries(), 0);
    ASSERT_TRUE(write_file_atomically(path("file"), "text").ok());
    EXPECT_TRUE(check_writable(path("file")).ok());
    EXPECT_EQ(*read_file(path("file")), "text");
    for (const fs::path &refused :
         {path("missing/file"), path("file/below"), folder_->path(), fs::path("/dev/null")})
        EXPECT_EQ(error_of(check_writable(refused)), error_of(write_file_atomically(refused, "text")));
    EXPECT_EQ(entries(), 1);
}

TEST_F(Files, AFailedWriteLeavesTheOldFileAndNothingElse) {
    ASSERT_TRUE(write_file_atomically(path("file"), "old").ok());
    {
        const WriteLimit limit(1000);
        EXPECT_TRUE(
            contains(error_of(write_file_atomically(path("file"), std::string(5000, 'x'))), "cannot write"));
        EXPECT_TRUE(
            contains(error_of(write_file_atomically(path("new"), std::string(5000, 'x'))), "cannot write"));
    }
    EXPECT_EQ(*read_file(path("file")), "old");
    EXPECT_EQ(entries(), 1);
}

TEST_F(Files, WritingKeepsPermissionsAndFollowsLinks) {
    ASSERT_TRUE(write_file_atomically(path("script"), "one").ok());
    fs::permissions(path("script"), fs::perms::owner_all);
    fs::create_symlink("script", path("link"));
    ASSERT_TRUE(write_file_atomically(path("link"), "two").ok());
    EXPECT_TRUE(fs::is_symlink(path("link")));
    EXPECT_EQ(*read_file(path("script")), "two");
    EXPECT_EQ(fs::status(path("script")).permissions(), fs::perms::owner_all);

    fs::create_symlink("nothing", path("dangling"));
    ASSERT_TRUE(write_file_atomically(path("dangling"), "three").ok());
    EXPECT_EQ(*read_file(path("dangling")), "three");

    // A new file is as readable as any other program's, not private as temporary files are.
    std::ofstream(path("plain")) << "text";
    ASSERT_TRUE(write_file_atomically(path("new"), "text").ok());
    EXPECT_EQ(fs::status(path("new")).permissions(), fs::status(path("plain")).permissions());
}

TEST_F(Files, TemporaryFoldersAreFreshAndGoWithTheirObjects) {
    fs::path first_path, second_path;
    {
        Result<TemporaryFolder> first = make_temporary_folder("work", folder_->path());
        Result<TemporaryFolder> second = make_temporary_folder("work", folder_->path());
        ASSERT_TRUE(first.ok() && second.ok());
        first_path = first->path();
        second_path = second->path();
        EXPECT_NE(first_path, second_path);
        EXPECT_EQ(first_path.parent_path(), folder_->path());
        EXPECT_TRUE(first_path.filename().string().starts_with("work."));
        fs::create_directories(first_path / "deep" / "er");
        ASSERT_TRUE(write_file_atomically(first_path / "deep" / "file", "text").ok());

        TemporaryFolder moved = std::move(*first);
        EXPECT_TRUE(fs::exists(first_path));
        moved = std::move(*second);
        EXPECT_FALSE(fs::exists(first_path));
        EXPECT_TRUE(fs::exists(second_path));
    }
    EXPECT_FALSE(fs::exists(second_path));
    EXPECT_EQ(entries(), 0);
    EXPECT_TRUE(
        contains(error_of(make_temporary_folder("work", path("missing"))), "cannot make a folder in it"));
}

// A process that is killed cannot clean up; the next one does, and touches nothing else.
TEST_F(Files, TemporaryFoldersOfKilledProcessesGoAtTheNextStart) {
    const fs::path parent = folder_->path();
    int told[2];
    ASSERT_EQ(::pipe(told), 0);
    const auto start = [&] {
        const pid_t child = ::fork();
        if (child != 0) return child;
        const Result<TemporaryFolder> folder = make_temporary_folder("killed", parent);
        const bool made = folder && write_file_atomically(folder->path() / "file", "text");
        if (::write(told[1], made ? "1" : "0", 1) != 1) ::_exit(1);
        for (;;)
            ::pause();
    };
    const pid_t killed = start(), living = start();
    char made[2] = {};
    for (char &one : made)
        ASSERT_EQ(::read(told[0], &one, 1), 1);
    EXPECT_EQ(made[0] + made[1], 2 * '1');
    EXPECT_EQ(entries(), 2);
    ::kill(killed, SIGKILL);
    ::waitpid(killed, nullptr, 0);
    for (const char *other : {"killed.12345", "killed.1234567", "killed-123456", "other.123456"})
        fs::create_directory(parent / other);
    std::ofstream(parent / "killed.123456") << "a file";
    {
        const Result<TemporaryFolder> own = make_temporary_folder("killed", parent);
        ASSERT_TRUE(own.ok()) << own.error();
        EXPECT_EQ(entries(), 1 + 1 + 5); // its own, that of the living process, and what is none
    }
    ::kill(living, SIGKILL);
    ::waitpid(living, nullptr, 0);
    ::close(told[0]);
    ::close(told[1]);
}

} // namespace
} // namespace unstride
