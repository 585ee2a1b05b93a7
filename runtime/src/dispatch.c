/* Which of the compiled-in instruction sets is used: our own check of the processor and of the operating
 * system, since a wrong answer is an illegal instruction. */

#if defined(__x86_64__)
#include <cpuid.h>

static uint32_t detect_cpu(void) {
    uint32_t a, b, c, d, found = 0;
    if (!__get_cpuid(1, &a, &b, &c, &d)) return 0;
    if (c & bit_SSE4_1) found |= UNSTRIDE_CPU_SSE41;
    if (!(c & bit_OSXSAVE)) return found;
    uint32_t state, state_high;
    __asm__ volatile("xgetbv" : "=a"(state), "=d"(state_high) : "c"(0));
    const bool ymm = (state & 0x6) == 0x6, zmm = (state & 0xe6) == 0xe6;
    const bool avx_fma = (c & bit_AVX) && (c & bit_FMA);
    if (!__get_cpuid_count(7, 0, &a, &b, &c, &d)) return found;
    if (ymm && avx_fma && (b & bit_AVX2)) found |= UNSTRIDE_CPU_AVX2_FMA;
    const uint32_t avx512 = bit_AVX512F | bit_AVX512CD | bit_AVX512BW | bit_AVX512DQ | bit_AVX512VL;
    if (zmm && avx_fma && (b & avx512) == avx512) found |= UNSTRIDE_CPU_AVX512;
    return found;
}
#else
static uint32_t detect_cpu(void) {
    return 0;
}
#endif

/* An index into the table's instruction sets, or one of these. */
enum { selection_undecided = -1, selection_unknown_name = -2, selection_unsupported = -3 };

static atomic_int selection = selection_undecided;

static bool cpu_has(uint32_t requirement) {
    return (requirement & ~detect_cpu()) == 0;
}

static int find_instruction_set(const char *name) {
    for (int i = 0; i < unstride_this_library.instruction_set_count; i++)
        if (strcmp(unstride_this_library.instruction_sets[i].name, name) == 0) return i;
    return selection_unknown_name;
}

static int best_instruction_set(void) {
    for (int i = 0; i < unstride_this_library.instruction_set_count; i++)
        if (cpu_has(unstride_this_library.instruction_sets[i].requirement)) return i;
    return selection_unsupported;
}

static int named_instruction_set(const char *name) {
    const int index = find_instruction_set(name);
    if (index < 0 || cpu_has(unstride_this_library.instruction_sets[index].requirement)) return index;
    return selection_unsupported;
}

/* The environment variable speaks of processors: a library for a device does not listen to it. */
static int decide_instruction_set(void) {
    const char *wanted =
        unstride_this_library.device == UNSTRIDE_DEVICE_NONE ? getenv("UNSTRIDE_INSTRUCTION_SET") : NULL;
    return wanted != NULL && wanted[0] != '\0' ? named_instruction_set(wanted) : best_instruction_set();
}

static int selected_instruction_set(void) {
    int current = atomic_load_explicit(&selection, memory_order_acquire);
    if (current != selection_undecided) return current;
    const int decided = decide_instruction_set();
    return atomic_compare_exchange_strong(&selection, &current, decided) ? decided : current;
}

/* The index of the instruction set in use, or below zero with *status and last_error set; `who` asks. */
static int require_instruction_set(const char *who, int *status) {
    const int index = selected_instruction_set();
    if (index == selection_unknown_name)
        *status = fail(UNSTRIDE_UNKNOWN_INSTRUCTION_SET,
                       "%s: the environment variable UNSTRIDE_INSTRUCTION_SET names no variant of library %s",
                       who, unstride_this_library.library_name);
    else if (index < 0)
        *status =
            fail(UNSTRIDE_UNSUPPORTED_CPU, "%s: this processor lacks the instructions that library %s needs",
                 who, unstride_this_library.library_name);
    return index;
}

/* The kernel of a layer for the instruction set in use, or a code. */
static int select_kernel(const unstride_layer *layer, const unstride_kernel **kernel, uint32_t *requirement) {
    int status = UNSTRIDE_OK;
    const int index = require_instruction_set(layer->name, &status);
    if (index < 0) return status;
    *kernel = &plan_of(layer)->kernels[index];
    *requirement = unstride_this_library.instruction_sets[index].requirement;
    return UNSTRIDE_OK;
}

const char *UNSTRIDE_LIBRARY(instruction_set)(void) {
    int status = UNSTRIDE_OK;
    const int index = require_instruction_set("instruction_set", &status);
    return index < 0 ? NULL : unstride_this_library.instruction_sets[index].name;
}

const char *UNSTRIDE_LIBRARY(instruction_set_at)(int index) {
    if (index < 0 || index >= unstride_this_library.instruction_set_count) return NULL;
    return unstride_this_library.instruction_sets[index].name;
}

int UNSTRIDE_LIBRARY(set_instruction_set)(const char *name) {
    const int index = name == NULL ? best_instruction_set() : named_instruction_set(name);
    if (index == selection_unknown_name)
        return fail(UNSTRIDE_UNKNOWN_INSTRUCTION_SET,
                    "set_instruction_set: library %s has no variant '%.64s'",
                    unstride_this_library.library_name, name);
    if (index < 0)
        return fail(UNSTRIDE_UNSUPPORTED_CPU,
                    "set_instruction_set: this processor lacks the instructions of '%.64s'",
                    name == NULL ? "any variant" : name);
    atomic_store_explicit(&selection, index, memory_order_release);
    return UNSTRIDE_OK;
}

const char *UNSTRIDE_LIBRARY(schedule)(const unstride_layer *layer) {
    const unstride_kernel *kernel = NULL;
    uint32_t requirement;
    if (check_layer(layer, "schedule") || select_kernel(layer, &kernel, &requirement)) return NULL;
    return kernel->schedule;
}

const char *UNSTRIDE_LIBRARY(schedule_grade)(const unstride_layer *layer) {
    const unstride_kernel *kernel = NULL;
    uint32_t requirement;
    if (check_layer(layer, "schedule_grade") || select_kernel(layer, &kernel, &requirement)) return NULL;
    return kernel->grade;
}
