// How many instructions of each kind a program executes, counted by an emulator: exact and the same on every
// run, unlike a time under emulation, which means nothing.
#pragma once

#include "compiler/result.h"

#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace unstride {

// What counting needs: QEMU's user-mode emulator for AArch64, built with plugins, and the counting plugin,
// which the installation may lack.
struct InstructionCounter {
    std::string emulator;         // a program in PATH
    std::filesystem::path plugin; // a shared object
};

// The counter of this machine: `qemu-aarch64` and the given plugin; nothing where either is missing or the
// emulator takes no plugins.
std::optional<InstructionCounter> find_instruction_counter(const std::filesystem::path &plugin);

// Where the plugin of the running program's installation lies: ROOT/libexec/unstride/count_instructions.so.
std::filesystem::path installed_counting_plugin();

// Runs a static AArch64 program to its end and counts every instruction of all its threads, those before and
// after main() too, so that what one call executes is the difference of two runs. The kinds, which
// StaticFacts::instructions keeps: "total", "multiply_adds" (of vectors), "scalar_multiply_adds",
// "vector_loads", "vector_stores" and "broadcasts" (of registers of 8 bytes or more), and those of the loads
// and stores whose address is the stack pointer's, "stack_loads" and "stack_stores". An error if the program
// fails.
Result<std::map<std::string, std::int64_t>> count_instructions(const InstructionCounter &counter,
                                                               const std::filesystem::path &program,
                                                               const std::vector<std::string> &arguments);

} // namespace unstride
