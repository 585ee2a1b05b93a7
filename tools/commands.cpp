// What the subcommands share.
#include "tools/commands.h"

#include "compiler/language/parser.h"
#include "tools/files.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdio>
#include <unistd.h>

namespace unstride {

void print_error(const std::string &text) {
    const bool terminal = isatty(STDERR_FILENO) != 0;
    std::fputs(
        fmt::format("unstride: {}error:{} {}\n", terminal ? "\033[31m" : "", terminal ? "\033[0m" : "", text)
            .c_str(),
        stderr);
}

std::optional<std::vector<Layer>> load_layers(const std::filesystem::path &file,
                                              const std::vector<std::string> &names) {
    const Result<std::string> text = read_file(file);
    if (!text) {
        print_error(text.error());
        return std::nullopt;
    }
    ParseResult parsed = parse_layers(*text, file.string());
    for (const Diagnostic &error : parsed.errors)
        print_error(to_string(error));
    if (!parsed.ok()) return std::nullopt;
    if (names.empty()) return std::move(parsed.layers);

    std::vector<Layer> chosen;
    for (const std::string &name : names) {
        const auto found = std::find_if(parsed.layers.begin(), parsed.layers.end(),
                                        [&](const Layer &layer) { return layer.name == name; });
        if (found == parsed.layers.end()) {
            std::string known;
            for (const Layer &layer : parsed.layers)
                known += (known.empty() ? "" : ", ") + layer.name;
            print_error(fmt::format("{}: there is no layer '{}'; it has {}", file.string(), name, known));
            return std::nullopt;
        }
        chosen.push_back(*found);
    }
    return chosen;
}

std::string target_names() {
    std::string names;
    for (const Target &target : all_targets())
        names += (names.empty() ? "" : ", ") + target.name;
    return names;
}

} // namespace unstride
