// The arrows of the tree point down only: who may include whom, read from the sources.
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <map>
#include <regex>
#include <set>
#include <string>

namespace {

namespace fs = std::filesystem;

// What a folder's files may include besides themselves and the standard library.
const std::map<std::string, std::set<std::string>> allowed = {
    {"compiler", {"compiler", "fmt"}},
    {"runtime", {}},
    {"generators", {"generators", "compiler", "schedules", "Halide.h", "nlohmann"}},
    {"schedules", {"schedules", "compiler", "fmt", "nlohmann", "Halide.h"}},
    {"reference", {"reference", "compiler", "fmt"}},
    {"tools", {"tools", "compiler", "reference", "runtime", "schedules", "fmt", "nlohmann", "CLI", "llvm"}},
};

// The files of schedules/ that order Halide loops; records and defaults must build without it.
const std::set<std::string> halide_families = {"channelwise.h",
                                               "cpu_channelwise.cpp",
                                               "cpu_columns.cpp",
                                               "cpu_columns.h",
                                               "cpu_direct.cpp",
                                               "cpu_filtering.cpp",
                                               "minimal_filtering_stages.h",
                                               "cpu_planar.cpp",
                                               "cpu_tasks.h",
                                               "gpu_channelwise.cpp",
                                               "gpu_direct.cpp",
                                               "phase_vars.h",
                                               "phase_convolution_stages.h",
                                               "input_prefetch.h",
                                               "output_prefetch.h",
                                               "prefetch_line.h",
                                               "step_prefetch.h",
                                               "weight_prefetch.h",
                                               "window_prefetch.h"};

// What an include names, up to its first slash; empty for the standard library and files beside the includer.
std::string root_of(const std::string &included, bool quoted) {
    static const std::set<std::string> libraries = {"fmt",        "nlohmann",  "CLI",   "gtest", "compiler",
                                                    "generators", "schedules", "tools", "tests", "bench",
                                                    "runtime",    "reference", "llvm"};
    if (included == "Halide.h" || included.rfind("Halide", 0) == 0) return "Halide.h";
    const std::string root = included.substr(0, included.find('/'));
    return libraries.count(root) != 0 && (quoted || included.find('/') != std::string::npos) ? root : "";
}

TEST(Includes, ArrowsPointDown) {
    static const std::regex include(R"(^\s*#\s*include\s*([<"])([^>"]+)[>"])");
    int files = 0;
    for (const auto &[folder, may_include] : allowed) {
        for (const auto &entry :
             fs::recursive_directory_iterator(fs::path(UNSTRIDE_SOURCE_FOLDER) / folder)) {
            const std::string extension = entry.path().extension().string();
            if (extension != ".cpp" && extension != ".h" && extension != ".hpp" && extension != ".c")
                continue;
            files++;
            std::ifstream stream(entry.path());
            for (std::string line; std::getline(stream, line);) {
                std::smatch match;
                if (!std::regex_search(line, match, include)) continue;
                const std::string root = root_of(match[2], match[1] == "\"");
                if (root.empty()) continue;
                EXPECT_TRUE(may_include.count(root) != 0) << entry.path() << " includes " << match[2];
                if (folder == "schedules" && root == "Halide.h") {
                    EXPECT_TRUE(halide_families.count(entry.path().filename().string()) != 0)
                        << entry.path() << " includes " << match[2];
                }
            }
        }
    }
    EXPECT_GT(files, 50);
}

} // namespace
