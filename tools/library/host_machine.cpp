// What the measuring program tells of other machines, of this one.
#include "tools/library/host_machine.h"

#include "tools/runner/machine.h"

namespace unstride {

Machine host_machine() {
    const machine_facts facts = read_machine();
    return {facts.vendor, facts.model, "", facts.l1d_bytes, facts.l2_bytes, facts.threads};
}

} // namespace unstride
