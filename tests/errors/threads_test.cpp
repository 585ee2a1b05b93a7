// The runtime's threads: how many run, who runs them, and that callers, forks and failures cannot block each
// other.
#include "fake_call.h"

#include <array>
#include <atomic>
#include <chrono>
#include <csignal>
#include <cstddef>
#include <filesystem>
#include <iterator>
#include <limits>
#include <thread>

namespace {

std::atomic<int> gathered{0};

void sleep_a_little(int = 0) {
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
}

// Tasks wait for each other, up to a second, so that several are seen to run at the same time.
void gather_two(int = 0) {
    gathered++;
    for (int i = 0; i < 1000 && gathered < 2; i++)
        std::this_thread::sleep_for(std::chrono::milliseconds(1));
}

// The first two tasks, and whether the first thread of the test runs them.
std::array<std::atomic<int>, 2> first_tasks;
std::thread::id caller;

void gather_first_two(int index) {
    const int turn = gathered;
    const bool called = std::this_thread::get_id() == caller;
    if (turn < 2) first_tasks[called ? 0 : 1] = index;
    gather_two();
}

std::ptrdiff_t threads_of_process() {
    return std::distance(std::filesystem::directory_iterator("/proc/self/task"),
                         std::filesystem::directory_iterator());
}

TEST_F(Runtime, RefusesThreadCounts) {
    for (const int threads : {-1, 1025, std::numeric_limits<int>::min(), std::numeric_limits<int>::max()}) {
        FakeCall call(fake_up);
        call.arguments.threads = threads;
        EXPECT_EQ(call.run(), UNSTRIDE_BAD_THREAD_COUNT);
        EXPECT_EQ(fake_set_threads(threads), UNSTRIDE_BAD_THREAD_COUNT);
        EXPECT_TRUE(call.untouched());
    }
    ASSERT_EQ(fake_set_threads(7), UNSTRIDE_OK);
    EXPECT_EQ(fake_threads(), 7);
    ASSERT_EQ(fake_set_threads(0), UNSTRIDE_OK);
    EXPECT_GE(fake_threads(), 1);
}

// The first thread of a process may bring one of a sanitizer's own with it, so another is made before
// counting.
TEST(FreshProcess, DISABLED_OneThreadCreatesNone) {
    std::thread([] {}).join();
    const std::ptrdiff_t before = threads_of_process();
    FakeCall call(fake_up);
    call.arguments.threads = 1;
    ASSERT_EQ(call.run(), UNSTRIDE_OK);
    FakeCall small(fake_small);
    small.arguments.threads = 16;
    ASSERT_EQ(small.run(), UNSTRIDE_OK);
    EXPECT_EQ(threads_of_process(), before);
    call.arguments.threads = 3;
    ASSERT_EQ(call.run(), UNSTRIDE_OK);
    EXPECT_EQ(threads_of_process(), before + 2);
}

TEST_F(Runtime, OneThreadAndSmallLayersCreateNoThread) {
    EXPECT_TRUE(passes_in_fresh_process("FreshProcess.DISABLED_OneThreadCreatesNone", {}));
}

// A layer whose work is worth sharing only with threads that are awake.
TEST(FreshProcess, DISABLED_SmallCallsShareTheirWorkOnceTheyFollowEachOther) {
    std::thread([] {}).join();
    const std::ptrdiff_t before = threads_of_process();
    FakeCall call(fake_small, fake_library(), 80, 80);
    call.arguments.threads = 2;
    for (int round = 0; round < 20; round++) {
        ASSERT_EQ(call.run(), UNSTRIDE_OK);
        sleep_a_little();
    }
    EXPECT_EQ(threads_of_process(), before);
    for (int round = 0; round < 10000 && threads_of_process() == before; round++) {
        for (int i = 0; i < 20; i++)
            ASSERT_EQ(call.run(), UNSTRIDE_OK);
    }
    EXPECT_EQ(threads_of_process(), before + 1);
    EXPECT_TRUE(call.right());
}

TEST_F(Runtime, SmallCallsShareTheirWorkOnceTheyFollowEachOther) {
    EXPECT_TRUE(
        passes_in_fresh_process("FreshProcess.DISABLED_SmallCallsShareTheirWorkOnceTheyFollowEachOther", {}));
}

TEST_F(Runtime, AnyCountGivesTheSameResultAndIsNotExceeded) {
    for (const int threads : {1, 2, 3, 8, 40, 2, 1, 5, 1024, 4}) {
        FakeCall call(fake_odd, fake_library(), 50, 9);
        call.arguments.threads = threads;
        fake_take_peak();
        ASSERT_EQ(call.run(), UNSTRIDE_OK) << call.error();
        EXPECT_TRUE(call.right()) << threads;
        EXPECT_LE(fake_take_peak(), threads);
    }
}

TEST_F(Runtime, ThreadsWorkAtTheSameTime) {
    gathered = 0;
    fake.in_task = gather_two;
    FakeCall call(fake_up, fake_library(), 8);
    call.arguments.threads = 2;
    ASSERT_EQ(call.run(), UNSTRIDE_OK);
    EXPECT_EQ(fake_take_peak(), 2);
    EXPECT_TRUE(call.right());
}

TEST_F(Runtime, ThreadsBeginWithTheSameTasksInEveryCall) {
    caller = std::this_thread::get_id();
    for (int round = 0; round < 5; round++) {
        gathered = 0;
        for (auto &task : first_tasks)
            task = -1;
        fake.in_task = gather_first_two;
        FakeCall call(fake_up, fake_library(), 8);
        call.arguments.threads = 2;
        ASSERT_EQ(call.run(), UNSTRIDE_OK);
        EXPECT_EQ(first_tasks[0], 0);
        EXPECT_EQ(first_tasks[1], 4);
        EXPECT_TRUE(call.right());
    }
}

TEST_F(Runtime, LayersOfManyWeightsAreShared) {
    gathered = 0;
    fake.in_task = gather_two;
    FakeCall call(fake_wide, fake_library(), 8);
    call.arguments.threads = 2;
    ASSERT_EQ(call.run(), UNSTRIDE_OK) << call.error();
    EXPECT_EQ(fake_take_peak(), 2);
    EXPECT_TRUE(call.right());
}

TEST_F(Runtime, WorkersSleepAndWakeAgain) {
    for (int round = 0; round < 20; round++) {
        FakeCall call(fake_up, fake_library(), 16);
        call.arguments.threads = 4;
        ASSERT_EQ(call.run(), UNSTRIDE_OK);
        EXPECT_TRUE(call.right());
        if (round % 2 == 0) sleep_a_little();
    }
}

TEST_F(Runtime, TheCallerOutwaitsSlowWorkers) {
    fake.in_task = sleep_a_little;
    for (int round = 0; round < 10; round++) {
        FakeCall call(fake_up, fake_library(), 3);
        call.arguments.threads = 3;
        ASSERT_EQ(call.run(), UNSTRIDE_OK);
        EXPECT_TRUE(call.right());
    }
}

TEST_F(Runtime, NestedLoopsFinish) {
    fake.nested = 1;
    FakeCall call(fake_up, fake_library(), 40);
    call.arguments.threads = 4;
    ASSERT_EQ(call.run(), UNSTRIDE_OK) << call.error();
    EXPECT_TRUE(call.right());
}

TEST_F(Runtime, CallersFromSeveralThreads) {
    fake.allocate = 100;
    fake.many_callers = 1;
    std::atomic<int> wrong{0};
    std::vector<std::thread> callers;
    for (int caller = 0; caller < 6; caller++) {
        callers.emplace_back([&wrong, caller] {
            for (int round = 0; round < 30; round++) {
                FakeCall call(round % 2 == 0 ? fake_up : fake_small, fake_library(), 10 + caller);
                call.arguments.threads = 1 + (caller + round) % 4;
                if (call.run() != UNSTRIDE_OK || !call.right()) wrong++;
                call.input.rank = caller;
                if (caller != 4 && (call.run() != UNSTRIDE_WRONG_RANK ||
                                    call.error().find("rank " + std::to_string(caller)) == std::string::npos))
                    wrong++;
            }
        });
    }
    for (std::thread &caller : callers)
        caller.join();
    EXPECT_EQ(wrong, 0);
}

TEST_F(Runtime, AFailingTaskStopsTheLoop) {
    for (const int threads : {1, 4}) {
        FakeCall call(fake_up, fake_library(), 30);
        call.arguments.threads = threads;
        fake.fail_code = -22;
        fake.fail_text = "task failed";
        fake.failing_task = 3;
        EXPECT_EQ(call.run(), UNSTRIDE_INTERNAL);
        EXPECT_EQ(call.error(), "up: run: task failed (code -22)");
        fake.failing_task = -1;
        fake.fail_code = 0;
        EXPECT_EQ(call.run(), UNSTRIDE_OK);
        EXPECT_TRUE(call.right());
    }
}

TEST_F(Runtime, WorksInTheChildAfterFork) {
#if defined(__SANITIZE_THREAD__)
    GTEST_SKIP() << "the thread sanitizer allows no threads in a forked child";
#endif
    FakeCall call(fake_up, fake_library(), 30);
    call.arguments.threads = 4;
    ASSERT_EQ(call.run(), UNSTRIDE_OK);
    const pid_t child = fork();
    if (child == 0) {
        int failures = 0;
        for (int round = 0; round < 5; round++) {
            gathered = 0;
            fake.in_task = gather_two;
            fake_take_peak();
            std::fill(call.output_values.begin(), call.output_values.end(), FakeCall::unwritten);
            if (call.run() != UNSTRIDE_OK || !call.right() || fake_take_peak() < 2) failures++;
        }
        _exit(failures);
    }
    int status = 1;
    ASSERT_EQ(waitpid(child, &status, 0), child);
    EXPECT_TRUE(WIFEXITED(status));
    EXPECT_EQ(WEXITSTATUS(status), 0);
    EXPECT_EQ(call.run(), UNSTRIDE_OK);
}

// Counts its calls and runs the tasks backwards.
int parallel_backwards(void *context, int (*task)(void *, int), int count, void *closure) {
    ++*static_cast<int *>(context);
    int result = 0;
    for (int i = count - 1; i >= 0; i--) {
        const int code = task(closure, i);
        if (result == 0) result = code;
    }
    return result;
}

TEST_F(Runtime, CallersParallelForIsUsed) {
    int calls = 0;
    const unstride_parallel parallel = {parallel_backwards, &calls, 3};
    FakeCall call(fake_up);
    call.arguments.parallel = &parallel;
    ASSERT_EQ(call.run(), UNSTRIDE_OK) << call.error();
    EXPECT_TRUE(call.right());
    EXPECT_EQ(calls, 1);
    call.arguments.threads = 1;
    ASSERT_EQ(call.run(), UNSTRIDE_OK);
    EXPECT_EQ(calls, 1);
    call.arguments.threads = 0;
    call.arguments.parallel = nullptr;
    ASSERT_EQ(fake_set_parallel_for(&parallel), UNSTRIDE_OK);
    ASSERT_EQ(call.run(), UNSTRIDE_OK);
    EXPECT_EQ(calls, 2);
    const std::size_t three_slots = fake_scratch_bytes(&fake_up, call.input.shape, 3);
    ASSERT_GT(three_slots, fake_scratch_bytes(&fake_up, call.input.shape, 1));
    EXPECT_EQ(fake_scratch_bytes(&fake_up, call.input.shape, 0), three_slots);
    EXPECT_EQ(fake_scratch_bytes(&fake_up, call.input.shape, 2), three_slots);
    EXPECT_GT(fake_scratch_bytes(&fake_up, call.input.shape, 4), three_slots);
    ASSERT_EQ(fake_set_parallel_for(nullptr), UNSTRIDE_OK);
    EXPECT_LT(fake_scratch_bytes(&fake_up, call.input.shape, 2), three_slots);
    ASSERT_EQ(call.run(), UNSTRIDE_OK);
    EXPECT_EQ(calls, 2);
}

TEST_F(Runtime, PluggedInThreadsAskForNoMoreScratchThanTheQuerySays) {
    int calls = 0;
    const unstride_parallel parallel = {parallel_backwards, &calls, 3};
    ASSERT_EQ(fake_set_parallel_for(&parallel), UNSTRIDE_OK);
    for (const int threads : {0, 1, 2, 3, 4}) {
        FakeCall call(fake_up);
        std::vector<std::byte> scratch(fake_scratch_bytes(&fake_up, call.input.shape, threads) + 64);
        call.arguments.threads = threads;
        call.arguments.scratch =
            scratch.data() + (64 - reinterpret_cast<std::uintptr_t>(scratch.data()) % 64) % 64;
        call.arguments.scratch_bytes = scratch.size() - 64;
        EXPECT_EQ(call.run(), UNSTRIDE_OK) << threads << ": " << call.error();
    }
    EXPECT_EQ(calls, 4);
    ASSERT_EQ(fake_set_parallel_for(nullptr), UNSTRIDE_OK);
}

std::atomic<bool> interrupts_blocked{false}, faults_blocked{true};

void look_at_signals(int) {
    gather_two();
    if (std::this_thread::get_id() == caller) return;
    sigset_t blocked;
    pthread_sigmask(SIG_BLOCK, nullptr, &blocked);
    interrupts_blocked = sigismember(&blocked, SIGINT) == 1;
    faults_blocked = sigismember(&blocked, SIGSEGV) == 1 || sigismember(&blocked, SIGBUS) == 1;
}

TEST_F(Runtime, WorkersTakeFaultsOfTheirOwnAndNoOtherSignals) {
    gathered = 0;
    caller = std::this_thread::get_id();
    fake.in_task = look_at_signals;
    FakeCall call(fake_up);
    call.arguments.threads = 2;
    ASSERT_EQ(call.run(), UNSTRIDE_OK) << call.error();
    EXPECT_TRUE(interrupts_blocked);
    EXPECT_FALSE(faults_blocked);
}

TEST_F(Runtime, CallersParallelForIsChecked) {
    FakeCall call(fake_up);
    unstride_parallel parallel = {nullptr, nullptr, 3};
    call.arguments.parallel = &parallel;
    EXPECT_EQ(call.run(), UNSTRIDE_NULL_ARGUMENT);
    EXPECT_EQ(fake_set_parallel_for(&parallel), UNSTRIDE_NULL_ARGUMENT);
    parallel.parallel_for = parallel_backwards;
    for (const int concurrency : {0, -1, 1025}) {
        parallel.concurrency = concurrency;
        EXPECT_EQ(call.run(), UNSTRIDE_BAD_THREAD_COUNT);
        EXPECT_EQ(fake_set_parallel_for(&parallel), UNSTRIDE_BAD_THREAD_COUNT);
    }
    EXPECT_TRUE(call.untouched());
}

TEST_F(Runtime, EverySlotIsUsedBeforeTheHeap) {
    fake.allocate = 400;
    fake.in_task = sleep_a_little;
    const std::uint64_t misses = fake_scratch_misses();
    FakeCall call(fake_up, fake_library(), 200, 4, 1);
    call.arguments.threads = 100;
    ASSERT_EQ(call.run(), UNSTRIDE_OK) << call.error();
    EXPECT_TRUE(call.right());
    EXPECT_EQ(fake_scratch_misses(), misses);
}

} // namespace
