// Records are grouped when the database is there; a look-up grades the groups of the layer's class and takes
// the nearest one that fits.
#include "schedules/lookup.h"

#include "compiler/language/printer.h"
#include "schedules/analytic_default.h"
#include "schedules/search_space.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <set>
#include <tuple>

namespace unstride {

namespace {

constexpr double farthest = 3;          // that still counts as near
constexpr double slowest = 1.25;        // of the best on a layer, that may answer for another
constexpr double other_epilogue = 0.25; // in distance
constexpr double other_dynamic = 2;
constexpr double other_maker = 1;

constexpr std::pair<LookupGrade, const char *> grade_names[] = {
    {LookupGrade::exact, "exact"},
    {LookupGrade::near_shape, "near shape"},
    {LookupGrade::near_machine, "near machine"},
    {LookupGrade::family_default, "family default"},
    {LookupGrade::analytic_default, "analytic default"},
};

std::string option_of(const char *name) {
    std::string option = name;
    std::replace(option.begin(), option.end(), ' ', '-');
    return option;
}

// What layers of one kind share: schedules of other kinds cannot compute them.
std::string kind_of(const std::string &instruction_set, const PhaseConvolution &layer) {
    return fmt::format("{} {} {}", instruction_set, layer.layout == Layout::nhwc ? "nhwc" : "nchw",
                       layer.depthwise() ? "channelwise" : "dense");
}

// What layers of one class share; see the header.
std::string class_of(const std::string &instruction_set, const PhaseConvolution &layer) {
    // Larger tiles than numeric=safe allows are not among its records.
    const char *const policy = layer.numeric == NumericPolicy::fast ? " fast" : "";
    std::string text = fmt::format("{}{} weights {} edge {} shuffle {} {}", kind_of(instruction_set, layer),
                                   policy, int(layer.weights), int(layer.edge), int(layer.shuffle_order),
                                   int(layer.unshuffle_order));
    for (const PhaseAxis &axis : layer.axes) {
        std::vector<std::size_t> taps;
        for (const Phase &phase : axis.phases)
            taps.push_back(phase.taps.size());
        std::sort(taps.begin(), taps.end());
        text += fmt::format(" | taps {} stride {} shuffle {} {}", fmt::join(taps, ","), axis.input_stride,
                            axis.shuffle, axis.unshuffle);
    }
    return text;
}

// |log2| of the ratio; an unknown number is at 1 from every known one.
double ratio_distance(double a, double b) {
    if (a <= 0 || b <= 0) return a == b ? 0 : 1;
    return std::abs(std::log2(a / b));
}

double distance_of(const Machine &a, const Machine &b) {
    return ratio_distance(static_cast<double>(a.l1d_bytes), static_cast<double>(b.l1d_bytes)) +
           ratio_distance(static_cast<double>(a.l2_bytes), static_cast<double>(b.l2_bytes)) +
           ratio_distance(a.threads, b.threads) + (a.vendor == b.vendor ? 0 : other_maker);
}

// What the records of one schedule come to.
struct Standing {
    std::uint32_t entry = 0;             // the last one, which says what it takes
    std::optional<std::uint32_t> chosen; // the last one that a search chose it by
};

// Of each schedule, the user's records after the shipped ones. A choice holds until another schedule is
// chosen, though a search that was interrupted may have timed this one once more since.
std::vector<Standing> latest(const Database &database, std::vector<std::uint32_t> entries) {
    const auto &all = database.entries();
    std::stable_sort(entries.begin(), entries.end(),
                     [&](std::uint32_t a, std::uint32_t b) { return all[a].origin < all[b].origin; });
    std::map<std::uint32_t, Standing> last;
    for (const std::uint32_t entry : entries) {
        Standing &standing = last[all[entry].schedule];
        standing.entry = entry;
        if (all[entry].chosen) standing.chosen = entry;
    }
    std::vector<Standing> result;
    for (const std::uint32_t entry : entries) {
        const Standing &standing = last[all[entry].schedule];
        if (standing.entry == entry) result.push_back(standing);
    }
    return result;
}

// Those that can answer, best first.
std::vector<Standing> answering(const Database &database, std::vector<Standing> schedules) {
    const auto &all = database.entries();
    std::erase_if(schedules, [&](const Standing &schedule) { return !all[schedule.entry].cost; });
    const auto rank = [&](const Standing &schedule) {
        const DatabaseEntry &entry = all[schedule.entry];
        const std::int64_t age = schedule.chosen ? -std::int64_t{*schedule.chosen} : 0; // later ones first
        return std::tuple{entry.origin != RecordOrigin::user,
                          !schedule.chosen,
                          age,
                          entry.status,
                          *entry.cost,
                          schedule.entry};
    };
    std::sort(schedules.begin(), schedules.end(),
              [&](const Standing &a, const Standing &b) { return rank(a) < rank(b); });
    return schedules;
}

// The least cost of the timed and of the modelled ones, whose units differ: that of what a search has chosen,
// where one has, since of many that were timed only once some were lucky. `schedules` hold the best first.
std::array<double, 2> least_costs(const Database &database, const std::vector<Standing> &schedules) {
    std::array<double, 2> least;
    least.fill(std::numeric_limits<double>::infinity());
    std::array<bool, 2> decided{};
    for (const Standing &schedule : schedules) {
        const DatabaseEntry &entry = database.entries()[schedule.entry];
        const bool modelled = entry.status == TuningStatus::modelled;
        if (decided[modelled]) continue;
        decided[modelled] = schedule.chosen.has_value();
        least[modelled] = schedule.chosen ? *entry.cost : std::min(least[modelled], *entry.cost);
    }
    return least;
}

} // namespace

const char *to_string(LookupGrade grade) {
    for (const auto &[value, name] : grade_names) {
        if (value == grade) return name;
    }
    return "";
}

std::optional<LookupGrade> grade_from_option(std::string_view text) {
    for (const auto &[value, name] : grade_names) {
        if (text == option_of(name)) return value;
    }
    return std::nullopt;
}

std::string grade_options() {
    std::string options;
    for (const auto &[value, name] : grade_names)
        options += (options.empty() ? "" : ", ") + option_of(name);
    return options;
}

ScheduleLookup::Features ScheduleLookup::features_of(const PhaseConvolution &layer) {
    Features features;
    features.input_channels = std::log2(layer.channels_per_output());
    features.output_channels = std::log2(layer.kernel_output_channels());
    double outputs = 1;
    for (const PhaseAxis &axis : layer.axes) {
        features.dynamic = features.dynamic || axis.output_size == dynamic_size;
        outputs *= static_cast<double>(std::max<std::int64_t>(axis.output_size, 1));
    }
    if (layer.batch != dynamic_size) outputs *= static_cast<double>(layer.batch);
    features.outputs = std::log2(outputs);
    for (const Activation &activation : layer.prologue)
        features.epilogue += print(activation) + " | ";
    features.epilogue += "convolution";
    for (const std::vector<EpilogueStage> *stages : {&layer.folded, &layer.epilogue}) {
        for (const EpilogueStage &stage : *stages)
            features.epilogue += " | " + print(stage.operation);
    }
    return features;
}

ScheduleLookup::ScheduleLookup(const Database &database) : database_(&database) {
    const std::vector<DatabaseEntry> &all = database.entries();
    using Key = std::tuple<std::uint32_t, std::uint32_t, std::uint32_t, std::uint32_t>;
    std::map<Key, std::size_t> numbers;
    std::vector<std::vector<std::uint32_t>> in_order; // those that were recorded first come first
    std::optional<Key> last;
    std::size_t number = 0;
    for (std::uint32_t i = 0; i < all.size(); i++) {
        const Key key{all[i].layer, all[i].instruction_set, all[i].machine, all[i].tools};
        if (key != last) { // searches record a layer at a time
            number = numbers.try_emplace(key, numbers.size()).first->second;
            in_order.resize(numbers.size());
            last = key;
        }
        in_order[number].push_back(i);
    }

    std::map<std::string, std::string> kind_of_class;
    std::map<std::uint32_t, std::variant<PhaseConvolution, Diagnostic>> lowered;
    for (const std::vector<std::uint32_t> &entries : in_order) {
        const DatabaseEntry &first = all[entries[0]];
        auto known = lowered.find(first.layer);
        if (known == lowered.end()) known = lowered.emplace(first.layer, lower(database.layer(first))).first;
        const auto *layer = std::get_if<PhaseConvolution>(&known->second);
        if (layer == nullptr) continue; // another version could lower it
        const std::vector<Standing> schedules = answering(database, latest(database, entries));
        if (schedules.empty()) continue;
        Group group{entries[0],
                    database.layer_text(first),
                    features_of(*layer),
                    {},
                    least_costs(database, schedules)};
        for (const Standing &schedule : schedules)
            group.entries.push_back(schedule.entry);
        const std::string &instruction_set = database.instruction_set(first);
        kind_of_class[class_of(instruction_set, *layer)] = kind_of(instruction_set, *layer);
        classes_[class_of(instruction_set, *layer)].push_back(std::move(group));
    }
    std::map<std::string, std::vector<const Group *>> kinds;
    for (const auto &[name, groups] : classes_) {
        for (const Group &group : groups)
            kinds[kind_of_class[name]].push_back(&group);
    }
    for (const auto &[kind, groups] : kinds)
        add_defaults(kind, groups);
}

// Of the best of the group; 1 for the best itself.
double ScheduleLookup::speed(const Group &group, const DatabaseEntry &entry) const {
    return std::min(1.0, group.least_cost[entry.status == TuningStatus::modelled] / *entry.cost);
}

// Schedules by the mean of their speed relative to the best one of each group, where one that a group does
// not know counts as standing still.
void ScheduleLookup::add_defaults(const std::string &kind, const std::vector<const Group *> &groups) {
    const std::vector<DatabaseEntry> &all = database_->entries();
    std::map<std::uint32_t, Default> by_schedule;
    std::set<std::string_view> layers;
    double baseline = 0;
    for (const Group *group : groups) {
        layers.insert(group->layer_text);
        for (const std::uint32_t index : group->entries) {
            const DatabaseEntry &entry = all[index];
            if (entry.status == TuningStatus::modelled) continue;
            Default &candidate = by_schedule.try_emplace(entry.schedule, Default{index, 0}).first->second;
            candidate.score += speed(*group, entry);
            if (entry.baseline) baseline += speed(*group, entry);
        }
    }
    if (layers.size() < 2) return; // what did well once is no default
    std::vector<Default> better;
    for (const auto &[schedule, candidate] : by_schedule) {
        if (candidate.score > baseline) better.push_back(candidate);
    }
    std::sort(better.begin(), better.end(), [](const Default &a, const Default &b) {
        return a.score != b.score ? a.score > b.score : a.entry < b.entry;
    });
    if (!better.empty()) defaults_[kind] = std::move(better);
}

// The groups that can answer, each with its grade and distance, in no order.
std::vector<ScheduleLookup::GradedGroup> ScheduleLookup::graded(const std::vector<Group> &groups,
                                                                const std::string &layer_text,
                                                                const PhaseConvolution &layer,
                                                                const LookupContext &context) const {
    const Features wanted = features_of(layer);
    std::vector<GradedGroup> result;
    for (const Group &group : groups) {
        const Features &given = group.features;
        double distance = std::abs(wanted.input_channels - given.input_channels) +
                          std::abs(wanted.output_channels - given.output_channels);
        if (wanted.dynamic != given.dynamic) {
            distance += other_dynamic;
        } else {
            distance += std::abs(wanted.outputs - given.outputs);
        }
        if (distance > farthest) continue;
        if (wanted.epilogue != given.epilogue) distance += other_epilogue;
        if (distance > farthest) continue;

        const Machine &machine = database_->machine(database_->entries()[group.first]);
        const bool same_machine = machine == context.machine || context.machine == Machine{};
        const bool same_tools = database_->tools(database_->entries()[group.first]) == context.tools;
        const bool same_layer = group.layer_text == layer_text;
        const LookupGrade grade = !same_machine              ? LookupGrade::near_machine
                                  : same_layer && same_tools ? LookupGrade::exact
                                                             : LookupGrade::near_shape;
        if (!same_machine) distance += distance_of(machine, context.machine);
        const DatabaseEntry &best = database_->entries()[group.entries[0]];
        result.push_back({grade, distance, best.origin == RecordOrigin::shipped, !same_layer, !same_tools,
                          best.status == TuningStatus::modelled, &group});
    }
    return result;
}

LookupResult ScheduleLookup::find(const std::string &layer_text, const PhaseConvolution &layer,
                                  const TargetFacts &target, const LookupContext &context) const {
    const std::vector<DatabaseEntry> &all = database_->entries();
    const int threads = context.machine.threads > 0 ? context.machine.threads : planned_threads;
    const auto fits = [&](const ScheduleRecord &schedule, bool same_layer) {
        if (std::holds_alternative<Autoscheduled>(schedule.parameters)) return false;
        if (violated_constraint(layer, target, schedule)) return false;
        return same_layer || !unworthy(layer, target, schedule, threads);
    };

    if (const auto groups = classes_.find(class_of(target.instruction_set, layer));
        groups != classes_.end()) {
        std::vector<GradedGroup> heap = graded(groups->second, layer_text, layer, context);
        // Groups lie in the order of their first record.
        const auto later = [](const GradedGroup &a, const GradedGroup &b) {
            return std::tie(a.grade, a.distance, a.shipped, a.other_layer, a.other_tools, a.modelled,
                            a.group) > std::tie(b.grade, b.distance, b.shipped, b.other_layer, b.other_tools,
                                                b.modelled, b.group);
        };
        std::make_heap(heap.begin(), heap.end(), later);
        for (; !heap.empty(); heap.pop_back()) {
            std::pop_heap(heap.begin(), heap.end(), later);
            const GradedGroup &nearest = heap.back();
            for (const std::uint32_t index : nearest.group->entries) {
                const DatabaseEntry &entry = all[index];
                const ScheduleRecord &schedule = database_->schedule(entry);
                const auto answer = [&](const ScheduleRecord &with) {
                    return LookupResult{with, nearest.grade, nearest.distance, database_->place(entry)};
                };
                if (!nearest.other_layer) {
                    if (fits(schedule, true)) return answer(schedule);
                    continue;
                }
                if (entry.status == TuningStatus::modelled) continue;
                if (entry.baseline) return answer(analytic_default(layer, target));
                if (speed(*nearest.group, entry) >= 1 / slowest && fits(schedule, false))
                    return answer(schedule);
            }
        }
    }
    if (const auto defaults = defaults_.find(kind_of(target.instruction_set, layer));
        defaults != defaults_.end()) {
        for (const Default &candidate : defaults->second) {
            const ScheduleRecord &schedule = database_->schedule(all[candidate.entry]);
            if (fits(schedule, false)) return {schedule, LookupGrade::family_default, 0, ""};
        }
    }
    return {analytic_default(layer, target), LookupGrade::analytic_default, 0, ""};
}

} // namespace unstride
