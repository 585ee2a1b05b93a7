// Made-up tuning records for the tests of the database and of look-up.
#pragma once

#include "compiler/language/parser.h"
#include "compiler/language/printer.h"
#include "schedules/tuning_record.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <string>

namespace unstride {

inline Machine example_machine() {
    return {"AuthenticAMD", "Example 9000", "", 32768, 1048576, 2};
}

inline ToolVersions example_tools() {
    return {"0.1.0", "21.0.0", "sha256:0123", 1};
}

// The canonical text of a chain.
inline std::string canonical(const std::string &chain) {
    const ParseResult parsed = parse_layer(chain, "layer");
    EXPECT_TRUE(parsed.ok()) << chain << ": " << (parsed.ok() ? "" : to_string(parsed.errors[0]));
    return print_chain(parsed.layers.at(0));
}

constexpr const char *example_chain =
    "input(f32, 1x64x64x64) | transposed_conv(64, kernel=4, stride=2, pad=1) | bias | relu";

// A timed record of a schedule for AVX-512 that fits the example layer.
inline TuningRecord example_record(const std::string &chain = example_chain, double estimate_ns = 1000) {
    TuningRecord record;
    record.layer = canonical(chain);
    record.instruction_set = "avx512";
    record.machine = example_machine();
    record.tools = example_tools();
    record.schedule = {CpuDirect{16, 4, 6, 1, 0, 1, 2, 1, false}};
    record.estimate_ns = estimate_ns;
    record.seed = 7;
    record.date = "2026-03-01T12:00:00Z";
    return record;
}

// A fresh folder, removed at the end.
class ScratchFolder {
public:
    ScratchFolder() {
        std::string name = (std::filesystem::temp_directory_path() / "unstride-db-XXXXXX").string();
        if (::mkdtemp(name.data()) != nullptr) path_ = name;
    }
    ScratchFolder(const ScratchFolder &) = delete;
    ScratchFolder &operator=(const ScratchFolder &) = delete;
    ~ScratchFolder() {
        std::error_code ignored;
        if (!path_.empty()) std::filesystem::remove_all(path_, ignored);
    }
    const std::filesystem::path &path() const { return path_; }

private:
    std::filesystem::path path_;
};

} // namespace unstride
