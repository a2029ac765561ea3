/* What a model sees in a picture. */
#ifndef VEHICLE_DETECTOR_DETECTOR_H
#define VEHICLE_DETECTOR_DETECTOR_H

#include "colour.h"

/* Most objects that are told of one picture. */
#define OBJECTS_MAX 64
/* Kinds of objects: those of the COCO data set. */
#define KINDS 80

/* An object: its rectangle in pixels of the picture, which may reach over its edge. */
struct object {
    float x0, y0, x1, y1;
    float score; /* from 0 to 1 */
    int kind;
};

/* Loads the model `detector`. Returns 0, or what is wrong. */
const char *detector_load(void);

/* Finds the objects of a picture, the most certain first. Returns 0, or what is wrong. */
const char *detector_find(const struct picture *picture, struct object objects[OBJECTS_MAX],
                          int *count);

/* What a kind is called. */
const char *kind_name(int kind);

#endif
