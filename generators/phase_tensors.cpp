#include "generators/phase_tensors.h"

#include "generators/elementwise.h"
#include "generators/tap_table.h"

namespace unstride {

using Halide::Expr;
using Halide::Var;

std::vector<const PhaseAxis *> axes_from_x(const PhaseConvolution &layer) {
    std::vector<const PhaseAxis *> axes;
    for (auto axis = layer.axes.rbegin(); axis != layer.axes.rend(); ++axis)
        axes.push_back(&*axis);
    return axes;
}

Expr output_size(const PhaseAxis &axis, Expr input_size) {
    if (axis.output_size != dynamic_size) return static_cast<int>(axis.output_size);
    for (const SizeStep &step : axis.sizes) {
        const SizeRule &rule = step.rule;
        input_size = (static_cast<int>(rule.scale) * input_size + static_cast<int>(rule.shift)) /
                     static_cast<int>(rule.divisor);
    }
    return input_size;
}

Expr input_position(const PhaseAxis &axis, const Expr &q, const Expr &u, const Expr &j) {
    const TapProgression taps = axis.progression();
    return u * static_cast<int>(axis.input_stride) + table(taps.first_input_offset, q) +
           j * static_cast<int>(taps.offset_step);
}

Expr bordered_input(const PhaseConvolution &layer, const Halide::Func &input,
                    const std::vector<Expr> &extents, const Expr &channel, const std::vector<Expr> &position,
                    const Expr &n, bool x_inside) {
    Expr inside = Halide::cast<bool>(true);
    std::vector<Expr> at = {channel};
    for (std::size_t axis = 0; axis < position.size(); axis++) {
        if (axis == 0 && x_inside) {
            at.push_back(position[axis]);
            continue;
        }
        // Rows that are contiguous in memory are copied by vectors: the part inside is told apart.
        Expr within = 0 <= position[axis] && position[axis] < extents[axis], place = position[axis];
        if (axis == 0 && layer.layout == Layout::nchw) {
            within = likely_if_innermost(within);
            if (layer.edge == EdgeRule::replicate) place = likely_if_innermost(place);
        }
        inside = inside && within;
        at.push_back(clamp(place, 0, extents[axis] - 1));
    }
    at.push_back(n);
    const Expr value = activate(layer.prologue, input(at));
    return layer.edge == EdgeRule::replicate ? value : select(inside, value, 0.0f);
}

Expr shuffle_index(const PhaseConvolution &layer, const std::vector<Var> &q) {
    Expr index = 0;
    for (std::size_t axis = q.size(); axis-- > 0;) {
        const PhaseAxis &lowered = *axes_from_x(layer)[axis];
        if (lowered.shuffle == 1) continue;
        std::vector<std::int64_t> indices;
        for (const auto &phase : lowered.phases)
            indices.push_back(phase.shuffle_index);
        index = index * static_cast<int>(lowered.shuffle) + table(indices, q[axis]);
    }
    return index;
}

ChannelParameters::ChannelParameters(const PhaseConvolution &layer, const ScheduleRecord &record,
                                     Halide::Func parameters)
    : layer(layer), padded_channels(parameter_extents(layer, record)[0]), parameters(std::move(parameters)) {
    if (layer.parameters_before_shuffle()) padded_channels /= static_cast<int>(layer.shuffle_block());
}

bool ChannelParameters::has_folded_bias() const {
    for (const EpilogueStage &stage : layer.folded) {
        if (std::holds_alternative<Bias>(stage.operation)) return true;
    }
    return false;
}

Expr ChannelParameters::row(const PhaseVars &vars, int index, bool before_shuffle) const {
    Expr channel = vars.c;
    if (before_shuffle && layer.shuffle_block() > 1)
        channel += padded_channels * shuffle_index(layer, vars.q);
    return parameters(channel, index);
}

Expr ChannelParameters::folded_bias(const PhaseVars &vars) const {
    return row(vars, 0, layer.channel_parameters()[0].before_shuffle);
}

Expr ChannelParameters::epilogue(const PhaseVars &vars, Expr value, const Expr &add) const {
    int index = has_folded_bias() ? 1 : 0;
    for (const EpilogueStage &stage : layer.epilogue) {
        if (const auto *activation = std::get_if<Activation>(&stage.operation)) {
            value = activate(*activation, value);
        } else if (std::holds_alternative<Add>(stage.operation)) {
            value += add;
        } else {
            const Expr parameter = row(vars, index++, stage.before_shuffle);
            if (std::holds_alternative<Bias>(stage.operation)) {
                value += parameter;
            } else if (std::holds_alternative<Scale>(stage.operation)) {
                value *= parameter;
            } else { // prelu; the comparison lets NaN through
                value = select(value < 0.0f, value * parameter, value);
            }
        }
    }
    return value;
}

} // namespace unstride
