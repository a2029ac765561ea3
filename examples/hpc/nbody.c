/* Gravity among bodies, every pair in every step; energy and momentum are kept. */
#include "kernel.h"

#define SOFT 0.01

static int n;
static double *place, *speed, *mass;

static double energy(int low, int high) {
    double sum = 0;
    for (int i = low; i < high; i++) {
        for (int k = 0; k < 3; k++) sum += 0.5 * mass[i] * speed[3 * i + k] * speed[3 * i + k];
        for (int j = 0; j < n; j++) {
            if (j == i) continue;
            double square = SOFT;
            for (int k = 0; k < 3; k++) {
                double apart = place[3 * j + k] - place[3 * i + k];
                square += apart * apart;
            }
            sum -= 0.5 * mass[i] * mass[j] / sqrt(square);
        }
    }
    return total(sum);
}

static void share(double *all) {
#ifdef USE_MPI
    int *counts = room(sizeof(int) * ranks), *firsts = room(sizeof(int) * ranks);
    for (int i = 0; i < ranks; i++)
        firsts[i] = 3 * first_of(n, i), counts[i] = 3 * first_of(n, i + 1) - firsts[i];
    MPI_Allgatherv(MPI_IN_PLACE, 0, MPI_DATATYPE_NULL, all, counts, firsts, MPI_DOUBLE,
                   MPI_COMM_WORLD);
    free(counts), free(firsts);
#else
    (void)all;
#endif
}

int main(int argc, char **argv) {
    begin(&argc, &argv);
    n = argument(argc, argv, 1, 1000);
    int times = argument(argc, argv, 2, 10), low = first_of(n, rank), high = first_of(n, rank + 1);
    double step = 1e-4;
    place = room(sizeof(double) * 3 * n), speed = room(sizeof(double) * 3 * n);
    mass = room(sizeof(double) * n);
    unsigned seed = 12345;
    for (int i = 0; i < n; i++) {
        mass[i] = 1.0 / n;
        for (int k = 0; k < 3; k++) {
            seed = seed * 1664525u + 1013904223u, place[3 * i + k] = seed / 4294967296.0 - 0.5;
            seed = seed * 1664525u + 1013904223u, speed[3 * i + k] = seed / 4294967296.0 - 0.5;
        }
    }
    double before = energy(low, high), seconds = 0;
    for (int time = 0; time <= times; time++) {
        if (time == 1) together(), seconds = now();
#pragma omp parallel for schedule(guided)
        for (int i = low; i < high; i++) {
            double pull[3] = {0, 0, 0};
            for (int j = 0; j < n; j++) {
                double x = place[3 * j] - place[3 * i], y = place[3 * j + 1] - place[3 * i + 1];
                double z = place[3 * j + 2] - place[3 * i + 2], square = x * x + y * y + z * z + SOFT;
                double factor = mass[j] / (square * sqrt(square));
                pull[0] += factor * x, pull[1] += factor * y, pull[2] += factor * z;
            }
            for (int k = 0; k < 3; k++) speed[3 * i + k] += step * pull[k];
        }
        for (int i = 3 * low; i < 3 * high; i++) place[i] += step * speed[i];
        share(place);
    }
    seconds = now() - seconds;
    share(speed);
    double after = energy(low, high), momentum = 0;
    for (int i = 0; i < n; i++) momentum += mass[i] * speed[3 * i];
    seed = 12345;
    for (int i = 0; i < n; i++)
        for (int k = 0; k < 6; k++) {
            seed = seed * 1664525u + 1013904223u;
            if (k == 1) momentum -= mass[i] * (seed / 4294967296.0 - 0.5);
        }
    int right = fabs(after - before) < 1e-3 * fabs(before) && fabs(momentum) < 1e-9;
    return end("nbody", seconds, times, right);
}
