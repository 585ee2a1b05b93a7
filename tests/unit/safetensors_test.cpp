// .safetensors files: what is read, and every way a file can be wrong.
#include "tools/safetensors.h"

#include "tools/files.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>

namespace unstride {
namespace {

std::string bytes_of(std::uint64_t number, std::size_t count) {
    std::string text;
    for (std::size_t k = 0; k < count; k++)
        text += static_cast<char>(number >> (8 * k));
    return text;
}

template<typename T>
std::string bytes_of(const std::vector<T> &values) {
    return {reinterpret_cast<const char *>(values.data()), values.size() * sizeof(T)};
}

std::string file_of(const std::string &header, const std::string &data) {
    return bytes_of(header.size(), 8) + header + data;
}

std::string entry(const std::string &type, const std::string &shape, const std::string &offsets) {
    return R"({"dtype":")" + type + R"(","shape":)" + shape + R"(,"data_offsets":)" + offsets + "}";
}

std::string error_in(const std::string &bytes) {
    const auto file = SafetensorsFile::parse(bytes, "x.safetensors");
    return file.ok() ? "no error" : file.error();
}

// The error of a file with one tensor `a`.
std::string error_with(const std::string &header_entry, const std::string &data = std::string(8, '\0')) {
    return error_in(file_of("{\"a\":" + header_entry + "}", data));
}

const std::string small_file =
    file_of(R"({"__metadata__":{"format":"pt"},"b":)" + entry("F32", "[2,1]", "[4,12]") + R"(,"a":)" +
                entry("F16", "[2]", "[0,4]") + "}   ",
            bytes_of(std::vector<std::uint16_t>{0x3c00, 0xc000}) + bytes_of(std::vector<float>{1.5f, -0.0f}));

TEST(Safetensors, ReadsTensorsByName) {
    const auto file = SafetensorsFile::parse(small_file, "x.safetensors");
    ASSERT_TRUE(file.ok()) << file.error();
    EXPECT_EQ(file->tensor_names(), (std::vector<std::string>{"a", "b"}));
    EXPECT_EQ(*file->tensor("a"), (Tensor{{2}, {1, -2}}));
    EXPECT_EQ(*file->tensor("b"), (Tensor{{2, 1}, {1.5f, 0}}));
    EXPECT_TRUE(std::signbit(file->tensor("b")->values[1]));
    EXPECT_TRUE(file->contains("a"));
    EXPECT_FALSE(file->contains("__metadata__"));
    EXPECT_EQ(file->tensor("c").error(), "x.safetensors: there is no tensor 'c'");
}

TEST(Safetensors, EmptyFilesAndTensorsAndScalarsAreLegal) {
    EXPECT_EQ(error_in(file_of("{}", "")), "no error");
    const auto file = SafetensorsFile::parse(
        file_of(R"({"a":)" + entry("F32", "[0,3]", "[0,0]") + R"(,"b":)" + entry("F32", "[]", "[0,4]") + "}",
                bytes_of(std::vector<float>{7})),
        "x.safetensors");
    ASSERT_TRUE(file.ok()) << file.error();
    EXPECT_EQ(*file->tensor("a"), (Tensor{{0, 3}, {}}));
    EXPECT_EQ(*file->tensor("b"), (Tensor{{}, {7}}));
}

template<typename T>
std::vector<float> converted(const std::string &type, const std::vector<T> &values,
                             std::string *error = nullptr) {
    const std::string data = bytes_of(values), size = std::to_string(values.size());
    const auto file = SafetensorsFile::parse(
        file_of("{\"a\":" + entry(type, "[" + size + "]", "[0," + std::to_string(data.size()) + "]") + "}",
                data),
        "x.safetensors");
    EXPECT_TRUE(file.ok()) << file.error();
    auto tensor = file->tensor("a");
    if (!tensor && error != nullptr) *error = tensor.error();
    return tensor ? tensor->values : std::vector<float>{};
}

TEST(Safetensors, ConvertsHalfPrecision) {
    const std::vector<float> values = converted<std::uint16_t>(
        "F16", {0x0000, 0x8000, 0x0001, 0x83ff, 0x0400, 0x3555, 0x7bff, 0x7c00, 0xfc00, 0x7e00});
    ASSERT_EQ(values.size(), 10u);
    EXPECT_EQ(values[0], 0);
    EXPECT_TRUE(std::signbit(values[1]));
    EXPECT_EQ(values[2], 0x1p-24f);
    EXPECT_EQ(values[3], -1023 * 0x1p-24f);
    EXPECT_EQ(values[4], 0x1p-14f);
    EXPECT_EQ(values[5], 0x1.554p-2f);
    EXPECT_EQ(values[6], 65504);
    EXPECT_EQ(values[7], std::numeric_limits<float>::infinity());
    EXPECT_EQ(values[8], -std::numeric_limits<float>::infinity());
    EXPECT_TRUE(std::isnan(values[9]));
    EXPECT_EQ(converted<std::uint16_t>("BF16", {0x3f80, 0xc049, 0x0001}),
              (std::vector<float>{1, -3.140625f, 0x1p-133f}));
}

TEST(Safetensors, ConvertsDoublesThatFit) {
    const double infinity = std::numeric_limits<double>::infinity();
    EXPECT_EQ(converted<double>("F64", {0.1, -infinity, 0x1.fffffep127}),
              (std::vector<float>{0.1f, -std::numeric_limits<float>::infinity(), 0x1.fffffep127f}));
    std::string error;
    converted<double>("F64", {1, 0x1p128}, &error);
    EXPECT_EQ(error, "x.safetensors: tensor 'a' holds a number that f32 cannot");
}

TEST(Safetensors, IntegersAreRefusedOnlyWhenAskedFor) {
    std::string error;
    converted<std::int64_t>("I64", {1, 2}, &error);
    EXPECT_EQ(error, "x.safetensors: tensor 'a': dtype must be F32, F64, F16 or BF16, got I64");
}

TEST(Safetensors, EveryTruncationIsAnError) {
    for (std::size_t size = 0; size < small_file.size(); size++)
        EXPECT_NE(error_in(small_file.substr(0, size)), "no error") << size;
    EXPECT_EQ(error_in(small_file), "no error");
    EXPECT_EQ(error_in(small_file + "x"), "x.safetensors: 1 bytes follow the data of the last tensor");
}

TEST(Safetensors, NoChangedByteCrashes) {
    int errors = 0;
    for (std::size_t at = 0; at + 12 < small_file.size(); at++) {
        for (int value = 0; value < 256; value++) {
            std::string bytes = small_file;
            bytes[at] = static_cast<char>(value);
            const auto file = SafetensorsFile::parse(bytes, "x.safetensors");
            if (!file) {
                errors++;
                EXPECT_FALSE(file.error().empty());
                continue;
            }
            for (const std::string &name : file->tensor_names())
                (void)file->tensor(name).ok();
        }
    }
    EXPECT_GT(errors, 10000);
}

TEST(Safetensors, WrongLengthsAreNamed) {
    EXPECT_EQ(error_in(""), "x.safetensors: not a safetensors file: 0 bytes, expected at least the 8 of the "
                            "header's length");
    EXPECT_EQ(
        error_in(bytes_of(~std::uint64_t{0}, 8) + "{}"),
        "x.safetensors: not a safetensors file: its header would have 18446744073709551615 bytes, the format "
        "allows 100000000");
    EXPECT_EQ(error_in(bytes_of(3, 8) + "{}"), "x.safetensors: the header is truncated: 2 bytes, expected 3");
    EXPECT_EQ(error_in(file_of("", "")),
              "x.safetensors: not a safetensors file: its header does not begin with {");
    EXPECT_EQ(error_in(file_of(" {}", "")),
              "x.safetensors: not a safetensors file: its header does not begin with {");
}

TEST(Safetensors, MalformedHeadersAreNamed) {
    EXPECT_EQ(error_in(file_of("{\"a\"", "")), "x.safetensors: the header is no JSON text: error at byte 13");
    EXPECT_NE(error_in(file_of("{}{}", "")), "no error");
    EXPECT_NE(error_in(file_of("{\"\xff\":1}", "")), "no error");
    EXPECT_EQ(error_in(file_of("{\"a\":1}", "")),
              "x.safetensors: tensor 'a': expected an object, got a number");
    EXPECT_EQ(error_in(file_of(R"({"":{}})", "")), "x.safetensors: the header has a tensor without a name");
    EXPECT_EQ(error_in(file_of(R"({"a\n":{}})", "")), "x.safetensors: the name 'a?' has a control character");
    EXPECT_EQ(error_with("{}"), "x.safetensors: tensor 'a' has no 'dtype'");
    EXPECT_EQ(error_with(R"({"dtype":"F32","shape":[2]})"),
              "x.safetensors: tensor 'a' has no 'data_offsets'");
    EXPECT_EQ(error_with(R"({"dtype":"F32","dtype":"F32"})"), "x.safetensors: tensor 'a' has 'dtype' twice");
    EXPECT_EQ(error_with(R"({"extra":1})"), "x.safetensors: tensor 'a' has an unknown entry 'extra'");
    EXPECT_EQ(error_with(R"({"dtype":4})"),
              "x.safetensors: tensor 'a': expected a text for dtype, got a number");
    EXPECT_EQ(error_with(R"({"shape":{}})"),
              "x.safetensors: tensor 'a': expected a list for shape, got an object");
    EXPECT_EQ(error_with(entry("F32", "[\"2\"]", "[0,8]")),
              "x.safetensors: tensor 'a': expected numbers of at least 0 in its lists, got a text");
    EXPECT_EQ(
        error_with(entry("F32", "[-2]", "[0,8]")),
        "x.safetensors: tensor 'a': expected numbers of at least 0 in its lists, got the negative number -2");
    EXPECT_EQ(error_with(entry("F32", "[2.0]", "[0,8]")),
              "x.safetensors: tensor 'a': expected numbers of at least 0 in its lists, got the number 2.0, "
              "which is no "
              "integer below 2^64");
    EXPECT_NE(error_with(entry("F32", "[99999999999999999999]", "[0,8]")), "no error");
    EXPECT_NE(error_with(entry("F32", "[[2]]", "[0,8]")), "no error");
    EXPECT_NE(error_with(entry("F32", "[null]", "[0,8]")), "no error");
    EXPECT_EQ(error_in(file_of(R"({"__metadata__":{"a":1}})", "")),
              "x.safetensors: __metadata__ must hold texts by name, got a number");
    EXPECT_EQ(error_in(file_of(R"({"__metadata__":[]})", "")),
              "x.safetensors: __metadata__ must hold texts by name, got a list");
    EXPECT_EQ(error_in(file_of(R"({"__metadata__":{},"__metadata__":{}})", "")),
              "x.safetensors: the header has __metadata__ twice");
    EXPECT_EQ(
        error_in(file_of(
            "{\"a\":" + entry("F32", "[0]", "[0,0]") + ",\"a\":" + entry("F32", "[0]", "[0,0]") + "}", "")),
        "x.safetensors: the header has tensor 'a' twice");
    EXPECT_NE(error_in(file_of("{\"a\":" + std::string(1000000, '['), "")), "no error");
    EXPECT_NE(error_in(file_of("{" + std::string(1000000, '{'), "")), "no error");
}

TEST(Safetensors, WrongShapesAndOffsetsAreNamed) {
    EXPECT_EQ(error_with(entry("F32", "[2]", "[0,8]")), "no error");
    EXPECT_EQ(error_with(entry("F33", "[2]", "[0,8]")), "x.safetensors: tensor 'a': unknown dtype 'F33'");
    EXPECT_EQ(error_with(entry("F32", "[3]", "[0,8]")),
              "x.safetensors: tensor 'a': its dtype and shape need 12 bytes, data_offsets give 8");
    EXPECT_EQ(error_with(entry("F32", "[2]", "[0,8,8]")),
              "x.safetensors: tensor 'a': data_offsets must hold 2 numbers, got 3");
    EXPECT_EQ(error_with(entry("F32", "[2]", "[8,0]")), "x.safetensors: tensor 'a': data_offsets must ascend "
                                                        "and end within the 8 bytes of data, got 8 and 0");
    EXPECT_NE(error_with(entry("F32", "[2]", "[18446744073709551608,18446744073709551615]")), "no error");
    EXPECT_NE(error_with(entry("F32", "[2]", "[4,12]")), "no error");
    for (const char *shape : {"[4294967296,4294967296]", "[18446744073709551615]", "[0,18446744073709551615]",
                              "[9223372036854775807,2]", "[4611686018427387904]"})
        EXPECT_EQ(error_with(entry("F32", shape, "[0,8]")),
                  "x.safetensors: tensor 'a': its shape has more elements than memory can hold")
            << shape;
    std::string ones = "[2";
    for (int i = 0; i < 40; i++)
        ones += ",1";
    EXPECT_EQ(error_with(entry("F32", ones + "]", "[0,8]")),
              "x.safetensors: a list of 'a' has more than 32 numbers");
}

TEST(Safetensors, GapsAndOverlapsAreNamed) {
    const auto two = [](const std::string &a, const std::string &b, std::size_t bytes) {
        return error_in(file_of("{\"a\":" + entry("F32", "[1]", a) + ",\"b\":" + entry("F32", "[1]", b) + "}",
                                std::string(bytes, '\0')));
    };
    EXPECT_EQ(two("[4,8]", "[0,4]", 8), "no error");
    EXPECT_EQ(
        two("[0,4]", "[0,4]", 4),
        "x.safetensors: tensor 'b' begins at byte 0 of the data, which overlaps the one that ends at byte 4");
    EXPECT_EQ(two("[0,4]", "[8,12]", 12), "x.safetensors: tensor 'b' begins at byte 8 of the data, which "
                                          "leaves a gap after the one that ends at "
                                          "byte 4");
    EXPECT_NE(two("[0,4]", "[2,6]", 6), "no error");
    EXPECT_EQ(two("[0,4]", "[4,8]", 9), "x.safetensors: 1 bytes follow the data of the last tensor");
}

TEST(Safetensors, FilesAreReadFromTheDisk) {
    const auto folder = make_temporary_folder("unstride-safetensors");
    ASSERT_TRUE(folder.ok());
    const auto path = folder->path() / "w.safetensors";
    ASSERT_TRUE(write_file_atomically(path, small_file).ok());
    EXPECT_TRUE(SafetensorsFile::read(path).ok());
    EXPECT_NE(SafetensorsFile::read(folder->path() / "missing").error().find("cannot open"),
              std::string::npos);
    EXPECT_NE(SafetensorsFile::read(folder->path()).error().find("is a folder"), std::string::npos);
}

} // namespace
} // namespace unstride
