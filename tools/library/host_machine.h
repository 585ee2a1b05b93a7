// The machine at hand, as far as schedules depend on it.
#pragma once

#include "schedules/tuning_record.h"

namespace unstride {

// Unknown parts stay empty; no name of the host is among them.
Machine host_machine();

} // namespace unstride
