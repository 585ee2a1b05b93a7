// The running program's own path is all that is needed: no configuration, no environment.
#include "tools/library/installation.h"

#include "tools/files.h"

#include "generator_sources.h"

#include <fmt/format.h>

#include <cstdlib>

namespace unstride {

namespace fs = std::filesystem;

Result<Installation> find_installation() {
    std::error_code error;
    const fs::path self = fs::read_symlink("/proc/self/exe", error);
    if (error) return Error{"cannot find the path of the running program: " + error.message()};
    const fs::path root = self.parent_path().parent_path();

    Installation found;
    found.generators = root / "libexec/unstride/unstride-generators";
    found.runtime = root / "share/unstride/runtime";
    found.schedules = root / "share/unstride/schedules";
    found.compiler_version = UNSTRIDE_VERSION;
    found.halide_version = UNSTRIDE_HALIDE_VERSION;
    for (const fs::path &part :
         {found.generators, found.runtime / "src/runtime.c", found.runtime / "include"}) {
        if (!fs::exists(part, error)) {
            return Error{fmt::format("this installation is incomplete: {} is missing", part.string())};
        }
    }
    const Result<std::string> hash = sha256_of_file(found.generators);
    if (!hash) return Error{hash.error()};
    found.generator_hash = *hash;
    found.generator_sources = "sha256:" UNSTRIDE_GENERATOR_SOURCES;
    return found;
}

fs::path cache_folder() {
    const auto variable = [](const char *name) -> fs::path {
        const char *value = std::getenv(name);
        return value == nullptr ? "" : value;
    };
    if (const fs::path chosen = variable("UNSTRIDE_CACHE_DIR"); !chosen.empty()) return chosen;
    if (const fs::path cache = variable("XDG_CACHE_HOME"); !cache.empty()) return cache / "unstride";
    if (const fs::path home = variable("HOME"); !home.empty()) return home / ".cache/unstride";
    return fs::temp_directory_path() / "unstride-cache";
}

} // namespace unstride
