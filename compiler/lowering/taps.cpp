// The rewrites that turn stages into phases.
#include "compiler/lowering/phase_convolution.h"

#include "compiler/integer_division.h"

#include <algorithm>
#include <numeric>

namespace unstride {

namespace {

bool too_many(std::int64_t phases, std::int64_t taps_of_each) {
    return phases > largest_phase_count || taps_of_each > largest_tap_count / phases;
}

} // namespace

// Plain sum, scattered: out[stride * i + dilation * t - pad] += w[t] * in[i]. Gathered, output o takes every
// t for which i = (o + pad - dilation * t) / stride is whole; testing each t costs kernel products an output,
// most of them with nothing. With o = stride * u + q the test depends on q alone:
//
//     i = u + (q + pad - dilation * t) / stride,   for the t that make (q + pad - dilation * t) divisible.
//
// Those t lie stride / gcd(stride, dilation) apart, so a phase has about kernel * gcd / stride taps, or none
// where gcd does not divide q + pad; each t belongs to the one phase q in 0 … stride - 1.
std::vector<Phase> transposed_conv_phases(std::int64_t kernel, std::int64_t stride, std::int64_t dilation,
                                          std::int64_t pad_begin) {
    if (too_many(stride, 1) || too_many(1, kernel)) return {};
    std::vector<Phase> phases(static_cast<std::size_t>(stride));
    for (std::int64_t t = kernel; t-- > 0;) {
        const std::int64_t offset = floor_divide(pad_begin - dilation * t + stride - 1, stride);
        const std::int64_t q = stride * offset - pad_begin + dilation * t;
        phases[static_cast<std::size_t>(q)].taps.push_back({t, 1, offset, 0});
    }
    space_evenly(&phases);
    return phases;
}

// With o = phases * u + q the position stride * o + dilation * t - pad over `nearest` splits into a whole
// number of input strides and a rest that depends on q and t only. Kernel elements whose rests are equal meet
// the same input pixel: their weights are summed.
std::vector<Phase> conv_phases(std::int64_t kernel, std::int64_t stride, std::int64_t dilation,
                               std::int64_t pad_begin, std::int64_t nearest) {
    const std::int64_t count = nearest / std::gcd(stride, nearest);
    if (too_many(count, kernel)) return {};
    std::vector<Phase> phases(static_cast<std::size_t>(count));
    for (std::size_t q = 0; q < phases.size(); q++) {
        std::vector<Tap> &taps = phases[q].taps;
        for (std::int64_t t = 0; t < kernel; t++) {
            const std::int64_t position = stride * static_cast<std::int64_t>(q) + dilation * t - pad_begin;
            const std::int64_t offset = floor_divide(position, nearest);
            if (!taps.empty() && taps.back().input_offset == offset) {
                taps.back().kernel_count++;
            } else {
                taps.push_back({t, 1, offset, 0});
            }
        }
    }
    space_evenly(&phases);
    return phases;
}

std::vector<Phase> unshuffled_conv_phases(std::int64_t kernel, std::int64_t dilation, std::int64_t pad_begin,
                                          std::int64_t factor) {
    if (too_many(factor, kernel)) return {};
    std::vector<Phase> phases(1);
    for (std::int64_t t = 0; t < kernel; t++) {
        for (std::int64_t i = 0; i < factor; i++)
            phases[0].taps.push_back({t, 1, factor * (dilation * t - pad_begin) + i, i});
    }
    space_evenly(&phases);
    return phases;
}

std::vector<Phase> shuffled_phases(const std::vector<Phase> &phases, std::int64_t factor) {
    const auto most_taps = std::max_element(phases.begin(), phases.end(), [](const Phase &a, const Phase &b) {
        return a.taps.size() < b.taps.size();
    });
    const auto count = static_cast<std::int64_t>(phases.size());
    if (factor > largest_phase_count ||
        too_many(count * factor, static_cast<std::int64_t>(most_taps->taps.size())))
        return {};
    std::vector<Phase> result;
    for (const Phase &phase : phases) {
        for (std::int64_t i = 0; i < factor; i++)
            result.push_back({phase.taps, i});
    }
    return result;
}

std::vector<Phase> cropped_phases(const std::vector<Phase> &phases, std::int64_t from,
                                  std::int64_t input_stride) {
    const auto count = static_cast<std::int64_t>(phases.size());
    std::vector<Phase> result;
    for (std::int64_t q = 0; q < count; q++) {
        Phase phase = phases[static_cast<std::size_t>((q + from) % count)];
        for (Tap &tap : phase.taps)
            tap.input_offset += (q + from) / count * input_stride;
        result.push_back(std::move(phase));
    }
    return result;
}

void drop_taps_outside(PhaseAxis *axis) {
    if (axis->input_size == dynamic_size || axis->output_size == dynamic_size) return;
    const std::int64_t count = axis->phase_count();
    for (std::int64_t q = 0; q < count; q++) {
        // The phase's outputs are u = 0 … last; its inputs stride * u + offset. Strides that jump over the
        // whole input are left alone.
        const std::int64_t last = q < axis->output_size ? (axis->output_size - 1 - q) / count : 0;
        std::erase_if(axis->phases[static_cast<std::size_t>(q)].taps, [&](const Tap &tap) {
            return tap.input_offset >= axis->input_size || tap.input_offset + axis->input_stride * last < 0;
        });
    }
}

void space_evenly(std::vector<Phase> *phases) {
    std::int64_t step = 0;
    for (const Phase &phase : *phases) {
        for (std::size_t i = 1; i < phase.taps.size(); i++)
            step = std::gcd(step, phase.taps[i].input_offset - phase.taps[i - 1].input_offset);
    }
    std::int64_t count = 0;
    for (const Phase &phase : *phases) {
        if (step == 0 || phase.taps.empty()) continue;
        count += (phase.taps.back().input_offset - phase.taps.front().input_offset) / step + 1;
        if (count > largest_tap_count) return phases->clear();
    }
    for (Phase &phase : *phases) {
        std::vector<Tap> spaced;
        for (const Tap &tap : phase.taps) {
            while (!spaced.empty() && spaced.back().input_offset + step < tap.input_offset)
                spaced.push_back({0, 0, spaced.back().input_offset + step, 0});
            spaced.push_back(tap);
        }
        phase.taps = std::move(spaced);
    }
}

} // namespace unstride
