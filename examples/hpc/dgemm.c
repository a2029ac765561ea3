/* C += A B, in tiles; each rank has rows of A and C, and all of B. */
#include "kernel.h"

#define TILE 32

int main(int argc, char **argv) {
    begin(&argc, &argv);
    int n = argument(argc, argv, 1, 384), times = argument(argc, argv, 2, 4);
    int low = first_of(n, rank), high = first_of(n, rank + 1), rows = high - low;
    double *a = room(sizeof *a * rows * n), *b = room(sizeof *b * n * n);
    double *c = room(sizeof *c * rows * n);
    for (int i = 0; i < rows; i++)
        for (int j = 0; j < n; j++) a[i * n + j] = j, c[i * n + j] = 0;
    for (int i = 0; i < n && rank == 0; i++)
        for (int j = 0; j < n; j++) b[i * n + j] = j;
    double seconds = 0;
    for (int time = 0; time <= times; time++) {
        if (time == 1) together(), seconds = now();
#ifdef USE_MPI
        MPI_Bcast(b, n * n, MPI_DOUBLE, 0, MPI_COMM_WORLD);
#endif
#pragma omp parallel for
        for (int it = 0; it < rows; it += TILE)
            for (int kt = 0; kt < n; kt += TILE)
                for (int jt = 0; jt < n; jt += TILE)
                    for (int i = it; i < rows && i < it + TILE; i++)
                        for (int k = kt; k < n && k < kt + TILE; k++) {
                            double factor = a[i * n + k];
                            for (int j = jt; j < n && j < jt + TILE; j++)
                                c[i * n + j] += factor * b[k * n + j];
                        }
    }
    seconds = now() - seconds;
    double sum = 0, expected = 0.25 * n * n * n * (n - 1.0) * (n - 1.0) * (times + 1);
    for (int i = 0; i < rows * n; i++) sum += c[i];
    sum = total(sum);
    free(a), free(b), free(c);
    return end("dgemm", seconds, times, fabs(sum - expected) < 1e-8 * expected);
}
