/* Jacobi relaxation with five points on a square grid; a checkpoint after each sweep. */
#include "timing.h"

#define SIDE 768
#define SWEEPS 300

static double grids[2][SIDE][SIDE];

static void sweep(double (*restrict to)[SIDE], double (*restrict from)[SIDE]) {
    for (int i = 1; i < SIDE - 1; i++) {
        for (int j = 1; j < SIDE - 1; j++) {
            to[i][j] = 0.25 * (from[i - 1][j] + from[i + 1][j] + from[i][j - 1] + from[i][j + 1]);
        }
    }
}

int main(void) {
    for (int i = 0; i < SIDE; i++) grids[0][i][0] = grids[1][i][0] = 100.0;
    long long started = now();
    for (int n = 0; n < SWEEPS; n++) {
        sweep(grids[(n + 1) & 1], grids[n & 1]);
        cloudskin_checkpoint();
    }
    double sum = 0;
    for (int i = 0; i < SIDE; i++) {
        for (int j = 0; j < SIDE; j++) sum += grids[SWEEPS & 1][i][j];
    }
    return report(started, sum);
}
