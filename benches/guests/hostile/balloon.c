/* Takes all memory that it gets, and writes to all of it for ever. */
#include <stdlib.h>

#define STEP (1u << 20)
#define STEPS_MAX 65536u

static volatile unsigned char *taken[STEPS_MAX];

int main(void) {
    unsigned steps = 0;
    for (;;) {
        if (steps < STEPS_MAX && (taken[steps] = malloc(STEP))) steps++;
        for (unsigned step = 0; step < steps; step++) {
            for (unsigned at = 0; at < STEP; at += 4096) taken[step][at]++;
        }
    }
}
