// The C texts of generated libraries: they compile as every C and C++ that a user may have, several together,
// and names that could not work are refused before anything is written.
#include "tools/library/c_source.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>

namespace {

namespace fs = std::filesystem;
using namespace unstride;

std::string text_of(const fs::path &path) {
    std::ostringstream text;
    text << std::ifstream(path).rdbuf();
    return text.str();
}

const fs::path runtime_folder = UNSTRIDE_RUNTIME_FOLDER;
const std::string interface_text = text_of(runtime_folder / "include/unstride/unstride.h");
const std::string functions_text = text_of(runtime_folder / "include/unstride/library.h");

LibraryDescription example(const std::string &name) {
    LibraryKernel kernel;
    kernel.schedule = "{\"tile\": [4, 3, 2]}";
    kernel.grade = "analytic default";
    kernel.identity = 0xfedcba9876543210u;
    kernel.compute_function = "u0123_compute_argv";
    kernel.pack_function = "u0123_pack_argv";
    kernel.weight_extent = {64, 256, 2, 2, 2, 2, 2};
    kernel.parameter_extent = {128, 3};
    kernel.tile_x = 4;
    kernel.strip = 0;
    kernel.stagings = {{256, {1, 1, 1}, {2, 2, 0}}, {32, {2, 1, 1}, {0, 0, 0}}};
    LibraryLayer layer;
    layer.name = "up64";
    layer.text = "input(f32, 1x?\?x64x256) | transposed_conv(128, kernel=4) /* \"\\ */";
    layer.input_shape = {1, -1, 64, 256};
    layer.output_shape = {1, -1, 128, 128};
    layer.weight_shape = {256, 128, 4, 4};
    layer.bias_count = 128;
    layer.scale_count = 128;
    layer.prelu_count = 128;
    layer.multiplications_per_output = 1024;
    layer.axes = {{{{2, 0, 1, 1, 1}}, 2}, {{{2, 0, 1, 1, 1}}, 2}};
    layer.kernel_extent = {4, 4, 128, 256};
    layer.kernels = {kernel, kernel};
    LibraryLayer line = layer;
    line.name = "line";
    line.text = "input(f32, 1x64x3) | pixel_shuffle(2) | add";
    line.input_shape = {1, 64, 3};
    line.output_shape = {1, 128, 3};
    line.weight_shape.clear();
    line.bias_count = line.scale_count = line.prelu_count = 0;
    line.has_add = true;
    line.axes = {{{{2, 0, 1, 1, 1}}, 2}};
    line.kernel_extent = {1, 1, 1, 1};
    line.kernels[1] = LibraryKernel{};
    line.kernels[1].schedule = kernel.schedule;
    line.kernels[1].compute_function = kernel.compute_function;
    LibraryLayer volume = layer;
    volume.name = "volume";
    volume.channels_first = true;
    volume.input_shape = {1, 6, -1, -1, -1};
    volume.output_shape = {1, 9, -1, 10, -1};
    volume.weight_shape = {9, 2, 3, 3, 3};
    volume.axes = {{{{1, 0, 2, 1, 2}}, 1}, {{{0, 10, 1, 40, 1}}, 2}, {{}, 1}};
    volume.groups = 3;
    volume.kernel_extent = {3, 3, 3, 2, 3};
    LibraryDescription library;
    library.name = name;
    library.target = "x86-64";
    library.version = "1.0.0";
    library.instruction_sets = {{"avx512", 4}, {"sse41", 1}};
    library.layers = {layer, line, volume};
    return library;
}

class CSource : public testing::Test {
protected:
    void SetUp() override {
        std::string pattern = (fs::temp_directory_path() / "unstride-c-source-XXXXXX").string();
        folder_ = mkdtemp(pattern.data());
    }
    void TearDown() override { fs::remove_all(folder_); }

    void write(const std::string &name, const std::string &text) { std::ofstream(folder_ / name) << text; }

    void write_library(const LibraryDescription &library) {
        const auto header = write_library_header(library, interface_text, functions_text);
        ASSERT_TRUE(header) << header.error();
        const auto source = write_library_source(library, functions_text);
        ASSERT_TRUE(source) << source.error();
        write(library.name + ".h", *header);
        write(library.name + ".c", *source);
    }

    bool succeeds(const std::string &command) const {
        return std::system(("cd '" + folder_.string() + "' && " + command).c_str()) == 0;
    }

    std::string compile_library(const std::string &name) const {
        return "cc -c -O1 -std=c11 -fPIC -fvisibility=hidden -ffunction-sections -fdata-sections -Wall "
               "-Wextra -Werror -I. -I'" +
               (runtime_folder / "include").string() + "' -I'" + (runtime_folder / "src").string() + "' " +
               name + ".c -o " + name + ".o";
    }

    fs::path folder_;
};

TEST_F(CSource, HeadersCompileTogetherAsCAndCpp) {
    write_library(example("deconv"));
    write_library(example("Deconv"));
    write_library(example("net2"));
    write("user.c",
          "#include \"deconv.h\"\n#include \"Deconv.h\"\n#include \"net2.h\"\n#include \"deconv.h\"\n"
          "int main(void) { return deconv_run(&deconv_up64, 0) + net2_run(&net2_line, 0) + Deconv_threads(); "
          "}\n");
    fs::copy_file(folder_ / "user.c", folder_ / "user.cpp");
    for (const char *standard : {"c99", "c11", "c17"})
        EXPECT_TRUE(succeeds(std::string("cc -fsyntax-only -pedantic -Wall -Wextra -Werror -std=") +
                             standard + " user.c"));
    for (const char *standard : {"c++11", "c++17", "c++20"})
        EXPECT_TRUE(
            succeeds(std::string("c++ -fsyntax-only -Wall -Wextra -Werror -std=") + standard + " user.cpp"));
}

TEST_F(CSource, HeaderNamesTheFunctionsAndDescribesTheLayers) {
    const auto header = write_library_header(example("deconv"), interface_text, functions_text);
    ASSERT_TRUE(header);
    EXPECT_EQ(header->find("UNSTRIDE_LIBRARY"), std::string::npos);
    for (const char *part :
         {"int deconv_run(const unstride_layer *layer, const unstride_arguments *arguments);",
          "const unstride_library *deconv_library(void);", "extern const unstride_layer deconv_up64;",
          "channels last: input 1x?x64x256, output 1x?x128x128, weights 256x128x4x4, bias 128, scale 128, "
          "prelu 128 */",
          "no weights, no bias, adds a second tensor", "channels first: input 1x6x?x?x?"})
        EXPECT_NE(header->find(part), std::string::npos) << part;
}

TEST_F(CSource, SourcesCompileForEveryDevice) {
    for (const LibraryDevice device : {LibraryDevice::none, LibraryDevice::cuda, LibraryDevice::opencl}) {
        LibraryDescription library = example("deconv");
        library.device = device;
        write_library(library);
        EXPECT_TRUE(succeeds(compile_library("deconv")));
    }
}

// A program that holds the kernels and Halide's setters, stood in for, and what `body` asks.
std::string program(const std::string &body) {
    return "#include \"deconv.h\"\n#include <string.h>\n"
           "int u0123_compute_argv(void **a) { return a == 0; }\n"
           "int u0123_pack_argv(void **a) { return a == 0; }\n"
           "void *halide_set_error_handler(void *f) { return f; }\n"
           "void *halide_set_custom_print(void *f) { return f; }\n"
           "void *halide_set_custom_malloc(void *f) { return f; }\n"
           "void *halide_set_custom_free(void *f) { return f; }\n"
           "void *halide_set_custom_do_par_for(void *f) { return f; }\n"
           "int main(void) {\n" +
           body + "}\n";
}

TEST_F(CSource, TablesSayWhatWasDescribed) {
    write_library(example("deconv"));
    ASSERT_TRUE(succeeds(compile_library("deconv")));
    write(
        "main.c",
        program("    const unstride_library *library = deconv_library();\n"
                "    int64_t in[] = {1, 5, 64, 256}, out[5], cube[] = {1, 6, 3, 41, 8};\n"
                "    if (library->layer_count != 3 || library->layers[0] != &deconv_up64) return 1;\n"
                "    if (library->output_shape(&deconv_up64, in, out) || out[1] != 10 || out[2] != 128) "
                "return 2;\n"
                "    if (strcmp(deconv_up64.text, \"input(f32, 1x?\" \"?x64x256) | transposed_conv(128, "
                "kernel=4) /* \\\"\\\\ */\")) return 3;\n"
                "    if (strcmp(library->schedule(&deconv_line), \"{\\\"tile\\\": [4, 3, 2]}\")) return "
                "4;\n"
                "    if (library->packed_bytes(&deconv_up64) != 64 + 64 * 256 * 32 * 4 + 3 * 128 * 4) "
                "return 5;\n"
                "    if (strcmp(library->instruction_set_at(1), \"sse41\")) return 6;\n"
                "    if (deconv_up64.scale_count != 128 || deconv_up64.prelu_count != 128) return 7;\n"
                "    if (library->packed_bytes(&deconv_line) != 0) return 8;\n"
                "    if (library->packed_bytes(&deconv_volume) != 64 + 3 * (64 * 256 * 32 * 4 + 3 * 128 * "
                "4)) return 9;\n"
                "    if (!deconv_volume.channels_first || deconv_line.channels_first) return 10;\n"
                "    if (library->output_shape(&deconv_volume, cube, out)) return 11;\n"
                "    if (out[1] != 9 || out[2] != 3 || out[3] != 10 || out[4] != 4) return 12;\n"
                "    cube[4] = 7;\n"
                "    if (library->output_shape(&deconv_volume, cube, out) != UNSTRIDE_WRONG_SHAPE) return "
                "13;\n"
                "    if (library->scratch_bytes(&deconv_up64, in, 1) != 2 * ((64 + 2) * 3 * 256 * 4 + 192)) "
                "return 14;\n"
                "    return 0;\n"));
    EXPECT_TRUE(succeeds("cc -std=c11 -Wall -Wextra -Werror main.c deconv.o -lpthread -ldl -lm -o main && "
                         "UNSTRIDE_INSTRUCTION_SET=sse41 ./main"));
}

// The blob is no packed weights, and the runtime says so: it looked where the assembler put it.
TEST_F(CSource, EmbeddedFilesAreFoundByTheRuntime) {
    LibraryDescription library = example("deconv");
    EXPECT_EQ(write_embedding_source(library), "");
    const fs::path blob = folder_ / "a \"blob\"\\.bin";
    std::ofstream(blob) << "0123456789 embedded";
    library.embedded = {{"weights_of_up64", blob}};
    library.layers[0].kernels[1].embedded_symbol = "weights_of_up64";
    write_library(library);
    write("embedded.s", write_embedding_source(library));
    ASSERT_TRUE(succeeds(compile_library("deconv")));
    ASSERT_TRUE(succeeds("cc -c embedded.s -o embedded.o"));
    write("main.c",
          program("    static float in_values[5 * 64 * 256], out_values[10 * 128 * 128];\n"
                  "    const int64_t in_shape[] = {1, 5, 64, 256}, out_shape[] = {1, 10, 128, 128};\n"
                  "    const unstride_tensor in = unstride_dense(in_values, 4, in_shape);\n"
                  "    const unstride_tensor out = unstride_dense(out_values, 4, out_shape);\n"
                  "    const unstride_arguments arguments = {.input = &in, .output = &out};\n"
                  "    if (deconv_run(&deconv_up64, &arguments) != UNSTRIDE_NOT_PACKED) return 1;\n"
                  "    return strstr(deconv_last_error(), \"begins with 3736353433323130\") ? 0 : 2;\n"));
    EXPECT_TRUE(succeeds("cc -std=c11 -Wall -Wextra -Werror main.c deconv.o embedded.o -lpthread -ldl -lm -o "
                         "main && UNSTRIDE_INSTRUCTION_SET=sse41 ./main"));
    EXPECT_TRUE(succeeds("readelf -s embedded.o | grep -q 'OBJECT *GLOBAL *HIDDEN .*weights_of_up64'"));
    EXPECT_TRUE(succeeds("readelf -SW embedded.o | grep -q '\\.rodata\\.weights_of_up64 .* A  0   0 64'"));

    library.embedded.clear();
    const auto refused = write_library_source(library, functions_text);
    ASSERT_FALSE(refused);
    EXPECT_NE(refused.error().find("'weights_of_up64' is no symbol"), std::string::npos) << refused.error();
}

void expect_refused(const LibraryDescription &library, const std::string &text) {
    for (const auto &written : {write_library_header(library, interface_text, functions_text),
                                write_library_source(library, functions_text)}) {
        ASSERT_FALSE(written) << text;
        EXPECT_NE(written.error().find(text), std::string::npos) << written.error();
    }
}

TEST_F(CSource, RefusesNames) {
    for (const char *name : {"", "9lives", "up-64", "up 64", "_up", "größe", "a.b"}) {
        expect_refused(example(name), "library name");
        LibraryDescription library = example("deconv");
        library.layers[1].name = name;
        expect_refused(library, "a C identifier is needed");
    }
    for (const char *name : {"int", "class", "restrict", "template"}) {
        LibraryDescription library = example("deconv");
        library.layers[0].name = name;
        expect_refused(library, "it is a keyword");
        expect_refused(example(name), "it is a keyword");
    }
    for (const char *name : {"run", "pack", "library", "set_threads", "last_error", "scratch_misses"}) {
        LibraryDescription library = example("deconv");
        library.layers[0].name = name;
        expect_refused(library, "is a function of the library");
    }
    expect_refused(example("unstride"), "belong to the runtime");
    expect_refused(example("halide_net"), "belong to the runtime");
    LibraryDescription twice = example("deconv");
    twice.layers[1].name = "up64";
    expect_refused(twice, "two layers of the library have it");
}

TEST_F(CSource, RefusesTablesThatDoNotFit) {
    const auto refused = [](const LibraryDescription &library, const char *text) {
        const auto written = write_library_source(library, functions_text);
        ASSERT_FALSE(written) << text;
        EXPECT_NE(written.error().find(text), std::string::npos) << written.error();
    };
    LibraryDescription library = example("deconv");
    library.layers.clear();
    refused(library, "it has no layer");
    library = example("deconv");
    library.instruction_sets.pop_back();
    refused(library, "2 kernels for 1 instruction sets");
    library = example("deconv");
    library.layers[0].input_shape.pop_back();
    refused(library, "do not fit an input of rank 3");
    library = example("deconv");
    library.layers[0].kernel_extent.push_back(1);
    refused(library, "and 5 kernel extents");
    library = example("deconv");
    library.layers[0].axes[1].steps.resize(7);
    refused(library, "7 of its stages change a size, at most 6 can");
    library = example("deconv");
    library.layers[0].kernels[0].weight_extent.resize(10, 1);
    refused(library, "packed weights of rank 10");
    library = example("deconv");
    library.layers[0].kernels[0].stagings.resize(3);
    refused(library, "or 3 buffers");
    library = example("deconv");
    library.layers[0].kernels[0].compute_function = "not a name";
    refused(library, "are no function names");
    EXPECT_FALSE(write_library_header(example("deconv"), interface_text, "int f(void);"));
    EXPECT_FALSE(write_library_header(example("deconv"), "", functions_text));
}

} // namespace
