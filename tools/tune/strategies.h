// The two ways to find out what candidates cost.
#pragma once

#include "tools/tune/tuning_run.h"

namespace unstride {

// By timing them beside the default. The finalists are timed side by side, and what leads there once more
// beside the schedule in use in fresh processes, before it is chosen.
Result<TuneResult> tune_by_time(TuningRun &run);

// By the cycles that LLVM's models of several processors give their hottest loops; the best are checked
// against the reference under emulation.
Result<TuneResult> tune_by_model(TuningRun &run);

} // namespace unstride
