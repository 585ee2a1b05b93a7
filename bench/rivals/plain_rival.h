// The methods from textbooks: stages on channels-first tensors one after the other, each in its own buffer.
// What differs is how convolutions are computed, which a class derived from this does. Loops run in parallel
// by OpenMP.
#pragma once

#include "bench/rivals/rival.h"

#include <array>
#include <cstdint>
#include <vector>

namespace unstride::bench {

// Three spatial axes; those that a layer lacks have size 1.
using Axes = std::array<std::int64_t, 3>;

Axes widened(const PerAxis &values, std::int64_t fill);

inline std::int64_t product(const Axes &axes) {
    return axes[0] * axes[1] * axes[2];
}

// A convolution or transposed convolution of a channels-first tensor.
struct Convolution {
    bool transposed = false;
    std::int64_t batch = 1, input_channels = 1, output_channels = 1, groups = 1;
    Axes input{}, output{}, kernel{}, stride{}, dilation{}, pad{}; // pad: at the beginning
    const float *weights = nullptr;                                // in the frameworks' order

    std::int64_t inputs_per_group() const { return input_channels / groups; }
    std::int64_t outputs_per_group() const { return output_channels / groups; }
};

class PlainRival : public Rival {
public:
    void load(const Problem &problem, const std::string &variant, int threads) override;
    void run() override;
    std::vector<float> output() override;

protected:
    // Called once for each convolution, before any call.
    virtual void prepare(const Convolution &convolution, int threads) = 0;

    // Writes all of `output`.
    virtual void convolve(const Convolution &convolution, const float *input, float *output) = 0;

private:
    struct Step {
        StageOperation operation;
        Shape from, to;
        Convolution convolution;
        AlignedFloats result; // unused by stages that work in place
        bool in_place = false;
    };

    Problem problem_;
    Layout layout_ = Layout::nhwc; // of the layer as it is written
    AlignedFloats input_;
    std::vector<Step> steps_;
    const float *last_ = nullptr;

    void apply(Step &step, const float *from, float *to) const;
};

} // namespace unstride::bench
