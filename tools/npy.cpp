// The .npy format: a magic string, a version, a header that is the text of a Python dictionary, the numbers.
#include "tools/npy.h"

#include "tools/array_file.h"
#include "tools/files.h"

#include <array>
#include <bit>
#include <cstring>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <limits>
#include <utility>

namespace unstride {
namespace {

static_assert(std::endian::native == std::endian::little, "the numbers are copied as they are");

constexpr std::string_view magic("\x93NUMPY", 6);

std::string tuple_text(const Sizes &shape) {
    return shape.size() == 1 ? fmt::format("({},)", shape[0]) : fmt::format("({})", fmt::join(shape, ", "));
}

// The number of elements, or nothing when their bytes cannot be counted in 63 bits. Precondition: no size is
// negative.
std::optional<std::int64_t> element_count(const Sizes &shape) {
    constexpr std::int64_t limit = std::numeric_limits<std::int64_t>::max() / std::int64_t{sizeof(float)};
    std::int64_t count = 1;
    for (const std::int64_t size : shape)
        if (size == 0) return 0;
    for (const std::int64_t size : shape) {
        if (count > limit / size) return std::nullopt;
        count *= size;
    }
    return count;
}

struct Header {
    std::optional<std::string> descr;
    std::optional<bool> fortran_order;
    std::optional<Sizes> shape;
};

// Reads {'descr': '<f4', 'fortran_order': False, 'shape': (1, 2), }: the entries in any order, each once.
class NpyHeaderReader {
public:
    explicit NpyHeaderReader(std::string_view text) : text_(text) {}

    Result<Header> read() {
        Header header;
        if (!take('{')) return unexpected("'{'");
        while (!take('}')) {
            const std::optional<std::string> key = string();
            if (!key) return unexpected("a quoted name");
            if (!take(':')) return unexpected("':'");
            const bool again = (*key == "descr" && header.descr) ||
                               (*key == "fortran_order" && header.fortran_order) ||
                               (*key == "shape" && header.shape);
            if (again) return Error{fmt::format("the header has '{}' twice", *key)};
            if (*key == "descr") {
                // A structured type is a list here, which is no string.
                header.descr = string();
                if (!header.descr)
                    return Error{"expected dtype '<f4' (little-endian float32), got a structured type"};
            } else if (*key == "fortran_order") {
                header.fortran_order = truth();
                if (!header.fortran_order) return unexpected("True or False");
            } else if (*key == "shape") {
                Result<Sizes> shape = tuple();
                if (!shape) return Error{shape.error()};
                header.shape = *shape;
            } else {
                return Error{fmt::format("the header has an unknown entry '{}'", shown(*key))};
            }
            if (!take(',') && peek() != '}') return unexpected("',' or '}'");
        }
        skip_space();
        if (at_ != text_.size()) return unexpected("the end");
        if (!header.descr) return Error{"the header has no 'descr'"};
        if (!header.fortran_order) return Error{"the header has no 'fortran_order'"};
        if (!header.shape) return Error{"the header has no 'shape'"};
        return header;
    }

private:
    void skip_space() {
        while (at_ < text_.size() &&
               (text_[at_] == ' ' || text_[at_] == '\n' || text_[at_] == '\t' || text_[at_] == '\r'))
            ++at_;
    }

    // The next character that is no space; '\0' at the end.
    char peek() {
        skip_space();
        return at_ < text_.size() ? text_[at_] : '\0';
    }

    bool take(char c) {
        if (at_ >= text_.size() || peek() != c || at_ >= text_.size()) return false;
        ++at_;
        return true;
    }

    Error unexpected(const char *what) {
        skip_space();
        return Error{
            fmt::format("the header is malformed at byte {}: expected {}, got {}", at_, what,
                        at_ < text_.size() ? fmt::format("'{}'", shown(text_.substr(at_, 1))) : "its end")};
    }

    std::optional<std::string> string() {
        const char quote = peek();
        if (quote != '\'' && quote != '"') return std::nullopt;
        const std::size_t end = text_.find(quote, at_ + 1);
        if (end == std::string_view::npos) return std::nullopt;
        const std::string_view content = text_.substr(at_ + 1, end - at_ - 1);
        at_ = end + 1;
        return std::string(content);
    }

    std::optional<bool> truth() {
        skip_space();
        for (const auto &[word, value] : {std::pair<std::string_view, bool>{"True", true}, {"False", false}})
            if (text_.substr(at_, word.size()) == word) {
                at_ += word.size();
                return value;
            }
        return std::nullopt;
    }

    Result<Sizes> tuple() {
        Sizes shape;
        if (!take('(')) return unexpected("'('");
        bool has_comma = true;
        while (!take(')')) {
            if (!has_comma) return unexpected("',' or ')'");
            if (peek() == '-') return Error{"a size of the shape is negative"};
            std::int64_t size = 0;
            bool has_digit = false;
            for (; peek_digit(); ++at_) {
                const std::int64_t digit = text_[at_] - '0';
                if (size > (std::numeric_limits<std::int64_t>::max() - digit) / 10)
                    return Error{"a size of the shape is beyond 2^63 - 1"};
                size = size * 10 + digit;
                has_digit = true;
            }
            if (!has_digit) return unexpected("a size");
            // Python 2 wrote long integers with an L.
            if (at_ < text_.size() && text_[at_] == 'L') ++at_;
            if (shape.size() == largest_rank)
                return Error{fmt::format("the shape has more than {} sizes", largest_rank)};
            shape.push_back(size);
            has_comma = take(',');
        }
        // (3) is a number in Python, (3,) a tuple.
        if (shape.size() == 1 && !has_comma) return Error{"the shape is a number, expected a tuple"};
        return shape;
    }

    bool peek_digit() const { return at_ < text_.size() && text_[at_] >= '0' && text_[at_] <= '9'; }

    std::string_view text_;
    std::size_t at_ = 0;
};

Result<void> check_header(const Header &header, const std::optional<Sizes> &expected_shape) {
    const std::string &descr = *header.descr;
    if (descr == ">f4") return Error{"expected dtype '<f4' (little-endian float32), got '>f4' (big-endian)"};
    if (descr != "<f4")
        return Error{fmt::format("expected dtype '<f4' (little-endian float32), got '{}'", shown(descr))};
    if (*header.fortran_order)
        return Error{"expected C order, got Fortran order; save numpy.ascontiguousarray(array)"};
    if (expected_shape && *header.shape != *expected_shape)
        return Error{
            fmt::format("expected shape {}, got {}", tuple_text(*expected_shape), tuple_text(*header.shape))};
    return {};
}

// The text of the header, and how many bytes stand before the numbers.
struct Preamble {
    std::string_view header;
    std::size_t size = 0;
};

Result<Preamble> read_preamble(std::string_view bytes) {
    if (bytes.empty()) return Error{"the file is empty, expected a .npy file"};
    if (bytes.substr(0, magic.size()) != magic.substr(0, bytes.size())) return Error{"not a .npy file"};
    constexpr std::size_t version_end = 8;
    if (bytes.size() < version_end)
        return Error{fmt::format("the header is truncated: {} bytes, expected at least {}", bytes.size(),
                                 version_end)};
    const int major = static_cast<unsigned char>(bytes[6]), minor = static_cast<unsigned char>(bytes[7]);
    if (major < 1 || major > 3 || minor != 0)
        return Error{fmt::format("expected format 1.0, 2.0 or 3.0, got {}.{}", major, minor)};

    const std::size_t length_bytes = major == 1 ? 2 : 4;
    const std::size_t header_begin = version_end + length_bytes;
    if (bytes.size() < header_begin)
        return Error{fmt::format("the header is truncated: {} bytes, expected at least {}", bytes.size(),
                                 header_begin)};
    std::size_t length = 0;
    for (std::size_t k = length_bytes; k-- > 0;)
        length = length << 8 | static_cast<unsigned char>(bytes[version_end + k]);
    if (bytes.size() - header_begin < length)
        return Error{fmt::format("the header is truncated: {} bytes, expected {}",
                                 bytes.size() - header_begin, length)};
    return Preamble{bytes.substr(header_begin, length), header_begin + length};
}

Result<NpyArray> parse(std::string_view bytes, const std::optional<Sizes> &expected_shape) {
    const Result<Preamble> preamble = read_preamble(bytes);
    if (!preamble) return Error{preamble.error()};
    const Result<Header> header = NpyHeaderReader(preamble->header).read();
    if (!header) return Error{header.error()};
    if (const Result<void> checked = check_header(*header, expected_shape); !checked)
        return Error{checked.error()};

    const Sizes &shape = *header->shape;
    const std::optional<std::int64_t> count = element_count(shape);
    if (!count)
        return Error{fmt::format("shape {} has more elements than memory can hold", tuple_text(shape))};
    const std::string_view data = bytes.substr(preamble->size);
    const std::uint64_t expected_bytes = static_cast<std::uint64_t>(*count) * sizeof(float);
    if (data.size() < expected_bytes)
        return Error{fmt::format("the data is truncated: shape {} needs {} bytes, got {}", tuple_text(shape),
                                 expected_bytes, data.size())};
    if (data.size() > expected_bytes)
        return Error{fmt::format("{} bytes follow the data of shape {}", data.size() - expected_bytes,
                                 tuple_text(shape))};
    NpyArray array{shape, std::vector<float>(static_cast<std::size_t>(*count))};
    if (*count > 0) std::memcpy(array.values.data(), data.data(), data.size());
    return array;
}

} // namespace

Result<NpyArray> parse_npy(std::string_view bytes, const std::string &name,
                           const std::optional<Sizes> &expected_shape) {
    Result<NpyArray> array = parse(bytes, expected_shape);
    if (!array) return Error{fmt::format("{}: {}", name, array.error())};
    return array;
}

Result<NpyArray> read_npy(const std::filesystem::path &path, const std::optional<Sizes> &expected_shape) {
    const Result<std::string> bytes = read_file(path);
    if (!bytes) return Error{bytes.error()};
    return parse_npy(*bytes, path.string(), expected_shape);
}

Result<void> write_npy(const std::filesystem::path &path, const Sizes &shape, std::span<const float> values) {
    for (const std::int64_t size : shape)
        if (size < 0)
            return Error{fmt::format("{}: shape {} has a negative size", path.string(), tuple_text(shape))};
    if (shape.size() > largest_rank)
        return Error{fmt::format("{}: the shape has more than {} sizes", path.string(), largest_rank)};
    const std::optional<std::int64_t> count = element_count(shape);
    if (!count || static_cast<std::uint64_t>(*count) != values.size())
        return Error{fmt::format("{}: shape {} does not have {} elements", path.string(), tuple_text(shape),
                                 values.size())};

    // NumPy ends the header with a line break where the data begins, at a multiple of 64 bytes.
    std::string header =
        fmt::format("{{'descr': '<f4', 'fortran_order': False, 'shape': {}, }}", tuple_text(shape));
    const std::size_t before = magic.size() + 4;
    header.append((64 - (before + header.size() + 1) % 64) % 64, ' ');
    header += '\n';
    std::string preamble(magic);
    preamble +=
        {'\x01', '\x00', static_cast<char>(header.size() & 0xff), static_cast<char>(header.size() >> 8)};
    const std::string_view data(reinterpret_cast<const char *>(values.data()), values.size_bytes());
    return write_file_atomically(path, {preamble, header, data});
}

} // namespace unstride
