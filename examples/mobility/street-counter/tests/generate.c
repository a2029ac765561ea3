/* Writes a made-up street as requests of the record protocol to standard output, and how many
 * objects crossed it to standard error:  generate SEED WIDTH HEIGHT
 *
 * The street is a textured plane with noise and slowly changing light. Figures of different size
 * and brightness cross it on lanes, in both directions, so that they meet and hide one another and
 * pass behind a pole; one stops for a while half-way, one is there from the first frame on. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FRAMES 480
#define FIGURES_MAX 16

struct figure {
    int start, speed; /* frame; 1/16 pixel per frame, negative to the left */
    int x, y, w, h;   /* x of its centre in 1/16 pixel at `start`, y of its head */
    int level, stop_from, stop_for;
};

static uint32_t state;

static int pick(int low, int high) {
    state = state * 1664525u + 1013904223u;
    return low + (int)((state >> 8) % (uint32_t)(high - low + 1));
}

static int figure_x(const struct figure *f, int frame) {
    int age = frame - f->start;
    if (age > f->stop_from)
        age = age < f->stop_from + f->stop_for ? f->stop_from : age - f->stop_for;
    return (f->x + age * f->speed) / 16;
}

/* An upright figure: a head on a body, with two legs. */
static void draw(uint8_t *picture, int width, int height, const struct figure *f, int frame) {
    int centre = figure_x(f, frame), step = (frame / 3) % 4;
    for (int y = 0; y < f->h; y++) {
        int half = y < f->h / 6 ? f->w / 5 : y < f->h * 3 / 5 ? f->w / 2 : f->w * (step + 4) / 16;
        for (int x = -half; x <= half; x++) {
            int at = centre + x, row = f->y + y;
            if (at < 0 || at >= width || row < 0 || row >= height) continue;
            if (y > f->h * 3 / 5 && step > 1 && abs(x) < half / 4) continue;
            picture[row * width + at] = (uint8_t)(f->level + (x * 3 + y) % 7);
        }
    }
}

static int street_level(int x, int y, int frame) {
    int texture = ((x * 7 + y * 13) % 17) - 8 + ((x / 24 + y / 16) % 2) * 10;
    int light = frame % 240 < 120 ? frame % 120 / 24 : 5 - frame % 120 / 24;
    return 128 + texture + light;
}

static void paint(uint8_t *picture, int width, int height, int frame) {
    for (int y = 0; y < height; y++)
        for (int x = 0; x < width; x++)
            picture[y * width + x] = (uint8_t)(street_level(x, y, frame) + pick(-3, 3));
}

static void paint_pole(uint8_t *picture, int width, int height) {
    for (int y = 0; y < height; y++)
        memset(picture + y * width + width / 3, 205, (size_t)width / 90);
}

static void put_u16(int value) {
    putchar(value & 255);
    putchar(value >> 8);
}

static void put_text(const char *text) {
    put_u16((int)strlen(text));
    fputs(text, stdout);
}

static void put_request(const uint8_t *picture, int width, int height) {
    char w[8], h[8];
    snprintf(w, sizeof w, "%d", width);
    snprintf(h, sizeof h, "%d", height);
    const char *headers[6] = {
        "content-type", "application/x-luminance", "x-width", w, "x-height", h};
    size_t size = 1 + 5 + 3 + 2 + (size_t)width * (size_t)height;
    for (int i = 0; i < 6; i++) size += 2 + strlen(headers[i]);
    put_u16((int)(size & 0xffff));
    put_u16((int)(size >> 16));
    fputs("\x01\x04POST", stdout);
    put_text("/");
    put_u16(3);
    for (int i = 0; i < 6; i++) put_text(headers[i]);
    fwrite(picture, 1, (size_t)width * (size_t)height, stdout);
}

/* Four lanes that overlap a little, each with one direction and speed: figures meet those of the
 * lanes beside theirs, and follow one another on their own. */
static int plan(struct figure *figures, int width, int height) {
    int count = pick(6, 10), speeds[4];
    for (int lane = 0; lane < 4; lane++)
        speeds[lane] = pick(width / 14, width / 9) * (lane % 2 ? -1 : 1);
    for (int i = 0; i < count; i++) {
        struct figure *f = &figures[i];
        int lane = i * 3 % 4, unit = height / 16;
        f->speed = speeds[lane];
        f->h = pick(3 * unit, 4 * unit);
        f->w = f->h * 2 / 5;
        f->y = height * (1 + 7 * lane) / 34 + pick(0, unit / 2);
        f->level = i % 2 ? pick(20, 60) : pick(195, 240);
        f->x = (f->speed < 0 ? width + f->w : -f->w) * 16;
        f->start = i == 0 ? 0 : 10 + i * pick(20, 26);
        f->stop_from = FRAMES;
        if (i == 0) f->x = width * 16 / 2;
        if (i == count - 1) { /* nobody comes behind it */
            f->stop_from = abs((width / 2) * 16 / f->speed);
            f->stop_for = 50;
        }
    }
    return count;
}

int main(int argc, char **argv) {
    static struct figure figures[FIGURES_MAX];
    if (argc != 4) return 2;
    state = (uint32_t)atoi(argv[1]);
    int width = atoi(argv[2]), height = atoi(argv[3]);
    uint8_t *picture = malloc((size_t)width * (size_t)height);
    if (!picture || width < 64 || height < 64 || width > 4096 || height > 4096) return 2;
    int count = plan(figures, width, height);
    for (int frame = 0; frame < FRAMES; frame++) {
        paint(picture, width, height, frame);
        for (int i = 0; i < count; i++)
            if (frame >= figures[i].start) draw(picture, width, height, &figures[i], frame);
        paint_pole(picture, width, height);
        put_request(picture, width, height);
    }
    fprintf(stderr, "%d\n", count);
    free(picture);
    return 0;
}
