// One schedule of one layer for one instruction set as a library of its own, ready to be linked into a
// measuring program.
#pragma once

#include "compiler/language/layer.h"
#include "schedules/record.h"
#include "schedules/target_facts.h"
#include "tools/library/installation.h"
#include "tools/library/process.h"
#include "tools/measure/outcome.h"

#include <cstdint>
#include <filesystem>
#include <string>

namespace unstride {

struct Candidate {
    Layer layer;
    TargetFacts facts;
    ScheduleRecord schedule;
    std::string library;                  // its name: the library's table is what LIBRARY_library() answers
    std::filesystem::path archive;        // of the compute and pack kernels, tables and runtime
    std::filesystem::path compute_object; // of the kernel alone, in the cache
    std::string object; // "sha256:…" of the stripped compute object without the kernel's own name: equal for
                        // schedules that give equal code
    std::int64_t code_bytes = 0; // of machine instructions (or device code) in the compute object
    double compile_seconds = 0;  // of the generator; 0 for kernels from the cache
    bool from_cache = false;
};

struct CandidateLimits {
    ProcessLimits generator{std::chrono::seconds(120), std::int64_t{8} << 30};
};

// Builds FOLDER/libNAME.a from a schedule, with the kernel from the cache or by the generator program, the
// way `unstride build` does. NAME is made from the kernel's key, so equal requests give equal names.
// May be called by several threads at once, also with one folder.
//
// Fails with constraint (the schedule does not fit the layer or target: nothing was started),
// generator_error (refused, or ended by a signal), compile_timeout, resource_limit (the generator ran out of
// memory), compile_error (the C compiler or the binary utilities) or link_error (the linker); of the
// environment where files cannot be written or the generator cannot be started.
Outcome<Candidate> build_candidate(const Layer &layer, const Target &target, const TargetFacts &facts,
                                   const ScheduleRecord &schedule, const Installation &installation,
                                   const std::filesystem::path &folder, const CandidateLimits &limits = {});

// What Candidate::object holds, without the library. Fails as build_candidate() does.
Outcome<std::string> hash_of_candidate(const Layer &layer, const Target &target, const TargetFacts &facts,
                                       const ScheduleRecord &schedule, const Installation &installation,
                                       const CandidateLimits &limits = {});

} // namespace unstride
