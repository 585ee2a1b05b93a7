// Names are checked before a line is written; what is written compiles without warnings.
#include "tools/library/c_source.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <iterator>
#include <set>

namespace unstride {

namespace {

// The limits of runtime/include/unstride/unstride.h and runtime/src/kernel_table.h.
constexpr std::size_t max_rank = 5;
constexpr std::size_t max_weight_dimensions = 9;
constexpr std::size_t max_size_steps = 6;
constexpr std::size_t max_stagings = 2;
constexpr std::string_view function_macro = "UNSTRIDE_LIBRARY(";

constexpr std::string_view keywords[] = {
    "alignas",   "alignof",   "and",       "asm",      "auto",     "bitand",   "bitor",    "bool",
    "break",     "case",      "catch",     "char",     "class",    "compl",    "concept",  "const",
    "consteval", "constexpr", "constinit", "continue", "decltype", "default",  "delete",   "do",
    "double",    "else",      "enum",      "explicit", "export",   "extern",   "false",    "float",
    "for",       "friend",    "goto",      "if",       "inline",   "int",      "long",     "mutable",
    "namespace", "new",       "noexcept",  "not",      "nullptr",  "operator", "or",       "private",
    "protected", "public",    "register",  "requires", "restrict", "return",   "short",    "signed",
    "sizeof",    "static",    "struct",    "switch",   "template", "this",     "throw",    "true",
    "try",       "typedef",   "typeid",    "typename", "typeof",   "union",    "unsigned", "using",
    "virtual",   "void",      "volatile",  "wchar_t",  "while",    "xor"};

bool is_letter(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

bool is_identifier(std::string_view name) {
    const auto fits = [](char c) { return is_letter(c) || c == '_' || (c >= '0' && c <= '9'); };
    return !name.empty() && is_letter(name[0]) && std::all_of(name.begin(), name.end(), fits);
}

Result<void> check_name(std::string_view kind, std::string_view name) {
    if (!is_identifier(name)) {
        return Error{fmt::format(
            "{} name '{}': a C identifier is needed: letters, digits and '_', a letter first", kind, name)};
    }
    if (std::find(std::begin(keywords), std::end(keywords), name) != std::end(keywords)) {
        return Error{fmt::format("{} name '{}': it is a keyword of C or C++", kind, name)};
    }
    return {};
}

// The names inside UNSTRIDE_LIBRARY(…) in the text of library.h, and the runtime's function for tests.
std::set<std::string, std::less<>> function_names(std::string_view library_functions) {
    std::set<std::string, std::less<>> names{"scratch_misses"};
    for (std::size_t at = library_functions.find(function_macro); at != std::string_view::npos;
         at = library_functions.find(function_macro, at + 1)) {
        const std::size_t begin = at + function_macro.size();
        const std::string_view name =
            library_functions.substr(begin, library_functions.find(')', begin) - begin);
        if (is_identifier(name)) names.emplace(name);
    }
    return names;
}

// The declarations of library.h under the library's name.
Result<std::string> declarations(std::string_view name, std::string_view library_functions) {
    constexpr std::string_view begin_mark = "/* BEGIN FUNCTIONS */\n", end_mark = "/* END FUNCTIONS */";
    const std::size_t begin = library_functions.find(begin_mark), end = library_functions.find(end_mark);
    if (begin == std::string_view::npos || end == std::string_view::npos || end < begin) {
        return Error{"library.h of this installation has no BEGIN FUNCTIONS … END FUNCTIONS"};
    }
    std::string text(library_functions.substr(begin + begin_mark.size(), end - begin - begin_mark.size()));
    for (std::size_t at = text.find(function_macro); at != std::string::npos;
         at = text.find(function_macro, at)) {
        text.erase(text.find(')', at), 1);
        text.replace(at, function_macro.size(), fmt::format("{}_", name));
    }
    return text;
}

// The number after #define UNSTRIDE_ABI_VERSION.
Result<std::string> abi_version(std::string_view interface) {
    constexpr std::string_view define = "#define UNSTRIDE_ABI_VERSION ";
    const std::size_t at = interface.find(define);
    if (at == std::string_view::npos)
        return Error{"unstride.h of this installation defines no UNSTRIDE_ABI_VERSION"};
    const std::string_view rest = interface.substr(at + define.size());
    return std::string(rest.substr(0, rest.find_first_of(" \n")));
}

std::string in_comment(std::string text) {
    for (std::size_t at = text.find("*/"); at != std::string::npos; at = text.find("*/", at))
        text.insert(at + 1, " ");
    for (std::size_t at = text.find("/*"); at != std::string::npos; at = text.find("/*", at))
        text.insert(at + 1, " ");
    std::replace(text.begin(), text.end(), '\n', ' ');
    return text;
}

// A C string literal; question marks are escaped because two of them may begin a trigraph.
std::string literal(std::string_view text) {
    std::string result = "\"";
    for (const char c : text) {
        if (c == '"' || c == '\\' || c == '?') {
            result += {'\\', c};
        } else if (c == '\n') {
            result += "\\n";
        } else if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) {
            result += fmt::format("\\{:03o}", static_cast<unsigned>(c));
        } else {
            result += c;
        }
    }
    return result + "\"";
}

// The same for the assembler, which knows no trigraphs.
std::string assembler_literal(std::string_view text) {
    std::string result = "\"";
    for (const char c : text) {
        if (c == '"' || c == '\\') result += '\\';
        result += c;
    }
    return result + "\"";
}

template<typename Numbers>
std::string braces(const Numbers &numbers) {
    return numbers.empty() ? "{0}" : fmt::format("{{{}}}", fmt::join(numbers, ", "));
}

// "1x?x?x56"
std::string shape_text(const std::vector<std::int64_t> &shape) {
    std::string text;
    for (const std::int64_t size : shape) {
        text += text.empty() ? "" : "x";
        text += size < 0 ? "?" : std::to_string(size);
    }
    return text;
}

bool holds_weights(const LibraryLayer &layer) {
    return std::any_of(layer.kernels.begin(), layer.kernels.end(),
                       [](const LibraryKernel &kernel) { return !kernel.embedded_symbol.empty(); });
}

// A line for each form, with the instruction sets whose kernels have it.
std::string form_comment(const LibraryDescription &library, const LibraryLayer &layer) {
    std::vector<std::pair<std::string, std::string>> forms; // and instruction sets
    for (std::size_t i = 0; i < std::min(layer.kernels.size(), library.instruction_sets.size()); i++) {
        const std::string &form = layer.kernels[i].form;
        if (form.empty()) continue;
        const std::string &name = library.instruction_sets[i].name;
        const auto known =
            std::find_if(forms.begin(), forms.end(), [&](const auto &other) { return other.first == form; });
        if (known == forms.end()) {
            forms.emplace_back(form, name);
        } else {
            known->second += ", " + name;
        }
    }
    std::string text;
    for (const auto &[form, sets] : forms)
        text += fmt::format("\n * On {}: minimal filtering, {}.", sets, in_comment(form));
    return text;
}

std::string layer_comment(const LibraryDescription &library, const LibraryLayer &layer) {
    std::string text = fmt::format("/* {}\n * channels {}: input {}, output {}", in_comment(layer.text),
                                   layer.channels_first ? "first" : "last", shape_text(layer.input_shape),
                                   shape_text(layer.output_shape));
    text += layer.weight_shape.empty() ? ", no weights"
                                       : fmt::format(", weights {}", shape_text(layer.weight_shape));
    text += layer.bias_count == 0 ? ", no bias" : fmt::format(", bias {}", layer.bias_count);
    if (layer.scale_count > 0) text += fmt::format(", scale {}", layer.scale_count);
    if (layer.prelu_count > 0) text += fmt::format(", prelu {}", layer.prelu_count);
    if (layer.has_add) text += ", adds a second tensor of the output's shape";
    text += form_comment(library, layer);
    if (!layer.given.empty()) {
        text += fmt::format(
            "\n * It stands, by its weights, for {}.\n * {}_pack takes the weights of the layer above, "
            "not of that one.",
            in_comment(layer.given), library.name);
    }
    if (holds_weights(layer)) {
        text += fmt::format("\n * The library holds its packed weights: `packed` may be null in {0}_run, and "
                            "`weights` in {0}_pack.",
                            library.name);
        if (library.device == LibraryDevice::cuda)
            text += fmt::format(
                "\n * On the device they must be a copy of what {}_pack writes, at `packed_device`.",
                library.name);
    }
    return text + " */";
}

Result<void> check_kernel(const LibraryDescription &library, const LibraryLayer &layer,
                          const LibraryKernel &kernel) {
    if (!is_identifier(kernel.compute_function) ||
        (!kernel.pack_function.empty() && !is_identifier(kernel.pack_function))) {
        return Error{fmt::format("layer {}: '{}' and '{}' are no function names", layer.name,
                                 kernel.compute_function, kernel.pack_function)};
    }
    if (kernel.weight_extent.empty() || kernel.weight_extent.size() > max_weight_dimensions ||
        kernel.stagings.size() > max_stagings) {
        return Error{
            fmt::format("layer {}: packed weights of rank {}, at most {} are possible, or {} buffers "
                        "a task, at most {} are possible",
                        layer.name, kernel.weight_extent.size(), max_weight_dimensions,
                        kernel.stagings.size(), max_stagings)};
    }
    const auto is_embedded = [&](const EmbeddedFile &file) { return file.symbol == kernel.embedded_symbol; };
    if (!kernel.embedded_symbol.empty() &&
        (!is_identifier(kernel.embedded_symbol) ||
         std::none_of(library.embedded.begin(), library.embedded.end(), is_embedded))) {
        return Error{fmt::format("layer {}: '{}' is no symbol of an embedded file", layer.name,
                                 kernel.embedded_symbol)};
    }
    return {};
}

Result<void> check_layer_table(const LibraryDescription &library, const LibraryLayer &layer) {
    const std::size_t rank = layer.axes.size() + 2;
    if (layer.axes.empty() || rank > max_rank || layer.input_shape.size() != rank ||
        layer.output_shape.size() != rank || layer.weight_shape.size() > max_rank ||
        layer.kernel_extent.size() != std::max<std::size_t>(rank, 4)) {
        return Error{
            fmt::format("layer {}: {} spatial axes do not fit an input of rank {}, an output of rank "
                        "{}, weights of rank {} and {} kernel extents",
                        layer.name, layer.axes.size(), layer.input_shape.size(), layer.output_shape.size(),
                        layer.weight_shape.size(), layer.kernel_extent.size())};
    }
    for (const LibraryAxis &axis : layer.axes) {
        if (axis.steps.size() > max_size_steps) {
            return Error{
                fmt::format("layer {}: {} of its stages change a size, at most {} can; begin a second "
                            "layer",
                            layer.name, axis.steps.size(), max_size_steps)};
        }
    }
    if (layer.kernels.size() != library.instruction_sets.size()) {
        return Error{fmt::format("layer {}: {} kernels for {} instruction sets", layer.name,
                                 layer.kernels.size(), library.instruction_sets.size())};
    }
    for (const LibraryKernel &kernel : layer.kernels) {
        if (auto checked = check_kernel(library, layer, kernel); !checked) return checked;
    }
    return {};
}

Result<void> check_tables(const LibraryDescription &library) {
    if (library.layers.empty()) return Error{fmt::format("library {}: it has no layer", library.name)};
    if (library.instruction_sets.empty()) {
        return Error{fmt::format("library {}: it has no instruction set", library.name)};
    }
    for (const LibraryLayer &layer : library.layers) {
        if (auto checked = check_layer_table(library, layer); !checked) return checked;
    }
    return {};
}

void write_function_declarations(const LibraryDescription &library, std::string &text) {
    std::set<std::string> names;
    for (const LibraryLayer &layer : library.layers) {
        for (const LibraryKernel &kernel : layer.kernels) {
            names.insert(kernel.compute_function);
            if (!kernel.pack_function.empty()) names.insert(kernel.pack_function);
        }
    }
    for (const std::string &name : names)
        text += fmt::format("int {}(void **arguments);\n", name);
}

std::string staging_text(const LibraryStaging &staging) {
    return fmt::format("{{.channels = {}, .scale = {}, .extra = {}}}", staging.channels,
                       braces(staging.scale), braces(staging.extra));
}

std::string axis_text(const LibraryAxis &axis) {
    std::string steps;
    for (const LibrarySizeStep &step : axis.steps) {
        steps += fmt::format("{}{{.scale = {}, .shift = {}, .divisor = {}, .least = {}, .multiple = {}}}",
                             steps.empty() ? "" : ", ", step.scale, step.shift, step.divisor, step.least,
                             step.multiple);
    }
    if (!steps.empty()) steps = fmt::format(".step_count = {}, .steps = {{{}}}, ", axis.steps.size(), steps);
    return fmt::format("{{{}.phases = {}}}", steps, axis.phases);
}

void write_kernel(const LibraryKernel &kernel, std::string &text) {
    text += fmt::format(
        "    {{.schedule = {},\n     .grade = {},\n     .identity = UINT64_C(0x{:016x}),\n"
        "     .compute = {},\n     .pack = {},\n     .weight_rank = {},\n     .weight_extent = {},\n"
        "     .parameter_extent = {},\n     .tile_x = {}, .strip = {}, .tile_y = {}, .rows = {},\n"
        "     .bounds_stores = {},\n",
        literal(kernel.schedule), literal(kernel.grade), kernel.identity, kernel.compute_function,
        kernel.pack_function.empty() ? "NULL" : kernel.pack_function, kernel.weight_extent.size(),
        braces(kernel.weight_extent), braces(kernel.parameter_extent), kernel.tile_x, kernel.strip,
        kernel.tile_y, kernel.rows, braces(kernel.bounds_stores));
    std::string stagings;
    for (const LibraryStaging &staging : kernel.stagings)
        stagings += (stagings.empty() ? "" : ", ") + staging_text(staging);
    if (!stagings.empty()) {
        text +=
            fmt::format("     .staging_count = {}, .stagings = {{{}}},\n", kernel.stagings.size(), stagings);
    }
    text += fmt::format("     .embedded = {}}},\n",
                        kernel.embedded_symbol.empty() ? "NULL" : kernel.embedded_symbol);
}

void write_plan(const LibraryLayer &layer, std::string &text) {
    text += fmt::format("static const unstride_plan plan_of_{} = {{\n    .layer_hash = UINT64_C(0x{:016x}),\n"
                        "    .spatial_axes = {},\n    .channels_first = {},\n    .groups = {},\n"
                        "    .axes = {{",
                        layer.name, layer.layer_hash, layer.axes.size(), layer.channels_first ? 1 : 0,
                        layer.groups);
    for (std::size_t i = 0; i < max_rank - 2; i++) {
        text += i == 0 ? "" : ",\n             ";
        text += axis_text(i < layer.axes.size() ? layer.axes[i] : LibraryAxis{});
    }
    text += fmt::format(
        "}},\n    .kernel_rank = {},\n    .kernel_extent = {},\n    .kernels = kernels_of_{}}};\n\n",
        layer.kernel_extent.size(), braces(layer.kernel_extent), layer.name);
}

void write_layer(const LibraryDescription &library, const LibraryLayer &layer, std::string &text) {
    text += fmt::format("\nstatic const unstride_kernel kernels_of_{}[] = {{\n", layer.name);
    for (const LibraryKernel &kernel : layer.kernels)
        write_kernel(kernel, text);
    text += "};\n\n";
    write_plan(layer, text);
    text += fmt::format(
        "const unstride_layer {}_{} = {{\n    .abi_version = UNSTRIDE_ABI_VERSION,\n    .rank = {},\n"
        "    .name = {},\n    .text = {},\n    .input_shape = {},\n    .output_shape = {},\n"
        "    .weight_rank = {},\n    .weight_shape = {},\n    .bias_count = {},\n    .scale_count = {},\n"
        "    .prelu_count = {},\n    .has_add = {},\n    .channels_first = {},\n"
        "    .multiplications_per_output = {},\n    .implementation = &plan_of_{}}};\n",
        library.name, layer.name, layer.input_shape.size(), literal(layer.name), literal(layer.text),
        braces(layer.input_shape), braces(layer.output_shape), layer.weight_shape.size(),
        braces(layer.weight_shape), layer.bias_count, layer.scale_count, layer.prelu_count,
        layer.has_add ? 1 : 0, layer.channels_first ? 1 : 0, layer.multiplications_per_output, layer.name);
}

void write_table(const LibraryDescription &library, std::string &text) {
    text += "\nstatic const unstride_layer *const layers_of_library[] = {\n";
    for (const LibraryLayer &layer : library.layers)
        text += fmt::format("    &{}_{},\n", library.name, layer.name);
    text += "};\n\nstatic const unstride_instruction_set instruction_sets_of_library[] = {\n";
    for (const LibraryInstructionSet &set : library.instruction_sets) {
        text +=
            fmt::format("    {{.name = {}, .requirement = 0x{:x}u}},\n", literal(set.name), set.requirement);
    }
    text += fmt::format(
        "}};\n\nstatic const unstride_table unstride_this_library = {{\n    .library_name = {},\n"
        "    .target = {},\n    .version = {},\n    .device = UNSTRIDE_LIBRARY_DEVICE,\n"
        "    .layer_count = {},\n    .layers = layers_of_library,\n    .instruction_set_count = {},\n"
        "    .instruction_sets = instruction_sets_of_library}};\n",
        literal(library.name), literal(library.target), literal(library.version), library.layers.size(),
        library.instruction_sets.size());
}

std::string_view device_macro(LibraryDevice device) {
    switch (device) {
    case LibraryDevice::cuda:
        return "UNSTRIDE_DEVICE_CUDA";
    case LibraryDevice::opencl:
        return "UNSTRIDE_DEVICE_OPENCL";
    case LibraryDevice::none:
        break;
    }
    return "UNSTRIDE_DEVICE_NONE";
}

} // namespace

Result<void> check_library_name(std::string_view name) {
    return check_name("library", name);
}

Result<void> check_library_names(const LibraryDescription &library, std::string_view library_functions) {
    if (Result<void> checked = check_library_name(library.name); !checked) return checked;
    for (const std::string_view reserved : {"unstride", "halide"}) {
        if (library.name.starts_with(reserved)) {
            return Error{fmt::format("library name '{}': names that begin with '{}' belong to the runtime",
                                     library.name, reserved)};
        }
    }
    const std::set<std::string, std::less<>> functions = function_names(library_functions);
    std::set<std::string_view> seen;
    for (const LibraryLayer &layer : library.layers) {
        if (Result<void> checked = check_name("layer", layer.name); !checked) return checked;
        if (functions.contains(layer.name)) {
            return Error{fmt::format("layer name '{0}': {1}_{0} is a function of the library", layer.name,
                                     library.name)};
        }
        if (!seen.insert(layer.name).second) {
            return Error{fmt::format("layer name '{}': two layers of the library have it", layer.name)};
        }
    }
    return {};
}

Result<std::string> write_library_header(const LibraryDescription &library, std::string_view interface,
                                         std::string_view library_functions) {
    if (const Result<void> checked = check_library_names(library, library_functions); !checked) {
        return Error{checked.error()};
    }
    const Result<std::string> functions = declarations(library.name, library_functions);
    if (!functions) return Error{functions.error()};
    const Result<std::string> version = abi_version(interface);
    if (!version) return Error{version.error()};

    const std::string guard = fmt::format("UNSTRIDE_GENERATED_{}_H", library.name);
    std::string text =
        fmt::format("/* The upsampling layers of library {0}, for {1}; made by Unstride {2}.\n"
                    " * Link with lib{0}.a -lpthread -ldl -lm. */\n#ifndef {3}\n#define {3}\n\n",
                    library.name, in_comment(library.target), in_comment(library.version), guard);
    text += interface;
    text += fmt::format(
        "\n#if UNSTRIDE_ABI_VERSION != {0}\n"
        "#error \"{1}.h is of interface version {0}, a header included before it is of another\"\n"
        "#endif\n\n#ifdef __cplusplus\nextern \"C\" {{\n#endif\n\n",
        *version, library.name);
    text += *functions;
    for (const LibraryLayer &layer : library.layers) {
        text += fmt::format("\n{}\nextern const unstride_layer {}_{};\n", layer_comment(library, layer),
                            library.name, layer.name);
    }
    return text + fmt::format("\n#ifdef __cplusplus\n}}\n#endif\n\n#endif /* {} */\n", guard);
}

Result<std::string> write_library_source(const LibraryDescription &library,
                                         std::string_view library_functions) {
    if (const Result<void> checked = check_library_names(library, library_functions); !checked) {
        return Error{checked.error()};
    }
    if (const Result<void> checked = check_tables(library); !checked) return Error{checked.error()};
    std::string text = fmt::format(
        "/* The tables and the runtime of library {0}, for {1}; made by Unstride {2}. */\n#define "
        "_GNU_SOURCE\n\n"
        "#pragma GCC visibility push(default)\n#include \"{0}.h\"\n#pragma GCC visibility pop\n"
        "#include \"kernel_table.h\"\n\n#define UNSTRIDE_LIBRARY(function) {0}_##function\n"
        "#define UNSTRIDE_LIBRARY_DEVICE {3}\n\n",
        library.name, in_comment(library.target), in_comment(library.version), device_macro(library.device));
    write_function_declarations(library, text);
    for (const EmbeddedFile &file : library.embedded)
        text += fmt::format("extern const unsigned char {}[];\n", file.symbol);
    for (const LibraryLayer &layer : library.layers)
        write_layer(library, layer, text);
    write_table(library, text);
    return text + "\n#include \"runtime.c\"\n";
}

std::string write_embedding_source(const LibraryDescription &library) {
    std::string text;
    for (const EmbeddedFile &file : library.embedded) {
        text += fmt::format("    .section .rodata.{0}, \"a\", %progbits\n    .balign 64\n    .globl {0}\n"
                            "    .hidden {0}\n    .type {0}, %object\n{0}:\n    .incbin {1}\n"
                            "    .size {0}, . - {0}\n",
                            file.symbol, assembler_literal(file.file.string()));
    }
    return text.empty() ? text : text + "    .section .note.GNU-stack, \"\", %progbits\n";
}

} // namespace unstride
