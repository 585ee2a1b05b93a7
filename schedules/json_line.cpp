// A walk over the characters; nothing is converted.
#include "schedules/json_line.h"

#include <fmt/format.h>

#include <cstring>

namespace unstride {

namespace {

class Walker {
public:
    explicit Walker(std::string_view text) : text_(text) {}

    bool split(std::vector<JsonMember> *members) {
        skip_space();
        if (!object(members, 0)) return false;
        skip_space();
        return at_ == text_.size();
    }
    std::size_t position() const { return at_; }

private:
    static constexpr int deepest = 32;

    std::string_view text_;
    std::size_t at_ = 0;

    char next() const { return at_ < text_.size() ? text_[at_] : '\0'; }
    bool take(char c) {
        if (next() != c) return false;
        at_++;
        return true;
    }
    void skip_space() {
        while (next() == ' ' || next() == '\t' || next() == '\r')
            at_++;
    }
    bool skip_digits() {
        const std::size_t begin = at_;
        while (next() >= '0' && next() <= '9')
            at_++;
        return at_ > begin;
    }

    bool object(std::vector<JsonMember> *members, int depth) {
        if (!take('{')) return false;
        skip_space();
        if (take('}')) return true;
        do {
            skip_space();
            const std::size_t key = at_;
            if (!string()) return false;
            const std::size_t key_end = at_;
            skip_space();
            if (!take(':')) return false;
            skip_space();
            const std::size_t begin = at_;
            if (!value(depth + 1)) return false;
            if (members != nullptr) {
                members->push_back(
                    {text_.substr(key + 1, key_end - key - 2), text_.substr(begin, at_ - begin)});
            }
            skip_space();
        } while (take(','));
        return take('}');
    }

    bool array(int depth) {
        if (!take('[')) return false;
        skip_space();
        if (take(']')) return true;
        do {
            skip_whole_numbers();
            skip_space();
            if (!value(depth + 1)) return false;
            skip_space();
        } while (take(','));
        return take(']');
    }

    // "34240,34190," at once: raw samples are most of a line. Those that JSON would refuse are left to
    // value().
    void skip_whole_numbers() {
        const char *at = text_.data() + at_, *const end = text_.data() + text_.size();
        while (at != end && *at >= '1' && *at <= '9') {
            const char *digit = at;
            while (digit != end && *digit >= '0' && *digit <= '9')
                digit++;
            if (digit == end || *digit != ',') break;
            at = digit + 1;
        }
        at_ = static_cast<std::size_t>(at - text_.data());
    }

    bool value(int depth) {
        if (depth > deepest) return false;
        switch (next()) {
        case '{':
            return object(nullptr, depth);
        case '[':
            return array(depth);
        case '"':
            return string();
        case 't':
            return word("true");
        case 'f':
            return word("false");
        case 'n':
            return word("null");
        default:
            return number();
        }
    }

    bool word(std::string_view expected) {
        for (const char c : expected) {
            if (!take(c)) return false;
        }
        return true;
    }

    bool number() {
        take('-');
        if (!take('0') && !skip_digits()) return false;
        if (take('.') && !skip_digits()) return false;
        if (take('e') || take('E')) {
            if (!take('+')) take('-');
            return skip_digits();
        }
        return true;
    }

    bool string() {
        if (!take('"')) return false;
        const char *const end = text_.data() + text_.size();
        for (const char *at = text_.data() + at_; at != end; at++) {
            if (static_cast<unsigned char>(*at) >= 0x20 && *at != '"' && *at != '\\') continue;
            at_ = static_cast<std::size_t>(at - text_.data()) + 1;
            if (*at == '"') return true;
            if (*at != '\\' || !escape()) return false;
            at = text_.data() + at_ - 1;
        }
        at_ = text_.size();
        return false;
    }

    bool escape() {
        const char c = next();
        if (c == '\0') return false;
        at_++;
        if (c != 'u') return std::strchr("\"\\/bfnrt", c) != nullptr;
        for (int digit = 0; digit < 4; digit++, at_++) {
            if (next() == '\0' || std::strchr("0123456789abcdefABCDEF", next()) == nullptr) return false;
        }
        return true;
    }
};

} // namespace

std::optional<std::vector<JsonMember>> split_object(std::string_view text, std::string *error) {
    std::vector<JsonMember> members;
    members.reserve(20);
    Walker walker(text);
    if (walker.split(&members)) return members;
    *error = walker.position() >= text.size()
                 ? "the line ends before its JSON object does"
                 : fmt::format("no JSON object: unexpected character at column {}", walker.position() + 1);
    return std::nullopt;
}

} // namespace unstride
