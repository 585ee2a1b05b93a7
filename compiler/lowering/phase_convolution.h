// The one intermediate form of the compiler: a layer as small convolutions whose results interleave.
//
// On each spatial axis an output coordinate is o = phases * u + q. For a fixed phase q the output is
//
//     out[phases * u + q] = sum over taps t of phase q of  weight[t] * in[input_stride * u + t.input_offset]
//
// (summed over the input channels of the output's group, and over the taps of every axis; input outside the
// tensor counts as zero, or as the nearest pixel inside it). No tap multiplies an inserted zero, and no
// intermediate image exists. Dilated convolutions of enlarged or unshuffled images may have gaps between the
// offsets of a phase; there, taps of weight zero multiply pixels that the layer does not read.
#pragma once

#include "compiler/language/layer.h"
#include "compiler/language/shapes.h"

#include <cstdint>
#include <variant>
#include <vector>

namespace unstride {

// One input position that a phase reads. Its weight is the sum of kernel_count kernel elements from
// kernel_begin on: one for a convolution, several where nearest upsampling repeats the pixel, none in a gap
// that keeps the offsets of a phase evenly spaced.
struct Tap {
    std::int64_t kernel_begin = 0;
    std::int64_t kernel_count = 1;
    std::int64_t input_offset = 0;
    std::int64_t unshuffle_index = 0; // which pixel of a pixel_unshuffle block this axis reads
    bool operator==(const Tap &) const = default;
};

// One phase of one axis. May have no taps: then its outputs hold only what the epilogue adds (holes, where
// the stride is larger than the kernel).
struct Phase {
    std::vector<Tap> taps;          // ascending input_offset
    std::int64_t shuffle_index = 0; // which pixel of a pixel_shuffle block this phase is
    bool operator==(const Phase &) const = default;
};

// The offsets of every phase of an axis as arithmetic progressions, which is how a kernel walks them:
// input_offset = first_input_offset[q] + j * offset_step, 0 <= j < count[q]. A phase without taps has zeros.
struct TapProgression {
    std::vector<std::int64_t> count, first_input_offset;
    std::int64_t offset_step = 1;
};

// One step of the way from an input size to an output size, with what it asks of the size it is given.
struct SizeStep {
    SizeRule rule;
    std::int64_t least = 1;    // crop: the end of its window
    std::int64_t multiple = 1; // pixel_unshuffle: its factor
    bool operator==(const SizeStep &) const = default;
};

struct PhaseAxis {
    std::int64_t input_size = dynamic_size;
    std::int64_t output_size = dynamic_size;
    std::vector<SizeStep> sizes; // from input_size to output_size, one for each stage that changes it
    std::int64_t kernel = 1;     // elements as the framework stores them
    std::int64_t input_stride = 1;
    std::int64_t unshuffle = 1, shuffle = 1; // factors
    std::vector<Phase> phases;
    std::vector<double> filter; // known weight of each kernel element; empty where weights are learned

    std::int64_t phase_count() const { return static_cast<std::int64_t>(phases.size()); }
    std::int64_t output_for(std::int64_t input_size) const;
    // True if the output size is known to be a multiple of the phases.
    bool whole_phases() const;
    std::int64_t max_taps() const;
    std::int64_t total_taps() const; // over all phases
    // Inputs that a kernel stages for t outputs of every phase: input_stride * t + halo(), with
    // tiles of outputs as interval arithmetic bounds them (it does not see which walk begins where).
    std::int64_t halo() const;
    TapProgression progression() const;
    // Taps over all outputs of an axis with that many: what the arithmetic costs, borders counted as inside.
    std::int64_t taps_over(std::int64_t output_size) const;
    // Of these, for its own sizes, the share that reads the input and not what is around it. Precondition:
    // the sizes are fixed.
    double share_inside() const;
    // True if every phase reads the same input positions.
    bool same_taps() const;
    // The weight of each tap of a phase, by the filter.
    double filter_weight(const Tap &tap) const;
};

// Where the weights come from.
enum class WeightSource {
    learned, // given when packing
    filter,  // PhaseAxis::filter, the same for all channels, every channel by itself
    none,    // every output is one input element, moved
};

// A stage of the epilogue. Per-channel numbers of a stage that stands before a pixel_shuffle are indexed by
// the channels that enter the shuffle.
struct EpilogueStage {
    StageOperation operation; // Bias, Scale, Prelu, Activation or Add
    bool before_shuffle = false;
    bool operator==(const EpilogueStage &) const = default;
};

struct PhaseConvolution {
    std::int64_t batch = 1; // may be dynamic_size
    Layout layout = Layout::nhwc;
    NumericPolicy numeric = NumericPolicy::safe;
    std::int64_t input_channels = 1;
    std::int64_t output_channels = 1;
    std::int64_t groups = 1;
    WeightSource weights = WeightSource::learned;
    // Two or three, slowest first as in the language; a layer of one spatial axis has a first axis of size 1.
    std::vector<PhaseAxis> axes;
    std::int64_t spatial_axes = 2; // of the layer itself
    EdgeRule edge = EdgeRule::zero;
    ShuffleOrder shuffle_order = ShuffleOrder::crd, unshuffle_order = ShuffleOrder::crd;
    // Of learned weights as the frameworks store them: (CI, CO/groups, …) if input_channels_first, else (CO,
    // CI/groups, …). Empty where nothing is learned.
    std::vector<std::int64_t> weight_shape;
    bool input_channels_first = false;
    std::vector<Activation> prologue; // acts on the input, not on the zeros around it
    // Bias and Scale right after the convolution, in order: packing multiplies the scale into the weights and
    // makes one bias of it all.
    std::vector<EpilogueStage> folded;
    std::vector<EpilogueStage> epilogue; // the rest, in order

    const PhaseAxis &x() const { return axes.back(); }
    const PhaseAxis &y() const { return axes[axes.size() - 2]; }

    // Every output channel reads one input channel: nothing is summed over channels.
    bool depthwise() const;
    // One kernel computes one group; the groups of a depthwise layer are one kernel's channels.
    std::int64_t kernel_groups() const { return depthwise() ? 1 : groups; }
    std::int64_t kernel_input_channels() const { return input_channels / kernel_groups(); }
    std::int64_t kernel_output_channels() const { return output_channels / kernel_groups(); }
    std::int64_t channels_per_output() const { return depthwise() ? 1 : input_channels / groups; }
    std::int64_t shuffle_block() const;   // product of the axes' factors
    std::int64_t unshuffle_block() const; // product of the axes' factors
    bool has_add() const;
    // The kinds of per-channel numbers that a kernel reads, in the order of its parameter rows: the folded
    // bias first, then those of the epilogue.
    std::vector<EpilogueStage> channel_parameters() const;
    // True if any of them differs by pixel of a shuffle block.
    bool parameters_before_shuffle() const;
    // How many numbers a Bias, Scale or Prelu of the layer holds; 0 where it has none.
    template<typename PerChannel>
    std::int64_t parameter_count() const;
};

template<typename PerChannel>
std::int64_t PhaseConvolution::parameter_count() const {
    for (const std::vector<EpilogueStage> *stages : {&folded, &epilogue}) {
        for (const EpilogueStage &stage : *stages) {
            if (std::holds_alternative<PerChannel>(stage.operation))
                return output_channels * (stage.before_shuffle ? shuffle_block() : 1);
        }
    }
    return 0;
}

// The layer's phase convolution, or why this compiler cannot make one kernel of it. The refusal stands at the
// stage concerned. Precondition: the layer passed check_shapes.
std::variant<PhaseConvolution, Diagnostic> lower(const Layer &layer);

// The most phases of an axis, and taps of all its phases, gaps included: each is some code and a row of
// tables. The functions below answer no phase at all where there would be more.
inline constexpr std::int64_t largest_phase_count = 4096, largest_tap_count = 65536;

// The phases of a transposed convolution's axis: output o = stride * i + dilation * t - pad_begin for input i
// and kernel index t, so phase q has the taps with (q + pad_begin - dilation * t) divisible by the stride.
std::vector<Phase> transposed_conv_phases(std::int64_t kernel, std::int64_t stride, std::int64_t dilation,
                                          std::int64_t pad_begin);

// The phases of a convolution's axis over an image that is `nearest` times the input: output o reads position
// stride * o + dilation * t - pad_begin, which is input floor(position / nearest). There are nearest /
// gcd(stride, nearest) phases of input stride stride / gcd(stride, nearest).
std::vector<Phase> conv_phases(std::int64_t kernel, std::int64_t stride, std::int64_t dilation,
                               std::int64_t pad_begin, std::int64_t nearest = 1);

// The single phase of a convolution over a pixel_unshuffle by `factor`, as one over the image before it:
// input stride is factor * stride.
std::vector<Phase> unshuffled_conv_phases(std::int64_t kernel, std::int64_t dilation, std::int64_t pad_begin,
                                          std::int64_t factor);

// The phases after a pixel_shuffle by `factor`: each in `factor` parts.
std::vector<Phase> shuffled_phases(const std::vector<Phase> &phases, std::int64_t factor);

// The phases of a window that begins at output `from`.
std::vector<Phase> cropped_phases(const std::vector<Phase> &phases, std::int64_t from,
                                  std::int64_t input_stride);

// Of an axis of known sizes: drops the taps whose input lies outside for all outputs of their phase.
void drop_taps_outside(PhaseAxis *axis);

// Makes the offsets of every phase ascend by one common step, with taps of weight zero in the gaps; no phases
// where that takes too many.
void space_evenly(std::vector<Phase> *phases);

} // namespace unstride
