// Matching, ratios and verdicts.
#include "tools/compare/comparison.h"

#include "tools/compare/derived.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <set>
#include <tuple>
#include <utility>

namespace unstride {

namespace {

constexpr double outlier_factor = 1.5;

using Key = std::tuple<std::string, std::string, int>; // text, instruction set, threads

Key key_of(const ResultRow &row) {
    return {row.text, row.instruction_set, row.threads};
}

std::vector<double> logarithms_of_minima(const Rounds &rounds) {
    std::vector<double> logarithms;
    for (const std::vector<double> &round : rounds)
        logarithms.push_back(std::log(*std::min_element(round.begin(), round.end())));
    return logarithms;
}

struct Moments {
    double mean = 0, variance_of_mean = 0, degrees = 0;
};

Moments moments(const std::vector<double> &values) {
    Moments result;
    const double count = static_cast<double>(values.size());
    for (const double value : values)
        result.mean += value / count;
    double squares = 0;
    for (const double value : values)
        squares += (value - result.mean) * (value - result.mean);
    result.degrees = count - 1;
    result.variance_of_mean = count > 1 ? squares / (count - 1) / count : 0;
    return result;
}

Ratio inverse(const Ratio &ratio) {
    Ratio result = ratio;
    result.value = 1 / ratio.value;
    result.interval = {1 / ratio.interval.high, 1 / ratio.interval.low};
    return result;
}

// Only rows of these layers and instruction sets.
void restrict_rows(const ComparisonOptions &options, Results *results) {
    const auto chosen = [](const std::vector<std::string> &names, const std::string &name) {
        return std::find(names.begin(), names.end(), name) != names.end();
    };
    std::erase_if(results->rows, [&](const ResultRow &row) {
        const bool layer =
            options.layers.empty() || chosen(options.layers, row.layer) || chosen(options.layers, row.text);
        const bool set =
            options.instruction_sets.empty() || chosen(options.instruction_sets, row.instruction_set);
        return !layer || !set;
    });
}

// Finds the baseline of every row.
class Matcher {
public:
    Matcher(const Results &results, const std::string &baseline)
        : results_(results), contenders_(results.sources.size()) {
        for (const ResultRow &row : results.rows) {
            contenders_[row.source].insert(row.contender.name);
            if (std::find(names_.begin(), names_.end(), row.contender.name) == names_.end())
                names_.push_back(row.contender.name);
        }
        for (std::size_t i = 0; i < results.rows.size(); i++) {
            const ResultRow &row = results.rows[i];
            places_[{row.source, key_of(row), row.contender.name}] = i;
        }
        baseline_ = baseline.empty() ? usual_baseline() : baseline;
    }

    bool several_sources() const { return results_.sources.size() > 1; }
    const std::string &baseline() const { return baseline_; }

    std::string missing() const {
        std::vector<std::string> known;
        for (const ResultSource &source : results_.sources)
            known.push_back(source.name);
        if (!several_sources()) known = names_;
        return missing_baseline(baseline_, several_sources() ? "sources" : "contenders", known);
    }

    bool is_baseline(const ResultRow &row) const {
        return (several_sources() ? results_.sources[row.source].name : row.contender.name) == baseline_;
    }

    // The row that `row` is compared with.
    std::optional<std::size_t> baseline_of(const ResultRow &row) const {
        if (!several_sources()) return find(row.source, key_of(row), baseline_);
        const std::size_t source = baseline_source();
        if (contenders_[source].size() == 1 && contenders_[row.source].size() == 1)
            return find(source, key_of(row), *contenders_[source].begin());
        return find(source, key_of(row), row.contender.name);
    }

    std::optional<std::size_t> find(std::size_t source, const Key &key, const std::string &contender) const {
        const auto found = places_.find({source, key, contender});
        return found == places_.end() ? std::nullopt : std::optional(found->second);
    }

    // What the rows of a contender of a source are called together.
    std::string column(const ResultRow &row) const {
        if (!several_sources()) return row.contender.name;
        const std::string &source = results_.sources[row.source].name;
        return contenders_[row.source].size() == 1 ? source
                                                   : fmt::format("{}: {}", source, row.contender.name);
    }

    // The contender of the baseline source that stands for this one.
    std::string counterpart(const ResultRow &row) const {
        if (!several_sources()) return baseline_;
        const std::size_t source = baseline_source();
        return contenders_[source].size() == 1 && contenders_[row.source].size() == 1
                   ? *contenders_[source].begin()
                   : row.contender.name;
    }

    std::size_t baseline_source() const {
        for (std::size_t i = 0; several_sources() && i < results_.sources.size(); i++) {
            if (results_.sources[i].name == baseline_) return i;
        }
        return 0;
    }

private:
    const Results &results_;
    std::vector<std::set<std::string>> contenders_; // of each source
    std::vector<std::string> names_;                // of all contenders, in the order of their first rows
    std::map<std::tuple<std::size_t, Key, std::string>, std::size_t> places_;
    std::string baseline_;

    std::string usual_baseline() const {
        if (several_sources()) return results_.sources.front().name;
        const bool has_default = std::find(names_.begin(), names_.end(), "default") != names_.end();
        return has_default || names_.empty() ? "default" : names_.front();
    }
};

std::optional<double> measured_peak(const ResultSource &source, const ResultRow &row) {
    for (const MeasuredPeak &peak : source.peaks) {
        if (peak.instruction_set == row.instruction_set && peak.threads == row.threads) return peak.flops;
    }
    return std::nullopt;
}

bool measured(const ResultRow &row) {
    return row.status == TuningStatus::ok && row.estimate_ns.has_value();
}

RowComparison figures_of(const ResultSource &source, const ResultRow &row) {
    RowComparison figures;
    if (!measured(row)) return figures;
    const double estimate = *row.estimate_ns;
    if (row.multiplications && *row.multiplications > 0) {
        figures.flops = 2 * *row.multiplications / (estimate * 1e-9);
        if (const auto peak = measured_peak(source, row)) figures.peak_share = *figures.flops / *peak;
    }
    if (row.interval_ns) figures.spread = ((*row.interval_ns)[1] - (*row.interval_ns)[0]) / 2 / estimate;
    if (!row.samples_ns.empty()) {
        figures.outliers = 0;
        for (const std::vector<double> &round : row.samples_ns) {
            *figures.outliers +=
                static_cast<std::size_t>(std::count_if(round.begin(), round.end(), [&](double sample) {
                    return sample >= outlier_factor * estimate;
                }));
        }
    }
    return figures;
}

// Whether a verdict on two rows says something about what ran, not about where.
bool comparable(const Results &results, const ResultRow &a, const ResultRow &b) {
    return a.source == b.source ||
           same_machine(results.sources[a.source].machine, results.sources[b.source].machine);
}

bool side_by_side(const Results &results, const ResultRow &a, const ResultRow &b) {
    return a.source == b.source && results.sources[a.source].protocol.interleaved &&
           a.samples_ns.size() == b.samples_ns.size();
}

// What is known of two measured rows of the same layer and machine, or of different ones if that is wanted.
void compare_rows(const Results &results, const ResultRow &row, const ResultRow &baseline, double threshold,
                  RowComparison *figures) {
    for (const std::size_t source : {row.source, baseline.source})
        threshold = std::max(threshold, 2 * results.sources[source].noise_floor.value_or(0));
    figures->threshold = threshold;
    if (row.samples_ns.size() < 2 || baseline.samples_ns.size() < 2) {
        figures->speedup.emplace().value = *baseline.estimate_ns / *row.estimate_ns;
        figures->reason = "fewer than two rounds of samples";
        return;
    }
    figures->paired = side_by_side(results, row, baseline);
    const Ratio ratio = figures->paired ? paired_ratio(baseline.samples_ns, row.samples_ns)
                                        : unpaired_ratio(baseline.samples_ns, row.samples_ns);
    figures->speedup = inverse(ratio);
    figures->has_interval = true;
    switch (verdict(ratio, threshold)) {
    case Verdict::faster:
        figures->standing = Standing::faster;
        break;
    case Verdict::slower:
        figures->standing = Standing::slower;
        break;
    case Verdict::tie:
        figures->standing = Standing::tie;
        figures->reason = ratio.interval.contains(1)
                              ? "the interval holds 1"
                              : fmt::format("differs by less than {:.1f} %", threshold * 100);
        break;
    }
}

void compare_row(const Results &results, const Matcher &matcher, const ResultRow &row,
                 const ComparisonOptions &options, RowComparison *figures) {
    if (matcher.is_baseline(row)) {
        figures->standing = Standing::baseline;
        return;
    }
    figures->baseline = matcher.baseline_of(row);
    const bool elsewhere = figures->baseline && !options.across_machines &&
                           !comparable(results, row, results.rows[*figures->baseline]);
    if (row.status == TuningStatus::modelled) {
        figures->reason = "modelled, not measured";
    } else if (!measured(row)) {
        figures->reason = to_string(row.status);
    } else if (!figures->baseline) {
        figures->reason = "the baseline lacks it";
    } else if (!measured(results.rows[*figures->baseline])) {
        figures->reason = fmt::format("the baseline: {}", to_string(results.rows[*figures->baseline].status));
    } else if (elsewhere) {
        figures->speedup.emplace().value = *results.rows[*figures->baseline].estimate_ns / *row.estimate_ns;
    } else {
        compare_rows(results, row, results.rows[*figures->baseline], options.threshold, figures);
    }
    if (elsewhere && row.status != TuningStatus::modelled && measured(results.rows[*figures->baseline])) {
        figures->standing = Standing::other_machine;
        figures->reason = "the baseline was measured on another machine" +
                          (measured(row) ? std::string() : fmt::format("; {}", to_string(row.status)));
    }
}

// Takes back the differences of a column that chance alone explains among so many layers.
void correct_column(const std::vector<std::size_t> &rows, std::vector<RowComparison> *comparisons) {
    std::vector<double> p_values;
    std::vector<std::size_t> tested;
    for (const std::size_t i : rows) {
        if (!(*comparisons)[i].has_interval) continue;
        tested.push_back(i);
        p_values.push_back((*comparisons)[i].speedup->p_value);
    }
    const std::vector<bool> rejected = holm(p_values, comparison_alpha);
    for (std::size_t i = 0; i < tested.size(); i++) {
        RowComparison &figures = (*comparisons)[tested[i]];
        const bool differs = figures.standing == Standing::faster || figures.standing == Standing::slower;
        if (!differs || rejected[i]) continue;
        figures.standing = Standing::tie;
        figures.reason = fmt::format("chance may explain it among {} layers", tested.size());
    }
}

ColumnSummary summarise(const Results &results, const Matcher &matcher, const std::vector<std::size_t> &rows,
                        const std::vector<RowComparison> &comparisons) {
    ColumnSummary summary;
    const ResultRow &first = results.rows[rows.front()];
    summary.column = matcher.column(first);
    std::vector<Ratio> ratios;
    std::set<Key> unpaired;
    for (const std::size_t i : rows) {
        const ResultRow &row = results.rows[i];
        const RowComparison &figures = comparisons[i];
        const bool baseline_measured = figures.baseline && measured(results.rows[*figures.baseline]);
        if (figures.speedup)
            ratios.push_back(*figures.speedup);
        else if (measured(row) || baseline_measured)
            unpaired.insert(key_of(row));
        summary.faster += figures.standing == Standing::faster;
        summary.slower += figures.standing == Standing::slower;
        summary.tie += figures.standing == Standing::tie;
        summary.other_machine += figures.standing == Standing::other_machine;
        summary.failed += baseline_measured && !measured(row) && row.status != TuningStatus::modelled &&
                          figures.standing != Standing::other_machine;
    }
    for (const ResultRow &row : results.rows) {
        const bool counterpart =
            row.source == (matcher.several_sources() ? matcher.baseline_source() : first.source) &&
            row.contender.name == matcher.counterpart(first);
        if (counterpart && measured(row) && !matcher.find(first.source, key_of(row), first.contender.name))
            unpaired.insert(key_of(row));
    }
    summary.pairs = ratios.size();
    summary.dropped = unpaired.size();
    if (!ratios.empty()) summary.speedup = geometric_mean(ratios);
    return summary;
}

std::vector<std::string> doubts(const Results &results, const Matcher &matcher, bool across_machines) {
    std::vector<std::string> warnings;
    const ResultSource &baseline = results.sources[matcher.baseline_source()];
    for (const ResultSource &source : results.sources) {
        if (!source.unsteady.empty())
            warnings.push_back(
                fmt::format("{}: the machine was not steady: {}", source.name, source.unsteady));
        if (&source != &baseline && !same_machine(source.machine, baseline.machine)) {
            const bool named = !source.machine.model.empty() && !baseline.machine.model.empty();
            warnings.push_back(fmt::format(
                "{} and {} {}; their ratios compare these, too{}", baseline.name, source.name,
                named ? "were measured on different machines" : "are not known to be of one machine",
                across_machines ? ", and so do the verdicts" : ", and there are no verdicts"));
        }
        if (source.protocol.cold != baseline.protocol.cold) {
            warnings.push_back(fmt::format("{} and {}: one was measured with emptied caches, the other with "
                                           "full ones",
                                           baseline.name, source.name));
        }
    }
    return warnings;
}

} // namespace

const char *to_string(Standing standing) {
    switch (standing) {
    case Standing::baseline:
        return "baseline";
    case Standing::faster:
        return "faster";
    case Standing::slower:
        return "slower";
    case Standing::tie:
        return "~";
    case Standing::other_machine:
        return "other machine";
    case Standing::unknown:
        return "n/a";
    }
    return "";
}

bool Comparison::regression() const {
    return std::any_of(summaries.begin(), summaries.end(),
                       [](const ColumnSummary &summary) { return summary.slower > 0 || summary.failed > 0; });
}

bool Comparison::other_machines() const {
    return std::any_of(summaries.begin(), summaries.end(),
                       [](const ColumnSummary &summary) { return summary.other_machine > 0; });
}

bool same_machine(const Machine &a, const Machine &b) {
    const bool named = !a.model.empty() || !a.gpu.empty();
    return named && a.vendor == b.vendor && a.model == b.model && a.gpu == b.gpu &&
           a.l1d_bytes == b.l1d_bytes && a.l2_bytes == b.l2_bytes;
}

Ratio unpaired_ratio(const Rounds &a, const Rounds &b) {
    const Moments first = moments(logarithms_of_minima(a)), second = moments(logarithms_of_minima(b));
    const double difference = second.mean - first.mean;
    const double u = first.variance_of_mean, v = second.variance_of_mean;
    Ratio ratio;
    ratio.value = std::exp(difference);
    ratio.rounds = std::min(a.size(), b.size());
    ratio.interval = {0, std::numeric_limits<double>::infinity()};
    if (ratio.rounds < 2) return ratio;
    if (u + v == 0) {
        ratio.interval = {ratio.value, ratio.value};
        ratio.p_value = difference == 0 ? 1 : 0;
        return ratio;
    }
    const double error = std::sqrt(u + v);
    const double degrees = (u + v) * (u + v) / (u * u / first.degrees + v * v / second.degrees);
    const double reach = t_critical(1 - comparison_alpha, degrees) * error;
    ratio.interval = {std::exp(difference - reach), std::exp(difference + reach)};
    ratio.p_value = t_two_sided(std::abs(difference) / error, degrees);
    return ratio;
}

std::string missing_baseline(const std::string &baseline, const char *all,
                             const std::vector<std::string> &known) {
    if (std::find(known.begin(), known.end(), baseline) != known.end()) return "";
    return fmt::format("there is no baseline '{}'; the {} are {}", baseline, all, fmt::join(known, ", "));
}

Result<Comparison> compare(Results results, const ComparisonOptions &options) {
    restrict_rows(options, &results);
    if (results.rows.empty()) return Error{"nothing to compare: no layer is left"};
    Comparison comparison;
    const Matcher matcher(results, options.baseline);
    if (const std::string missing = matcher.missing(); !missing.empty()) return Error{missing};
    comparison.baseline = matcher.baseline();
    comparison.threshold = options.threshold;
    comparison.across_machines = options.across_machines;
    comparison.warnings = doubts(results, matcher, options.across_machines);

    std::vector<std::pair<std::string, std::vector<std::size_t>>> columns; // in the order of their first rows
    for (std::size_t i = 0; i < results.rows.size(); i++) {
        const ResultRow &row = results.rows[i];
        RowComparison &figures = comparison.rows.emplace_back(figures_of(results.sources[row.source], row));
        compare_row(results, matcher, row, options, &figures);
        const auto reference = matcher.find(row.source, key_of(row), "default");
        if (reference && measured(row) && measured(results.rows[*reference]))
            figures.default_over = *results.rows[*reference].estimate_ns / *row.estimate_ns;
        const std::string &column = comparison.columns.emplace_back(matcher.column(row));
        if (figures.standing == Standing::baseline) continue;
        auto known = std::find_if(columns.begin(), columns.end(),
                                  [&](const auto &other) { return other.first == column; });
        if (known == columns.end()) known = columns.insert(known, {column, {}});
        known->second.push_back(i);
    }
    for (const auto &[column, rows] : columns) {
        correct_column(rows, &comparison.rows);
        comparison.summaries.push_back(summarise(results, matcher, rows, comparison.rows));
    }
    comparison.results = std::move(results);
    return comparison;
}

namespace {

void put(nlohmann::json *object, const char *key, const std::optional<std::size_t> &count) {
    if (count) (*object)[key] = *count;
}
void put(nlohmann::json *object, const char *key, const std::optional<double> &value) {
    if (value) (*object)[key] = rounded(*value);
}

void put_ratio(nlohmann::json *object, const Ratio &ratio, bool with_interval) {
    (*object)["speedup"] = rounded(ratio.value);
    if (!with_interval || !std::isfinite(ratio.interval.high)) return;
    (*object)["speedup_ci99"] = {rounded(ratio.interval.low), rounded(ratio.interval.high)};
    (*object)["p_value"] = rounded(ratio.p_value);
}

nlohmann::json to_json(const RowComparison &figures) {
    nlohmann::json object = {{"verdict", to_string(figures.standing)}};
    put(&object, "flops", figures.flops);
    put(&object, "peak_share", figures.peak_share);
    put(&object, "spread", figures.spread);
    put(&object, "outliers", figures.outliers);
    put(&object, "baseline", figures.baseline);
    put(&object, "threshold", figures.threshold);
    put(&object, "default_over", figures.default_over);
    if (figures.speedup) {
        put_ratio(&object, *figures.speedup, figures.has_interval);
        object["paired"] = figures.paired;
    }
    if (!figures.reason.empty()) object["reason"] = figures.reason;
    return object;
}

nlohmann::json to_json(const ColumnSummary &summary) {
    nlohmann::json object = {{"column", summary.column},   {"pairs", summary.pairs},
                             {"dropped", summary.dropped}, {"faster", summary.faster},
                             {"slower", summary.slower},   {"tie", summary.tie},
                             {"failed", summary.failed},   {"other_machine", summary.other_machine}};
    if (summary.speedup) put_ratio(&object, *summary.speedup, summary.pairs > 1);
    return object;
}

} // namespace

nlohmann::json to_json(const Comparison &comparison) {
    nlohmann::json document = to_json(comparison.results);
    for (std::size_t i = 0; i < comparison.rows.size(); i++) {
        document["rows"][i]["derived"] = to_json(comparison.rows[i]);
        document["rows"][i]["derived"]["column"] = comparison.columns[i];
        if (const auto &loop = comparison.results.rows[i].hot_loop)
            document["rows"][i]["derived"]["loop"] = loop_figures(*loop);
    }
    for (std::size_t i = 0; i < comparison.results.searches.size(); i++)
        document["searches"][i]["derived"] = search_figures(comparison.results.searches[i]);
    nlohmann::json summaries = nlohmann::json::array();
    for (const ColumnSummary &summary : comparison.summaries)
        summaries.push_back(to_json(summary));
    document["comparison"] = {
        {"baseline", comparison.baseline}, {"threshold", comparison.threshold},
        {"alpha", comparison_alpha},       {"across_machines", comparison.across_machines},
        {"summaries", summaries},          {"warnings", comparison.warnings}};
    return document;
}

} // namespace unstride
