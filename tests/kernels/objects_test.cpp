// Reads the generated code of benchmark layers of every form: the hottest loop of every kernel keeps its sums
// in registers, gathers and shuffles nothing, and on AArch64 multiplies in at least four of five instructions
// (channelwise kernels, which wait for memory, multiply vectors at least); PTX assembles without spills.
#include "tools/files.h"
#include "tools/library/process.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <map>
#include <optional>
#include <regex>
#include <sstream>
#include <string>
#include <vector>

namespace unstride {
namespace {

namespace fs = std::filesystem;

struct Instruction {
    std::string address, text;
};

struct Loop {
    std::vector<std::string> body;
    int multiplies = 0;
    bool has_frame_pointer = false; // of the function: else x86's rbp is a register like any other
};

bool contains(const std::string &text, const std::regex &pattern) {
    return std::regex_search(text, pattern);
}

int count(const Loop &loop, const std::regex &pattern) {
    return static_cast<int>(std::count_if(loop.body.begin(), loop.body.end(),
                                          [&](const std::string &text) { return contains(text, pattern); }));
}

// Functions of a disassembly, each a list of instructions.
std::vector<std::vector<Instruction>> parse_functions(const std::string &disassembly) {
    static const std::regex line_form(R"(^\s*([0-9a-f]+):\s+(\S.*)$)");
    std::vector<std::vector<Instruction>> functions(1);
    std::istringstream lines(disassembly);
    for (std::string line; std::getline(lines, line);) {
        std::smatch match;
        if (line.empty()) {
            functions.emplace_back();
        } else if (std::regex_match(line, match, line_form)) {
            functions.back().push_back({match[1], match[2]});
        }
    }
    return functions;
}

// The innermost loop with the most multiplications: a backward branch whose body holds no other one.
Loop hottest_loop(const std::string &disassembly, const std::regex &multiply) {
    static const std::regex branch(
        R"(^(?:j\w+|b|b\.\w+|cbn?z\s+\w+,|tbn?z\s+\w+,\s*#?\w+,)\s+([0-9a-f]+)\b)");
    Loop hottest;
    for (const std::vector<Instruction> &function : parse_functions(disassembly)) {
        std::map<std::string, std::size_t> places;
        for (std::size_t i = 0; i < function.size(); i++)
            places[function[i].address] = i;
        const auto target_of = [&](std::size_t i) -> std::optional<std::size_t> {
            std::smatch match;
            if (!std::regex_search(function[i].text, match, branch)) return std::nullopt;
            const auto place = places.find(match[1]);
            if (place == places.end() || place->second > i) return std::nullopt;
            return place->second;
        };
        for (std::size_t end = 0; end < function.size(); end++) {
            const auto begin = target_of(end);
            if (!begin) continue;
            bool innermost = true;
            for (std::size_t i = *begin; i < end; i++) {
                const auto inner = target_of(i);
                innermost &= !inner || *inner < *begin;
            }
            if (!innermost) continue;
            Loop loop;
            for (std::size_t i = *begin; i <= end; i++)
                loop.body.push_back(function[i].text);
            loop.multiplies = count(loop, multiply);
            loop.has_frame_pointer =
                std::any_of(function.begin(), function.end(), [](const Instruction &instruction) {
                    static const std::regex frame(R"(^mov\s+%rsp,%rbp)");
                    return contains(instruction.text, frame);
                });
            if (loop.multiplies > hottest.multiplies) hottest = loop;
        }
    }
    return hottest;
}

std::string text_of(const Loop &loop) {
    std::string text;
    for (const std::string &line : loop.body)
        text += line + "\n";
    return text;
}

TEST(HottestLoop, IsFoundAndFaultsAreSeen) {
    const std::string code = "0000 <f>:\n"
                             "   0:\tmov %eax,%ebx\n"
                             "   4:\tvfmadd231ps (%rax),%zmm1,%zmm2\n"
                             "   8:\tvfmadd231ps 0x40(%rsp),%zmm1,%zmm3\n"
                             "   c:\tjne    4 <f+0x4>\n"
                             "  10:\tjne    0 <f>\n";
    const Loop loop = hottest_loop(code, std::regex("vfmadd"));
    EXPECT_EQ(loop.multiplies, 2);
    EXPECT_EQ(loop.body.size(), 3u);
    EXPECT_EQ(count(loop, std::regex(R"(%[xyz]mm.*\(%rsp|\(%rsp.*%[xyz]mm)")), 1);
}

using Names = std::vector<std::string>;

// Layers of one file of bench/layers/.
struct Chosen {
    const char *file;
    Names layers;
};

// Every layer of dense.layers but the one too small to have a loop worth reading.
Chosen dense_layers() {
    const auto text = read_file(UNSTRIDE_DENSE_LAYERS);
    EXPECT_TRUE(text.ok()) << text.error();
    static const std::regex name(R"((\w+)\s*=\s*input.*)");
    Chosen result{"dense.layers", {}};
    std::istringstream lines(*text);
    for (std::string line; std::getline(lines, line);) {
        std::smatch match;
        if (std::regex_match(line, match, name) && match[1] != "one_pixel") result.layers.push_back(match[1]);
    }
    EXPECT_GT(result.layers.size(), 4u);
    return result;
}

// Direct sums: before a pixel_shuffle, over a repeated image, on one and three spatial axes.
const std::vector<Chosen> other_direct_layers = {{"super_resolution.layers", {"edsr_up1"}},
                                                 {"latent_diffusion.layers", {"sdvae_up64"}},
                                                 {"audio.layers", {"hifigan_86"}},
                                                 {"volumes.layers", {"nnunet_28"}}};
const std::vector<Chosen> column_layers = {{"super_resolution.layers", {"fsrcnn_x2", "waifu2x", "espcn_x3"}},
                                           {"audio.layers", {"istft"}}};
const std::vector<Chosen> channelwise_layers = {{"centernet.layers", {"dla_f2_16", "dla_f4_32"}},
                                                {"fcn.layers", {"fcn8s_up8"}}};

// The objects that `unstride build` made, found in a cache of this test's own.
class Objects : public testing::Test {
protected:
    // Compiles one layer at a time, so that each object is known by its layer. Calls visit(layer, object).
    template<typename Visit>
    void for_each_kernel(const std::string &target, const Chosen &chosen, Visit visit) {
        const fs::path file = fs::path(UNSTRIDE_DENSE_LAYERS).replace_filename(chosen.file);
        for (const std::string &layer : chosen.layers) {
            const auto folder = make_temporary_folder("unstride-objects");
            ASSERT_TRUE(folder.ok()) << folder.error();
            const fs::path cache = folder->path() / "cache";
            const ProcessResult built =
                run_process({UNSTRIDE_PROGRAM, "build", file.string(), "--layer", layer, "--target", target,
                             "-o", (folder->path() / "out").string(), "--quiet"},
                            {}, {"UNSTRIDE_CACHE_DIR=" + cache.string()});
            ASSERT_TRUE(built.ok()) << built.errors;
            int kernels = 0;
            for (const auto &entry : fs::recursive_directory_iterator(cache / "kernels")) {
                if (!entry.path().string().ends_with("_compute.o")) continue;
                visit(layer, entry.path());
                kernels++;
            }
            EXPECT_GT(kernels, 0) << layer;
        }
    }

    template<typename Visit>
    void for_each_kernel(const std::string &target, const std::vector<Chosen> &files, Visit visit) {
        for (const Chosen &chosen : files)
            for_each_kernel(target, chosen, visit);
    }

    std::string disassemble(const std::string &objdump, const fs::path &object) {
        const ProcessResult result = run_process({objdump, "-d", "--no-show-raw-insn", object.string()});
        EXPECT_TRUE(result.ok()) << result.errors;
        return result.output;
    }
};

const std::regex x86_multiply("vfmadd|mulps");

// No vector of the loop lives on the stack, is gathered or rearranged.
void expect_clean_x86(const Loop &loop, const std::string &what) {
    static const std::regex stack(R"(\(%rsp)"), frame(R"(\(%r[sb]p)"), vector("%[xyz]mm"), gather("gather"),
        shuffle("vperm|vshuf|vunpck|vinsert|vextract|vblend|unpck");
    const std::regex &spilled = loop.has_frame_pointer ? frame : stack;
    const auto spills = std::count_if(loop.body.begin(), loop.body.end(), [&](const std::string &text) {
        return contains(text, spilled) && contains(text, vector);
    });
    EXPECT_EQ(spills, 0) << what;
    EXPECT_EQ(count(loop, gather), 0) << what;
    EXPECT_EQ(count(loop, shuffle), 0) << what;
}

TEST_F(Objects, X86LoopsNeitherSpillNorGatherNorShuffle) {
    const auto visit = [&](const std::string &layer, const fs::path &object) {
        const Loop loop = hottest_loop(disassemble("objdump", object), x86_multiply);
        const std::string what = layer + ", " + object.filename().string() + ":\n" + text_of(loop);
        ASSERT_GE(loop.multiplies, 8) << what;
        expect_clean_x86(loop, what);
    };
    for_each_kernel("x86-64", dense_layers(), visit);
    for_each_kernel("x86-64", other_direct_layers, visit);
    for_each_kernel("x86-64", column_layers, visit);
}

TEST_F(Objects, X86ChannelwiseLoopsMultiplyVectors) {
    const std::regex scalar("vfmadd\\w*ss|mulss");
    for_each_kernel("x86-64", channelwise_layers, [&](const std::string &layer, const fs::path &object) {
        const Loop loop = hottest_loop(disassemble("objdump", object), x86_multiply);
        const std::string what = layer + ", " + object.filename().string() + ":\n" + text_of(loop);
        ASSERT_GE(loop.multiplies, 2) << what;
        expect_clean_x86(loop, what);
        EXPECT_EQ(count(loop, scalar), 0) << what;
    });
}

TEST_F(Objects, AArch64LoopsMultiplyInFourOfFiveInstructions) {
    if (!program_exists("aarch64-linux-gnu-objdump"))
        GTEST_SKIP() << "aarch64-linux-gnu-objdump is not installed";
    const std::regex multiply(R"(^fmla\b)"), stack(R"(\b[qv]\d+\b.*\[sp)");
    const auto visit = [&](const std::string &layer, const fs::path &object) {
        const Loop loop = hottest_loop(disassemble("aarch64-linux-gnu-objdump", object), multiply);
        const std::string what = layer + ":\n" + text_of(loop);
        ASSERT_GE(loop.multiplies, 16) << what;
        EXPECT_EQ(count(loop, stack), 0) << what;
        EXPECT_GE(loop.multiplies, 0.8 * static_cast<double>(loop.body.size())) << what;
    };
    for_each_kernel("aarch64", dense_layers(), visit);
    for_each_kernel("aarch64", other_direct_layers, visit);
}

// ptxas from PATH or where the CUDA toolkit installs it.
std::string find_ptxas() {
    for (const char *program : {"ptxas", "/usr/local/cuda/bin/ptxas"}) {
        if (program_exists(program)) return program;
    }
    return "";
}

TEST_F(Objects, PtxAssemblesWithoutSpills) {
    const std::string ptxas = find_ptxas();
    if (ptxas.empty()) GTEST_SKIP() << "ptxas of the CUDA toolkit is not installed";
    // PTX for compute capability 7.0 assembles for every later one; new toolkits have dropped 7.0 itself.
    std::string architecture;
    for (const char *tried : {"sm_80", "sm_75", "sm_70"}) {
        const ProcessResult probe =
            run_process({ptxas, std::string("-arch=") + tried, "/dev/null", "-o", "/dev/null"});
        if ((probe.errors + probe.output).find("not defined for option") == std::string::npos)
            architecture = tried;
    }
    ASSERT_FALSE(architecture.empty());
    const auto visit = [&](const std::string &layer, const fs::path &object) {
        const auto bytes = read_file(object);
        ASSERT_TRUE(bytes.ok()) << bytes.error();
        const std::size_t begin = bytes->find(".version ");
        ASSERT_NE(begin, std::string::npos) << layer << " holds no PTX";
        const std::string ptx = bytes->substr(begin, bytes->find('\0', begin) - begin);
        EXPECT_NE(ptx.find(".target sm_70"), std::string::npos);
        const fs::path file = object.string() + ".ptx";
        ASSERT_TRUE(write_file_atomically(file, ptx).ok());
        const ProcessResult assembled =
            run_process({ptxas, "-v", "-arch=" + architecture, file.string(), "-o", "/dev/null"});
        ASSERT_TRUE(assembled.ok()) << layer << ": " << assembled.errors;
        static const std::regex spills(R"((\d+) bytes spill stores, (\d+) bytes spill loads)");
        std::smatch match;
        const std::string said = assembled.errors + assembled.output;
        ASSERT_TRUE(std::regex_search(said, match, spills)) << said;
        EXPECT_EQ(match[1], "0") << layer << ": " << said;
        EXPECT_EQ(match[2], "0") << layer << ": " << said;
    };
    for_each_kernel("cuda", dense_layers(), visit);
    for_each_kernel("cuda", other_direct_layers, visit);
    for_each_kernel("cuda", column_layers, visit);
    for_each_kernel("cuda", channelwise_layers, visit);
}

} // namespace
} // namespace unstride
