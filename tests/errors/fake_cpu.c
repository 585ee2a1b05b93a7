/* The fake library `fake` for the processor, and what all fake kernels share. */
#define _GNU_SOURCE
#include "fake_library.h"

#include <stdatomic.h>

#include "fake_tasks.h"

fake_controls fake = {.failing_task = -1};

static atomic_int running, peak;

void fake_enter_task(void) {
    const int now = atomic_fetch_add(&running, 1) + 1;
    int most = atomic_load(&peak);
    while (most < now && !atomic_compare_exchange_weak(&peak, &most, now)) {
    }
}

void fake_leave_task(void) {
    atomic_fetch_sub(&running, 1);
}

int fake_take_peak(void) {
    return atomic_exchange(&peak, 0);
}

#define UNSTRIDE_LIBRARY(function) fake_##function
#define UNSTRIDE_LIBRARY_DEVICE UNSTRIDE_DEVICE_NONE
#include "fake_kernels.c"
