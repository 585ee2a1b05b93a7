// Made-up results for the tests of reading, comparing and reporting.
#pragma once

#include "tests/unit/tuning_records.h"
#include "tools/compare/results.h"
#include "tools/measure/statistics.h"

#include <random>
#include <string>

namespace unstride {

inline ResultSource example_source(const std::string &name = "this run") {
    ResultSource source;
    source.name = name;
    source.machine = example_machine();
    source.tools = example_tools();
    source.commit = "0123abc";
    source.date = "2026-03-01T12:00:00Z";
    source.command = "unstride compare a.layers";
    source.governor = "performance";
    source.turbo = false;
    source.virtualised = true;
    source.load = 0.25;
    source.noise_floor = 0.004;
    source.protocol = {8, 5, 0.001, true, false, 7};
    source.peaks = {{"avx512", 2, 200e9}};
    source.bandwidths = {{"L1", 2, 400e9}, {"L2", 2, 180e9}, {"memory", 2, 20e9}};
    return source;
}

// Samples of five calls a round that take `nanoseconds` and up to `noise` of it more; rounds drift together.
inline Rounds example_rounds(double nanoseconds, double noise, std::uint32_t seed, std::size_t rounds = 8) {
    std::mt19937 random(seed);
    std::uniform_real_distribution<double> more(0, noise);
    Rounds result(rounds);
    for (std::size_t i = 0; i < rounds; i++) {
        const double drift = 1 + 0.01 * static_cast<double>(i % 3);
        for (int k = 0; k < 5; k++)
            result[i].push_back(std::round(nanoseconds * drift * (1 + more(random))));
    }
    return result;
}

inline ResultRow example_row(const std::string &layer, const std::string &contender, double nanoseconds,
                             std::uint32_t seed = 1) {
    ResultRow row;
    row.layer = layer;
    row.text = canonical(example_chain);
    row.input_shape = {1, 64, 64, 64};
    row.instruction_set = "avx512";
    row.threads = 2;
    row.contender.name = contender;
    row.contender.schedule = example_record().schedule;
    row.samples_ns = example_rounds(nanoseconds, 0.004, seed);
    const Estimate estimated = estimate(row.samples_ns);
    row.estimate_ns = estimated.value;
    row.interval_ns = {estimated.interval.low, estimated.interval.high};
    row.multiplications = 6.7e7;
    row.compulsory_bytes = 5.6e6;
    row.correctness = Correctness{"f64", 5, 1.2e-6, 3};
    row.facts.code_bytes = 18432;
    return row;
}

} // namespace unstride
