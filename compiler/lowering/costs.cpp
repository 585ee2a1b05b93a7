// Counting, from the same taps that the kernels walk.
#include "compiler/lowering/costs.h"

namespace unstride {

double multiplications_per_output(const PhaseConvolution &layer) {
    double taps = static_cast<double>(layer.channels_per_output());
    if (layer.weights == WeightSource::none) return 0;
    for (const PhaseAxis &axis : layer.axes) {
        taps *= static_cast<double>(axis.total_taps()) / static_cast<double>(axis.phases.size());
    }
    return taps;
}

Costs costs(const PhaseConvolution &layer, std::int64_t batch, const PerAxis &input_sizes) {
    const double channels =
        static_cast<double>(layer.channels_per_output()) * static_cast<double>(layer.output_channels);
    double taps = 1, outputs = 1, inputs = 1, kernel = 1;
    for (std::size_t i = 0; i < layer.axes.size(); i++) {
        const PhaseAxis &axis = layer.axes[i];
        const std::size_t trivial = layer.axes.size() - input_sizes.size();
        const std::int64_t input_size = i < trivial ? 1 : input_sizes[i - trivial];
        const std::int64_t output_size = axis.output_for(input_size);
        taps *= static_cast<double>(axis.taps_over(output_size));
        outputs *= static_cast<double>(output_size);
        inputs *= static_cast<double>(input_size);
        kernel *= static_cast<double>(axis.kernel * axis.unshuffle);
    }
    const double images = static_cast<double>(batch);
    Costs result;
    result.multiplications = layer.weights == WeightSource::none ? 0 : images * channels * taps;
    result.zero_insertion = images * channels * outputs * kernel;
    // A transposed convolution multiplies every input, for all channels that a shuffle then takes apart; a
    // convolution's columns are gathered for every position before the shuffle.
    const double block = static_cast<double>(layer.shuffle_block());
    const bool scatters = layer.input_channels_first;
    const double columns = scatters ? inputs : outputs / block;
    const double column_channels =
        static_cast<double>(scatters ? layer.output_channels : layer.input_channels) * (scatters ? block : 1);
    result.matrix_product = images * channels * block * columns * kernel;
    result.column_buffer_bytes = columns * kernel * column_channels * sizeof(float);
    const double output_elements = outputs * static_cast<double>(layer.output_channels);
    const double weights = layer.weights == WeightSource::learned ? channels * block * kernel : 0;
    result.tensor_bytes = sizeof(float) * (images * (inputs * static_cast<double>(layer.input_channels) +
                                                     output_elements * (layer.has_add() ? 2 : 1)) +
                                           weights);
    return result;
}

} // namespace unstride
