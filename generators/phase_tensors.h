// What the compute generators share: the tensors of a phase convolution, seen by phase, and its epilogue.
//
// The output buffer's dimensions (c, qx, u, qy, v, [qz, w,] n) carry the strides of a plain tensor: qx steps
// by one pixel, u by `phases` pixels. So every phase is a dense loop that stores straight into place, in
// either layout.
#pragma once

#include "compiler/lowering/phase_convolution.h"
#include "schedules/phase_vars.h"
#include "schedules/record.h"

#include <Halide.h>

#include <vector>

namespace unstride {

// The axes of a layer, x first, as the generators number them.
std::vector<const PhaseAxis *> axes_from_x(const PhaseConvolution &layer);

// The size of an axis of the output by that of the input.
Halide::Expr output_size(const PhaseAxis &axis, Halide::Expr input_size);

// The input position that tap j of phase q reads for output u.
Halide::Expr input_position(const PhaseAxis &axis, const Halide::Expr &q, const Halide::Expr &u,
                            const Halide::Expr &j);

// The input at any position, prologue applied: zeros or the nearest pixel around the tensor.
// `extents` are the tensor's, x first. With `x_inside` the position on x is known to be one of the tensor's.
Halide::Expr bordered_input(const PhaseConvolution &layer, const Halide::Func &input,
                            const std::vector<Halide::Expr> &extents, const Halide::Expr &channel,
                            const std::vector<Halide::Expr> &position, const Halide::Expr &n,
                            bool x_inside = false);

// The index in a pixel_shuffle block of the phases q, the last axis fastest; 0 where nothing is shuffled.
Halide::Expr shuffle_index(const PhaseConvolution &layer, const std::vector<Halide::Var> &q);

// Reads parameter rows for channel c of phases q.
class ChannelParameters {
public:
    ChannelParameters(const PhaseConvolution &layer, const ScheduleRecord &record, Halide::Func parameters);

    // True if packing made a bias; it is the first row.
    bool has_folded_bias() const;
    Halide::Expr folded_bias(const PhaseVars &vars) const;
    // The epilogue of `value`; `add` is the second tensor's element where the layer adds one.
    Halide::Expr epilogue(const PhaseVars &vars, Halide::Expr value, const Halide::Expr &add) const;

private:
    const PhaseConvolution &layer;
    int padded_channels;
    Halide::Func parameters;

    Halide::Expr row(const PhaseVars &vars, int index, bool before_shuffle) const;
};

// The extents of an input tensor's axes, x first.
template<typename Tensor>
std::vector<Halide::Expr> spatial_extents(Tensor &tensor, std::size_t axes) {
    std::vector<Halide::Expr> extents;
    for (std::size_t axis = 0; axis < axes; axis++)
        extents.push_back(tensor.dim(static_cast<int>(axis) + 1).extent());
    return extents;
}

// What the runtime guarantees about the buffers it passes.
template<typename Tensor>
void constrain_tensor(const PhaseConvolution &layer, Tensor &tensor, std::int64_t channels, bool by_phase) {
    tensor.dim(0).set_bounds(0, static_cast<int>(channels));
    const int step = by_phase ? 2 : 1;
    for (int axis = 0; axis < static_cast<int>(layer.axes.size()); axis++)
        tensor.dim(1 + step * axis).set_min(0);
    if (layer.layout == Layout::nchw) {
        tensor.dim(0).set_stride(Halide::Expr());
        tensor.dim(1).set_stride(1);
        if (by_phase) tensor.dim(2).set_stride(static_cast<int>(layer.x().phase_count()));
    }
}

template<typename Tensor>
void constrain_dense(Tensor &tensor, const std::vector<int> &extents) {
    int stride = 1;
    for (int d = 0; d < static_cast<int>(extents.size()); d++) {
        const int extent = extents[static_cast<std::size_t>(d)];
        tensor.dim(d).set_bounds(0, extent).set_stride(stride);
        stride *= extent;
    }
    tensor.set_host_alignment(64);
}

template<typename Weights, typename Parameters>
void constrain_packed(const PhaseConvolution &layer, const ScheduleRecord &record, Weights &weights,
                      Parameters &parameters) {
    const std::array<int, 2> rows = parameter_extents(layer, record);
    constrain_dense(weights, packed_extents(layer, record));
    constrain_dense(parameters, {rows[0], rows[1]});
}

} // namespace unstride
