// Reads the layer language: lines to layers, with every error of the text at the place where it stands.
#include "compiler/language/parser.h"

#include "compiler/language/argument_reader.h"
#include "compiler/language/lexer.h"
#include "compiler/language/shapes.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <optional>
#include <tuple>
#include <utility>

namespace unstride {
namespace {

bool is_identifier(std::string_view word) {
    const auto is_letter = [](char c) {
        return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
    };
    const auto is_digit = [](char c) { return c >= '0' && c <= '9'; };
    return !word.empty() && !is_digit(word[0]) &&
           std::all_of(word.begin(), word.end(), [&](char c) { return is_letter(c) || is_digit(c); });
}

std::string name_rule(const Token &name) {
    return fmt::format("name must be letters, digits and underscores and not start with a digit, got {}",
                       describe(name));
}

// One operation of each stage, with nothing but its name set.
const std::vector<StageOperation> &stage_prototypes() {
    static const std::vector<StageOperation> prototypes = [] {
        std::vector<StageOperation> all = {Conv{},
                                           TransposedConv{},
                                           PixelShuffle{},
                                           PixelUnshuffle{},
                                           NearestUpsample{},
                                           BilinearUpsample{},
                                           Bias{},
                                           Scale{},
                                           Prelu{},
                                           Add{},
                                           Crop{}};
        for (int kind = 0; kind <= static_cast<int>(ActivationKind::gelu); kind++) {
            all.push_back(Activation{static_cast<ActivationKind>(kind), 0, 0});
        }
        return all;
    }();
    return prototypes;
}

const StageOperation *find_stage(std::string_view name) {
    for (const StageOperation &prototype : stage_prototypes()) {
        if (name == stage_name(prototype)) return &prototype;
    }
    return nullptr;
}

std::string suggest_stage(std::string_view word) {
    std::vector<std::string_view> names;
    for (const StageOperation &prototype : stage_prototypes())
        names.push_back(stage_name(prototype));
    return suggest(word, names);
}

// Parses the tokens of one layer. Its errors are collected; after one, reading goes on at the next stage.
class LayerParser {
public:
    // The last token must be end_of_line.
    LayerParser(std::vector<Token> tokens, const std::string &file) : tokens(std::move(tokens)), file(file) {}

    std::vector<Diagnostic> errors;
    Layer layer;

    // NAME = chain
    void parse_named() {
        const Token name = peek();
        layer.position = position_of(name);
        if (name.kind != TokenKind::word) {
            fail(name, "layer", fmt::format("expected the layer's name, got {}", describe(name)));
            if (name.kind != TokenKind::equals) return;
        } else {
            next();
            layer.name = name.text;
            if (!is_identifier(name.text)) {
                fail(name, "layer", name_rule(name));
            }
        }
        if (peek().kind != TokenKind::equals) {
            fail(peek(), "layer",
                 fmt::format("expected '=' after the layer's name, got {}", describe(peek())));
            while (peek().kind != TokenKind::end_of_line && peek().text != "input")
                next();
            if (peek().kind == TokenKind::end_of_line) return;
        } else {
            next();
        }
        parse_chain();
    }

    // input(…) | STAGE | STAGE …
    void parse_chain() {
        const Token first = peek();
        bool is_complete = false;
        if (first.text == "input") {
            is_complete = parse_input();
        } else {
            fail(first, "layer", fmt::format("expected input(TYPE, SHAPE), got {}", describe(first)));
            is_complete = find_stage(first.text) && parse_stage();
        }
        bool has_stage = advance_to_bar(is_complete);
        if (!has_stage && errors.empty()) {
            fail(peek(), "layer", fmt::format("expected '|' and a stage, got {}", describe(peek())));
        }
        while (has_stage) {
            next();
            has_stage = advance_to_bar(parse_stage());
        }
        if (errors.empty()) errors = check_shapes(layer);
    }

private:
    std::vector<Token> tokens;
    const std::string &file;
    std::size_t at = 0;
    std::optional<std::size_t> axes; // nothing until the input's shape is read

    const Token &peek() const { return tokens[at]; }

    // Stays at the end of the line.
    Token next() { return peek().kind == TokenKind::end_of_line ? peek() : tokens[at++]; }

    SourcePosition position_of(const Token &token) const { return {file, token.line, token.column}; }

    void fail(const Token &token, std::string_view stage, std::string message) {
        errors.push_back({position_of(token), std::string(stage), std::move(message)});
    }

    // Skips what is left of a stage; says whether another one follows. After a complete stage what is left is
    // an error.
    bool advance_to_bar(bool is_complete) {
        const auto is_end = [&] {
            return peek().kind == TokenKind::bar || peek().kind == TokenKind::end_of_line;
        };
        if (is_complete && !is_end()) {
            fail(peek(), "layer",
                 fmt::format("expected '|' or the end of the line, got {}", describe(peek())));
        }
        while (!is_end())
            next();
        return peek().kind == TokenKind::bar;
    }

    // What stands in parentheses, if anything; nothing after an error in the marks between the arguments.
    std::optional<std::vector<WrittenArgument>> parse_arguments(std::string_view stage) {
        std::vector<WrittenArgument> arguments;
        if (peek().kind != TokenKind::open) return arguments;
        next();
        if (peek().kind == TokenKind::close) {
            next();
            return arguments;
        }
        while (true) {
            if (peek().kind != TokenKind::word) {
                fail(peek(), stage, fmt::format("expected an argument, got {}", describe(peek())));
                return std::nullopt;
            }
            WrittenArgument argument;
            argument.value = next();
            if (peek().kind == TokenKind::equals) {
                next();
                argument.name = std::exchange(argument.value, peek());
                if (peek().kind != TokenKind::word) {
                    fail(peek(), stage,
                         fmt::format("expected a value of {}, got {}", describe(argument.name),
                                     describe(peek())));
                    return std::nullopt;
                }
                next();
            } else if (!arguments.empty() && !arguments.back().name.text.empty()) {
                fail(argument.value, stage,
                     fmt::format("values without a name must come first, got {}", describe(argument.value)));
            }
            arguments.push_back(argument);
            if (peek().kind == TokenKind::close) {
                next();
                return arguments;
            }
            if (peek().kind != TokenKind::comma) {
                fail(peek(), stage, fmt::format("expected ',' or ')', got {}", describe(peek())));
                return std::nullopt;
            }
            next();
        }
    }

    // Both of these say whether the whole stage was read, up to its end.
    bool parse_input() {
        const Token name = next();
        auto written = parse_arguments("input");
        if (!written) return false;
        ArgumentReader reader(*written, std::nullopt);
        Input &input = layer.input;
        reader.read(input);
        report(reader, name, "input");

        if (!reader.value_of("shape")) return true;
        axes = input.spatial.size();
        if (input.layout == Layout::nchw) {
            input.spatial.push_back(input.channels);
            input.channels = input.spatial.front();
            input.spatial.erase(input.spatial.begin());
        }
        // Which size is which is only known once the layout was read.
        if (reader.problems.empty()) report(check_arguments(input), reader, name, "input");
        return true;
    }

    bool parse_stage() {
        const Token name = peek();
        const StageOperation *prototype = find_stage(name.text);
        if (name.kind != TokenKind::word) {
            fail(name, "layer", fmt::format("expected a stage, got {}", describe(name)));
            return false;
        }
        next();
        if (!prototype) {
            fail(name, "layer",
                 name.text == "input"
                     ? "input must stand first, got it again"
                     : fmt::format("unknown stage {}{}", describe(name), suggest_stage(name.text)));
            return parse_arguments(name.text).has_value();
        }
        Stage stage{*prototype, position_of(name)};
        auto written = parse_arguments(name.text);
        if (!written) return false;
        ArgumentReader reader(*written, axes);
        std::visit([&](auto &arguments) { reader.read(arguments); }, stage.operation);
        report(reader, name, name.text);
        report(check_arguments(stage.operation, reader.problems.empty() ? axes : std::nullopt), reader, name,
               name.text);
        layer.stages.push_back(std::move(stage));
        return true;
    }

    void report(const ArgumentReader &reader, const Token &name, std::string_view stage) {
        for (const ArgumentReader::Problem &problem : reader.problems) {
            fail(problem.place.value_or(name), stage, problem.message);
        }
    }

    // A problem stands at the value it names. Fields whose value could not be read hold nothing to be
    // checked.
    void report(const std::vector<ArgumentProblem> &problems, const ArgumentReader &reader, const Token &name,
                std::string_view stage) {
        for (const ArgumentProblem &problem : problems) {
            const std::optional<Token> value = reader.value_of(problem.argument);
            if (value || reader.problems.empty()) fail(value.value_or(name), stage, problem.message);
        }
    }
};

void sort_by_place(std::vector<Diagnostic> &errors) {
    std::stable_sort(errors.begin(), errors.end(), [](const Diagnostic &a, const Diagnostic &b) {
        return std::tie(a.position.line, a.position.column) < std::tie(b.position.line, b.position.column);
    });
}

template<typename Item>
void append(std::vector<Item> &to, std::vector<Item> from) {
    to.insert(to.end(), std::make_move_iterator(from.begin()), std::make_move_iterator(from.end()));
}

} // namespace

ParseResult parse_layers(std::string_view text, const std::string &file) {
    ParseResult result;
    std::map<std::string, int> line_of_name;
    bool is_empty = true;
    for (TokenLine &line : tokenize(text, file)) {
        if (line.is_blank()) continue;
        is_empty = false;
        if (!line.errors.empty()) {
            append(result.errors, std::move(line.errors));
            continue;
        }
        LayerParser parser(std::move(line.tokens), file);
        parser.parse_named();
        const SourcePosition &position = parser.layer.position;
        const auto [first, is_new] = line_of_name.emplace(parser.layer.name, position.line);
        if (!is_new && !parser.layer.name.empty()) {
            parser.errors.push_back({position, "layer",
                                     fmt::format("name must be unique, got '{}', which line {} has",
                                                 parser.layer.name, first->second)});
        }
        if (parser.errors.empty()) result.layers.push_back(std::move(parser.layer));
        append(result.errors, std::move(parser.errors));
    }
    if (is_empty) {
        result.errors.push_back({{file, 1, 1}, "layer", "a file must hold at least one layer, got none"});
    }
    sort_by_place(result.errors);
    return result;
}

ParseResult parse_layer(std::string_view text, const std::string &name, const std::string &file) {
    ParseResult result;
    std::vector<Token> tokens;
    for (TokenLine &line : tokenize(text, file)) {
        append(result.errors, std::move(line.errors));
        if (!tokens.empty()) tokens.pop_back();
        append(tokens, std::move(line.tokens));
    }
    LayerParser parser(std::move(tokens), file);
    parser.layer.name = name;
    parser.layer.position = {file, 1, 1};
    if (!is_identifier(name)) {
        const Token token{TokenKind::word, name, 1, 1};
        result.errors.push_back({parser.layer.position, "layer", name_rule(token)});
    }
    if (result.errors.empty()) parser.parse_chain();
    if (result.errors.empty() && parser.errors.empty()) result.layers.push_back(std::move(parser.layer));
    append(result.errors, std::move(parser.errors));
    sort_by_place(result.errors);
    return result;
}

} // namespace unstride
