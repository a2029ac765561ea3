/* Decodes damaged pictures:  fuzz_jpeg ROUNDS SEED PICTURE...
 * Build it with -fsanitize=address,undefined: what it shows is that nothing happens. Each damaged
 * picture is a heap copy of its exact size, so that a read past its end is seen. */
#ifdef JPEG_COLOUR
#include "../../vehicle-detector/colour.h"
#else
#include "../jpeg.h"
#endif

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static uint32_t state;

static uint32_t pick(uint32_t below) {
    state = state * 1664525u + 1013904223u;
    return (uint32_t)(((uint64_t)state * below) >> 32);
}

static uint8_t *load(const char *path, size_t *size) {
    FILE *file = fopen(path, "rb");
    uint8_t *data = malloc(1 << 20);
    if (!file || !data) exit(2);
    *size = fread(data, 1, 1 << 20, file);
    fclose(file);
    return data;
}

/* One to eight of: another byte, a flipped bit, an extreme value, a moved piece, a cut. */
static size_t damage(uint8_t *data, size_t size) {
    static const uint8_t extremes[] = {0x00, 0xff, 0x7f, 0x80, 0x11, 0x44};
    for (uint32_t left = 1 + pick(8); left > 0 && size > 4; left--) {
        size_t at = pick(4) ? pick((uint32_t)size) : pick(size < 700 ? (uint32_t)size : 700);
        switch (pick(6)) {
        case 0: data[at] = (uint8_t)pick(256); break;
        case 1: data[at] ^= (uint8_t)(1u << pick(8)); break;
        case 2: data[at] = extremes[pick(sizeof extremes)]; break;
        case 3: {
            size_t length = pick((uint32_t)(size - at)), to = pick((uint32_t)(size - length));
            memmove(data + to, data + at, length);
            break;
        }
        case 4: data[at] = 0xff; break;
        default:
            if (pick(8) == 0) size = at + 1;
        }
    }
    return size;
}

/* Reads every pixel. */
static uint64_t levels(const struct plane *plane) {
    uint64_t sum = 0;
    for (unsigned y = 0; y < plane->height; y++)
        for (unsigned x = 0; x < plane->width; x++) sum += plane->pixels[y * plane->stride + x];
    return sum;
}

int main(int argc, char **argv) {
    if (argc < 4) return 2;
    long rounds = atol(argv[1]), taken = 0;
    uint64_t sum = 0;
    state = (uint32_t)atol(argv[2]);
    for (long round = 0; round < rounds; round++) {
        size_t size;
#ifdef JPEG_COLOUR
        struct picture picture;
#else
        struct plane plane;
#endif
        uint8_t *whole = load(argv[3 + round % (argc - 3)], &size);
        size = damage(whole, size);
        uint8_t *exact = malloc(size);
        if (!exact) return 2;
        memcpy(exact, whole, size);
#ifdef JPEG_COLOUR
        int decoded = !jpeg_colour(exact, size, &picture);
        for (unsigned i = 0; decoded && i < picture.plane_count; i++)
            sum += levels(&picture.planes[i]);
#else
        int decoded = !jpeg_luminance(exact, size, &plane);
        if (decoded) sum += levels(&plane);
#endif
        taken += decoded;
        free(exact);
        free(whole);
    }
    printf("seed %s: %ld damaged pictures, %ld of them decoded (sum %llu)\n", argv[2], rounds,
           taken, (unsigned long long)sum);
    return 0;
}
