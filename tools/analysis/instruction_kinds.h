// What kind of work one decoded instruction does.
#pragma once

#include "tools/analysis/analysis.h"
#include "tools/analysis/machine_code.h"

#include <bitset>

namespace unstride {

struct InstructionKind {
    LoopCounts
        counts; // of this instruction alone, nothing but bytes for a NOP; the numbers of registers are left 0
    std::bitset<32> vector_registers, general_registers;
};

// `has_frame_pointer`: the function's frame pointer points into its stack, and is no register like any other.
InstructionKind kind_of(const DecodedInstruction &instruction, const MachineCode &code,
                        bool has_frame_pointer);

// True if the instruction makes the frame pointer point into the stack.
bool sets_frame_pointer(const DecodedInstruction &instruction, const MachineCode &code);

// The counts of a loop of such instructions.
LoopCounts sum(const std::vector<InstructionKind> &kinds);

} // namespace unstride
