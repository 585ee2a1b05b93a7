// The functions of an ELF object, as bytes.
#pragma once

#include "compiler/result.h"
#include "tools/analysis/machine_code.h"

#include <cstdint>
#include <set>
#include <string>
#include <string_view>
#include <vector>

namespace unstride {

struct CodeFunction {
    std::string name;
    std::uint64_t address = 0;          // from the begin of its section, as in an object
    std::string_view bytes;             // of the object's
    std::set<std::uint64_t> unresolved; // addresses of bytes that the linker fills in
};

// The code of an object whose bytes stay where they are: functions by their symbols, in the order of the
// code. Code without a symbol of a function is one function without name for each section. An error says what
// is wrong, without the file's name.
Result<std::vector<CodeFunction>> read_functions(std::string_view object, Architecture architecture);

} // namespace unstride
