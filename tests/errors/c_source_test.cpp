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
    kernel.bias_extent = 128;
    LibraryLayer layer;
    layer.name = "up64";
    layer.text = "input(f32, 1x?\?x64x256) | transposed_conv(128, kernel=4) /* \"\\ */";
    layer.input_shape = {1, -1, 64, 256};
    layer.output_shape = {1, -1, 128, 128};
    layer.weight_shape = {256, 128, 4, 4};
    layer.bias_count = 128;
    layer.multiplications_per_output = 1024;
    layer.axes = {{2, 0, 2, 2}, {2, 0, 2, 2}};
    layer.kernel_extent = {4, 4, 128, 256};
    layer.kernels = {kernel, kernel};
    LibraryLayer line = layer;
    line.name = "line";
    line.text = "input(f32, 1x64x3) | pixel_shuffle(2) | add";
    line.input_shape = {1, 64, 3};
    line.output_shape = {1, 128, 3};
    line.weight_shape.clear();
    line.bias_count = 0;
    line.has_add = true;
    line.axes = {{2, 0, 2, 0}};
    line.kernels[1].pack_function.clear();
    LibraryDescription library;
    library.name = name;
    library.target = "x86-64";
    library.version = "1.0.0";
    library.instruction_sets = {{"avx512", 4}, {"sse41", 1}};
    library.layers = {layer, line};
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
          "input 1x?x64x256, output 1x?x128x128, weights 256x128x4x4, bias 128",
          "no weights, no bias, adds a second tensor"})
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

// Links with the kernels and Halide's setters stood in for, and asks what the tables say.
TEST_F(CSource, TablesSayWhatWasDescribed) {
    write_library(example("deconv"));
    ASSERT_TRUE(succeeds(compile_library("deconv")));
    write("main.c",
          "#include \"deconv.h\"\n#include <string.h>\n"
          "int u0123_compute_argv(void **a) { return a == 0; }\n"
          "int u0123_pack_argv(void **a) { return a == 0; }\n"
          "void *halide_set_error_handler(void *f) { return f; }\n"
          "void *halide_set_custom_print(void *f) { return f; }\n"
          "void *halide_set_custom_malloc(void *f) { return f; }\n"
          "void *halide_set_custom_free(void *f) { return f; }\n"
          "void *halide_set_custom_do_par_for(void *f) { return f; }\n"
          "int main(void) {\n"
          "    const unstride_library *library = deconv_library();\n"
          "    int64_t in[] = {1, 5, 64, 256}, out[4];\n"
          "    if (library->layer_count != 2 || library->layers[0] != &deconv_up64) return 1;\n"
          "    if (library->output_shape(&deconv_up64, in, out) || out[1] != 10 || out[2] != 128) return 2;\n"
          "    if (strcmp(deconv_up64.text, \"input(f32, 1x?\" \"?x64x256) | transposed_conv(128, kernel=4) "
          "/* \\\"\\\\ */\")) return 3;\n"
          "    if (strcmp(library->schedule(&deconv_line), \"{\\\"tile\\\": [4, 3, 2]}\")) return 4;\n"
          "    if (library->packed_bytes(&deconv_up64) != 64 + 64 * 256 * 32 * 4 + 128 * 4) return 5;\n"
          "    return strcmp(library->instruction_set_at(1), \"sse41\") ? 6 : 0;\n"
          "}\n");
    EXPECT_TRUE(succeeds("cc -std=c11 -Wall -Wextra -Werror main.c deconv.o -lpthread -ldl -lm -o main && "
                         "UNSTRIDE_INSTRUCTION_SET=sse41 ./main"));
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
    library.layers[0].kernels[0].compute_function = "not a name";
    refused(library, "are no function names");
    EXPECT_FALSE(write_library_header(example("deconv"), interface_text, "int f(void);"));
    EXPECT_FALSE(write_library_header(example("deconv"), "", functions_text));
}

} // namespace
