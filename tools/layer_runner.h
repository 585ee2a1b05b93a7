// One layer as a program of its own that runs it on files: built once, kept in the cache, started for each
// run.
#pragma once

#include "compiler/language/layer.h"
#include "compiler/result.h"
#include "schedules/target_facts.h"
#include "tools/library/schedule_source.h"

#include <filesystem>
#include <string>
#include <vector>

namespace unstride {

struct RunSettings {
    std::filesystem::path data, out;
    const Target *target = nullptr;
    int threads = 0;           // 0: all processors
    bool until_stable = false; // else a few repetitions
};

struct RunResult {
    std::vector<double> samples_ms;
    double multiplications = 0; // of one call
    int threads = 0;
    std::string instruction_set, schedule, grade;
};

// The program for a layer, from the cache or built; `jobs` kernels are compiled at once (0: one a processor).
Result<std::filesystem::path> build_runner(const Layer &layer, const Target &target,
                                           const ScheduleSource &schedules, int jobs);

// Reads DATA/NAME.*.npy, runs, and writes OUT/NAME.output.npy.
Result<RunResult> run_layer(const Layer &layer, const std::filesystem::path &program,
                            const RunSettings &settings);

} // namespace unstride
