// What schedules may ask of a machine: registers, vector lanes, caches, and the instruction sets of a target.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace unstride {

enum class Device { cpu, cuda, opencl };

// One instruction set that kernels are compiled for. A target holds one or more, best first.
struct TargetFacts {
    std::string instruction_set; // "avx512", "avx2", "sse41", "neon", "cuda", "opencl"
    std::string halide_target;   // Halide's target string without runtime features
    Device device = Device::cpu;
    int vector_lanes = 4; // of float32 in one register; 1 on GPUs
    int vector_registers = 16;
    bool fused_multiply_add = false;
    bool multiply_by_lane = false;      // FMLA takes one operand from a lane of a register (AArch64)
    std::int64_t l2_bytes = 512 * 1024; // of one core; what staging must fit in
};

struct Target {
    std::string name;           // "x86-64", "aarch64", "cuda", "opencl"
    std::string runtime_target; // Halide target string of the runtime and the host code
    std::string tool_prefix;    // of the binary utilities and the C compiler: "aarch64-linux-gnu-"
    std::vector<TargetFacts> instruction_sets; // best first
};

// Every target that libraries can be generated for.
const std::vector<Target> &all_targets();

// Null where there is no target of that name.
const Target *find_target(std::string_view name);

// The target whose code runs on the machine this was compiled for.
const Target &host_target();

} // namespace unstride
