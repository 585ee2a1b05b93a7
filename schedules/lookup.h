// The best known schedule for a layer, and how good that knowledge is.
//
// Every record that ended well (`ok`, or `modelled` where nothing was timed) can answer for its own layer and
// for layers of the same class: those that agree in layout, in what they sum over, in where their weights
// come from, in how edges count, in whether they are numeric=fast, and on every axis in phases, taps of each
// phase, input stride and shuffle factors. They may differ in batch, sizes, channels, padding and epilogue.
// Records of other instruction sets never answer.
//
// The grades, best first:
//   exact            the same layer text, machine and tool versions; a build for another target names no
//                    machine, so that records of any do
//   near shape       the same machine, a layer of the class at a distance of at most 3; the same layer if it
//                    was recorded with other tools
//   near machine     another machine, a layer of the class at a distance of at most 3
//   family default   the schedule that did best over all layers of the instruction set, layout and kind of
//                    sum, if it beats the analytic default of the same records
//   analytic default no record
//
// The distance of two layers is the sum of |log2| of the ratios of input channels per output, output
// channels, and output elements of a channel; 1/4 more if their epilogues differ, and 2 if the size of one is
// dynamic and of the other is not. To it the distance of two machines adds |log2| of the ratios of their
// cache sizes and threads, and 1 if their makers differ.
//
// Within a grade the nearest answers first, at equal distance what the user recorded, then the same layer,
// then the same tools, then what was timed, then what was recorded earlier. Of the records of one layer,
// machine and tool versions those of the user come first; then what a search has chosen, the latest first;
// then timed ones before modelled ones; then the cheapest. Of several records of one schedule only the last
// one counts, so that a failure found later takes it out; and a schedule that was 1.25 times as slow as the
// best on its own layer answers for no other, nor does one that was only modelled: a model tells bad
// schedules from good ones, not good ones from each other. A layer for which the analytic default comes first
// says of its neighbours that theirs will do: each has its own.
//
// A schedule must satisfy violated_constraint() for the layer at hand, and one from another layer must
// not be unworthy() of it either; otherwise the next one is tried.
#pragma once

#include "schedules/database.h"

#include <array>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace unstride {

enum class LookupGrade { exact, near_shape, near_machine, family_default, analytic_default }; // best first

// "near shape"
const char *to_string(LookupGrade grade);

// The grade that a command line names: "near-shape".
std::optional<LookupGrade> grade_from_option(std::string_view text);

// "exact, near-shape, near-machine, family-default, analytic-default"
std::string grade_options();

// Whom a library is made for and with what.
struct LookupContext {
    Machine machine;
    ToolVersions tools;
};

struct LookupResult {
    ScheduleRecord schedule;
    LookupGrade grade = LookupGrade::analytic_default;
    double distance = 0; // of near grades
    std::string source;  // "FILE:LINE" of the record, empty for defaults
};

// Sorts a database once for any number of look-ups, which only read and may run in parallel. The database
// must outlive it.
class ScheduleLookup {
public:
    explicit ScheduleLookup(const Database &database);

    // `layer_text` is print_chain() of the layer that was lowered to `layer`.
    LookupResult find(const std::string &layer_text, const PhaseConvolution &layer, const TargetFacts &target,
                      const LookupContext &context) const;

private:
    // What makes layers near each other.
    struct Features {
        double input_channels = 0, output_channels = 0, outputs = 0; // log2
        bool dynamic = false;
        std::string epilogue;
    };
    // The records of one layer, machine and tools.
    struct Group {
        std::uint32_t first = 0; // the earliest of them, which names the layer, machine and tools
        std::string layer_text;
        Features features;
        std::vector<std::uint32_t> entries; // that can answer, best first
        std::array<double, 2> least_cost{}; // of the timed and of the modelled ones
    };
    struct Default {
        std::uint32_t entry = 0; // that holds the schedule
        double score = 0;        // sum over the groups of its speed relative to their best
    };
    struct GradedGroup {
        LookupGrade grade;
        double distance;
        bool shipped, other_layer, other_tools, modelled;
        const Group *group;
    };

    const Database *database_;
    std::map<std::string, std::vector<Group>> classes_;    // by instruction set and class
    std::map<std::string, std::vector<Default>> defaults_; // by instruction set and kind, best first

    static Features features_of(const PhaseConvolution &layer);
    double speed(const Group &group, const DatabaseEntry &entry) const;
    std::vector<GradedGroup> graded(const std::vector<Group> &groups, const std::string &layer_text,
                                    const PhaseConvolution &layer, const LookupContext &context) const;
    void add_defaults(const std::string &kind, const std::vector<const Group *> &groups);
};

} // namespace unstride
