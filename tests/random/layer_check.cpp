// The child answers through a pipe, whose end without an answer says that it crashed.
#include "tests/random/layer_check.h"

#include "compiler/language/printer.h"
#include "compiler/language/shapes.h"
#include "compiler/lowering/phase_convolution.h"
#include "reference/comparator.h"
#include "reference/random_data.h"
#include "schedules/record.h"
#include "tests/kernels/form_numerics.h"
#include "tests/random/chain_generator.h"
#include "tests/random/layer_library.h"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

namespace unstride::chains {

namespace fs = std::filesystem;
using reference::LayerData;
using reference::Random;

namespace {

constexpr unsigned child_seconds = 60;
constexpr std::int64_t most_elements = 50'000; // what the reference computes in no time

bool is_dynamic(const Layer &layer) {
    return layer.input.batch == dynamic_size || std::ranges::count(layer.input.spatial, dynamic_size) > 0;
}

// Layers of fixed sizes that stand for the layer, and one whose sizes do not fit it where one was met.
struct SizedLayers {
    std::vector<Layer> valid, invalid;
};

SizedLayers sized_layers(const Layer &layer, Random &random) {
    SizedLayers result;
    const std::size_t wanted = is_dynamic(layer) ? 2 : 1;
    for (std::int64_t tries = 0; tries < 60 && result.valid.size() < wanted; tries++) {
        PerAxis spatial(layer.input.spatial.size());
        std::generate(spatial.begin(), spatial.end(), [&] { return random.integer(1, 4 + tries); });
        const Layer sized = reference::with_sizes(layer, random.integer(1, 3), spatial);
        if (!check_shapes(sized).empty()) {
            if (result.invalid.empty()) result.invalid.push_back(sized);
        } else if (largest_tensor(sized) <= most_elements) {
            result.valid.push_back(sized);
        }
    }
    return result;
}

// What the library says of the layer, against what the language says.
Result<void> check_description(const unstride_layer &built, const Layer &layer) {
    if (built.text != print_chain(layer) && built.text != print(layer))
        return Error{fmt::format("the library's text is {}", built.text)};
    if (is_dynamic(layer)) return {};
    const auto sizes = reference::data_sizes(layer);
    if (!sizes) return Error{sizes.error()};
    std::int64_t weights = built.weight_rank > 0 ? 1 : 0;
    for (int axis = 0; axis < built.weight_rank; axis++)
        weights *= built.weight_shape[axis];
    const bool right = weights == sizes->weights && built.bias_count == sizes->bias &&
                       built.scale_count == sizes->scale && built.prelu_count == sizes->prelu &&
                       (built.has_add != 0) == (sizes->add > 0) &&
                       (built.channels_first != 0) == (layer.input.layout == Layout::nchw);
    if (right) return {};
    return Error{fmt::format("the library's counts are weights {}, bias {}, scale {}, prelu {}, add {}, "
                             "channels first {}; the layer's are {}, {}, {}, {}, {}",
                             weights, built.bias_count, built.scale_count, built.prelu_count, built.has_add,
                             built.channels_first, sizes->weights, sizes->bias, sizes->scale, sizes->prelu,
                             sizes->add)};
}

Result<std::vector<float>> compared_run(const LoadedLibrary &library, const unstride_layer &built,
                                        const Layer &sized, const LayerData &data,
                                        const reference::Tolerance &tolerance) {
    const auto expected = reference::evaluate(sized, data);
    if (!expected) return Error{expected.error()};
    auto output = library.run(built, sized, data, 1);
    if (!output) return output;
    const auto comparison = reference::compare(sized, *expected, expected->shape, *output, tolerance);
    if (!comparison.equal) return Error{comparison.report};
    return output;
}

// What the form that the library has of the layer does to the numbers.
struct FormNumerics {
    reference::Tolerance tolerance;
    std::optional<int> spare_bits;
};

Result<FormNumerics> form_numerics(const LoadedLibrary &library, const unstride_layer &built,
                                   const Layer &layer) {
    std::string error;
    const auto json = nlohmann::json::parse(library.functions().schedule(&built), nullptr, false);
    const auto record = record_from_json(json, &error);
    if (!record) return Error{fmt::format("the library's schedule cannot be read: {}", error)};
    const auto convolution = std::get<PhaseConvolution>(lower(layer));
    return FormNumerics{tolerance_of(convolution, *record), spare_bits_of(convolution, *record)};
}

Result<int> check_sized(const LoadedLibrary &library, const unstride_layer &built, const Layer &sized,
                        const FormNumerics &form, std::uint64_t seed) {
    const LayerData data = reference::normal_data(sized, seed);
    const auto alone = compared_run(library, built, sized, data, form.tolerance);
    if (!alone) return Error{alone.error()};
    const auto shared = library.run(built, sized, data, 3);
    if (!shared) return Error{shared.error()};
    if (std::memcmp(alone->data(), shared->data(), alone->size() * sizeof(float)) != 0)
        return Error{fmt::format("three threads give other bits than one: {}", print(sized))};
    const auto exact_data =
        form.spare_bits ? reference::exact_data(sized, seed, *form.spare_bits) : std::nullopt;
    if (!exact_data) return 1;
    reference::Tolerance exact;
    exact.exact = true;
    if (auto exact_run = compared_run(library, built, sized, *exact_data, exact); !exact_run)
        return Error{exact_run.error()};
    return 2;
}

} // namespace

Result<int> check_layer(const fs::path &shared_object, const Layer &layer, std::uint64_t seed) {
    const auto library = LoadedLibrary::load(shared_object);
    if (!library) return Error{library.error()};
    const unstride_layer *built = library->find(layer.name);
    if (built == nullptr) return Error{"the library has no such layer"};
    if (auto described = check_description(*built, layer); !described) return Error{described.error()};
    const auto form = form_numerics(*library, *built, layer);
    if (!form) return Error{form.error()};
    Random random(seed);
    const SizedLayers sized_as = sized_layers(layer, random);
    int compared = 0;
    for (const Layer &sized : sized_as.invalid) {
        if (!library->refuses(*built, sized))
            return Error{
                fmt::format("the library accepts sizes that the language refuses: {}", print(sized))};
    }
    for (const Layer &sized : sized_as.valid) {
        const auto checked = check_sized(*library, *built, sized, *form, seed);
        if (!checked && is_dynamic(layer))
            return Error{fmt::format("with sizes as in {}:\n{}", print(sized), checked.error())};
        if (!checked) return Error{checked.error()};
        compared += *checked;
    }
    return compared;
}

Result<int> check_layer_in_child(const fs::path &shared_object, const Layer &layer, std::uint64_t seed) {
    int ends[2];
    if (pipe(ends) != 0) return Error{fmt::format("pipe: {}", std::strerror(errno))};
    const pid_t child = fork();
    if (child < 0) return Error{fmt::format("fork: {}", std::strerror(errno))};
    if (child == 0) {
        std::signal(SIGSEGV, SIG_DFL); // a sanitizer's handler would end the child with a code
        const rlimit no_core{0, 0};
        setrlimit(RLIMIT_CORE, &no_core);
        alarm(child_seconds);
        const auto checked = check_layer(shared_object, layer, seed);
        const std::string answer = checked ? fmt::format("={}", *checked) : "!" + checked.error();
        // An answer that cannot be written is none, which the parent sees.
        (void)!write(ends[1], answer.data(), answer.size());
        _exit(0);
    }
    close(ends[1]);
    std::string answer;
    char buffer[4096];
    for (ssize_t count; (count = read(ends[0], buffer, sizeof buffer)) != 0;) {
        if (count > 0) answer.append(buffer, static_cast<std::size_t>(count));
        if (count < 0 && errno != EINTR) break;
    }
    close(ends[0]);
    int status = 0;
    while (waitpid(child, &status, 0) < 0 && errno == EINTR) {
    }
    if (WIFSIGNALED(status)) {
        return Error{
            fmt::format("running it ended by signal {} ({})", WTERMSIG(status), strsignal(WTERMSIG(status)))};
    }
    if (answer.empty()) return Error{fmt::format("running it ended with code {}", WEXITSTATUS(status))};
    if (answer[0] == '=') return std::atoi(answer.c_str() + 1);
    return Error{answer.substr(1)};
}

} // namespace unstride::chains
