// Eight bytes of header length, a JSON header of names, types, shapes and offsets, the numbers.
#include "tools/safetensors.h"

#include "compiler/language/arguments.h"
#include "tools/array_file.h"
#include "tools/files.h"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <optional>
#include <utility>

namespace unstride {
namespace {

static_assert(std::endian::native == std::endian::little, "the numbers are copied as they are");

constexpr std::size_t length_bytes = 8;
constexpr std::uint64_t largest_header = 100'000'000; // the format's own limit

struct ElementSize {
    std::string_view type;
    std::int64_t bytes;
};
constexpr ElementSize element_sizes[] = {{"BOOL", 1}, {"U8", 1},  {"I8", 1},  {"F8_E5M2", 1}, {"F8_E4M3", 1},
                                         {"I16", 2},  {"U16", 2}, {"F16", 2}, {"BF16", 2},    {"I32", 4},
                                         {"U32", 4},  {"F32", 4}, {"F64", 8}, {"I64", 8},     {"U64", 8}};

// A tensor as the header states it, offsets counted from the end of the header.
struct HeaderEntry {
    std::string name;
    std::optional<std::string> type;
    std::optional<std::vector<std::uint64_t>> shape, offsets;
};

// Takes {"name": {"dtype": "F32", "shape": [1, 2], "data_offsets": [0, 8]}, "__metadata__": {"key": "text"}}
// and nothing else. The parser calls one function for each token, so that nothing is built of what is wrong.
class SafetensorsHeaderReader : public nlohmann::json_sax<nlohmann::json> {
public:
    std::vector<HeaderEntry> entries;
    std::string error;

    bool start_object(std::size_t) override {
        if (place_ == Place::before) return enter(Place::names);
        if (place_ == Place::tensor) return enter(Place::fields);
        if (place_ == Place::metadata) return enter(Place::metadata_keys);
        return unexpected("an object");
    }
    bool end_object() override {
        if (place_ == Place::fields && !check_complete()) return false;
        return enter(place_ == Place::names ? Place::after : Place::names);
    }
    bool key(string_t &key) override {
        if (place_ == Place::metadata_keys) return enter(Place::metadata_text);
        return place_ == Place::names ? begin_tensor(key) : begin_field(key);
    }
    bool string(string_t &text) override {
        if (place_ == Place::metadata_text) return enter(Place::metadata_keys);
        if (place_ != Place::type) return unexpected("a text");
        entries.back().type = text;
        return enter(Place::fields);
    }
    bool start_array(std::size_t) override {
        if (place_ == Place::shape) {
            list_ = &entries.back().shape.emplace();
        } else if (place_ == Place::offsets) {
            list_ = &entries.back().offsets.emplace();
        } else {
            return unexpected("a list");
        }
        return enter(Place::list);
    }
    bool end_array() override { return enter(Place::fields); }
    bool number_unsigned(number_unsigned_t number) override {
        if (place_ != Place::list) return unexpected("a number");
        if (list_->size() == largest_rank)
            return fail(fmt::format("a list of '{}' has more than {} numbers", tensor_name(), largest_rank));
        list_->push_back(number);
        return true;
    }
    bool number_integer(number_integer_t number) override {
        return unexpected(fmt::format("the negative number {}", number));
    }
    bool number_float(number_float_t, const string_t &text) override {
        return unexpected(fmt::format("the number {}, which is no integer below 2^64", shown(text)));
    }
    bool null() override { return unexpected("null"); }
    bool boolean(bool value) override { return unexpected(value ? "true" : "false"); }
    bool binary(binary_t &) override { return unexpected("binary data"); }
    bool parse_error(std::size_t position, const std::string &,
                     const nlohmann::detail::exception &) override {
        return fail(fmt::format("the header is no JSON text: error at byte {}", position + length_bytes));
    }

private:
    enum class Place {
        before,
        names,
        tensor,
        fields,
        type,
        shape,
        offsets,
        list,
        metadata,
        metadata_keys,
        metadata_text,
        after
    };
    Place place_ = Place::before;
    std::vector<std::uint64_t> *list_ = nullptr;
    bool has_metadata_ = false;

    bool enter(Place place) {
        place_ = place;
        return true;
    }
    bool fail(std::string text) {
        if (error.empty()) error = std::move(text);
        return false;
    }
    std::string tensor_name() const { return shown(entries.back().name); }

    bool unexpected(const std::string &got) {
        const char *expected = "";
        switch (place_) {
        case Place::before:
            return fail(fmt::format("the header must be an object, got {}", got));
        case Place::metadata:
        case Place::metadata_text:
            return fail(fmt::format("__metadata__ must hold texts by name, got {}", got));
        case Place::tensor:
            expected = "an object";
            break;
        case Place::type:
            expected = "a text for dtype";
            break;
        case Place::shape:
            expected = "a list for shape";
            break;
        case Place::offsets:
            expected = "a list for data_offsets";
            break;
        default:
            expected = "numbers of at least 0 in its lists";
        }
        return fail(fmt::format("tensor '{}': expected {}, got {}", tensor_name(), expected, got));
    }

    bool begin_tensor(const std::string &name) {
        if (name == "__metadata__") {
            if (std::exchange(has_metadata_, true)) return fail("the header has __metadata__ twice");
            return enter(Place::metadata);
        }
        if (name.empty()) return fail("the header has a tensor without a name");
        if (std::any_of(name.begin(), name.end(), [](char c) { return (c >= 0 && c < ' ') || c == 127; }))
            return fail(fmt::format("the name '{}' has a control character", shown(name)));
        entries.push_back({name, {}, {}, {}});
        return enter(Place::tensor);
    }

    bool begin_field(const std::string &field) {
        const HeaderEntry &entry = entries.back();
        const auto begin = [&](Place place, bool again) {
            if (again) return fail(fmt::format("tensor '{}' has '{}' twice", tensor_name(), field));
            return enter(place);
        };
        if (field == "dtype") return begin(Place::type, entry.type.has_value());
        if (field == "shape") return begin(Place::shape, entry.shape.has_value());
        if (field == "data_offsets") return begin(Place::offsets, entry.offsets.has_value());
        return fail(fmt::format("tensor '{}' has an unknown entry '{}'", tensor_name(), shown(field)));
    }

    bool check_complete() {
        const HeaderEntry &entry = entries.back();
        const char *missing = !entry.type      ? "dtype"
                              : !entry.shape   ? "shape"
                              : !entry.offsets ? "data_offsets"
                                               : nullptr;
        if (missing == nullptr) return true;
        return fail(fmt::format("tensor '{}' has no '{}'", tensor_name(), missing));
    }
};

Result<std::string_view> header_text(std::string_view bytes) {
    if (bytes.size() < length_bytes) {
        return Error{fmt::format("not a safetensors file: {} bytes, expected at least the {} of the header's "
                                 "length",
                                 bytes.size(), length_bytes)};
    }
    std::uint64_t length = 0;
    std::memcpy(&length, bytes.data(), length_bytes);
    if (length > largest_header) {
        return Error{
            fmt::format("not a safetensors file: its header would have {} bytes, the format allows {}",
                        length, largest_header)};
    }
    if (bytes.size() - length_bytes < length) {
        return Error{fmt::format("the header is truncated: {} bytes, expected {}",
                                 bytes.size() - length_bytes, length)};
    }
    const std::string_view text = bytes.substr(length_bytes, static_cast<std::size_t>(length));
    if (text.empty() || text[0] != '{')
        return Error{"not a safetensors file: its header does not begin with {"};
    return text;
}

// The bytes that a type and a shape need.
Result<std::int64_t> bytes_of(const HeaderEntry &entry) {
    const auto size = std::find_if(std::begin(element_sizes), std::end(element_sizes),
                                   [&](const ElementSize &known) { return known.type == *entry.type; });
    if (size == std::end(element_sizes))
        return Error{fmt::format("tensor '{}': unknown dtype '{}'", shown(entry.name), shown(*entry.type))};
    const auto too_large = [&] {
        return Error{
            fmt::format("tensor '{}': its shape has more elements than memory can hold", shown(entry.name))};
    };
    std::vector<std::int64_t> factors = {size->bytes};
    for (const std::uint64_t extent : *entry.shape) {
        if (extent > static_cast<std::uint64_t>(largest_element_count)) return too_large();
        factors.push_back(static_cast<std::int64_t>(extent));
    }
    const std::int64_t bytes = capped_product(factors);
    if (bytes > largest_element_count) return too_large();
    return bytes;
}

Result<void> check_offsets(const HeaderEntry &entry, std::size_t data_bytes) {
    const std::string name = shown(entry.name);
    const std::vector<std::uint64_t> &offsets = *entry.offsets;
    if (offsets.size() != 2) {
        return Error{
            fmt::format("tensor '{}': data_offsets must hold 2 numbers, got {}", name, offsets.size())};
    }
    if (offsets[0] > offsets[1] || offsets[1] > data_bytes) {
        return Error{
            fmt::format("tensor '{}': data_offsets must ascend and end within the {} bytes of data, got "
                        "{} and {}",
                        name, data_bytes, offsets[0], offsets[1])};
    }
    const Result<std::int64_t> needed = bytes_of(entry);
    if (!needed) return Error{needed.error()};
    if (static_cast<std::uint64_t>(*needed) != offsets[1] - offsets[0]) {
        return Error{fmt::format("tensor '{}': its dtype and shape need {} bytes, data_offsets give {}", name,
                                 *needed, offsets[1] - offsets[0])};
    }
    return {};
}

// Every byte of the data belongs to one tensor. Precondition: check_offsets accepted each entry.
Result<void> check_cover(const std::vector<HeaderEntry> &entries, std::size_t data_bytes) {
    std::vector<const HeaderEntry *> in_order;
    for (const HeaderEntry &entry : entries)
        in_order.push_back(&entry);
    std::sort(in_order.begin(), in_order.end(),
              [](const HeaderEntry *a, const HeaderEntry *b) { return *a->offsets < *b->offsets; });
    std::uint64_t end = 0;
    for (const HeaderEntry *entry : in_order) {
        const std::uint64_t begin = (*entry->offsets)[0];
        if (begin != end) {
            return Error{fmt::format("tensor '{}' begins at byte {} of the data, {} at byte {}",
                                     shown(entry->name), begin,
                                     begin < end ? "which overlaps the one that ends"
                                                 : "which leaves a gap after the one that ends",
                                     end)};
        }
        end = (*entry->offsets)[1];
    }
    if (end != data_bytes)
        return Error{fmt::format("{} bytes follow the data of the last tensor", data_bytes - end)};
    return {};
}

Result<std::vector<HeaderEntry>> read_header(std::string_view text, std::size_t data_bytes) {
    SafetensorsHeaderReader reader;
    const bool good = nlohmann::json::sax_parse(text.begin(), text.end(), &reader);
    if (!good) return Error{reader.error};
    for (const HeaderEntry &entry : reader.entries) {
        if (const Result<void> checked = check_offsets(entry, data_bytes); !checked)
            return Error{checked.error()};
    }
    if (const Result<void> checked = check_cover(reader.entries, data_bytes); !checked)
        return Error{checked.error()};
    return std::move(reader.entries);
}

template<typename T>
T number_at(const char *bytes) {
    T number;
    std::memcpy(&number, bytes, sizeof(T));
    return number;
}

float from_bf16(const char *bytes) {
    return std::bit_cast<float>(std::uint32_t{number_at<std::uint16_t>(bytes)} << 16);
}

// One sign bit, five of the exponent (biased by 15), ten of the fraction.
float from_f16(const char *bytes) {
    const std::uint32_t bits = number_at<std::uint16_t>(bytes);
    const std::uint32_t sign = (bits & 0x8000u) << 16, exponent = bits >> 10 & 31u, fraction = bits & 0x3ffu;
    if (exponent == 31) return std::bit_cast<float>(sign | 0x7f800000u | fraction << 13);
    if (exponent != 0) return std::bit_cast<float>(sign | (exponent + 127 - 15) << 23 | fraction << 13);
    const float magnitude = std::ldexp(static_cast<float>(fraction), -24);
    return sign != 0 ? -magnitude : magnitude;
}

// The numbers of one type, or nothing where a finite one does not fit.
std::optional<std::vector<float>> numbers(std::string_view type, std::string_view bytes) {
    const auto convert = [&](std::size_t size, auto number) {
        std::vector<float> values;
        values.reserve(bytes.size() / size);
        for (std::size_t at = 0; at < bytes.size(); at += size)
            values.push_back(number(bytes.data() + at));
        return values;
    };
    if (type == "F32") return convert(4, number_at<float>);
    if (type == "F16") return convert(2, from_f16);
    if (type == "BF16") return convert(2, from_bf16);
    bool fits = true;
    std::vector<float> values = convert(8, [&](const char *at) {
        const auto number = number_at<double>(at);
        // Casting a number that rounds beyond the largest float is undefined.
        const bool too_large = std::isfinite(number) && std::abs(number) >= 0x1.ffffffp127;
        if (too_large) fits = false;
        return too_large ? 0.0f : static_cast<float>(number);
    });
    if (!fits) return std::nullopt;
    return values;
}

} // namespace

Result<SafetensorsFile> SafetensorsFile::parse(std::string bytes, const std::string &name) {
    const auto failed = [&](const std::string &error) { return Error{fmt::format("{}: {}", name, error)}; };
    const Result<std::string_view> text = header_text(bytes);
    if (!text) return failed(text.error());
    const std::size_t data_begin = length_bytes + text->size();
    const Result<std::vector<HeaderEntry>> header = read_header(*text, bytes.size() - data_begin);
    if (!header) return failed(header.error());

    SafetensorsFile file;
    for (const HeaderEntry &entry : *header) {
        Entry checked{*entry.type,
                      {entry.shape->begin(), entry.shape->end()},
                      data_begin + static_cast<std::size_t>((*entry.offsets)[0]),
                      data_begin + static_cast<std::size_t>((*entry.offsets)[1])};
        if (!file.entries_.emplace(entry.name, std::move(checked)).second)
            return failed(fmt::format("the header has tensor '{}' twice", shown(entry.name)));
    }
    file.name_ = name;
    file.bytes_ = std::move(bytes);
    return file;
}

Result<SafetensorsFile> SafetensorsFile::read(const std::filesystem::path &path) {
    Result<std::string> bytes = read_file(path);
    if (!bytes) return Error{bytes.error()};
    return parse(std::move(*bytes), path.string());
}

std::vector<std::string> SafetensorsFile::tensor_names() const {
    std::vector<std::string> names;
    for (const auto &[name, entry] : entries_)
        names.push_back(name);
    return names;
}

Result<Tensor> SafetensorsFile::tensor(const std::string &tensor) const {
    const auto found = entries_.find(tensor);
    if (found == entries_.end())
        return Error{fmt::format("{}: there is no tensor '{}'", name_, shown(tensor))};
    const Entry &entry = found->second;
    if (entry.type != "F32" && entry.type != "F16" && entry.type != "BF16" && entry.type != "F64") {
        return Error{fmt::format("{}: tensor '{}': dtype must be F32, F64, F16 or BF16, got {}", name_,
                                 shown(tensor), entry.type)};
    }
    const std::string_view bytes = std::string_view(bytes_).substr(entry.begin, entry.end - entry.begin);
    auto values = numbers(entry.type, bytes);
    if (!values)
        return Error{fmt::format("{}: tensor '{}' holds a number that f32 cannot", name_, shown(tensor))};
    return Tensor{entry.shape, std::move(*values)};
}

} // namespace unstride
