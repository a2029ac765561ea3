/* What of a frame is not the street: a background model of every pixel, and the blobs before it. */
#ifndef STREET_COUNTER_BACKGROUND_H
#define STREET_COUNTER_BACKGROUND_H

#include "jpeg.h"

/* Frames are averaged down to at most this size before they are looked at. */
#define WORK_WIDTH 384
#define WORK_HEIGHT 288
#define WORK_PIXELS (WORK_WIDTH * WORK_HEIGHT)

#define BLOBS_MAX 128
#define HISTOGRAM_BINS 16

/* A rectangle in working pixels; x1 and y1 lie outside. */
struct box {
    int x0, y0, x1, y1;
};

/* A connected patch of foreground. */
struct blob {
    struct box box;
    int area;
    int label; /* of its pixels, within the frame at hand */
    int histogram[HISTOGRAM_BINS]; /* of its luminance; sums to about 1024 */
};

/* The working size of a frame: it is averaged over squares of `factor` pixels. */
struct working {
    unsigned width, height, factor;
};

struct working working_size(unsigned width, unsigned height);

/* Forgets the street. */
void background_reset(void);

/* Learns from one frame and finds its blobs; `keep` are boxes of known objects, which are not
 * taken for new background while they stand still. Returns the number of blobs. */
int background_update(const struct plane *frame, struct working size, const struct box *keep,
                      int keep_count, struct blob blobs[BLOBS_MAX]);

#endif
