// LLVM's machine code analyzer as a library: a loop's instructions run around a processor's simulated
// pipeline. Its total of cycles is used and never its throughput bound of a block, which knows no dependences
// and ranks loops of multiply-adds much worse.
#include "tools/analysis/analysis.h"
#include "tools/analysis/machine_code.h"

#include <fmt/format.h>
#include <llvm/MCA/Context.h>
#include <llvm/MCA/CustomBehaviour.h>
#include <llvm/MCA/HWEventListener.h>
#include <llvm/MCA/InstrBuilder.h>
#include <llvm/MCA/Pipeline.h>
#include <llvm/MCA/SourceMgr.h>

#include <algorithm>

namespace unstride {

namespace {

// Counts the cycles in which something waited.
class WaitCounter : public llvm::mca::HWEventListener {
public:
    int cycles = 0, for_units = 0, for_operands = 0, in_dispatch = 0;

    void onEvent(const llvm::mca::HWPressureEvent &event) override {
        units_ |= event.Reason == llvm::mca::HWPressureEvent::RESOURCES;
        operands_ |= event.Reason == llvm::mca::HWPressureEvent::REGISTER_DEPS ||
                     event.Reason == llvm::mca::HWPressureEvent::MEMORY_DEPS;
    }
    void onEvent(const llvm::mca::HWStallEvent &) override { dispatch_ = true; }
    void onCycleEnd() override {
        cycles++;
        for_units += units_ ? 1 : 0;
        for_operands += operands_ ? 1 : 0;
        in_dispatch += dispatch_ ? 1 : 0;
        units_ = operands_ = dispatch_ = false;
    }

private:
    bool units_ = false, operands_ = false, dispatch_ = false;
};

using Instructions = std::vector<std::unique_ptr<llvm::mca::Instruction>>;

// The loop as the simulator's instructions, without NOPs.
Result<Instructions> lower(const Loop &loop, const MachineCode &code, llvm::mca::InstrBuilder *builder,
                           std::string_view processor) {
    Instructions lowered;
    for (const LoopInstruction &instruction : loop.instructions) {
        const auto decoded = code.decode(instruction.bytes, instruction.address);
        if (!decoded) return Error{fmt::format("'{}' cannot be decoded", instruction.text)};
        if (is_nop(*decoded)) continue;
        auto made = builder->createInstruction(decoded->inst, {});
        if (!made) {
            llvm::consumeError(made.takeError());
            return Error{fmt::format("LLVM's model of {} has no '{}'", processor, instruction.text)};
        }
        lowered.push_back(std::move(*made));
    }
    return lowered;
}

// What a processor must have to run code of an instruction set, as LLVM names features.
const char *features_of(std::string_view instruction_set) {
    return instruction_set == "avx512" ? "+avx512f,+avx512vl,+avx512dq,+avx512bw"
           : instruction_set == "avx2" ? "+avx2,+fma"
           : instruction_set == "neon" ? "+neon"
                                       : "+sse4.1";
}

} // namespace

Result<LoopModel> model_loop(const Loop &loop, std::string_view instruction_set, std::string_view processor) {
    const auto architecture = architecture_of(instruction_set);
    if (!architecture) {
        return Error{
            fmt::format("there is no model of processors for the instruction set '{}'", instruction_set)};
    }
    if (loop.counts.calls > 0)
        return Error{"the loop calls functions, whose time is not known; it is not modelled"};
    const MachineCode code(*architecture);
    const auto subtarget = code.processor(std::string(processor));
    if (subtarget == nullptr || !subtarget->getSchedModel().hasInstrSchedModel()) {
        return Error{fmt::format("LLVM has no model of a processor '{}' for {}", processor, instruction_set)};
    }

    if (!subtarget->checkFeatures(features_of(instruction_set)))
        return Error{fmt::format("{} lacks the instruction set {}", processor, instruction_set)};

    namespace mca = llvm::mca;
    const mca::InstrumentManager instruments(*subtarget, code.instructions());
    constexpr unsigned call_latency = 100; // never used: no calls
    mca::InstrBuilder builder(*subtarget, code.instructions(), code.registers(), &code.branches(),
                              instruments, call_latency);
    const auto instructions = lower(loop, code, &builder, processor);
    if (!instructions) return Error{instructions.error()};
    mca::CircularSourceMgr source(*instructions, modelled_iterations);
    mca::CustomBehaviour behaviour(*subtarget, source, code.instructions());
    mca::Context context(code.registers(), *subtarget);
    // Zeros stand for the processor's own widths and queues.
    const mca::PipelineOptions options(0, 0, 0, 0, 0, 0, /*NoAlias=*/true,
                                       /*ShouldEnableBottleneckAnalysis=*/true);
    const auto pipeline = context.createDefaultPipeline(options, source, behaviour);
    WaitCounter waits;
    pipeline->addEventListener(&waits);
    auto cycles = pipeline->run();
    if (!cycles) return Error{"the simulation ended: " + llvm::toString(cycles.takeError())};

    LoopModel model;
    model.processor = processor;
    model.cycles = static_cast<double>(*cycles) / modelled_iterations;
    if (loop.counts.multiply_add_lanes > 0)
        model.cycles_per_multiply_add = model.cycles / loop.counts.multiply_add_lanes;
    model.instructions_per_cycle = static_cast<double>(instructions->size()) / model.cycles;
    const double all = std::max(waits.cycles, 1);
    model.waits_for_units = waits.for_units / all;
    model.waits_for_operands = waits.for_operands / all;
    model.dispatch_stalls = waits.in_dispatch / all;
    return model;
}

} // namespace unstride
