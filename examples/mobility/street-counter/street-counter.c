/* Counts what moves before a street camera. A service cell: a frame in, the objects out.
 *
 *   POST /    a frame: image/jpeg; image/x-portable-graymap (P5); or application/x-luminance with
 *             x-width and x-height. Answers {"frame":N,"count":C,"boxes":[[x,y,w,h,id],...]}.
 *   GET /     the totals, as JSON or (Accept: text/html) as a page.
 *   DELETE /  forgets everything.
 *
 * What is malformed is answered with what is wrong, and changes nothing. */
#include <cloudskin/record.h>

#include "tracker.h"

static struct {
    unsigned width, height; /* of all frames; 0 before the first */
    unsigned frames;        /* that were taken */
    struct object objects[TRACKS_MAX];
    int object_count;
} street;

/* ---- text ---- */

/* Room for the longest answer: TRACKS_MAX boxes of five numbers, or the page. */
static struct {
    char text[TRACKS_MAX * 60 + 1024];
    size_t size;
} out;

static void put(const char *text) {
    size_t size = strlen(text);
    if (size > sizeof out.text - out.size) size = sizeof out.text - out.size;
    memcpy(out.text + out.size, text, size);
    out.size += size;
}

static void put_number(unsigned value) {
    char digits[12];
    int at = 11;
    digits[at] = 0;
    do {
        digits[--at] = (char)('0' + value % 10);
        value /= 10;
    } while (value);
    put(digits + at);
}

static void put_totals(void) {
    put("{\"frame\":");
    put_number(street.frames);
    put(",\"count\":");
    put_number((unsigned)tracker_count());
}

static void put_boxes(void) {
    put(",\"boxes\":[");
    for (int i = 0; i < street.object_count; i++) {
        const struct object *object = &street.objects[i];
        const int values[5] = {object->box.x0, object->box.y0, object->box.x1 - object->box.x0,
                               object->box.y1 - object->box.y0, object->id};
        put(i ? ",[" : "[");
        for (int k = 0; k < 5; k++) {
            if (k) put(",");
            put_number((unsigned)values[k]);
        }
        put("]");
    }
    put("]");
}

static void put_page(void) {
    put("<!doctype html><html lang=\"en\"><meta charset=\"utf-8\">"
        "<meta http-equiv=\"refresh\" content=\"1\"><title>street-counter</title>"
        "<body style=\"font:18px sans-serif;margin:2em\"><h1>street-counter</h1><p><b>");
    put_number((unsigned)tracker_count());
    put("</b> moving objects in <b>");
    put_number(street.frames);
    put("</b> frames; <b>");
    put_number((unsigned)street.object_count);
    put("</b> in the picture now.</p></body></html>\n");
}

/* The number that is all of `text`, up to 9999; -1 when it is none. */
static int number(struct cs_text text) {
    int value = 0;
    if (text.size < 1 || text.size > 4) return -1;
    for (size_t i = 0; i < text.size; i++) {
        if (text.data[i] < '0' || text.data[i] > '9') return -1;
        value = value * 10 + (text.data[i] - '0');
    }
    return value;
}

static char lower(char c) { return (char)(c >= 'A' && c <= 'Z' ? c + 32 : c); }

static int contains(struct cs_text text, const char *word) {
    size_t size = strlen(word);
    for (size_t i = 0; i + size <= text.size; i++)
        if (memcmp(text.data + i, word, size) == 0) return 1;
    return 0;
}

/* Whether a content type is `type`, whatever parameters follow. */
static int is_type(struct cs_text value, const char *type) {
    size_t size = strlen(type), i = 0;
    while (i < size && i < value.size && lower(value.data[i]) == type[i]) i++;
    return i == size && (value.size == size || value.data[size] == ';' || value.data[size] == ' ');
}

/* ---- frames ---- */

static const char *check_size(unsigned width, unsigned height) {
    if (width < FRAME_MIN_SIDE || height < FRAME_MIN_SIDE || width > FRAME_MAX_SIDE ||
        height > FRAME_MAX_SIDE || width * height > FRAME_MAX_PIXELS)
        return "a frame is from 32x32 to 4096x4096, at most 4 megapixels";
    return 0;
}

static const char *raw_luminance(const struct cs_request *request, struct plane *plane) {
    int width = number(cs_header(request, "x-width"));
    int height = number(cs_header(request, "x-height"));
    if (width < 0 || height < 0)
        return "application/x-luminance needs x-width and x-height, in pixels";
    const char *error = check_size((unsigned)width, (unsigned)height);
    if (error) return error;
    if (request->body_size != (size_t)width * (size_t)height)
        return "the body is not x-width times x-height bytes";
    plane->pixels = request->body;
    plane->width = plane->stride = (unsigned)width;
    plane->height = (unsigned)height;
    return 0;
}

/* A number of a PGM header, behind white space and comments; -1 when there is none. */
static int pgm_number(const struct cs_request *request, size_t *at) {
    const char *text = (const char *)request->body;
    size_t i = *at, size = request->body_size;
    while (i < size && (text[i] == '#' || text[i] == ' ' || (text[i] >= '\t' && text[i] <= '\r'))) {
        if (text[i] == '#')
            while (i < size && text[i] != '\n') i++;
        else
            i++;
    }
    struct cs_text digits = {text + i, 0};
    while (i < size && text[i] >= '0' && text[i] <= '9') {
        digits.size++;
        i++;
    }
    *at = i;
    return number(digits);
}

static const char *pgm(const struct cs_request *request, struct plane *plane) {
    size_t at = 2;
    if (request->body_size < 2 || memcmp(request->body, "P5", 2) != 0)
        return "the body is not a binary graymap (P5)";
    int width = pgm_number(request, &at), height = pgm_number(request, &at);
    int levels = pgm_number(request, &at);
    if (width < 0 || height < 0 || levels != 255)
        return "the graymap needs width, height and 255 as its largest level";
    const char *error = check_size((unsigned)width, (unsigned)height);
    if (error) return error;
    at++; /* one white space ends the header */
    if (at > request->body_size || request->body_size - at != (size_t)width * (size_t)height)
        return "the graymap is not width times height bytes";
    plane->pixels = request->body + at;
    plane->width = plane->stride = (unsigned)width;
    plane->height = (unsigned)height;
    return 0;
}

/* Boxes in the frame's own pixels. */
static void remember_objects(struct working size) {
    int factor = (int)size.factor;
    street.object_count = tracker_objects(street.objects);
    for (int i = 0; i < street.object_count; i++) {
        struct box *box = &street.objects[i].box;
        box->x0 *= factor;
        box->y0 *= factor;
        box->x1 *= factor;
        box->y1 *= factor;
    }
}

static void take_frame(const struct plane *plane) {
    static struct blob blobs[BLOBS_MAX];
    struct box known[TRACKS_MAX];
    struct working size = working_size(plane->width, plane->height);
    street.width = plane->width;
    street.height = plane->height;
    street.frames++;
    int known_count = tracker_boxes(known, size);
    int count = background_update(plane, size, known, known_count, blobs);
    tracker_update(blobs, count, size);
    remember_objects(size);
}

/* ---- requests ---- */

static int refuse(int status, const char *reason) {
    out.size = 0;
    put(reason);
    put("\n");
    return cs_answer(status, "text/plain; charset=utf-8", out.text, out.size);
}

static int answer_frame(const struct cs_request *request) {
    struct cs_text type = cs_header(request, "content-type");
    struct plane plane;
    const char *error;
    if (request->body_size == 0) return refuse(400, "a frame is missing: the body is empty");
    if (is_type(type, "application/x-luminance")) error = raw_luminance(request, &plane);
    else if (is_type(type, "image/x-portable-graymap")) error = pgm(request, &plane);
    else if (is_type(type, "image/png") || is_type(type, "image/webp") ||
             is_type(type, "video/mp4"))
        return refuse(415, "send image/jpeg, image/x-portable-graymap or application/x-luminance");
    else error = jpeg_luminance(request->body, request->body_size, &plane); /* whatever curl says */
    if (error) return refuse(400, error);
    if (street.frames && (plane.width != street.width || plane.height != street.height))
        return refuse(409, "this frame is not of the size of those before; DELETE / starts over");
    take_frame(&plane);
    out.size = 0;
    put_totals();
    put_boxes();
    put("}\n");
    return cs_answer(200, "application/json", out.text, out.size);
}

static int answer_totals(const struct cs_request *request) {
    int page = contains(cs_header(request, "accept"), "text/html");
    out.size = 0;
    if (page) {
        put_page();
    } else {
        put_totals();
        put_boxes();
        put("}\n");
    }
    const char *type = page ? "text/html; charset=utf-8" : "application/json";
    return cs_answer(200, type, out.text, out.size);
}

static int forget(const struct cs_request *request) {
    background_reset();
    tracker_reset();
    memset(&street, 0, sizeof street);
    return answer_totals(request);
}

static int answer(const struct cs_request *request) {
    struct cs_text path = request->path;
    if (path.size < 1 || path.data[0] != '/' || (path.size > 1 && path.data[1] != '?'))
        return refuse(404, "there is only /");
    if (cs_is(request->method, "POST")) return answer_frame(request);
    if (cs_is(request->method, "GET") || cs_is(request->method, "HEAD"))
        return answer_totals(request);
    if (cs_is(request->method, "DELETE")) return forget(request);
    return refuse(405, "POST a frame, GET the totals, or DELETE to start over");
}

int main(void) {
    struct cs_request request;
    int more;
    while ((more = cs_next(&request)) > 0)
        if (answer(&request) < 0) return 1;
    return more < 0;
}
