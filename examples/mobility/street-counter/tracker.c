/* The tracker. Each track predicts its box and takes the blob that fits best. Tracks whose objects
 * have run together share a blob until it parts again; then position and histogram say who is who.
 * A track becomes an object, and is counted, once it has been seen for some frames and has moved:
 * what never moves is a trace of the background. An object that was lost inside the picture is
 * remembered, for people step behind signs but do not arise out of nothing.
 * Positions are in 1/16 of a working pixel. */
#include "tracker.h"

#include <string.h>

#define Q 16
#define EDGE 3             /* so near to the picture's border is at it */
#define LEAVING (Q / 4)    /* so fast towards it is on the way out */
#define HITS_TO_COUNT 6    /* frames before a track may count */
#define HITS_TO_KNOW 3     /* frames before it may be a remembered object */
#define ALIKE 700          /* likeness, of 1024, that needs no movement as proof */
#define MISSES_NEW 2       /* frames without a blob that end a track that is no object yet */
#define MISSES_EDGE 3      /* and an object that stood at the picture's border */
#define MISSES_KNOWN 12    /* and an object elsewhere: then it is remembered */
#define MISSES_SHARED 80   /* frames within another's blob after which an object is remembered */
#define SHARED_LONG 5      /* frames in a shared blob after which an object may be elsewhere */
#define REMEMBERED 150     /* frames for which a lost object is remembered */
#define WALKED 40          /* frames in which a lost object gets further away */
#define GATE_SCORE 150     /* the least score of a match, of about 2048 */

struct track {
    int used, id;
    int x0, y0, x1, y1; /* Q */
    int vx, vy;         /* Q per frame */
    int hits, misses, age;
    int shared;         /* frames that it has been within a shared blob */
    int lost;           /* frames since it was lost; 0 while it is followed */
    int seen;           /* in the last frame */
    struct box shown;   /* where: its blob, which others may share */
    int inside;         /* whether it began inside the picture */
    struct box first;
    int histogram[HISTOGRAM_BINS];
};

static struct track tracks[TRACKS_MAX];
static int object_count;

void tracker_reset(void) {
    memset(tracks, 0, sizeof tracks);
    object_count = 0;
}

static int least(int a, int b) { return a < b ? a : b; }
static int most(int a, int b) { return a > b ? a : b; }
static int clamp(int value, int low, int high) { return most(low, least(value, high)); }
static int magnitude(int value) { return value < 0 ? -value : value; }

static struct box box_of(const struct track *t) {
    struct box box = {t->x0 / Q, t->y0 / Q, (t->x1 + Q - 1) / Q, (t->y1 + Q - 1) / Q};
    return box;
}

static int width_of(struct box b) { return b.x1 - b.x0; }
static int height_of(struct box b) { return b.y1 - b.y0; }
static int area_of(struct box b) { return width_of(b) * height_of(b); }

static int overlap(struct box a, struct box b) {
    int w = least(a.x1, b.x1) - most(a.x0, b.x0), h = least(a.y1, b.y1) - most(a.y0, b.y0);
    return w > 0 && h > 0 ? w * h : 0;
}

static struct box around(struct box a, struct box b) {
    struct box box = {least(a.x0, b.x0), least(a.y0, b.y0), most(a.x1, b.x1), most(a.y1, b.y1)};
    return box;
}

static int at_edge(struct box b, struct working size) {
    return b.x0 <= EDGE || b.y0 <= EDGE || b.x1 >= (int)size.width - EDGE ||
           b.y1 >= (int)size.height - EDGE;
}

static int likeness(const int a[HISTOGRAM_BINS], const int b[HISTOGRAM_BINS]) {
    int sum = 0;
    for (int i = 0; i < HISTOGRAM_BINS; i++) sum += least(a[i], b[i]);
    return sum;
}

/* ---- blobs that belong together ---- */

/* Two blobs of one upright object: one above the other with a small gap, as behind a tape. */
static int one_object(const struct blob *a, const struct blob *b) {
    int across = least(a->box.x1, b->box.x1) - most(a->box.x0, b->box.x0);
    int narrow = least(width_of(a->box), width_of(b->box));
    int gap = most(a->box.y0, b->box.y0) - least(a->box.y1, b->box.y1);
    struct box whole = around(a->box, b->box);
    if (2 * across < narrow || gap > height_of(whole) / 5) return 0;
    return height_of(whole) <= 4 * width_of(whole);
}

static void absorb(struct blob *a, const struct blob *b) {
    for (int i = 0; i < HISTOGRAM_BINS; i++)
        a->histogram[i] =
            (a->histogram[i] * a->area + b->histogram[i] * b->area) / (a->area + b->area);
    a->area += b->area;
    a->box = around(a->box, b->box);
}

static int join_parts(const struct blob *from, int count, struct blob *to) {
    int kept = 0;
    for (int i = 0; i < count; i++) {
        int k = 0;
        while (k < kept && !one_object(&to[k], &from[i])) k++;
        if (k < kept) absorb(&to[k], &from[i]);
        else to[kept++] = from[i];
    }
    return kept;
}

/* ---- matching ---- */

/* How well a track's predicted box and histogram fit a blob: 0 to about 2048. */
static int score(const struct track *t, const struct blob *b) {
    struct box box = box_of(t);
    int common = overlap(box, b->box);
    int reach = 2 + least(t->misses, 6);
    if (!common) {
        struct box wide = {box.x0 - reach, box.y0 - reach, box.x1 + reach, box.y1 + reach};
        if (!overlap(wide, b->box)) return 0;
    }
    int joint = area_of(box) + area_of(b->box) - common;
    return 1024 * common / joint + likeness(t->histogram, b->histogram) / (common ? 2 : 4);
}

/* Best pairs first, each track and blob once. `owner[b]` and `blob_of[t]` are -1 without one. */
static void match(const struct blob *blobs, int count, int *owner, int *blob_of) {
    static int scores[TRACKS_MAX][BLOBS_MAX];
    for (int b = 0; b < count; b++) owner[b] = -1;
    for (int t = 0; t < TRACKS_MAX; t++) {
        blob_of[t] = -1;
        for (int b = 0; b < count && tracks[t].used && !tracks[t].lost; b++)
            scores[t][b] = score(&tracks[t], &blobs[b]) + (tracks[t].id ? 100 : 0);
    }
    for (;;) {
        int best = GATE_SCORE + 100, at = -1, with = -1;
        for (int t = 0; t < TRACKS_MAX; t++) {
            if (!tracks[t].used || tracks[t].lost || blob_of[t] >= 0) continue;
            for (int b = 0; b < count; b++)
                if (owner[b] < 0 && scores[t][b] > best) best = scores[at = t][with = b];
        }
        if (at < 0) return;
        owner[with] = at;
        blob_of[at] = with;
    }
}

/* The blob that a track without one of its own stands in, or -1. */
static int shelter(const struct track *t, const struct blob *blobs, int count) {
    struct box box = box_of(t);
    int best = area_of(box) / 3, found = -1;
    for (int b = 0; b < count; b++)
        if (overlap(box, blobs[b].box) > best) best = overlap(box, blobs[found = b].box);
    return found;
}

/* ---- following ---- */

/* Which ends of a shared blob are a track's: none of the sharers stands further out. */
struct order {
    int left, right, top, bottom;
};

/* Whether an object walks out of the picture: it stands at a border that it moves towards. */
static int leaves(const struct track *t, struct working size) {
    return (t->x0 <= EDGE * Q && t->vx < -LEAVING) || (t->y0 <= EDGE * Q && t->vy < -LEAVING) ||
           (t->x1 >= ((int)size.width - EDGE) * Q && t->vx > LEAVING) ||
           (t->y1 >= ((int)size.height - EDGE) * Q && t->vy > LEAVING);
}

/* The part of a track's box within the picture. */
static struct box visible(const struct track *t, struct working size) {
    struct box box = box_of(t);
    box.x0 = clamp(box.x0, 0, (int)size.width);
    box.x1 = clamp(box.x1, 0, (int)size.width);
    box.y0 = clamp(box.y0, 0, (int)size.height);
    box.y1 = clamp(box.y1, 0, (int)size.height);
    return box;
}

static void predict(struct track *t, struct working size) {
    if (t->misses || t->shared) {
        t->vx -= t->vx / 8;
        t->vy -= t->vy / 8;
    }
    t->x0 += t->vx;
    t->x1 += t->vx;
    t->y0 += t->vy;
    t->y1 += t->vy;
    if (2 * area_of(visible(t, size)) < area_of(box_of(t)) && leaves(t, size)) t->used = 0;
}

/* How far a span moved. At the picture's border its visible part shrinks or grows there, so that
 * only the inner end tells. */
static int shift(int old_low, int old_high, int low, int high, int limit) {
    if (low <= EDGE * Q && high < limit - EDGE * Q) return high - old_high;
    if (high >= limit - EDGE * Q && low > EDGE * Q) return low - old_low;
    return (low + high - old_low - old_high) / 2;
}

/* Takes a blob that is the track's alone. */
static void follow(struct track *t, const struct blob *b, struct working size) {
    int ex = shift(t->x0, t->x1, b->box.x0 * Q, b->box.x1 * Q, (int)size.width * Q);
    int ey = shift(t->y0, t->y1, b->box.y0 * Q, b->box.y1 * Q, (int)size.height * Q);
    int gain = t->hits < 4 ? 2 : 5;
    t->vx = clamp(t->vx + ex / gain, -12 * Q, 12 * Q);
    t->vy = clamp(t->vy + ey / gain, -12 * Q, 12 * Q);
    t->x0 = b->box.x0 * Q;
    t->x1 = b->box.x1 * Q;
    t->y0 = b->box.y0 * Q;
    t->y1 = b->box.y1 * Q;
    for (int i = 0; i < HISTOGRAM_BINS; i++)
        t->histogram[i] += (b->histogram[i] - t->histogram[i]) / 8;
    t->hits++;
    t->misses = t->shared = 0;
    t->seen = 1;
    t->shown = b->box;
}

/* Where a span of `size` goes that stood at `at` within the shared span `low`..`high`. When that
 * is too long for one object, the first of the sharers stands at its beginning and the last at its
 * end. */
static int place(int at, int size, int low, int high, int first, int last) {
    if (4 * (high - low) > 5 * size && first != last) {
        if (first) at += (low - at) / 2;
        else at += (high - size - at) / 2;
    }
    if (size >= high - low) return (low + high - size) / 2;
    return clamp(at, low, high - size);
}

/* Stays within a blob that several tracks share; `order` tells which of its ends are this one's. */
static void share(struct track *t, const struct blob *b, struct order order,
                  struct working size) {
    int w = t->x1 - t->x0, h = t->y1 - t->y0;
    int x = place(t->x0, w, b->box.x0 * Q, b->box.x1 * Q, order.left, order.right);
    int y = place(t->y0, h, b->box.y0 * Q, b->box.y1 * Q, order.top, order.bottom);
    if (!leaves(t, size)) {
        t->vx = clamp(t->vx + (x - t->x0) / 8, -12 * Q, 12 * Q);
        t->vy = clamp(t->vy + (y - t->y0) / 8, -12 * Q, 12 * Q);
        t->x0 = x;
        t->y0 = y;
        t->x1 = x + w;
        t->y1 = y + h;
    }
    t->shared++;
    t->misses = 0;
    t->seen = 1;
    t->shown = b->box;
}

static void begin(const struct blob *b, struct working size) {
    for (int i = 0; i < TRACKS_MAX; i++) {
        struct track *t = &tracks[i];
        if (t->used) continue;
        memset(t, 0, sizeof *t);
        t->used = t->hits = t->seen = 1;
        t->first = b->box;
        t->inside = !at_edge(b->box, size);
        t->x0 = b->box.x0 * Q;
        t->y0 = b->box.y0 * Q;
        t->x1 = b->box.x1 * Q;
        t->y1 = b->box.y1 * Q;
        memcpy(t->histogram, b->histogram, sizeof t->histogram);
        return;
    }
}

/* A track has moved when both its left and right, or top and bottom, moved the same way. */
static int has_moved(const struct track *t) {
    struct box now = box_of(t);
    int left = now.x0 - t->first.x0, right = now.x1 - t->first.x1;
    int top = now.y0 - t->first.y0, bottom = now.y1 - t->first.y1;
    int far = most(4, most(width_of(now), height_of(now)) * 3 / 4);
    if (width_of(now) * 8 < height_of(now) || height_of(now) * 8 < width_of(now)) return 0;
    if (5 * height_of(now) < 3 * height_of(t->first)) return 0; /* it faded, rather than moved */
    int across = (left > 0) == (right > 0) && least(magnitude(left), magnitude(right)) >= far;
    int down = (top > 0) == (bottom > 0) && least(magnitude(top), magnitude(bottom)) >= far;
    return across || down;
}

/* The object in doubt that a track which arose inside the picture continues, or null. */
static struct track *remembered(const struct track *t) {
    struct track *best = 0;
    int nearest = 1 << 30;
    for (int i = 0; i < TRACKS_MAX; i++) {
        struct track *old = &tracks[i];
        int in_doubt = old->lost || old->misses >= MISSES_EDGE || old->shared >= SHARED_LONG;
        if (!old->used || !old->id || !in_doubt) continue;
        int h = most(height_of(box_of(old)), height_of(t->first));
        int dx = magnitude((t->first.x0 + t->first.x1) / 2 - (old->x0 + old->x1) / 2 / Q);
        int dy = magnitude((t->first.y0 + t->first.y1) / 2 - (old->y0 + old->y1) / 2 / Q);
        int gate = h + least(old->lost + old->misses, WALKED) * h / 10;
        if (dx + dy < gate && dx + dy < nearest) {
            nearest = dx + dy;
            best = old;
        }
    }
    return best;
}

/* Makes an object of a track: a remembered one when it arose inside the picture, else a new one. */
static void count_if_proven(struct track *t) {
    if (t->id || t->hits < HITS_TO_KNOW) return;
    struct track *old = t->inside ? remembered(t) : 0;
    int proven = t->hits >= HITS_TO_COUNT && has_moved(t);
    if (!proven && (!old || likeness(old->histogram, t->histogram) < ALIKE)) return;
    if (old) {
        t->id = old->id;
        old->used = 0;
    } else {
        t->id = ++object_count;
    }
}

static void lose(struct track *t, struct working size) {
    int edge = at_edge(box_of(t), size);
    t->seen = 0;
    t->misses++;
    if (!t->id) t->used = t->misses <= MISSES_NEW;
    else if (edge) t->used = t->misses <= MISSES_EDGE;
    else if (t->misses > MISSES_KNOWN) t->lost = 1;
}

/* Whether a blob without a track is only a part of an object that is followed. */
static int is_part(const struct blob *b) {
    for (int i = 0; i < TRACKS_MAX; i++) {
        if (!tracks[i].used || !tracks[i].seen || !tracks[i].id) continue;
        struct box box = box_of(&tracks[i]);
        if (overlap(box, b->box) * 2 > area_of(b->box)) return 1;
    }
    return 0;
}

/* The track's place among those in the same blob. */
static struct order order_of(int track, const int *in) {
    struct order order = {1, 1, 1, 1};
    const struct track *t = &tracks[track];
    for (int i = 0; i < TRACKS_MAX; i++) {
        const struct track *other = &tracks[i];
        if (i == track || in[i] != in[track]) continue;
        int dx = other->x0 + other->x1 - t->x0 - t->x1, dy = other->y0 + other->y1 - t->y0 - t->y1;
        if (dx < 0 || (dx == 0 && i < track)) order.left = 0;
        else order.right = 0;
        if (dy < 0 || (dy == 0 && i < track)) order.top = 0;
        else order.bottom = 0;
    }
    return order;
}

/* Finds the blob of every track, its own or one that it stands in: -1 when there is none. */
static void assign(const struct blob *blobs, int count, int *owner, int *in, int *sharers) {
    match(blobs, count, owner, in);
    for (int i = 0; i < TRACKS_MAX; i++) {
        struct track *t = &tracks[i];
        if (in[i] < 0 && t->used && !t->lost &&
            (t->id || (t->hits >= HITS_TO_KNOW && !t->inside)))
            in[i] = shelter(t, blobs, count);
        if (in[i] >= 0) sharers[in[i]]++;
    }
}

void tracker_update(const struct blob *found, int found_count, struct working size) {
    static struct blob blobs[BLOBS_MAX];
    struct order orders[TRACKS_MAX];
    int owner[BLOBS_MAX], in[TRACKS_MAX], sharers[BLOBS_MAX] = {0};
    int count = join_parts(found, found_count, blobs);
    for (int i = 0; i < TRACKS_MAX; i++) {
        struct track *t = &tracks[i];
        t->seen = 0;
        if (t->used && t->lost && ++t->lost > REMEMBERED) t->used = 0;
        if (t->used && !t->lost) predict(t, size);
    }
    assign(blobs, count, owner, in, sharers);
    for (int i = 0; i < TRACKS_MAX; i++)
        if (in[i] >= 0) orders[i] = order_of(i, in);
    for (int i = 0; i < TRACKS_MAX; i++) {
        struct track *t = &tracks[i];
        if (!t->used || t->lost) continue;
        if (in[i] < 0) lose(t, size);
        else if (sharers[in[i]] < 2) follow(t, &blobs[in[i]], size);
        else share(t, &blobs[in[i]], orders[i], size);
        if (t->shared > MISSES_SHARED && owner[in[i]] != i) t->lost = 1;
        if (t->used && !t->lost) count_if_proven(t);
    }
    for (int b = 0; b < count; b++)
        if (owner[b] < 0 && !is_part(&blobs[b])) begin(&blobs[b], size);
}

int tracker_objects(struct object objects[TRACKS_MAX]) {
    int count = 0;
    for (int i = 0; i < TRACKS_MAX; i++) {
        if (!tracks[i].used || tracks[i].lost || !tracks[i].seen || !tracks[i].id) continue;
        objects[count].box = tracks[i].shown;
        objects[count++].id = tracks[i].id;
    }
    return count;
}

int tracker_boxes(struct box boxes[TRACKS_MAX], struct working size) {
    int count = 0;
    for (int i = 0; i < TRACKS_MAX; i++)
        if (tracks[i].used && !tracks[i].lost && tracks[i].hits >= HITS_TO_KNOW)
            boxes[count++] = visible(&tracks[i], size);
    return count;
}

int tracker_count(void) { return object_count; }
