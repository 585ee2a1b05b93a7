// The one intermediate form of the compiler: a layer as small dense convolutions whose results interleave.
//
// On each spatial axis an output coordinate is o = phases * u + q. For a fixed phase q the output is
//
//     out[phases * u + q] = sum over taps t of phase q of  weight[t.kernel_index] * in[u + t.input_offset]
//
// (summed over input channels, and over the taps of every axis; input outside the tensor counts as zero). No
// tap multiplies an inserted zero, and no intermediate image exists.
#pragma once

#include "compiler/language/layer.h"
#include "compiler/language/shapes.h"

#include <cstdint>
#include <variant>
#include <vector>

namespace unstride {

struct Tap {
    std::int64_t kernel_index = 0;
    std::int64_t input_offset = 0;
    bool operator==(const Tap &) const = default;
};

// One phase of one axis. May have no taps: then its outputs hold only what the epilogue adds (holes, where
// the stride is larger than the kernel).
struct Phase {
    std::vector<Tap> taps; // ascending kernel_index
    bool operator==(const Phase &) const = default;
};

// The taps of every phase of an axis as arithmetic progressions, which is how a kernel walks them:
// kernel_index = first_kernel_index[q] + j * kernel_step, input_offset = first_input_offset[q] + j *
// offset_step, 0 <= j < count[q]. A phase without taps has zeros.
struct TapProgression {
    std::vector<std::int64_t> count, first_kernel_index, first_input_offset;
    std::int64_t kernel_step = 1;
    std::int64_t offset_step = 0;
};

struct PhaseAxis {
    std::int64_t input_size = dynamic_size;
    std::int64_t output_size = dynamic_size;
    SizeRule size; // output_size from input_size; divisor is 1
    std::int64_t kernel = 1;
    std::vector<Phase> phases;

    std::int64_t max_taps() const;
    std::int64_t total_taps() const; // over all phases
    // Inputs beyond `t` that a kernel stages for t outputs of every phase: the spread of the first taps and
    // of the longest walk from there, as interval arithmetic bounds them (it does not see which walk begins
    // where).
    std::int64_t halo() const;
    TapProgression progression() const;
    // Taps over all outputs of an axis with that many: what the arithmetic costs, borders counted as inside.
    std::int64_t taps_over(std::int64_t output_size) const;
};

struct PhaseConvolution {
    std::int64_t batch = 1; // may be dynamic_size
    std::int64_t input_channels = 1;
    std::int64_t output_channels = 1;
    std::int64_t groups = 1;
    std::vector<PhaseAxis> axes; // slowest first, as in the language
    // Weights as the frameworks store them: (CI, CO/groups, …) if true, else (CO, CI/groups, …).
    bool input_channels_first = false;
    std::vector<Activation> prologue;     // acts on the input, not on the zeros around it
    std::vector<StageOperation> epilogue; // Bias, Activation and Add, in order

    bool depthwise() const { return groups > 1; }
    std::int64_t channels_per_group() const {
        return input_channels / groups;
    } // input channels an output sums
    bool has_bias() const;
    bool has_add() const;
};

// The layer's phase convolution, or why this compiler cannot make one kernel of it. The refusal stands at the
// stage concerned. Precondition: the layer passed check_shapes.
std::variant<PhaseConvolution, Diagnostic> lower(const Layer &layer);

// The phases of a transposed convolution's axis: output o = stride * i + dilation * t - pad_begin for input i
// and kernel index t, so phase q has the taps with (q + pad_begin - dilation * t) divisible by the stride.
std::vector<Phase> transposed_conv_phases(std::int64_t kernel, std::int64_t stride, std::int64_t dilation,
                                          std::int64_t pad_begin);

// The single phase of a stride-1 convolution's axis: input offset dilation * t - pad_begin.
std::vector<Phase> conv_phases(std::int64_t kernel, std::int64_t dilation, std::int64_t pad_begin);

} // namespace unstride
