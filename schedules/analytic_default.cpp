#include "schedules/analytic_default.h"
namespace unstride {
ScheduleRecord analytic_default(const PhaseConvolution &, const TargetFacts &t) {
    if (t.device != Device::cpu) return {GpuDirect{}};
    CpuDirect r; r.lanes=t.vector_lanes; 
    return {r};
}
}
