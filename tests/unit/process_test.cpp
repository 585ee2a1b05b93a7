// Children end by themselves, by a limit, or by a signal, and the parent can tell which.
#include "tools/library/process.h"

#include "tests/temporary_folder.h"

#include <gtest/gtest.h>

#include <chrono>
#include <csignal>
#include <fstream>
#include <functional>
#include <iterator>
#include <string>
#include <sys/wait.h>
#include <thread>
#include <unistd.h>

namespace unstride {
namespace {

TEST(Process, ReturnsOutputErrorsAndExitCode) {
    const ProcessResult result = run_process({"sh", "-c", "echo out; echo err >&2; exit 3"});
    EXPECT_EQ(result.exit_code, 3);
    EXPECT_EQ(result.output, "out\n");
    EXPECT_EQ(result.errors, "err\n");
    EXPECT_FALSE(result.ok());
}

TEST(Process, ReadsMoreThanAPipeHolds) {
    const ProcessResult result =
        run_process({"sh", "-c", "head -c 1000000 /dev/zero; head -c 1000000 /dev/zero >&2"});
    EXPECT_TRUE(result.ok());
    EXPECT_EQ(result.output.size(), 1000000u);
    EXPECT_EQ(result.errors.size(), 1000000u);
}

TEST(Process, HasNoInput) {
    EXPECT_EQ(run_process({"cat"}).output, "");
}

TEST(Process, IsKilledWithItsChildrenWhenTheTimeIsOver) {
    ProcessLimits limits;
    limits.time = std::chrono::milliseconds(200);
    const auto start = std::chrono::steady_clock::now();
    const ProcessResult result = run_process({"sh", "-c", "sleep 100 & sleep 100"}, limits);
    EXPECT_EQ(result.exit_code, -1);
    EXPECT_NE(result.errors.find("stopped after"), std::string::npos);
    EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(20));
}

// Whether a process runs; one that waits for its parent to ask for it does not.
bool runs(const std::string &pid) {
    std::ifstream file("/proc/" + pid + "/stat");
    std::string text((std::istreambuf_iterator<char>(file)), {});
    const std::size_t name = text.rfind(')');
    return name != std::string::npos && text.size() > name + 2 && text[name + 2] != 'Z';
}

using ProcessOfAnother = TemporaryFolderTest;

TEST_F(ProcessOfAnother, EndsWithTheProcessThatWaitsForIt) {
    const std::string file = path("pid").string();
    const pid_t waiting = fork();
    if (waiting == 0) {
        run_process(
            {"sh", "-c", "echo $$ > " + file + ".new; mv " + file + ".new " + file + "; exec sleep 100"});
        _exit(0);
    }
    ASSERT_GT(waiting, 0);
    const auto within_seconds = [](const std::function<bool()> &happens) {
        for (int i = 0; i < 1000 && !happens(); i++)
            std::this_thread::sleep_for(std::chrono::milliseconds(10));
        return happens();
    };
    std::string pid;
    EXPECT_TRUE(within_seconds([&] { return bool(std::ifstream(file) >> pid); }));
    EXPECT_TRUE(runs(pid));
    kill(waiting, SIGKILL);
    waitpid(waiting, nullptr, 0);
    EXPECT_TRUE(within_seconds([&] { return !runs(pid); }));
}

TEST(Process, NamesTheSignalThatEndedIt) {
    const ProcessResult result = run_process({"sh", "-c", "kill -SEGV $$"});
    EXPECT_EQ(result.exit_code, -1);
    EXPECT_EQ(result.end, ProcessEnd::signal);
    EXPECT_EQ(result.signal, 11);
    EXPECT_NE(result.errors.find("signal 11, SIGSEGV (Segmentation fault)"), std::string::npos);
    EXPECT_FALSE(ran_out_of_memory(result));
}

TEST(Process, TellsHowItEnded) {
    ProcessLimits limits;
    limits.time = std::chrono::milliseconds(100);
    EXPECT_EQ(run_process({"sleep", "100"}, limits).end, ProcessEnd::timeout);
    EXPECT_EQ(run_process({"false"}).end, ProcessEnd::exited);
    EXPECT_GT(run_process({"true"}).peak_bytes, 10'000);
    EXPECT_TRUE(ran_out_of_memory(run_process({"sh", "-c", "echo std::bad_alloc >&2; exit 1"})));
    EXPECT_TRUE(ran_out_of_memory(run_process({"sh", "-c", "kill -KILL $$"})));
    EXPECT_FALSE(ran_out_of_memory(run_process({"sh", "-c", "echo std::bad_alloc >&2"})));
}

TEST(Process, IsHeldToItsMemory) {
    ProcessLimits limits;
    limits.memory_bytes = 64 << 20;
    EXPECT_FALSE(run_process({"sh", "-c", "head -c 200000000 /dev/zero | tail"}, limits).ok());
}

TEST(Process, ThatDoesNotExistIsAnError) {
    const ProcessResult result = run_process({"no-such-program-anywhere"});
    EXPECT_EQ(result.exit_code, 127);
    EXPECT_NE(result.errors.find("no-such-program-anywhere"), std::string::npos);
    EXPECT_FALSE(program_exists("no-such-program-anywhere"));
    EXPECT_TRUE(program_exists("sh"));
    EXPECT_TRUE(program_exists("/bin/sh"));
}

TEST(Process, GetsTheGivenEnvironment) {
    EXPECT_EQ(run_process({"sh", "-c", "echo $UNSTRIDE_PROBE"}, {}, {"UNSTRIDE_PROBE=seen"}).output,
              "seen\n");
}

} // namespace
} // namespace unstride
