// Where the parts of an installed Unstride lie, found from the place of the running program.
#pragma once

#include "compiler/result.h"

#include <filesystem>
#include <string>

namespace unstride {

struct Installation {
    std::filesystem::path generators; // the generator program
    std::filesystem::path runtime;    // folder with the runtime's include/ and src/
    std::filesystem::path schedules;  // folder with the shipped records; absent if there are none
    std::string compiler_version;     // of this program
    std::string halide_version;       // that the generators are linked with
    std::string generator_hash;       // SHA-256 of the generator program, for the cache of kernels
    std::string
        generator_sources; // "sha256:…" of what it was compiled from, for records that outlive a build
};

// The build tree and an install tree have the same shape: bin/unstride, libexec/unstride/unstride-generators,
// share/unstride/runtime, share/unstride/schedules. An error names the missing part.
Result<Installation> find_installation();

// The folder that caches compiled kernels: UNSTRIDE_CACHE_DIR, else XDG_CACHE_HOME/unstride, else
// ~/.cache/unstride.
std::filesystem::path cache_folder();

} // namespace unstride
