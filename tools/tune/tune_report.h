// What `unstride tune` and its subcommands print.
#pragma once

#include "tools/tune/carry.h"
#include "tools/tune/tuner.h"
#include "tools/tune/verify.h"

#include <nlohmann/json_fwd.hpp>

#include <chrono>
#include <string>
#include <vector>

namespace unstride {

// One line that is rewritten on a terminal; elsewhere a line for each layer and every ten seconds.
class TuneProgressLine {
public:
    explicit TuneProgressLine(bool quiet);
    ~TuneProgressLine() { clear(); }
    TuneProgressLine(const TuneProgressLine &) = delete;
    TuneProgressLine &operator=(const TuneProgressLine &) = delete;

    void show(const TuneProgress &progress);
    void clear();

private:
    const bool quiet_, terminal_;
    bool open_ = false;
    std::string layer_; // last shown, with its instruction set
    std::chrono::steady_clock::time_point last_;
};

// A line for each result, then the failures of each with the first error of each kind.
std::string tune_table(const std::vector<TuneResult> &results);
// How many became what of each instruction set, then those that were not carried.
std::string carry_table(const std::vector<CarryResult> &results);
std::string verify_table(const std::vector<VerifyResult> &results);

nlohmann::ordered_json to_json(const TuneResult &result);
nlohmann::ordered_json to_json(const VerifyResult &result);
nlohmann::ordered_json to_json(const CarryResult &result);

} // namespace unstride
