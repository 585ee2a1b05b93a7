// The table of targets.
#include "schedules/target_facts.h"

namespace unstride {

const std::vector<Target> &all_targets() {
    // Cache sizes are the smallest of the processors in wide use that have the instructions, so that what
    // fits here fits there: AVX-512 servers have at least 1 MiB of L2 a core, AVX2 and SSE ones 256 KiB and
    // up (512 KiB on AMD), and a Cortex-A76 or Neoverse N1 core has 512 KiB and up.
    static const std::vector<Target> targets = {
        {"x86-64",
         "x86-64-linux",
         "",
         {{"avx512", "x86-64-linux-avx-avx2-avx512-avx512_skylake-f16c-fma-sse41", Device::cpu, 16, 32, true,
           false, 1024 * 1024},
          {"avx2", "x86-64-linux-avx-avx2-fma-sse41", Device::cpu, 8, 16, true, false, 512 * 1024},
          {"sse41", "x86-64-linux-sse41", Device::cpu, 4, 16, false, false, 256 * 1024}}},
        {"aarch64",
         "arm-64-linux",
         "aarch64-linux-gnu-",
         {{"neon", "arm-64-linux", Device::cpu, 4, 32, true, true, 512 * 1024}}},
        {"cuda",
         "x86-64-linux-cuda-cuda_capability_70",
         "",
         {{"cuda", "x86-64-linux-cuda-cuda_capability_70", Device::cuda, 1, 255, true, false, 0}}},
        {"opencl",
         "x86-64-linux-opencl",
         "",
         {{"opencl", "x86-64-linux-opencl", Device::opencl, 1, 255, true, false, 0}}},
    };
    return targets;
}

const Target *find_target(std::string_view name) {
    for (const Target &target : all_targets()) {
        if (target.name == name) return &target;
    }
    return nullptr;
}

const Target &host_target() {
#if defined(__aarch64__)
    return *find_target("aarch64");
#else
    return *find_target("x86-64");
#endif
}

} // namespace unstride
