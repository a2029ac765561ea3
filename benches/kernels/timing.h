/* What the kernels share: they time themselves, and print a result so that none is left out. */
#ifndef TIMING_H
#define TIMING_H

#include <cloudskin/cloudskin.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

static inline long long now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (long long)time.tv_sec * 1000000000 + time.tv_nsec;
}

static inline int report(long long started, double result) {
    printf("%lld %.17g\n", now() - started, result);
    return 0;
}

#endif
