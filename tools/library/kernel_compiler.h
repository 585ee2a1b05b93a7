// Compiled kernels of one layer for one instruction set, from the cache or by the generator program.
#pragma once

#include "compiler/language/layer.h"
#include "compiler/lowering/phase_convolution.h"
#include "compiler/result.h"
#include "schedules/record.h"
#include "schedules/target_facts.h"
#include "tools/library/installation.h"
#include "tools/library/process.h"

#include <nlohmann/json.hpp>

#include <cstdint>
#include <filesystem>
#include <string>

namespace unstride {

// What to compile: the cache's key is made of everything here that can change the code.
struct KernelRequest {
    std::string chain; // the layer's canonical text without its name
    TargetFacts target;
    ScheduleRecord record;
    bool packs = true; // whether the layer has anything to pack; follows from the chain
};

struct CompiledKernel {
    std::string key; // hex; the functions are called UNSTRIDE_KEY_compute and …_pack
    std::filesystem::path compute_object, pack_object; // no pack object where nothing is to be packed
    std::uintmax_t object_bytes = 0;                   // of both
    bool from_cache = false;

    std::string compute_function() const { return "u" + key + "_compute"; }
    std::string pack_function() const { return "u" + key + "_pack"; }
    std::uint64_t identity() const; // the key's first 64 bits
};

// Target features of packing kernels: strict arithmetic, so that every machine packs the same bytes.
inline constexpr const char *packing_features = "-strict_float";

// What the generators of a kernel are given.
nlohmann::json generator_parameters(const KernelRequest &request);

// Runs the generator program on jobs, which it reads from `jobs_file`. `generator`, if given, receives how it
// ended.
Result<void> run_generators(const nlohmann::json &jobs, const std::filesystem::path &jobs_file,
                            const Installation &installation, const ProcessLimits &limits = {},
                            ProcessResult *generator = nullptr);

std::string kernel_key(const KernelRequest &request, const Installation &installation);

// Compiles, or finds, the objects of a kernel. A result enters the cache by one rename, whole or not at
// all. `generator`, if given, receives how the generator program ended where it was started.
Result<CompiledKernel> compile_kernel(const KernelRequest &request, const Installation &installation,
                                      const std::filesystem::path &cache, const ProcessLimits &limits = {},
                                      ProcessResult *generator = nullptr);

// The object with Halide's runtime for a target, likewise cached.
Result<std::filesystem::path> compile_halide_runtime(const Target &target, const Installation &installation,
                                                     const std::filesystem::path &cache);

} // namespace unstride
