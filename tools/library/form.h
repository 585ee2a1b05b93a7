// The form in which a kernel computes its layer: the layer's own products, or minimal filtering
// (compiler/lowering/minimal_filtering.h), with what either costs and what it does to the numbers.
#pragma once

#include "schedules/record.h"

#include <nlohmann/json_fwd.hpp>

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace unstride {

// An axis in tiles of several outputs.
struct FormAxis {
    std::string name; // "depth", "height" or "width"
    std::int64_t outputs = 1, taps = 1;
    std::vector<std::string> points; // "0", "3/4", …, "infinity"
};

struct KernelForm {
    std::vector<FormAxis> filtered; // slowest first; none: the layer's own products
    std::int64_t chain = 0; // input channels of a filtered sum before they join the others; 0: all in one
    double multiplications_per_output = 0;
    double relative_error = 1; // root mean square, as relative_error() of schedules/record.h states it
    double error_factor = 1;   // of the worst case, as error_factor()
    std::int64_t packed_weight_bytes = 0;
    std::optional<std::int64_t> scratch_bytes; // of a thread's task; none where they grow with a dynamic size
};

KernelForm form_of(const PhaseConvolution &layer, const ScheduleRecord &record);

// Bytes that packing writes, without the header and the gaps of the blob.
std::int64_t packed_weight_bytes(const PhaseConvolution &layer, const ScheduleRecord &record);

// "F(3, 2) on height and width, points 0, 1, -1, infinity", and ", 64 channels a chain" where there are
// several; "the layer's own products".
std::string summary(const KernelForm &form);

// {"name":"minimal_filtering","axes":[{"axis":"height","outputs":3,"taps":2,"points":["0",…]},…],…}, or with
// the name "direct" and no axes.
nlohmann::ordered_json to_json(const KernelForm &form);

} // namespace unstride
