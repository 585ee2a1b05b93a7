// Brings weights from the framework's layout into the one that the compute kernel walks, so that this layout
// is known to generators only.
//
// A tap's weight is the sum of its kernel elements (several where nearest upsampling repeats a pixel), times
// the scales that are folded in; sums and products are made in double and rounded once. Frameworks store
// transposed convolutions as (CI, CO/groups, [kz,] ky, kx) and convolutions as (CO, CI/groups, [kz,] ky, kx);
// a pixel_shuffle or pixel_unshuffle beside the convolution says which of their channels meet.
#include "generators/layer_generator.h"
#include "generators/tap_table.h"

#include <Halide.h>

namespace unstride {

using namespace Halide;

class WeightPackingGenerator : public LayerGenerator<WeightPackingGenerator> {
public:
    void configure() {
        decode();
        const PhaseConvolution &conv = convolution();
        kernel = add_input<Buffer<float>>("kernel", static_cast<int>(conv.axes.size()) + 2);
        bias = add_input<Buffer<float>>("bias", 1);
        scale = add_input<Buffer<float>>("scale", 1);
        prelu = add_input<Buffer<float>>("prelu", 1);
        packed = add_output<Buffer<float>>("packed",
                                           static_cast<int>(packed_extents(conv, parameters.record).size()));
        rows = add_output<Buffer<float>>("packed_parameters", 2);
    }

    void generate() {
        const PhaseConvolution &conv = convolution();
        vars.emplace(conv.axes.size());
        for (std::size_t d = 0; d < packed_extents(conv, parameters.record).size(); d++)
            at.emplace_back("d" + std::to_string(d));
        (*packed)(at) = conv.weights == WeightSource::learned ? cast<float>(packed_weight()) : Expr(0.0f);
        pack_parameters();
    }

    // Runs once a set of weights: plain loops.
    void schedule() {
        if (!tap_weights.defined()) return;
        // The taps of one input channel and block serve all their points.
        Func weights = *packed;
        weights.reorder(at[0], at[2], at[3], at[1]);
        // Of sizes known here they need no memory from the heap.
        const std::vector<int> extents = packed_extents(convolution(), parameters.record);
        tap_weights.compute_at(weights, at[1]).bound_extent(at[0], extents[0]);
        half_transformed.compute_at(weights, at[1])
            .bound_extent(at[0], extents[0])
            .bound_extent(at[2], extents[2]);
    }

private:
    Input<Buffer<float>> *kernel = nullptr;
    Input<Buffer<float>> *bias = nullptr;
    Input<Buffer<float>> *scale = nullptr;
    Input<Buffer<float>> *prelu = nullptr;
    Output<Buffer<float>> *packed = nullptr;
    Output<Buffer<float>> *rows = nullptr;
    std::optional<PhaseVars> vars;
    std::vector<Var> at;                                                   // the place in the packed weights
    Func tap_weights{"tap_weights"}, half_transformed{"half_transformed"}; // of minimal filtering only

    // A number for each tap and phase of an axis.
    template<typename Value>
    Expr tap_table(const PhaseAxis &axis, const Expr &tap, const Expr &q, Value value) const {
        const int taps = std::max(1, static_cast<int>(axis.max_taps()));
        Buffer<int> numbers(std::vector<int>{taps, static_cast<int>(axis.phase_count())});
        numbers.fill(0);
        for (std::size_t phase = 0; phase < axis.phases.size(); phase++) {
            for (std::size_t j = 0; j < axis.phases[phase].taps.size(); j++)
                numbers(static_cast<int>(j), static_cast<int>(phase)) =
                    static_cast<int>(value(axis.phases[phase].taps[j]));
        }
        return numbers(clamp(tap, 0, taps - 1), q);
    }

    // The framework's channel for channel c of the layer at one pixel of a block.
    static Expr framework_channel(const Expr &c, const Expr &pixel, std::int64_t block, std::int64_t channels,
                                  ShuffleOrder order) {
        if (block == 1) return c;
        return order == ShuffleOrder::crd ? c * static_cast<int>(block) + pixel
                                          : pixel * static_cast<int>(channels) + c;
    }

    Expr output_channel(const Expr &c, const Expr &pixel) const {
        const PhaseConvolution &conv = convolution();
        return framework_channel(c, pixel, conv.shuffle_block(), conv.output_channels, conv.shuffle_order);
    }

    // A per-channel input at the framework's place for channel c of a pixel.
    Expr per_channel(Input<Buffer<float>> *values, const Expr &c, const Expr &pixel,
                     const EpilogueStage &stage) const {
        const Expr channel = stage.before_shuffle ? output_channel(c, pixel) : c;
        const std::int64_t last = convolution().kernel_output_channels() *
                                      (stage.before_shuffle ? convolution().shuffle_block() : 1) -
                                  1;
        return cast<double>((*values)(clamp(channel, 0, static_cast<int>(last))));
    }

    // The weight of output channel c, input channel ci, taps and phases (x first), in double.
    Expr weight(const Expr &c, const Expr &ci, const std::vector<Expr> &taps,
                const std::vector<Expr> &phases) {
        const PhaseConvolution &conv = convolution();
        const std::vector<const PhaseAxis *> axes = axes_from_x(conv);
        // Shuffle and unshuffle pixels, the last axis fastest.
        Expr shuffled = 0, unshuffled = 0;
        for (std::size_t axis = axes.size(); axis-- > 0;) {
            const PhaseAxis &lowered = *axes[axis];
            if (lowered.shuffle > 1) {
                std::vector<std::int64_t> indices;
                for (const auto &phase : lowered.phases)
                    indices.push_back(phase.shuffle_index);
                shuffled = shuffled * static_cast<int>(lowered.shuffle) + table(indices, phases[axis]);
            }
            if (lowered.unshuffle > 1)
                unshuffled = unshuffled * static_cast<int>(lowered.unshuffle) +
                             tap_table(lowered, taps[axis], phases[axis],
                                       [](const Tap &tap) { return tap.unshuffle_index; });
        }
        const std::int64_t outputs = conv.kernel_output_channels();
        const Expr inside = clamp(c, 0, static_cast<int>(outputs) - 1);
        const Expr co = output_channel(inside, shuffled);
        const Expr pixel = clamp(unshuffled, 0, static_cast<int>(conv.unshuffle_block()) - 1);
        const Expr in =
            framework_channel(ci, pixel, conv.unshuffle_block(), conv.input_channels, conv.unshuffle_order);

        Region merged;
        std::vector<Expr> counts, at;
        for (std::size_t axis = 0; axis < axes.size(); axis++) {
            std::int64_t most = 1;
            for (const auto &phase : axes[axis]->phases) {
                for (const Tap &tap : phase.taps)
                    most = std::max(most, tap.kernel_count);
            }
            merged.emplace_back(0, static_cast<int>(most));
        }
        RDom r(merged);
        Expr exists = c < static_cast<int>(outputs);
        for (std::size_t axis = 0; axis < axes.size(); axis++) {
            const PhaseAxis &lowered = *axes[axis];
            const Expr begin =
                tap_table(lowered, taps[axis], phases[axis], [](const Tap &tap) { return tap.kernel_begin; });
            const Expr count =
                tap_table(lowered, taps[axis], phases[axis], [](const Tap &tap) { return tap.kernel_count; });
            const RVar element = r[static_cast<int>(axis)];
            exists =
                exists && element < count && taps[axis] < table(lowered.progression().count, phases[axis]);
            at.push_back(clamp(begin + element, 0, static_cast<int>(lowered.kernel) - 1));
        }
        if (conv.depthwise()) {
            at.insert(at.end(), {Expr(0), co});
        } else if (conv.input_channels_first) {
            at.insert(at.end(), {co, in});
        } else {
            at.insert(at.end(), {in, co});
        }
        Expr total = sum(select(exists, cast<double>((*kernel)(at)), Expr(0.0)));
        for (const EpilogueStage &stage : conv.folded) {
            if (std::holds_alternative<Scale>(stage.operation))
                total *= per_channel(scale, inside, shuffled, stage);
        }
        return total;
    }

    // G w G^T for the taps w of a phase: each axis's sum over taps of the coefficient at a point times the
    // tap's weight, in double.
    Expr transformed_weight(const FilterTile &tile) {
        const FilteredAxes axes = filtered_axes(convolution(), tile);
        const Var tap_x("tap_x"), tap_y("tap_y");
        Expr c = at[6] * block_channels(parameters.record) + at[0], qx = at[4], qy = at[5];
        if (merges_phases(parameters.record)) {
            // Channels of all phases; past the last one there are none of a channel past the last.
            const int channels = static_cast<int>(convolution().kernel_output_channels());
            const int phases_x = static_cast<int>(axes[0]->shift.size()),
                      phases_y = static_cast<int>(axes[1]->shift.size());
            const Expr phase = c / channels;
            qx = phase % phases_x;
            qy = min(phase / phases_x, phases_y - 1);
            c = select(phase < phases_x * phases_y, c % channels, channels);
        }
        tap_weights(at[0], at[1], tap_x, tap_y, at[4], at[5], at[6]) =
            weight(c, at[1], {tap_x, tap_y}, {qx, qy});
        const RDom x(0, static_cast<int>(axes[0]->matrices.taps), "x");
        half_transformed(at[0], at[1], at[2], tap_y, at[4], at[5], at[6]) = sum(
            coefficient(*axes[0], x, at[2], qx) * tap_weights(at[0], at[1], x, tap_y, at[4], at[5], at[6]));
        const RDom y(0, static_cast<int>(axes[1]->matrices.taps), "y");
        return sum(coefficient(*axes[1], y, at[3], qy) *
                   half_transformed(at[0], at[1], at[2], y, at[4], at[5], at[6]));
    }

    // What tap j of phase q counts at a point; 0 for taps that the phase does not have.
    static Expr coefficient(const FilteredAxis &axis, const Expr &j, const Expr &point, const Expr &q) {
        Buffer<double> numbers(static_cast<int>(axis.matrices.taps), static_cast<int>(axis.matrices.points()),
                               static_cast<int>(axis.weights.size()));
        numbers.fill(0.0);
        for (std::size_t phase = 0; phase < axis.weights.size(); phase++) {
            for (std::size_t p = 0; p < axis.weights[phase].size(); p++) {
                const std::vector<Rational> &row = axis.weights[phase][p];
                for (std::size_t tap = 0; tap < row.size(); tap++)
                    numbers(static_cast<int>(tap), static_cast<int>(p), static_cast<int>(phase)) =
                        row[tap].to_double();
            }
        }
        return numbers(j, point, q);
    }

    // Which weight a place of the packed tensor holds.
    Expr packed_weight() {
        const PhaseConvolution &conv = convolution();
        const std::size_t axes = conv.axes.size();
        const auto range = [&](std::size_t first) {
            return std::vector<Expr>(at.begin() + static_cast<std::ptrdiff_t>(first),
                                     at.begin() + static_cast<std::ptrdiff_t>(first + axes));
        };
        if (const FilterTile *tile = filter_tile(parameters.record)) return transformed_weight(*tile);
        const auto *columns = std::get_if<CpuColumns>(&parameters.record.parameters);
        if (columns == nullptr && conv.depthwise()) return weight(at[0], 0, range(1), range(1 + axes));
        if (columns == nullptr) {
            const int block = block_channels(parameters.record);
            return weight(at[1 + 2 * axes + 1] * block + at[0], at[1], range(2), range(2 + axes));
        }
        // Column l is channel c of a slot for each axis, x fastest; a slot is tap * phases + phase.
        const Expr l = at[2] * columns->block() + at[0];
        const int channels = static_cast<int>(conv.kernel_output_channels());
        Expr slot = l / channels;
        std::vector<Expr> taps, phases;
        for (const PhaseAxis *axis : axes_from_x(conv)) {
            const int slots = static_cast<int>(column_slots(*axis)),
                      count = static_cast<int>(axis->phase_count());
            const Expr here = slot % slots;
            taps.push_back(here / count);
            phases.push_back(here % count);
            slot = slot / slots;
        }
        return select(slot == 0, weight(l % channels, at[1], taps, phases), Expr(0.0));
    }

    void pack_parameters() {
        const PhaseConvolution &conv = convolution();
        Var i{"i"}, row{"row"};
        int padded = parameter_extents(conv, parameters.record)[0];
        if (conv.parameters_before_shuffle()) padded /= static_cast<int>(conv.shuffle_block());
        const int channels = static_cast<int>(conv.kernel_output_channels());
        const Expr c = clamp(i % padded, 0, channels - 1), pixel = i / padded;
        Expr folded = Expr(0.0);
        for (const EpilogueStage &stage : conv.folded) {
            const bool is_bias = std::holds_alternative<Bias>(stage.operation);
            const Expr value = per_channel(is_bias ? bias : scale, c, pixel, stage);
            folded = is_bias ? folded + value : folded * value;
        }
        const std::vector<EpilogueStage> kinds = conv.channel_parameters();
        const std::size_t from_epilogue = static_cast<std::size_t>(
            std::count_if(conv.folded.begin(), conv.folded.end(),
                          [](const auto &stage) { return std::holds_alternative<Bias>(stage.operation); }));
        Expr value = Expr(0.0);
        for (std::size_t k = 0; k < kinds.size(); k++) {
            Input<Buffer<float>> *source = std::holds_alternative<Bias>(kinds[k].operation)    ? bias
                                           : std::holds_alternative<Scale>(kinds[k].operation) ? scale
                                                                                               : prelu;
            const Expr number = k < from_epilogue ? folded : per_channel(source, c, pixel, kinds[k]);
            value = select(row == static_cast<int>(k), number, value);
        }
        (*rows)(i, row) = cast<float>(select(i % padded < channels, value, Expr(0.0)));
    }
};

} // namespace unstride

HALIDE_REGISTER_GENERATOR(unstride::WeightPackingGenerator, weight_packing)
