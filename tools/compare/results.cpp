// Results to JSON and back.
#include "tools/compare/results.h"

#include "tools/compare/json_reader.h"
#include "tools/files.h"

#include <algorithm>
#include <cmath>
#include <iterator>
#include <set>
#include <stdexcept>
#include <tuple>
#include <utility>

namespace unstride {

namespace {

using nlohmann::json;

void put(json *object, const char *key, const std::string &text) {
    if (!text.empty()) (*object)[key] = text;
}
template<typename Value>
void put(json *object, const char *key, const std::optional<Value> &value) {
    if (value) (*object)[key] = *value;
}
template<typename Value>
void put(json *object, const char *key, const std::vector<Value> &values) {
    if (!values.empty()) (*object)[key] = values;
}

// Whole numbers without a fraction: files hold thousands of samples.
json rounds_to_json(const std::vector<std::vector<double>> &rounds) {
    constexpr double largest = 1e15; // of what is certain to fit
    json result = json::array();
    for (const std::vector<double> &round : rounds) {
        json &samples = result.emplace_back(json::array());
        for (const double sample : round) {
            if (sample == std::floor(sample) && sample < largest)
                samples.push_back(static_cast<std::int64_t>(sample));
            else
                samples.push_back(sample);
        }
    }
    return result;
}

json to_json(const Protocol &protocol) {
    return {{"rounds", protocol.rounds},
            {"samples_per_round", protocol.samples_per_round},
            {"sample_s", protocol.sample_seconds},
            {"interleaved", protocol.interleaved},
            {"cold", protocol.cold},
            {"seed", protocol.seed}};
}

json to_json(const ResultSource &source) {
    json object = {{"name", source.name},
                   {"machine", to_json(source.machine)},
                   {"tool", to_json(source.tools)},
                   {"protocol", to_json(source.protocol)}};
    put(&object, "commit", source.commit);
    put(&object, "when", source.date);
    put(&object, "command", source.command);
    put(&object, "governor", source.governor);
    put(&object, "turbo", source.turbo);
    put(&object, "virtualised", source.virtualised);
    put(&object, "load", source.load);
    put(&object, "noise_floor", source.noise_floor);
    put(&object, "unsteady", source.unsteady);
    for (const MeasuredPeak &peak : source.peaks) {
        object["peaks"].push_back(
            {{"instruction_set", peak.instruction_set}, {"threads", peak.threads}, {"flops", peak.flops}});
    }
    for (const MeasuredBandwidth &bandwidth : source.bandwidths) {
        object["bandwidths"].push_back({{"level", bandwidth.level},
                                        {"threads", bandwidth.threads},
                                        {"bytes_per_s", bandwidth.bytes_per_second}});
    }
    return object;
}

json to_json(const Contender &contender) {
    json object = {{"name", contender.name}};
    put(&object, "version", contender.version);
    put(&object, "implementation", contender.implementation);
    if (contender.schedule) object["schedule"] = to_json(*contender.schedule);
    put(&object, "grade", contender.grade);
    put(&object, "record", contender.record);
    put(&object, "loops", contender.loops);
    return object;
}

json to_json(const HotLoop &loop) {
    json object = {{"counts", loop.counts}, {"modelled_cycles", loop.modelled_cycles}};
    put(&object, "assembly", loop.assembly);
    put(&object, "bottleneck", loop.bottleneck);
    return object;
}

json to_json(const ResultRow &row) {
    json object = {{"source", row.source},
                   {"layer", row.layer},
                   {"text", row.text},
                   {"instruction_set", row.instruction_set},
                   {"threads", row.threads},
                   {"contender", to_json(row.contender)},
                   {"status", to_string(row.status)},
                   {"static", to_json(row.facts)}};
    put(&object, "input_shape", row.input_shape);
    put(&object, "detail", row.detail);
    put(&object, "reproduce", row.reproduce);
    if (!row.samples_ns.empty()) object["samples_ns"] = rounds_to_json(row.samples_ns);
    put(&object, "est_ns", row.estimate_ns);
    put(&object, "ci99_ns", row.interval_ns);
    put(&object, "multiplications", row.multiplications);
    put(&object, "compulsory_bytes", row.compulsory_bytes);
    put(&object, "moved_bytes", row.moved_bytes);
    if (row.correctness) object["correct"] = to_json(*row.correctness);
    put(&object, "bit_exact", row.bit_exact);
    if (row.hot_loop) object["hot_loop"] = to_json(*row.hot_loop);
    put(&object, "compile_s", row.compile_seconds);
    put(&object, "scratch_bytes", row.scratch_bytes);
    put(&object, "search", row.search);
    return object;
}

json to_json(const Trial &trial) {
    json object = {{"status", to_string(trial.status)}};
    put(&object, "detail", trial.detail);
    put(&object, "est_ns", trial.estimate_ns);
    if (trial.schedule) object["schedule"] = to_json(*trial.schedule);
    put(&object, "when", trial.date);
    return object;
}

json to_json(const SearchLog &search) {
    json object = {{"layer", search.layer}, {"instruction_set", search.instruction_set}, {"log", search.log}};
    put(&object, "space", search.space);
    put(&object, "space_tried", search.space_tried);
    object["trials"] = json::array();
    for (const Trial &trial : search.trials)
        object["trials"].push_back(to_json(trial));
    return object;
}

Protocol read_protocol(const json &object, const std::string &path, std::string *error) {
    Protocol protocol;
    JsonReader reader(object, path, error);
    reader.required("rounds", &protocol.rounds);
    reader.required("samples_per_round", &protocol.samples_per_round);
    reader.required("sample_s", &protocol.sample_seconds);
    reader.required("interleaved", &protocol.interleaved);
    reader.required("cold", &protocol.cold);
    reader.required("seed", &protocol.seed);
    return protocol;
}

MeasuredPeak read_peak(const json &object, const std::string &path, std::string *error) {
    MeasuredPeak peak;
    JsonReader reader(object, path, error);
    reader.required("instruction_set", &peak.instruction_set);
    reader.required("threads", &peak.threads);
    reader.required("flops", &peak.flops);
    if (!(peak.flops > 0)) reader.fail("flops", "is not positive");
    return peak;
}

MeasuredBandwidth read_bandwidth(const json &object, const std::string &path, std::string *error) {
    MeasuredBandwidth bandwidth;
    JsonReader reader(object, path, error);
    reader.required("level", &bandwidth.level);
    reader.required("threads", &bandwidth.threads);
    reader.required("bytes_per_s", &bandwidth.bytes_per_second);
    if (!(bandwidth.bytes_per_second > 0)) reader.fail("bytes_per_s", "is not positive");
    return bandwidth;
}

ResultSource read_source(const json &object, const std::string &path, std::string *error) {
    ResultSource source;
    JsonReader reader(object, path, error);
    reader.required("name", &source.name);
    reader.require({"machine", "tool", "protocol"});
    reader.part("machine", machine_from_json, &source.machine);
    reader.part("tool", tools_from_json, &source.tools);
    reader.object("protocol", read_protocol, &source.protocol);
    reader.optional("commit", &source.commit);
    reader.optional("when", &source.date);
    reader.optional("command", &source.command);
    reader.optional("governor", &source.governor);
    reader.optional("turbo", &source.turbo);
    reader.optional("virtualised", &source.virtualised);
    reader.optional("load", &source.load);
    reader.optional("noise_floor", &source.noise_floor);
    reader.optional("unsteady", &source.unsteady);
    reader.objects("peaks", read_peak, &source.peaks);
    reader.objects("bandwidths", read_bandwidth, &source.bandwidths);
    return source;
}

Contender read_contender(const json &object, const std::string &path, std::string *error) {
    Contender contender;
    JsonReader reader(object, path, error);
    reader.required("name", &contender.name);
    reader.optional("version", &contender.version);
    reader.optional("implementation", &contender.implementation);
    reader.part("schedule", record_from_json, &contender.schedule);
    reader.optional("grade", &contender.grade);
    reader.optional("record", &contender.record);
    reader.optional("loops", &contender.loops);
    return contender;
}

HotLoop read_hot_loop(const json &object, const std::string &path, std::string *error) {
    HotLoop loop;
    JsonReader reader(object, path, error);
    reader.optional("assembly", &loop.assembly);
    reader.optional("counts", &loop.counts);
    reader.optional("modelled_cycles", &loop.modelled_cycles);
    reader.optional("bottleneck", &loop.bottleneck);
    return loop;
}

TuningStatus read_status(JsonReader *reader) {
    std::string text;
    reader->required("status", &text);
    const auto status = status_from_string(text);
    if (!status) reader->fail("status", fmt::format("'{}' is no status", text));
    return status.value_or(TuningStatus::ok);
}

bool positive(const std::vector<std::vector<double>> &rounds) {
    for (const std::vector<double> &round : rounds) {
        if (round.empty()) return false;
        if (!std::all_of(round.begin(), round.end(), [](double sample) { return sample > 0; })) return false;
    }
    return true;
}

// Whether the operations a second of a row are a number; only what nobody measured gives too many.
bool has_finite_rate(const ResultRow &row) {
    return std::isfinite(2 * row.multiplications.value_or(1) / (*row.estimate_ns * 1e-9));
}

ResultRow read_row(const json &object, const std::string &path, std::string *error) {
    ResultRow row;
    JsonReader reader(object, path, error);
    std::uint64_t source = 0;
    reader.required("source", &source);
    row.source = static_cast<std::size_t>(source);
    reader.required("layer", &row.layer);
    reader.required("text", &row.text);
    reader.optional("input_shape", &row.input_shape);
    reader.required("instruction_set", &row.instruction_set);
    reader.required("threads", &row.threads);
    reader.require({"contender"});
    reader.object("contender", read_contender, &row.contender);
    row.status = read_status(&reader);
    reader.optional("detail", &row.detail);
    reader.optional("reproduce", &row.reproduce);
    reader.optional("samples_ns", &row.samples_ns);
    reader.optional("est_ns", &row.estimate_ns);
    reader.optional("ci99_ns", &row.interval_ns);
    reader.optional("multiplications", &row.multiplications);
    reader.optional("compulsory_bytes", &row.compulsory_bytes);
    reader.optional("moved_bytes", &row.moved_bytes);
    reader.part("correct", correctness_from_json, &row.correctness);
    reader.optional("bit_exact", &row.bit_exact);
    reader.part("static", facts_from_json, &row.facts);
    reader.object("hot_loop", read_hot_loop, &row.hot_loop);
    reader.optional("compile_s", &row.compile_seconds);
    reader.optional("scratch_bytes", &row.scratch_bytes);
    std::optional<std::uint64_t> search;
    reader.optional("search", &search);
    if (search) row.search = static_cast<std::size_t>(*search);
    if (!positive(row.samples_ns))
        reader.fail("samples_ns", "has a round without samples or one that is not positive");
    if (row.estimate_ns && !(*row.estimate_ns > 0))
        reader.fail("est_ns", "is not positive");
    else if (row.estimate_ns && !has_finite_rate(row))
        reader.fail("est_ns", "is so small that operations a second are not finite");
    if (row.status == TuningStatus::ok && !row.estimate_ns)
        reader.fail("est_ns", "is missing, although the status is ok");
    return row;
}

Trial read_trial(const json &object, const std::string &path, std::string *error) {
    Trial trial;
    JsonReader reader(object, path, error);
    trial.status = read_status(&reader);
    reader.optional("detail", &trial.detail);
    reader.optional("est_ns", &trial.estimate_ns);
    reader.part("schedule", record_from_json, &trial.schedule);
    reader.optional("when", &trial.date);
    if (trial.estimate_ns && !(*trial.estimate_ns > 0)) reader.fail("est_ns", "is not positive");
    return trial;
}

SearchLog read_search(const json &object, const std::string &path, std::string *error) {
    SearchLog search;
    JsonReader reader(object, path, error);
    reader.required("layer", &search.layer);
    reader.required("instruction_set", &search.instruction_set);
    reader.required("log", &search.log);
    reader.optional("space", &search.space);
    reader.optional("space_tried", &search.space_tried);
    reader.objects("trials", read_trial, &search.trials);
    return search;
}

// Places in lists name elements that are there, and no row is there twice.
void check_references(const Results &results, std::string *error) {
    std::set<std::tuple<std::size_t, std::string, std::string, int, std::string>> seen;
    for (std::size_t i = 0; i < results.rows.size() && error->empty(); i++) {
        const ResultRow &row = results.rows[i];
        if (row.source >= results.sources.size()) {
            *error = fmt::format("/rows/{}/source: there is no source {}", i, row.source);
        } else if (row.search && *row.search >= results.searches.size()) {
            *error = fmt::format("/rows/{}/search: there is no search {}", i, *row.search);
        } else if (!seen.insert({row.source, row.text, row.instruction_set, row.threads, row.contender.name})
                        .second) {
            *error =
                fmt::format("/rows/{}: the same layer, instruction set, threads and contender as in a row "
                            "before it",
                            i);
        }
    }
}

// "LINE:COLUMN" of the byte before `position`.
std::string line_and_column(std::string_view text, std::size_t position) {
    const std::string_view before = text.substr(0, position == 0 ? 0 : position - 1);
    const std::size_t begin = before.rfind('\n') == std::string_view::npos ? 0 : before.rfind('\n') + 1;
    return fmt::format("{}:{}", std::count(before.begin(), before.end(), '\n') + 1,
                       before.size() - begin + 1);
}

// "number overflow parsing '1e999'" of "[json.exception.out_of_range.406] number overflow parsing '1e999'".
std::string_view without_number(std::string_view message) {
    const std::size_t end = message.find("] ");
    return end == std::string_view::npos ? message : message.substr(end + 2);
}

// Deeper documents than this are none of ours and would exhaust the stack.
constexpr int deepest = 64;

} // namespace

nlohmann::json to_json(const Results &results) {
    json document = {{"schema", results_schema}};
    for (const char *list : {"sources", "rows", "searches"})
        document[list] = json::array();
    for (const ResultSource &source : results.sources)
        document["sources"].push_back(to_json(source));
    for (const ResultRow &row : results.rows)
        document["rows"].push_back(to_json(row));
    for (const SearchLog &search : results.searches)
        document["searches"].push_back(to_json(search));
    return document;
}

Result<Results> results_from_text(std::string_view text, const std::string &name) {
    json document;
    try {
        const json::parser_callback_t shallow = [](int depth, json::parse_event_t, const json &) {
            if (depth > deepest) throw std::length_error("is nested too deep");
            return true;
        };
        document = json::parse(text, shallow);
    } catch (const json::parse_error &error) {
        return Error{fmt::format("{}:{}: is no JSON{}", name, line_and_column(text, error.byte),
                                 error.byte > text.size() ? ": the file ends too early" : "")};
    } catch (const json::exception &error) {
        return Error{fmt::format("{}: {}", name, without_number(error.what()))};
    } catch (const std::length_error &error) {
        return Error{fmt::format("{}: {}", name, error.what())};
    }
    std::string error;
    Results results;
    JsonReader reader(document, "", &error);
    int schema = 0;
    reader.required("schema", &schema);
    if (schema != results_schema) {
        reader.fail("schema", fmt::format("this version reads schema {}, not {}; measure again, or read it "
                                          "with the version that wrote it",
                                          results_schema, schema));
    }
    reader.require({"sources", "rows"});
    reader.objects("sources", read_source, &results.sources);
    reader.objects("rows", read_row, &results.rows);
    reader.objects("searches", read_search, &results.searches);
    if (error.empty()) check_references(results, &error);
    if (!error.empty()) return Error{fmt::format("{}: {}", name, error)};
    return results;
}

Result<Results> read_results(const std::filesystem::path &path) {
    const Result<std::string> text = read_file(path);
    if (!text) return Error{text.error()};
    return results_from_text(*text, path.string());
}

void merge(Results *results, Results more) {
    const std::size_t sources = results->sources.size(), searches = results->searches.size();
    for (ResultSource &source : more.sources) {
        const std::string name = source.name;
        const auto taken = [&](const ResultSource &other) { return other.name == source.name; };
        for (int number = 2; std::any_of(results->sources.begin(), results->sources.end(), taken); number++)
            source.name = fmt::format("{} ({})", name, number);
        results->sources.push_back(std::move(source));
    }
    for (ResultRow &row : more.rows) {
        row.source += sources;
        if (row.search) *row.search += searches;
        results->rows.push_back(std::move(row));
    }
    std::move(more.searches.begin(), more.searches.end(), std::back_inserter(results->searches));
}

} // namespace unstride
