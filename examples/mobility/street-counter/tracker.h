/* Follows blobs from frame to frame and counts those that prove to be moving objects. */
#ifndef STREET_COUNTER_TRACKER_H
#define STREET_COUNTER_TRACKER_H

#include "background.h"

#define TRACKS_MAX 64

/* An object that is in the picture now. */
struct object {
    struct box box;
    int id; /* the how-manieth object it is, from 1 */
};

void tracker_reset(void);

/* Takes the blobs of the next frame. */
void tracker_update(const struct blob *blobs, int count, struct working size);

/* The objects that were seen in the last frame; returns how many. */
int tracker_objects(struct object objects[TRACKS_MAX]);

/* The boxes where known objects are thought to be, seen or not; returns how many. */
int tracker_boxes(struct box boxes[TRACKS_MAX], struct working size);

/* Distinct objects so far. */
int tracker_count(void);

#endif
