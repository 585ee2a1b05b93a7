// The C texts of a generated library: NAME.h for its users, and NAME.c, which holds the tables and includes
// the runtime.
#pragma once

#include "compiler/result.h"

#include <array>
#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

namespace unstride {

// These mirror runtime/src/kernel_table.h, where the meaning of each field is written.
struct LibrarySizeStep {
    std::int64_t scale = 1;
    std::int64_t shift = 0;
    std::int64_t divisor = 1;
    std::int64_t least = 1;
    std::int64_t multiple = 1;
};

struct LibraryAxis {
    std::vector<LibrarySizeStep> steps;
    std::int64_t phases = 1;
};

struct LibraryStaging {
    std::int64_t channels = 0;
    std::array<std::int64_t, 3> scale{1, 1, 1}, extra{0, 0, 0};
};

struct LibraryKernel {
    std::string schedule; // JSON
    std::string grade;
    std::string form; // how the layer is computed, where that is not in its own products
    std::uint64_t identity = 0;
    std::string compute_function; // the `_argv` functions; no pack function where nothing is to be packed
    std::string pack_function;
    std::vector<std::int32_t> weight_extent{1};
    std::array<std::int32_t, 2> parameter_extent{1, 1};
    std::int32_t tile_x = 1;
    std::int32_t strip = 1;
    std::int32_t tile_y = 1;
    std::int32_t rows = 1;
    std::array<std::int32_t, 3> bounds_stores{0, 0, 0};
    std::vector<LibraryStaging> stagings;
    std::string
        embedded_symbol; // of LibraryDescription::embedded; empty: the library holds no packed weights
};

struct LibraryLayer {
    std::string name;
    std::string text;  // in the layer language
    std::string given; // the same of the layer that it was made from by its weights; empty: none
    bool channels_first = false;
    std::vector<std::int64_t> input_shape; // in the layer's order, -1 for a size known at run time
    std::vector<std::int64_t> output_shape;
    std::vector<std::int64_t> weight_shape; // empty: no weights
    std::int64_t bias_count = 0;
    std::int64_t scale_count = 0;
    std::int64_t prelu_count = 0;
    bool has_add = false;
    double multiplications_per_output = 0;
    std::uint64_t layer_hash = 0;
    std::vector<LibraryAxis> axes; // x, y, z
    std::int64_t groups = 1;
    std::vector<std::int64_t> kernel_extent; // of one group, innermost first
    std::vector<LibraryKernel> kernels;      // one for each instruction set of the library, in its order
};

struct LibraryInstructionSet {
    std::string name;
    std::uint32_t requirement = 0; // bits UNSTRIDE_CPU_*
};

enum class LibraryDevice { none, cuda, opencl };

// A file that the library holds in its read-only data.
struct EmbeddedFile {
    std::string symbol;
    std::filesystem::path file; // absolute
};

struct LibraryDescription {
    std::string name;
    std::string target;
    std::string version;
    LibraryDevice device = LibraryDevice::none;
    std::vector<LibraryInstructionSet> instruction_sets; // best first
    std::vector<LibraryLayer> layers;
    std::vector<EmbeddedFile> embedded;
};

// Whether a library can be called so: an identifier, no keyword of C or C++.
Result<void> check_library_name(std::string_view name);

// Whether a library of that name can hold layers of those names: identifiers, no keywords of C or C++, no two
// alike, no layer called as a function of the library (`library_functions` is the text of library.h), nothing
// of the runtime's own.
Result<void> check_library_names(const LibraryDescription &library, std::string_view library_functions);

// NAME.h: self-contained, for C and C++; any number of such headers can be included together. `interface` is
// the text of unstride.h and `library_functions` that of library.h.
Result<std::string> write_library_header(const LibraryDescription &library, std::string_view interface,
                                         std::string_view library_functions);

// NAME.c, to be compiled with NAME.h's folder and the runtime's include/ and src/ in the include path:
//   cc -c -O2 -std=c11 -fPIC -fvisibility=hidden -ffunction-sections -fdata-sections
Result<std::string> write_library_source(const LibraryDescription &library,
                                         std::string_view library_functions);

// For the target's assembler: every embedded file under its symbol, 64-byte aligned and hidden. Empty where
// nothing is embedded.
std::string write_embedding_source(const LibraryDescription &library);

} // namespace unstride
