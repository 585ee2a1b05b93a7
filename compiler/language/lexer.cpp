// Splits a layer text into lines and tokens.
#include "compiler/language/lexer.h"

#include <fmt/format.h>

namespace unstride {
namespace {

constexpr std::string_view byte_order_mark = "\xEF\xBB\xBF";

bool is_space(char c) {
    return c == ' ' || c == '\t';
}

// Words are made of the visible ASCII characters that are no marks.
bool is_visible(char c) {
    return c > ' ' && c <= '~';
}

TokenKind kind_of(char c) {
    switch (c) {
    case '(':
        return TokenKind::open;
    case ')':
        return TokenKind::close;
    case ',':
        return TokenKind::comma;
    case '=':
        return TokenKind::equals;
    case '|':
        return TokenKind::bar;
    default:
        return TokenKind::word;
    }
}

bool in_word(char c) {
    return is_visible(c) && c != '#' && kind_of(c) == TokenKind::word;
}

TokenLine tokenize_line(std::string_view text, const std::string &file, int line, std::size_t first) {
    TokenLine result;
    std::size_t at = first;
    std::size_t end_of_last = first;
    const auto push = [&](TokenKind kind, std::size_t begin, std::size_t end) {
        result.tokens.push_back({kind, text.substr(begin, end - begin), line, static_cast<int>(begin) + 1});
        end_of_last = end;
    };
    while (at < text.size() && text[at] != '#') {
        const std::size_t begin = at;
        const char c = text[at++];
        if (is_space(c)) continue;
        if (!is_visible(c)) {
            while (at < text.size() && !is_visible(text[at]) && !is_space(text[at]))
                at++;
            result.errors.push_back(
                {{file, line, static_cast<int>(begin) + 1},
                 "layer",
                 fmt::format("only visible ASCII may stand outside a comment, got byte 0x{:02x}",
                             static_cast<unsigned char>(c))});
        } else if (kind_of(c) != TokenKind::word) {
            push(kind_of(c), begin, at);
        } else {
            while (at < text.size() && in_word(text[at]))
                at++;
            push(TokenKind::word, begin, at);
        }
    }
    push(TokenKind::end_of_line, end_of_last, end_of_last);
    return result;
}

} // namespace

std::vector<TokenLine> tokenize(std::string_view text, const std::string &file) {
    std::vector<TokenLine> lines;
    std::size_t begin = 0;
    while (true) {
        const std::size_t newline = text.find('\n', begin);
        std::string_view line = text.substr(begin, newline == text.npos ? text.npos : newline - begin);
        if (line.ends_with('\r')) line.remove_suffix(1);
        const bool has_mark = begin == 0 && line.starts_with(byte_order_mark);
        const int number = static_cast<int>(lines.size()) + 1;
        lines.push_back(tokenize_line(line, file, number, has_mark ? byte_order_mark.size() : 0));
        if (newline == text.npos) return lines;
        begin = newline + 1;
    }
}

std::string shorten(std::string_view text) {
    constexpr std::size_t longest = 40;
    return text.size() <= longest ? std::string(text) : fmt::format("{}…", text.substr(0, longest));
}

std::string describe(const Token &token) {
    if (token.kind == TokenKind::end_of_line) return "the end of the line";
    return fmt::format("'{}'", shorten(token.text));
}

} // namespace unstride
