/* Bodies that attract each other, all pairs, by leapfrog; a checkpoint after each step. */
#include "timing.h"
#include <math.h>

#define BODIES 1024
#define STEPS 16
#define STEP 1e-3
#define SOFTENING 1e-4

static double position[3][BODIES], velocity[3][BODIES], mass[BODIES];

static void accelerate(int i) {
    double x = position[0][i], y = position[1][i], z = position[2][i];
    double ax = 0, ay = 0, az = 0;
    for (int j = 0; j < BODIES; j++) {
        double dx = position[0][j] - x, dy = position[1][j] - y, dz = position[2][j] - z;
        double square = dx * dx + dy * dy + dz * dz + SOFTENING;
        double pull = mass[j] / (square * sqrt(square));
        ax += dx * pull;
        ay += dy * pull;
        az += dz * pull;
    }
    velocity[0][i] += STEP * ax;
    velocity[1][i] += STEP * ay;
    velocity[2][i] += STEP * az;
}

int main(void) {
    unsigned state = 1;
    for (int i = 0; i < BODIES; i++) {
        for (int axis = 0; axis < 3; axis++) {
            state = state * 1664525u + 1013904223u;
            position[axis][i] = (double)(state >> 8) / (1 << 24);
        }
        mass[i] = 1.0 / BODIES;
    }
    long long started = now();
    for (int n = 0; n < STEPS; n++) {
        for (int i = 0; i < BODIES; i++) accelerate(i);
        for (int axis = 0; axis < 3; axis++) {
            for (int i = 0; i < BODIES; i++) position[axis][i] += STEP * velocity[axis][i];
        }
        cloudskin_checkpoint();
    }
    double energy = 0;
    for (int i = 0; i < BODIES; i++) {
        for (int axis = 0; axis < 3; axis++) {
            energy += mass[i] * velocity[axis][i] * velocity[axis][i];
        }
    }
    return report(started, energy);
}
