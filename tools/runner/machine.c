/* Read from what Linux says about the first processor. */
#define _GNU_SOURCE
#include "machine.h"

#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* Up to the line's end, without spaces around it, with '?' for what JSON would have to escape. */
static void copy_value(char *to, size_t size, const char *from) {
    size_t length = 0;
    from += strspn(from, " \t");
    for (; *from != 0 && *from != '\n' && length + 1 < size; from++) {
        const int plain = *from >= ' ' && *from <= '~' && *from != '"' && *from != '\\';
        to[length++] = plain ? *from : '?';
    }
    while (length > 0 && to[length - 1] == ' ')
        length--;
    to[length] = 0;
}

/* What /proc/cpuinfo says of a key at its first processor. */
static void read_processor(const char *key, char *value, size_t size) {
    char line[512];
    FILE *file = fopen("/proc/cpuinfo", "r");
    value[0] = 0;
    while (file != NULL && value[0] == 0 && fgets(line, sizeof line, file) != NULL) {
        char *colon = strchr(line, ':');
        if (colon == NULL || strncmp(line, key, strlen(key)) != 0) continue;
        const char *behind = line + strlen(key);
        if (behind + strspn(behind, " \t") == colon) copy_value(value, size, colon + 1);
    }
    if (file != NULL) fclose(file);
}

static void read_cache(int index, const char *name, char value[32]) {
    char path[128];
    snprintf(path, sizeof path, "/sys/devices/system/cpu/cpu0/cache/index%d/%s", index, name);
    FILE *file = fopen(path, "r");
    char line[32];
    value[0] = 0;
    if (file != NULL && fgets(line, sizeof line, file) != NULL) copy_value(value, 32, line);
    if (file != NULL) fclose(file);
}

/* "32K" in bytes. */
static int64_t cache_bytes(const char *text) {
    int64_t bytes = 0;
    for (; *text >= '0' && *text <= '9'; text++)
        bytes = bytes * 10 + (*text - '0');
    return *text == 'K' ? bytes << 10 : *text == 'M' ? bytes << 20 : bytes;
}

machine_facts read_machine(void) {
    machine_facts machine = {.threads = 0};
    read_processor("vendor_id", machine.vendor, sizeof machine.vendor);
    read_processor("model name", machine.model, sizeof machine.model);
    if (machine.vendor[0] == 0) { /* AArch64 has numbers */
        read_processor("CPU implementer", machine.vendor, sizeof machine.vendor);
        read_processor("CPU part", machine.model, sizeof machine.model);
    }
    cpu_set_t set;
    const long online = sysconf(_SC_NPROCESSORS_ONLN);
    machine.threads = sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : (int)online;
    for (int index = 0; index < 8; index++) {
        char level[32], type[32], size[32];
        read_cache(index, "level", level);
        read_cache(index, "type", type);
        read_cache(index, "size", size);
        if (strcmp(level, "1") == 0 && strcmp(type, "Data") == 0) machine.l1d_bytes = cache_bytes(size);
        if (strcmp(level, "2") == 0 && strcmp(type, "Instruction") != 0) machine.l2_bytes = cache_bytes(size);
    }
    return machine;
}
