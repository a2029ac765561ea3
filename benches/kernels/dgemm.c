/* Products of two square matrices in tiles, added up; a checkpoint after each row of tiles. */
#include "timing.h"

#define SIDE 640
#define TILE 64
#define PRODUCTS 2

static double a[SIDE][SIDE], b[SIDE][SIDE], c[SIDE][SIDE];

static void multiply_tile(int i0, int k0, int j0) {
    for (int i = i0; i < i0 + TILE; i++) {
        for (int k = k0; k < k0 + TILE; k++) {
            double factor = a[i][k];
            for (int j = j0; j < j0 + TILE; j++) c[i][j] += factor * b[k][j];
        }
    }
}

int main(void) {
    for (int i = 0; i < SIDE; i++) {
        for (int j = 0; j < SIDE; j++) {
            a[i][j] = (double)((i * 7 + j) % 13);
            b[i][j] = (double)((i + j * 5) % 11);
        }
    }
    long long started = now();
    for (int n = 0; n < PRODUCTS; n++) {
        for (int i = 0; i < SIDE; i += TILE) {
            for (int k = 0; k < SIDE; k += TILE) {
                for (int j = 0; j < SIDE; j += TILE) multiply_tile(i, k, j);
            }
            cloudskin_checkpoint();
        }
    }
    double sum = 0;
    for (int i = 0; i < SIDE; i++) sum += c[i][(i * 31) % SIDE];
    return report(started, sum);
}
