/* Pictures as the examples handle them: RGB float32 between 0 and 255, rows of interleaved pixels, read from
 * and written to files whose ending names the format: .npy (float32, 1 x height x width x 3) and, with
 * EXAMPLE_PNG, .png (8 bits). */
#ifndef PICTURE_H
#define PICTURE_H

#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct picture {
    int height, width;
    float *pixels; /* from malloc; freed by the caller */
} picture;

/* Both answer 0, or print the reason and answer 1. */
int read_picture(const char *path, picture *result);
int write_picture(const char *path, const picture *source);

#ifdef __cplusplus
}
#endif

#endif /* PICTURE_H */
