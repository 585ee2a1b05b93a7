/* Uses a library `tiny` from C: all its layers, each number checked. With the argument `spoil` it must fail.
 */
#include "tiny.h"

#include "problem.h"

int main(int argc, char **argv) {
    const int spoil = argc > 1 && strcmp(argv[1], "spoil") == 0;
    const unstride_layer *layers[] = {&tiny_up, &tiny_wide};
    int failed = 0, i;
    printf("%s for %s on %s\n", tiny_library()->name, tiny_library()->target, tiny_instruction_set());
    for (i = 0; i < 2; i++) {
        problem p = new_problem(layers[i]);
        failed |= solve(&p, tiny_library(), spoil) != UNSTRIDE_OK;
        failed |= judge(&p, "C");
    }
    return failed;
}
