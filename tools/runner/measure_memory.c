/* Guard pages by mmap and mprotect. */
#include "measure_memory.h"

#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define MOST_BLOCKS 16
#define PATTERN 0x5a

/* What the handler of faults knows. */
static block blocks[MOST_BLOCKS];

static size_t page_bytes(void) {
    return (size_t)sysconf(_SC_PAGESIZE);
}

static void remember(const block *memory) {
    for (int i = 0; i < MOST_BLOCKS; i++) {
        if (blocks[i].base != NULL) continue;
        blocks[i] = *memory;
        return;
    }
}

static void forget(const block *memory) {
    for (int i = 0; i < MOST_BLOCKS; i++) {
        if (blocks[i].base == memory->base) memset(&blocks[i], 0, sizeof blocks[i]);
    }
}

block make_block(const char *name, size_t bytes, enum flush flush, size_t alignment) {
    block memory = {.name = name};
    if (bytes == 0) return memory;
    const size_t page = page_bytes(), inside = (bytes + page - 1) / page * page;
    memory.bytes = bytes;
    memory.mapped = inside + 2 * page;
    void *mapped = mmap(NULL, memory.mapped, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (mapped == MAP_FAILED) {
        fprintf(stderr, "out of memory: %zu bytes for %s\n", bytes, name);
        exit(exit_memory);
    }
    memory.base = mapped;
    mprotect(memory.base, page, PROT_NONE);
    mprotect(memory.base + page + inside, page, PROT_NONE);
    char *begin = memory.base + page;
    if (flush == flush_end) begin += (inside - bytes) / alignment * alignment;
    memory.data = begin;
    /* Both lie within a page of the bytes, so that no more memory is touched than the bytes need. */
    memset(memory.base + page, PATTERN, (size_t)(begin - memory.base) - page);
    memset(begin + bytes, PATTERN, (size_t)(memory.base + page + inside - (begin + bytes)));
    remember(&memory);
    return memory;
}

void protect_block(block *memory) {
    if (memory->data == NULL) return;
    const size_t page = page_bytes();
    mprotect(memory->base + page, memory->mapped - 2 * page, PROT_READ);
}

int surroundings_untouched(const block *memory) {
    if (memory->data == NULL) return 1;
    const size_t page = page_bytes();
    const char *first = memory->base + page, *last = memory->base + memory->mapped - page;
    for (const char *byte = first; byte < (const char *)memory->data; byte++) {
        if (*byte != PATTERN) return 0;
    }
    for (const char *byte = (const char *)memory->data + memory->bytes; byte < last; byte++) {
        if (*byte != PATTERN) return 0;
    }
    return 1;
}

void free_block(block *memory) {
    if (memory->data == NULL) return;
    forget(memory);
    munmap(memory->base, memory->mapped);
    memory->data = NULL;
}

/* Only what a handler of signals may call. */
static void say(const char *text) {
    const ssize_t ignored = write(STDERR_FILENO, text, strlen(text));
    (void)ignored;
}

static void say_number(size_t number) {
    char digits[24], *digit = digits + sizeof digits - 1;
    *digit = 0;
    do {
        *--digit = (char)('0' + number % 10);
        number /= 10;
    } while (number > 0);
    say(digit);
}

static void report_fault(int signal_number, siginfo_t *info, void *context) {
    const char *address = info->si_addr;
    (void)context;
    for (int i = 0; i < MOST_BLOCKS; i++) {
        const block *memory = &blocks[i];
        if (memory->base == NULL || address < memory->base || address >= memory->base + memory->mapped)
            continue;
        const char *begin = memory->data, *end = begin + memory->bytes;
        if (address >= end || address < begin) {
            say("touched memory ");
            say_number(address >= end ? (size_t)(address - end) : (size_t)(begin - address));
            say(address >= end ? " bytes after the end of " : " bytes before the start of ");
        } else {
            say("wrote to what may only be read: ");
        }
        say(memory->name);
        say("\n");
        break;
    }
    signal(signal_number, SIG_DFL); /* the same access once more ends the program */
}

void report_faults(void) {
    /* A stack of its own, for faults of the other one. */
    static char stack[65536];
    const stack_t alternative = {.ss_sp = stack, .ss_size = sizeof stack};
    struct sigaction action = {.sa_flags = SA_SIGINFO | SA_ONSTACK};
    sigaltstack(&alternative, NULL);
    action.sa_sigaction = report_fault;
    sigemptyset(&action.sa_mask);
    sigaction(SIGSEGV, &action, NULL);
    sigaction(SIGBUS, &action, NULL);
}
