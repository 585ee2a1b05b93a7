// Random chains until the time is over: each is refused with a reason, or built by `unstride build` and equal
// to the reference. Whatever else happens is shrunk and printed as one command that repeats it.
#include "compiler/language/parser.h"
#include "compiler/language/printer.h"
#include "compiler/language/shapes.h"
#include "compiler/lowering/phase_convolution.h"
#include "tests/random/chain_generator.h"
#include "tests/random/layer_check.h"
#include "tests/random/layer_library.h"

#include <CLI/CLI.hpp>
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <map>
#include <optional>
#include <random>

namespace unstride::chains {
namespace {

namespace fs = std::filesystem;
using Clock = std::chrono::steady_clock;
using reference::Random;

constexpr std::size_t batch_layers = 16; // to share one link and the start of one command
constexpr std::chrono::seconds shrinking{60};

struct Options {
    double seconds = 30;
    std::uint64_t seed = std::random_device{}();
    std::string layer; // only this one
    std::string instruction_set;
};

struct Failure {
    Layer layer;
    std::string what;
    std::string instruction_set;
    std::uint64_t seed = 0; // of the data and the dynamic sizes
};

struct Counts {
    int drawn = 0, invalid = 0, refused = 0, built = 0, compared = 0;
    int uncompared = 0;                 // built, and no sizes that are small enough were found
    std::map<std::string, int> reasons; // of refusals by lower(), numbers left out
};

std::string without_numbers(const std::string &text) {
    std::string result;
    for (const char c : text) {
        const bool digit = c >= '0' && c <= '9';
        if (!digit) result += c;
        if (digit && (result.empty() || result.back() != '#')) result += '#';
    }
    return result;
}

// What the language itself must do with the layer: parse(print(x)) == x, or an error for what has no shape.
std::optional<std::string> language_failure(const Layer &layer, bool valid) {
    const ParseResult parsed = parse_layer(print_chain(layer), layer.name);
    if (!valid) return parsed.ok() ? std::optional("its shapes are invalid, and it parses") : std::nullopt;
    if (!parsed.ok()) return "its text does not parse: " + to_string(parsed.errors[0]);
    if (parsed.layers.at(0) != layer) return "its text parses as " + print(parsed.layers.at(0));
    return std::nullopt;
}

class RandomChains {
public:
    RandomChains(LibraryBuilder builder, Options options, std::vector<std::string> instruction_sets)
        : builder(std::move(builder)), options(std::move(options)),
          instruction_sets(std::move(instruction_sets)), random(this->options.seed) {}

    // Until the time is over or something fails; at least one batch.
    std::optional<Failure> run() {
        const auto end = Clock::now() + std::chrono::duration<double>(options.seconds);
        do {
            auto layers = draw_batch();
            if (failure) return std::move(failure);
            const auto which = random.integer(0, static_cast<std::int64_t>(instruction_sets.size()) - 1);
            if (auto failed = check(layers, instruction_sets[static_cast<std::size_t>(which)], random.next()))
                return failed;
        } while (Clock::now() < end);
        return std::nullopt;
    }

    // One layer on every instruction set.
    std::optional<Failure> run_layer(const Layer &layer) {
        for (const std::string &instruction_set : instruction_sets) {
            if (auto failed = check({layer}, instruction_set, options.seed)) return failed;
        }
        return std::nullopt;
    }

    // The failure of the simplest layer found in a limited time that fails as well, in whatever way.
    Failure shrunk(Failure found) {
        const auto end = Clock::now() + shrinking;
        std::vector<Layer> simpler = simplifications(found.layer);
        std::size_t at = 0, in_vain = 0; // a step that failed before may succeed after another
        while (in_vain < simpler.size() && Clock::now() < end) {
            const Layer candidate = simpler[at++ % simpler.size()];
            auto failed = can_be_built(candidate) ? check({candidate}, found.instruction_set, found.seed)
                                                  : std::nullopt;
            in_vain = failed ? 0 : in_vain + 1;
            if (!failed) continue;
            found = std::move(*failed);
            simpler = simplifications(found.layer);
        }
        return found;
    }

    const Counts &counts() const { return counted; }

private:
    LibraryBuilder builder;
    Options options;
    std::vector<std::string> instruction_sets;
    Random random;
    Counts counted;
    std::optional<Failure> failure; // of a layer that need not be built for it

    static bool can_be_built(const Layer &layer) {
        return check_shapes(layer).empty() && std::holds_alternative<PhaseConvolution>(lower(layer));
    }

    // Layers that lower() accepts; what it refuses is counted.
    std::vector<Layer> draw_batch() {
        std::vector<Layer> layers;
        while (layers.size() < batch_layers && !failure) {
            Layer layer = draw_layer(random, fmt::format("chain{}", counted.drawn++));
            const bool valid = check_shapes(layer).empty();
            if (auto wrong = language_failure(layer, valid)) failure = {layer, *wrong, "", 0};
            if (!valid) {
                counted.invalid++;
                continue;
            }
            const auto lowered = lower(layer);
            const auto *refusal = std::get_if<Diagnostic>(&lowered);
            if (refusal == nullptr) {
                layers.push_back(std::move(layer));
                continue;
            }
            if (refusal->message.empty() || refusal->stage.empty())
                failure = {layer, "it is refused without a reason", "", 0};
            counted.refused++;
            counted.reasons[refusal->stage + ": " + without_numbers(refusal->message)]++;
        }
        return layers;
    }

    std::optional<Failure> check(const std::vector<Layer> &layers, const std::string &instruction_set,
                                 std::uint64_t seed) {
        const auto library = builder.build(layers, instruction_set);
        if (!library) return unbuildable(layers, library.error(), instruction_set, seed);
        counted.built += static_cast<int>(layers.size());
        for (const Layer &layer : layers) {
            const auto checked = check_layer_in_child(*library, layer, seed);
            if (!checked) return Failure{layer, checked.error(), instruction_set, seed};
            counted.compared += *checked;
            counted.uncompared += *checked == 0 ? 1 : 0;
        }
        return std::nullopt;
    }

    // The first layer that does not build by itself; the first of all where only several together do not.
    Failure unbuildable(const std::vector<Layer> &layers, const std::string &error,
                        const std::string &instruction_set, std::uint64_t seed) {
        for (const Layer &layer : layers) {
            if (layers.size() == 1) break;
            const auto alone = builder.build({layer}, instruction_set);
            if (!alone) return {layer, alone.error(), instruction_set, seed};
        }
        return {layers[0], error, instruction_set, seed};
    }
};

void print_counts(const Counts &counts) {
    fmt::print(
        "{} drawn, {} of invalid shapes, {} refused by the lowering, {} built, {} results compared, {} "
        "layers without any\n",
        counts.drawn, counts.invalid, counts.refused, counts.built, counts.compared, counts.uncompared);
    std::vector<std::pair<int, std::string>> reasons;
    for (const auto &[reason, count] : counts.reasons)
        reasons.emplace_back(-count, reason);
    std::sort(reasons.begin(), reasons.end());
    for (const auto &[count, reason] : reasons)
        fmt::print("{:6} {}\n", -count, reason);
}

void print_failure(const Failure &failure) {
    fmt::print("FAILED: {}\n{}\n", print(failure.layer), failure.what);
    if (failure.instruction_set.empty()) return;
    fmt::print("repeat with: random_chain_test --layer '{}' --instruction-set {} --seed {}\n",
               print_chain(failure.layer), failure.instruction_set, failure.seed);
}

int run(const Options &options) {
    auto builder = LibraryBuilder::make();
    if (!builder) {
        fmt::print("{}\n", builder.error());
        return 1;
    }
    std::vector<std::string> instruction_sets = {options.instruction_set};
    if (options.instruction_set.empty()) {
        const auto usable = builder->usable_instruction_sets();
        if (!usable) {
            fmt::print("{}\n", usable.error());
            return 1;
        }
        instruction_sets = *usable;
    }
    fmt::print("seed {}, instruction sets: {}\n", options.seed, fmt::join(instruction_sets, ", "));
    std::fflush(stdout);

    RandomChains chains(std::move(*builder), options, instruction_sets);
    std::optional<Failure> failure;
    if (options.layer.empty()) {
        failure = chains.run();
    } else {
        const ParseResult parsed = parse_layer(options.layer, "chain", "--layer");
        if (!parsed.ok()) {
            fmt::print("{}\n", to_string(parsed.errors[0]));
            return 1;
        }
        failure = chains.run_layer(parsed.layers[0]);
    }
    print_counts(chains.counts());
    if (!failure && chains.counts().compared == 0) {
        fmt::print("FAILED: no result was compared\n");
        return 1;
    }
    if (!failure) return 0;
    print_failure(*failure);
    if (options.layer.empty() && !failure->instruction_set.empty()) {
        fmt::print("shrinking for at most {} s\n", shrinking.count());
        std::fflush(stdout);
        print_failure(chains.shrunk(*failure));
    }
    return 1;
}

} // namespace
} // namespace unstride::chains

int main(int argc, char **argv) {
    CLI::App app("Random chains of the layer language, built and compared with the reference");
    unstride::chains::Options options;
    app.add_option("--seconds", options.seconds, "Time budget (30)")->envname("UNSTRIDE_RANDOM_SECONDS");
    app.add_option("--seed", options.seed, "Of the chains; with --layer, of the data")
        ->envname("UNSTRIDE_RANDOM_SEED");
    app.add_option("--layer", options.layer, "Only this layer, as text");
    app.add_option("--instruction-set", options.instruction_set, "Only this one");
    CLI11_PARSE(app, argc, argv);
    return unstride::chains::run(options);
}
