/* What regions, barriers and tasks cost on libomp: see regions.rs, which does the same. */
#include <omp.h>
#include <stdio.h>
#include <stdlib.h>

enum { TREE_DEPTH = 12, TASKS = 2000, TIMES = 1000, KINDS = 4 };

static void nothing(void) { __asm__ volatile("" ::: "memory"); }

static void tree(int depth, unsigned *out) {
    if (depth == 0) {
        *out = 1;
        return;
    }
    unsigned sums[2];
    #pragma omp task shared(sums)
    tree(depth - 1, &sums[0]);
    #pragma omp task shared(sums)
    tree(depth - 1, &sums[1]);
    #pragma omp taskwait
    *out = sums[0] + sums[1];
}

static void measure(double *times) {
    double start = omp_get_wtime();
    for (int time = 0; time < TIMES; time++) {
        #pragma omp parallel
        nothing();
    }
    times[0] = (omp_get_wtime() - start) / TIMES;

    start = omp_get_wtime();
    #pragma omp parallel
    for (int time = 0; time < TIMES; time++) {
        #pragma omp barrier
    }
    times[1] = (omp_get_wtime() - start) / TIMES;

    start = omp_get_wtime();
    #pragma omp parallel
    #pragma omp single
    for (int task = 0; task < TASKS; task++) {
        #pragma omp task
        nothing();
    }
    times[2] = (omp_get_wtime() - start) / TASKS;

    unsigned sum = 0;
    start = omp_get_wtime();
    #pragma omp parallel
    #pragma omp single
    tree(TREE_DEPTH, &sum);
    times[3] = (omp_get_wtime() - start) / ((2 << TREE_DEPTH) - 2);
    if (sum != 1 << TREE_DEPTH) exit(1);
}

static int compare(const void *one, const void *other) {
    double difference = *(const double *)one - *(const double *)other;
    return (difference > 0) - (difference < 0);
}

int main(int argc, char **argv) {
    int threads = argc > 1 ? atoi(argv[1]) : 2, rounds = argc > 2 ? atoi(argv[2]) : 100;
    static const char *kinds[KINDS] = {"fork", "barrier", "task", "tree"};
    double *times[KINDS], round[KINDS];
    omp_set_num_threads(threads);
    for (int kind = 0; kind < KINDS; kind++) times[kind] = calloc(rounds, sizeof(double));
    measure(round);
    for (int number = 0; number < rounds; number++) {
        measure(round);
        for (int kind = 0; kind < KINDS; kind++) times[kind][number] = round[kind];
    }
    for (int kind = 0; kind < KINDS; kind++) {
        qsort(times[kind], rounds, sizeof(double), compare);
        printf("%-8s%9.1f ns, a tenth below %9.1f ns\n", kinds[kind],
               times[kind][rounds / 2] * 1e9, times[kind][rounds / 10] * 1e9);
    }
    FILE *load = fopen("/proc/loadavg", "r");
    char line[80] = "";
    if (load && fgets(line, sizeof line, load)) printf("%d threads, load %s", threads, line);
    return 0;
}
