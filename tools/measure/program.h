// Measuring programs: tools/runner/measure.c with the libraries of candidates, for one target.
#pragma once

#include "compiler/result.h"
#include "schedules/target_facts.h"
#include "tools/library/installation.h"
#include "tools/measure/candidate.h"

#include <filesystem>
#include <vector>

namespace unstride {

// What all measuring programs of a target have in common, compiled once and kept in the cache. Programs for
// processors are static, so that they run on machines that have nothing but a kernel.
struct MeasuringObjects {
    const Target *target = nullptr;
    std::filesystem::path include; // the runtime's headers
    std::filesystem::path runner;  // measure_table.h
    std::vector<std::filesystem::path> objects;
};
Result<MeasuringObjects> compile_measuring_objects(const Target &target, const Installation &installation,
                                                   const std::filesystem::path &cache);

// Writes FOLDER/measure with the candidates in that order; the same one may stand there several times.
Result<std::filesystem::path> link_measuring_program(const MeasuringObjects &common,
                                                     const std::vector<const Candidate *> &candidates,
                                                     const std::filesystem::path &folder);

} // namespace unstride
