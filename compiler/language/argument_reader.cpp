// Reads argument values of each kind: numbers, numbers per axis, padding, reals, choices and shapes.
#include "compiler/language/argument_reader.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <utility>

namespace unstride {
namespace {

constexpr std::string_view integer_expected = "a whole number";
constexpr std::string_view per_axis_expected = "a whole number, or one for each axis such as 4x1";
constexpr std::string_view padding_expected = "numbers such as 1, 1x2 or 1:0, or same, same_lower or valid";

std::vector<std::string_view> split(std::string_view text, char separator) {
    std::vector<std::string_view> pieces;
    while (true) {
        const std::size_t at = text.find(separator);
        pieces.push_back(text.substr(0, at));
        if (at == text.npos) return pieces;
        text.remove_prefix(at + 1);
    }
}

// The edit distance of two short words, where swapping two neighbours counts as one edit.
std::size_t edit_distance(std::string_view a, std::string_view b) {
    std::vector<std::vector<std::size_t>> distance(a.size() + 1, std::vector<std::size_t>(b.size() + 1));
    for (std::size_t i = 0; i <= a.size(); i++) {
        for (std::size_t j = 0; j <= b.size(); j++) {
            if (i == 0 || j == 0) {
                distance[i][j] = i + j;
                continue;
            }
            const std::size_t replaced = distance[i - 1][j - 1] + (a[i - 1] == b[j - 1] ? 0 : 1);
            distance[i][j] = std::min({distance[i - 1][j] + 1, distance[i][j - 1] + 1, replaced});
            const bool swapped = i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1];
            if (swapped) distance[i][j] = std::min(distance[i][j], distance[i - 2][j - 2] + 1);
        }
    }
    return distance[a.size()][b.size()];
}

// "crd or dcr", "f32, f16, bf16 or i8".
std::string alternatives(std::span<const std::string_view> words) {
    return fmt::format("{} or {}", fmt::join(words.first(words.size() - 1), ", "), words.back());
}

} // namespace

std::string suggest(std::string_view word, std::span<const std::string_view> known) {
    if (word.size() < 3) return {};
    std::size_t least = word.size() < 8 ? 2 : 3;
    std::string_view nearest;
    for (std::string_view name : known) {
        if (word.size() > name.size() + 2 || name.size() > word.size() + 2) continue;
        const std::size_t distance = edit_distance(word, name);
        if (distance >= least) continue;
        least = distance;
        nearest = name;
    }
    return nearest.empty() ? std::string() : fmt::format("; did you mean {}?", nearest);
}

std::optional<Token> ArgumentReader::value_of(std::string_view name) const {
    const auto found = values.find(name);
    return found == values.end() ? std::nullopt : std::optional(found->second);
}

std::optional<Token> ArgumentReader::find(const ArgumentRule &rule) {
    takes_arguments = true;
    if (!rule.positional) keywords.push_back(rule.name);
    const std::string_view written_name = rule.positional ? std::string_view() : rule.name;
    for (WrittenArgument &argument : written) {
        if (argument.used || argument.name.text != written_name) continue;
        argument.used = true;
        return argument.value;
    }
    if (rule.presence == Presence::required) {
        problems.push_back({std::nullopt, fmt::format("argument {} must be given, got none", rule.name)});
    }
    return std::nullopt;
}

std::optional<std::size_t> ArgumentReader::find_choice(const Token &value,
                                                       std::span<const std::string_view> words) {
    const auto found = std::find(words.begin(), words.end(), value.text);
    if (found == words.end()) return std::nullopt;
    return static_cast<std::size_t>(found - words.begin());
}

void ArgumentReader::reject(const ArgumentRule &rule, const Token &value, std::string_view expected) {
    problems.push_back({value, fmt::format("{} must be {}, got {}", rule.name, expected, describe(value))});
}

void ArgumentReader::reject_choice(const ArgumentRule &rule, const Token &value,
                                   std::span<const std::string_view> words) {
    reject(rule, value, alternatives(words));
}

void ArgumentReader::reject_unused() {
    for (const WrittenArgument &argument : written) {
        if (argument.used) continue;
        const Token &first = argument.name.text.empty() ? argument.value : argument.name;
        // find() takes the first of a name, so what is left of a known one is a repetition.
        const bool is_known = std::find(keywords.begin(), keywords.end(), first.text) != keywords.end();
        if (!takes_arguments) {
            problems.push_back({first, fmt::format("no arguments are taken, got {}", describe(first))});
        } else if (argument.name.text.empty()) {
            problems.push_back(
                {first, fmt::format("too many values without a name, got {}", describe(first))});
        } else if (is_known) {
            problems.push_back(
                {first, fmt::format("argument {} must be given once, got it again", first.text)});
        } else {
            problems.push_back({first, fmt::format("unknown argument {}{}", describe(first),
                                                   suggest(first.text, keywords))});
        }
    }
}

std::optional<std::int64_t> ArgumentReader::read_integer(const ArgumentRule &rule, const Token &value,
                                                         std::string_view piece, std::string_view expected) {
    std::int64_t number = 0;
    const auto [end, error] = std::from_chars(piece.data(), piece.data() + piece.size(), number);
    if (end != piece.data() + piece.size() || error == std::errc::invalid_argument) {
        reject(rule, value, expected);
        return std::nullopt;
    }
    if (error == std::errc::result_out_of_range) {
        const bool is_negative = piece.starts_with('-');
        problems.push_back(
            {value, fmt::format("{} must be at {} {}, got {}", rule.name, is_negative ? "least" : "most",
                                is_negative ? rule.minimum : largest_size, shorten(piece))});
        return std::nullopt;
    }
    return number;
}

bool ArgumentReader::check_axes(const ArgumentRule &rule, const Token &value, std::size_t count) {
    if (!axes || count == 1 || count == *axes) return true;
    problems.push_back(
        {value, fmt::format("{} must be {}, got {}", rule.name,
                            *axes == 1 ? "one number, since the input has one spatial axis"
                                       : fmt::format("one number or {}, one for each spatial axis", *axes),
                            shorten(value.text))});
    return false;
}

PerAxis ArgumentReader::spread(PerAxis numbers) const {
    if (axes && numbers.size() == 1) numbers.resize(*axes, numbers[0]);
    return numbers;
}

void ArgumentReader::operator()(const ArgumentRule &rule, std::int64_t &field) {
    const std::optional<Token> value = find(rule);
    if (!value) {
        field = rule.default_value;
    } else if (const auto number = read_integer(rule, *value, value->text, integer_expected)) {
        field = *number;
        values.emplace(rule.name, *value);
    }
}

void ArgumentReader::operator()(const ArgumentRule &rule, PerAxis &field) {
    const std::optional<Token> value = find(rule);
    if (!value) {
        if (rule.presence == Presence::defaulted) field = spread({rule.default_value});
        return;
    }
    PerAxis numbers;
    for (std::string_view piece : split(value->text, 'x')) {
        const auto number = read_integer(rule, *value, piece, per_axis_expected);
        if (!number) return;
        numbers.push_back(*number);
    }
    if (!check_axes(rule, *value, numbers.size())) return;
    field = spread(std::move(numbers));
    values.emplace(rule.name, *value);
}

void ArgumentReader::operator()(const ArgumentRule &rule, Padding &field) {
    const std::optional<Token> value = find(rule);
    if (!value) {
        field.begin = field.end = spread({rule.default_value});
        return;
    }
    if (const auto choice = find_choice(*value, choice_words(PaddingRule{}))) {
        field.rule = static_cast<PaddingRule>(*choice);
        values.emplace(rule.name, *value);
        return;
    }
    PerAxis begin, end;
    for (std::string_view piece : split(value->text, 'x')) {
        const std::size_t colon = piece.find(':');
        const auto first = read_integer(rule, *value, piece.substr(0, colon), padding_expected);
        if (!first) return;
        const auto last = colon == piece.npos
                              ? first
                              : read_integer(rule, *value, piece.substr(colon + 1), padding_expected);
        if (!last) return;
        begin.push_back(*first);
        end.push_back(*last);
    }
    if (!check_axes(rule, *value, begin.size())) return;
    field.begin = spread(std::move(begin));
    field.end = spread(std::move(end));
    values.emplace(rule.name, *value);
}

void ArgumentReader::operator()(const ArgumentRule &rule, Padding &field, bool &was_written) {
    (*this)(rule, field);
    was_written = value_of(rule.name).has_value();
    if (!was_written) field = Padding{};
}

void ArgumentReader::operator()(const ArgumentRule &rule, double &field) {
    const std::optional<Token> value = find(rule);
    if (!value) return;
    const std::string_view text = value->text;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), field);
    if (end != text.data() + text.size() || error == std::errc::invalid_argument) {
        reject(rule, *value, "a number");
    } else if (error == std::errc::result_out_of_range) {
        reject(rule, *value, "a number that a double can hold");
    } else {
        values.emplace(rule.name, *value);
    }
}

void ArgumentReader::shape(Input &input) {
    const ArgumentRule rule = positional("shape");
    const std::optional<Token> value = find(rule);
    if (!value) return;
    const std::vector<std::string_view> pieces = split(value->text, 'x');
    if (pieces.size() < 3 || pieces.size() > 5) {
        return reject(rule, *value, "batch, one to three spatial sizes and channels");
    }
    PerAxis sizes;
    for (std::string_view piece : pieces) {
        constexpr std::string_view expected = "whole numbers or ? joined by x";
        if (piece.starts_with('-')) return reject(rule, *value, expected);
        const auto size = piece == "?" ? dynamic_size : read_integer(rule, *value, piece, expected);
        if (!size) return;
        sizes.push_back(*size);
    }
    input.batch = sizes.front();
    input.channels = sizes.back();
    input.spatial.assign(sizes.begin() + 1, sizes.end() - 1);
    values.emplace(rule.name, *value);
}

} // namespace unstride
