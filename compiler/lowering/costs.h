// What a layer costs: multiplications and bytes this way, by inserting zeros, and by a matrix product with a
// scattered column buffer.
#pragma once

#include "compiler/lowering/phase_convolution.h"

#include <cstdint>

namespace unstride {

// Multiplications of one output element, averaged over the phases of a large image.
double multiplications_per_output(const PhaseConvolution &layer);

// All for one call with these input sizes; borders count as inside.
struct Costs {
    double multiplications = 0;     // as phase convolution
    double zero_insertion = 0;      // with zeros inserted between the inputs, then a stride-1 convolution
    double matrix_product = 0;      // every input by the whole kernel, then a scatter (col2im)
    double column_buffer_bytes = 0; // that the matrix product fills
    double tensor_bytes = 0;        // input, second tensor, weights and output, each once
    double operations_per_byte() const { return 2 * multiplications / tensor_bytes; }
};

Costs costs(const PhaseConvolution &layer, std::int64_t batch, const PerAxis &input_sizes);

} // namespace unstride
