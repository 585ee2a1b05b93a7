// The analysis of objects: hand-written loops whose counts are known, generated kernels against the counts of
// GNU's disassembler and the cycles of LLVM's own analyzer, and damaged files.
#include "tests/temporary_folder.h"
#include "tools/analysis/analysis.h"

#include "tools/analysis/loops.h"
#include "tools/files.h"
#include "tools/library/process.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <optional>
#include <random>
#include <regex>
#include <sstream>
#include <string>
#include <vector>

namespace unstride {
namespace {

namespace fs = std::filesystem;

const std::string x86_compiler = UNSTRIDE_C_COMPILER, aarch64_compiler = "aarch64-linux-gnu-gcc";

bool has(const std::string &text, const std::string &part) {
    return text.find(part) != std::string::npos;
}

TEST(Loops, AreInnermostBranchesBack) {
    const auto none = std::nullopt;
    EXPECT_TRUE(innermost_loops({}).empty());
    EXPECT_TRUE(innermost_loops({none, 2, none}).empty()) << "a branch forward";
    EXPECT_EQ(innermost_loops({none, 1}), (std::vector<LoopRange>{{1, 1, 1}})) << "a branch to itself";
    // An outer loop of two inner ones.
    EXPECT_EQ(innermost_loops({none, none, 1, none, 3, 0, none}),
              (std::vector<LoopRange>{{1, 2, 2}, {3, 4, 2}}));
    // Two branches back to one place: the shorter way is the loop.
    EXPECT_EQ(innermost_loops({none, 0, 0}), (std::vector<LoopRange>{{0, 1, 2}}));
}

class Analysis : public TemporaryFolderTest {
protected:
    fs::path write(const std::string &name, std::string_view bytes) const {
        EXPECT_TRUE(write_file_atomically(path(name), bytes).ok());
        return path(name);
    }

    // An object with a function f.
    fs::path assemble(const std::string &body, const std::string &compiler = x86_compiler) const {
        write("f.s", ".text\n.globl f\n.type f, %function\nf:\n" + body + "\nret\n.size f, .-f\n");
        const ProcessResult assembled =
            run_process({compiler, "-c", path("f.s").string(), "-o", path("f.o").string()});
        EXPECT_TRUE(assembled.ok()) << assembled.errors;
        return path("f.o");
    }

    static KernelAnalysis analyse(const fs::path &object, const char *instruction_set) {
        const auto analysis = analyse_object(object, instruction_set);
        EXPECT_TRUE(analysis.ok()) << analysis.error();
        return analysis ? *analysis : KernelAnalysis();
    }

    KernelAnalysis x86(const std::string &body) const { return analyse(assemble(body), "avx2"); }
    KernelAnalysis aarch64(const std::string &body) const {
        return analyse(assemble(body, aarch64_compiler), "neon");
    }
};

Loop only_loop(const KernelAnalysis &analysis) {
    EXPECT_EQ(analysis.loops.size(), 1u);
    return analysis.loops.empty() ? Loop() : analysis.loops.front();
}

TEST_F(Analysis, CountsX86ByKind) {
    const KernelAnalysis analysis = x86("mov $9, %ecx\n"
                                        "1: vmovups (%rdi), %zmm1\n"
                                        "vbroadcastss 4(%rdi,%rcx,4), %zmm2\n"
                                        "vfmadd231ps %zmm1, %zmm2, %zmm3\n"
                                        "vfmadd231ps 64(%rdi), %zmm2, %zmm4\n"
                                        "vfmadd231ps 64(%rdi){1to16}, %zmm2, %zmm17\n"
                                        "vmulps %ymm1, %ymm2, %ymm5\n"
                                        "vfmadd213ss (%rdi), %xmm6, %xmm7\n"
                                        "vpermps %zmm1, %zmm2, %zmm6\n"
                                        "shufps $0x55, %xmm8, %xmm8\n"
                                        "shufps $0x4e, %xmm8, %xmm8\n"
                                        "vgatherdps (%rdi,%ymm9,4), %ymm10{%k1}\n"
                                        "vmovups %zmm3, (%rsi)\n"
                                        "vmovss %xmm7, (%rsi)\n"
                                        "nopl 0(%rax)\nnop\n"
                                        "dec %ecx\n"
                                        "jne 1b");
    const Loop loop = only_loop(analysis);
    EXPECT_EQ(loop.function, "f");
    EXPECT_EQ(loop.depth, 1);
    EXPECT_EQ(loop.instructions.size(), 17u);
    EXPECT_EQ(loop.instructions.front().address, 5u);
    EXPECT_EQ(loop.instructions.front().text, "vmovups (%rdi), %zmm1");
    EXPECT_EQ(loop.instructions.back().text, "jne 0x5");
    EXPECT_EQ(loop.instructions.back().bytes.front(), 0x75);
    LoopCounts expected;
    expected.total = 15;
    expected.bytes = static_cast<int>(analysis.code_bytes) - 5 - 1; // all but mov and ret
    expected.vector_multiply_adds = 4;
    expected.scalar_multiply_adds = 1;
    expected.multiply_add_lanes = 3 * 16 + 8 + 1;
    expected.vector_loads = 2;
    expected.broadcasts = 3;
    expected.vector_stores = 1;
    expected.result_stores = 2;
    expected.gathers = 1;
    expected.shuffles = 2;
    expected.branches = 1;
    expected.vector_registers = 11; // 1 … 10 and 17
    expected.general_registers = 3;
    EXPECT_TRUE(loop.counts == expected)
        << loop.counts.bytes << " bytes, " << loop.counts.vector_registers << " and "
        << loop.counts.general_registers << " registers, " << loop.counts.vector_loads << " loads, "
        << loop.counts.broadcasts << " broadcasts, " << loop.counts.shuffles << " shuffles, "
        << loop.counts.vector_stores << " stores";
    EXPECT_DOUBLE_EQ(loop.counts.multiply_add_share(), 5.0 / 15);
    EXPECT_DOUBLE_EQ(loop.counts.loads_per_multiply_add(), 1);
}

TEST_F(Analysis, CountsAArch64ByKind) {
    const Loop loop = only_loop(aarch64("1: ldp q0, q1, [x0], #32\n"
                                        "ld1r {v2.4s}, [x1]\n"
                                        "ldr s3, [x1, #4]\n"
                                        "ld1 {v4.s}[2], [x1]\n"
                                        "dup v5.4s, v2.s[1]\n"
                                        "ext v6.16b, v0.16b, v1.16b, #4\n"
                                        "mov v6.s[1], v5.s[0]\n"
                                        "fmla v16.4s, v0.4s, v2.4s\n"
                                        "fmla v17.4s, v0.4s, v2.s[3]\n"
                                        "fmul v18.2s, v0.2s, v2.2s\n"
                                        "fmadd s19, s3, s3, s19\n"
                                        "str q16, [x2]\n"
                                        "str s19, [x2]\n"
                                        "nop\n"
                                        "subs x3, x3, #1\n"
                                        "b.ne 1b"));
    const LoopCounts &counts = loop.counts;
    EXPECT_EQ(counts.total, 15);
    EXPECT_EQ(counts.bytes, 64);
    EXPECT_EQ(counts.vector_multiply_adds, 3);
    EXPECT_EQ(counts.scalar_multiply_adds, 1);
    EXPECT_EQ(counts.multiply_add_lanes, 4 + 4 + 2 + 1);
    EXPECT_EQ(counts.vector_loads, 1);
    EXPECT_EQ(counts.broadcasts, 2);
    EXPECT_EQ(counts.gathers, 1);
    EXPECT_EQ(counts.shuffles, 2);
    EXPECT_EQ(counts.vector_stores, 1);
    EXPECT_EQ(counts.result_stores, 2);
    EXPECT_EQ(counts.spills(), 0);
    EXPECT_EQ(counts.vector_registers, 11);
    EXPECT_EQ(counts.general_registers, 4);
}

TEST_F(Analysis, SeesTheStack) {
    const std::string loop = "1: vfmadd231ps 32(%rsp), %ymm1, %ymm2\n"
                             "vmovaps %ymm2, 64(%rsp)\n"
                             "mov 8(%rsp), %rax\n"
                             "vmovaps -64(%rbp), %ymm3\n"
                             "lea 8(%rsp), %rdx\n"
                             "jne 1b";
    const LoopCounts plain = only_loop(x86(loop)).counts;
    EXPECT_EQ(plain.stack_loads, 2);
    EXPECT_EQ(plain.stack_stores, 1);
    EXPECT_EQ(plain.vector_stack_accesses, 2);
    EXPECT_EQ(plain.spills(), 3);
    EXPECT_EQ(plain.result_stores, 0);
    const LoopCounts framed = only_loop(x86("push %rbp\nmov %rsp, %rbp\n" + loop)).counts;
    EXPECT_EQ(framed.stack_loads, 3) << "rbp is the frame pointer now";
    EXPECT_EQ(framed.vector_stack_accesses, 3);

    const LoopCounts array = only_loop(x86("1: vaddps (%rsp,%rax), %ymm1, %ymm2\n"
                                           "vmovaps %ymm2, 64(%rsp,%rax,4)\n"
                                           "jne 1b"))
                                 .counts;
    EXPECT_EQ(array.spills(), 0) << "a loop that walks over an array on the stack";
    EXPECT_EQ(array.result_stores, 1);
    EXPECT_EQ(array.vector_loads, 1);

    const std::string other = "1: ldr q0, [sp, #16]\nfmla v1.4s, v0.4s, v0.4s\nstp q1, q2, [x29, #32]\n"
                              "ldr x3, [sp]\ncbnz x3, 1b";
    const LoopCounts bare = only_loop(aarch64(other)).counts;
    EXPECT_EQ(bare.stack_loads, 2);
    EXPECT_EQ(bare.stack_stores, 0);
    EXPECT_EQ(bare.result_stores, 1) << "x29 is any register here";
    EXPECT_EQ(bare.vector_stack_accesses, 1);
    EXPECT_EQ(only_loop(aarch64("mov x29, sp\n" + other)).counts.stack_stores, 1);
}

TEST_F(Analysis, FindsTheHottestOfSeveralLoops) {
    const KernelAnalysis analysis = x86("1: vfmadd231ps %xmm1, %xmm2, %xmm3\n"
                                        "je 2f\n"
                                        "jne 1b\n"
                                        "2: mov %rax, %rbx\n"
                                        "3: vfmadd231ps %ymm1, %ymm2, %ymm3\n"
                                        "je 4f\n"
                                        "vfmadd231ps %ymm1, %ymm2, %ymm4\n"
                                        "4: jne 3b\n"
                                        "vfmadd231ps %ymm1, %ymm2, %ymm5\n"
                                        "jne 2b");
    ASSERT_EQ(analysis.loops.size(), 2u);
    ASSERT_NE(analysis.hottest(), nullptr);
    EXPECT_EQ(analysis.hottest(), &analysis.loops[1]);
    EXPECT_EQ(analysis.hottest()->counts.vector_multiply_adds, 2);
    EXPECT_EQ(analysis.hottest()->depth, 2);
    EXPECT_EQ(analysis.hottest()->counts.branches, 2);
}

TEST_F(Analysis, PrefersSumsToLoopsThatStoreResults) {
    const std::string sums = "1: vfmadd231ps %ymm1, %ymm2, %ymm3\nvmovups %ymm4, 32(%rsp)\njne 1b\n";
    const std::string polynomial = "2: vmulps %ymm1, %ymm2, %ymm3\n"
                                   "vfmadd213ps %ymm1, %ymm3, %ymm2\n";
    const KernelAnalysis stored = x86(sums + polynomial + "vmovlps %xmm2, (%rsi)\njne 2b");
    EXPECT_EQ(stored.hottest(), &stored.loops[0]);
    const KernelAnalysis branching = x86(sums + polynomial + "je 3f\njne 2b\n3: vmovlps %xmm2, (%rsi)");
    EXPECT_EQ(branching.hottest(), &branching.loops[0]);
    const KernelAnalysis kept = x86(sums + polynomial + "jne 2b");
    EXPECT_EQ(kept.hottest(), &kept.loops[1]);
    const KernelAnalysis copied =
        x86("1: vmovups (%rsi), %ymm1\njne 1b\n" + polynomial + "vmovups %ymm2, (%rsi)\njne 2b");
    EXPECT_EQ(copied.hottest(), &copied.loops[1]) << "a loop without products is no sum";
}

TEST_F(Analysis, WithoutALoopKeepsTheSizeOnly) {
    const KernelAnalysis straight = x86("vfmadd231ps %ymm1, %ymm2, %ymm3");
    EXPECT_TRUE(straight.loops.empty());
    EXPECT_EQ(straight.hottest(), nullptr);
    EXPECT_EQ(straight.code_bytes, 6);
    StaticFacts expected;
    expected.code_bytes = 6;
    EXPECT_TRUE(static_facts(straight, {"haswell"}, 100) == expected);
    EXPECT_EQ(x86("1: dec %ecx\njne 1b").hottest(), nullptr) << "nothing is multiplied";
}

TEST_F(Analysis, TakesNoLinkedBranchForALoop) {
    EXPECT_TRUE(x86("vmulps %ymm1, %ymm1, %ymm1\njmp elsewhere").loops.empty());
    EXPECT_TRUE(aarch64("fmul v0.4s, v0.4s, v0.4s\nb elsewhere").loops.empty());
}

TEST_F(Analysis, ReadsCodeWithoutSymbols) {
    write("g.s", ".text\n1: mulps %xmm1, %xmm2\njne 1b\n");
    ASSERT_TRUE(run_process({x86_compiler, "-c", path("g.s").string(), "-o", path("g.o").string()}).ok());
    const KernelAnalysis analysis = analyse(path("g.o"), "sse41");
    EXPECT_EQ(only_loop(analysis).counts.multiply_add_lanes, 4);
}

TEST_F(Analysis, ModelsKnownLatencyAndThroughput) {
    const auto cycles = [](const Loop &loop, const char *processor) {
        const auto model = model_loop(loop, "avx2", processor);
        EXPECT_TRUE(model.ok()) << model.error();
        return model ? model->cycles : 0;
    };
    const Loop chain = only_loop(x86("1: vfmadd231ps %ymm1, %ymm2, %ymm3\nnop\ndec %ecx\njne 1b"));
    EXPECT_NEAR(cycles(chain, "haswell"), 5, 0.2) << "the latency of one sum";
    std::string body = "1:";
    for (int i = 3; i < 13; i++)
        body += "vfmadd231ps %ymm1, %ymm2, %ymm" + std::to_string(i) + "\n";
    const Loop wide = only_loop(x86(body + "dec %ecx\njne 1b"));
    EXPECT_NEAR(cycles(wide, "haswell"), 5, 0.3) << "ten sums on two units";
    const auto model = model_loop(wide, "avx2", "haswell");
    ASSERT_TRUE(model.ok());
    EXPECT_EQ(model->processor, "haswell");
    EXPECT_DOUBLE_EQ(model->cycles_per_multiply_add, model->cycles / 80);
    EXPECT_NEAR(model->instructions_per_cycle, 12 / model->cycles, 1e-9);
    const auto waiting = model_loop(chain, "avx2", "haswell");
    ASSERT_TRUE(waiting.ok());
    EXPECT_GT(waiting->waits_for_operands, 0.25);
    EXPECT_LT(model->waits_for_operands, waiting->waits_for_operands);
    EXPECT_GT(model->waits_for_units, waiting->waits_for_units);
}

TEST_F(Analysis, SaysWhatIsNotModelled) {
    const auto expect_error = [](const Loop &loop, const char *instruction_set, const char *processor,
                                 const char *part) {
        const auto model = model_loop(loop, instruction_set, processor);
        ASSERT_FALSE(model.ok()) << processor;
        EXPECT_TRUE(has(model.error(), part)) << model.error();
    };
    const Loop wide = only_loop(x86("1: vfmadd231ps %zmm1, %zmm2, %zmm3\njne 1b"));
    expect_error(wide, "avx512", "haswell", "haswell lacks the instruction set avx512");
    const Loop scalable = only_loop(aarch64(".arch armv8-a+sve\n"
                                            "1: fmla z0.s, p0/m, z1.s, z2.s\nb.ne 1b"));
    expect_error(scalable, "neon", "neoverse-n1", "model of neoverse-n1 has no 'fmla z0.s");
    expect_error(wide, "avx512", "pdp11", "no model of a processor 'pdp11'");
    expect_error(wide, "avx512", "cortex-a55", "no model of a processor 'cortex-a55'");
    expect_error(wide, "cuda", "haswell", "instruction set 'cuda'");
    const Loop calling = only_loop(x86("1: mulps %xmm1, %xmm2\ncall expf\njne 1b"));
    EXPECT_EQ(calling.counts.calls, 1);
    expect_error(calling, "sse41", "haswell", "calls functions");
}

TEST_F(Analysis, FactsScaleToACall) {
    const KernelAnalysis analysis = x86("1: vfmadd231ps 32(%rsp), %ymm2, %ymm3\n"
                                        "vbroadcastss (%rdi), %ymm2\nvmovups %ymm3, (%rdi)\njne 1b");
    const StaticFacts facts = static_facts(analysis, {"haswell", "pdp11", "znver4"}, 1000);
    EXPECT_EQ(facts.code_bytes, analysis.code_bytes);
    EXPECT_EQ(facts.multiply_adds, 1);
    EXPECT_EQ(facts.vector_loads_stores, 3);
    EXPECT_EQ(facts.spills, 1);
    ASSERT_EQ(facts.modelled_cycles.size(), 2u);
    const auto model = model_loop(*analysis.hottest(), "avx2", "haswell");
    ASSERT_TRUE(model.ok());
    EXPECT_DOUBLE_EQ(facts.modelled_cycles.at("haswell"), model->cycles / 8 * 1000);
}

TEST_F(Analysis, ReadsPtx) {
    const fs::path object = write("k.o", std::string("\177ELF\0host\0", 10) +
                                             ".version 6.0\n.target sm_70\n"
                                             ".visible .entry kernel(\n\t.param .u64 p\n)\n{\n"
                                             "\t.reg .f32 %f<9>;\n"
                                             "$L_1:\n"
                                             "\tld.global.nc.f32 \t%f1, [%rd1];\n"
                                             "\tld.local.f32 \t%f2, [%rd2]; // a spill\n"
                                             "\tfma.rn.f32 \t%f3, %f1, %f2, %f3;\n"
                                             "\tmul.wide.s32 \t%rd1, %r1, 4;\n"
                                             "\tst.shared.f32 \t[%rd1], %f1;\n"
                                             "\tst.global.f32 \t[%rd1], %f3;\n"
                                             "\t@%p1 bra $L_1;\n"
                                             "\tst.global.f32 \t[%rd1], %f3;\n\tret;\n}\n" +
                                             std::string("\0rest", 5));
    const KernelAnalysis analysis = analyse(object, "cuda");
    const Loop loop = only_loop(analysis);
    EXPECT_EQ(loop.function, "kernel");
    ASSERT_EQ(loop.instructions.size(), 7u);
    EXPECT_EQ(loop.instructions[2].text, "fma.rn.f32  %f3, %f1, %f2, %f3;");
    EXPECT_EQ(loop.counts.vector_multiply_adds, 1);
    EXPECT_EQ(loop.counts.vector_loads, 2);
    EXPECT_EQ(loop.counts.stack_loads, 1);
    EXPECT_EQ(loop.counts.vector_stores, 2);
    EXPECT_EQ(loop.counts.result_stores, 1);
    EXPECT_EQ(loop.counts.vector_registers, 7);
    EXPECT_TRUE(static_facts(analysis, {"haswell"}, 1).modelled_cycles.empty());
}

TEST_F(Analysis, RefusesWhatIsNoSuchObject) {
    const auto expect_error = [](const fs::path &file, const char *instruction_set, const char *part) {
        const auto analysis = analyse_object(file, instruction_set);
        ASSERT_FALSE(analysis.ok()) << part;
        EXPECT_TRUE(has(analysis.error(), part)) << analysis.error();
        EXPECT_TRUE(has(analysis.error(), file.string())) << analysis.error();
    };
    const fs::path object = assemble("1: mulps %xmm1, %xmm2\njne 1b");
    expect_error(path("missing.o"), "avx2", "No such file");
    expect_error(write("empty.o", ""), "avx2", "the file is empty");
    expect_error(write("text.o", "int main() {}"), "avx2", "no ELF object file");
    expect_error(write("short.o", std::string("\177ELF\2\1", 6)), "avx2", "its header is cut off");
    expect_error(object, "neon", "an object file for x86-64");
    expect_error(object, "opencl", "instruction set 'opencl'");
    expect_error(object, "vax", "instruction set 'vax'");
    expect_error(object, "cuda", "holds no PTX");
    ASSERT_TRUE(run_process({"ar", "rc", path("f.a").string(), object.string()}).ok());
    expect_error(path("f.a"), "avx2", "an archive");
    expect_error(assemble(".byte 0x06, 0x06"), "avx2", "the bytes at 0x0 of function 'f' are no instruction");
}

// Cut anywhere, an object is an error; with any byte changed it is an error or an analysis, never a crash.
TEST_F(Analysis, SurvivesDamage) {
    const auto object = read_file(assemble("1: mulps %xmm1, %xmm2\ncall g\njne 1b"));
    ASSERT_TRUE(object.ok());
    for (std::size_t size = 0; size < object->size(); size++) {
        const auto analysis = analyse_object(write("cut.o", object->substr(0, size)), "sse41");
        EXPECT_FALSE(analysis.ok()) << "cut to " << size << " of " << object->size() << " bytes";
    }
    std::mt19937 random(7);
    for (std::size_t i = 0; i < object->size(); i++) {
        std::string changed = *object;
        changed[i] = static_cast<char>(static_cast<unsigned char>(changed[i]) ^ (1 + random() % 255));
        const auto analysis = analyse_object(write("changed.o", changed), "sse41");
        EXPECT_TRUE(analysis.ok() || has(analysis.error(), "changed.o: "));
    }
}

// What GNU's disassembler prints for the instructions of a function between two addresses.
std::vector<std::string> disassembled(const std::string &objdump, const fs::path &object, const Loop &loop) {
    const ProcessResult dump = run_process({objdump, "-d", "--no-show-raw-insn", object.string()});
    EXPECT_TRUE(dump.ok()) << dump.errors;
    static const std::regex instruction(R"(^\s*([0-9a-f]+):\s+(\S.*)$)");
    std::vector<std::string> texts;
    bool inside = false;
    std::istringstream lines(dump.output);
    for (std::string line; std::getline(lines, line);) {
        if (line.ends_with(">:")) inside = line.ends_with("<" + loop.function + ">:");
        std::smatch match;
        if (!inside || !std::regex_match(line, match, instruction)) continue;
        const std::uint64_t address = std::stoull(match[1], nullptr, 16);
        if (address >= loop.instructions.front().address && address <= loop.instructions.back().address)
            texts.push_back(match[2]);
    }
    return texts;
}

// Total cycles by the llvm-mca program.
int cycles_by_program(const fs::path &assembly, const char *triple, const std::string &processor) {
    const ProcessResult run =
        run_process({"llvm-mca-19", std::string("-mtriple=") + triple, "-mcpu=" + processor,
                     "-iterations=" + std::to_string(modelled_iterations), assembly.string()});
    EXPECT_TRUE(run.ok()) << run.errors;
    std::smatch match;
    static const std::regex total(R"(Total Cycles:\s+(\d+))");
    return std::regex_search(run.output, match, total) ? std::stoi(match[1]) : 0;
}

TEST_F(Analysis, OfKernelsAgreesWithOtherTools) {
    const fs::path layers =
        write("a.layers", "up = input(f32, 1x8x8x32) | transposed_conv(32, kernel=4, stride=2, pad=1)\n");
    struct Case {
        const char *target, *instruction_set, *objdump, *triple, *multiply;
    };
    for (const Case &tried :
         {Case{"x86-64", "avx512", "objdump", "x86_64-linux-gnu", "vfmadd|vmulps"},
          Case{"x86-64", "avx2", "objdump", "x86_64-linux-gnu", "vfmadd|vmulps"},
          Case{"aarch64", "neon", "aarch64-linux-gnu-objdump", "aarch64-linux-gnu", "^fmla|^fmul"}}) {
        SCOPED_TRACE(tried.instruction_set);
        const fs::path cache = path(std::string("cache-") + tried.instruction_set);
        const ProcessResult built = run_process(
            {UNSTRIDE_PROGRAM, "build", layers.string(), "--target", tried.target, "--instruction-set",
             tried.instruction_set, "-o", path("out").string(), "--quiet"},
            {}, {"UNSTRIDE_CACHE_DIR=" + cache.string(), "XDG_DATA_HOME=" + path("data").string()});
        ASSERT_TRUE(built.ok()) << built.errors;
        fs::path object;
        for (const auto &entry : fs::recursive_directory_iterator(cache / "kernels")) {
            if (entry.path().string().ends_with("_compute.o")) object = entry.path();
        }
        const KernelAnalysis analysis = analyse(object, tried.instruction_set);
        ASSERT_NE(analysis.hottest(), nullptr);
        const Loop &loop = *analysis.hottest();
        const std::vector<std::string> texts = disassembled(tried.objdump, object, loop);
        const std::regex multiply(tried.multiply);
        EXPECT_EQ(texts.size(), loop.instructions.size());
        EXPECT_EQ(loop.counts.multiply_adds(),
                  std::count_if(texts.begin(), texts.end(),
                                [&](const std::string &text) { return std::regex_search(text, multiply); }));
        EXPECT_GE(loop.counts.multiply_adds(), 8);

        std::string assembly;
        for (const LoopInstruction &instruction : loop.instructions)
            assembly += instruction.text + "\n";
        const fs::path file = write("loop.s", assembly);
        for (const std::string &processor : modelled_processors(tried.instruction_set)) {
            const auto model = model_loop(loop, tried.instruction_set, processor);
            ASSERT_TRUE(model.ok()) << model.error();
            EXPECT_NEAR(model->cycles * modelled_iterations, cycles_by_program(file, tried.triple, processor),
                        0.5)
                << processor;
        }
    }
}

} // namespace
} // namespace unstride
