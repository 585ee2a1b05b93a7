// What an object file of a kernel says without being run: its innermost loops with the instructions counted
// by kind, and the cycles that LLVM's processor models give the hottest one. Modelled figures rank candidates
// of one kernel coarsely; they know neither caches nor tails nor threads and are no substitute for a
// measurement.
#pragma once

#include "compiler/result.h"
#include "schedules/tuning_record.h"

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace unstride {

struct LoopInstruction {
    std::uint64_t address = 0;       // from the begin of its section
    std::vector<std::uint8_t> bytes; // none in PTX
    std::string text;                // as LLVM prints it, in the syntax of the GNU assembler
};

// Instructions of one iteration, by kind. An instruction counts in every line that fits it: a multiply-add
// with an operand in memory is a vector load too.
struct LoopCounts {
    int total = 0; // instructions that are no NOPs
    int bytes = 0; // of code, NOPs included
    // Multiplications of floating-point numbers, fused with an addition or not.
    int vector_multiply_adds = 0, scalar_multiply_adds = 0;
    int multiply_add_lanes = 0; // numbers that these multiply
    int vector_loads = 0;       // of whole registers
    int broadcasts = 0;         // of one number, in memory or a register, to all lanes
    int vector_stores = 0;
    int result_stores = 0; // of registers of any kind, outside the stack; in PTX to global memory
    // Of registers of any kind. Elements of arrays there, whose addresses a register is added to, are no part
    // of it.
    int stack_loads = 0, stack_stores = 0;
    int vector_stack_accesses = 0;                   // those of vector registers
    int gathers = 0;                                 // scatters and loads of single lanes too
    int shuffles = 0;                                // that move numbers between lanes or registers' halves
    int branches = 0, calls = 0;                     // the branch back included
    int vector_registers = 0, general_registers = 0; // different ones

    int multiply_adds() const { return vector_multiply_adds + scalar_multiply_adds; }
    int spills() const { return stack_loads + stack_stores; }
    double multiply_add_share() const;     // of all instructions; 0 for none
    double loads_per_multiply_add() const; // vector loads and broadcasts; 0 where nothing is multiplied
    bool operator==(const LoopCounts &) const = default;
};

// The instructions from a branch's target up to that branch, with no other such loop inside. Code that a
// compiler placed between them counts, whether or not an iteration runs it.
struct Loop {
    std::string function; // Halide makes the body of a parallel loop a function of its own
    int depth = 1; // branches back around it in its function, its own included: as many as loops, or more
    std::vector<LoopInstruction> instructions;
    LoopCounts counts;
};

struct KernelAnalysis {
    std::string instruction_set; // TargetFacts::instruction_set
    std::int64_t code_bytes = 0; // of all functions; of the text for PTX
    std::vector<Loop> loops;     // innermost ones, in the order of the code
    // The loop that multiplies most numbers, deeper ones first among equals. Loops that store no results and
    // have no branch but the one back come before all others: sums, which an epilogue's polynomials follow in
    // loops of their own, with stores here or behind branches.
    std::optional<std::size_t> hot;

    // Null where no loop multiplies.
    const Loop *hottest() const { return hot ? &loops[*hot] : nullptr; }
};

// Reads an ELF object of an instruction set of the x86-64 or aarch64 target, or for "cuda" the PTX text
// inside an object. Errors, which name the file: unreadable, damaged, for another processor, an archive, or
// an instruction set without code to read ("opencl").
Result<KernelAnalysis> analyse_object(const std::filesystem::path &object, std::string_view instruction_set);

// Processors, as LLVM names them, whose models LLVM has for code of an instruction set, with the differences
// that matter for loops of multiply-adds; none for GPUs. More names than these may work.
const std::vector<std::string> &modelled_processors(std::string_view instruction_set);

// One processor's model of a loop, all of it "modelled", never measured.
struct LoopModel {
    std::string processor;
    double cycles = 0;                  // of one iteration, from the total of modelled_iterations ones
    double cycles_per_multiply_add = 0; // for each number multiplied; 0 where the loop multiplies none
    double instructions_per_cycle = 0;
    // Shares of all cycles, 0 to 1, in which instructions waited for
    double waits_for_units = 0;    // an execution unit,
    double waits_for_operands = 0; // another instruction's result,
    double dispatch_stalls = 0;    // a free place in a queue or a free register.
};

inline constexpr int modelled_iterations = 100;

// Runs the loop through LLVM's machine code analyzer: as if every load hit the first cache and no store met a
// load's address. Errors: a loop that calls functions, an unknown processor, one that lacks the instruction
// set or whose model lacks an instruction of the loop, PTX.
Result<LoopModel> model_loop(const Loop &loop, std::string_view instruction_set, std::string_view processor);

// The facts that a tuning record keeps, of an analysis. How often a loop runs is not known without running
// it, so the modelled cost of a kernel is the cycles of its hottest loop for each number multiplied; the
// cycles of one call are that times `multiplications`, those of the layer (Costs::multiplications), as if all
// of them happened in the hottest loop on one core. Processors that cannot be modelled are left out, and
// without a hot loop everything but the code's size.
StaticFacts static_facts(const KernelAnalysis &analysis, const std::vector<std::string> &processors,
                         double multiplications);

} // namespace unstride
