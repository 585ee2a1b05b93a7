// This project as a contender. The argument is a shared object around a generated library, which exports it
// as unstride_bench_library(); the instruction set is the library's own choice.
#include "bench/rivals/rival.h"

#include <unstride/unstride.h>

#include <cstdio>
#include <cstring>
#include <dlfcn.h>
#include <fmt/format.h>

namespace unstride::bench {

namespace {

const unstride_library *open_library(const char *path) {
    void *object = ::dlopen(path, RTLD_NOW | RTLD_LOCAL);
    void *symbol = object != nullptr ? ::dlsym(object, "unstride_bench_library") : nullptr;
    if (symbol == nullptr) return nullptr;
    return reinterpret_cast<const unstride_library *(*)()>(symbol)();
}

class UnstrideRival : public Rival {
public:
    UnstrideRival(const unstride_library *library, std::string path)
        : library_(*library), path_(std::move(path)) {}

    Identity identity() const override { return {"unstride", library_.version, {""}, path_}; }

    void load(const Problem &problem, const std::string &, int threads) override {
        problem_ = problem;
        layer_ = find(problem.layer.name);
        const reference::LayerData &data = problem.data;
        const auto numbers = [](const std::vector<float> &part) {
            return part.empty() ? nullptr : part.data();
        };
        const unstride_weights weights = {layer_->weight_rank > 0 ? numbers(data.weights) : nullptr,
                                          numbers(data.bias), numbers(data.scale), numbers(data.prelu)};
        const std::size_t packed_bytes = library_.packed_bytes(layer_);
        const std::size_t scratch_bytes = library_.scratch_bytes(layer_, problem.input.data(), threads);
        packed_ = AlignedFloats(packed_bytes / sizeof(float) + 1);
        scratch_ = AlignedFloats(scratch_bytes / sizeof(float) + 1);
        check(library_.pack(layer_, &weights, packed_.data(), packed_bytes));

        std::size_t elements = 1;
        for (const std::int64_t size : problem.output)
            elements *= static_cast<std::size_t>(size);
        input_ = AlignedFloats(data.input);
        add_ = AlignedFloats(data.add);
        output_ = AlignedFloats(elements);
        input_view_ = dense(input_, problem_.input);
        add_view_ = dense(add_, problem_.output);
        output_view_ = dense(output_, problem_.output);
        arguments_ = {};
        arguments_.input = &input_view_;
        if (layer_->has_add != 0) arguments_.add = &add_view_;
        arguments_.output = &output_view_;
        if (packed_bytes > 0) arguments_.packed = packed_.data();
        arguments_.scratch = scratch_.data();
        arguments_.scratch_bytes = scratch_bytes;
        arguments_.threads = threads;
    }

    std::string implementation() const override {
        return fmt::format("{}, {}", library_.instruction_set(), library_.schedule_grade(layer_));
    }

    void run() override { check(library_.run(layer_, &arguments_)); }

    std::vector<float> output() override { return {output_.data(), output_.data() + output_.size()}; }

private:
    const unstride_library &library_;
    std::string path_;
    Problem problem_;
    const unstride_layer *layer_ = nullptr;
    AlignedFloats packed_, scratch_, input_, add_, output_;
    unstride_tensor input_view_ = {}, add_view_ = {}, output_view_ = {};
    unstride_arguments arguments_ = {};

    const unstride_layer *find(const std::string &name) const {
        for (int i = 0; i < library_.layer_count; i++) {
            if (name == library_.layers[i]->name) return library_.layers[i];
        }
        throw Unsupported("the library has no layer of this name");
    }

    void check(int status) const {
        if (status != UNSTRIDE_OK) throw std::runtime_error(library_.last_error());
    }

    static unstride_tensor dense(const AlignedFloats &memory, const std::vector<std::int64_t> &shape) {
        return unstride_dense(memory.data(), static_cast<int>(shape.size()), shape.data());
    }
};

} // namespace

} // namespace unstride::bench

int main(int argc, char **argv) {
    using namespace unstride::bench;
    if (argc != 2) {
        std::fputs("usage: unstride_rival LIBRARY.so\n", stderr);
        return 2;
    }
    const unstride_library *library = open_library(argv[1]);
    if (library == nullptr) {
        std::fprintf(stderr, "unstride_rival: %s: %s\n", argv[1], ::dlerror());
        return 1;
    }
    UnstrideRival rival(library, argv[1]);
    return serve(rival);
}
