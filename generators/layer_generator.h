// What all generators of a layer share: their parameters, and, of those that compute, their tensors.
#pragma once

#include "generators/layer_parameters.h"
#include "generators/phase_tensors.h"
#include "schedules/input_prefetch.h"
#include "schedules/output_prefetch.h"
#include "schedules/weight_prefetch.h"

#include <Halide.h>

#include <optional>
#include <string>
#include <vector>

namespace unstride {

template<typename Derived>
class LayerGenerator : public Halide::Generator<Derived> {
public:
    Halide::GeneratorParam<std::string> layer{"layer", ""};
    Halide::GeneratorParam<std::string> schedule_record{"schedule", ""};
    Halide::GeneratorParam<std::string> instruction_set{"instruction_set", ""};

protected:
    LayerParameters parameters;

    void decode() { parameters = decode_parameters(layer, schedule_record, instruction_set); }
    const PhaseConvolution &convolution() const { return parameters.convolution; }
};

// (input, weights, parameters, [add,] output), which is the order in which the runtime passes them.
template<typename Derived>
class ComputeGenerator : public LayerGenerator<Derived> {
public:
    using Tensor = Halide::GeneratorInput<Halide::Buffer<float>>;

    void configure() {
        this->decode();
        const PhaseConvolution &conv = this->convolution();
        const int axes = static_cast<int>(conv.axes.size());
        const int packed = static_cast<int>(packed_extents(conv, this->parameters.record).size());
        input = this->template add_input<Halide::Buffer<float>>(input_name, axes + 2); // (c, x, y, [z,] n)
        weights = this->template add_input<Halide::Buffer<float>>(weights_name, packed);
        channel_parameters = this->template add_input<Halide::Buffer<float>>("parameters", 2); // (c, row)
        // (c, qx, u, qy, v, [qz, w,] n)
        if (conv.has_add()) add = this->template add_input<Halide::Buffer<float>>("add", 2 * axes + 2);
        output = this->template add_output<Halide::Buffer<float>>(output_name, 2 * axes + 2);
        vars.emplace(conv.axes.size());
    }

protected:
    static constexpr const char *weights_name = "weights", *input_name = "input", *output_name = "output";
    Tensor *input = nullptr;
    Tensor *weights = nullptr;
    Tensor *channel_parameters = nullptr;
    Tensor *add = nullptr;
    Halide::GeneratorOutput<Halide::Buffer<float>> *output = nullptr;
    std::optional<PhaseVars> vars;

    // The place of an output, as expressions.
    std::vector<Halide::Expr> here() const {
        const std::vector<Halide::Var> at = vars->output();
        return {at.begin(), at.end()};
    }

    // The input at any position, see bordered_input.
    Halide::Expr input_at(const Halide::Expr &channel, const std::vector<Halide::Expr> &position,
                          bool x_inside = false) {
        return bordered_input(this->convolution(), *input, spatial_extents(*input, position.size()), channel,
                              position, vars->n, x_inside);
    }

    ChannelParameters rows() { return {this->convolution(), this->parameters.record, *channel_parameters}; }

    // Fetches weights ahead, where the record says so.
    void prefetch_weights() {
        const ScheduleRecord &record = this->parameters.record;
        if (!prefetches(record)) return;
        this->get_pipeline().add_custom_lowering_pass(
            new WeightPrefetch(weights_name, weight_panel(this->convolution(), record)));
    }

    // Fetches the output's lines ahead, where the record says so.
    void prefetch_output() {
        if (prefetches(this->parameters.record))
            this->get_pipeline().add_custom_lowering_pass(new OutputPrefetch(output_name));
    }

    // Fetches pixels of the input ahead, where the record says so.
    void prefetch_input() {
        const auto *columns = std::get_if<CpuColumns>(&this->parameters.record.parameters);
        if (columns == nullptr || !columns->prefetch) return;
        const auto channels = static_cast<int>(this->convolution().channels_per_output());
        this->get_pipeline().add_custom_lowering_pass(
            new InputPrefetch(input_name, columns->tile_x * channels));
    }

    // Tells an autoscheduler the tensors' sizes; it takes dynamic ones for 64.
    void estimate() {
        const PhaseConvolution &conv = this->convolution();
        const auto estimated = [](std::int64_t size) {
            return static_cast<int>(size == dynamic_size ? 64 : size);
        };
        Halide::Region in = {{0, static_cast<int>(conv.kernel_input_channels())}};
        Halide::Region out = {{0, static_cast<int>(conv.kernel_output_channels())}};
        for (const PhaseAxis *axis : axes_from_x(conv)) {
            const auto phases = static_cast<int>(axis->phase_count());
            in.emplace_back(0, estimated(axis->input_size));
            out.emplace_back(0, phases);
            out.emplace_back(0, (estimated(axis->output_size) + phases - 1) / phases);
        }
        for (Halide::Region *region : {&in, &out})
            region->emplace_back(0, estimated(conv.batch));
        input->set_estimates(in);
        output->set_estimates(out);
        if (conv.has_add()) add->set_estimates(out);
        Halide::Region packed, rows;
        for (const int extent : packed_extents(conv, this->parameters.record))
            packed.emplace_back(0, extent);
        for (const int extent : parameter_extents(conv, this->parameters.record))
            rows.emplace_back(0, extent);
        weights->set_estimates(packed);
        channel_parameters->set_estimates(rows);
    }

    // Limits a reduction to outputs of a phase that lie in the tensor, on an axis whose stores the kernel
    // bounds.
    void bound_stores(Halide::RDom &r, std::size_t axis, const Halide::Expr &u) {
        const PhaseConvolution &conv = this->convolution();
        if (!bounds_stores(conv, this->parameters.record, axis)) return;
        const PhaseAxis &lowered = *axes_from_x(conv)[axis];
        const auto given = input->dim(static_cast<int>(axis) + 1);
        // phases * u + q < size in numbers that fit: the product may not.
        const Halide::Expr size = output_size(lowered, given.extent());
        r.where(u <= (size - 1 - vars->q[axis]) / static_cast<int>(lowered.phase_count()));
    }

    // Defines the output as the epilogue of `value`, and constrains all tensors.
    void finish(const Halide::Expr &value) {
        const PhaseConvolution &conv = this->convolution();
        const Halide::Expr added = conv.has_add() ? (*add)(here()) : Halide::Expr();
        const Halide::Expr result = rows().epilogue(*vars, value, added);
        bool bounded = false;
        for (std::size_t axis = 0; axis < vars->u.size(); axis++)
            bounded |= bounds_stores(conv, this->parameters.record, axis);
        if (bounded) {
            // Only a reduction has a condition: over one element.
            Halide::RDom once(0, 1, "once");
            for (std::size_t axis = 0; axis < vars->u.size(); axis++)
                bound_stores(once, axis, vars->u[axis]);
            (*output)(vars->output()) = Halide::undef<float>();
            (*output)(here()) = Halide::select(once.x == 0, result, 0.0f);
        } else {
            (*output)(vars->output()) = result;
        }
        constrain();
    }

    // What stores the output that was defined.
    Halide::Stage stores() {
        Halide::Func stored = *output;
        return stored.has_update_definition() ? stored.update() : Halide::Stage(stored);
    }

    // Says what is known of all tensors.
    void constrain() {
        const PhaseConvolution &conv = this->convolution();
        constrain_tensor(conv, *input, conv.kernel_input_channels(), false);
        constrain_tensor(conv, *output, conv.kernel_output_channels(), true);
        if (conv.has_add()) constrain_tensor(conv, *add, conv.kernel_output_channels(), true);
        constrain_packed(conv, this->parameters.record, *weights, *channel_parameters);
    }
};

} // namespace unstride
