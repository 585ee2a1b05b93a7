/* Two libraries, their two headers in one file, and a third Halide runtime of the program's own, in one
 * program. */
#include "first.h"
#include "second.h"

#include "problem.h"

/* Of the program's own runtime object; both libraries hold functions of these names, hidden. */
int halide_set_num_threads(int threads);
int halide_do_par_for(void *context, int (*task)(void *, int, unsigned char *), int min, int size,
                      unsigned char *closure);

static int mark(void *context, int index, unsigned char *marks) {
    (void)context;
    marks[index] = (unsigned char)(index + 1);
    return 0;
}

int main(int argc, char **argv) {
    const int spoil = argc > 1 && strcmp(argv[1], "spoil") == 0;
    unsigned char marks[200];
    int failed = 0, round, i, right = 0;
    halide_set_num_threads(2);
    for (round = 0; round < 2; round++) {
        problem a = new_problem(&first_up), b = new_problem(&second_up);
        failed |= solve(&a, first_library(), 0) != UNSTRIDE_OK;
        memset(marks, 0, sizeof marks);
        failed |= halide_do_par_for(NULL, mark, 0, 200, marks) != 0;
        failed |= solve(&b, second_library(), spoil) != UNSTRIDE_OK;
        failed |= judge(&a, "first") | judge(&b, "second");
    }
    for (i = 0; i < 200; i++)
        right += marks[i] == i + 1;
    printf("other Halide: %d tasks right\n", right);
    /* A library knows only its own layers. */
    printf("foreign layer: %s\n", first_status_name(first_pack(&second_up, NULL, NULL, 0)));
    /* Setting one library's threads leaves the other's alone. */
    failed |= first_set_threads(3) != UNSTRIDE_OK || second_set_threads(5) != UNSTRIDE_OK;
    printf("threads: %d and %d\n", first_threads(), second_threads());
    return failed || right != 200;
}
