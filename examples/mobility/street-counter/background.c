/* The background model. Each pixel has the mean and the mean deviation of the background, and a
 * candidate: the level that the foreground shows there. A candidate that lasts becomes the
 * background, so that what the first frame showed and what was parked later both fade out.
 * All arithmetic is in integers: the same frames give the same boxes on every machine. */
#include "background.h"

#include <string.h>

#define SCALE 7              /* levels are kept in 1/128 */
#define DEVIATION_START (3 << SCALE)
#define THRESHOLD_MIN (14 << SCALE) /* below this a difference is noise, whatever was learned */
#define THRESHOLD_FACTOR 4   /* a difference counts from this many deviations on */
#define LEARN_SHIFT 5        /* the mean follows over 2^5 frames */
#define LEARN_FIRST 60       /* frames during which it follows faster */
#define CANDIDATE_NEAR 12    /* levels within which a candidate is confirmed */
#define CANDIDATE_FRAMES 30  /* frames after which it is the background */
#define GHOST_RATIO 2        /* a ghost's outline is so many times stronger in the background */
#define KEEP_EVERY 8         /* within known objects only every so many frames count */
#define SHADOW 15            /* percent by which a soft shadow darkens at most */
#define VOTES 5              /* of the nine pixels around that make a pixel foreground */
#define AREA_MIN_SHARE 2500  /* the smallest blob is one of so many pixels */
#define CHANGED_SHARE 2      /* more than one in so many: another scene, start over */

static struct {
    unsigned frames; /* since the model was started, up to LEARN_FIRST */
    uint32_t ticks;
    int16_t mean[WORK_PIXELS], deviation[WORK_PIXELS];
    uint8_t candidate[WORK_PIXELS], candidate_age[WORK_PIXELS];
} model;

static uint8_t level[WORK_PIXELS];           /* the frame */
static uint8_t mask[WORK_PIXELS], spare[WORK_PIXELS]; /* 1 = foreground */
static uint8_t kept[WORK_PIXELS];            /* 1 = within a known object */

struct working working_size(unsigned width, unsigned height) {
    unsigned across = (width + WORK_WIDTH - 1) / WORK_WIDTH;
    unsigned down = (height + WORK_HEIGHT - 1) / WORK_HEIGHT;
    struct working size;
    size.factor = across > down ? across : down;
    size.width = width / size.factor;
    size.height = height / size.factor;
    return size;
}

void background_reset(void) { memset(&model, 0, sizeof model); }

/* ---- the frame at the working size ---- */

static void shrink(const struct plane *frame, struct working size) {
    uint32_t sums[WORK_WIDTH];
    unsigned factor = size.factor, area = factor * factor;
    for (unsigned y = 0; y < size.height; y++) {
        memset(sums, 0, sizeof sums);
        for (unsigned j = 0; j < factor; j++) {
            const uint8_t *row = frame->pixels + (size_t)(y * factor + j) * frame->stride;
            if (factor == 2) {
                for (unsigned x = 0; x < size.width; x++)
                    sums[x] += (uint32_t)row[2 * x] + row[2 * x + 1];
            } else {
                for (unsigned x = 0; x < size.width; x++)
                    for (unsigned i = 0; i < factor; i++) sums[x] += row[x * factor + i];
            }
        }
        uint8_t *to = level + y * size.width;
        for (unsigned x = 0; x < size.width; x++) to[x] = (uint8_t)((sums[x] + area / 2) / area);
    }
}

/* ---- the model ---- */

static void learn_pixel(unsigned i) {
    model.mean[i] = (int16_t)(level[i] << SCALE);
    model.deviation[i] = DEVIATION_START;
    model.candidate_age[i] = 0;
}

static void learn_all(unsigned pixels) {
    for (unsigned i = 0; i < pixels; i++) learn_pixel(i);
    model.frames = 0;
}

static unsigned threshold_frame(unsigned pixels) {
    unsigned changed = 0;
    for (unsigned i = 0; i < pixels; i++) {
        int difference = (level[i] << SCALE) - model.mean[i];
        int distance = difference < 0 ? -difference : difference;
        int threshold = THRESHOLD_FACTOR * model.deviation[i];
        int shadow = difference < 0 ? model.mean[i] / 128 * (SHADOW * 128 / 100) : 0;
        if (threshold < THRESHOLD_MIN) threshold = THRESHOLD_MIN;
        if (threshold < shadow) threshold = shadow;
        mask[i] = distance > threshold;
        changed += mask[i];
    }
    return changed;
}

static void learn_background(unsigned pixels) {
    int shift = model.frames < LEARN_FIRST ? LEARN_SHIFT - 1 : LEARN_SHIFT;
    for (unsigned i = 0; i < pixels; i++) {
        int difference = (level[i] << SCALE) - model.mean[i];
        int distance = difference < 0 ? -difference : difference;
        int wanted = mask[i] ? 0 : -1;
        model.mean[i] = (int16_t)(model.mean[i] + ((difference >> shift) & wanted));
        int wider = (distance - model.deviation[i]) >> LEARN_SHIFT;
        model.deviation[i] = (int16_t)(model.deviation[i] + (wider & wanted));
    }
}

static void learn_candidates(unsigned pixels) {
    int slow = model.ticks % KEEP_EVERY == 0;
    for (unsigned i = 0; i < pixels; i++) {
        if (!mask[i]) {
            if (model.candidate_age[i]) model.candidate_age[i]--;
            continue;
        }
        int difference = level[i] - model.candidate[i];
        if (model.candidate_age[i] == 0 || difference > CANDIDATE_NEAR ||
            difference < -CANDIDATE_NEAR) {
            model.candidate[i] = level[i];
            model.candidate_age[i] = 1;
            continue;
        }
        if (kept[i] && !slow) continue;
        if (++model.candidate_age[i] >= CANDIDATE_FRAMES) learn_pixel(i);
    }
}

static void mark_kept(struct working size, const struct box *keep, int count) {
    memset(kept, 0, (size_t)size.width * size.height);
    for (int i = 0; i < count; i++)
        for (int y = keep[i].y0; y < keep[i].y1; y++)
            memset(kept + (size_t)y * size.width + keep[i].x0, 1,
                   (size_t)(keep[i].x1 - keep[i].x0));
}

/* ---- cleaning ---- */

/* Sets `to` where at least `least` of the nine pixels around are set in `from`; borders are 0. */
static void vote(const uint8_t *from, uint8_t *to, struct working size, int least) {
    unsigned width = size.width;
    memset(to, 0, (size_t)width * size.height);
    for (unsigned y = 1; y + 1 < size.height; y++) {
        const uint8_t *a = from + (y - 1) * width, *b = a + width, *c = b + width;
        uint8_t *out = to + y * width;
        for (unsigned x = 1; x + 1 < width; x++) {
            uint8_t votes = (uint8_t)(a[x - 1] + a[x] + a[x + 1] + b[x - 1] + b[x] + b[x + 1] +
                                      c[x - 1] + c[x] + c[x + 1]);
            out[x] = votes >= least;
        }
    }
}

/* Closes gaps of up to two rows, which cut people at their belts. */
static void close_rows(const uint8_t *from, uint8_t *to, struct working size) {
    size_t width = size.width;
    memcpy(to, from, width * size.height);
    for (size_t y = 2; y + 2 < size.height; y++) {
        const uint8_t *row = from + y * width, *above = row - width, *below = row + width;
        uint8_t *out = to + y * width;
        for (size_t x = 0; x < width; x++) {
            out[x] |= above[x] & (uint8_t)(below[x] | below[width + x]);
            out[x] |= (uint8_t)(above[x] | *(above + x - width)) & below[x];
        }
    }
}

/* ---- connected components ---- */

static uint16_t labels[WORK_PIXELS];
static uint16_t parents[WORK_PIXELS / 2 + 2];

static uint16_t root_of(uint16_t label) {
    while (parents[label] != label) label = parents[label] = parents[parents[label]];
    return label;
}

static uint16_t join(uint16_t a, uint16_t b) {
    a = root_of(a);
    b = root_of(b);
    if (a > b) {
        uint16_t swap = a;
        a = b;
        b = swap;
    }
    parents[b] = a;
    return a;
}

/* Labels touching pixels, diagonals included, alike; returns the number of labels used. */
static unsigned label_pixels(struct working size) {
    unsigned width = size.width, used = 1;
    for (unsigned y = 0; y < size.height; y++) {
        for (unsigned x = 0; x < width; x++) {
            unsigned i = y * width + x;
            uint16_t label = 0;
            labels[i] = 0;
            if (!mask[i]) continue;
            if (x && labels[i - 1]) label = labels[i - 1];
            for (int dx = -1; dx <= 1 && y; dx++) {
                if ((x == 0 && dx < 0) || (x + 1 == width && dx > 0)) continue;
                uint16_t above = labels[(int)(i - width) + dx];
                if (above) label = label && label != above ? join(label, above) : above;
            }
            if (!label) {
                label = (uint16_t)used;
                parents[used++] = label;
            }
            labels[i] = label;
        }
    }
    return used;
}

/* Gathers the blobs of at least `area_min` pixels in the order of their first pixel. */
static int gather(struct working size, unsigned used, int area_min, struct blob *blobs) {
    static int areas[WORK_PIXELS / 2 + 2];
    static uint8_t numbers[WORK_PIXELS / 2 + 2]; /* blob + 1 of a label */
    int count = 0;
    memset(areas, 0, used * sizeof areas[0]);
    for (unsigned i = 0; i < size.width * size.height; i++)
        if (labels[i]) areas[labels[i] = root_of(labels[i])]++;
    for (unsigned label = 1; label < used; label++) {
        numbers[label] = 0;
        if (areas[label] < area_min || count == BLOBS_MAX) continue;
        memset(&blobs[count], 0, sizeof blobs[count]);
        blobs[count].area = areas[label];
        blobs[count].label = (int)label;
        blobs[count].box.x0 = (int)size.width;
        blobs[count].box.y0 = (int)size.height;
        numbers[label] = (uint8_t)++count;
    }
    for (unsigned i = 0; i < size.width * size.height; i++) {
        if (!labels[i] || !numbers[labels[i]]) continue;
        struct blob *blob = &blobs[numbers[labels[i]] - 1];
        int x = (int)(i % size.width), y = (int)(i / size.width);
        if (x < blob->box.x0) blob->box.x0 = x;
        if (x >= blob->box.x1) blob->box.x1 = x + 1;
        if (y < blob->box.y0) blob->box.y0 = y;
        if (y >= blob->box.y1) blob->box.y1 = y + 1;
        blob->histogram[level[i] * HISTOGRAM_BINS / 256]++;
    }
    for (int b = 0; b < count; b++)
        for (int h = 0; h < HISTOGRAM_BINS; h++)
            blobs[b].histogram[h] = blobs[b].histogram[h] * 1024 / blobs[b].area;
    return count;
}

/* Compares edges across a boundary pixel, two pixels to either side, in the frame and the model. */
static void compare_edges(struct working size, unsigned i, int step, int *frame, int *background) {
    unsigned far = (unsigned)(2 * step);
    if (i < far || i + far >= size.width * size.height) return;
    int now = level[i + far] - level[i - far];
    int learned = (model.mean[i + far] - model.mean[i - far]) >> SCALE;
    *frame += now < 0 ? -now : now;
    *background += learned < 0 ? -learned : learned;
}

/* Drops blobs whose outline is in the background and not in the frame: there something has left
 * that was taken for street. Their pixels are learned at once. Returns how many blobs remain. */
static int drop_ghosts(struct working size, struct blob *blobs, int count) {
    int kept_blobs = 0;
    for (int b = 0; b < count; b++) {
        const struct box *box = &blobs[b].box;
        int frame = 0, background = 0;
        for (int y = box->y0; y < box->y1; y++) {
            for (int x = box->x0; x < box->x1; x++) {
                unsigned i = (unsigned)y * size.width + (unsigned)x;
                if (labels[i] != blobs[b].label) continue;
                if (!mask[i - 1] || !mask[i + 1]) compare_edges(size, i, 1, &frame, &background);
                if (!mask[i - size.width] || !mask[i + size.width])
                    compare_edges(size, i, (int)size.width, &frame, &background);
            }
        }
        if (GHOST_RATIO * frame >= background) {
            blobs[kept_blobs++] = blobs[b];
            continue;
        }
        for (int y = box->y0; y < box->y1; y++)
            for (int x = box->x0; x < box->x1; x++) {
                unsigned i = (unsigned)y * size.width + (unsigned)x;
                if (labels[i] == blobs[b].label) learn_pixel(i);
            }
    }
    return kept_blobs;
}

int background_update(const struct plane *frame, struct working size, const struct box *keep,
                      int keep_count, struct blob blobs[BLOBS_MAX]) {
    unsigned pixels = size.width * size.height;
    shrink(frame, size);
    if (model.ticks++ == 0) learn_all(pixels);
    if (threshold_frame(pixels) > pixels / CHANGED_SHARE) {
        learn_all(pixels);
        return 0;
    }
    mark_kept(size, keep, keep_count);
    learn_background(pixels);
    learn_candidates(pixels);
    if (model.frames < LEARN_FIRST) model.frames++;
    vote(mask, spare, size, VOTES);
    close_rows(spare, mask, size);
    int count = gather(size, label_pixels(size), (int)(pixels / AREA_MIN_SHARE), blobs);
    return drop_ghosts(size, blobs, count);
}
