/* The fake library `ocl`: the kernels of fake_kernels.c behind the runtime's OpenCL glue. */
#define _GNU_SOURCE
#include "fake_library.h"

#include "fake_tasks.h"

#define UNSTRIDE_LIBRARY(function) ocl_##function
#define UNSTRIDE_LIBRARY_DEVICE UNSTRIDE_DEVICE_OPENCL
#include "fake_kernels.c"
