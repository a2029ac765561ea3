/* B += transposed A, in tiles; each rank has a block of columns. */
#include "kernel.h"

#define TILE 32

int main(int argc, char **argv) {
    begin(&argc, &argv);
    int n = argument(argc, argv, 1, 1024), times = argument(argc, argv, 2, 10);
    if (n % ranks) {
        if (rank == 0) fprintf(stderr, "%d rows cannot be shared evenly by %d ranks\n", n, ranks);
        return end("transpose", 0, 1, 0);
    }
    int columns = n / ranks, first = rank * columns;
    /* Column-major: element (i, j) of the own columns lies at i + n * j. */
    size_t bytes = sizeof(double) * n * columns;
    double *a = room(bytes), *b = room(bytes), *out = room(bytes), *in = room(bytes);
#pragma omp parallel for
    for (int j = 0; j < columns; j++)
        for (int i = 0; i < n; i++) a[i + n * j] = (double)n * (j + first) + i, b[i + n * j] = 0;
    double seconds = 0;
    for (int time = 0; time <= times; time++) {
        if (time == 1) together(), seconds = now();
        for (int block = 0; block < ranks; block++) {
            double *to = ranks == 1 ? in : out + (size_t)block * columns * columns;
            double *from = a + block * columns;
#pragma omp parallel for
            for (int jt = 0; jt < columns; jt += TILE)
                for (int it = 0; it < columns; it += TILE)
                    for (int j = jt; j < columns && j < jt + TILE; j++)
                        for (int i = it; i < columns && i < it + TILE; i++)
                            to[j + columns * i] = from[i + n * j];
        }
#ifdef USE_MPI
        if (ranks > 1)
            MPI_Alltoall(out, columns * columns, MPI_DOUBLE, in, columns * columns, MPI_DOUBLE,
                         MPI_COMM_WORLD);
#endif
        for (int block = 0; block < ranks; block++) {
            double *from = in + (size_t)block * columns * columns;
#pragma omp parallel for
            for (int j = 0; j < columns; j++)
                for (int i = 0; i < columns; i++)
                    b[block * columns + i + n * j] += from[i + columns * j];
        }
#pragma omp parallel for
        for (int i = 0; i < n * columns; i++) a[i] += 1;
    }
    seconds = now() - seconds;
    double error = 0, sum = times * (times + 1.0) / 2;
    for (int j = 0; j < columns; j++)
        for (int i = 0; i < n; i++)
            error += fabs(b[i + n * j] - (((double)n * i + j + first) * (times + 1) + sum));
    error = total(error);
    free(a), free(b), free(out), free(in);
    return end("transpose", seconds, times, error < 1e-8);
}
