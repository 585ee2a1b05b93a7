// Halide prints the body of a parallel loop as a function of its own, before the one that starts it.
#include "tools/compare/loop_nest.h"

#include "compiler/language/printer.h"
#include "tools/files.h"
#include "tools/library/kernel_compiler.h"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <array>
#include <map>
#include <vector>

namespace unstride {

namespace {

// What begins the lines that make a nest, besides tasks.
constexpr std::array<std::string_view, 4> kept = {"for ", "allocate ", "produce ", "consume "};

bool begins_with(std::string_view line, std::string_view word) {
    return line.substr(0, word.size()) == word;
}

std::string_view between(std::string_view line, std::string_view before, std::string_view after) {
    const std::size_t from = line.find(before);
    if (from == std::string_view::npos) return {};
    line.remove_prefix(from + before.size());
    return line.substr(0, line.find(after));
}

struct Function {
    std::string_view loop; // variable of the parallel loop whose body this is
    std::vector<std::string_view> lines;
};

// A statement taken apart: the kernel, and the tasks by name.
class Statement {
public:
    explicit Statement(std::string_view text) {
        Function *current = nullptr;
        while (!text.empty()) {
            const std::size_t end = std::min(text.find('\n'), text.size());
            const std::string_view line = text.substr(0, end);
            text.remove_prefix(std::min(end + 1, text.size()));
            if (begins_with(line, "internal func ")) {
                current = &tasks_[between(line, "func ", " (")];
                current->loop = between(line, ", ", ", closure_arg");
            } else if (begins_with(line, "external")) {
                current = &kernel_;
            } else if (current != nullptr) {
                current->lines.push_back(line);
            }
        }
    }

    std::vector<std::string> nest() {
        add(kernel_, "");
        return std::move(nest_);
    }

private:
    Function kernel_;
    std::map<std::string_view, Function> tasks_;
    std::vector<std::string> nest_;

    void add(const Function &function, const std::string &margin) {
        for (std::string_view line : function.lines) {
            const std::string spaces =
                margin + std::string(std::min(line.find_first_not_of(' '), line.size()), ' ');
            line.remove_prefix(spaces.size() - margin.size());
            if (const auto name = between(line, "halide_do_par_for((halide_task_t)::", ","); !name.empty()) {
                add_task(name, between(line, ", 0, ", ", (uint8_t"), spaces);
                continue;
            }
            const bool wanted = std::any_of(kept.begin(), kept.end(),
                                            [&](std::string_view word) { return begins_with(line, word); });
            if (!wanted) continue;
            if (line.ends_with(" {")) line.remove_suffix(2);
            nest_.push_back(spaces + std::string(line));
        }
    }

    void add_task(std::string_view name, std::string_view extent, const std::string &margin) {
        const auto task = tasks_.find(name);
        if (task == tasks_.end()) return;
        const Function body = std::move(task->second);
        tasks_.erase(task); // started in one place only
        nest_.push_back(fmt::format("{}parallel ({}, 0, {})", margin, body.loop, extent));
        add(body, margin + " ");
    }
};

} // namespace

std::string loop_nest(std::string_view statement, std::size_t most_lines) {
    const std::vector<std::string> lines = Statement(statement).nest();
    std::string text;
    for (std::size_t i = 0; i < std::min(lines.size(), most_lines); i++)
        text += lines[i] + "\n";
    if (lines.size() > most_lines) text += fmt::format("… and {} lines more\n", lines.size() - most_lines);
    return text;
}

Result<std::string> loop_nest_of(const Candidate &candidate, const Installation &installation,
                                 const std::filesystem::path &folder, const ProcessLimits &limits) {
    const auto own = make_temporary_folder("loops", folder);
    if (!own) return Error{own.error()};
    const KernelRequest request{print_chain(candidate.layer), candidate.facts, candidate.schedule, false};
    const nlohmann::json job = {{"generator", compute_generator(candidate.schedule)},
                                {"function", "kernel"},
                                {"folder", own->path().string()},
                                {"target", candidate.facts.halide_target + "-no_runtime-no_bounds_query"},
                                {"emit", {"stmt"}},
                                {"parameters", generator_parameters(request)}};
    const auto lowered =
        run_generators(nlohmann::json::array({job}), own->path() / "jobs.json", installation, limits);
    if (!lowered) return Error{lowered.error()};
    const Result<std::string> statement = read_file(own->path() / "kernel.stmt");
    if (!statement) return statement;
    return loop_nest(*statement);
}

} // namespace unstride
