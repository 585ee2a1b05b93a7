// LLVM's tables tell operands, registers, loads and stores; what an instruction computes is told by its
// mnemonic, which the architectures' manuals fix.
#include "tools/analysis/instruction_kinds.h"

#include <llvm/MC/MCInstrDesc.h>

#include <algorithm>
#include <array>
#include <cstdlib>

namespace unstride {

namespace {

bool begins_with_any(std::string_view text, std::initializer_list<std::string_view> prefixes) {
    return std::any_of(prefixes.begin(), prefixes.end(),
                       [&](std::string_view prefix) { return text.starts_with(prefix); });
}

// One instruction with what is asked of it again and again.
struct View {
    const DecodedInstruction &decoded;
    const MachineCode &code;
    const llvm::MCInstrDesc &description;
    std::string_view text, mnemonic, operands;

    View(const DecodedInstruction &decoded, const MachineCode &code)
        : decoded(decoded), code(code), description(code.instructions().get(decoded.inst.getOpcode())),
          text(decoded.text), mnemonic(text.substr(0, text.find(' '))),
          operands(mnemonic.size() < text.size() ? text.substr(mnemonic.size() + 1) : std::string_view()) {}

    bool is_x86() const { return code.architecture() == Architecture::x86_64; }
    bool prefetches() const { return begins_with_any(mnemonic, {"prefetch", "prfm"}); }
    bool loads() const { return description.mayLoad() && !prefetches(); }
    bool stores() const { return description.mayStore() && !prefetches(); }

    // Whether a register belongs to a class of these names, as LLVM's tables call them.
    bool in_class(unsigned reg, std::initializer_list<std::string_view> names) const {
        for (const llvm::MCRegisterClass &one : code.registers().regclasses()) {
            if (!one.contains(reg)) continue;
            const std::string_view name = code.registers().getRegClassName(&one);
            if (std::find(names.begin(), names.end(), name) != names.end()) return true;
        }
        return false;
    }

    // The register that the address of a memory operand begins with; 0 for none.
    unsigned base_register() const {
        for (unsigned i = 0;
             i < std::min<unsigned>(decoded.inst.getNumOperands(), description.getNumOperands()); i++) {
            const llvm::MCOperandInfo &info = description.operands()[i];
            const bool base =
                is_x86()
                    ? info.OperandType == llvm::MCOI::OPERAND_MEMORY
                    : info.RegClass >= 0 &&
                          std::string_view(code.registers().getRegClassName(&code.registers().getRegClass(
                              static_cast<unsigned>(info.RegClass)))) == "GPR64sp";
            if (base && decoded.inst.getOperand(i).isReg()) return decoded.inst.getOperand(i).getReg();
        }
        return 0;
    }

    // Whether a register is added to the stack's or the frame's: an element of an array that lies there.
    bool indexes_stack() const {
        for (const std::string_view indexed : {"(%rsp,%", "(%rbp,%", "[sp, x", "[x29, x"})
            if (operands.find(indexed) != std::string_view::npos) return true;
        return false;
    }

    // Whether a place in the stack that keeps what is in no register is read or written.
    bool addresses_stack(bool has_frame_pointer) const {
        const unsigned base = base_register();
        if (base == 0 || indexes_stack()) return false;
        const std::string_view name = code.registers().getName(base);
        const std::string_view frame = is_x86() ? "RBP" : "FP";
        return name == (is_x86() ? "RSP" : "SP") || (has_frame_pointer && name == frame);
    }
};

void note_registers(const View &view, InstructionKind *kind) {
    const llvm::MCRegisterInfo &registers = view.code.registers();
    for (const llvm::MCOperand &operand : view.decoded.inst) {
        if (!operand.isReg() || operand.getReg() == 0) continue;
        const unsigned reg = operand.getReg();
        for (const llvm::MCPhysReg part : registers.subregs_inclusive(reg)) {
            if (view.in_class(part, {"VR128X", "FPR128", "FPR64", "FPR32", "FPR16"}))
                kind->vector_registers.set(registers.getEncodingValue(part) & 31);
        }
        const bool general =
            view.is_x86() ? view.in_class(reg, {"GR64", "GR32"}) : view.in_class(reg, {"GPR64", "GPR32"});
        if (general && std::string_view(registers.getName(reg)) != "RIP")
            kind->general_registers.set(registers.getEncodingValue(reg) & 31);
    }
    if (!view.is_x86()) kind->general_registers.reset(31); // the zero register and the stack pointer
}

// Floating-point numbers that an x86 instruction with this mnemonic's end and these operands works on.
struct Lanes {
    int count = 0;
    bool vector = false;
};

Lanes x86_lanes(const View &view) {
    const std::string_view type = view.mnemonic.substr(std::max<std::size_t>(view.mnemonic.size(), 2) - 2);
    if (type == "ss" || type == "sd" || type == "sh") return {1, false};
    const int number_bits = type == "ps" ? 32 : type == "pd" ? 64 : type == "ph" ? 16 : 0;
    if (number_bits == 0) return {};
    const int bits = view.operands.find("%zmm") != std::string_view::npos   ? 512
                     : view.operands.find("%ymm") != std::string_view::npos ? 256
                                                                            : 128;
    return {bits / number_bits, true};
}

// Of an AArch64 instruction: "v0.4s, …" has 4 lanes, "s0, …" is scalar.
Lanes aarch64_lanes(const View &view) {
    const std::string_view first = view.operands.substr(0, view.operands.find(','));
    const std::size_t dot = first.find('.');
    if (dot == std::string_view::npos) return {1, false};
    const int count = std::atoi(std::string(first.substr(dot + 1)).c_str());
    return {count, count > 0};
}

bool multiplies(const View &view) {
    if (view.is_x86()) {
        return begins_with_any(view.mnemonic, {"vfmadd", "vfmsub", "vfnmadd", "vfnmsub", "vmulp", "vmuls",
                                               "mulp", "muls"}) &&
               x86_lanes(view).count > 0;
    }
    return begins_with_any(view.mnemonic,
                           {"fmla", "fmls", "fmul", "fnmul", "fmadd", "fmsub", "fnmadd", "fnmsub"});
}

// SSE broadcasts by a shuffle of a register with itself that repeats one lane.
bool repeats_one_lane(const View &view) {
    if (view.mnemonic != "shufps" && view.mnemonic != "vshufps" && view.mnemonic != "pshufd" &&
        view.mnemonic != "vpshufd" && view.mnemonic != "vpermilps")
        return false;
    const llvm::MCInst &inst = view.decoded.inst;
    const llvm::MCOperand &selector = inst.getOperand(inst.getNumOperands() - 1);
    if (!selector.isImm() || (selector.getImm() & 255) % 0x55 != 0) return false;
    if (view.mnemonic.find("shufps") == std::string_view::npos) return true;
    return inst.getNumOperands() == 4 && inst.getOperand(1).isReg() && inst.getOperand(2).isReg() &&
           inst.getOperand(1).getReg() == inst.getOperand(2).getReg();
}

bool broadcasts(const View &view) {
    if (!view.is_x86()) return begins_with_any(view.mnemonic, {"ld1r", "dup"});
    return begins_with_any(view.mnemonic, {"vbroadcast", "vpbroadcast", "movddup", "vmovddup"}) ||
           view.text.find("{1to") != std::string_view::npos || repeats_one_lane(view);
}

bool gathers(const View &view) {
    if (view.is_x86()) {
        return view.mnemonic.find("gather") != std::string_view::npos ||
               view.mnemonic.find("scatter") != std::string_view::npos;
    }
    return (view.loads() || view.stores()) && view.operands.find("}[") != std::string_view::npos;
}

bool shuffles(const View &view) {
    if (view.is_x86()) {
        std::string_view name = view.mnemonic;
        if (name.starts_with('v')) name.remove_prefix(1);
        return !broadcasts(view) &&
               begins_with_any(name,
                               {"perm",     "pshuf",    "shuf",    "unpck",   "punpck",   "insert", "extract",
                                "pinsr",    "pextr",    "blend",   "pblend",  "pack",     "align",  "palign",
                                "movsldup", "movshdup", "movhlps", "movlhps", "compress", "expand"});
    }
    const auto ends_in_lane = [](std::string_view operand) { return operand.ends_with(']'); };
    const std::string_view first = view.operands.substr(0, view.operands.find(','));
    const bool moves_lane = view.mnemonic == "mov" && !view.loads() && !view.stores() &&
                            (ends_in_lane(first) || ends_in_lane(view.operands));
    return moves_lane ||
           begins_with_any(view.mnemonic, {"ext", "zip", "uzp", "trn", "tbl", "tbx", "rev", "ins", "umov",
                                           "smov", "ld2", "ld3", "ld4", "st2", "st3", "st4"});
}

// Moves a single number, though through a vector register.
bool moves_one_number(const View &view) {
    if (view.is_x86()) {
        const std::string_view name =
            view.mnemonic.starts_with('v') ? view.mnemonic.substr(1) : view.mnemonic;
        return name == "movd" || name == "movq" || (!x86_lanes(view).vector && x86_lanes(view).count == 1);
    }
    for (const llvm::MCOperand &operand : view.decoded.inst) {
        if (!operand.isReg() || operand.getReg() == 0) continue;
        for (const llvm::MCPhysReg part : view.code.registers().subregs_inclusive(operand.getReg())) {
            if (view.in_class(part, {"FPR128", "FPR64"})) return false;
        }
    }
    return true;
}

} // namespace

InstructionKind kind_of(const DecodedInstruction &instruction, const MachineCode &code,
                        bool has_frame_pointer) {
    const View view(instruction, code);
    InstructionKind kind;
    kind.counts.bytes = static_cast<int>(instruction.size);
    if (is_nop(instruction)) return kind;
    note_registers(view, &kind);
    LoopCounts &counts = kind.counts;
    counts.total = 1;
    counts.branches = view.description.isBranch() ? 1 : 0;
    counts.calls = view.description.isCall() ? 1 : 0;
    if (multiplies(view)) {
        const Lanes lanes = view.is_x86() ? x86_lanes(view) : aarch64_lanes(view);
        (lanes.vector ? counts.vector_multiply_adds : counts.scalar_multiply_adds) = 1;
        counts.multiply_add_lanes = lanes.count;
    }
    const bool vector = kind.vector_registers.any();
    if (vector) {
        const bool whole = !gathers(view) && (view.loads() || view.stores()) && !moves_one_number(view);
        counts.gathers = gathers(view) ? 1 : 0;
        counts.broadcasts = broadcasts(view) ? 1 : 0;
        counts.shuffles = shuffles(view) ? 1 : 0;
        counts.vector_loads = whole && view.loads() && counts.broadcasts == 0 ? 1 : 0;
        counts.vector_stores = whole && view.stores() ? 1 : 0;
    }
    const bool on_stack = view.addresses_stack(has_frame_pointer);
    counts.result_stores = view.stores() && !on_stack && !view.description.isCall() ? 1 : 0;
    if (on_stack) {
        counts.stack_loads = view.loads() ? 1 : 0;
        counts.stack_stores = view.stores() ? 1 : 0;
        counts.vector_stack_accesses = vector && (view.loads() || view.stores()) ? 1 : 0;
    }
    return kind;
}

bool sets_frame_pointer(const DecodedInstruction &instruction, const MachineCode &code) {
    if (code.architecture() == Architecture::x86_64) return instruction.text == "movq %rsp, %rbp";
    return instruction.text == "mov x29, sp" || instruction.text.starts_with("add x29, sp,");
}

LoopCounts sum(const std::vector<InstructionKind> &kinds) {
    static constexpr std::array summed = {&LoopCounts::total,
                                          &LoopCounts::bytes,
                                          &LoopCounts::vector_multiply_adds,
                                          &LoopCounts::scalar_multiply_adds,
                                          &LoopCounts::multiply_add_lanes,
                                          &LoopCounts::vector_loads,
                                          &LoopCounts::broadcasts,
                                          &LoopCounts::vector_stores,
                                          &LoopCounts::result_stores,
                                          &LoopCounts::stack_loads,
                                          &LoopCounts::stack_stores,
                                          &LoopCounts::vector_stack_accesses,
                                          &LoopCounts::gathers,
                                          &LoopCounts::shuffles,
                                          &LoopCounts::branches,
                                          &LoopCounts::calls};
    LoopCounts total;
    std::bitset<32> vector_registers, general_registers;
    for (const InstructionKind &kind : kinds) {
        for (const auto member : summed)
            total.*member += kind.counts.*member;
        vector_registers |= kind.vector_registers;
        general_registers |= kind.general_registers;
    }
    total.vector_registers = static_cast<int>(vector_registers.count());
    total.general_registers = static_cast<int>(general_registers.count());
    return total;
}

} // namespace unstride
