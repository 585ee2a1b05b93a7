/* The libraries that a measuring program is linked with; the table's source is written for each program. */
#ifndef MEASURE_TABLE_H
#define MEASURE_TABLE_H

#include "unstride/unstride.h"

extern const unstride_library *(*const measured_libraries[])(void);
extern const int measured_count; /* 0 for `measure machine`; a library may stand there several times */

#endif
