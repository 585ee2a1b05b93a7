// Counting, from the same taps that the kernels walk.
#include "compiler/lowering/costs.h"

namespace unstride {

double multiplications_per_output(const PhaseConvolution &layer) {
    double taps = static_cast<double>(layer.channels_per_group());
    for (const PhaseAxis &axis : layer.axes) {
        taps *= static_cast<double>(axis.total_taps()) / static_cast<double>(axis.phases.size());
    }
    return taps;
}

Costs costs(const PhaseConvolution &layer, std::int64_t batch, const PerAxis &input_sizes) {
    const double channels =
        static_cast<double>(layer.channels_per_group()) * static_cast<double>(layer.output_channels);
    double taps = 1, outputs = 1, inputs = 1, kernel = 1;
    for (std::size_t i = 0; i < layer.axes.size(); i++) {
        const PhaseAxis &axis = layer.axes[i];
        const std::int64_t output_size = axis.size.apply(input_sizes[i]);
        taps *= static_cast<double>(axis.taps_over(output_size));
        outputs *= static_cast<double>(output_size);
        inputs *= static_cast<double>(input_sizes[i]);
        kernel *= static_cast<double>(axis.kernel);
    }
    const double images = static_cast<double>(batch);
    Costs result;
    result.multiplications = images * channels * taps;
    result.zero_insertion = images * channels * outputs * kernel;
    // A transposed convolution multiplies every input; a convolution's columns are gathered for every output.
    const double columns = layer.input_channels_first ? inputs : outputs;
    const double column_channels =
        static_cast<double>(layer.input_channels_first ? layer.output_channels : layer.input_channels);
    result.matrix_product = images * channels * columns * kernel;
    result.column_buffer_bytes = columns * kernel * column_channels * sizeof(float);
    const double output_elements = outputs * static_cast<double>(layer.output_channels);
    result.tensor_bytes = sizeof(float) * (images * (inputs * static_cast<double>(layer.input_channels) +
                                                     output_elements * (layer.has_add() ? 2 : 1)) +
                                           channels * kernel);
    return result;
}

} // namespace unstride
