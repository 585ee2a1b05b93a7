// Counts of executed instructions against programs whose counts are known.
#include "tools/analysis/counted_instructions.h"

#include "tools/files.h"
#include "tools/library/process.h"

#include <gtest/gtest.h>

#include <optional>

namespace unstride {
namespace {

namespace fs = std::filesystem;

constexpr const char *compiler = "aarch64-linux-gnu-gcc";

// PROGRAM N: each of two threads runs a loop of known instructions N times; a third argument makes it fail.
constexpr const char *source = R"(
#include <pthread.h>
#include <stdlib.h>
static void *work(void *data) {
    long n = *(long *)data;
    __asm__ volatile("1: fmla v0.4s, v1.4s, v2.s[1]\n fmla v3.4s, v1.4s, v2.4s\n fmul v4.2s, v1.2s, v2.2s\n"
                     "fmadd s5, s6, s7, s5\n add v16.4s, v17.4s, v18.4s\n"
                     "ldr q19, [sp]\n ldp q20, q21, [%1]\n ldr s22, [%1]\n ld1r {v23.4s}, [%1]\n"
                     "str q19, [sp, #-16]\n st1 {v20.4s, v21.4s}, [%1]\n"
                     "subs %0, %0, #1\n b.ne 1b"
                     : "+r"(n) : "r"((float[64]){0})
                     : "v0", "v3", "v4", "v5", "v16", "v19", "v20", "v21", "v22", "v23", "cc", "memory");
    return 0;
}
int main(int count, char **arguments) {
    long n = atol(arguments[1]);
    pthread_t other;
    pthread_create(&other, 0, work, &n);
    work(&n);
    pthread_join(other, 0);
    return count > 2 ? 3 : 0;
}
)";

class CountedInstructions : public testing::Test {
protected:
    void SetUp() override {
        if (!program_exists(compiler)) GTEST_SKIP() << compiler << " is not installed";
        counter_ = find_instruction_counter(UNSTRIDE_COUNTING_PLUGIN);
        if (!counter_) GTEST_SKIP() << "no qemu-aarch64 with plugins is installed";
        auto made = make_temporary_folder("unstride-counted");
        ASSERT_TRUE(made.ok()) << made.error();
        folder_.emplace(std::move(*made));
        program_ = folder_->path() / "program";
        ASSERT_TRUE(write_file_atomically(folder_->path() / "program.c", source).ok());
        const ProcessResult compiled =
            run_process({compiler, "-O1", "-static", "-pthread", (folder_->path() / "program.c").string(),
                         "-o", program_.string()});
        ASSERT_TRUE(compiled.ok()) << compiled.errors;
    }

    std::optional<InstructionCounter> counter_;
    std::optional<TemporaryFolder> folder_;
    fs::path program_;
};

TEST_F(CountedInstructions, AreThoseOfTheLoop) {
    const auto few = count_instructions(*counter_, program_, {"1000"});
    const auto many = count_instructions(*counter_, program_, {"3000"});
    ASSERT_TRUE(few.ok()) << few.error();
    ASSERT_TRUE(many.ok()) << many.error();
    const std::map<std::string, std::int64_t> of_one_iteration = {
        {"multiply_adds", 3}, {"scalar_multiply_adds", 1}, {"vector_loads", 2}, {"vector_stores", 2},
        {"broadcasts", 1},    {"stack_loads", 1},          {"stack_stores", 1}};
    EXPECT_EQ(few->size(), of_one_iteration.size() + 1);
    for (const auto &[kind, count] : of_one_iteration)
        EXPECT_EQ(many->at(kind) - few->at(kind), 2 * 2000 * count) << kind;
    // The threads' own start and end take a few instructions more or less.
    EXPECT_NEAR(static_cast<double>(many->at("total") - few->at("total")), 2 * 2000 * 13, 2000);
}

TEST_F(CountedInstructions, FailWithTheProgram) {
    const auto failed = count_instructions(*counter_, program_, {"10", "fail"});
    ASSERT_FALSE(failed.ok());
    EXPECT_NE(failed.error().find("exit code 3"), std::string::npos) << failed.error();
    EXPECT_FALSE(count_instructions(*counter_, folder_->path() / "missing", {}).ok());
}

TEST_F(CountedInstructions, NeedAPlugin) {
    EXPECT_FALSE(find_instruction_counter(folder_->path() / "missing.so"));
    const fs::path none = folder_->path() / "none.so";
    ASSERT_TRUE(write_file_atomically(none, "not a plugin").ok());
    EXPECT_FALSE(find_instruction_counter(none));
}

} // namespace
} // namespace unstride
