/* Tells what a camera sees. A service cell: a frame in, the objects out.
 *
 *   POST /    a frame, image/jpeg. Answers {"frame":N,"counts":{"car":2},"boxes":[{"box":
 *             [x,y,w,h],"class":"car","score":0.81},...]}, boxes in pixels, the most certain first.
 *   GET /     the same of the last frame.
 *   DELETE /  forgets it and starts to count anew.
 *
 * What is malformed is answered with what is wrong, and changes nothing. */
#include <cloudskin/record.h>

#include "detector.h"

static const char *without_model; /* why there is none */
static unsigned frames;
static struct object objects[OBJECTS_MAX];
static int object_count;

/* ---- text ---- */

/* Room for the longest answer. */
static struct {
    char text[OBJECTS_MAX * 160 + 1024];
    size_t size;
} out;

static void put(const char *text) {
    size_t size = strlen(text);
    if (size > sizeof out.text - out.size) size = sizeof out.text - out.size;
    memcpy(out.text + out.size, text, size);
    out.size += size;
}

static void put_number(int value) {
    char digits[12];
    int at = 11;
    unsigned left = value < 0 ? 0u - (unsigned)value : (unsigned)value;
    digits[at] = 0;
    do {
        digits[--at] = (char)('0' + left % 10);
        left /= 10;
    } while (left);
    if (value < 0) digits[--at] = '-';
    put(digits + at);
}

static int rounded(float value) { return (int)(value < 0 ? value - 0.5f : value + 0.5f); }

static void put_object(const struct object *object) {
    int x = rounded(object->x0), y = rounded(object->y0);
    int score = rounded(object->score * 100);
    put("{\"box\":[");
    put_number(x);
    put(",");
    put_number(y);
    put(",");
    put_number(rounded(object->x1) - x);
    put(",");
    put_number(rounded(object->y1) - y);
    put("],\"class\":\"");
    put(kind_name(object->kind));
    put(score < 100 ? "\",\"score\":0." : "\",\"score\":1.");
    put_number(score / 10 % 10);
    put_number(score % 10);
    put("}");
}

static void put_counts(void) {
    int counts[KINDS] = {0}, first = 1;
    for (int i = 0; i < object_count; i++) counts[objects[i].kind]++;
    for (int kind = 0; kind < KINDS; kind++) {
        if (!counts[kind]) continue;
        put(first ? "\"" : ",\"");
        put(kind_name(kind));
        put("\":");
        put_number(counts[kind]);
        first = 0;
    }
}

static int answer_objects(void) {
    out.size = 0;
    put("{\"frame\":");
    put_number((int)frames);
    put(",\"counts\":{");
    put_counts();
    put("},\"boxes\":[");
    for (int i = 0; i < object_count; i++) {
        if (i) put(",");
        put_object(&objects[i]);
    }
    put("]}\n");
    return cs_answer(200, "application/json", out.text, out.size);
}

/* ---- requests ---- */

static int refuse(int status, const char *reason) {
    out.size = 0;
    put(reason);
    put("\n");
    return cs_answer(status, "text/plain; charset=utf-8", out.text, out.size);
}

static int answer_frame(const struct cs_request *request) {
    struct picture picture;
    struct object found[OBJECTS_MAX];
    int count = 0;
    if (without_model) return refuse(503, without_model);
    if (request->body_size == 0) return refuse(400, "a frame is missing: the body is empty");
    const char *error = jpeg_colour(request->body, request->body_size, &picture);
    if (error) return refuse(400, error);
    error = detector_find(&picture, found, &count);
    if (error) return refuse(503, error);
    memcpy(objects, found, sizeof objects);
    object_count = count;
    frames++;
    return answer_objects();
}

static int answer(const struct cs_request *request) {
    struct cs_text path = request->path;
    if (path.size < 1 || path.data[0] != '/' || (path.size > 1 && path.data[1] != '?'))
        return refuse(404, "there is only /");
    if (cs_is(request->method, "POST")) return answer_frame(request);
    if (cs_is(request->method, "DELETE")) {
        frames = 0;
        object_count = 0;
    } else if (!cs_is(request->method, "GET") && !cs_is(request->method, "HEAD")) {
        return refuse(405, "POST a frame, GET what was seen last, or DELETE to start over");
    }
    return answer_objects();
}

int main(void) {
    struct cs_request request;
    int more;
    without_model = detector_load();
    while ((more = cs_next(&request)) > 0)
        if (answer(&request) < 0) return 1;
    return more < 0;
}
