// Objects into one self-contained archive: tables and runtime compiled, linked with the kernels and Halide's
// runtime into one relocatable object of which only the library's own names stay visible.
#pragma once

#include "compiler/result.h"
#include "tools/library/description.h"

#include <filesystem>
#include <string>
#include <vector>

namespace unstride {

struct BundleRequest {
    std::string name;
    const Target &target;
    const LibraryDescription &description;
    const std::vector<PlannedLayer> &layers;
    std::filesystem::path halide_runtime;
};

// Writes libNAME.a and NAME.h to `folder`; other files it makes there carry other names.
Result<void> bundle_library(const BundleRequest &request, const Installation &installation,
                            const std::filesystem::path &folder);

// The C compiler of a target: TOOL_PREFIXgcc, or cc for this machine's own target.
std::string c_compiler(const Target &target);

// The target's own "ld", "objcopy", …: with its prefix, or this machine's.
std::string binary_utility(const Target &target, const std::string &name);

// The compiler and binary utilities that bundling for these targets calls; the error names what is missing.
Result<void> check_target_tools(const std::vector<const Target *> &targets);

// That the library's and the layers' names can be C identifiers (see c_source.h).
Result<void> check_names(const LibraryDescription &description, const Installation &installation);

} // namespace unstride
