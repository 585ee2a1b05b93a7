// From the layer's phase convolution.
#include "tools/compare/work.h"

#include "compiler/lowering/costs.h"

#include <algorithm>

namespace unstride {

LayerWork work_of(const Layer &layer) {
    LayerWork work;
    const Input &input = layer.input;
    const bool dynamic = input.batch == dynamic_size || std::find(input.spatial.begin(), input.spatial.end(),
                                                                  dynamic_size) != input.spatial.end();
    const auto lowered = lower(layer);
    if (dynamic || !std::holds_alternative<PhaseConvolution>(lowered)) return work;
    work.input_shape = {input.batch};
    if (input.layout == Layout::nchw) work.input_shape.push_back(input.channels);
    work.input_shape.insert(work.input_shape.end(), input.spatial.begin(), input.spatial.end());
    if (input.layout == Layout::nhwc) work.input_shape.push_back(input.channels);
    const Costs cost = costs(std::get<PhaseConvolution>(lowered), input.batch, input.spatial);
    work.multiplications = cost.multiplications;
    work.compulsory_bytes = cost.tensor_bytes;
    return work;
}

} // namespace unstride
