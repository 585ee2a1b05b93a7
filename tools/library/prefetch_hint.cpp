#include "tools/library/prefetch_hint.h"

#include "tools/analysis/object_code.h"
#include "tools/files.h"

#include <fmt/format.h>

#include <string>

namespace unstride {

namespace {

// prefetchnta, t0, t1 and t2 are 0F 18 with the hint in three bits of the byte that follows, prefetchw is 0F
// 0D with 1 there; a processor that does not know it passes over it. No prefix is 0F.
void set_hint_of_x86(char *instruction, PrefetchHint hint) {
    const bool writes = hint == PrefetchHint::for_writing;
    constexpr unsigned t1 = 2, w = 1;
    while (*instruction != 0x0F)
        instruction++;
    const unsigned operand = static_cast<unsigned char>(instruction[2]);
    instruction[1] = writes ? 0x0D : 0x18;
    instruction[2] = static_cast<char>((operand & ~0x38u) | (writes ? w : t1) << 3);
}

// The five lowest bits: load or store, cache, keep.
void set_hint_of_aarch64(char *instruction, PrefetchHint hint) {
    constexpr unsigned pldl2keep = 0b00010, pstl1keep = 0b10000;
    const unsigned operation = hint == PrefetchHint::for_writing ? pstl1keep : pldl2keep;
    instruction[0] = static_cast<char>((static_cast<unsigned char>(instruction[0]) & ~0x1Fu) | operation);
}

} // namespace

Result<void> set_prefetch_hint(const std::filesystem::path &object, Architecture architecture,
                               PrefetchHint hint) {
    auto read = read_file(object);
    if (!read) return Error{read.error()};
    std::string bytes = *std::move(read);
    const auto functions = read_functions(bytes, architecture);
    if (!functions) return Error{fmt::format("{}: {}", object.string(), functions.error())};
    const MachineCode code(architecture);
    for (const CodeFunction &function : *functions) {
        const auto *begin = reinterpret_cast<const std::uint8_t *>(function.bytes.data());
        std::size_t size = 0;
        for (std::size_t at = 0; at < function.bytes.size(); at += size) {
            const auto decoded = code.decode({begin + at, function.bytes.size() - at}, function.address + at);
            if (!decoded)
                return Error{
                    fmt::format("{}: {} holds what is no instruction", object.string(), function.name)};
            size = decoded->size;
            char *const instruction = bytes.data() + (function.bytes.data() - bytes.data()) + at;
            if (decoded->text.starts_with("prefetchnta ")) set_hint_of_x86(instruction, hint);
            if (decoded->text.starts_with("prfm pldl1strm,")) set_hint_of_aarch64(instruction, hint);
        }
    }
    return write_file_atomically(object, bytes);
}

} // namespace unstride
