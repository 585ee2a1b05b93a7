/* The runtime of a generated library as one translation unit. A generated NAME.c defines _GNU_SOURCE,
 * UNSTRIDE_LIBRARY(x) as NAME_##x, UNSTRIDE_LIBRARY_DEVICE as one of UNSTRIDE_DEVICE_*, includes NAME.h and
 * kernel_table.h, defines `static const unstride_table unstride_this_library`, and then includes this file.
 * Every name here is static except the functions of library.h, so that any number of libraries can be linked
 * into one program. */
#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "halide_abi.h"
#include "kernel_table.h"

#include "status.c"

#include "checks.c"

#include "dispatch.c"

#include "packed.c"

#include "call.c"

#include "pool.c"

#include "threads.c"

#include "scratch.c"

#if UNSTRIDE_LIBRARY_DEVICE == UNSTRIDE_DEVICE_CUDA
#include "device_cuda.c"
#elif UNSTRIDE_LIBRARY_DEVICE == UNSTRIDE_DEVICE_OPENCL
#include "device_opencl.c"
#else
#include "device_none.c"
#endif

#include "hooks.c"

#include "boxes.c"

#include "pack.c"

#include "run.c"

#include "library.c"
