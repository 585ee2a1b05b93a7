// LLVM's tables for one instruction set, and the instructions decoded with them. Everything of LLVM that the
// analysis uses, but for the pipeline models, is behind this.
#pragma once

#include "compiler/result.h"

#include <llvm/MC/MCAsmInfo.h>
#include <llvm/MC/MCContext.h>
#include <llvm/MC/MCDisassembler/MCDisassembler.h>
#include <llvm/MC/MCInst.h>
#include <llvm/MC/MCInstPrinter.h>
#include <llvm/MC/MCInstrAnalysis.h>
#include <llvm/MC/MCInstrInfo.h>
#include <llvm/MC/MCRegisterInfo.h>
#include <llvm/MC/MCSubtargetInfo.h>
#include <llvm/MC/TargetRegistry.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace unstride {

struct DecodedInstruction {
    llvm::MCInst inst;
    std::uint64_t size = 0;
    std::string text; // without leading blanks; a single space after the mnemonic
};

// Filling between instructions, which processors drop when they decode.
bool is_nop(const DecodedInstruction &instruction);

enum class Architecture { x86_64, aarch64 };

// Nothing for instruction sets of GPUs and names that are none.
std::optional<Architecture> architecture_of(std::string_view instruction_set);

class MachineCode {
public:
    explicit MachineCode(Architecture architecture);

    Architecture architecture() const { return architecture_; }
    const llvm::MCInstrInfo &instructions() const { return *instructions_; }
    const llvm::MCRegisterInfo &registers() const { return *registers_; }
    const llvm::MCInstrAnalysis &branches() const { return *analysis_; }

    // The instruction at the front of `bytes`; nothing where they are none.
    std::optional<DecodedInstruction> decode(llvm::ArrayRef<std::uint8_t> bytes, std::uint64_t address) const;

    // A processor's features and scheduling model; null for a name that LLVM does not know.
    std::unique_ptr<llvm::MCSubtargetInfo> processor(const std::string &name) const;

private:
    Architecture architecture_;
    std::string triple_;
    const llvm::Target *target_;
    std::unique_ptr<llvm::MCRegisterInfo> registers_;
    std::unique_ptr<llvm::MCAsmInfo> assembler_;
    std::unique_ptr<llvm::MCInstrInfo> instructions_;
    std::unique_ptr<llvm::MCSubtargetInfo> everything_; // every feature, for decoding
    std::unique_ptr<llvm::MCContext> context_;
    std::unique_ptr<llvm::MCDisassembler> disassembler_;
    std::unique_ptr<llvm::MCInstrAnalysis> analysis_;
    std::unique_ptr<llvm::MCInstPrinter> printer_;
};

} // namespace unstride
