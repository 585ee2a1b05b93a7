// Tuning records to JSON and back.
#include "schedules/tuning_record.h"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <cmath>
#include <limits>
#include <utility>

namespace unstride {

namespace {

constexpr std::pair<TuningStatus, const char *> status_names[] = {
    {TuningStatus::ok, "ok"},
    {TuningStatus::modelled, "modelled"},
    {TuningStatus::constraint, "constraint"},
    {TuningStatus::generator_error, "generator_error"},
    {TuningStatus::compile_error, "compile_error"},
    {TuningStatus::compile_timeout, "compile_timeout"},
    {TuningStatus::link_error, "link_error"},
    {TuningStatus::run_crash, "run_crash"},
    {TuningStatus::run_timeout, "run_timeout"},
    {TuningStatus::wrong_answer, "wrong_answer"},
    {TuningStatus::resource_limit, "resource_limit"},
    {TuningStatus::duplicate, "duplicate"},
};

// Reads the members of one object; after the first that does not fit, the others are left alone.
class Reader {
public:
    Reader(const nlohmann::json &json, const char *what, std::string *error) : json_(json), error_(error) {
        if (!json.is_object()) fail(what, "is no object");
    }

    bool ok() const { return ok_; }

    template<typename Value>
    void required(const char *key, Value *value) {
        const nlohmann::json *found = find(key);
        if (found == nullptr) return fail(key, "is missing");
        read(key, *found, value);
    }

    template<typename Value>
    void optional(const char *key, Value *value) {
        if (const nlohmann::json *found = find(key)) read(key, *found, value);
    }

    template<typename Value>
    void optional(const char *key, std::optional<Value> *value) {
        const nlohmann::json *found = find(key);
        if (found == nullptr) return;
        Value given{};
        read(key, *found, &given);
        if (ok_) *value = std::move(given);
    }

    // A member that a function of its own reads.
    template<typename Value, typename Function>
    void part(const char *key, const Function &from_json, Value *value) {
        const nlohmann::json *found = find(key);
        if (found == nullptr) return fail(key, "is missing");
        auto given = from_json(*found, error_);
        ok_ = given.has_value();
        if (ok_) {
            *value = std::move(*given);
        } else {
            *error_ = fmt::format("{}: {}", key, *error_);
        }
    }
    bool has(const char *key) const { return ok_ && json_.contains(key); }

    void fail(const char *key, const char *reason) {
        if (!ok_) return;
        ok_ = false;
        *error_ = fmt::format("{} {}", key, reason);
    }

private:
    const nlohmann::json &json_;
    std::string *error_;
    bool ok_ = true;

    const nlohmann::json *find(const char *key) const {
        if (!ok_) return nullptr;
        const auto found = json_.find(key);
        return found == json_.end() ? nullptr : &*found;
    }

    void read(const char *key, const nlohmann::json &json, std::string *value) {
        if (!json.is_string()) return fail(key, "is no text");
        *value = json.get<std::string>();
    }
    void read(const char *key, const nlohmann::json &json, bool *value) {
        if (!json.is_boolean()) return fail(key, "is neither true nor false");
        *value = json.get<bool>();
    }
    void read(const char *key, const nlohmann::json &json, double *value) {
        if (!json.is_number()) return fail(key, "is no number");
        *value = json.get<double>();
    }
    void read(const char *key, const nlohmann::json &json, std::int64_t *value) {
        const bool fits =
            json.is_number_integer() &&
            (!json.is_number_unsigned() ||
             json.get<std::uint64_t>() <= std::uint64_t{std::numeric_limits<std::int64_t>::max()});
        if (!fits) return fail(key, "is no whole number");
        *value = json.get<std::int64_t>();
    }
    void read(const char *key, const nlohmann::json &json, std::uint64_t *value) {
        if (!json.is_number_unsigned()) return fail(key, "is no whole number from 0 on");
        *value = json.get<std::uint64_t>();
    }
    void read(const char *key, const nlohmann::json &json, int *value) {
        std::int64_t wide = 0;
        read(key, json, &wide);
        if (wide < 0 || wide > std::numeric_limits<int>::max()) return fail(key, "is out of range");
        *value = static_cast<int>(wide);
    }
    template<typename Value>
    void read(const char *key, const nlohmann::json &json, std::vector<Value> *values) {
        if (!json.is_array()) return fail(key, "is no list");
        for (const nlohmann::json &element : json) {
            values->emplace_back();
            read(key, element, &values->back());
            if (!ok_) return;
        }
    }
    void read(const char *key, const nlohmann::json &json, std::array<double, 2> *values) {
        if (!json.is_array() || json.size() != 2) return fail(key, "is no pair of numbers");
        read(key, json[0], &(*values)[0]);
        read(key, json[1], &(*values)[1]);
    }
    template<typename Value>
    void read(const char *key, const nlohmann::json &json, std::map<std::string, Value> *values) {
        if (!json.is_object()) return fail(key, "is no object");
        for (const auto &[name, element] : json.items()) {
            read(key, element, &(*values)[name]);
            if (!ok_) return;
        }
    }
};

template<typename Value>
void write(nlohmann::json *json, const char *key, const std::optional<Value> &value) {
    if (value) (*json)[key] = *value;
}

constexpr int sample_digits = 4, figure_digits = 6;

// With so many significant digits, and no ".0".
nlohmann::json rounded(double value, int digits) {
    if (value == 0 || !std::isfinite(value)) return value;
    const double unit = std::pow(10.0, digits - 1 - std::floor(std::log10(std::abs(value))));
    const double near = std::isfinite(unit) && unit > 0 ? std::round(value * unit) / unit : value;
    constexpr double most = 1LL << 53;
    if (near == std::floor(near) && std::abs(near) <= most) return static_cast<std::int64_t>(near);
    return near;
}

nlohmann::json rounded(const std::vector<std::vector<double>> &rounds) {
    nlohmann::json json = nlohmann::json::array();
    for (const std::vector<double> &round : rounds) {
        nlohmann::json &samples = json.emplace_back(nlohmann::json::array());
        for (const double sample : round)
            samples.push_back(rounded(sample, sample_digits));
    }
    return json;
}

void write_figure(nlohmann::json *json, const char *key, const std::optional<double> &value) {
    if (value) (*json)[key] = rounded(*value, figure_digits);
}

// The last name of every absolute path: where a compiler ran is nobody's business.
std::string without_folders(std::string_view text) {
    std::string result;
    constexpr std::string_view ends = " \t\n'\"():;,";
    while (!text.empty()) {
        const std::size_t word_end = text.find_first_of(ends);
        std::string_view word = text.substr(0, word_end);
        if (!word.empty() && word[0] == '/') word.remove_prefix(word.rfind('/') + 1);
        result += word;
        if (word_end == std::string_view::npos) break;
        result += text[word_end];
        text.remove_prefix(word_end + 1);
    }
    return result;
}

} // namespace

const char *to_string(TuningStatus status) {
    for (const auto &[value, name] : status_names) {
        if (value == status) return name;
    }
    return "";
}

std::optional<TuningStatus> status_from_string(std::string_view text) {
    for (const auto &[value, name] : status_names) {
        if (text == name) return value;
    }
    return std::nullopt;
}

nlohmann::json to_json(const Machine &machine) {
    return {{"vendor", machine.vendor},       {"model", machine.model},       {"gpu", machine.gpu},
            {"l1d_bytes", machine.l1d_bytes}, {"l2_bytes", machine.l2_bytes}, {"threads", machine.threads}};
}

std::optional<Machine> machine_from_json(const nlohmann::json &json, std::string *error) {
    Machine machine;
    Reader reader(json, "machine", error);
    reader.required("vendor", &machine.vendor);
    reader.required("model", &machine.model);
    reader.required("gpu", &machine.gpu);
    reader.required("l1d_bytes", &machine.l1d_bytes);
    reader.required("l2_bytes", &machine.l2_bytes);
    reader.required("threads", &machine.threads);
    return reader.ok() ? std::optional(machine) : std::nullopt;
}

nlohmann::json to_json(const ToolVersions &tools) {
    return {{"unstride", tools.unstride},
            {"halide", tools.halide},
            {"generators", tools.generators},
            {"space", tools.space}};
}

std::optional<ToolVersions> tools_from_json(const nlohmann::json &json, std::string *error) {
    ToolVersions tools;
    Reader reader(json, "tool", error);
    reader.required("unstride", &tools.unstride);
    reader.required("halide", &tools.halide);
    reader.required("generators", &tools.generators);
    reader.required("space", &tools.space);
    return reader.ok() ? std::optional(tools) : std::nullopt;
}

nlohmann::json to_json(const Correctness &correctness) {
    return {{"reference", correctness.reference},
            {"shapes", correctness.shapes},
            {"max_relative", correctness.max_relative},
            {"max_ulp", correctness.max_ulp}};
}

std::optional<Correctness> correctness_from_json(const nlohmann::json &json, std::string *error) {
    Correctness result;
    Reader reader(json, "correct", error);
    reader.required("reference", &result.reference);
    reader.required("shapes", &result.shapes);
    reader.required("max_relative", &result.max_relative);
    reader.required("max_ulp", &result.max_ulp);
    return reader.ok() ? std::optional(result) : std::nullopt;
}

nlohmann::json to_json(const StaticFacts &facts) {
    nlohmann::json json = nlohmann::json::object();
    write(&json, "code_bytes", facts.code_bytes);
    write(&json, "multiply_adds", facts.multiply_adds);
    write(&json, "vector_loads_stores", facts.vector_loads_stores);
    write(&json, "spills", facts.spills);
    for (const auto &[processor, cycles] : facts.modelled_cycles)
        json["modelled_cycles"][processor] = rounded(cycles, figure_digits);
    if (!facts.instructions.empty()) json["instructions"] = facts.instructions;
    return json;
}

std::optional<StaticFacts> facts_from_json(const nlohmann::json &json, std::string *error) {
    StaticFacts facts;
    Reader reader(json, "static", error);
    reader.optional("code_bytes", &facts.code_bytes);
    reader.optional("multiply_adds", &facts.multiply_adds);
    reader.optional("vector_loads_stores", &facts.vector_loads_stores);
    reader.optional("spills", &facts.spills);
    reader.optional("modelled_cycles", &facts.modelled_cycles);
    reader.optional("instructions", &facts.instructions);
    return reader.ok() ? std::optional(facts) : std::nullopt;
}

nlohmann::json to_json(const TuningRecord &record) {
    nlohmann::json json = {{"schema", tuning_schema},
                           {"layer", record.layer},
                           {"target", record.instruction_set},
                           {"machine", to_json(record.machine)},
                           {"tool", to_json(record.tools)},
                           {"schedule", to_json(record.schedule)},
                           {"status", to_string(record.status)},
                           {"static", to_json(record.facts)},
                           {"seed", record.seed},
                           {"when", record.date}};
    if (!record.detail.empty()) json["detail"] = without_folders(record.detail);
    if (!record.object.empty()) json["object"] = record.object;
    if (record.baseline) json["baseline"] = true;
    if (record.chosen) json["chosen"] = true;
    if (record.correctness) json["correct"] = to_json(*record.correctness);
    if (!record.samples_ns.empty()) json["samples_ns"] = rounded(record.samples_ns);
    write_figure(&json, "est_ns", record.estimate_ns);
    if (record.interval_ns) {
        for (const double bound : *record.interval_ns)
            json["ci99_ns"].push_back(rounded(bound, figure_digits));
    }
    write_figure(&json, "load", record.load);
    if (record.compile_seconds) json["compile_s"] = rounded(*record.compile_seconds, sample_digits);
    write(&json, "scratch_bytes", record.scratch_bytes);
    return json;
}

std::optional<TuningRecord> tuning_record_from_json(const nlohmann::json &json, std::string *error) {
    TuningRecord record;
    Reader reader(json, "a record", error);
    int schema = 0;
    reader.required("schema", &schema);
    if (schema != tuning_schema) reader.fail("schema", "is not the one that this version reads");
    reader.required("layer", &record.layer);
    reader.required("target", &record.instruction_set);
    reader.part("machine", machine_from_json, &record.machine);
    reader.part("tool", tools_from_json, &record.tools);
    reader.part("schedule", record_from_json, &record.schedule);
    std::string status;
    reader.required("status", &status);
    if (const auto known = status_from_string(status)) {
        record.status = *known;
    } else {
        reader.fail("status", "is unknown");
    }
    reader.optional("detail", &record.detail);
    reader.optional("object", &record.object);
    reader.optional("baseline", &record.baseline);
    reader.optional("chosen", &record.chosen);
    if (reader.has("correct")) reader.part("correct", correctness_from_json, &record.correctness);
    reader.optional("samples_ns", &record.samples_ns);
    reader.optional("est_ns", &record.estimate_ns);
    reader.optional("ci99_ns", &record.interval_ns);
    reader.optional("load", &record.load);
    if (reader.has("static")) reader.part("static", facts_from_json, &record.facts);
    reader.optional("compile_s", &record.compile_seconds);
    reader.optional("scratch_bytes", &record.scratch_bytes);
    reader.required("seed", &record.seed);
    reader.required("when", &record.date);
    const bool answers = record.status == TuningStatus::ok || record.status == TuningStatus::modelled;
    if (reader.ok() && answers && !cost(record.status, record.estimate_ns, record.facts)) {
        reader.fail(record.status == TuningStatus::ok ? "est_ns" : "modelled_cycles",
                    "is missing or not positive");
    }
    return reader.ok() ? std::optional(std::move(record)) : std::nullopt;
}

std::optional<double> cost(TuningStatus status, const std::optional<double> &estimate_ns,
                           const StaticFacts &facts) {
    if (status == TuningStatus::ok) return estimate_ns && *estimate_ns > 0 ? estimate_ns : std::nullopt;
    if (status != TuningStatus::modelled || facts.modelled_cycles.empty()) return std::nullopt;
    double logarithms = 0;
    for (const auto &[processor, cycles] : facts.modelled_cycles) {
        if (!(cycles > 0)) return std::nullopt;
        logarithms += std::log(cycles);
    }
    return std::exp(logarithms / static_cast<double>(facts.modelled_cycles.size()));
}

} // namespace unstride
