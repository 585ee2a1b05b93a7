/* How fake kernels count the tasks that run at the same time. */
#ifndef UNSTRIDE_TESTS_FAKE_TASKS_H
#define UNSTRIDE_TESTS_FAKE_TASKS_H

void fake_enter_task(void);
void fake_leave_task(void);

#endif
