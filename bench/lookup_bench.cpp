// Times what a build asks of the tuning records: loading them, and finding the schedule of a layer that they
// hold, of one near to some of them, and of one that nothing is near to. The records are those that are
// shipped for AVX-512, again and again with other input sizes.
#include "compiler/language/parser.h"
#include "compiler/language/printer.h"
#include "compiler/lowering/phase_convolution.h"
#include "schedules/database.h"
#include "schedules/lookup.h"

#include <benchmark/benchmark.h>
#include <fmt/format.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <map>
#include <regex>
#include <stdexcept>
#include <string>
#include <vector>

namespace unstride {
namespace {

namespace fs = std::filesystem;

constexpr const char *instruction_set = "avx512";

// A record's line for a layer of another input size. Sizes that the layer's other stages refuse are lines
// that loading reports, as it does whatever it cannot read.
std::string with_size(const std::string &line, int size) {
    static const std::regex first_size(R"((input\(f32, \d+x)\d+)");
    return std::regex_replace(line, first_size, fmt::format("$01{}", size),
                              std::regex_constants::format_first_only);
}

// A file of so many records in a folder of its own.
class Records {
public:
    explicit Records(std::size_t count) {
        std::string pattern = (fs::temp_directory_path() / "unstride-lookup-XXXXXX").string();
        if (::mkdtemp(pattern.data()) == nullptr) throw std::runtime_error("no temporary folder can be made");
        folder_ = pattern;
        std::ifstream shipped(database_file(UNSTRIDE_SHIPPED_RECORDS, instruction_set));
        std::vector<std::string> lines;
        for (std::string line; std::getline(shipped, line);)
            lines.push_back(line);
        if (lines.empty()) throw std::runtime_error("no records are shipped");
        std::ofstream file(path());
        for (std::size_t i = 0; i < count; i++) {
            const std::string &line = lines[i % lines.size()];
            file << (i < lines.size() ? line : with_size(line, 8 + static_cast<int>(i / lines.size())))
                 << '\n';
        }
    }
    Records(const Records &) = delete;
    Records &operator=(const Records &) = delete;
    ~Records() { fs::remove_all(folder_); }
    fs::path path() const { return folder_ / "avx512.jsonl"; }

private:
    fs::path folder_;
};

const Records &records(std::size_t count) {
    static std::map<std::size_t, Records> known;
    return known.try_emplace(count, count).first->second;
}

const TargetFacts &target() {
    for (const Target &family : all_targets()) {
        for (const TargetFacts &facts : family.instruction_sets)
            if (facts.instruction_set == instruction_set) return facts;
    }
    throw std::logic_error("the instruction set is unknown");
}

void load(benchmark::State &state) {
    const fs::path path = records(static_cast<std::size_t>(state.range(0))).path();
    std::size_t read = 0;
    for (auto _ : state) {
        Database database;
        database.add(path, RecordOrigin::user);
        const ScheduleLookup lookup(database);
        read = database.entries().size();
    }
    state.counters["records"] = static_cast<double>(read);
}

void find(benchmark::State &state, const char *text) {
    Database database;
    database.add(records(static_cast<std::size_t>(state.range(0))).path(), RecordOrigin::user);
    const ScheduleLookup lookup(database);
    const Layer layer = parse_layer(text, "layer").layers.at(0);
    const auto lowered = std::get<PhaseConvolution>(lower(layer));
    const DatabaseEntry &first = database.entries().at(0);
    const LookupContext context{database.machine(first), database.tools(first)};
    LookupResult result;
    for (auto _ : state)
        result = lookup.find(print_chain(layer), lowered, target(), context);
    state.SetLabel(to_string(result.grade));
}

} // namespace
} // namespace unstride

int main(int argc, char **argv) {
    using namespace unstride;
    benchmark::Initialize(&argc, argv);
    if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 2;
    for (const int count : {1'000, 100'000}) {
        benchmark::RegisterBenchmark("load", load)->Arg(count)->Unit(benchmark::kMillisecond);
        for (const auto &[name, layer] : {
                 std::pair{"find/recorded",
                           "input(f32, 1x1x1x100) | transposed_conv(512, kernel=4) | bias | relu"},
                 std::pair{"find/near", "input(f32, 1x33x32x120) | transposed_conv(96, kernel=4, stride=2, "
                                        "pad=1) | bias"},
                 std::pair{"find/unlike_any", "input(f32, 1x33x32x120) | conv(96, kernel=5)"},
             }) {
            benchmark::RegisterBenchmark(name, [layer](benchmark::State &state) { find(state, layer); })
                ->Arg(count)
                ->Unit(benchmark::kMicrosecond);
        }
    }
    benchmark::RunSpecifiedBenchmarks();
    return 0;
}
