// A layer text's lines as tokens with their places: words and the five marks `( ) , = |`. Comments are left
// out.
#pragma once

#include "compiler/language/diagnostic.h"

#include <string>
#include <string_view>
#include <vector>

namespace unstride {

enum class TokenKind { word, open, close, comma, equals, bar, end_of_line };

struct Token {
    TokenKind kind = TokenKind::end_of_line;
    std::string_view text; // into the source text, which must outlive the token
    int line = 1;
    int column = 1;
};

struct TokenLine {
    std::vector<Token> tokens;      // the last one is always end_of_line
    std::vector<Diagnostic> errors; // bytes that may only stand in a comment
    bool is_blank() const { return tokens.size() == 1 && errors.empty(); }
};

// Never empty: an empty text is one blank line. Lines end in LF or CR LF; a byte order mark is skipped.
std::vector<TokenLine> tokenize(std::string_view text, const std::string &file);

// A word for a message: its beginning where it is long.
std::string shorten(std::string_view text);

// The token in quotes for a message, shortened where it is long; "the end of the line" for end_of_line.
std::string describe(const Token &token);

} // namespace unstride
