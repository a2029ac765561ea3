/* Writes the luminance of a JPEG picture as a graymap:  decode_jpeg PICTURE */
#include "../jpeg.h"

#include <stdio.h>

int main(int argc, char **argv) {
    static uint8_t data[1 << 20];
    struct plane plane;
    FILE *file = argc == 2 ? fopen(argv[1], "rb") : 0;
    if (!file) return 2;
    const char *error = jpeg_luminance(data, fread(data, 1, sizeof data, file), &plane);
    fclose(file);
    if (error) {
        fprintf(stderr, "%s\n", error);
        return 1;
    }
    printf("P5\n%u %u\n255\n", plane.width, plane.height);
    for (unsigned y = 0; y < plane.height; y++)
        fwrite(plane.pixels + (size_t)y * plane.stride, 1, plane.width, stdout);
    return 0;
}
