/* Blurs grey images: images UNIT COUNT FRAMES reads /in/N.pgm and writes /out/UNIT-N.pgm. */
#include <stdio.h>
#include <stdlib.h>

struct image {
    int width, height;
    unsigned char *points;
};

static int read_image(const char *path, struct image *image) {
    FILE *file = fopen(path, "rb");
    if (!file) return 0;
    int most, good = fscanf(file, "P5 %d %d %d", &image->width, &image->height, &most) == 3;
    good = good && fgetc(file) != EOF && image->width > 2 && image->height > 2;
    size_t size = good ? (size_t)image->width * (size_t)image->height : 0;
    image->points = realloc(image->points, size + 1);
    good = good && image->points && fread(image->points, 1, size, file) == size;
    fclose(file);
    return good;
}

static int write_image(const char *path, const struct image *image) {
    FILE *file = fopen(path, "wb");
    if (!file) return 0;
    size_t size = (size_t)image->width * (size_t)image->height;
    int good = fprintf(file, "P5\n%d %d\n255\n", image->width, image->height) > 0;
    good = good && fwrite(image->points, 1, size, file) == size;
    return fclose(file) == 0 && good;
}

/* The mean of each point and its eight neighbours; the border stays. */
static void blur(const struct image *from, struct image *to) {
    int width = from->width, height = from->height;
    for (int x = 0; x < width; x++) {
        to->points[x] = from->points[x];
        to->points[(height - 1) * width + x] = from->points[(height - 1) * width + x];
    }
    for (int y = 1; y < height - 1; y++) {
        const unsigned char *above = from->points + (y - 1) * width;
        const unsigned char *at = above + width, *below = at + width;
        unsigned char *out = to->points + y * width;
        out[0] = at[0];
        out[width - 1] = at[width - 1];
        for (int x = 1; x < width - 1; x++) {
            int sum = above[x - 1] + above[x] + above[x + 1] + at[x - 1] + at[x] + at[x + 1] +
                      below[x - 1] + below[x] + below[x + 1];
            out[x] = (unsigned char)(sum / 9);
        }
    }
}

int main(int count, char **arguments) {
    if (count != 4) return 2;
    int images = atoi(arguments[2]), frames = atoi(arguments[3]);
    struct image from = {0, 0, NULL}, to = {0, 0, NULL};
    char path[64];
    for (int image = 0; image < images; image++) {
        snprintf(path, sizeof path, "/in/%d.pgm", image % frames);
        if (!read_image(path, &from)) return fprintf(stderr, "cannot read %s\n", path), 1;
        to.width = from.width;
        to.height = from.height;
        to.points = realloc(to.points, (size_t)to.width * (size_t)to.height);
        if (!to.points) return 1;
        blur(&from, &to);
        snprintf(path, sizeof path, "/out/%s-%d.pgm", arguments[1], image);
        if (!write_image(path, &to)) return fprintf(stderr, "cannot write %s\n", path), 1;
    }
    return 0;
}
