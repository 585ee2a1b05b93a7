// SHA-256 against the vectors published with the standard, and the division of parts.
#include "tools/sha256.h"

#include <gtest/gtest.h>

#include <vector>

namespace unstride {
namespace {

TEST(Sha256, MatchesThePublishedVectors) {
    EXPECT_EQ(sha256(""), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    EXPECT_EQ(sha256("abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    EXPECT_EQ(sha256("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq"),
              "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
    EXPECT_EQ(sha256("abcdefghbcdefghicdefghijdefghijkefghijklfghijklmghijklmnhijklmnoijklmnopjklmnopqklmnopq"
                     "rlmnopqrsmnopqrst"
                     "nopqrstu"),
              "cf5b16a778af8380036ce59e7b0492370b249b11e8f07a51afac45037afee9d1");
    EXPECT_EQ(sha256(std::string(1000000, 'a')),
              "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
}

TEST(Sha256, TakesItsInputInAnyPieces) {
    const std::string text(200, 'x');
    for (std::size_t cut = 0; cut <= text.size(); ++cut) {
        Sha256 hash;
        hash.add(std::string_view(text).substr(0, cut));
        hash.add(std::string_view(text).substr(cut));
        EXPECT_EQ(hash.hexadecimal(), sha256(text)) << cut;
    }
}

TEST(Sha256, PartsDividedOtherwiseDiffer) {
    const auto of = [](const std::vector<std::string> &parts) { return sha256_of_parts(parts); };
    EXPECT_EQ(of({"ab", "c"}), of({"ab", "c"}));
    EXPECT_NE(of({"ab", "c"}), of({"a", "bc"}));
    EXPECT_NE(of({"abc"}), of({"abc", ""}));
    EXPECT_NE(of({"1:a"}), of({"", "a"}));
}

} // namespace
} // namespace unstride
