/* How long two threads take for one thing of OpenMP: `omp_latency WHAT TIMES`, microseconds. */
#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static long counted;

/* An empty region; each thread is seen to have been in it. */
static double fork_join(int times) {
    int threads = omp_get_max_threads(), wrong = 0;
    struct { volatile int turn; char pad[60]; } *seen = calloc(threads, sizeof *seen);
    double start = 0;
    for (int time = -times / 10; time < times; time++) {
        if (time == 0) start = omp_get_wtime();
        #pragma omp parallel
        seen[omp_get_thread_num()].turn = time;
        wrong += seen[threads - 1].turn != time;
    }
    double seconds = omp_get_wtime() - start;
    free(seen);
    if (wrong) exit(1);
    return seconds / times;
}

/* Every thread counts under one lock; per entry of one thread. */
static double critical(int times) {
    int threads = omp_get_max_threads();
    double start = omp_get_wtime();
    #pragma omp parallel
    for (int time = 0; time < times; time++) {
        #pragma omp critical
        counted++;
    }
    double seconds = omp_get_wtime() - start;
    if (counted != (long)times * threads) exit(1);
    return seconds / times;
}

static double barrier(int times) {
    double start = omp_get_wtime();
    #pragma omp parallel
    for (int time = 0; time < times; time++) {
        #pragma omp barrier
    }
    return (omp_get_wtime() - start) / times;
}

/* Iterations dealt out one at a time; per iteration. */
static double dynamic(int times) {
    long long sum = 0;
    double start = omp_get_wtime();
    #pragma omp parallel for schedule(dynamic) reduction(+ : sum)
    for (int time = 0; time < times; time++) sum += time;
    double seconds = omp_get_wtime() - start;
    if (sum != (long long)times * (times - 1) / 2) exit(1);
    return seconds / times;
}

int main(int argc, char **argv) {
    const char *what = argc > 1 ? argv[1] : "fork";
    int times = argc > 2 ? atoi(argv[2]) : 10000;
    double seconds = strcmp(what, "critical") == 0  ? critical(times)
                     : strcmp(what, "barrier") == 0 ? barrier(times)
                     : strcmp(what, "dynamic") == 0 ? dynamic(times)
                                                    : fork_join(times);
    printf("%.4f\n", seconds * 1e6);
    return 0;
}
