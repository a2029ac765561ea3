/* A star-shaped stencil of radius 2 over a square grid; its input grows by one each time. */
#include "kernel.h"

#define RADIUS 2

static double weight(int distance) { return 1.0 / (2.0 * distance * RADIUS); }

int main(int argc, char **argv) {
    begin(&argc, &argv);
    int n = argument(argc, argv, 1, 1000), times = argument(argc, argv, 2, 10);
    int low = first_of(n, rank), high = first_of(n, rank + 1), rows = high - low;
    /* Rows of the neighbours above and below. */
    double *in = room(sizeof *in * n * (rows + 2 * RADIUS)), *out = room(sizeof *out * n * rows);
    double *mine = in + RADIUS * n;
#pragma omp parallel for
    for (int i = 0; i < rows; i++)
        for (int j = 0; j < n; j++) mine[i * n + j] = low + i + j, out[i * n + j] = 0;
    double seconds = 0;
    for (int time = 0; time <= times; time++) {
        /* The first time warms up. */
        if (time == 1) together(), seconds = now();
#ifdef USE_MPI
        int above = rank > 0 ? rank - 1 : MPI_PROC_NULL;
        int below = rank + 1 < ranks ? rank + 1 : MPI_PROC_NULL, part = RADIUS * n;
        MPI_Sendrecv(mine, part, MPI_DOUBLE, above, 1, mine + rows * n, part, MPI_DOUBLE, below, 1,
                     MPI_COMM_WORLD, MPI_STATUS_IGNORE);
        MPI_Sendrecv(mine + rows * n - part, part, MPI_DOUBLE, below, 2, in, part, MPI_DOUBLE,
                     above, 2, MPI_COMM_WORLD, MPI_STATUS_IGNORE);
#endif
        int from = low < RADIUS ? RADIUS : low, to = high > n - RADIUS ? n - RADIUS : high;
#pragma omp parallel for
        for (int i = from - low; i < to - low; i++)
            for (int j = RADIUS; j < n - RADIUS; j++) {
                double sum = 0;
                for (int k = 1; k <= RADIUS; k++)
                    sum += weight(k) * (mine[i * n + j + k] - mine[i * n + j - k] +
                                        mine[(i + k) * n + j] - mine[(i - k) * n + j]);
                out[i * n + j] += sum;
            }
#pragma omp parallel for
        for (int i = 0; i < rows * n; i++) mine[i] += 1;
    }
    seconds = now() - seconds;
    double sum = 0;
    for (int i = 0; i < rows; i++)
        for (int j = 0; j < n; j++) sum += fabs(out[i * n + j]);
    double inner = (double)(n - 2 * RADIUS) * (n - 2 * RADIUS), norm = total(sum) / inner;
    free(in), free(out);
    return end("stencil", seconds, times, fabs(norm - 2.0 * (times + 1)) < 1e-8);
}
