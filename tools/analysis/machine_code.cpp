// Only the two processor families of the project's targets are linked, without their code generators.
#include "tools/analysis/machine_code.h"

#include <llvm/MC/MCTargetOptions.h>
#include <llvm/Support/raw_ostream.h>

#include <mutex>

// Defined by LLVM for each target; llvm/Support/TargetSelect.h declares them only for all targets at once.
extern "C" {
void LLVMInitializeAArch64Disassembler();
void LLVMInitializeAArch64TargetInfo();
void LLVMInitializeAArch64TargetMC();
void LLVMInitializeX86Disassembler();
void LLVMInitializeX86TargetInfo();
void LLVMInitializeX86TargetMC();
}

namespace unstride {

namespace {

const llvm::Target *find_llvm_target(const std::string &triple) {
    static std::once_flag once;
    std::call_once(once, [] {
        LLVMInitializeAArch64TargetInfo();
        LLVMInitializeAArch64TargetMC();
        LLVMInitializeAArch64Disassembler();
        LLVMInitializeX86TargetInfo();
        LLVMInitializeX86TargetMC();
        LLVMInitializeX86Disassembler();
    });
    std::string error;
    return llvm::TargetRegistry::lookupTarget(triple, error);
}

// "vaddps\t%xmm0, %xmm1, %xmm2" as "vaddps %xmm0, %xmm1, %xmm2".
std::string tidy(std::string text) {
    text.erase(0, text.find_first_not_of(" \t"));
    for (char &c : text) {
        if (c == '\t') c = ' ';
    }
    return text;
}

} // namespace

bool is_nop(const DecodedInstruction &instruction) {
    const std::string &text = instruction.text;
    return text.starts_with("nop") || text == "xchgw %ax, %ax" || text.starts_with("data16 nop") ||
           text.starts_with("cs nop");
}

std::optional<Architecture> architecture_of(std::string_view instruction_set) {
    if (instruction_set == "avx512" || instruction_set == "avx2" || instruction_set == "sse41")
        return Architecture::x86_64;
    if (instruction_set == "neon") return Architecture::aarch64;
    return std::nullopt;
}

MachineCode::MachineCode(Architecture architecture)
    : architecture_(architecture),
      triple_(architecture == Architecture::x86_64 ? "x86_64-linux-gnu" : "aarch64-linux-gnu"),
      target_(find_llvm_target(triple_)) {
    const llvm::Triple triple(triple_);
    // LLVM's decoder of AArch64 asks for the features that an instruction needs, that of x86-64 does not.
    const char *features = architecture == Architecture::aarch64 ? "+all" : "";
    registers_.reset(target_->createMCRegInfo(triple_));
    assembler_.reset(target_->createMCAsmInfo(*registers_, triple_, llvm::MCTargetOptions()));
    instructions_.reset(target_->createMCInstrInfo());
    everything_.reset(target_->createMCSubtargetInfo(triple_, "", features));
    context_ =
        std::make_unique<llvm::MCContext>(triple, assembler_.get(), registers_.get(), everything_.get());
    disassembler_.reset(target_->createMCDisassembler(*everything_, *context_));
    analysis_.reset(target_->createMCInstrAnalysis(instructions_.get()));
    printer_.reset(target_->createMCInstPrinter(triple, assembler_->getAssemblerDialect(), *assembler_,
                                                *instructions_, *registers_));
    printer_->setPrintImmHex(true);
    printer_->setPrintBranchImmAsAddress(true);
}

std::optional<DecodedInstruction> MachineCode::decode(llvm::ArrayRef<std::uint8_t> bytes,
                                                      std::uint64_t address) const {
    DecodedInstruction decoded;
    if (disassembler_->getInstruction(decoded.inst, decoded.size, bytes, address, llvm::nulls()) !=
            llvm::MCDisassembler::Success ||
        decoded.size == 0)
        return std::nullopt;
    llvm::raw_string_ostream stream(decoded.text);
    // The printer of x86-64 counts branches from the next instruction, that of AArch64 from the branch
    // itself.
    const std::uint64_t origin = architecture_ == Architecture::x86_64 ? address + decoded.size : address;
    printer_->printInst(&decoded.inst, origin, "", *everything_, stream);
    decoded.text = tidy(std::move(decoded.text));
    return decoded;
}

std::unique_ptr<llvm::MCSubtargetInfo> MachineCode::processor(const std::string &name) const {
    if (!everything_->isCPUStringValid(name)) return nullptr;
    return std::unique_ptr<llvm::MCSubtargetInfo>(target_->createMCSubtargetInfo(triple_, name, ""));
}

} // namespace unstride
