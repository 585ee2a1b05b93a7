// Generations are lists that grow; answers are kept apart from them, so that it does not matter when they
// came.
#include "tools/tune/search.h"

#include "reference/random_data.h"

#include <algorithm>
#include <limits>
#include <set>

namespace unstride {

namespace {

// Of 64 candidates a quarter next to the default and a quarter at random leave half of them to local moves.
constexpr std::size_t nearest_share = 4, random_share = 4;
constexpr std::size_t parents = 5;          // whose neighbours a generation tries
constexpr std::size_t generation_size = 12; // later than the first
constexpr double hopeless_factor = 3;

// Every point once: at random, one of each family after the other.
std::vector<std::size_t> shuffled_points(const SearchSpace &space, std::uint64_t seed) {
    reference::Random random(seed);
    std::vector<std::vector<std::size_t>> families(std::variant_size_v<decltype(ScheduleRecord::parameters)>);
    for (std::size_t i = 0; i < space.points().size(); i++)
        families[space.points()[i].parameters.index()].push_back(i);
    std::size_t longest = 0;
    for (std::vector<std::size_t> &family : families) {
        longest = std::max(longest, family.size());
        for (std::size_t left = family.size(); left > 1; left--) {
            const auto place = static_cast<std::size_t>(random.integer(0, static_cast<int>(left) - 1));
            std::swap(family[left - 1], family[place]);
        }
    }
    std::vector<std::size_t> order;
    for (std::size_t i = 0; i < longest; i++) {
        for (const std::vector<std::size_t> &family : families)
            if (i < family.size()) order.push_back(family[i]);
    }
    return order;
}

} // namespace

Search::Search(const SearchSpace &space, std::vector<ScheduleRecord> known, SearchSettings settings)
    : space_(&space), settings_(settings), shuffled_(shuffled_points(space, settings.seed)) {
    add_member(space.points()[0]);
    for (const ScheduleRecord &schedule : known)
        add_member(schedule);
    add_nearest(settings.candidates / nearest_share);
    add_random(settings.candidates / random_share);
}

const Search::Answer *Search::answer_to(const ScheduleRecord &schedule) const {
    const auto found = std::find_if(answers_.begin(), answers_.end(),
                                    [&](const Answer &answer) { return answer.schedule == schedule; });
    return found == answers_.end() ? nullptr : &*found;
}

bool Search::is_member(const ScheduleRecord &schedule) const {
    return std::find(generations_.begin(), generations_.end(), schedule) != generations_.end();
}

void Search::add_member(const ScheduleRecord &schedule) {
    if (generations_.size() < settings_.candidates && !is_member(schedule)) generations_.push_back(schedule);
}

void Search::add_random(std::size_t count) {
    for (const std::size_t point : shuffled_) {
        if (count == 0) return;
        const std::size_t before = generations_.size();
        add_member(space_->points()[point]);
        count -= generations_.size() - before;
    }
}

// Breadth first from the default.
void Search::add_nearest(std::size_t count) {
    std::vector<std::size_t> queue = {0};
    std::set<std::size_t> seen = {0};
    for (std::size_t next = 0; next < queue.size() && queue.size() <= count; next++) {
        for (const std::size_t neighbour : space_->neighbours(queue[next])) {
            if (seen.insert(neighbour).second) queue.push_back(neighbour);
        }
    }
    queue.resize(std::min(queue.size(), count + 1));
    for (const std::size_t point : queue)
        add_member(space_->points()[point]);
}

std::vector<Search::Answer> Search::costed_members() const {
    std::vector<Answer> members;
    for (const ScheduleRecord &member : generations_) {
        const Answer *answer = answer_to(member);
        if (answer != nullptr && answer->cost) members.push_back(*answer);
    }
    std::stable_sort(members.begin(), members.end(),
                     [](const Answer &a, const Answer &b) { return *a.cost < *b.cost; });
    return members;
}

// False if nothing is left to try, or if answers to the generations so far are missing.
bool Search::next_generation() {
    const std::size_t before = generations_.size();
    if (before >= settings_.candidates) return false;
    for (const ScheduleRecord &member : generations_) {
        if (answer_to(member) == nullptr) return false;
    }
    const std::size_t end = before + generation_size;
    std::vector<Answer> best = costed_members();
    best.resize(std::min(best.size(), parents));
    for (const Answer &parent : best) {
        const auto point = space_->find(parent.schedule);
        if (!point) continue;
        for (const std::size_t neighbour : space_->neighbours(*point)) {
            if (generations_.size() < end) add_member(space_->points()[neighbour]);
        }
    }
    add_random(end - std::min(end, generations_.size()));
    return generations_.size() > before;
}

std::vector<ScheduleRecord> Search::ask(std::size_t most) {
    std::vector<ScheduleRecord> asked;
    while (asked.size() < most) {
        if (position_ == generations_.size() && !next_generation()) break;
        const ScheduleRecord &next = generations_[position_++];
        if (answer_to(next) == nullptr) asked.push_back(next);
    }
    return asked;
}

void Search::tell(const ScheduleRecord &schedule, std::optional<double> cost) {
    for (Answer &answer : answers_) {
        if (answer.schedule != schedule) continue;
        answer.cost = cost;
        return;
    }
    answers_.push_back({schedule, cost});
}

bool Search::finished() const {
    const auto told = [&](const ScheduleRecord &member) { return answer_to(member) != nullptr; };
    const auto member = [&](const ScheduleRecord &point) { return is_member(point); };
    const std::vector<ScheduleRecord> &points = space_->points();
    return std::all_of(generations_.begin(), generations_.end(), told) &&
           (generations_.size() >= settings_.candidates || std::all_of(points.begin(), points.end(), member));
}

std::optional<double> Search::best() const {
    std::optional<double> least;
    for (const Answer &answer : answers_) {
        if (answer.cost && (!least || *answer.cost < *least)) least = answer.cost;
    }
    return least;
}

double Search::hopeless() const {
    const auto least = best();
    return least ? hopeless_factor * *least : std::numeric_limits<double>::infinity();
}

std::vector<ScheduleRecord> Search::finalists(const std::vector<ScheduleRecord> &keep,
                                              std::size_t most) const {
    std::vector<Answer> sorted;
    for (const Answer &answer : answers_) {
        if (answer.cost) sorted.push_back(answer);
    }
    std::stable_sort(sorted.begin(), sorted.end(),
                     [](const Answer &a, const Answer &b) { return *a.cost < *b.cost; });
    const auto is_kept = [&](const ScheduleRecord &schedule) {
        return schedule == space_->points()[0] || std::find(keep.begin(), keep.end(), schedule) != keep.end();
    };
    std::size_t places = most;
    for (const Answer &answer : sorted)
        places -= is_kept(answer.schedule) && places > 0 ? 1 : 0;
    std::vector<ScheduleRecord> result;
    for (const Answer &answer : sorted) {
        if (!is_kept(answer.schedule)) {
            if (places == 0) continue;
            places--;
        }
        result.push_back(answer.schedule);
    }
    return result;
}

} // namespace unstride
