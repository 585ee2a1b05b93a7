// Layers whose outputs each read one input channel: depthwise convolutions, known filters (bilinear), and
// plain moves of elements (pixel_shuffle, nearest_upsample, crop).
//
//   out(c, qx, u, qy, v, n) = epilogue(sum over tx, ty of w(c, tx, ty, qx, qy) * in(source(c, q), position))
//
// A known filter is separable and the same for every channel, so its columns are summed first, one row of
// outputs at a time, and the row's own taps after that: 2 + 2 / phases products an output instead of 4.
#include "generators/layer_generator.h"
#include "generators/tap_table.h"
#include "schedules/channelwise.h"

#include <Halide.h>

#include <algorithm>
#include <limits>

namespace unstride {

using namespace Halide;

class ChannelwiseGenerator : public ComputeGenerator<ChannelwiseGenerator> {
public:
    void generate() {
        switch (convolution().weights) {
        case WeightSource::learned:
            return finish(learned_sum());
        case WeightSource::filter:
            return finish(filtered());
        case WeightSource::none:
            return finish(moved());
        }
    }

    void schedule() {
        if (using_autoscheduler()) return estimate();
        const ChannelwiseStages stages{*output, sum, staged, *vars, taps, interior};
        if (const auto *cpu = std::get_if<CpuChannelwise>(&parameters.record.parameters)) {
            schedule_cpu_channelwise(stages, convolution(), *cpu);
            prefetch_output();
        } else {
            schedule_gpu_channelwise(stages, std::get<GpuChannelwise>(parameters.record.parameters));
        }
    }

private:
    Func staged, sum;
    RVar interior; // of staged rows
    std::vector<RVar> taps;

    bool on_cpu() const { return parameters.target.device == Device::cpu; }

    // The input channel of output channel c: a shuffle takes its channels apart.
    Expr source_channel(const Expr &c) const {
        const PhaseConvolution &conv = convolution();
        const int block = static_cast<int>(conv.shuffle_block());
        if (block == 1) return c;
        const Expr pixel = shuffle_index(conv, vars->q);
        return conv.shuffle_order == ShuffleOrder::crd ? c * block + pixel
                                                       : pixel * static_cast<int>(conv.output_channels) + c;
    }

    Expr learned_sum() {
        const ChannelParameters rows = this->rows();
        const PhaseConvolution &conv = convolution();
        const std::vector<const PhaseAxis *> axes = axes_from_x(conv);
        staged = Func("padded");
        const Expr channel = min(vars->c, static_cast<int>(conv.input_channels) - 1);
        staged(vars->input()) = input_at(channel, {vars->x.begin(), vars->x.end()});
        sum = Func("sum");
        sum(vars->output()) = rows.has_folded_bias() ? rows.folded_bias(*vars) : Expr(0.0f);
        Region ranges;
        for (const PhaseAxis *axis : axes)
            ranges.emplace_back(0, static_cast<int>(axis->max_taps()));
        RDom r(ranges, "r");
        std::vector<Expr> weight_at = {vars->c}, staged_at = {source_channel(vars->c)};
        for (std::size_t axis = 0; axis < axes.size(); axis++) {
            taps.push_back(r[static_cast<int>(axis)]);
            r.where(has_tap(*axes[axis], vars->q[axis], taps[axis]));
            staged_at.push_back(input_position(*axes[axis], vars->q[axis], vars->u[axis], taps[axis]));
            weight_at.push_back(taps[axis]);
        }
        weight_at.insert(weight_at.end(), vars->q.begin(), vars->q.end());
        staged_at.push_back(vars->n);
        sum(vars->output()) += (*weights)(weight_at)*staged(staged_at);
        return sum(here());
    }

    // The filter's weight of tap j (a number) for phase q.
    Expr filter_weight(const PhaseAxis &axis, const Expr &q, std::size_t j) const {
        std::vector<float> values;
        for (const auto &phase : axis.phases)
            values.push_back(j < phase.taps.size() ? static_cast<float>(axis.filter_weight(phase.taps[j]))
                                                   : 0.0f);
        if (on_cpu() && values.size() > 1) {
            Buffer<float> buffer(std::vector<int>{static_cast<int>(values.size())});
            std::copy(values.begin(), values.end(), buffer.begin());
            return buffer(q);
        }
        Expr result = values.back();
        for (std::size_t i = values.size() - 1; i-- > 0;)
            result = select(q == static_cast<int>(i), values[i], result);
        return result;
    }

    // sum over the taps of `axis` of weight * read(position).
    template<typename Read>
    Expr filter_axis(std::size_t axis, const Read &read) const {
        const PhaseAxis &lowered = *axes_from_x(convolution())[axis];
        Expr total = 0.0f;
        for (std::size_t j = 0; j < static_cast<std::size_t>(lowered.max_taps()); j++) {
            const Expr at = input_position(lowered, vars->q[axis], vars->u[axis], static_cast<int>(j));
            const Expr product = filter_weight(lowered, vars->q[axis], j) * read(at);
            total = j == 0 ? product : total + product;
        }
        return total;
    }

    bool along_x() const {
        const auto *cpu = std::get_if<CpuChannelwise>(&parameters.record.parameters);
        return cpu != nullptr && cpu->lanes_along_x;
    }

    // Rows whose neighbours are the lanes of one vector: the columns inside the input first, in loads that
    // nothing clamps, then those around it one by one.
    template<typename Column>
    void stage_rows(std::vector<Var> at, const Column &column) {
        const PhaseConvolution &conv = convolution();
        const TapProgression taps = conv.x().progression();
        int least = std::numeric_limits<int>::max(), most = std::numeric_limits<int>::min();
        for (std::size_t q = 0; q < taps.count.size(); q++) {
            const std::int64_t first = taps.first_input_offset[q];
            least = std::min(least, static_cast<int>(first));
            most = std::max(most, static_cast<int>(first + (conv.x().max_taps() - 1) * taps.offset_step));
        }
        const int stride = static_cast<int>(conv.x().input_stride);
        const Expr width = input->dim(1).extent(), u = output->dim(2).min();
        const Expr begin = u * stride + least;
        const Expr end = (u + output->dim(2).extent() - 1) * stride + most + 1;
        const Expr first = clamp(begin, 0, width), past = clamp(end, first, width);
        const RDom inside(first, past - first, "inside");
        const RDom before(begin, max(0, min(0, end) - begin), "before");
        const RDom after(max(width, begin), max(0, end - max(width, begin)), "after");
        const auto staged_at = [&](const Expr &x) {
            std::vector<Expr> place(at.begin(), at.end());
            place[1] = x;
            return place;
        };
        const auto border = [&](const Expr &x) {
            if (conv.edge == EdgeRule::zero) return Expr(0.0f);
            return column(clamp(x, 0, width - 1));
        };
        staged(at) = undef<float>();
        staged(staged_at(inside.x)) = column(inside.x);
        staged(staged_at(before.x)) = border(before.x);
        staged(staged_at(after.x)) = border(after.x);
        interior = inside.x;
    }

    Expr filtered() {
        const PhaseConvolution &conv = convolution();
        // The taps of every axis but x, for an input column x and an output's y (and z).
        const auto column = [&](const Expr &c, const Expr &x, bool x_inside = false) {
            return filter_axis(1, [&](const Expr &y) {
                if (conv.axes.size() == 2) return input_at(c, {x, y}, x_inside);
                return filter_axis(2, [&](const Expr &z) { return input_at(c, {x, y, z}, x_inside); });
            });
        };
        if (!on_cpu()) {
            return filter_axis(0, [&](const Expr &x) { return column(source_channel(vars->c), x); });
        }
        staged = Func("columns");
        std::vector<Var> at = {vars->c, vars->x[0]};
        for (std::size_t axis = 1; axis < conv.axes.size(); axis++)
            at.insert(at.end(), {vars->q[axis], vars->u[axis]});
        at.push_back(vars->n);
        // A shuffle asks for channels by the block, also past the last one.
        const Expr last = static_cast<int>(conv.input_channels) - 1;
        const Expr channel = conv.shuffle_block() > 1 ? min(vars->c, last) : Expr(vars->c);
        if (along_x()) {
            stage_rows(at, [&](const Expr &x) { return column(channel, x, true); });
        } else {
            staged(at) = column(channel, vars->x[0]);
        }
        return filter_axis(0, [&](const Expr &x) {
            std::vector<Expr> read(at.begin(), at.end());
            read[0] = source_channel(vars->c);
            read[1] = x;
            return staged(read);
        });
    }

    // Every output is one input element, which is always inside the tensor. Where phases read at different
    // offsets only the clamp says so.
    Expr moved() {
        const PhaseConvolution &conv = convolution();
        const std::vector<const PhaseAxis *> axes = axes_from_x(conv);
        const std::vector<Expr> extents = spatial_extents(*input, axes.size());
        const int block = static_cast<int>(conv.unshuffle_block());
        Expr channel = source_channel(vars->c), pixel = 0;
        if (block > 1) {
            const int channels = static_cast<int>(conv.input_channels);
            const bool crd = conv.unshuffle_order == ShuffleOrder::crd;
            pixel = crd ? vars->c % block : vars->c / channels;
            channel = crd ? vars->c / block : vars->c % channels;
        }
        std::vector<Expr> at = {channel};
        for (std::size_t axis = 0; axis < axes.size(); axis++) {
            const int factor = static_cast<int>(axes[axis]->unshuffle);
            Expr position = input_position(*axes[axis], vars->q[axis], vars->u[axis], pixel % factor);
            if (!axes[axis]->same_taps()) position = clamp(position, 0, extents[axis] - 1);
            at.push_back(position);
            pixel = pixel / factor;
        }
        at.push_back(vars->n);
        return (*input)(at);
    }
};

} // namespace unstride

HALIDE_REGISTER_GENERATOR(unstride::ChannelwiseGenerator, channelwise)
