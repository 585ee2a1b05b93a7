// Canonical text of layers: arguments in the order of the language's table, defaults left out.
#include "compiler/language/printer.h"

#include "compiler/language/arguments.h"
#include "compiler/language/shapes.h"

#include <fmt/format.h>

#include <algorithm>

namespace unstride {
namespace {

bool all_equal(const PerAxis &values, std::int64_t value) {
    return std::all_of(values.begin(), values.end(), [&](std::int64_t v) { return v == value; });
}

// Joins one text an axis with `x`, or gives the first where all are the same.
std::string join_axes(std::vector<std::string> texts) {
    const bool same = std::adjacent_find(texts.begin(), texts.end(), std::not_equal_to<>()) == texts.end();
    if (same && !texts.empty()) texts.resize(1);
    return fmt::format("{}", fmt::join(texts, "x"));
}

std::string text_of(const PerAxis &values) {
    std::vector<std::string> texts;
    for (std::int64_t value : values)
        texts.push_back(fmt::format("{}", value));
    return join_axes(std::move(texts));
}

std::string text_of(const Padding &pad) {
    if (pad.rule != PaddingRule::stated) return std::string(choice_words(pad.rule)[int(pad.rule)]);
    std::vector<std::string> texts;
    for (std::size_t axis = 0; axis < pad.begin.size(); axis++) {
        texts.push_back(pad.begin[axis] == pad.end[axis]
                            ? fmt::format("{}", pad.begin[axis])
                            : fmt::format("{}:{}", pad.begin[axis], pad.end[axis]));
    }
    return join_axes(std::move(texts));
}

// Collects the arguments that are not at their default.
class ArgumentWriter {
public:
    std::vector<std::string> arguments;

    void operator()(const ArgumentRule &rule, std::int64_t value) {
        write(rule, value == rule.default_value, fmt::format("{}", value));
    }
    void operator()(const ArgumentRule &rule, const PerAxis &values) {
        const bool absent = rule.presence == Presence::optional && values.empty();
        write(rule, absent || all_equal(values, rule.default_value), text_of(values));
    }
    void operator()(const ArgumentRule &rule, const Padding &pad) {
        const bool is_default =
            pad.rule == PaddingRule::stated && all_equal(pad.begin, 0) && all_equal(pad.end, 0);
        write(rule, is_default, text_of(pad));
    }
    void operator()(const ArgumentRule &rule, const Padding &pad, bool was_written) {
        write(rule, !was_written, text_of(pad));
    }
    void operator()(const ArgumentRule &rule, double value) { write(rule, false, fmt::format("{}", value)); }

    template<typename Enum>
    requires std::is_enum_v<Enum>
    void operator()(const ArgumentRule &rule, Enum value) {
        const auto index = static_cast<std::size_t>(value);
        write(rule, static_cast<std::int64_t>(value) == rule.default_value, choice_words(value)[index]);
    }

    void shape(const Input &input) {
        arguments.push_back(print(Shape{input.batch, input.spatial, input.channels}, input.layout));
    }

private:
    void write(const ArgumentRule &rule, bool left_out, std::string_view text) {
        if (rule.positional) {
            arguments.emplace_back(text);
        } else if (rule.presence == Presence::required || !left_out) {
            arguments.push_back(fmt::format("{}={}", rule.name, text));
        }
    }
};

template<typename Arguments>
std::string print_call(std::string_view name, const Arguments &arguments) {
    ArgumentWriter writer;
    visit_arguments(arguments, writer);
    if (writer.arguments.empty()) return std::string(name);
    return fmt::format("{}({})", name, fmt::join(writer.arguments, ", "));
}

} // namespace

std::string print(const StageOperation &operation) {
    return std::visit([&](const auto &arguments) { return print_call(stage_name(operation), arguments); },
                      operation);
}

std::string print_chain(const Layer &layer) {
    std::string text = print_call("input", layer.input);
    for (const Stage &stage : layer.stages) {
        text += " | " + print(stage.operation);
    }
    return text;
}

std::string print(const Layer &layer) {
    return layer.name + " = " + print_chain(layer);
}

} // namespace unstride
