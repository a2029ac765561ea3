/* Asks a detector of FastestDet's form: a picture of SIDE by SIDE pixels goes in as three planes,
 * blue first, from 0 to 1; for each field of a GRID by GRID grid come out how likely it has an
 * object, where and how large that is, and how likely it is of each kind. */
#include "detector.h"

#include <cloudskin/nn.h>
#include <math.h>

#define SIDE 352
#define GRID 22
#define FIELDS (GRID * GRID)
/* Before the kinds: object, two offsets, width, height. */
#define HEAD 5

#define SCORE_MIN 0.65f
#define OVERLAP_MAX 0.45f

static wasi_nn_context context;
static float input[3][SIDE][SIDE];
static float output[HEAD + KINDS][FIELDS];

const char *detector_load(void) {
    static const char name[] = "detector";
    wasi_nn_graph graph;
    int error = wasi_nn_load_by_name(name, sizeof name - 1, &graph);
    if (error == WASI_NN_NOT_FOUND)
        return "no model is given: name one `detector`, with --nn or in the service's models";
    if (error || wasi_nn_init_execution_context(graph, &context))
        return "the model cannot be loaded: it may need more memory than the cell has";
    return 0;
}

/* ---- the picture ---- */

/* Where a row or column of the input lies between two of a plane, pixel centres on centres. */
struct between {
    unsigned first, second;
    float part; /* of the second */
};

static struct between place(unsigned at, unsigned size) {
    float position = ((float)at + 0.5f) * (float)size / SIDE - 0.5f;
    struct between found = {0, 0, 0};
    if (position > 0) {
        found.first = (unsigned)position;
        found.part = position - (float)found.first;
    }
    if (found.first >= size - 1) {
        found.first = size - 1;
        found.part = 0;
    }
    found.second = found.first + (found.part > 0);
    return found;
}

/* One plane in the input's size. */
static void scale(const struct plane *plane, float to[SIDE][SIDE]) {
    static struct between columns[SIDE];
    for (unsigned x = 0; x < SIDE; x++) columns[x] = place(x, plane->width);
    for (unsigned y = 0; y < SIDE; y++) {
        struct between row = place(y, plane->height);
        const uint8_t *above = plane->pixels + (size_t)row.first * plane->stride;
        const uint8_t *below = plane->pixels + (size_t)row.second * plane->stride;
        for (unsigned x = 0; x < SIDE; x++) {
            struct between column = columns[x];
            float top = above[column.first] + column.part * (above[column.second] - above[column.first]);
            float low = below[column.first] + column.part * (below[column.second] - below[column.first]);
            to[y][x] = top + row.part * (low - top);
        }
    }
}

/* A level of eight bits as the model takes it. */
static float level(float value) {
    float whole = floorf(value + 0.5f);
    return (whole < 0 ? 0 : whole > 255 ? 255 : whole) / 255;
}

static void fill_input(const struct picture *picture) {
    for (unsigned i = 0; i < picture->plane_count; i++) scale(&picture->planes[i], input[i]);
    for (unsigned y = 0; y < SIDE; y++) {
        for (unsigned x = 0; x < SIDE; x++) {
            float luminance = input[0][y][x], blue = 0, red = 0;
            if (picture->plane_count == 3) {
                blue = input[1][y][x] - 128;
                red = input[2][y][x] - 128;
            }
            input[0][y][x] = level(luminance + 1.772f * blue);
            input[1][y][x] = level(luminance - 0.344136f * blue - 0.714136f * red);
            input[2][y][x] = level(luminance + 1.402f * red);
        }
    }
}

/* ---- the answer ---- */

static float logistic(float value) { return 1 / (1 + expf(-value)); }

/* The object of a field, in parts of the picture. */
static struct object object_at(int field) {
    struct object object = {0, 0, 0, 0, 0, 0};
    for (int kind = 1; kind < KINDS; kind++)
        if (output[HEAD + kind][field] > output[HEAD + object.kind][field]) object.kind = kind;
    object.score = powf(output[0][field], 0.6f) * powf(output[HEAD + object.kind][field], 0.4f);
    float x = ((float)(field % GRID) + tanhf(output[1][field])) / GRID;
    float y = ((float)(field / GRID) + tanhf(output[2][field])) / GRID;
    float width = logistic(output[3][field]), height = logistic(output[4][field]);
    object.x0 = x - width / 2;
    object.x1 = x + width / 2;
    object.y0 = y - height / 2;
    object.y1 = y + height / 2;
    return object;
}

static float area(const struct object *object) {
    return (object->x1 - object->x0) * (object->y1 - object->y0);
}

static float overlap(const struct object *one, const struct object *other) {
    float width = fminf(one->x1, other->x1) - fmaxf(one->x0, other->x0);
    float height = fminf(one->y1, other->y1) - fmaxf(one->y0, other->y0);
    if (width <= 0 || height <= 0) return 0;
    return width * height / (area(one) + area(other) - width * height);
}

/* Puts an object in its place by score; the least certain falls out where there is no room. */
static int insert(struct object *objects, int count, struct object object) {
    int at = count < OBJECTS_MAX ? count : OBJECTS_MAX;
    while (at > 0 && objects[at - 1].score < object.score) {
        if (at < OBJECTS_MAX) objects[at] = objects[at - 1];
        at--;
    }
    if (at < OBJECTS_MAX) objects[at] = object;
    return count < OBJECTS_MAX ? count + 1 : count;
}

/* Of objects that are nearly in the same place the most certain one stays. */
static int suppress(struct object *objects, int count) {
    int left = 0;
    for (int i = 0; i < count; i++) {
        int seen = 0;
        for (int k = 0; k < left && !seen; k++)
            seen = overlap(&objects[k], &objects[i]) > OVERLAP_MAX;
        if (!seen) objects[left++] = objects[i];
    }
    return left;
}

static int read_output(const struct picture *picture, struct object objects[OBJECTS_MAX]) {
    int count = 0;
    for (int field = 0; field < FIELDS; field++) {
        struct object object = object_at(field);
        if (object.score > SCORE_MIN) count = insert(objects, count, object);
    }
    count = suppress(objects, count);
    for (int i = 0; i < count; i++) {
        objects[i].x0 *= (float)picture->width;
        objects[i].x1 *= (float)picture->width;
        objects[i].y0 *= (float)picture->height;
        objects[i].y1 *= (float)picture->height;
    }
    return count;
}

const char *detector_find(const struct picture *picture, struct object objects[OBJECTS_MAX],
                          int *count) {
    static const uint32_t dimensions[4] = {1, 3, SIDE, SIDE};
    const struct wasi_nn_tensor tensor = {dimensions, 4, WASI_NN_F32, (const uint8_t *)input,
                                          sizeof input};
    uint32_t size;
    fill_input(picture);
    if (wasi_nn_set_input(context, 0, &tensor))
        return "the model takes other pictures than 1x3x352x352 of 32-bit floats";
    if (wasi_nn_compute(context)) return "the model cannot compute";
    if (wasi_nn_get_output(context, 0, output, sizeof output, &size) || size != sizeof output)
        return "the model answers otherwise than 1x85x22x22 of 32-bit floats";
    *count = read_output(picture, objects);
    return 0;
}
