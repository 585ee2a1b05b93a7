// How a diagnostic reads on a terminal: file, line, column, stage, rule and value.
#include "compiler/language/diagnostic.h"

#include <fmt/format.h>

namespace unstride {

std::string to_string(const Diagnostic &diagnostic) {
    const SourcePosition &position = diagnostic.position;
    return fmt::format("{}:{}:{}: {}: {}", position.file, position.line, position.column, diagnostic.stage,
                       diagnostic.message);
}

} // namespace unstride
