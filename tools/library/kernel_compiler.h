// Compiled kernels of one layer for one instruction set, from the cache or by the generator program.
#pragma once

#include "compiler/language/layer.h"
#include "compiler/lowering/phase_convolution.h"
#include "schedules/record.h"
#include "schedules/target_facts.h"
#include "tools/library/installation.h"
#include "tools/result.h"

#include <cstdint>
#include <filesystem>
#include <string>

namespace unstride {

// What to compile: the cache's key is made of everything here that can change the code.
struct KernelRequest {
    std::string chain; // the layer's canonical text without its name
    TargetFacts target;
    ScheduleRecord record;
};

struct CompiledKernel {
    std::string key; // hex; the functions are called UNSTRIDE_KEY_compute and …_pack
    std::filesystem::path compute_object, pack_object;
    std::uintmax_t object_bytes = 0; // of both
    bool from_cache = false;

    std::string compute_function() const { return "u" + key + "_compute"; }
    std::string pack_function() const { return "u" + key + "_pack"; }
    std::uint64_t identity() const; // the key's first 64 bits
};

std::string kernel_key(const KernelRequest &request, const Installation &installation);

// Compiles, or finds, the two objects of a kernel. A result enters the cache by one rename, whole or not at
// all.
Result<CompiledKernel> compile_kernel(const KernelRequest &request, const Installation &installation,
                                      const std::filesystem::path &cache);

// The object with Halide's runtime for a target, likewise cached.
Result<std::filesystem::path> compile_halide_runtime(const Target &target, const Installation &installation,
                                                     const std::filesystem::path &cache);

} // namespace unstride
