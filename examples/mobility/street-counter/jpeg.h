/* The luminance of a JPEG picture. */
#ifndef STREET_COUNTER_JPEG_H
#define STREET_COUNTER_JPEG_H

#include <stddef.h>
#include <stdint.h>

/* Limits of what is decoded: a frame of a 4 megapixel camera. */
#define FRAME_MIN_SIDE 32
#define FRAME_MAX_SIDE 4096
#define FRAME_MAX_PIXELS (4u << 20)

/* A grey picture; `stride` is the distance between rows. */
struct plane {
    const uint8_t *pixels;
    unsigned width, height, stride;
};

/* Decodes `data` into `plane`, whose pixels stay valid until the next call. Takes baseline
 * Huffman pictures of 8 bits, grey or with chrominance of any sampling. Returns 0, or what is
 * wrong with the picture. */
const char *jpeg_luminance(const uint8_t *data, size_t size, struct plane *plane);

#endif
