// .npy files: what is read back, every way a file can be wrong, and writing that leaves nothing half-written.
#include "tools/npy.h"

#include "tests/unit/write_limit.h"
#include "tools/files.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <numeric>

namespace unstride {
namespace {

namespace fs = std::filesystem;

bool contains(const std::string &text, const std::string &part) {
    return text.find(part) != std::string::npos;
}

template<typename T>
std::string error_of(const Result<T> &result) {
    return result.ok() ? "no error" : result.error();
}

std::string little_endian(std::size_t value, std::size_t bytes) {
    std::string text;
    for (std::size_t k = 0; k < bytes; ++k)
        text += static_cast<char>(value >> (8 * k));
    return text;
}

std::string numbers(std::size_t count) {
    std::vector<float> values(count);
    std::iota(values.begin(), values.end(), 1.0f);
    return {reinterpret_cast<const char *>(values.data()), count * sizeof(float)};
}

std::string file_of(const std::string &header, const std::string &data, int major = 1) {
    return "\x93NUMPY" + little_endian(static_cast<std::size_t>(major), 1) + little_endian(0, 1) +
           little_endian(header.size(), major == 1 ? 2 : 4) + header + data;
}

std::string header_of(const std::string &shape, const std::string &descr = "'<f4'",
                      const std::string &fortran = "False") {
    return "{'descr': " + descr + ", 'fortran_order': " + fortran + ", 'shape': " + shape + ", }\n";
}

std::string error_in(const std::string &bytes) {
    return error_of(parse_npy(bytes, "x.npy"));
}

class Npy : public testing::Test {
protected:
    Result<TemporaryFolder> folder_ = make_temporary_folder("unstride-npy-test");

    void SetUp() override { ASSERT_TRUE(folder_.ok()) << error_of(folder_); }
    fs::path path(const std::string &name) const { return folder_->path() / name; }
    std::ptrdiff_t entries() const {
        return std::distance(fs::directory_iterator(folder_->path()), fs::directory_iterator());
    }
};

TEST_F(Npy, ReadsWhatItWrote) {
    for (const std::vector<std::int64_t> &shape :
         {std::vector<std::int64_t>{}, {1}, {7}, {2, 3}, {1, 2, 3, 4, 5}, {0}, {3, 0, 2}}) {
        std::vector<float> values(static_cast<std::size_t>(
            std::accumulate(shape.begin(), shape.end(), std::int64_t{1}, std::multiplies<>())));
        std::iota(values.begin(), values.end(), -1.5f);
        ASSERT_TRUE(write_npy(path("a.npy"), shape, values).ok());
        const Result<NpyArray> array = read_npy(path("a.npy"), shape);
        ASSERT_TRUE(array.ok()) << error_of(array);
        EXPECT_EQ(*array, (NpyArray{shape, values}));
    }
    EXPECT_EQ(entries(), 1);
}

TEST_F(Npy, KeepsEveryBit) {
    const std::vector<float> values{std::nanf("5"), std::numeric_limits<float>::infinity(), -0.0f,
                                    std::numeric_limits<float>::denorm_min()};
    ASSERT_TRUE(write_npy(path("a.npy"), {4}, values).ok());
    const NpyArray array = *read_npy(path("a.npy"));
    EXPECT_EQ(std::memcmp(array.values.data(), values.data(), sizeof(float) * values.size()), 0);
}

TEST_F(Npy, WritesTheBytesThatNumPyWrites) {
    ASSERT_TRUE(write_npy(path("a.npy"), {2, 1}, std::vector<float>{1, 2}).ok());
    std::string header = "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 1), }";
    header.resize(128 - 10 - 1, ' ');
    EXPECT_EQ(*read_file(path("a.npy")), file_of(header + "\n", numbers(2)));
}

TEST_F(Npy, AlignsTheDataForEveryLengthOfShape) {
    for (std::int64_t size = 1; size < 1000000000000000000; size *= 10)
        for (std::size_t rank = 1; rank < 5; ++rank) {
            std::vector<std::int64_t> shape(rank, size);
            shape.push_back(0);
            ASSERT_TRUE(write_npy(path("a.npy"), shape, {}).ok());
            EXPECT_EQ(fs::file_size(path("a.npy")) % 64, 0u);
            EXPECT_EQ(read_npy(path("a.npy"))->shape, shape);
        }
}

TEST_F(Npy, ReadsEveryVersionAndSpelling) {
    const NpyArray expected{{2, 3}, {1, 2, 3, 4, 5, 6}};
    for (const int version : {1, 2, 3})
        for (const std::string &header :
             {header_of("(2, 3)"), header_of("(2,3,)"), header_of("(2L, 3L)"), header_of("(2, 3)") + "      ",
              std::string(R"({"shape":(2,3),"fortran_order":False,"descr":"<f4"})")}) {
            const Result<NpyArray> array = parse_npy(file_of(header, numbers(6), version), "x.npy");
            ASSERT_TRUE(array.ok()) << error_of(array) << " " << header;
            EXPECT_EQ(*array, expected);
        }
}

TEST_F(Npy, NamesFilesThatCannotBeRead) {
    EXPECT_EQ(error_of(read_npy(path("missing.npy"))),
              path("missing.npy").string() + ": cannot open: No such file or directory");
    EXPECT_EQ(error_of(read_npy(folder_->path())),
              folder_->path().string() + ": is a folder, expected a file");
    EXPECT_TRUE(contains(error_of(read_npy("/proc/self/mem")), "/proc/self/mem: cannot read"));
    ASSERT_TRUE(write_file_atomically(path("text.npy"), "hello").ok());
    EXPECT_EQ(error_of(read_npy(path("text.npy"))), path("text.npy").string() + ": not a .npy file");
}

TEST_F(Npy, NamesWhatIsWrongWithAFile) {
    EXPECT_EQ(error_in(""), "x.npy: the file is empty, expected a .npy file");
    EXPECT_EQ(error_in("PK\x03\x04 something else"), "x.npy: not a .npy file");
    EXPECT_EQ(error_in("\x93NUM"), "x.npy: the header is truncated: 4 bytes, expected at least 8");
    EXPECT_EQ(error_in(file_of(header_of("(2,)"), numbers(2), 4)),
              "x.npy: expected format 1.0, 2.0 or 3.0, got 4.0");
    EXPECT_EQ(error_in(file_of(header_of("(2,)"), "").substr(0, 20)),
              "x.npy: the header is truncated: 10 bytes, expected 58");
    EXPECT_EQ(error_in(file_of(header_of("(2, 3)"), numbers(5))),
              "x.npy: the data is truncated: shape (2, 3) needs 24 bytes, got 20");
    EXPECT_EQ(error_in(file_of(header_of("(2, 3)"), numbers(6) + "ab")),
              "x.npy: 2 bytes follow the data of shape (2, 3)");
    EXPECT_EQ(error_in(file_of(header_of("(0,)"), "ab")), "x.npy: 2 bytes follow the data of shape (0,)");
}

TEST_F(Npy, NamesTypesAndOrdersItDoesNotRead) {
    EXPECT_EQ(error_in(file_of(header_of("(2,)", "'>f4'"), numbers(2))),
              "x.npy: expected dtype '<f4' (little-endian float32), got '>f4' (big-endian)");
    EXPECT_EQ(error_in(file_of(header_of("(1,)", "'<f8'"), numbers(2))),
              "x.npy: expected dtype '<f4' (little-endian float32), got '<f8'");
    EXPECT_EQ(error_in(file_of(header_of("(8,)", "'|u1'"), numbers(2))),
              "x.npy: expected dtype '<f4' (little-endian float32), got '|u1'");
    EXPECT_EQ(error_in(file_of(header_of("(2,)", "[('r', '<f4')]"), numbers(2))),
              "x.npy: expected dtype '<f4' (little-endian float32), got a structured type");
    EXPECT_TRUE(contains(error_in(file_of(header_of("(2,)", "'<f4'", "True"), numbers(2))),
                         "expected C order, got Fortran order"));
    EXPECT_EQ(error_of(parse_npy(file_of(header_of("(2, 3)"), numbers(6)), "x.npy", {{3, 2}})),
              "x.npy: expected shape (3, 2), got (2, 3)");
    EXPECT_EQ(error_of(parse_npy(file_of(header_of("(6,)"), numbers(6)), "x.npy", {{6, 1}})),
              "x.npy: expected shape (6, 1), got (6,)");
}

TEST_F(Npy, RefusesHugeShapesBeforeAllocating) {
    EXPECT_EQ(error_in(file_of(header_of("(1000000000000,)"), numbers(2))),
              "x.npy: the data is truncated: shape (1000000000000,) needs 4000000000000 bytes, got 8");
    for (const std::string shape :
         {"(4294967296, 4294967296)", "(9223372036854775807,)", "(4611686018427387904, 2, 2)"})
        EXPECT_EQ(error_in(file_of(header_of(shape), numbers(2))),
                  "x.npy: shape " + shape + " has more elements than memory can hold");
    EXPECT_EQ(error_in(file_of(header_of("(9223372036854775808,)"), numbers(2))),
              "x.npy: a size of the shape is beyond 2^63 - 1");
    EXPECT_EQ(error_in(file_of(header_of("(-1,)"), numbers(2))), "x.npy: a size of the shape is negative");
    // A header that claims to be longer than any file.
    EXPECT_EQ(error_in("\x93NUMPY" + little_endian(2, 2) + little_endian(0xffffffff, 4) + "{"),
              "x.npy: the header is truncated: 1 bytes, expected 4294967295");
    std::string many = "(";
    for (int k = 0; k < 33; ++k)
        many += "1,";
    EXPECT_EQ(error_in(file_of(header_of(many + ")"), numbers(1))),
              "x.npy: the shape has more than 32 sizes");
    // An empty array has no elements, however large its other sizes.
    EXPECT_TRUE(
        parse_npy(file_of(header_of("(9223372036854775807, 9223372036854775807, 0)"), ""), "x.npy").ok());
}

TEST_F(Npy, NamesMalformedHeaders) {
    const auto malformed = [](const std::string &header) { return error_in(file_of(header, numbers(2))); };
    EXPECT_EQ(malformed(""), "x.npy: the header is malformed at byte 0: expected '{', got its end");
    EXPECT_EQ(malformed("[]"), "x.npy: the header is malformed at byte 0: expected '{', got '['");
    EXPECT_EQ(malformed("{}"), "x.npy: the header has no 'descr'");
    EXPECT_EQ(malformed("{'descr': '<f4'}"), "x.npy: the header has no 'fortran_order'");
    EXPECT_EQ(malformed("{'descr': '<f4', 'fortran_order': False}"), "x.npy: the header has no 'shape'");
    EXPECT_EQ(malformed("{'descr': '<f4', 'descr': '<f4'}"), "x.npy: the header has 'descr' twice");
    EXPECT_EQ(malformed("{'colour': 'red'}"), "x.npy: the header has an unknown entry 'colour'");
    EXPECT_EQ(malformed(header_of("(2)")), "x.npy: the shape is a number, expected a tuple");
    EXPECT_EQ(malformed(header_of("2")), "x.npy: the header is malformed at byte 50: expected '(', got '2'");
    EXPECT_TRUE(contains(malformed(header_of("(1 2)")), "expected ',' or ')', got '2'"));
    EXPECT_TRUE(contains(malformed(header_of("(a,)")), "expected a size, got 'a'"));
    EXPECT_TRUE(contains(malformed(header_of("(2,)", "'<f4'", "Maybe")), "expected True or False, got 'M'"));
    EXPECT_TRUE(contains(malformed(header_of("(2,)") + "more"), "expected the end, got 'm'"));
    EXPECT_TRUE(contains(malformed(header_of("(2,)") + std::string("\0", 1)), "expected the end, got '?'"));
    EXPECT_TRUE(contains(malformed("{'descr"), "expected a quoted name"));
    EXPECT_TRUE(contains(malformed("{'descr' '<f4'}"), "expected ':'"));
    EXPECT_TRUE(contains(malformed("{'descr': '<f4' 'shape': (2,)}"), "expected ',' or '}'"));
    EXPECT_TRUE(contains(malformed(header_of("(2,)", "'" + std::string(1000, '\x01') + "'")),
                         "got '" + std::string(60, '?') + "...'"));
}

TEST_F(Npy, EveryTruncationIsAnError) {
    for (const int version : {1, 2, 3}) {
        const std::string whole = file_of(header_of("(2, 3)"), numbers(6), version);
        ASSERT_TRUE(parse_npy(whole, "x.npy").ok());
        for (std::size_t size = 0; size < whole.size(); ++size) {
            // A copy of its own, so that a sanitizer sees a read beyond the end.
            const std::vector<char> part(whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(size));
            EXPECT_FALSE(parse_npy(std::string_view(part.data(), part.size()), "x.npy").ok()) << size;
            EXPECT_FALSE(parse_npy(file_of(whole.substr(0, size), numbers(6), version), "x.npy").ok())
                << size;
        }
    }
}

TEST_F(Npy, EveryTruncatedHeaderIsAnError) {
    const std::string header = header_of("(2, 3)");
    const std::size_t closing = header.find('}');
    for (std::size_t size = 0; size <= closing; ++size)
        EXPECT_FALSE(parse_npy(file_of(header.substr(0, size), numbers(6)), "x.npy").ok())
            << header.substr(0, size);
}

TEST_F(Npy, EveryChangedByteIsReadOrRefused) {
    const std::string whole = file_of(header_of("(2, 3)"), numbers(6));
    for (std::size_t at = 0; at < whole.size() - 24; ++at)
        for (int value = 0; value < 256; ++value) {
            std::string changed = whole;
            changed[at] = static_cast<char>(value);
            const Result<NpyArray> array = parse_npy(changed, "x.npy");
            if (array.ok()) {
                EXPECT_EQ(array->values.size(), 6u);
            }
        }
}

TEST_F(Npy, WritingRefusesWhatIsNoArray) {
    EXPECT_TRUE(contains(error_of(write_npy(path("a.npy"), {2, 3}, std::vector<float>(5))),
                         "shape (2, 3) does not have 5 elements"));
    EXPECT_TRUE(contains(error_of(write_npy(path("a.npy"), {-1}, {})), "shape (-1,) has a negative size"));
    EXPECT_TRUE(contains(error_of(write_npy(path("a.npy"), {1LL << 62, 4}, {})), "does not have 0 elements"));
    EXPECT_TRUE(
        contains(error_of(write_npy(path("a.npy"), std::vector<std::int64_t>(33, 1), std::vector<float>(1))),
                 "more than 32"));
    EXPECT_EQ(entries(), 0);
}

TEST_F(Npy, AFailedWriteLeavesTheOldFileAndNothingElse) {
    const std::vector<float> values(10000, 1.0f);
    EXPECT_TRUE(
        contains(error_of(write_npy(path("missing/a.npy"), {10000}, values)), "No such file or directory"));
    EXPECT_TRUE(
        contains(error_of(write_npy("/proc/a.npy", {10000}, values)), "cannot create a file in its folder"));
    ASSERT_TRUE(write_npy(path("a.npy"), {1}, std::vector<float>{5}).ok());
    {
        const WriteLimit limit(4096);
        EXPECT_TRUE(contains(error_of(write_npy(path("a.npy"), {10000}, values)), "cannot write"));
        EXPECT_TRUE(contains(error_of(write_npy(path("b.npy"), {10000}, values)), "cannot write"));
    }
    EXPECT_EQ(read_npy(path("a.npy"))->values, std::vector<float>{5});
    EXPECT_EQ(entries(), 1);
}

} // namespace
} // namespace unstride
