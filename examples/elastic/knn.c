/* Which images are most like this one: nearest neighbours among feature vectors.

   `knn IMAGES SECONDS [ANSWERS]` searches as many images a second as its processors allow, and says
   every half second how many these were; before that, it says so many answers. Each search is one parallel region, so that a processor that is
   granted or taken away counts from the next search on. The answers are checked: images are made
   in families, and the neighbours of one must be its own. */
#include <limits.h>
#include <omp.h>
#include <stdio.h>
#include <stdlib.h>

enum { FEATURES = 64, FAMILIES = 64, NEAREST = 8 };

typedef struct { float distance; int image; } Hit;

static unsigned state = 2026;

static float noise(void) {
    state = state * 1664525u + 1013904223u;
    return (float)(state >> 8) / (1 << 24) - 0.5f;
}

/* Of two images at the same distance, the first: the answer does not depend on who found which. */
static int nearer(Hit one, Hit other) {
    return one.distance < other.distance || (one.distance == other.distance && one.image < other.image);
}

/* Keeps the nearest hits, nearest first. */
static void keep(Hit *hits, Hit hit) {
    if (!nearer(hit, hits[NEAREST - 1])) return;
    int at = NEAREST - 1;
    for (; at > 0 && nearer(hit, hits[at - 1]); at--) hits[at] = hits[at - 1];
    hits[at] = hit;
}

static void forget(Hit *hits) {
    for (int at = 0; at < NEAREST; at++) hits[at] = (Hit){1e30f, INT_MAX};
}

/* The next image to look for. */
static int following(int wanted, int images) { return (wanted + 7919) % images; }

/* The images nearest to this one; gives how many threads looked. */
static int search(const float (*all)[FEATURES], int images, const float *wanted, Hit *best) {
    int threads = 1;
    forget(best);
    #pragma omp parallel
    {
        Hit mine[NEAREST];
        forget(mine);
        #pragma omp single nowait
        threads = omp_get_num_threads();
        #pragma omp for schedule(static) nowait
        for (int image = 0; image < images; image++) {
            float distance = 0;
            for (int feature = 0; feature < FEATURES; feature++) {
                float difference = all[image][feature] - wanted[feature];
                distance += difference * difference;
            }
            keep(mine, (Hit){distance, image});
        }
        #pragma omp critical
        for (int at = 0; at < NEAREST; at++) keep(best, mine[at]);
    }
    return threads;
}

int main(int argc, char **argv) {
    int images = argc > 1 ? atoi(argv[1]) : 50000;
    double seconds = argc > 2 ? atof(argv[2]) : 10;
    float(*all)[FEATURES] = malloc(sizeof *all * images), (*centre)[FEATURES];
    centre = malloc(sizeof *centre * FAMILIES);
    if (!all || !centre || images < FAMILIES * NEAREST) return fprintf(stderr, "%d images\n", images), 2;
    for (int family = 0; family < FAMILIES; family++)
        for (int feature = 0; feature < FEATURES; feature++) centre[family][feature] = 4 * noise();
    for (int image = 0; image < images; image++)
        for (int feature = 0; feature < FEATURES; feature++)
            all[image][feature] = centre[image % FAMILIES][feature] + noise();

    int answers = argc > 3 ? atoi(argv[3]) : 0;
    for (int wanted = 0; answers > 0; answers--, wanted = following(wanted, images)) {
        Hit best[NEAREST];
        search((const float(*)[FEATURES])all, images, all[wanted], best);
        printf("%d:", wanted);
        for (int at = 0; at < NEAREST; at++) printf(" %d", best[at].image);
        printf("\n");
    }

    double begun = omp_get_wtime(), told = begun;
    long searches = 0;
    double threads = 0;
    for (int wanted = 0; omp_get_wtime() - begun < seconds; wanted = following(wanted, images)) {
        Hit best[NEAREST];
        threads += search((const float(*)[FEATURES])all, images, all[wanted], best);
        searches++;
        if (best[0].image != wanted) return fprintf(stderr, "%d is not itself\n", wanted), 1;
        for (int at = 0; at < NEAREST; at++)
            if (best[at].image % FAMILIES != wanted % FAMILIES)
                return fprintf(stderr, "%d is not of the family of %d\n", best[at].image, wanted), 1;
        double now = omp_get_wtime();
        if (now - told < 0.5) continue;
        printf("%5.1f s  %9.0f images/s  %.1f threads\n", now - begun,
               searches * (double)images / (now - told), threads / searches);
        fflush(stdout);
        told = now, searches = 0, threads = 0;
    }
    return 0;
}
