// Layers built by the `unstride` command while a test runs, and calls of what was built.
#pragma once

#include "compiler/language/layer.h"
#include "compiler/result.h"
#include "reference/reference.h"
#include "tools/files.h"

#include "runtime/include/unstride/unstride.h"

#include <filesystem>
#include <string>
#include <vector>

namespace unstride::chains {

// Builds libraries in a folder of its own, which goes with it; kernels are kept there and compiled once.
class LibraryBuilder {
public:
    static Result<LibraryBuilder> make();

    // A shared object of these layers for one instruction set of this machine, or what the command or the
    // linker said. `options` are further ones of `unstride build`.
    Result<std::filesystem::path> build(const std::vector<Layer> &layers, const std::string &instruction_set,
                                        const std::vector<std::string> &options = {});

    // The instruction sets of `unstride build` that this processor has, best first.
    Result<std::vector<std::string>> usable_instruction_sets();

private:
    explicit LibraryBuilder(TemporaryFolder folder) : folder(std::move(folder)) {}

    TemporaryFolder folder;
    int built = 0; // a path that was loaded once would be the same library for ever
};

// A library in this process. It stays loaded: its threads may not be taken away.
class LoadedLibrary {
public:
    static Result<LoadedLibrary> load(const std::filesystem::path &shared_object);

    const unstride_library &functions() const { return *library; }

    // Null where there is no layer of that name.
    const unstride_layer *find(const std::string &name) const;

    // Whether input_shape, for the layer's dynamic sizes, is refused.
    bool refuses(const unstride_layer &layer, const Layer &sized) const;

    // The layer's output on data of the sized layer, or what went wrong: a status code, an output shape that
    // is not the language's, memory touched that is not the call's. The memory of inputs and outputs ends at
    // a page that may not be touched; the output holds NaN before.
    Result<std::vector<float>> run(const unstride_layer &layer, const Layer &sized,
                                   const reference::LayerData &data, int threads) const;

private:
    explicit LoadedLibrary(const unstride_library *library) : library(library) {}

    const unstride_library *library;
};

// A shape's numbers in the order of the layout.
std::vector<std::int64_t> in_layout(const Shape &shape, Layout layout);

} // namespace unstride::chains
