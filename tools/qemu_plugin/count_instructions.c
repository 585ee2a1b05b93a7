// A plugin of QEMU's user-mode emulator for AArch64 that counts executed instructions by kind and prints the
// counts to QEMU's log when the emulated program ends. Used by tools/analysis/counted_instructions.cpp:
//   qemu-aarch64 -plugin count_instructions.so -d plugin -D LOG PROGRAM
//
// Licence: QEMU is under the GNU General Public License, version 2, and a plugin runs inside of QEMU. So this
// file, besides the licence of this repository, may be used under the GNU General Public License, version 2
// or later. It is a program of its own: nothing of Unstride is linked with it or with QEMU, and no generated
// library holds any of it.
#include <inttypes.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

// Version 1 of QEMU's plugin interface (QEMU 4.2 to 8.2), whose header distributions do not package.
typedef uint64_t qemu_plugin_id_t;
struct qemu_plugin_tb;   // a block of translated instructions
struct qemu_plugin_insn; // one of them
struct qemu_info_t;
enum qemu_plugin_cb_flags { QEMU_PLUGIN_CB_NO_REGS = 0 };

void qemu_plugin_register_vcpu_tb_trans_cb(qemu_plugin_id_t id,
                                           void (*call)(qemu_plugin_id_t id, struct qemu_plugin_tb *block));
void qemu_plugin_register_vcpu_tb_exec_cb(struct qemu_plugin_tb *block,
                                          void (*call)(unsigned int processor, void *data),
                                          enum qemu_plugin_cb_flags flags, void *data);
void qemu_plugin_register_atexit_cb(qemu_plugin_id_t id, void (*call)(qemu_plugin_id_t id, void *data),
                                    void *data);
size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *block);
struct qemu_plugin_insn *qemu_plugin_tb_get_insn(const struct qemu_plugin_tb *block, size_t index);
const void *qemu_plugin_insn_data(const struct qemu_plugin_insn *instruction);
void qemu_plugin_outs(const char *text);

#define EXPORT __attribute__((visibility("default")))

EXPORT int qemu_plugin_version = 1;
EXPORT int qemu_plugin_install(qemu_plugin_id_t id, const struct qemu_info_t *info, int count,
                               char **arguments);

enum kind {
    total,
    multiply_adds,
    scalar_multiply_adds,
    vector_loads,
    vector_stores,
    broadcasts,
    stack_loads,
    stack_stores,
    kinds
};

static const char *const names[kinds] = {
    "total",         "multiply_adds", "scalar_multiply_adds", "vector_loads",
    "vector_stores", "broadcasts",    "stack_loads",          "stack_stores",
};

// What one execution of a translated block counts, and how often it was executed.
struct block {
    uint64_t executed;
    uint32_t counts[kinds];
    struct block *next;
};

static struct block *blocks; // of all threads; blocks are only added

// The encodings are those of the Arm Architecture Reference Manual, C4.1: FMLA, FMLS and FMUL.
static bool multiplies_vectors(uint32_t word) {
    const uint32_t same = word & 0xBFA0FC00, element = word & 0xBF80F400;
    return same == 0x0E20CC00 || same == 0x0EA0CC00 || same == 0x2E20DC00 || element == 0x0F801000 ||
           element == 0x0F805000 || element == 0x0F809000;
}

// FMADD and its kin, FMUL and FNMUL, and multiplication by an element.
static bool multiplies_scalars(uint32_t word) {
    const uint32_t two = word & 0xFF20FC00, element = word & 0xFF80F400;
    return (word & 0xFF000000) == 0x1F000000 || two == 0x1E200800 || two == 0x1E208800 ||
           element == 0x5F801000 || element == 0x5F805000 || element == 0x5F809000;
}

static void count_access(uint32_t *counts, bool load, bool stack) {
    counts[load ? vector_loads : vector_stores]++;
    if (stack) counts[load ? stack_loads : stack_stores]++;
}

// Accesses of registers of 8 bytes or more; smaller ones hold single numbers.
static void count_memory(uint32_t word, uint32_t *counts) {
    const uint32_t size = word >> 30, operation = word >> 22 & 3;
    const bool stack = (word >> 5 & 31) == 31;
    if ((word & 0x3C000000) == 0x2C000000) { // pairs
        if (size != 0) count_access(counts, word >> 22 & 1, stack);
    } else if ((word & 0x3C000000) == 0x3C000000) { // one register
        const bool sixteen_bytes = size == 0 && operation >= 2;
        if (sixteen_bytes || size == 3) count_access(counts, operation & 1, stack);
    } else if ((word & 0x3F000000) == 0x1C000000) { // beside the code
        if (size != 0) count_access(counts, true, false);
    } else if ((word & 0xBF000000) == 0x0C000000) { // several elements: LD1 … LD4, ST1 … ST4
        count_access(counts, word >> 22 & 1, stack);
    } else if ((word & 0xBF40C000) == 0x0D40C000) { // one element to all lanes: LD1R … LD4R
        counts[broadcasts]++;
    }
}

static void count_execution(unsigned int processor, void *data) {
    (void)processor;
    __atomic_fetch_add(&((struct block *)data)->executed, 1, __ATOMIC_RELAXED);
}

static void on_translation(qemu_plugin_id_t id, struct qemu_plugin_tb *translated) {
    (void)id;
    struct block *block = calloc(1, sizeof *block);
    if (block == NULL) abort();
    const size_t instructions = qemu_plugin_tb_n_insns(translated);
    for (size_t i = 0; i < instructions; i++) {
        const uint8_t *bytes = qemu_plugin_insn_data(qemu_plugin_tb_get_insn(translated, i));
        const uint32_t word =
            bytes[0] | (uint32_t)bytes[1] << 8 | (uint32_t)bytes[2] << 16 | (uint32_t)bytes[3] << 24;
        block->counts[total]++;
        if (multiplies_vectors(word)) block->counts[multiply_adds]++;
        if (multiplies_scalars(word)) block->counts[scalar_multiply_adds]++;
        count_memory(word, block->counts);
    }
    block->next = __atomic_load_n(&blocks, __ATOMIC_RELAXED);
    while (!__atomic_compare_exchange_n(&blocks, &block->next, block, true, __ATOMIC_RELEASE,
                                        __ATOMIC_RELAXED)) {
    }
    qemu_plugin_register_vcpu_tb_exec_cb(translated, count_execution, QEMU_PLUGIN_CB_NO_REGS, block);
}

static void on_exit_of_program(qemu_plugin_id_t id, void *data) {
    (void)id;
    (void)data;
    for (int kind = 0; kind < kinds; kind++) {
        uint64_t sum = 0;
        for (const struct block *block = __atomic_load_n(&blocks, __ATOMIC_ACQUIRE); block != NULL;
             block = block->next)
            sum += __atomic_load_n(&block->executed, __ATOMIC_RELAXED) * block->counts[kind];
        char line[80];
        snprintf(line, sizeof line, "unstride-count %s %" PRIu64 "\n", names[kind], sum);
        qemu_plugin_outs(line);
    }
}

int qemu_plugin_install(qemu_plugin_id_t id, const struct qemu_info_t *info, int count, char **arguments) {
    (void)info;
    (void)count;
    (void)arguments;
    qemu_plugin_register_vcpu_tb_trans_cb(id, on_translation);
    qemu_plugin_register_atexit_cb(id, on_exit_of_program, NULL);
    return 0;
}
