/* The machine that a program runs on, as far as schedules depend on it: shared by the measuring program,
 * which may be far away, and the commands. */
#ifndef UNSTRIDE_MACHINE_H
#define UNSTRIDE_MACHINE_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Unknown parts are empty or 0; no name of the host is among them. */
typedef struct machine_facts {
    char vendor[64],
        model[128]; /* of the first processor, of printable ASCII without quotes and backslashes */
    int64_t l1d_bytes, l2_bytes; /* of its core */
    int threads;                 /* processors that this process may use */
} machine_facts;

machine_facts read_machine(void);

#ifdef __cplusplus
}
#endif

#endif
