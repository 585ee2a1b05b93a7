// PTX is read line by line: ".entry" opens a function, "label:" and "bra label;" make loops.
#include "tools/analysis/ptx.h"

#include "tools/analysis/loops.h"

#include <algorithm>
#include <map>
#include <regex>
#include <set>
#include <sstream>

namespace unstride {

namespace {

struct PtxFunction {
    std::string name;
    std::vector<std::string> instructions;
    std::map<std::string, std::size_t> labels;
};

// The instruction on a line, without the line's comment; empty for directives, labels and braces.
std::string instruction_on(std::string line) {
    line.erase(std::min(line.find("//"), line.size()));
    std::replace(line.begin(), line.end(), '\t', ' ');
    line.erase(0, line.find_first_not_of(' '));
    const bool ends = line.find_last_of(';') != std::string::npos;
    return !ends || line.starts_with('.') || line.starts_with('{') || line.starts_with('}') ? "" : line;
}

std::vector<PtxFunction> parse(const std::string &ptx) {
    static const std::regex entry(R"(\.(?:entry|func)\b.*?\b([A-Za-z_$][\w$]*)\s*\()"),
        label(R"(^([\w$]+):)");
    std::vector<PtxFunction> functions;
    std::istringstream lines(ptx);
    for (std::string line; std::getline(lines, line);) {
        std::smatch match;
        if (std::regex_search(line, match, entry)) {
            functions.push_back({match[1], {}, {}});
        } else if (functions.empty()) {
            continue;
        } else if (std::regex_search(line, match, label)) {
            functions.back().labels[match[1]] = functions.back().instructions.size();
        } else if (std::string text = instruction_on(line); !text.empty()) {
            functions.back().instructions.push_back(std::move(text));
        }
    }
    return functions;
}

std::vector<std::optional<std::size_t>> branch_targets(const PtxFunction &function) {
    static const std::regex branch(R"(\bbra(?:\.uni)?\s+([\w$]+);)");
    std::vector<std::optional<std::size_t>> targets;
    for (const std::string &text : function.instructions) {
        std::smatch match;
        const auto place =
            std::regex_search(text, match, branch) ? function.labels.find(match[1]) : function.labels.end();
        targets.push_back(place == function.labels.end() ? std::nullopt : std::optional(place->second));
    }
    return targets;
}

void count(const std::string &text, LoopCounts *counts) {
    static const std::regex multiply(R"(^(?:@\S+ )?(?:fma|mul|mad)\.(?:\w+\.)*(?:f32|f64|f16)\b)"),
        memory(R"(^(?:@\S+ )?(ld|st)\.(?:volatile\.)?(\w+)\b)"), call(R"(^(?:@\S+ )?call\b)"),
        branch(R"(^(?:@\S+ )?bra\b)");
    counts->total++;
    if (std::regex_search(text, multiply)) {
        counts->vector_multiply_adds++;
        counts->multiply_add_lanes++;
    }
    std::smatch match;
    if (std::regex_search(text, match, memory)) {
        const bool load = match[1] == "ld", local = match[2] == "local";
        (load ? counts->vector_loads : counts->vector_stores)++;
        if (!load && match[2] == "global") counts->result_stores++;
        if (local) (load ? counts->stack_loads : counts->stack_stores)++;
        if (local) counts->vector_stack_accesses++;
    }
    if (std::regex_search(text, call)) counts->calls++;
    if (std::regex_search(text, branch)) counts->branches++;
}

Loop make_loop(const PtxFunction &function, const LoopRange &range) {
    static const std::regex reg(R"(%[a-z]+\d+)");
    Loop loop;
    loop.function = function.name;
    loop.depth = range.depth;
    std::set<std::string> registers;
    for (std::size_t i = range.first; i <= range.last; i++) {
        const std::string &text = function.instructions[i];
        loop.instructions.push_back({i, {}, text});
        count(text, &loop.counts);
        for (std::sregex_iterator match(text.begin(), text.end(), reg), end; match != end; ++match)
            registers.insert(match->str());
    }
    loop.counts.vector_registers = static_cast<int>(registers.size());
    return loop;
}

} // namespace

Result<KernelAnalysis> analyse_ptx(std::string_view object) {
    const std::size_t begin = object.find(".version ");
    if (begin == std::string_view::npos) return Error{"the object holds no PTX"};
    const std::string ptx(object.substr(begin, object.find('\0', begin) - begin));
    KernelAnalysis analysis;
    analysis.code_bytes = static_cast<std::int64_t>(ptx.size());
    for (const PtxFunction &function : parse(ptx)) {
        for (const LoopRange &range : innermost_loops(branch_targets(function)))
            analysis.loops.push_back(make_loop(function, range));
    }
    return analysis;
}

} // namespace unstride
