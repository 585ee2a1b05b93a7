// From bytes to loops: functions are decoded, cut into loops, and the instructions of loops classified.
#include "tools/analysis/analysis.h"

#include "schedules/target_facts.h"
#include "tools/analysis/instruction_kinds.h"
#include "tools/analysis/loops.h"
#include "tools/analysis/object_code.h"
#include "tools/analysis/ptx.h"
#include "tools/files.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <tuple>

namespace unstride {

namespace {

struct DecodedFunction {
    std::vector<DecodedInstruction> instructions;
    std::vector<std::uint64_t> addresses; // of the instructions
    std::vector<std::optional<std::size_t>> targets;
    bool has_frame_pointer = false;
};

llvm::ArrayRef<std::uint8_t> as_bytes(std::string_view text) {
    return {reinterpret_cast<const std::uint8_t *>(text.data()), text.size()};
}

// Where a branch goes, if the linker does not decide that.
std::optional<std::uint64_t> branch_target(const DecodedInstruction &decoded, std::uint64_t address,
                                           const CodeFunction &function, const MachineCode &code) {
    if (!code.branches().isBranch(decoded.inst)) return std::nullopt;
    const auto place = function.unresolved.lower_bound(address);
    if (place != function.unresolved.end() && *place < address + decoded.size) return std::nullopt;
    std::uint64_t target = 0;
    if (!code.branches().evaluateBranch(decoded.inst, address, decoded.size, target)) return std::nullopt;
    return target;
}

Result<DecodedFunction> decode(const CodeFunction &function, const MachineCode &code) {
    DecodedFunction result;
    std::vector<std::optional<std::uint64_t>> targets;
    std::map<std::uint64_t, std::size_t> places;
    for (std::uint64_t offset = 0; offset < function.bytes.size();) {
        const std::uint64_t address = function.address + offset;
        auto decoded = code.decode(as_bytes(function.bytes.substr(offset)), address);
        if (!decoded) {
            return Error{fmt::format("the bytes at {:#x} of function '{}' are no instruction", address,
                                     function.name)};
        }
        places[address] = result.instructions.size();
        targets.push_back(branch_target(*decoded, address, function, code));
        result.has_frame_pointer |= sets_frame_pointer(*decoded, code);
        result.addresses.push_back(address);
        offset += decoded->size;
        result.instructions.push_back(std::move(*decoded));
    }
    for (const auto &target : targets) {
        const auto place = target ? places.find(*target) : places.end();
        result.targets.push_back(place == places.end() ? std::nullopt : std::optional(place->second));
    }
    return result;
}

Loop make_loop(const CodeFunction &function, const DecodedFunction &decoded, const LoopRange &range,
               const MachineCode &code) {
    Loop loop;
    loop.function = function.name;
    loop.depth = range.depth;
    std::vector<InstructionKind> kinds;
    for (std::size_t i = range.first; i <= range.last; i++) {
        const DecodedInstruction &instruction = decoded.instructions[i];
        kinds.push_back(kind_of(instruction, code, decoded.has_frame_pointer));
        const auto bytes =
            as_bytes(function.bytes.substr(decoded.addresses[i] - function.address, instruction.size));
        loop.instructions.push_back({decoded.addresses[i], {bytes.begin(), bytes.end()}, instruction.text});
    }
    loop.counts = sum(kinds);
    return loop;
}

Result<KernelAnalysis> analyse_machine_code(std::string_view object, Architecture architecture) {
    const auto functions = read_functions(object, architecture);
    if (!functions) return Error{functions.error()};
    const MachineCode code(architecture);
    KernelAnalysis analysis;
    for (const CodeFunction &function : *functions) {
        const auto decoded = decode(function, code);
        if (!decoded) return Error{decoded.error()};
        analysis.code_bytes += static_cast<std::int64_t>(function.bytes.size());
        for (const LoopRange &range : innermost_loops(decoded->targets))
            analysis.loops.push_back(make_loop(function, *decoded, range, code));
    }
    return analysis;
}

Result<KernelAnalysis> analyse_bytes(std::string_view object, std::string_view instruction_set) {
    if (instruction_set == "cuda") return analyse_ptx(object);
    if (const auto architecture = architecture_of(instruction_set))
        return analyse_machine_code(object, *architecture);
    return Error{fmt::format("there is no analysis of code for the instruction set '{}'", instruction_set)};
}

std::optional<std::size_t> find_hottest(const std::vector<Loop> &loops) {
    const auto heat = [](const Loop &loop) {
        const LoopCounts &counts = loop.counts;
        const bool sums = counts.multiply_add_lanes > 0 && counts.result_stores == 0 && counts.branches == 1;
        return std::tuple(sums, counts.multiply_add_lanes, loop.depth);
    };
    const auto hottest = std::max_element(loops.begin(), loops.end(),
                                          [&](const Loop &a, const Loop &b) { return heat(a) < heat(b); });
    if (hottest == loops.end() || hottest->counts.multiply_add_lanes == 0) return std::nullopt;
    return static_cast<std::size_t>(hottest - loops.begin());
}

} // namespace

double LoopCounts::multiply_add_share() const {
    return total == 0 ? 0 : static_cast<double>(multiply_adds()) / total;
}

double LoopCounts::loads_per_multiply_add() const {
    return multiply_adds() == 0 ? 0 : static_cast<double>(vector_loads + broadcasts) / multiply_adds();
}

Result<KernelAnalysis> analyse_object(const std::filesystem::path &object, std::string_view instruction_set) {
    const Result<std::string> bytes = read_file(object);
    if (!bytes) return Error{bytes.error()};
    Result<KernelAnalysis> analysis = analyse_bytes(*bytes, instruction_set);
    if (!analysis) return Error{fmt::format("{}: {}", object.string(), analysis.error())};
    analysis->instruction_set = instruction_set;
    analysis->hot = find_hottest(analysis->loops);
    return analysis;
}

const std::vector<std::string> &modelled_processors(std::string_view instruction_set) {
    static const std::map<std::string, std::vector<std::string>, std::less<>> processors = {
        {"avx512", {"skylake-avx512", "sapphirerapids", "znver4"}},
        {"avx2", {"haswell", "znver4"}},
        {"sse41", {"haswell", "znver4"}},
        {"neon", {"cortex-a55", "neoverse-n1", "neoverse-v1"}}};
    static const std::vector<std::string> none;
    const auto found = processors.find(instruction_set);
    return found == processors.end() ? none : found->second;
}

StaticFacts static_facts(const KernelAnalysis &analysis, const std::vector<std::string> &processors,
                         double multiplications) {
    StaticFacts facts;
    facts.code_bytes = analysis.code_bytes;
    const Loop *hot = analysis.hottest();
    if (hot == nullptr) return facts;
    facts.multiply_adds = hot->counts.multiply_adds();
    facts.vector_loads_stores = hot->counts.vector_loads + hot->counts.broadcasts + hot->counts.vector_stores;
    facts.spills = hot->counts.spills();
    for (const std::string &processor : processors) {
        if (const auto model = model_loop(*hot, analysis.instruction_set, processor))
            facts.modelled_cycles[processor] = model->cycles_per_multiply_add * multiplications;
    }
    return facts;
}

} // namespace unstride
