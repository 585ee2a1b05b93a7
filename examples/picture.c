/* Picture files. PNG goes through libpng's simplified interface; .npy is the format that `unstride run` reads
 * and writes, and needs no library at all, so the same program can be built for machines without libpng. */
#include "picture.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#ifdef EXAMPLE_PNG
#include <png.h>
#endif

static int fail(const char *path, const char *reason) {
    fprintf(stderr, "%s: %s\n", path, reason);
    return 1;
}

static int has_ending(const char *path, const char *ending) {
    const size_t length = strlen(path), tail = strlen(ending);
    return length >= tail && strcmp(path + length - tail, ending) == 0;
}

static size_t value_count(const picture *p) {
    return (size_t)p->height * (size_t)p->width * 3;
}

static int read_npy(const char *path, picture *result) {
    unsigned char start[10];
    char header[512] = "", *shape;
    FILE *file = fopen(path, "rb");
    size_t bytes, got;
    if (file == NULL) return fail(path, "cannot be opened");
    if (fread(start, 1, 10, file) != 10 || memcmp(start, "\x93NUMPY\1\0", 8) != 0) {
        fclose(file);
        return fail(path, "is no .npy file of version 1.0");
    }
    bytes = start[8] + 256u * start[9];
    if (bytes >= sizeof header || fread(header, 1, bytes, file) != bytes) {
        fclose(file);
        return fail(path, "has a damaged header");
    }
    shape = strstr(header, "'shape': (1,");
    if (shape == NULL || strstr(header, "'<f4'") == NULL ||
        strstr(header, "'fortran_order': False") == NULL ||
        sscanf(shape, "'shape': (1, %d, %d, 3)", &result->height, &result->width) != 2 ||
        result->height < 1 || result->width < 1 || result->height > 32768 || result->width > 32768) {
        fclose(file);
        return fail(path, "is not 1 x height x width x 3 little-endian float32 in C order");
    }
    result->pixels = malloc(value_count(result) * sizeof(float));
    got = result->pixels == NULL ? 0 : fread(result->pixels, sizeof(float), value_count(result), file);
    fclose(file);
    if (got == value_count(result)) return 0;
    free(result->pixels);
    return fail(path, "is shorter than its shape says");
}

static int write_npy(const char *path, const picture *source) {
    char header[128];
    size_t written;
    FILE *file = fopen(path, "wb");
    if (file == NULL) return fail(path, "cannot be written");
    memset(header, ' ', sizeof header);
    memcpy(header, "\x93NUMPY\1\0\x76\0", 10); /* 118 bytes follow, which makes 128 */
    written =
        (size_t)sprintf(header + 10, "{'descr': '<f4', 'fortran_order': False, 'shape': (1, %d, %d, 3), }",
                        source->height, source->width);
    header[10 + written] = ' ';
    header[127] = '\n';
    written = fwrite(header, 1, sizeof header, file) == sizeof header
                  ? fwrite(source->pixels, sizeof(float), value_count(source), file)
                  : 0;
    return fclose(file) == 0 && written == value_count(source) ? 0 : fail(path, "cannot be written");
}

#ifdef EXAMPLE_PNG
static int read_png(const char *path, picture *result) {
    png_image image;
    unsigned char *bytes = NULL;
    size_t i;
    memset(&image, 0, sizeof image);
    image.version = PNG_IMAGE_VERSION;
    if (!png_image_begin_read_from_file(&image, path)) return fail(path, image.message);
    image.format = PNG_FORMAT_RGB;
    result->height = (int)image.height;
    result->width = (int)image.width;
    result->pixels = malloc(value_count(result) * sizeof(float));
    bytes = malloc(value_count(result));
    if (result->pixels == NULL || bytes == NULL || !png_image_finish_read(&image, NULL, bytes, 0, NULL)) {
        png_image_free(&image);
        free(result->pixels);
        free(bytes);
        return fail(path, image.message[0] != '\0' ? image.message : "out of memory");
    }
    for (i = 0; i < value_count(result); i++)
        result->pixels[i] = bytes[i];
    free(bytes);
    return 0;
}

static int write_png(const char *path, const picture *source) {
    png_image image;
    unsigned char *bytes = malloc(value_count(source));
    int written;
    size_t i;
    if (bytes == NULL) return fail(path, "out of memory");
    for (i = 0; i < value_count(source); i++) {
        const float value = source->pixels[i] + 0.5f;
        bytes[i] = (unsigned char)(value >= 255 ? 255 : value > 0 ? value : 0);
    }
    memset(&image, 0, sizeof image);
    image.version = PNG_IMAGE_VERSION;
    image.height = (png_uint_32)source->height;
    image.width = (png_uint_32)source->width;
    image.format = PNG_FORMAT_RGB;
    written = png_image_write_to_file(&image, path, 0, bytes, 0, NULL);
    free(bytes);
    return written ? 0 : fail(path, image.message);
}
#endif

int read_picture(const char *path, picture *result) {
    if (has_ending(path, ".npy")) return read_npy(path, result);
#ifdef EXAMPLE_PNG
    if (has_ending(path, ".png")) return read_png(path, result);
#endif
    return fail(path, "the ending names no format that this program was built with");
}

int write_picture(const char *path, const picture *source) {
    if (has_ending(path, ".npy")) return write_npy(path, source);
#ifdef EXAMPLE_PNG
    if (has_ending(path, ".png")) return write_png(path, source);
#endif
    return fail(path, "the ending names no format that this program was built with");
}
