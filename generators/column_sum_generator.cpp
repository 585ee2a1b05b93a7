// A phase convolution of few output channels: every input pixel is first multiplied into one column of
// products, one for each kernel position and output channel, and each output sums its own products.
//
//   column(l, x, y, n) = sum over ci of weights(l, ci) * in(ci, x, y, n)
//   out(c, qx, u, qy, v, n) = epilogue(bias(c) + sum over tx < count(qx), ty < count(qy) of
//                                 column(slot(c, tx, qx, ty, qy), u + offset(qx, tx), v + offset(qy, ty), n))
//
// With one to four output channels no vector of channels can be filled, but kernel * kernel * channels
// columns can: 81 for one channel and kernel 9, 48 for three and kernel 4. The products are as many as in the
// direct form; what is added is one addition a column, small against the input channels that each one sums.
// Columns live in the cache of one task, a few rows at a time; no column buffer of the whole image exists.
//
// Where even the columns are too few, vectors may be of input channels instead: every lane sums the products
// of some of them, and the lanes of a column are summed last.
#include "generators/elementwise.h"
#include "generators/layer_generator.h"
#include "generators/tap_table.h"
#include "schedules/cpu_columns.h"

#include <Halide.h>

#include <map>

namespace unstride {

using namespace Halide;

class ColumnSumGenerator : public ComputeGenerator<ColumnSumGenerator> {
public:
    void generate() {
        const PhaseConvolution &conv = convolution();
        const std::vector<const PhaseAxis *> axes = axes_from_x(conv);
        const std::vector<Expr> extents = spatial_extents(*input, axes.size());

        // Columns of pixels outside the tensor are zero: of rows outside none is computed; within a row, a
        // tile of pixels may overhang and is cleared afterwards.
        std::vector<Var> at = {l};
        at.insert(at.end(), vars->x.begin(), vars->x.end());
        at.push_back(vars->n);
        RDom r(0, static_cast<int>(conv.channels_per_output()) / lanes(), "r");
        ci = r.x;
        // Where tiles take few cycles, those inside have a loop of their own that neither clamps nor clears.
        const auto mostly = [&](const Expr &expr) { return record().across_channels ? likely(expr) : expr; };
        std::vector<Expr> position = {clamp(mostly(vars->x[0]), 0, extents[0] - 1)};
        for (std::size_t axis = 1; axis < axes.size(); axis++) {
            r.where(0 <= vars->x[axis] && vars->x[axis] < extents[axis]);
            position.push_back(clamp(vars->x[axis], 0, extents[axis] - 1));
        }
        product(at) = 0.0f;
        if (record().across_channels) {
            multiply_lanes(at, position);
        } else {
            product(at) += weight(ci) * pixel(ci, position);
        }
        const std::vector<Expr> place(at.begin(), at.end());
        column(at) = select(mostly(0 <= vars->x[0]) && mostly(vars->x[0] < extents[0]), product(place), 0.0f);

        const ChannelParameters rows = this->rows();
        Expr value = rows.has_folded_bias() ? rows.folded_bias(*vars) : Expr(0.0f);
        add_columns(axes, static_cast<int>(axes.size()) - 1, Expr(0), {}, cast<bool>(true), &value);

        sum(vars->output()) = value;
        finish(sum(here()));
    }

    void schedule() {
        schedule_cpu_columns({*output, sum, column, product, lane_product, held, *vars, l, channel, ci, lane},
                             convolution(), record());
        prefetch_input();
    }

private:
    Func held{"held"}, lane_product{"lane_product"}, product{"product"}, column{"column"}, sum{"sum"};
    Var l{"l"}, channel{"channel"};
    RVar ci, lane;

    const CpuColumns &record() const { return std::get<CpuColumns>(parameters.record.parameters); }
    int lanes() const { return record().across_channels ? record().lanes : 1; } // input channels of a step

    // Of column l for an input channel.
    Expr weight(const Expr &channel) const {
        return (*weights)(l % record().block(), channel, l / record().block());
    }

    // What is multiplied: a channel of the pixel at `position`.
    Expr pixel(const Expr &channel, const std::vector<Expr> &position) {
        std::vector<Expr> place = {channel};
        place.insert(place.end(), position.begin(), position.end());
        place.push_back(vars->n);
        return activate(convolution().prologue, (*input)(place));
    }

    // Adds to the product at `at` those of vectors of channels.
    void multiply_lanes(const std::vector<Var> &at, const std::vector<Expr> &position) {
        held(channel, l) = weight(channel);
        std::vector<Var> of_lane = at;
        of_lane.insert(of_lane.begin(), channel);
        lane_product(of_lane) = 0.0f;
        const Expr multiplied = channel + lanes() * ci;
        lane_product(of_lane) += held(multiplied, l) * pixel(multiplied, position);
        lane = RDom(0, lanes(), "lane").x;
        std::vector<Expr> place = {lane};
        place.insert(place.end(), at.begin(), at.end());
        product(at) += lane_product(place);
    }

    // Adds to *value the columns of all taps of axes `axis` .. 0; `slot` and `position` say where the outer
    // axes' taps lie, `exists` whether the output's phases have them.
    void add_columns(const std::vector<const PhaseAxis *> &axes, int axis, const Expr &slot,
                     const std::vector<Expr> &position, const Expr &exists, Expr *value) {
        if (axis < 0) {
            std::vector<Expr> read = {vars->c +
                                      slot * static_cast<int>(convolution().kernel_output_channels())};
            read.insert(read.end(), position.begin(), position.end());
            read.push_back(vars->n);
            *value += select(exists, column(read), 0.0f);
            return;
        }
        const PhaseAxis &lowered = *axes[static_cast<std::size_t>(axis)];
        const Var q = vars->q[static_cast<std::size_t>(axis)], u = vars->u[static_cast<std::size_t>(axis)];
        // By distance from u and not by tap: then the rows that are read do not depend on the phase, and rows
        // of columns can slide.
        std::map<std::int64_t, std::vector<std::int64_t>> slots; // by distance: of each phase, -1 for none
        for (std::size_t phase = 0; phase < lowered.phases.size(); phase++) {
            std::int64_t slot = static_cast<std::int64_t>(phase);
            for (const Tap &tap : lowered.phases[phase].taps) {
                auto &of_phases =
                    slots.try_emplace(tap.input_offset, lowered.phases.size(), -1).first->second;
                of_phases[phase] = slot;
                slot += lowered.phase_count();
            }
        }
        for (const auto &[distance, of_phases] : slots) {
            std::vector<Expr> at = {u + static_cast<int>(distance)};
            at.insert(at.end(), position.begin(), position.end());
            const Expr here = table(of_phases, q);
            add_columns(axes, axis - 1, slot * static_cast<int>(column_slots(lowered)) + max(here, 0), at,
                        exists && here >= 0, value);
        }
    }
};

} // namespace unstride

HALIDE_REGISTER_GENERATOR(unstride::ColumnSumGenerator, column_sum)
