// Reads the generated code of benchmark layers of every form: the hottest loop of every kernel keeps its sums
// in registers, gathers and shuffles nothing, and on AArch64 multiplies in at least four of five instructions
// (channelwise kernels, which wait for memory, multiply vectors at least); PTX assembles without spills.
#include "compiler/language/parser.h"
#include "compiler/language/printer.h"
#include "compiler/lowering/phase_convolution.h"
#include "schedules/analytic_default.h"
#include "schedules/search_space.h"
#include "tools/analysis/analysis.h"
#include "tools/files.h"
#include "tools/library/kernel_compiler.h"
#include "tools/library/parallel.h"
#include "tools/library/process.h"
#include "tools/library/schedule_source.h"
#include "tools/measure/candidate.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <random>
#include <regex>
#include <sstream>
#include <string>
#include <vector>

namespace unstride {
namespace {

namespace fs = std::filesystem;

std::string text_of(const Loop &loop) {
    std::string text;
    for (const LoopInstruction &instruction : loop.instructions)
        text += instruction.text + "\n";
    return text;
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

// The objects that `unstride build` makes, or has made: they come from its cache.
class Objects : public testing::Test {
protected:
    struct Kernel {
        std::string layer;
        KernelRequest request;
        Result<CompiledKernel> compiled{Error{"not compiled"}};
    };

    // Calls visit(layer, object) for every layer and instruction set of the target.
    template<typename Visit>
    void for_each_kernel(const std::string &target_name, const Chosen &chosen, Visit visit) {
        const auto installation = find_installation();
        ASSERT_TRUE(installation.ok()) << installation.error();
        const auto schedules = ScheduleSource::open(*installation);
        ASSERT_TRUE(schedules.ok()) << schedules.error();
        const fs::path file = fs::path(UNSTRIDE_DENSE_LAYERS).replace_filename(chosen.file);
        const auto text = read_file(file);
        ASSERT_TRUE(text.ok()) << text.error();
        const ParseResult parsed = parse_layers(*text, file.string());
        const Target &target = *find_target(target_name);
        std::vector<Kernel> kernels;
        for (const Layer &layer : parsed.layers) {
            if (std::find(chosen.layers.begin(), chosen.layers.end(), layer.name) == chosen.layers.end())
                continue;
            const PhaseConvolution convolution = std::get<PhaseConvolution>(lower(layer));
            for (const TargetFacts &facts : target.instruction_sets) {
                const ScheduleRecord schedule = schedules->find(layer, convolution, target, facts).schedule;
                kernels.push_back(
                    {layer.name, {print_chain(layer), facts, schedule, packs_weights(convolution)}});
            }
        }
        ASSERT_EQ(kernels.size(), chosen.layers.size() * target.instruction_sets.size());
        run_parallel(kernels.size(), 0, [&](std::size_t i) {
            kernels[i].compiled = compile_kernel(kernels[i].request, *installation, cache_folder());
        });
        for (const Kernel &kernel : kernels) {
            ASSERT_TRUE(kernel.compiled.ok()) << kernel.layer << ": " << kernel.compiled.error();
            visit(kernel.layer, kernel.compiled->compute_object);
        }
    }

    template<typename Visit>
    void for_each_kernel(const std::string &target, const std::vector<Chosen> &files, Visit visit) {
        for (const Chosen &chosen : files)
            for_each_kernel(target, chosen, visit);
    }

    // The hottest loop, which every object has.
    static Loop hottest_loop(const fs::path &object, const std::string &instruction_set) {
        const auto analysis = analyse_object(object, instruction_set);
        EXPECT_TRUE(analysis.ok()) << analysis.error();
        if (!analysis || analysis->hottest() == nullptr) return {};
        return *analysis->hottest();
    }
};

// No vector of the loop lives on the stack, is gathered or rearranged.
void expect_clean(const Loop &loop, const std::string &what) {
    EXPECT_EQ(loop.counts.vector_stack_accesses, 0) << what;
    EXPECT_EQ(loop.counts.gathers, 0) << what;
    EXPECT_EQ(loop.counts.shuffles, 0) << what;
}

// Objects of all instruction sets of x86-64 are decoded alike.
constexpr const char *any_x86 = "avx512";

// They are generated under another name, which must be gone: two of a library would meet in it.
TEST_F(Objects, DefineFunctionsOfTheirKeysAlone) {
    for_each_kernel("x86-64", dense_layers(), [&](const std::string &layer, const fs::path &object) {
        const auto bytes = read_file(object);
        ASSERT_TRUE(bytes.ok()) << bytes.error();
        EXPECT_NE(bytes->find(object.stem().string()), std::string::npos) << layer;
        EXPECT_EQ(bytes->find(std::string(32, '0')), std::string::npos) << layer;
    });
}

TEST_F(Objects, X86LoopsNeitherSpillNorGatherNorShuffle) {
    const auto visit = [&](const std::string &layer, const fs::path &object) {
        const Loop loop = hottest_loop(object, any_x86);
        const std::string what = layer + ", " + object.filename().string() + ":\n" + text_of(loop);
        ASSERT_GE(loop.counts.multiply_adds(), 8) << what;
        expect_clean(loop, what);
    };
    for_each_kernel("x86-64", dense_layers(), visit);
    for_each_kernel("x86-64", other_direct_layers, visit);
    for_each_kernel("x86-64", column_layers, visit);
}

TEST_F(Objects, X86ChannelwiseLoopsMultiplyVectors) {
    for_each_kernel("x86-64", channelwise_layers, [&](const std::string &layer, const fs::path &object) {
        const Loop loop = hottest_loop(object, any_x86);
        const std::string what = layer + ", " + object.filename().string() + ":\n" + text_of(loop);
        ASSERT_GE(loop.counts.vector_multiply_adds, 2) << what;
        expect_clean(loop, what);
        EXPECT_EQ(loop.counts.scalar_multiply_adds, 0) << what;
    });
}

TEST_F(Objects, AArch64LoopsMultiplyInFourOfFiveInstructions) {
    const auto visit = [&](const std::string &layer, const fs::path &object) {
        const Loop loop = hottest_loop(object, "neon");
        const std::string what = layer + ":\n" + text_of(loop);
        ASSERT_GE(loop.counts.vector_multiply_adds, 16) << what;
        expect_clean(loop, what);
        EXPECT_GE(loop.counts.multiply_add_share(), 0.8) << what;
    };
    for_each_kernel("aarch64", dense_layers(), visit);
    for_each_kernel("aarch64", other_direct_layers, visit);
}

// Points drawn from the search space, by the seed that UNSTRIDE_SAMPLE_SEED may set, compile into loops that
// do not spill: arithmetic has left out those that do not fit.
TEST_F(Objects, SampledPointsOfTheSearchSpaceDoNotSpill) {
    const char *wanted = std::getenv("UNSTRIDE_SAMPLE_SEED");
    const unsigned seed = wanted == nullptr ? 1 : static_cast<unsigned>(std::atoi(wanted));
    SCOPED_TRACE("UNSTRIDE_SAMPLE_SEED=" + std::to_string(seed));
    std::mt19937 random(seed);
    const auto installation = find_installation();
    ASSERT_TRUE(installation.ok()) << installation.error();
    const auto folder = make_temporary_folder("unstride-sample");
    ASSERT_TRUE(folder.ok()) << folder.error();
    const ParseResult layers = parse_layers(
        "k4 = input(f32, 1x16x12x64) | transposed_conv(64, kernel=4, stride=2, pad=1) | bias | relu\n"
        "k2 = input(f32, 1x23x30x48, layout=nchw) | transposed_conv(24, kernel=2, stride=2) | bias\n"
        "few = input(f32, 1x32x32x32) | transposed_conv(3, kernel=4, stride=2, pad=1) | relu\n",
        "sample");
    for (const Target &target : all_targets()) {
        if (target.name != "x86-64" && target.name != "aarch64") continue;
        for (const TargetFacts &facts : target.instruction_sets) {
            for (const Layer &layer : layers.layers) {
                const SearchSpace space(std::get<PhaseConvolution>(lower(layer)), facts);
                const ScheduleRecord &point = space.points()[random() % space.points().size()];
                const std::string what =
                    layer.name + " for " + facts.instruction_set + ": " + to_json(point).dump();
                const auto built =
                    build_candidate(layer, target, facts, point, *installation, folder->path());
                ASSERT_TRUE(built.ok()) << what;
                const Loop loop = hottest_loop(built->compute_object, facts.instruction_set);
                EXPECT_EQ(loop.counts.vector_stack_accesses, 0) << what << "\n" << text_of(loop);
                EXPECT_EQ(loop.counts.gathers, 0) << what << "\n" << text_of(loop);
            }
        }
    }
}

// ptxas from PATH or where the CUDA toolkit installs it.
std::string find_ptxas() {
    for (const char *program : {"ptxas", "/usr/local/cuda/bin/ptxas"}) {
        if (program_exists(program)) return program;
    }
    return "";
}

// PTX for compute capability 7.0 assembles for every later one; new toolkits have dropped 7.0 itself.
std::string oldest_architecture(const std::string &ptxas) {
    for (const char *tried : {"sm_70", "sm_75", "sm_80"}) {
        const ProcessResult probe =
            run_process({ptxas, std::string("-arch=") + tried, "/dev/null", "-o", "/dev/null"});
        if ((probe.errors + probe.output).find("not defined for option") == std::string::npos) return tried;
    }
    ADD_FAILURE() << ptxas << " knows none of the architectures";
    return "";
}

// What ptxas says of every function of an object's PTX.
std::string assembled_ptx(const std::string &ptxas, const std::string &what, const fs::path &object) {
    static const std::string architecture = oldest_architecture(ptxas);
    const auto bytes = read_file(object);
    const std::size_t begin = bytes.ok() ? bytes->find(".version ") : std::string::npos;
    if (begin == std::string::npos) {
        ADD_FAILURE() << what << " holds no PTX";
        return "";
    }
    const std::string ptx = bytes->substr(begin, bytes->find('\0', begin) - begin);
    EXPECT_NE(ptx.find(".target sm_70"), std::string::npos);
    const fs::path file = object.string() + ".ptx";
    EXPECT_TRUE(write_file_atomically(file, ptx).ok());
    const ProcessResult assembled =
        run_process({ptxas, "-v", "-arch=" + architecture, file.string(), "-o", "/dev/null"});
    EXPECT_TRUE(assembled.ok()) << what << ": " << assembled.errors;
    return assembled.errors + assembled.output;
}

// The numbers that precede `unit` in a text, one for each time.
std::vector<int> numbers_before(const std::string &text, const std::string &unit) {
    std::vector<int> numbers;
    const std::regex pattern("(\\d+) " + unit);
    for (std::sregex_iterator at(text.begin(), text.end(), pattern), end; at != end; ++at)
        numbers.push_back(std::stoi((*at)[1]));
    return numbers;
}

void expect_no_spills(const std::string &said, const std::string &what) {
    const std::vector<int> spills = numbers_before(said, "bytes spill (?:stores|loads)");
    ASSERT_FALSE(spills.empty()) << what << ": " << said;
    for (const int bytes : spills)
        EXPECT_EQ(bytes, 0) << what << ": " << said;
}

TEST_F(Objects, PtxAssemblesWithoutSpills) {
    const std::string ptxas = find_ptxas();
    if (ptxas.empty()) GTEST_SKIP() << "ptxas of the CUDA toolkit is not installed";
    const auto visit = [&](const std::string &layer, const fs::path &object) {
        expect_no_spills(assembled_ptx(ptxas, layer, object), layer);
    };
    for_each_kernel("cuda", dense_layers(), visit);
    for_each_kernel("cuda", other_direct_layers, visit);
    for_each_kernel("cuda", column_layers, visit);
    for_each_kernel("cuda", channelwise_layers, visit);
}

// Products stay in registers and leave room for more threads; nothing is shared between threads.
TEST_F(Objects, PtxOfFilteringAssemblesWithoutSpills) {
    const std::string ptxas = find_ptxas();
    if (ptxas.empty()) GTEST_SKIP() << "ptxas of the CUDA toolkit is not installed";
    const auto installation = find_installation();
    ASSERT_TRUE(installation.ok()) << installation.error();
    const auto folder = make_temporary_folder("unstride-ptx");
    ASSERT_TRUE(folder.ok()) << folder.error();
    const Target &cuda = *find_target("cuda");
    const TargetFacts &facts = cuda.instruction_sets.front();
    for (const std::string chain :
         {"transposed_conv(64, kernel=4, stride=2, pad=1) | bias | relu",
          "transposed_conv(64, kernel=3, stride=2)", "conv(64, kernel=3, pad=1) | pixel_shuffle(2)",
          "conv(64, kernel=1x3, pad=0x1)", "nearest_upsample(2) | conv(64, kernel=3, pad=1)"}) {
        const ParseResult parsed = parse_layers("layer = input(f32, 1x64x64x256) | " + chain, "ptx");
        ASSERT_TRUE(parsed.ok()) << chain;
        const Layer &layer = parsed.layers[0];
        const FormChoice choice = choose_form(std::get<PhaseConvolution>(lower(layer)), facts);
        ASSERT_TRUE(choice.filtering) << chain << ": " << choice.reason;
        const std::string what = chain + " by " + to_json(choice.filtering->schedule).dump();
        const auto built =
            build_candidate(layer, cuda, facts, choice.filtering->schedule, *installation, folder->path());
        ASSERT_TRUE(built.ok()) << what;
        const std::string said = assembled_ptx(ptxas, what, built->compute_object);
        expect_no_spills(said, what);
        for (const int count : numbers_before(said, "bytes smem"))
            EXPECT_EQ(count, 0) << what << ": " << said;
        const std::vector<int> registers = numbers_before(said, "registers");
        ASSERT_FALSE(registers.empty()) << said;
        const int most = *std::max_element(registers.begin(), registers.end());
        EXPECT_LE(most, 192) << what << ": " << said; // 320 threads a multiprocessor
        RecordProperty(what, most);
    }
}

} // namespace
} // namespace unstride
