// The C++ half of the driver: reads layers, makes their data and expected results, checks outputs, measures
// what the machine can do. Answers JSON lines:
//
//   {"command":"machine"}                       the source of a result file, and the best instruction set
//   {"command":"layers","file":F}               the layers of a file, and which have fixed sizes
//   {"command":"prepare","file":F,"layer":L,"folder":D}  writes D/L.json for the contenders, answers its path
//   {"command":"check","problem":P,"output":O}  compares raw float32 numbers with what is expected
//   {"command":"probe","instruction_set":I,"threads":N,"levels":{NAME:BYTES}}
//                                               multiply-adds a second, right now, and bytes read and written
//                                               by copying between two halves of so many bytes
//   {"command":"products","file":F,"layer":L,"schedule":S}  multiplications that a schedule really makes
//   {"command":"estimate","rounds":[[…],…]}     the estimate of samples and its interval
#include "bench/rivals/forms.h"
#include "bench/rivals/json_lines.h"
#include "bench/rivals/problem.h"
#include "compiler/language/parser.h"
#include "compiler/language/printer.h"
#include "compiler/lowering/minimal_filtering.h"
#include "compiler/lowering/phase_convolution.h"
#include "schedules/record.h"
#include "tools/compare/machine_state.h"
#include "tools/compare/work.h"
#include "tools/files.h"
#include "tools/library/host_machine.h"
#include "tools/library/installation.h"
#include "tools/library/schedule_source.h"
#include "tools/measure/problem_data.h"
#include "tools/runner/limits.h"
#include "tools/tune/tuner.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <stdexcept>
#include <type_traits>

namespace unstride::bench {

namespace {

using nlohmann::json;
namespace fs = std::filesystem;

constexpr std::uint64_t data_seed = 1;

template<typename Value>
Value value_or_throw(Result<Value> result) {
    if (!result) throw std::runtime_error(result.error());
    return std::move(*result);
}

json machine() {
    ResultSource source;
    source.name = "rivals";
    source.machine = host_machine();
    source.tools = tool_versions(value_or_throw(find_installation()));
    describe_state(&source);
    const std::vector<TargetFacts> sets = own_instruction_sets();
    if (sets.empty()) throw std::runtime_error("no library can be built for this processor");
    Results results;
    results.sources = {source};
    return {{"source", to_json(results).at("sources").at(0)},
            {"instruction_set", sets.front().instruction_set},
            {"target", host_target().name}};
}

std::vector<Layer> layers_of(const std::string &file) {
    const ParseResult parsed = parse_layers(value_or_throw(read_file(file)), file);
    if (!parsed.ok()) {
        const Diagnostic &error = parsed.errors.front();
        throw std::runtime_error(fmt::format("{}:{}:{}: {}: {}", file, error.position.line,
                                             error.position.column, error.stage, error.message));
    }
    return parsed.layers;
}

Layer layer_named(const std::string &name, const std::string &file) {
    for (const Layer &layer : layers_of(file)) {
        if (layer.name == name) return layer;
    }
    throw std::runtime_error(file + " has no layer " + name);
}

bool has_fixed_sizes(const Layer &layer) {
    const PerAxis &spatial = layer.input.spatial;
    return layer.input.batch != dynamic_size &&
           std::find(spatial.begin(), spatial.end(), dynamic_size) == spatial.end();
}

json layers(const std::string &file) {
    json list = json::array();
    for (const Layer &layer : layers_of(file)) {
        list.push_back(
            {{"name", layer.name}, {"text", print_chain(layer)}, {"fixed", has_fixed_sizes(layer)}});
    }
    return {{"layers", list}};
}

json shape_json(const Shape &shape) {
    return {{"batch", shape.batch}, {"spatial", shape.spatial}, {"channels", shape.channels}};
}

// What conv and transposed_conv have in common, the padding as numbers.
template<typename Convolution>
void put_convolution(json *stage, const Convolution &convolution, const Shape &input) {
    PerAxis begin, end;
    for (const ResolvedPadding &pad : resolve_padding(convolution, input.spatial)) {
        begin.push_back(pad.begin);
        end.push_back(pad.end);
    }
    stage->update({{"output_channels", convolution.output_channels},
                   {"kernel", convolution.kernel},
                   {"stride", convolution.stride},
                   {"dilation", convolution.dilation},
                   {"pad_begin", begin},
                   {"pad_end", end},
                   {"groups", convolution.groups}});
    if constexpr (std::is_same_v<Convolution, TransposedConv>)
        (*stage)["output_pad"] = resolve_output_pad(convolution, input.spatial);
}

template<typename Shuffle>
void put_shuffle(json *stage, const Shuffle &shuffle) {
    (*stage)["factor"] = shuffle.factor;
    (*stage)["order"] = shuffle.order == ShuffleOrder::crd ? "crd" : "dcr";
}

json stage_json(const StageOperation &operation, const Shape &input, const Shape &output) {
    json stage = {
        {"kind", stage_name(operation)}, {"input", shape_json(input)}, {"output", shape_json(output)}};
    if (const auto *conv = std::get_if<Conv>(&operation)) put_convolution(&stage, *conv, input);
    if (const auto *conv = std::get_if<TransposedConv>(&operation)) put_convolution(&stage, *conv, input);
    if (const auto *shuffle = std::get_if<PixelShuffle>(&operation)) put_shuffle(&stage, *shuffle);
    if (const auto *shuffle = std::get_if<PixelUnshuffle>(&operation)) put_shuffle(&stage, *shuffle);
    if (const auto *upsample = std::get_if<NearestUpsample>(&operation)) stage["factor"] = upsample->factor;
    if (const auto *upsample = std::get_if<BilinearUpsample>(&operation)) {
        stage["factor"] = upsample->factor;
        stage["corners"] = upsample->corners == CornerRule::aligned ? "aligned" : "half_pixel";
    }
    if (const auto *activation = std::get_if<Activation>(&operation)) {
        stage["a"] = activation->a;
        stage["b"] = activation->b;
    }
    if (const auto *crop = std::get_if<Crop>(&operation)) {
        stage["from"] = crop->from;
        stage["size"] = crop->size;
    }
    return stage;
}

// A form with the file of its own weights, where the data of the layer hold none.
json form_json(const Form &form, const json &files, const std::string &weights_file) {
    const std::vector<Shape> shapes = infer_shapes(form.layer);
    json stages = json::array();
    for (std::size_t i = 0; i < form.layer.stages.size(); i++)
        stages.push_back(stage_json(form.layer.stages[i].operation, shapes[i], shapes[i + 1]));
    json object = {{"name", form.name}, {"text", print_chain(form.layer)}, {"stages", stages}};
    if (!form.weights.empty()) {
        const std::string_view bytes(reinterpret_cast<const char *>(form.weights.data()),
                                     form.weights.size() * sizeof(float));
        if (auto written = write_file_atomically(weights_file, bytes); !written)
            throw std::runtime_error(written.error());
        object["weights"] = weights_file;
    } else if (files.contains("weights")) {
        object["weights"] = files.at("weights");
    }
    return object;
}

json prepare(const json &request) {
    const std::string name = request.at("layer");
    const fs::path folder = std::string(request.at("folder"));
    const Layer layer = layer_named(name, request.at("file"));
    const fs::path data = value_or_throw(make_problem_data(layer, data_seed, folder));
    json files = json::object();
    for (const char *part : {"input", "weights", "bias", "scale", "prelu", "add", "expected", "bound"}) {
        if (fs::file_size(data / part) > 0) files[part] = (data / part).string();
    }
    const std::vector<Shape> shapes = infer_shapes(layer);
    const LayerWork work = work_of(layer);
    json problem = {{"name", name},
                    {"text", print_chain(layer)},
                    {"layout", layer.input.layout == Layout::nhwc ? "nhwc" : "nchw"},
                    {"input", shape_json(shapes.front())},
                    {"output", shape_json(shapes.back())},
                    {"input_shape", sizes_in(shapes.front(), layer.input.layout)},
                    {"multiplications", work.multiplications},
                    {"compulsory_bytes", work.compulsory_bytes},
                    {"files", files},
                    {"forms", json::array()}};
    const std::string weights = files.contains("weights")
                                    ? value_or_throw(read_file(std::string(files.at("weights"))))
                                    : std::string();
    std::vector<float> numbers(weights.size() / sizeof(float));
    std::memcpy(numbers.data(), weights.data(), numbers.size() * sizeof(float));
    for (const Form &form : forms_of(layer, numbers)) {
        const std::size_t number = problem.at("forms").size();
        const fs::path own = folder / fmt::format("{}.weights{}", name, number);
        problem.at("forms").push_back(form_json(form, files, own.string()));
    }
    const std::string path = (folder / (name + ".json")).string();
    if (auto written = write_file_atomically(path, problem.dump(1)); !written)
        throw std::runtime_error(written.error());
    problem["path"] = path;
    return problem;
}

template<typename Number>
std::vector<Number> read_numbers(const std::string &path) {
    const std::string bytes = value_or_throw(read_file(path));
    std::vector<Number> numbers(bytes.size() / sizeof(Number));
    std::memcpy(numbers.data(), bytes.data(), numbers.size() * sizeof(Number));
    return numbers;
}

// Compared so that no number at all is wrong too.
json check(const json &request) {
    const json problem = json::parse(value_or_throw(read_file(std::string(request.at("problem")))));
    const auto expected = read_numbers<double>(problem.at("files").at("expected"));
    const auto bound = read_numbers<float>(problem.at("files").at("bound"));
    const auto got = read_numbers<float>(request.at("output"));
    if (got.size() != expected.size())
        return {{"wrong", fmt::format("{} numbers, expected {}", got.size(), expected.size())}};
    std::size_t wrong = 0, first = 0;
    double largest = 0, reach = 0;
    for (std::size_t i = 0; i < got.size(); i++) {
        const double error = std::abs(static_cast<double>(got[i]) - expected[i]);
        reach = std::max(reach, std::abs(expected[i]));
        largest = std::max(largest, error);
        if (error <= static_cast<double>(bound[i])) continue;
        if (wrong++ == 0) first = i;
    }
    if (wrong > 0) {
        return {{"wrong", fmt::format("{} of {} numbers are wrong; the first is number {}: expected {:.9g}, "
                                      "got {:.9g}, bound {:.3g}",
                                      wrong, got.size(), first, expected[first], got[first], bound[first])}};
    }
    // Relative to the largest number: single ones may be zero.
    return {{"max_relative", reach > 0 ? largest / reach : 0}};
}

// Bytes a second, read and written; the best of some copies, of which the first fills the caches.
double copying_rate(std::size_t bytes, int threads) {
    static std::vector<float> memory;
    const std::size_t count = bytes / 2 / sizeof(float);
    if (memory.size() < 2 * count) memory.assign(2 * count, 1);
    constexpr std::size_t few_bytes = std::size_t{64} << 20; // beyond, one copy is long enough
    double best = 0;
    for (int repeat = 0; repeat < (bytes < few_bytes ? 10 : 1); repeat++) {
        const double seconds = seconds_to_copy(memory.data(), memory.data() + count, count, threads);
        if (seconds > 0) best = std::max(best, 2.0 * static_cast<double>(count * sizeof(float)) / seconds);
    }
    return best;
}

json probe(const json &request) {
    const int threads = request.at("threads");
    const std::string set = request.at("instruction_set");
    json rates = json::object();
    for (const auto &[level, bytes] : request.at("levels").items())
        rates[level] = copying_rate(bytes, threads);
    return {{"flops", multiply_add_peak(set.c_str(), threads) * 1e9}, {"bytes_per_s", rates}};
}

// Minimal filtering makes fewer than the layer's own arithmetic has, padding and borders counted alike.
json products(const json &request) {
    const Layer layer = layer_named(request.at("layer"), request.at("file"));
    std::string error;
    const auto record = record_from_json(request.at("schedule"), &error);
    if (!record) throw std::runtime_error(error);
    double made = work_of(layer).multiplications;
    const auto lowered = lower(layer);
    if (const auto *convolution = std::get_if<PhaseConvolution>(&lowered))
        made *= products_share(*convolution, *record);
    return {{"products", made}};
}

json estimate_of(const json &request) {
    const Estimate result = estimate(request.at("rounds").get<Rounds>());
    return {{"est_ns", result.value}, {"ci99_ns", {result.interval.low, result.interval.high}}};
}

json answer(const json &request) {
    const std::string command = request.at("command");
    if (command == "machine") return machine();
    if (command == "layers") return layers(request.at("file"));
    if (command == "prepare") return prepare(request);
    if (command == "check") return check(request);
    if (command == "probe") return probe(request);
    if (command == "products") return products(request);
    if (command == "estimate") return estimate_of(request);
    throw std::runtime_error("unknown command " + command);
}

} // namespace

} // namespace unstride::bench

int main() {
    return unstride::bench::serve_lines(unstride::bench::answer);
}
