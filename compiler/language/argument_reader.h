// Written arguments to the fields of a stage: the visitor of visit_arguments() that the parser uses.
#pragma once

#include "compiler/language/arguments.h"
#include "compiler/language/lexer.h"

#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace unstride {

// `name=value`, or `value` alone: then the name is an empty word.
struct WrittenArgument {
    Token name;
    Token value;
    bool used = false;
};

// Fills the fields that it visits and collects what is wrong with the written text: a value of the wrong
// kind, a missing, unknown or repeated argument. Ranges are left to check_arguments().
class ArgumentReader {
public:
    struct Problem {
        std::optional<Token> place; // nothing: the stage as a whole
        std::string message;
    };
    std::vector<Problem> problems;

    // `axes` is the number of spatial axes, nothing where the input could not be read; then a single number
    // is taken as one.
    ArgumentReader(std::vector<WrittenArgument> &written, std::optional<std::size_t> axes)
        : written(written), axes(axes) {}

    // Reads every argument of a stage or of the input. An input's sizes are taken for nhwc, whatever its
    // layout.
    template<typename Arguments>
    void read(Arguments &arguments) {
        visit_arguments(arguments, *this);
        reject_unused();
    }

    // The value of an argument that is written and was read without a problem.
    std::optional<Token> value_of(std::string_view name) const;

    void operator()(const ArgumentRule &rule, std::int64_t &field);
    void operator()(const ArgumentRule &rule, PerAxis &field);
    void operator()(const ArgumentRule &rule, Padding &field);
    void operator()(const ArgumentRule &rule, Padding &field, bool &was_written);
    void operator()(const ArgumentRule &rule, double &field);
    void shape(Input &input);

    template<typename Enum>
    requires std::is_enum_v<Enum>
    void operator()(const ArgumentRule &rule, Enum &field) {
        const std::optional<Token> value = find(rule);
        if (!value) {
            field = static_cast<Enum>(rule.default_value);
            return;
        }
        const auto words = choice_words(Enum{});
        const std::optional<std::size_t> choice = find_choice(*value, words);
        if (!choice) return reject_choice(rule, *value, words);
        field = static_cast<Enum>(*choice);
        values.emplace(rule.name, *value);
    }

private:
    std::vector<WrittenArgument> &written;
    std::optional<std::size_t> axes;
    std::map<std::string_view, Token> values;
    bool takes_arguments = false;
    std::vector<std::string_view> keywords;

    // The argument's text. Reports a required argument that is missing.
    std::optional<Token> find(const ArgumentRule &rule);
    static std::optional<std::size_t> find_choice(const Token &value,
                                                  std::span<const std::string_view> words);

    // `expected` finishes the sentence "kernel must be …".
    void reject(const ArgumentRule &rule, const Token &value, std::string_view expected);
    void reject_choice(const ArgumentRule &rule, const Token &value, std::span<const std::string_view> words);
    void reject_unused();

    // Reports what is no whole number or does not fit 64 bits.
    std::optional<std::int64_t> read_integer(const ArgumentRule &rule, const Token &value,
                                             std::string_view piece, std::string_view expected);
    // Reports a number of numbers that is neither one nor that of the spatial axes.
    bool check_axes(const ArgumentRule &rule, const Token &value, std::size_t count);
    // One number an axis from one number, or as many as were written.
    PerAxis spread(PerAxis numbers) const;
};

// "; did you mean kernel?" where a known name is one edit away, or two for long words; otherwise empty.
std::string suggest(std::string_view word, std::span<const std::string_view> known);

} // namespace unstride
