// SHA-256 (FIPS 180-4), for the keys of caches and the identity of generated files.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

namespace unstride {

class Sha256 {
public:
    void add(std::string_view bytes);

    // The digest of everything added so far as 64 lower-case hexadecimal digits. Ends the object's use.
    std::string hexadecimal();

private:
    void add_block(const unsigned char *block);

    std::array<std::uint32_t, 8> state_{0x6a09e667u, 0xbb67ae85u, 0x3c6ef372u, 0xa54ff53au,
                                        0x510e527fu, 0x9b05688cu, 0x1f83d9abu, 0x5be0cd19u};
    std::array<unsigned char, 64> pending_{};
    std::size_t pending_count_ = 0;
    std::uint64_t byte_count_ = 0;
};

// The digest of one text.
std::string sha256(std::string_view bytes);

// The digest of several texts that differs when the same bytes are divided otherwise: each is preceded by its
// length.
std::string sha256_of_parts(std::span<const std::string> parts);

} // namespace unstride
