/* The fake library `gpu`: the kernels of fake_kernels.c behind the runtime's CUDA glue. */
#define _GNU_SOURCE
#include "fake_library.h"

#include "fake_tasks.h"

#define UNSTRIDE_LIBRARY(function) gpu_##function
#define UNSTRIDE_LIBRARY_DEVICE UNSTRIDE_DEVICE_CUDA
#include "fake_kernels.c"
