// Which schedules of a space a tuning run tries, in which order, and which of them reach the finals. No clock
// and no process is involved: the same answers lead to the same questions.
//
// Candidates come in generations. The first holds the analytic default, what is known already, the points
// next to the default and some at random, the families in turn. Each later one holds the untried neighbours
// of the five best so far, and points at random where those have none left. A generation follows from the
// answers to those before it alone, so a search that was interrupted and is told what it had heard asks for
// what is left.
#pragma once

#include "schedules/search_space.h"

#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

namespace unstride {

struct SearchSettings {
    std::uint64_t seed = 1;
    std::size_t candidates = 64; // that are tried at most, those of earlier runs included
};

class Search {
public:
    // `known`: schedules to try right after the default, such as the one in use; they need not be points of
    // the space, which must outlive the search.
    Search(const SearchSpace &space, std::vector<ScheduleRecord> known, SearchSettings settings = {});

    // Up to `most` candidates, each asked for once and none that was told. Empty where those asked for are to
    // be told first, or where nothing is left to try.
    std::vector<ScheduleRecord> ask(std::size_t most);

    // What became of a schedule, asked for or not: its cost, lower is better, in one unit for all; nothing if
    // it failed or is another candidate's code. A later answer replaces an earlier one.
    void tell(const ScheduleRecord &schedule, std::optional<double> cost);

    // True once as many candidates are told as the settings allow, or all that there are.
    bool finished() const;

    // Candidates that were asked for or stood in a generation when they were told.
    std::size_t tried() const { return position_; }

    // The least cost so far.
    std::optional<double> best() const;

    // A candidate that is seen to cost more needs no exact figure: three times the best, or infinity.
    double hopeless() const;

    // Of those with a cost, best first, at most `most`: the default, those of `keep`, and the cheapest.
    std::vector<ScheduleRecord> finalists(const std::vector<ScheduleRecord> &keep,
                                          std::size_t most = 8) const;

private:
    struct Answer {
        ScheduleRecord schedule;
        std::optional<double> cost;
    };

    const SearchSpace *space_;
    const SearchSettings settings_;
    std::vector<std::size_t> shuffled_;       // points of the space at random, the families in turn
    std::vector<ScheduleRecord> generations_; // the members of all generations so far
    std::size_t position_ = 0;                // of the next member to ask for
    std::vector<Answer> answers_;

    const Answer *answer_to(const ScheduleRecord &schedule) const;
    bool is_member(const ScheduleRecord &schedule) const;
    void add_member(const ScheduleRecord &schedule);
    void add_random(std::size_t count);
    void add_nearest(std::size_t count);
    bool next_generation();
    std::vector<Answer> costed_members() const;
};

} // namespace unstride
