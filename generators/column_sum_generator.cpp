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
#include "generators/elementwise.h"
#include "generators/layer_parameters.h"
#include "generators/phase_tensors.h"
#include "generators/tap_table.h"
#include "schedules/cpu_columns.h"

#include <Halide.h>

#include <map>

namespace unstride {

using namespace Halide;

class ColumnSumGenerator : public Generator<ColumnSumGenerator> {
public:
    GeneratorParam<std::string> layer{"layer", ""};
    GeneratorParam<std::string> schedule_record{"schedule", ""};
    GeneratorParam<std::string> instruction_set{"instruction_set", ""};

    void configure() {
        parameters = decode_parameters(layer, schedule_record, instruction_set);
        const PhaseConvolution &conv = parameters.convolution;
        const int axes = static_cast<int>(conv.axes.size());
        input = add_input<Buffer<float>>("input", axes + 2);            // (c, x, y, [z,] n)
        weights = add_input<Buffer<float>>("weights", 3);               // (l in block, ci, block)
        channel_parameters = add_input<Buffer<float>>("parameters", 2); // (c, row)
        if (conv.has_add()) add = add_input<Buffer<float>>("add", 2 * axes + 2);
        output = add_output<Buffer<float>>("output", 2 * axes + 2); // (c, qx, u, qy, v, [qz, w,] n)
    }

    void generate() {
        const PhaseConvolution &conv = parameters.convolution;
        const std::vector<const PhaseAxis *> axes = axes_from_x(conv);
        const int block = std::get<CpuColumns>(parameters.record.parameters).block();
        vars.emplace(axes.size());
        const std::vector<Expr> extents = spatial_extents(*input, axes.size());

        // Columns of pixels outside the tensor are zero: of rows outside none is computed; within a row, a
        // tile of pixels may overhang and is cleared afterwards.
        std::vector<Var> at = {l};
        at.insert(at.end(), vars->x.begin(), vars->x.end());
        at.push_back(vars->n);
        const std::vector<Expr> here(at.begin(), at.end());
        RDom r(0, static_cast<int>(conv.channels_per_output()), "r");
        ci = r.x;
        std::vector<Expr> input_at = {ci};
        for (std::size_t axis = 0; axis < axes.size(); axis++) {
            if (axis > 0) r.where(0 <= vars->x[axis] && vars->x[axis] < extents[axis]);
            input_at.push_back(clamp(vars->x[axis], 0, extents[axis] - 1));
        }
        input_at.push_back(vars->n);
        product(at) = 0.0f;
        product(at) += (*weights)(l % block, ci, l / block) * activate_input(input_at);
        column(at) = select(0 <= vars->x[0] && vars->x[0] < extents[0], product(here), 0.0f);

        const ChannelParameters rows(conv, parameters.record, *channel_parameters);
        Expr value = rows.has_folded_bias() ? rows.folded_bias(*vars) : Expr(0.0f);
        add_columns(axes, static_cast<int>(axes.size()) - 1, Expr(0), {}, cast<bool>(true), &value);

        const std::vector<Var> out = vars->output();
        const std::vector<Expr> at_output(out.begin(), out.end());
        sum(out) = value;
        const Expr added = conv.has_add() ? (*add)(at_output) : Expr();
        (*output)(out) = rows.epilogue(*vars, sum(at_output), added);

        constrain_tensor(conv, *input, conv.kernel_input_channels(), false);
        constrain_tensor(conv, *output, conv.kernel_output_channels(), true);
        if (conv.has_add()) constrain_tensor(conv, *add, conv.kernel_output_channels(), true);
        constrain_packed(conv, parameters.record, *weights, *channel_parameters);
    }

    void schedule() {
        schedule_cpu_columns({*output, sum, column, product, *vars, l, ci}, parameters.convolution,
                             std::get<CpuColumns>(parameters.record.parameters));
    }

private:
    LayerParameters parameters;
    Input<Buffer<float>> *input = nullptr;
    Input<Buffer<float>> *weights = nullptr;
    Input<Buffer<float>> *channel_parameters = nullptr;
    Input<Buffer<float>> *add = nullptr;
    Output<Buffer<float>> *output = nullptr;
    Func product{"product"}, column{"column"}, sum{"sum"};
    std::optional<PhaseVars> vars;
    Var l{"l"};
    RVar ci;

    Expr activate_input(const std::vector<Expr> &at) const {
        return activate(parameters.convolution.prologue, (*input)(at));
    }

    // Adds to *value the columns of all taps of axes `axis` .. 0; `slot` and `position` say where the outer
    // axes' taps lie, `exists` whether the output's phases have them.
    void add_columns(const std::vector<const PhaseAxis *> &axes, int axis, const Expr &slot,
                     const std::vector<Expr> &position, const Expr &exists, Expr *value) {
        if (axis < 0) {
            std::vector<Expr> read = {
                vars->c + slot * static_cast<int>(parameters.convolution.kernel_output_channels())};
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
