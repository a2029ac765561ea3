/* A JPEG picture in colour. */
#ifndef VEHICLE_DETECTOR_COLOUR_H
#define VEHICLE_DETECTOR_COLOUR_H

#include "../street-counter/jpeg.h"

/* Luminance, blue and red difference, each at its own resolution; only luminance for a grey one. */
struct picture {
    struct plane planes[3];
    unsigned plane_count, width, height;
};

/* Decodes `data` into `picture`, whose pixels stay valid until the next call. Takes what
 * `jpeg_luminance` takes. Returns 0, or what is wrong with the picture. */
const char *jpeg_colour(const uint8_t *data, size_t size, struct picture *picture);

#endif
