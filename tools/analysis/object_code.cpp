// Reads tables by LLVM's ELFFile, whose every step can fail without ending the program.
#include "tools/analysis/object_code.h"

#include <fmt/format.h>
#include <llvm/BinaryFormat/Magic.h>
#include <llvm/Object/ELF.h>

#include <algorithm>
#include <map>

namespace unstride {

namespace {

using Elf = llvm::object::ELF64LE;
using File = llvm::object::ELFFile<Elf>;
using Section = Elf::Shdr;

Error damaged(llvm::Error error) {
    return Error{"a damaged object file: " + llvm::toString(std::move(error))};
}

struct Symbol {
    std::string name;
    std::uint64_t address = 0, size = 0;
};

// By the index of the section that they lie in, sorted by address; one symbol an address.
using SymbolTable = std::map<std::size_t, std::vector<Symbol>>;

Result<SymbolTable> function_symbols(const File &file, llvm::ArrayRef<Section> sections) {
    SymbolTable table;
    for (const Section &section : sections) {
        if (section.sh_type != llvm::ELF::SHT_SYMTAB) continue;
        auto symbols = file.symbols(&section);
        if (!symbols) return damaged(symbols.takeError());
        auto names = file.getStringTableForSymtab(section, sections);
        if (!names) return damaged(names.takeError());
        for (const Elf::Sym &symbol : *symbols) {
            if (symbol.getType() != llvm::ELF::STT_FUNC || symbol.st_shndx == llvm::ELF::SHN_UNDEF) continue;
            auto name = symbol.getName(*names);
            if (!name) return damaged(name.takeError());
            table[symbol.st_shndx].push_back({name->str(), symbol.st_value, symbol.st_size});
        }
    }
    for (auto &[section, symbols] : table) {
        std::stable_sort(symbols.begin(), symbols.end(),
                         [](const Symbol &a, const Symbol &b) { return a.address < b.address; });
        const auto same = [](const Symbol &a, const Symbol &b) { return a.address == b.address; };
        symbols.erase(std::unique(symbols.begin(), symbols.end(), same), symbols.end());
    }
    return table;
}

// By section, the places that relocations change.
Result<std::map<std::size_t, std::set<std::uint64_t>>> relocated_places(const File &file,
                                                                        llvm::ArrayRef<Section> sections) {
    std::map<std::size_t, std::set<std::uint64_t>> places;
    for (const Section &section : sections) {
        if (section.sh_type != llvm::ELF::SHT_RELA) continue;
        auto relocations = file.relas(section);
        if (!relocations) return damaged(relocations.takeError());
        for (const Elf::Rela &relocation : *relocations)
            places[section.sh_info].insert(relocation.r_offset);
    }
    return places;
}

// A section's functions: from one symbol to its end, or where it tells no size to the next symbol.
Result<std::vector<CodeFunction>> split(std::string_view bytes, std::uint64_t address,
                                        std::vector<Symbol> symbols) {
    if (symbols.empty()) symbols.push_back({"", address, bytes.size()});
    std::vector<CodeFunction> functions;
    for (std::size_t i = 0; i < symbols.size(); i++) {
        const Symbol &symbol = symbols[i];
        const std::uint64_t end_of_section = address + bytes.size();
        const std::uint64_t next = i + 1 < symbols.size() ? symbols[i + 1].address : end_of_section;
        const std::uint64_t end = symbol.size > 0 ? symbol.address + symbol.size : next;
        if (symbol.address < address || symbol.address > end || end > end_of_section) {
            return Error{
                fmt::format("a damaged object file: function {} lies outside its section", symbol.name)};
        }
        functions.push_back(
            {symbol.name, symbol.address, bytes.substr(symbol.address - address, end - symbol.address), {}});
    }
    return functions;
}

const char *name_of(unsigned machine) {
    return machine == llvm::ELF::EM_X86_64    ? "x86-64"
           : machine == llvm::ELF::EM_AARCH64 ? "aarch64"
                                              : "another processor";
}

Result<void> check_header(std::string_view object, unsigned machine) {
    if (object.empty()) return Error{"the file is empty; give it an object file"};
    const llvm::file_magic magic = llvm::identify_magic({object.data(), object.size()});
    if (magic == llvm::file_magic::archive)
        return Error{"an archive, not an object file; take its members out (ar x) and give one of them"};
    if (!object.starts_with("\177ELF")) return Error{"no ELF object file"};
    if (object.size() < sizeof(Elf::Ehdr)) return Error{"a damaged object file: its header is cut off"};
    if (object[llvm::ELF::EI_CLASS] != llvm::ELF::ELFCLASS64 ||
        object[llvm::ELF::EI_DATA] != llvm::ELF::ELFDATA2LSB)
        return Error{"no object file of 64 bit, low bytes first"};
    const unsigned actual = static_cast<unsigned char>(object[18]) |
                            static_cast<unsigned>(static_cast<unsigned char>(object[19])) << 8;
    if (actual != machine) {
        return Error{fmt::format("an object file for {}; the instruction set is one of {}", name_of(actual),
                                 name_of(machine))};
    }
    return {};
}

} // namespace

Result<std::vector<CodeFunction>> read_functions(std::string_view object, Architecture architecture) {
    const unsigned machine =
        architecture == Architecture::x86_64 ? llvm::ELF::EM_X86_64 : llvm::ELF::EM_AARCH64;
    if (auto checked = check_header(object, machine); !checked) return Error{checked.error()};
    auto file = File::create({object.data(), object.size()});
    if (!file) return damaged(file.takeError());
    auto sections = file->sections();
    if (!sections) return damaged(sections.takeError());
    const auto symbols = function_symbols(*file, *sections);
    if (!symbols) return Error{symbols.error()};
    const auto places = relocated_places(*file, *sections);
    if (!places) return Error{places.error()};

    std::vector<CodeFunction> functions;
    for (std::size_t i = 0; i < sections->size(); i++) {
        const Section &section = (*sections)[i];
        if ((section.sh_flags & llvm::ELF::SHF_EXECINSTR) == 0 || section.sh_type != llvm::ELF::SHT_PROGBITS)
            continue;
        auto content = file->getSectionContents(section);
        if (!content) return damaged(content.takeError());
        const std::string_view bytes(reinterpret_cast<const char *>(content->data()), content->size());
        if (bytes.empty()) continue;
        const auto own = symbols->find(i);
        auto found =
            split(bytes, section.sh_addr, own == symbols->end() ? std::vector<Symbol>() : own->second);
        if (!found) return found;
        const auto own_places = places->find(i);
        for (CodeFunction &function : *found) {
            if (own_places != places->end()) function.unresolved = own_places->second;
            functions.push_back(std::move(function));
        }
    }
    return functions;
}

} // namespace unstride
