/* Checks or times the libraries of its table (measure_table.h), each of one and the same layer: the
 * candidates.
 *
 * usage: measure machine
 *        measure check|time KEY=VALUE...
 *   folder=DIR      raw numbers in the byte order of the machine: input, weights, bias, scale, prelu, add
 *                   (f32, what the layer has of these), expected (f64), bound (f32): an output is right if it
 *                   is no further than its bound from what is expected
 *   sizes=1x8x8x16  the input's
 *   threads=N       0: all processors
 *   seconds=S       the program ends itself after that long, by SIGALRM
 *   memory=BYTES    of address space; 0: no limit
 * and for time:
 *   rounds=R samples=M milliseconds=T cold=0|1 seed=N instruction_set=NAME (of the probe; "-": none)
 *
 * Standard output has one line of JSON for everything that happened, written at once, so that a program that
 * was ended leaves what it knew. {"start":I} comes before candidate I is run. `machine` prints one line about
 * the machine and needs no candidates. Exit codes: measure_memory.h.
 */
#include "limits.h"
#include "machine.h"
#include "measure_memory.h"
#include "measure_table.h"

#include "device.h"

#include <fcntl.h>
#include <float.h>
#include <inttypes.h>
#include <math.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

/* Elements between the rows of an output that has gaps. */
#define GAP 16

static void fail(const char *what, const char *details) {
    fprintf(stderr, "%s: %s\n", what, details);
    exit(exit_failed);
}

/* A line of JSON. */
static void tell(const char *format, ...) __attribute__((format(printf, 1, 2)));
static void tell(const char *format, ...) {
    va_list values;
    va_start(values, format);
    vprintf(format, values);
    va_end(values);
    putchar('\n');
    fflush(stdout);
}

static double seconds_now(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

/* --- the command line --- */

static int argument_count;
static char **argument_texts;

static const char *option(const char *key) {
    const size_t length = strlen(key);
    for (int i = 2; i < argument_count; i++) {
        if (strncmp(argument_texts[i], key, length) == 0 && argument_texts[i][length] == '=')
            return argument_texts[i] + length + 1;
    }
    fail("missing option", key);
    return NULL;
}

static double number(const char *key) {
    return atof(option(key));
}

/* --- what all candidates compute --- */

typedef struct problem {
    const unstride_layer *layer; /* of any candidate: all have the same shapes */
    int64_t input_shape[UNSTRIDE_MAX_RANK], output_shape[UNSTRIDE_MAX_RANK];
    size_t input_count, output_count, weight_count;
    const double *expected;
    const float *bound;
    double typical; /* root mean square of what is expected */
    int threads;
} problem;

static size_t element_count(const int64_t *shape, int rank) {
    size_t count = 1;
    for (int i = 0; i < rank; i++)
        count *= (size_t)shape[i];
    return count;
}

static void path_of(const char *name, char path[4096]) {
    snprintf(path, 4096, "%s/%s", option("folder"), name);
}

static void read_floats(const char *name, float *values, size_t count) {
    char path[4096];
    path_of(name, path);
    FILE *file = fopen(path, "rb");
    if (file == NULL || fread(values, sizeof(float), count, file) != count) fail("cannot read", path);
    fclose(file);
}

/* A file as it lies on the disk: large ones need no memory of the program's own. */
static const void *map_file(const char *name, size_t bytes) {
    char path[4096];
    struct stat status;
    path_of(name, path);
    const int file = open(path, O_RDONLY);
    if (file < 0 || fstat(file, &status) != 0 || (size_t)status.st_size != bytes) fail("cannot read", path);
    if (bytes == 0) return NULL;
    void *mapped = mmap(NULL, bytes, PROT_READ, MAP_PRIVATE, file, 0);
    if (mapped == MAP_FAILED) {
        fprintf(stderr, "out of memory: %s\n", path);
        exit(exit_memory);
    }
    close(file);
    return mapped;
}

static problem read_problem(void) {
    problem what = {.threads = (int)number("threads")};
    const unstride_library *library = measured_libraries[0]();
    what.layer = library->layers[0];
    const char *text = option("sizes");
    for (int i = 0; i < what.layer->rank; i++) {
        char *end = NULL;
        what.input_shape[i] = strtoll(text, &end, 10);
        if (end == text) fail("wrong sizes", option("sizes"));
        text = *end == 'x' ? end + 1 : end;
    }
    if (library->output_shape(what.layer, what.input_shape, what.output_shape) != UNSTRIDE_OK)
        fail("output_shape", library->last_error());
    what.input_count = element_count(what.input_shape, what.layer->rank);
    what.output_count = element_count(what.output_shape, what.layer->rank);
    what.weight_count =
        what.layer->weight_rank == 0 ? 0 : element_count(what.layer->weight_shape, what.layer->weight_rank);
    what.expected = map_file("expected", what.output_count * sizeof(double));
    what.bound = map_file("bound", what.output_count * sizeof(float));
    double squares = 0;
    for (size_t i = 0; i < what.output_count; i++)
        squares += what.expected[i] * what.expected[i];
    what.typical = sqrt(squares / (double)what.output_count);
    return what;
}

/* --- outputs --- */

/* Rows of `row` elements, each at a multiple of `pitch`. */
typedef struct output_layout {
    unstride_tensor view;
    size_t row, pitch, elements;
} output_layout;

/* A dense output, or one with gaps between the rows of pixels (of channels-last layers) or of numbers. */
static output_layout lay_out(const problem *what, int gaps) {
    const int rank = what->layer->rank, axis = what->layer->channels_first ? rank - 2 : rank - 3;
    output_layout layout = {.view = unstride_dense(NULL, rank, what->output_shape)};
    layout.row = (size_t)layout.view.stride[axis];
    layout.pitch = layout.row;
    if (gaps) layout.pitch += layout.row < GAP ? layout.row : GAP;
    for (int i = axis; i >= 0; i--) {
        layout.view.stride[i] =
            i == axis ? (int64_t)layout.pitch : layout.view.stride[i + 1] * what->output_shape[i + 1];
    }
    layout.elements = what->output_count / layout.row * layout.pitch;
    return layout;
}

/* NaN of varying payload. */
static uint32_t poison_at(size_t index) {
    return 0x7fc00000u | (uint32_t)(index * 2654435761u & 0x3fffffu);
}

static void poison(float *values, size_t count) {
    for (size_t i = 0; i < count; i++) {
        const uint32_t bits = poison_at(i);
        memcpy(&values[i], &bits, sizeof bits);
    }
}

static int gaps_untouched(const float *values, const output_layout *layout) {
    for (size_t i = 0; i < layout->elements; i++) {
        const uint32_t bits = poison_at(i);
        if (i % layout->pitch >= layout->row && memcmp(&values[i], &bits, sizeof bits) != 0) return 0;
    }
    return 1;
}

typedef struct errors {
    double relative, ulp; /* the largest; see tools/measure/session.h */
    char problem[256];    /* empty if every element is right */
} errors;

/* What the distance between floats is at a value. */
static double unit_in_last_place(double value) {
    int exponent;
    frexp(value, &exponent);
    return ldexp(1, exponent < FLT_MIN_EXP ? FLT_MIN_EXP - FLT_MANT_DIG : exponent - FLT_MANT_DIG);
}

static void compare(const problem *what, const float *got, const output_layout *layout, errors *found) {
    size_t wrong = 0, first = 0, at = 0;
    for (size_t row = 0; row < layout->elements; row += layout->pitch) {
        for (size_t i = 0; i < layout->row; i++, at++) {
            const double expected = what->expected[at], error = fabs((double)got[row + i] - expected);
            const double size = fabs(expected) > what->typical ? fabs(expected) : what->typical;
            if (!(error <= (double)what->bound[at])) {
                if (wrong++ == 0) first = at;
            } else if (error > 0) {
                if (error / size > found->relative) found->relative = error / size;
                if (error / unit_in_last_place(size) > found->ulp)
                    found->ulp = error / unit_in_last_place(size);
            }
        }
    }
    if (wrong == 0) return;
    const size_t place = first / layout->row * layout->pitch + first % layout->row;
    snprintf(found->problem, sizeof found->problem,
             "%zu of %zu elements are wrong; the first is number %zu: expected %.9g, got %.9g, bound %.3g",
             wrong, what->output_count, first, what->expected[first], (double)got[place],
             (double)what->bound[first]);
}

/* --- candidates --- */

/* Ends the program with what a library refused. */
static void check(const unstride_library *library, int status, const char *function) {
    if (status == UNSTRIDE_OK) return;
    fprintf(stderr, "%s: %s: %s\n", function, library->status_name(status), library->last_error());
    exit(status == UNSTRIDE_OUT_OF_MEMORY ? exit_memory : exit_failed);
}

static void check_device(const char *error) {
    if (error != NULL) fail("device", error);
}

typedef struct candidate {
    const unstride_library *library;
    const unstride_layer *layer;
    block packed, scratch;
    unstride_arguments arguments;
    int calls; /* of a sample; 0: not to be timed */
} candidate;

static float *read_block(const char *name, const char *file, size_t count, block *memory) {
    *memory = make_block(name, count * sizeof(float), flush_end, sizeof(float));
    if (count > 0) read_floats(file, memory->data, count);
    return memory->data;
}

/* Packs the weights and makes scratch memory. */
static candidate make_candidate(const problem *what, int index, enum flush flush) {
    candidate made = {.library = measured_libraries[index]()};
    const unstride_library *library = made.library;
    made.layer = library->layers[0];
    check(library, library->set_threads(what->threads), "set_threads");
    if (library->instruction_set() == NULL) fail("instruction_set", library->last_error());

    block kernel, bias, scale, prelu;
    const unstride_weights weights = {
        .kernel = read_block("the weights", "weights", what->weight_count, &kernel),
        .bias = read_block("the bias", "bias", (size_t)made.layer->bias_count, &bias),
        .scale = read_block("the scale", "scale", (size_t)made.layer->scale_count, &scale),
        .prelu = read_block("the prelu slopes", "prelu", (size_t)made.layer->prelu_count, &prelu)};
    block *const given[] = {&kernel, &bias, &scale, &prelu};
    for (int i = 0; i < 4; i++)
        protect_block(given[i]);
    const size_t packed_bytes = library->packed_bytes(made.layer);
    made.packed = make_block("the packed weights", packed_bytes, flush, 64);
    check(library, library->pack(made.layer, &weights, made.packed.data, packed_bytes), "pack");
    protect_block(&made.packed);
    for (int i = 0; i < 4; i++)
        free_block(given[i]);

    made.arguments.packed = made.packed.data;
    made.arguments.scratch_bytes = library->scratch_bytes(made.layer, what->input_shape, what->threads);
    made.scratch = make_block("the scratch memory", made.arguments.scratch_bytes, flush, 64);
    made.arguments.scratch = made.scratch.data;
    poison(made.scratch.data, made.arguments.scratch_bytes / sizeof(float));
    return made;
}

static void run(const candidate *which) {
    check(which->library, which->library->run(which->layer, &which->arguments), "run");
}

static void run_and_wait(const candidate *which) {
    run(which);
    check_device(device_synchronize());
}

/* --- check --- */

typedef struct call_facts {
    double nanoseconds;
    size_t scratch_bytes; /* that it asks its caller for */
    uint64_t output;      /* see hash_of_output() */
} call_facts;

/* FNV-1a over the bits of all numbers: equal for outputs that are equal in every bit. */
static uint64_t hash_of_output(const float *values, const output_layout *layout) {
    uint64_t hash = 0xcbf29ce484222325u;
    for (size_t i = 0; i < layout->elements; i++) {
        uint32_t bits;
        if (i % layout->pitch >= layout->row) continue;
        memcpy(&bits, &values[i], sizeof bits);
        hash = (hash ^ bits) * 0x100000001b3u;
    }
    return hash;
}

/* One candidate with its tensors flush with the guards on one side. */
static call_facts check_once(const problem *what, int index, enum flush flush, errors *found) {
    const output_layout layout = lay_out(what, flush == flush_start);
    candidate which = make_candidate(what, index, flush);
    block input = make_block("the input", what->input_count * sizeof(float), flush, sizeof(float));
    block output = make_block("the output", layout.elements * sizeof(float), flush, sizeof(float));
    block add = make_block("the second tensor", which.layer->has_add ? what->output_count * sizeof(float) : 0,
                           flush, sizeof(float));
    read_floats("input", input.data, what->input_count);
    if (which.layer->has_add) read_floats("add", add.data, what->output_count);
    protect_block(&input);
    protect_block(&add);
    poison(output.data, layout.elements);

    unstride_tensor input_view = unstride_dense(input.data, which.layer->rank, what->input_shape);
    unstride_tensor add_view = unstride_dense(add.data, which.layer->rank, what->output_shape);
    unstride_tensor output_view = layout.view;
    output_view.data = output.data;
    which.arguments.input = &input_view;
    which.arguments.add = which.layer->has_add ? &add_view : NULL;
    which.arguments.output = &output_view;
    check_device(device_begin(&which.arguments, what->input_count, layout.elements, which.packed.bytes));
    run_and_wait(&which);
    check_device(device_end(output.data, layout.elements));
    compare(what, output.data, &layout, found);
    if (found->problem[0] == 0 && !gaps_untouched(output.data, &layout))
        snprintf(found->problem, sizeof found->problem, "wrote to the gaps between the output's rows");
    const block *const written[] = {&which.packed, &which.scratch, &output};
    for (int i = 0; i < 3 && found->problem[0] == 0; i++) {
        if (!surroundings_untouched(written[i]))
            snprintf(found->problem, sizeof found->problem, "wrote outside of %s", written[i]->name);
    }
    const uint64_t hash = hash_of_output(output.data, &layout);
    const double start = seconds_now();
    run_and_wait(&which);
    const call_facts facts = {(seconds_now() - start) * 1e9, which.arguments.scratch_bytes, hash};

    block *const all[] = {&which.packed, &which.scratch, &input, &add, &output};
    for (int i = 0; i < 5; i++)
        free_block(all[i]);
    return facts;
}

static int check_candidates(const problem *what) {
    int wrong = 0;
    for (int i = 0; i < measured_count; i++) {
        errors found = {0};
        tell("{\"start\":%d}", i);
        const call_facts facts = check_once(what, i, flush_end, &found);
        if (found.problem[0] == 0) check_once(what, i, flush_start, &found);
        wrong += found.problem[0] != 0;
        tell("{\"candidate\":%d,\"problem\":\"%s\",\"max_relative\":%.6g,\"max_ulp\":%.6g,\"ns\":%.1f,"
             "\"scratch_bytes\":%zu,\"output\":\"%016" PRIx64 "\",\"threads\":%d}",
             i, found.problem, found.relative, found.ulp, facts.nanoseconds, facts.scratch_bytes,
             facts.output, measured_libraries[i]()->threads());
    }
    return wrong == 0 ? 0 : exit_wrong;
}

/* --- time --- */

/* splitmix64 */
static uint64_t next_random(uint64_t *state) {
    uint64_t mixed = *state += 0x9e3779b97f4a7c15u;
    mixed = (mixed ^ (mixed >> 30)) * 0xbf58476d1ce4e5b9u;
    mixed = (mixed ^ (mixed >> 27)) * 0x94d049bb133111ebu;
    return mixed ^ (mixed >> 31);
}

static void shuffle(int *order, int count, uint64_t *state) {
    for (int i = count - 1; i > 0; i--) {
        const int other = (int)(next_random(state) % (uint64_t)(i + 1)), kept = order[i];
        order[i] = order[other];
        order[other] = kept;
    }
}

/* Takes memory out of the caches of every processor. */
static void flush_caches(const void *memory, size_t bytes) {
    const size_t line = 64;
    const char *begin = memory;
    for (size_t i = 0; begin != NULL && i < bytes; i += line) {
#if defined(__x86_64__)
        __asm__ volatile("clflush (%0)" : : "r"(begin + i) : "memory");
#elif defined(__aarch64__)
        __asm__ volatile("dc civac, %0" : : "r"(begin + i) : "memory");
#endif
    }
#if defined(__x86_64__)
    __asm__ volatile("mfence" : : : "memory");
#elif defined(__aarch64__)
    __asm__ volatile("dsb sy" : : : "memory");
#endif
}

typedef struct tensors {
    block input, add, output;
    unstride_tensor input_view, add_view, output_view;
} tensors;

/* Seconds of `calls` calls. In cold mode each finds its tensors in no cache. */
static double seconds_of_calls(const candidate *which, const tensors *all, int calls, int cold) {
    double seconds = 0;
    if (!cold) {
        const double start = seconds_now();
        for (int i = 0; i < calls; i++)
            run(which);
        check_device(device_synchronize());
        return seconds_now() - start;
    }
    for (int i = 0; i < calls; i++) {
        flush_caches(all->input.data, all->input.bytes);
        flush_caches(all->add.data, all->add.bytes);
        flush_caches(all->output.data, all->output.bytes);
        flush_caches(which->packed.data, which->packed.bytes);
        flush_caches(which->scratch.data, which->scratch.bytes);
        const double start = seconds_now();
        run(which);
        seconds += seconds_now() - start;
    }
    return seconds;
}

/* Compares a candidate's result; on equality finds out how many calls make a sample. */
static void prepare_candidate(const problem *what, int index, candidate *candidates, tensors *all,
                              double least, int cold) {
    candidate *which = &candidates[index];
    const output_layout dense = lay_out(what, 0);
    errors found = {0};
    tell("{\"start\":%d}", index);
    *which = make_candidate(what, index, flush_end);
    poison(all->output.data, what->output_count);
    which->arguments.output = &all->output_view;
    if (index == 0) { /* what is only read goes to the device once */
        which->arguments.input = &all->input_view;
        which->arguments.add = which->layer->has_add ? &all->add_view : NULL;
    }
    check_device(device_begin(&which->arguments, what->input_count, what->output_count, which->packed.bytes));
    which->arguments.input = candidates[0].arguments.input;
    which->arguments.add = candidates[0].arguments.add;
    run_and_wait(which);
    check_device(device_end(all->output.data, what->output_count));
    compare(what, all->output.data, &dense, &found);
    if (found.problem[0] != 0) {
        tell("{\"candidate\":%d,\"problem\":\"%s\"}", index, found.problem);
        return;
    }
    double fastest = seconds_of_calls(which, all, 1, cold);
    for (int calls = 1; calls < 64 && fastest * calls < least; calls *= 4) {
        const double seconds = seconds_of_calls(which, all, calls, cold) / calls;
        if (seconds < fastest) fastest = seconds;
    }
    which->calls = fastest >= least ? 1 : (int)ceil(least / fastest);
}

static tensors make_tensors(const problem *what) {
    tensors all = {.input = make_block("the input", what->input_count * sizeof(float), flush_end, 64),
                   .output = make_block("the output", what->output_count * sizeof(float), flush_end, 64)};
    read_floats("input", all.input.data, what->input_count);
    if (what->layer->has_add) {
        all.add = make_block("the second tensor", what->output_count * sizeof(float), flush_end, 64);
        read_floats("add", all.add.data, what->output_count);
    }
    all.input_view = unstride_dense(all.input.data, what->layer->rank, what->input_shape);
    all.add_view = unstride_dense(all.add.data, what->layer->rank, what->output_shape);
    all.output_view = unstride_dense(all.output.data, what->layer->rank, what->output_shape);
    return all;
}

static int time_candidates(const problem *what) {
    const double least = number("milliseconds") * 1e-3;
    const int rounds = (int)number("rounds"), samples = (int)number("samples"), cold = (int)number("cold");
    const char *instruction_set = option("instruction_set");
    uint64_t state = strtoull(option("seed"), NULL, 10);
    candidate *candidates = calloc((size_t)measured_count, sizeof *candidates);
    int *order = calloc((size_t)measured_count, sizeof *order), count = 0;
    if (candidates == NULL || order == NULL) return exit_memory;
    tensors all = make_tensors(what);
    for (int i = 0; i < measured_count; i++) {
        prepare_candidate(what, i, candidates, &all, least, cold);
        if (candidates[i].calls > 0) order[count++] = i;
    }
    const int threads = measured_libraries[0]()->threads();
    tell("{\"threads\":%d}", threads);
    for (int round = 0; round < rounds && count > 0; round++) {
        double load = 0;
        const double peak = instruction_set[0] == '-' ? 0 : multiply_add_peak(instruction_set, threads);
        if (getloadavg(&load, 1) != 1) load = 0;
        tell("{\"round\":%d,\"peak_gflops\":%.3f,\"load\":%.2f}", round, peak, load);
        for (int sample = 0; sample < samples; sample++) {
            shuffle(order, count, &state);
            for (int i = 0; i < count; i++) {
                const candidate *which = &candidates[order[i]];
                tell("{\"start\":%d}", order[i]);
                seconds_of_calls(which, &all, (which->calls + 3) / 4, cold);
                const double seconds = seconds_of_calls(which, &all, which->calls, cold);
                tell("{\"candidate\":%d,\"round\":%d,\"ns\":%.3f}", order[i], round,
                     seconds * 1e9 / which->calls);
            }
        }
    }
    return count == measured_count ? 0 : exit_wrong;
}

static void tell_machine(void) {
    const machine_facts machine = read_machine();
    tell("{\"vendor\":\"%s\",\"model\":\"%s\",\"gpu\":\"\",\"l1d_bytes\":%" PRId64 ",\"l2_bytes\":%" PRId64
         ",\"threads\":%d}",
         machine.vendor, machine.model, machine.l1d_bytes, machine.l2_bytes, machine.threads);
}

/* --- --- */

/* Ends the program by SIGALRM after `seconds`, and refuses it more address space than `memory`. */
static void limit_program(double seconds, double memory) {
    struct itimerval timer = {.it_value = {.tv_sec = (time_t)seconds}};
    timer.it_value.tv_usec = (suseconds_t)((seconds - floor(seconds)) * 1e6);
    setitimer(ITIMER_REAL, &timer, NULL);
    const struct rlimit bytes = {(rlim_t)memory, (rlim_t)memory}, no_core = {0, 0};
    if (memory > 0) setrlimit(RLIMIT_AS, &bytes);
    setrlimit(RLIMIT_CORE, &no_core);
}

int main(int argc, char **argv) {
    argument_count = argc;
    argument_texts = argv;
    const char *mode = argc > 1 ? argv[1] : "";
    if (strcmp(mode, "machine") == 0) {
        tell_machine();
        return 0;
    }
    if (strcmp(mode, "check") != 0 && strcmp(mode, "time") != 0)
        fail("usage", "measure machine, or measure check|time KEY=VALUE...");
    limit_program(number("seconds"), number("memory"));
    report_faults();
    const problem what = read_problem();
    return strcmp(mode, "check") == 0 ? check_candidates(&what) : time_candidates(&what);
}
