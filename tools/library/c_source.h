// The C texts of a generated library: NAME.h for its users, and NAME.c, which holds the tables and includes
// the runtime.
#pragma once

#include "tools/result.h"

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace unstride {

// These mirror runtime/src/kernel_table.h, where the meaning of each field is written.
struct LibraryAxis {
    std::int64_t scale = 1;
    std::int64_t shift = 0;
    std::int32_t phases = 1;
    std::int32_t halo = 0;
};

struct LibraryKernel {
    std::string schedule; // JSON
    std::string grade;
    std::uint64_t identity = 0;
    std::string compute_function; // the `_argv` functions; no pack function where nothing is to be packed
    std::string pack_function;
    std::array<std::int32_t, 7> weight_extent{};
    std::int32_t bias_extent = 0;
    std::int32_t tile_x = 1;
    std::int32_t strip = 1;
    std::int32_t tile_y = 1;
    std::int32_t rows = 1;
    std::int32_t staged_channels = 0;
};

struct LibraryLayer {
    std::string name;
    std::string text;                      // in the layer language
    std::vector<std::int64_t> input_shape; // in the layer's order, -1 for a size known at run time
    std::vector<std::int64_t> output_shape;
    std::vector<std::int64_t> weight_shape; // empty: no weights
    std::int64_t bias_count = 0;
    bool has_add = false;
    double multiplications_per_output = 0;
    std::uint64_t layer_hash = 0;
    std::vector<LibraryAxis> axes; // x, then y
    std::array<std::int32_t, 4> kernel_extent{1, 1, 1, 1};
    std::vector<LibraryKernel> kernels; // one for each instruction set of the library, in its order
};

struct LibraryInstructionSet {
    std::string name;
    std::uint32_t requirement = 0; // bits UNSTRIDE_CPU_*
};

enum class LibraryDevice { none, cuda, opencl };

struct LibraryDescription {
    std::string name;
    std::string target;
    std::string version;
    LibraryDevice device = LibraryDevice::none;
    std::vector<LibraryInstructionSet> instruction_sets; // best first
    std::vector<LibraryLayer> layers;
};

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

} // namespace unstride
